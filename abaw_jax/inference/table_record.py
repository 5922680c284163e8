"""Records what predict wrote for a video, and from what: ``NAME.csv.json``.

A table is ready only for the same model, video, faces and frames; for others it is made
again. A file that predict did not write, or that was changed since, is the user's own
and never replaced.
"""

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from abaw_jax.faces.observations import resolve_faces
from abaw_jax.json_files import json_digest, read_json, write_json
from abaw_jax.store.files import describe_file

if TYPE_CHECKING:
    from abaw_jax.inference.model import Model

_LONGEST_NAME = 255  # bytes, of most file systems
_PARTIAL = ".partial"
_SUFFIX = ".csv.json"

MadeFrom = Mapping[str, str | int]


def describe(
    model: "Model", video: Path, faces: str, every: int, detector: Path | None
) -> MadeFrom:
    """What a table is made from, by the name of the flag that gives it.

    Files are known by their size and time of change, folders by those of all their
    files, the model by the digests of its weights.

    Raises:
      ValueError: if the faces are none of the video's.
    """
    path = resolve_faces(video, faces)
    return {
        "model": json_digest(model.contract),
        "video": _fingerprint(video),
        "faces": faces if path is None else _fingerprint(path),
        "detector": _fingerprint(detector) if detector else "packaged",
        "every": every,
    }


class TableRecord:
    """The record of a table, and of the files that were made of it."""

    def __init__(self, table: Path, video: Path) -> None:
        """Reads the record, if there is one.

        Raises:
          ValueError: if it is that of another video, or the name is too long.
        """
        self._path = table.with_name(f"{table.name}.json")
        if len(os.fsencode(f"{self._path.name}{_PARTIAL}")) > _LONGEST_NAME:
            raise ValueError(f"the name of {video} is too long for its table.")
        self._table = table
        self._found: dict[str, Any] = read_json(self._path) or {}
        self._name = video.name
        if (other := self._found.get("name", video.name)) != video.name:
            raise ValueError(f"{table} is of {other}: choose another --out.")

    @property
    def remark(self) -> str:
        """What was said of the video when the table was made."""
        return self._found.get("remark", "")

    def require_own(self, paths: Iterable[Path]) -> None:
        """Checks that files may be replaced, and that the table was not changed.

        Raises:
          ValueError: if one is there that predict did not write; names it.
        """
        files = self._found.get("files", {})
        for path in (*paths, self._path):
            known = path.name in files or (path == self._path and "name" in self._found)
            if os.path.lexists(path) and not known:
                raise ValueError(
                    f"{path} is there, and there is no record that predict wrote it: "
                    "move it, or choose another --out."
                )
        if self._table.exists() and files[self._table.name] != _digest(self._table):
            raise ValueError(
                f"{self._table} was changed since predict wrote it: move it to have it "
                "made again, or choose another --out."
            )

    def differences(self, made_from: MadeFrom) -> list[str]:
        """Flags of which the table was made with others."""
        found = self._found.get("made_from", {})
        return [name for name, value in made_from.items() if found.get(name) != value]

    def replace(self, partial: Path, made_from: MadeFrom, remark: str) -> None:
        """Gives a table that is complete its name, and removes what was made before.

        After a kill at any moment the record knows every file that is there.
        """
        digest = _digest(partial)
        for name in self._found.get("files", {}):
            self._table.with_name(Path(name).name).unlink(missing_ok=True)
        self._found = {
            "name": self._name,
            "made_from": dict(made_from),
            "files": {self._table.name: digest},
            "remark": remark,
        }
        write_json(self._path, self._found)
        os.replace(partial, self._table)

    @contextmanager
    def writing(self, path: Path) -> Iterator[None]:
        """Notes a file that is made of the table: before that, and its digest after."""
        self._note(path.name, None)
        yield
        self._note(path.name, _digest(path))

    def _note(self, name: str, digest: str | None) -> None:
        self._found["files"][name] = digest
        write_json(self._path, self._found)


def damages(folder: Path) -> Iterator[tuple[Path, str]]:
    """Each file that predict wrote there, and what is wrong with it; "" if nothing."""
    for record in sorted(folder.glob(f"*{_SUFFIX}")):
        for name, digest in (read_json(record) or {}).get("files", {}).items():
            path = folder / Path(name).name
            if digest is not None:  # else it was interrupted, or had no face to draw
                same = path.is_file() and _digest(path) == digest
                yield path, "" if same else "is not as it was written"


def _digest(path: Path) -> str:
    return (describe_file(path) or {})["sha256"]


def _fingerprint(path: Path) -> str:
    """Of a file, or of all files right in a folder."""
    if not path.is_dir():
        return json_digest(_state(path.stat()))
    with os.scandir(path) as entries:
        # A link to nothing has a state, too.
        found = [(e.name, *_state(e.stat(follow_symlinks=False))) for e in entries]
    return json_digest(sorted(found))


def _state(found: os.stat_result) -> tuple[int, int]:
    return found.st_size, found.st_mtime_ns
