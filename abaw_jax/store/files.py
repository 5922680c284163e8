"""Files of a store: their names; written whole or not at all; their checksums."""

import contextlib
import glob
import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

TEST_FIELDS = ("subject", "frame")
"""Arrays of a test list."""


def label_file(set_name: str, split: str, field: str) -> str:
    """Path of one array of labels in a store."""
    return f"labels/{set_name}_{split}/{field}.npy"


def times_file(video: str) -> str:
    """Path of the times of a video's frames in a store."""
    return f"times/{video}.npy"


def json_bytes(value: Any) -> bytes:
    """The one way a manifest is written, so that its hash is that of its content."""
    return json.dumps(value, indent=1, sort_keys=True).encode() + b"\n"


@contextlib.contextmanager
def replacing(path: Path, writer: str = "") -> Iterator[BinaryIO]:
    """A new file that takes its name when it is complete and on the disk, or never.

    Args:
      path: of the file; until it is complete it is called ``NAME.partial``.
      writer: where several processes may write this file at the same time, 32 hex
        digits that no two share: ``NAME.<writer>.partial``, see `remove_partial`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}{writer and f'.{writer}'}.partial")
    try:
        with open(partial, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except BaseException:
        partial.unlink(missing_ok=True)  # on a full disk this is the space to go on
        raise


def remove_partial(path: Path) -> None:
    """Removes what killed processes left of a file, and what others write of it."""
    name = glob.escape(path.name)
    for pattern in (f"{name}.partial", f"{name}.{_WRITER}.partial"):
        for each in path.parent.glob(pattern):
            each.unlink(missing_ok=True)


_WRITER = "[0-9a-f]" * 32


def describe_file(path: str | os.PathLike[str]) -> dict[str, Any] | None:
    """Size and SHA-256 of a file as the manifest has them; None if there is none."""
    try:
        with open(path, "rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            return {"bytes": file.tell(), "sha256": digest}
    except FileNotFoundError:
        return None
