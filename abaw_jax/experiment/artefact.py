"""Folders of results: the settings they were made with, and whether they are complete.

``config.json`` in a stage's folder says what the stage is made from, upstream
fingerprints included; ``done.json``, with the fingerprint of that, appears when it is
complete. Results made from something else are never overwritten.
"""

import hashlib
import json
import re
import shutil
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from abaw_jax.experiment import going_on
from abaw_jax.json_files import read_json, write_json
from abaw_jax.training.processes import is_first, wait_until


class MismatchError(ValueError):
    """A stage's folder was made from something else."""


class Artefact:
    """One stage's folder."""

    def __init__(
        self,
        directory: Path,
        made_from: Mapping[str, Any],
        used_by: Path | None = None,
    ) -> None:
        """Takes the folder, its settings, and that of the stage made from it."""
        # Through JSON once, so that tuples and lists compare alike.
        self.made_from = json.loads(json.dumps(made_from, sort_keys=True))
        self.directory = directory
        self._used_by = used_by
        self._record = directory / "config.json"
        self._done = directory / "done.json"

    @property
    def fingerprint(self) -> str:
        """Changes whenever anything the stage is made from does."""
        return _fingerprint(self.made_from)

    def begin(self) -> bool:
        """Compares the folder with what the stage is made from, and records that.

        Returns:
          True if the stage is already complete.

        Raises:
          MismatchError: as `is_finished`.
        """
        finished = self.is_finished()
        if is_first() and read_json(self._record) != self.made_from:
            self.directory.mkdir(parents=True, exist_ok=True)
            # Processes of other shares, or of other runs, may begin at the same time.
            write_json(self._record, self.made_from, writer=uuid.uuid4().hex)
        return finished

    def is_finished(self) -> bool:
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
        if found is not None and self._goes_on(found, done):
            found, done = self.made_from, None
        finished = done is not None and done.get("fingerprint") == self.fingerprint
        if done is not None and found is None and finished:
            found = self.made_from  # lost or damaged, but known by the fingerprint
        if found != self.made_from or (done is not None and not finished):
            self._require_no_results(found)
        return finished

    def require_unchanged(self) -> None:
        """Refuses a folder that another call has begun with other settings.

        That can happen only before the first result; later, `begin` refuses it.

        Raises:
          MismatchError: if the record is not as `begin` left it.
        """
        if read_json(self._record) != self.made_from:
            raise MismatchError(
                f"{self._record} was changed by another call while this one ran: give "
                "all calls the same settings, or other folders, and call again."
            )

    def _goes_on(self, found: Mapping[str, Any], done: Any) -> bool:
        """True if the limits of what is here were raised, so that it is unfinished.

        What differs in no result is taken as it is. So is what another stage was made
        from already: that would have to be made again.
        """
        continued = going_on.continued(dict(found), self.made_from)
        if continued is None or not _has_results(self.directory):
            return False
        if continued == found or self._is_used(found):
            self.made_from = dict(found)
            return False
        if done is not None and not any(self.directory.glob("checkpoints/[0-9]*")):
            return False
        self.made_from = continued
        if is_first():
            # In this order: a kill in between leaves what is noticed again.
            self._done.unlink(missing_ok=True)
            shutil.rmtree(self.directory / "networks", ignore_errors=True)
        return True

    def _is_used(self, found: Mapping[str, Any]) -> bool:
        """True if the stage that is made from this one has begun with these results."""
        used_by = self._used_by and read_json(self._used_by / self._record.name)
        if not self._used_by or not used_by:
            return False
        same = used_by.get("teacher") == _fingerprint(found)
        return same and _has_results(self._used_by)

    def _require_no_results(self, found: Mapping[str, Any] | None) -> None:
        if not _has_results(self.directory):
            return
        if found is None:
            reason = f"{self._record.name} is missing or damaged"
        else:
            different = [*going_on.refused(dict(found), self.made_from)]
            reason = "; ".join(different[:5]) or f"so says its {self._done.name}"
        raise MismatchError(
            f"{self.directory} was made with other settings: {reason}. Choose another "
            f"--workdir, or delete {self.directory} to make it again."
        )

    def finish(self, summary: Mapping[str, Any] | None = None) -> None:
        """Marks the stage complete; the first process does, the others wait for it."""
        if is_first():
            for left in self.directory.glob(f"{self._record.name}.*.partial"):
                left.unlink(missing_ok=True)  # by a call that was killed in `begin`
            write_json(self._done, {"fingerprint": self.fingerprint, **(summary or {})})
        wait_until(self._done.exists)


def _fingerprint(made_from: Mapping[str, Any]) -> str:
    canonical = json.dumps(made_from, sort_keys=True)
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]


_NO_RESULTS = re.compile(
    r"config\.json|dtype\.json|metrics\.jsonl|events\.out\..*|\..*|.*\.(partial|sha256)"
)
"""Files that a refused or killed call leaves before its first result."""


def _has_results(directory: Path) -> bool:
    return any(map(_is_result, directory.rglob("*")))


def _is_result(path: Path) -> bool:
    unfinished = any("orbax-checkpoint-tmp" in part for part in path.parts)
    named = _NO_RESULTS.fullmatch(path.name) is None
    return path.is_file() and named and not unfinished
