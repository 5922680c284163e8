"""Files of a store: their names; written whole or not at all; their checksums."""

import contextlib
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
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A new file that takes its name when it is complete and on the disk, or never."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    try:
        with open(partial, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except BaseException:
        partial.unlink(missing_ok=True)  # on a full disk this is the space to go on
        raise


def describe_file(path: str | os.PathLike[str]) -> dict[str, Any] | None:
    """Size and SHA-256 of a file as the manifest has them; None if there is none."""
    try:
        with open(path, "rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            return {"bytes": file.tell(), "sha256": digest}
    except FileNotFoundError:
        return None
