"""Space on disk: compared with what is needed, before anything is written."""

import errno
import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.filesize import decimal

from abaw_jax.system_limits import advice_on, in_a_sentence


def require_space(folder: Path, needed: int, what: str) -> None:
    """Compares the free space of a folder's file system with ``needed`` bytes.

    Args:
      folder: that will be written to, made or not.
      needed: bytes.
      what: for the message, what needs them.

    Raises:
      OSError: if there is too little; says where, and how much is needed.
    """
    place = _first_existing(folder.absolute())
    free = shutil.disk_usage(place).free
    if free < needed:
        raise OSError(_sentence(place, f"has {decimal(free)} left", needed, what))


@contextmanager
def explained(folder: Path, needed: int, what: str) -> Iterator[None]:
    """Says in one sentence if the disk became full in between, or a limit was met.

    Raises:
      OSError: as of `require_space`, or with `system_limits.advice_on` it.
    """
    try:
        yield
    except Exception as error:  # Orbax raises bare ones around the system's
        if not _is_full(error):
            if advice := advice_on(error):
                raise OSError(in_a_sentence(error, advice)) from None
            raise
        place = _first_existing(folder.absolute())
        raise OSError(_sentence(place, "is full", needed, what)) from None


_FULL = "No space left"  # in errors of TensorStore, which have no number


def _is_full(error: BaseException | None) -> bool:
    """True if the system's "no space", or "quota exceeded", is behind an error."""
    while error is not None:
        number = getattr(error, "errno", None)
        if number in (errno.ENOSPC, errno.EDQUOT) or _FULL in str(error):
            return True
        error = error.__cause__ or error.__context__
    return False


class _Explained(logging.Filter):
    """Leaves out what Orbax's threads report of the same, a hundred tracebacks."""

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        known = _is_full(error) or advice_on(error) or _FULL in record.getMessage()
        return not (known and "orbax" in Path(record.pathname).parts)


EXPLAINED = _Explained()
"""For the logger of Orbax, while checkpoints are written."""


def _sentence(place: Path, state: str, needed: int, what: str) -> str:
    while not os.path.ismount(place):
        place = place.parent
    return (
        f"The file system of {place} {state}, and {what} needs {decimal(needed)}: "
        "nothing that was saved is lost; free some space, and the same command goes on."
    )


def _first_existing(folder: Path) -> Path:
    while not folder.exists():
        folder = folder.parent
    return folder
