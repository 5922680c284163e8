"""Divides work among processes that do a share each, and locks their shares.

A share is of a release, to be packed, or of a store's subjects, to be encoded. The
process of share I of N locks ``FOLDER/.shards/I-of-N`` in the folder of the store or of
the features; it stays until the whole is finished, and tells a merge how many shares
there are. A process that writes the whole locks the folder, and no share may be written
meanwhile. Both take their lock before they look for those of others, so of two that
start at once one at least is refused.
"""

import heapq
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import NamedTuple

from abaw_jax.releases.crops import Video
from abaw_jax.store.sole_writer import is_locked, refuse_if_locked, sole_writer

MAX_SHARES = 1_000_000
"""More than there are subjects or videos anywhere; each takes memory when divided."""

_FOLDER = ".shards"
_NAME = re.compile(r"(0|[1-9][0-9]{0,6})-of-([1-9][0-9]{0,6})")


class Share(NamedTuple):
    """Share ``index`` of ``count``, from 0."""

    index: int
    count: int

    def folder(self, store: Path) -> Path:
        """The folder of its lock."""
        return store / _FOLDER / f"{self.index}-of-{self.count}"


def divide(videos: Sequence[Video], count: int) -> list[tuple[Video, ...]]:
    """Divides videos into shares of about as many crops.

    Every process that sees the same files gets the same shares: the video with the most
    files in the folders of its subjects goes first, always to the smallest share.

    Args:
      videos: of a release.
      count: of the shares; of more than there are videos some are empty.

    Returns:
      The videos of each share, in their former order.
    """

    @cache
    def files(folder: Path) -> int:
        try:
            return len(os.listdir(folder))
        except OSError:  # reported by whoever packs it
            return 0

    weights = [1 + sum(files(s.folder) for s in video.subjects) for video in videos]
    shares = balance([video.name for video in videos], weights, count)
    return [tuple(videos[k] for k in share) for share in shares]


def balance(
    names: Sequence[str], weights: Sequence[int], count: int
) -> list[list[int]]:
    """Divides items into shares of about the same weight, as `divide` says.

    Args:
      names: of the items; they decide between equal weights.
      weights: of the items.
      count: of the shares.

    Returns:
      The indices of the items of each share, ascending.
    """
    shares: list[list[int]] = [[] for _ in range(count)]
    smallest = [(0, share) for share in range(count)]
    for k in sorted(range(len(names)), key=lambda k: (-weights[k], names[k])):
        total, share = heapq.heappop(smallest)
        shares[share].append(k)
        heapq.heappush(smallest, (total + weights[k], share))
    return [sorted(share) for share in shares]


@contextmanager
def writing_share(store: Path, share: Share) -> Iterator[None]:
    """Keeps other processes from the share while none writes the whole store.

    Raises:
      InUseError: if another process writes the same share, the whole store, or a share
        of another division; says which.
    """
    _shares(store)  # refuses a file in the folder's place
    share.folder(store).mkdir(parents=True, exist_ok=True)
    with sole_writer(share.folder(store)):
        refuse_if_locked(store)
        for other in _shares(store):
            if other.count != share.count:
                refuse_if_locked(other.folder(store))
        yield


@contextmanager
def writing_whole(store: Path) -> Iterator[None]:
    """Keeps all other processes from a store, those of shares included.

    Locks that killed processes left are held as well: one that only slept learns of it
    by its own. At the end, unless there was an error, the folders of the shares go.

    Raises:
      InUseError: if another process writes the store or a share of it; says which.
    """
    with sole_writer(store):
        with ExitStack() as stack:
            folders = [share.folder(store) for share in _shares(store)]
            for folder in filter(is_locked, folders):
                stack.enter_context(sole_writer(folder))
            yield
        for folder in (*folders, store / _FOLDER):
            with suppress(OSError):  # there is none, or it is not empty
                folder.rmdir()


def number_of_shares(store: Path) -> int | None:
    """Into how many shares a store was divided last; None if it was not."""
    found = [(s.folder(store).stat().st_mtime_ns, s.count) for s in _shares(store)]
    return max(found)[1] if found else None


def _shares(store: Path) -> list[Share]:
    """Shares that were begun; other names in their folder are left out.

    Raises:
      NotADirectoryError: if the folder is a file.
    """
    folder = store / _FOLDER
    try:
        names = os.listdir(folder)
    except NotADirectoryError:
        raise NotADirectoryError(
            f"{folder} is a file where a folder keeps the locks of shards: remove it"
        ) from None
    except OSError:
        return []
    found = [Share(*map(int, m.groups())) for m in map(_NAME.fullmatch, names) if m]
    return [share for share in found if share.index < share.count <= MAX_SHARES]
