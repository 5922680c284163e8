"""Says why a path cannot be the folder or the file that it should be, or be written.

One sentence with the path, what is there and what to do. The system's own words are
"File exists" for a symbolic link to nothing, "[Errno 20] Not a directory" for a file.
"""

import errno
import os
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

_NOTHING = (errno.ENOENT, errno.ENOTDIR)


def folder_fault(path: str | os.PathLike[str], *, made: bool = False) -> str | None:
    """Why ``path`` cannot be a folder that is read, or one that is made.

    Args:
      path: of the folder.
      made: whether it is made where there is nothing.

    Returns:
      One sentence without a full stop; ``None`` if nothing is wrong.
    """
    return _fault(Path(path), "folder", stat.S_ISDIR, made)


def file_fault(path: str | os.PathLike[str], *, made: bool = False) -> str | None:
    """The same of a file; a pipe or a device counts as one."""
    return _fault(Path(path), "file", lambda mode: not stat.S_ISDIR(mode), made)


def as_path(given: Any, name: str, wanted: str) -> Path:
    """A path that a caller gave.

    Args:
      given: the argument.
      name: of the argument.
      wanted: for the message, what to give.

    Raises:
      TypeError: if it is no path.
    """
    if not isinstance(given, str | os.PathLike):
        kind = type(given).__name__
        raise TypeError(f"{name} is of type {kind} and no path: give {wanted}.")
    return Path(given)


def require_writable(folder: Path) -> None:
    """Tries to write in a folder; one that is made for that alone goes with it.

    Raises:
      OSError: if it is none, or the system refuses; says why.
    """
    if fault := folder_fault(folder, made=True):
        raise OSError(f"{fault}.")
    made = [each for each in (folder, *folder.parents) if not each.exists()]
    with writing(folder):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            # Rights do not tell: root has all of them, and some disks take no file.
            with tempfile.TemporaryFile(dir=folder):
                pass
        finally:
            for each in made:
                with suppress(OSError):
                    each.rmdir()


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Says in one sentence that a file or a folder cannot be written, and why.

    Raises:
      OSError: of the class of the system's error, which is its cause.
    """
    try:
        yield
    except OSError as error:
        reason = error.strerror
        if error.errno in _NOTHING:
            above = Path(error.filename or path).parent
            reason = folder_fault(above) or "the system makes no file there"
        raise type(error)(f"{path} cannot be written: {reason or error}.") from error


def without_number(error: OSError) -> str:
    """What the system says of a path, without its number and a full stop."""
    if error.errno is None or error.strerror is None:
        return str(error)
    path = error.filename2 or error.filename
    if path is not None and error.errno == errno.EISDIR:
        return f"{path} is a folder where a file belongs: move or delete it"
    where = "" if path is None else f"{path} cannot be read or written: "
    return f"{where}{error.strerror}"


def _fault(
    path: Path, wanted: str, is_wanted: Callable[[int], bool], made: bool
) -> str | None:
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError) as error:  # ValueError: a NUL character
        number = getattr(error, "errno", None)
        if number in _NOTHING:
            return _fault_of_nothing(path, wanted, made)
        if number == errno.ELOOP:
            return (
                f"{path} is a symbolic link that leads back to itself: delete the "
                f"link, or name a {wanted}"
            )
        reason = getattr(error, "strerror", None) or error
        return f"{str(path)!r} cannot be looked at ({reason}): name a {wanted}"
    if is_wanted(mode):
        return None
    found = "folder" if stat.S_ISDIR(mode) else "file"
    return f"{path} is a {found}: name a {wanted}"


def _fault_of_nothing(path: Path, wanted: str, made: bool) -> str | None:
    """Why nothing is at ``path``, or why nothing can be made there."""
    if path.is_symlink():
        return (
            f"{path} is a symbolic link to {os.readlink(path)}, where nothing is: "
            f"delete the link, or name a {wanted}"
        )
    above = next((each for each in path.parents if os.path.lexists(each)), None)
    if above is not None and (fault := folder_fault(above)):
        return f"{path} cannot be there: {fault}"
    return None if made else f"{path} does not exist: name an existing {wanted}"
