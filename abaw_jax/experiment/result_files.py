"""The files of a result: room for them, and whether they are as they were written."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from abaw_jax.disk_space import explained, require_space
from abaw_jax.report import console
from abaw_jax.store.files import describe_file


def is_sound(path: Path, old: Mapping[str, Any], settings: Any) -> bool:
    """True if a result is of these settings, and its files are as they were written."""
    if path.exists() and "settings" not in old:
        console.warn(f"{path} is damaged: it is made again.")
    if old.get("settings") != settings or not old.get("files"):
        return False
    if damaged := damaged_files(path.parent, old["files"]):
        console.warn(f"{damaged[0]} is missing or damaged: results are made again.")
    return not damaged


_BYTES_OF_A_ROW = 200  # of predictions; 130 to 184 in the quickstart
_BYTES_OF_PICTURES = 10**6  # half as many there


@contextmanager
def room_for(rows: int, workdir: Path) -> Iterator[None]:
    """Compares the free space with what a result takes, and says if it becomes full.

    Raises:
      OSError: as `disk_space.require_space` and `disk_space.explained`.
    """
    needed = _BYTES_OF_PICTURES + _BYTES_OF_A_ROW * rows
    require_space(workdir, needed, "a result")
    with explained(workdir, needed, "a result"):
        yield


def describe_written(workdir: Path) -> dict[str, Any]:
    """Size and SHA-256 of every picture and prediction, by name."""
    return {
        str(file.relative_to(workdir)): describe_file(file)
        for folder in ("plots", "predictions")
        for file in sorted((workdir / folder).iterdir())
    }


def damaged_files(workdir: Path, files: Mapping[str, Any] | Sequence[str]) -> list[str]:
    """Names of the files of a result that are missing or not as they were written.

    Args:
      workdir: of the run.
      files: of its ``result.json``; earlier versions wrote their names alone.
    """
    if isinstance(files, Mapping):
        return [n for n, facts in files.items() if describe_file(workdir / n) != facts]
    return [name for name in files if not (workdir / name).exists()]
