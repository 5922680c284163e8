"""Packs a release into a store: all pieces in parallel, then labels and manifest.

Restartable at any point and bounded in memory by one video a thread. The pieces may be
packed by many machines, a share each, and are joined here in the end.
"""

import contextlib
import dataclasses
import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from abaw_jax.json_files import seal
from abaw_jax.releases.findings import Findings, Report, report_bytes
from abaw_jax.releases.labels import (
    Source,
    open_release,
)
from abaw_jax.store.files import json_bytes, remove_partial, replacing
from abaw_jax.store.frames import FRAME_FILES, Images
from abaw_jax.store.joining import Overlap, PackedRelease, join_labels
from abaw_jax.store.manifest import is_written, make_manifest
from abaw_jax.store.options import OPTIONS, has_record, require_same_options
from abaw_jax.store.packing import (
    OpenEngine,
    Progress,
    Work,
    find_pieces,
    open_threads,
    pack_pieces,
)
from abaw_jax.store.pieces import Packer
from abaw_jax.store.reader import (
    MANIFEST,
    StoreError,
    read_manifest,
)
from abaw_jax.store.shares import (
    Share,
    divide,
    number_of_shares,
    writing_share,
    writing_whole,
)
from abaw_jax.store.sole_writer import InUseError
from abaw_jax.system_limits import advice_on

Reader = Callable[[Path, Findings], Source]


def prepare(
    release: str | os.PathLike[str],
    store: str | os.PathLike[str],
    *,
    image_size: int = 112,
    images: Images = "pixels",
    overlap: Overlap = "remove",
    workers: int | None = None,
    progress: Progress | None = None,
    read: Reader = open_release,
    open_engine: OpenEngine | None = None,
) -> Report:
    """Reads a release and writes a store; goes on where an earlier run stopped.

    Args:
      release: folder of the release; nothing in it is changed.
      store: folder to write, made if needed; ``report.json`` goes there too.
      image_size: side of the stored crops in pixels.
      images: "pixels" is the fastest to read, "jpeg" takes an eighth of the disk
        and is decoded at every use.
      overlap: "remove" takes subjects whose video validates in any set out of the
        training labels, "keep" leaves them there.
      workers: threads; by default one a processor, at most 16.
      progress: called now and then, from any thread but never from two at once.
      read: what makes sense of the folder; ``affectnet.open_affectnet`` reads that
        data set instead of Aff-Wild2.
      open_engine: opens what packs the pieces, see `packing`; by default these threads.

    Returns:
      What was found, as in ``report.json``.

    Raises:
      FileNotFoundError: if there is no such release.
      ReleaseError: if it is no release.
      StoreError: if the store cannot be written, is in use, of another version, or was
        packed with another ``image_size`` or ``images``.
      ValueError: if an option is out of range.
    """
    root, store = Path(release), Path(store)
    _check_options(image_size, images, overlap)
    work = Work(store, progress)
    packer = Packer(root, store, image_size, images, work.on_progress, work.renew)
    _check_store(packer)
    findings = Findings(root)
    found = read(root, findings)
    with _writing(store, writing_whole(store)):
        open_engine = open_engine or partial(open_threads, workers)
        pieces = pack_pieces(found, packer, work, open_engine)
        return _finish(found, pieces, findings, overlap, packer)


def prepare_share(
    release: str | os.PathLike[str],
    store: str | os.PathLike[str],
    share: Share,
    *,
    image_size: int = 112,
    images: Images = "pixels",
    workers: int | None = None,
    progress: Progress | None = None,
    read: Reader = open_release,
) -> PackedRelease:
    """Packs one share of a release; others may be packed at the same time, elsewhere.

    Writes neither labels nor manifest: that is left to `merge`. The same call goes on
    where an earlier one stopped.

    Args:
      release: as of `prepare`.
      store: as of `prepare`.
      share: which one, and of how many.
      image_size: as of `prepare`.
      images: as of `prepare`.
      workers: as of `prepare`.
      progress: as of `prepare`.
      read: as of `prepare`.

    Returns:
      What the share holds.

    Raises:
      StoreError: if the share, or the whole store, is in use; else as of `prepare`.
    """
    root, store = Path(release), Path(store)
    _check_options(image_size, images)
    work = Work(store, progress)
    packer = Packer(root, store, image_size, images, work.on_progress, work.renew)
    _check_store(packer)
    found = read(root, Findings(root))
    videos = divide(found.videos, share.count)[share.index]
    with _writing(store, writing_share(store, share)):
        part = dataclasses.replace(found, videos=videos)
        return pack_pieces(part, packer, work, partial(open_threads, workers))


