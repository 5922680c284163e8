"""Folders of results: the settings they were made with, and whether they are complete.

``config.json`` in a stage's folder says what the stage is made from, upstream
fingerprints included; ``done.json``, with the fingerprint of that, appears when it is
complete. Results made from something else are never overwritten.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from abaw_jax.store.reader import replacing
from abaw_jax.training.differences import differences
from abaw_jax.training.processes import is_first, wait_until


class MismatchError(ValueError):
    """A stage's folder was made from something else."""


class Artefact:
    """One stage's folder."""

    def __init__(self, directory: Path, made_from: Mapping[str, Any]) -> None:
        # Through JSON once, so that tuples and lists compare alike.
        self.made_from = json.loads(json.dumps(made_from, sort_keys=True))
        self.directory = directory
        self._record = directory / "config.json"
        self._done = directory / "done.json"

    @property
    def fingerprint(self) -> str:
        """Changes whenever anything the stage is made from does."""
        canonical = json.dumps(self.made_from, sort_keys=True)
        return hashlib.sha256(canonical.encode()).hexdigest()[:16]

    def begin(self) -> bool:
        """Compares the folder with what the stage is made from.

        A folder without results may be used with any settings: a call that was refused
        before its first result does not block the next one.

        Returns:
          True if the stage is already complete.

        Raises:
          MismatchError: if there are results that were made from something else, or
            nothing says from what; says what differs.
        """
        found, done = read_json(self._record), read_json(self._done)
        finished = done is not None and done.get("fingerprint") == self.fingerprint
        if done is not None and found is None and finished:
            found = self.made_from  # lost or damaged, but known by the fingerprint
        if found != self.made_from or (done is not None and not finished):
            self._require_no_results(found)
        if is_first() and read_json(self._record) != self.made_from:
            self.directory.mkdir(parents=True, exist_ok=True)
            write_json(self._record, self.made_from)
        return finished

    def _require_no_results(self, found: Mapping[str, Any] | None) -> None:
        if not any(map(_is_result, self.directory.rglob("*"))):
            return
        if found is None:
            reason = f"{self._record.name} is missing or damaged"
        else:
            different = list(differences(found, self.made_from))
            reason = "; ".join(different[:5]) or f"so says its {self._done.name}"
        raise MismatchError(
            f"{self.directory} was made with other settings: {reason}. Choose another "
            f"--workdir, or delete {self.directory} to make it again."
        )

    def finish(self, summary: Mapping[str, Any] | None = None) -> None:
        """Marks the stage complete; the first process does, the others wait for it."""
        if is_first():
            write_json(self._done, {"fingerprint": self.fingerprint, **(summary or {})})
        wait_until(self._done.exists)


_NO_RESULTS = re.compile(
    r"config\.json|metrics\.jsonl|events\.out\..*|\..*|.*\.partial"
)
"""Files that a refused or killed call leaves before its first result."""


def _is_result(path: Path) -> bool:
    unfinished = any("orbax-checkpoint-tmp" in part for part in path.parts)
    named = _NO_RESULTS.fullmatch(path.name) is None
    return path.is_file() and named and not unfinished


def read_json(path: Path) -> dict[str, Any] | None:
    """Reads what `write_json` wrote; ``None`` if it is missing or damaged."""
    try:
        found = json.loads(path.read_text())
    except (FileNotFoundError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    """Writes JSON atomically."""
    write_text(path, json.dumps(values, indent=1) + "\n")


def write_text(path: Path, text: str) -> None:
    """Writes atomically: a kill leaves the old file or the new one."""
    with replacing(path) as file:
        file.write(text.encode())
