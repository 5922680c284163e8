"""The metrics log: JSON lines, and TensorBoard event files.

The JSON lines hold nothing that differs between two runs of the same program (no time,
no host, keys sorted), so a run that was killed and resumed leaves the same bytes as one
that was not.
"""

import json
import math
import time
import zlib
from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from absl import logging

Record = dict[str, Any]


class MetricsLog:
    """A file of JSON lines that a checkpoint can refer to by its length.

    Attributes:
      path: of the file; its folder is made.
    """

    def __init__(
        self,
        path: str | PathLike[str],
        offset: int | None = None,
        checksum: int | None = None,
    ) -> None:
        """Opens the log for more records.

        Args:
          path: of the file.
          offset: bytes to keep, the `offset` of a checkpoint; what a killed run wrote
            after that checkpoint is dropped. ``None`` keeps every complete line.
          checksum: of these bytes, if known. A log with other bytes is continued after
            a warning, since no network is made of it; `checksum` is then that of the
            log as it was written, so that the damage is noticed again.

        Raises:
          ValueError: if the file is shorter than ``offset``.
        """
        self.path = Path(path)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.touch()
        if offset is None:
            offset = self.path.read_bytes().rfind(b"\n") + 1
        size = self.path.stat().st_size
        if size < offset:
            raise ValueError(
                f"{self.path} has {size} bytes, but had {offset} when the checkpoint "
                "was made: it was shortened or replaced since. Put the original back, "
                f"or delete {self.path.parent} to start this stage again."
            )
        self._file = self.path.open("r+b")
        found = zlib.crc32(self._file.read(offset))
        self._file.truncate(offset)
        self._offset = self._file.seek(offset)
        self._checksum = found if checksum is None else checksum
        if found != self._checksum:
            logging.warning("%s", _damage(self.path))

    @property
    def offset(self) -> int:
        """Bytes so far, all of them handed to the operating system."""
        self._file.flush()
        return self._offset

    @property
    def checksum(self) -> int:
        """CRC-32 of the bytes so far."""
        return self._checksum

    def write(self, record: Mapping[str, Any]) -> None:
        """Appends one line.

        Args:
          record: numbers, strings, arrays of them, and nested mappings or sequences.
            NaN and infinities become ``null``: JSON has no word for them.
        """
        line = json.dumps(_plain(record), sort_keys=True, allow_nan=False) + "\n"
        self._offset += self._file.write(line.encode())
        self._checksum = zlib.crc32(line.encode(), self._checksum)

    def close(self) -> None:
        """Writes what is pending and closes the file; calling it again does nothing."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def log_damage(path: str | PathLike[str], checksum: int) -> str:
    """What is wrong with a finished log of this checksum; "" if nothing is."""
    try:
        found = zlib.crc32(Path(path).read_bytes())
    except FileNotFoundError:
        return f"{path} is missing"
    return "" if found == checksum else _damage(path)


def _damage(path: str | PathLike[str]) -> str:
    return (
        f"{path} was changed since it was written: what it says of losses and scores "
        "by epoch, and curves that are drawn of it, may be wrong; networks and results "
        "are not made of it"
    )


def read_metrics(path: str | PathLike[str]) -> list[Record]:
    """Records of a metrics log, also of one that is still being written.

    Args:
      path: of the file.

    Returns:
      One dictionary per complete line; a last line without its end is left out.

    Raises:
      FileNotFoundError: if there is no such file.
      ValueError: if a line is not JSON, naming the line.
    """
    *lines, _ = Path(path).read_bytes().split(b"\n")
    records = []
    for number, line in enumerate(lines, start=1):
        try:
            records.append(json.loads(line))
        except ValueError as error:
            raise ValueError(
                f"{path}, line {number} is no JSON ({error}): the file was edited or "
                "damaged; delete that line to read the rest."
            ) from error
    return records


def mean_records(records: Sequence[Record]) -> list[Record]:
    """Records of many members as those of one: means over the members.

    Args:
      records: of a metrics log; records of members say so under ``member``.

    Returns:
      One record an epoch, and one a chunk, in the order of the log; those of a run of
      one unchanged.
    """
    together: dict[tuple[int, int | None], list[Record]] = {}
    for record in records:
        together.setdefault((record["epoch"], record.get("chunk")), []).append(record)
    return [
        each[0] if len(each) == 1 else _mean_record(each) for each in together.values()
    ]


def _mean_record(records: Sequence[Record]) -> Record:
    position = {key: v for key, v in records[0].items() if key in _POSITION}
    values = [{k: v for k, v in r.items() if k not in _OF_A_LINE} for r in records]
    return position | mean_of(values)


def mean_of(members: Sequence[Mapping[str, float | None]]) -> dict[str, float]:
    """Mean of every value over the members that have a finite one.

    The only definition of the curve of a population: of an epoch, `members` are those
    that trained in it.
    """
    keys = dict.fromkeys(key for each in members for key in each)
    found = {key: [each.get(key) for each in members] for key in keys}
    finite = {
        key: [v for v in each if v is not None and math.isfinite(v)]
        for key, each in found.items()
    }
    return {key: float(np.mean(each)) for key, each in finite.items() if each}


_POSITION = {"epoch", "chunk"}
_OF_A_LINE = {*_POSITION, "member"}


class EventLog:
    """Scalars as TensorBoard event files; a resumed run writes another file."""

    def __init__(self, directory: str | PathLike[str]) -> None:
        """Opens a new event file in ``directory``, which is made."""
        # Protocol buffers take a while to import, and most of the program needs none.
        from tensorboardX.event_file_writer import EventsWriter

        Path(directory).mkdir(parents=True, exist_ok=True)
        # Not a SummaryWriter: its thread writes up to two minutes later, and a process
        # that is terminated leaves an empty file.
        self._writer = EventsWriter(str(Path(directory) / "events"))

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Writes the finite ones of ``values``, each a curve of its name."""
        from tensorboardX.proto.event_pb2 import Event  # pyright: ignore
        from tensorboardX.summary import scalar

        for name, value in values.items():
            if math.isfinite(value):
                summary = scalar(name, float(value))
                event = Event(wall_time=time.time(), step=step, summary=summary)
                self._writer.write_event(event)
        self._writer.flush()

    def close(self) -> None:
        """Closes the file."""
        self._writer.close()


def _plain(value: Any) -> Any:
    """The value as JSON types; arrays of any library become lists or numbers."""
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if value is None or isinstance(value, bool | int | str):
        return value
    return _plain(np.asarray(value).tolist())
