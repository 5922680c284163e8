"""Crops of a release: image files that are numbered by the frames they were cut from.

A `Video` has the crops of one or more people, a `Group` each; what they are called and
where they lie differs between data sets.
"""

import dataclasses
import os
from pathlib import Path
from typing import Protocol

from abaw_jax.releases.annotations import MAX_FRAME
from abaw_jax.releases.findings import Findings
from abaw_jax.releases.images import IMAGE_SUFFIXES, Box


class ReleaseError(ValueError):
    """The folder given as a release cannot be read as one."""


@dataclasses.dataclass(frozen=True)
class Crop:
    """One image file; ``size`` in bytes and ``modified`` in ns tell if it changed.

    ``box`` is the part of it that is the crop; None is all of it.
    """

    number: int
    path: Path
    size: int
    modified: int
    box: Box | None = None


class Group(Protocol):
    """Crops that are packed together, such as those of a subject.

    Attributes:
      name: as in the store.
      folder: where they lie, for messages.
      aligned: whether they should all be of one size.
    """

    @property
    def name(self) -> str: ...  # noqa: D102

    @property
    def folder(self) -> Path: ...  # noqa: D102

    @property
    def aligned(self) -> bool: ...  # noqa: D102

    def crops(self, findings: Findings) -> list[Crop]:
        """Existing crops, ascending by number, each number once."""
        ...


@dataclasses.dataclass(frozen=True)
class Video:
    """A video and the people cut out of it.

    Attributes:
      name: file name without suffix.
      path: the file, None if the release has only crops of it.
      subjects: at least one.
      stills: True for images that no video ever held, so that none is missed.
    """

    name: str
    path: Path | None
    subjects: tuple[Group, ...]
    stills: bool = False


def list_entries(folder: Path, findings: Findings) -> list[Path]:
    """Files and folders of a folder by name, less hidden ones and those of macOS.

    Pipes, devices, links to nothing and names that are no UTF-8 are noted and left out:
    opening a pipe waits for ever, and no table can name what is no text.

    Raises:
      ReleaseError: if it may not be read, or lies too deep.
    """
    if len(folder.parts) > _DEEPEST:
        raise ReleaseError(f"{folder} is more than {_DEEPEST} folders deep; move it up")
    try:
        with os.scandir(folder) as scan:
            entries = [e for e in scan if not e.name.startswith(_HIDDEN)]
    except OSError as error:
        raise ReleaseError(
            f"{folder} cannot be listed ({error.strerror}); correct that and try again"
        ) from None
    found = []
    for entry in sorted(entries, key=lambda entry: entry.name):
        path = folder / entry.name
        if fault := _fault(entry):
            findings.add("left_out", path, f"{fault}; left out")
        else:
            found.append(path)
    return found


_HIDDEN = (".", "__MACOSX")
_DEEPEST = 100


def _fault(entry: os.DirEntry[str]) -> str:
    """Why an entry cannot be read; "" if nothing forbids it."""
    try:
        entry.name.encode()
        usable = entry.is_file() or entry.is_dir()
    except UnicodeEncodeError:
        return "the name is no UTF-8, rename it"
    except OSError:  # a link to itself
        usable = False
    return "" if usable else "is no file: a pipe, a device or a link to nothing"


def list_crops(folder: Path, findings: Findings) -> list[Crop]:
    """The crops of a subject in the order of their frames, each number once."""
    crops: dict[int, Crop] = {}
    for entry in list_entries(folder, findings):
        stem = entry.stem
        if entry.suffix.lower() not in IMAGE_SUFFIXES:
            continue
        number = _frame_number(stem)
        if stem.isascii() and stem.isdigit() and int(stem) == 0:
            raise ReleaseError(
                f"the crops in {folder} are numbered from 0 ({entry.name}), frames "
                "from 1: all would be one frame off. Rename them so that the first one "
                "is 00001"
            )
        if number is None:
            text = "the name is no frame number from 1 on, as in 00001.jpg; left out"
            findings.add("name", entry, text)
        elif number in crops:
            text = f"{crops[number].path.name} is the same frame and is used"
            findings.add("duplicate_image", entry, text)
        else:
            status = entry.stat()
            size, modified = status.st_size, status.st_mtime_ns
            crops[number] = Crop(number, entry, size, modified)
    return [crops[number] for number in sorted(crops)]


def _frame_number(stem: str) -> int | None:
    digits = stem.isascii() and stem.isdigit() and len(stem) <= 12
    return int(stem) if digits and 1 <= int(stem) <= MAX_FRAME else None
