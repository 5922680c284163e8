"""The rule every stage follows: made from what, finished or not, matching or not.

``config.json`` in a stage's folder says what the stage is made from, upstream
fingerprints included; ``done.json`` appears when it is complete. A folder begun from
something else is never overwritten.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from abaw_jax.report.differences import differences
from abaw_jax.training.processes import is_first, wait_until


class MismatchError(ValueError):
    """A stage's folder was made from something else."""


class Artefact:
    """One stage's folder."""

    def __init__(self, directory: Path, made_from: Mapping[str, Any]) -> None:
        # Through JSON once, so that tuples and lists compare alike.
        self.made_from = json.loads(json.dumps(made_from, sort_keys=True))
        self.directory = directory
        self._done = directory / "done.json"

    @property
    def fingerprint(self) -> str:
        """Changes whenever anything the stage is made from does."""
        canonical = json.dumps(self.made_from, sort_keys=True)
        return hashlib.sha256(canonical.encode()).hexdigest()[:16]

    def begin(self) -> bool:
        """Claims the folder; True if the stage is already complete.

        Raises:
          MismatchError: if the folder was begun from something else; says what.
        """
        record = self.directory / "config.json"
        if record.exists():
            found = read_json(record)
            different = list(differences(found, self.made_from))
            if different:
                raise MismatchError(
                    f"{self.directory} was made with other settings: "
                    f"{'; '.join(different[:5])}. Choose another --workdir, or "
                    f"delete {self.directory} to make it again."
                )
        elif is_first():
            self.directory.mkdir(parents=True, exist_ok=True)
            write_json(record, self.made_from)
        return self._done.exists()

    def finish(self, summary: Mapping[str, Any] | None = None) -> None:
        """Marks the stage complete; the first process does, the others wait for it."""
        if is_first():
            write_json(self._done, {"fingerprint": self.fingerprint, **(summary or {})})
        wait_until(self._done.exists)


def read_json(path: Path) -> dict[str, Any]:
    """Reads what `write_json` wrote.

    Raises:
      ValueError: if the file is not JSON any more.
    """
    try:
        return json.loads(path.read_text())
    except ValueError as error:
        raise ValueError(
            f"{path} cannot be read ({error}); delete {path.parent} to make it again."
        ) from None


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    """Writes JSON atomically."""
    write_text(path, json.dumps(values, indent=1) + "\n")


def write_text(path: Path, text: str) -> None:
    """Writes atomically: a kill leaves the old file or the new one."""
    partial = path.with_name(path.name + ".partial")
    partial.write_text(text)
    os.replace(partial, path)
