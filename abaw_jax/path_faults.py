"""Says why a path cannot be the folder or the file that it should be.

One sentence with the path, what is there and what to do. The system's own words are
"File exists" for a symbolic link to nothing, "[Errno 20] Not a directory" for a file.
"""

import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path

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
    return None if made else f"{path} is not there: name an existing {wanted}"