def merge(
    release: str | os.PathLike[str],
    store: str | os.PathLike[str],
    *,
    shares: int | None = None,
    image_size: int = 112,
    images: Images = "pixels",
    overlap: Overlap = "remove",
    workers: int | None = None,
    progress: Progress | None = None,
    read: Reader = open_release,
) -> Report:
    """Finishes a store whose shares are packed, as `prepare` would; packs nothing.

    Args:
      release: as of `prepare`.
      store: as of `prepare`.
      shares: how many there are, to name those that are to be packed again; by default
        as many as when it was last divided.
      image_size: as of `prepare`.
      images: as of `prepare`.
      overlap: as of `prepare`.
      workers: as of `prepare`.
      progress: as of `prepare`.
      read: as of `prepare`.

    Raises:
      StoreError: if a piece is missing, or was made of another release; says whose, and
        what to run. Else as of `prepare`.
    """
    root, store = Path(release), Path(store)
    _check_options(image_size, images, overlap)
    work = Work(store, progress)
    packer = Packer(root, store, image_size, images, work.on_progress, work.renew)
    _check_store(packer)
    findings = Findings(root)
    found = read(root, findings)
    with _writing(store, writing_whole(store)):
        open_engine = partial(open_threads, workers)
        pieces, missing = find_pieces(found, packer, work, open_engine)
        if pieces is None:
            shares = shares or number_of_shares(store)
            raise StoreError(_why_unfinished(store, found, missing, shares))
        return _finish(found, pieces, findings, overlap, packer)


def _why_unfinished(
    store: Path, found: Source, missing: list[str], shares: int | None
) -> str:
    """One sentence: which subjects are not packed, and what packs them."""
    more = f" and {len(missing) - _NAMED:,} more" if len(missing) > _NAMED else ""
    total = sum(len(video.subjects) for video in found.videos)
    run = "run prepare without --merge, which packs them"
    if shares is not None:
        again = ",".join(
            str(index)
            for index, videos in enumerate(divide(found.videos, shares))
            if {s.name for video in videos for s in video.subjects} & {*missing}
        )
        each = "each of --shard=" if "," in again else "--shard="
        run = f"run --shards={shares} again with {each}{again}, then --merge"
    options = "" if has_record(store) else " or with other options"
    return (
        f"{store} lacks {len(missing):,} of {total:,} subjects (or has them of another "
        f"release{options}): {', '.join(missing[:_NAMED])}{more}; {run}"
    )


_NAMED = 5


def inspect(
    release: str | os.PathLike[str],
    *,
    image_size: int = 112,
    overlap: Overlap = "remove",
    workers: int | None = None,
    progress: Progress | None = None,
    read: Reader = open_release,
) -> Report:
    """Reads every file of a release as ``prepare`` does, and writes nothing."""
    root = Path(release)
    _check_options(image_size, "pixels", overlap)
    findings = Findings(root)
    found = read(root, findings)
    with _explained(root):
        work = Work(None, progress)
        packer = Packer(root, None, image_size, "pixels", work.on_progress, work.renew)
        pieces = pack_pieces(found, packer, work, partial(open_threads, workers))
        report, *_ = join_labels(found, pieces, findings, overlap)
    return report


@contextlib.contextmanager
def _writing(
    store: Path, lock: contextlib.AbstractContextManager[None]
) -> Iterator[None]:
    """Holds a lock, and stops before any change to a store of another version."""
    with _explained(store), lock:
        if (store / MANIFEST).exists():
            read_manifest(store)
        yield


def _check_options(image_size: int, images: str, overlap: str = "keep") -> None:
    if not 8 <= image_size <= 1024:
        raise ValueError(f"image_size must be 8 to 1024 pixels, not {image_size}")
    if images not in FRAME_FILES:
        raise ValueError(f"images must be 'pixels' or 'jpeg', not {images!r}")
    if overlap not in ("remove", "keep"):
        raise ValueError(f"overlap must be 'remove' or 'keep', not {overlap!r}")


def _check_store(packer: Packer) -> None:
    """Refuses a store before the release is read, which takes long."""
    root, store = packer.root, packer.store
    assert store is not None
    if root.exists() and store.exists() and root.samefile(store):
        raise StoreError(
            f"{store} is the folder of the release itself, in which nothing is "
            "changed: choose another store"
        )
    require_same_options(packer)


@contextlib.contextmanager
def _explained(place: Path) -> Iterator[None]:
    """Says in one sentence what the system refused."""
    try:
        yield
    except InUseError as error:
        raise StoreError(str(error)) from None
    except OSError as error:
        if error.errno is None:  # it is a sentence
            raise StoreError(str(error)) from None
        correct = "what is finished is kept, so correct that and run prepare again"
        raise StoreError(
            f"stopped at {error.filename or place}: {error.strerror or error}; "
            f"{advice_on(error) or correct}"
        ) from error


def _finish(
    found: Source,
    pieces: PackedRelease,
    findings: Findings,
    overlap: Overlap,
    packer: Packer,
) -> Report:
    """Writes labels, report and manifest of a store whose pieces are packed."""
    store = packer.store
    assert store is not None
    remove_partial(store / OPTIONS)
    report, labels, tests = join_labels(found, pieces, findings, overlap)
    manifest, files = make_manifest(pieces, labels, tests, packer)
    if not is_written(store, manifest):
        packer.renew()
        for name, data in files.items():
            with replacing(store / name) as file:
                file.write(data)
    for name, data in (
        ("report.json", report_bytes(report)),
        (MANIFEST, json_bytes(seal(manifest))),
    ):
        with replacing(store / name) as file:
            file.write(data)
    return report
