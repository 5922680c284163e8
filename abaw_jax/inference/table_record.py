"""Records what a table of predictions was made from, beside it: ``NAME.csv.json``.

A table is ready only for the same model, video, faces and frames; for others it is made
again. Files are known by their size and time of change, folders by those of all their
files, the model by the digests of its weights.
"""

import os
from collections.abc import Mapping
from pathlib import Path

from abaw_jax.inference.model import Model
from abaw_jax.json_files import json_digest, read_json, write_json

Record = Mapping[str, str | int]


def describe(
    model: Model, video: Path, faces: str, every: int, detector: Path | None
) -> Record:
    """What a table is made from, by the name of the flag that gives it."""
    path = Path(faces).expanduser()
    given = faces not in ("detect", "whole") and path.exists()
    return {
        "model": json_digest(model.contract),
        "video": _fingerprint(video),
        "faces": _fingerprint(path) if given else faces,
        "detector": _fingerprint(detector) if detector else "packaged",
        "every": every,
    }


def differences(table: Path, record: Record) -> list[str]:
    """Flags of which a table was made with others; all if it has no record."""
    found = read_json(_path(table)) or {}
    return [name for name, value in record.items() if found.get(name) != value]


def forget(table: Path) -> None:
    """Removes the record, before a table is replaced."""
    _path(table).unlink(missing_ok=True)


def write(table: Path, record: Record) -> None:
    """Writes the record of a table that is complete."""
    write_json(_path(table), record)


def _path(table: Path) -> Path:
    return table.with_name(f"{table.name}.json")


def _fingerprint(path: Path) -> str:
    """Of a file, or of all files right in a folder."""
    files = sorted(os.scandir(path), key=lambda e: e.name) if path.is_dir() else [path]
    return json_digest([_state(each) for each in files])


def _state(file: Path | os.DirEntry[str]) -> tuple[str, int, int]:
    state = os.stat(file, follow_symlinks=True)
    return file.name, state.st_size, state.st_mtime_ns
