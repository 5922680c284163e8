"""Whether a result and the pictures and predictions beside it are as written."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

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
