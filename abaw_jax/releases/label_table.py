"""Reads the labels of one's own videos from one CSV table.

A line labels a frame: ``video``, ``frame`` (from 1) or ``time`` (seconds), and any of
``valence``, ``arousal``, ``expression`` (a name or the number of a class), ``AU01`` …
and ``split``. An empty cell is no label.
"""

import csv
import math
import re
from array import array
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np

from abaw_jax.releases.annotations import LABELS, MAX_FRAME, Rows, arrange, quote
from abaw_jax.releases.crops import ReleaseError
from abaw_jax.releases.findings import Findings, SetCounts
from abaw_jax.releases.frame_times import FrameTimes
from abaw_jax.releases.labels import AllLabels, SplitLabels
from abaw_jax.releases.media import VIDEO_SUFFIXES
from abaw_jax.releases.names import normal_name
from abaw_jax.releases.text_lines import TextLimitError, bounded_lines
from abaw_jax.tasks import ACTION_UNITS, AFFECT, EXPRESSIONS, SETS, SPLITS

_UNIT = re.compile(r"au_?0*([0-9]{1,3})(_c)?", re.IGNORECASE)  # OpenFace adds _c
_SPLIT_NAMES = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("validation", "val", "valid", "dev"), "validation"),
}
_VALIDATED = 5  # every fifth video, if the table has no splits
_CLASSES = {name.lower(): k for k, name in enumerate(EXPRESSIONS)}
_CLASSES |= {str(k): k for k in range(len(EXPRESSIONS))}

Times = Callable[[str], FrameTimes]
"""Times of the frames of a video, by its name."""


@dataclass(frozen=True)
class LabelTable:
    """Labels as the table has them.

    Attributes:
      path: of the table.
      by_time: True if lines name seconds, not frames.
      lines: by video and split, of every line its number, its frame or time, and the
        values in the order of `LABELS`, NaN where there is none.
    """

    path: Path
    by_time: bool
    lines: Mapping[tuple[str, str], "array[float]"]

    def videos(self) -> list[str]:
        """Names of the videos, without suffix, in order."""
        return sorted({video for video, _ in self.lines})


def read_table(path: Path, findings: Findings) -> LabelTable:
    """Reads a table; cells that are no labels are left out and reported.

    Raises:
      ReleaseError: if it cannot be read, lacks a column that it needs, or counts frames
        from 0.
    """
    lines: dict[tuple[str, str], array[float]] = {}
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(
                bounded_lines(file), skipinitialspace=True, restval=""
            )
            columns = _columns(path, reader.fieldnames or (), findings)
            place = columns["frame"] or columns["time"]
            for row in reader:
                line = _Line(path, reader.line_num, findings, row)
                video = _video_name(row[columns["video"]])
                split = line.split(columns["split"])
                position = line.position(place, whole=bool(columns["frame"]))
                if video and split is not None and position is not None:
                    values = (line.value(k, columns[k]) for k in LABELS)
                    found = lines.setdefault((video, split), array("d"))
                    found.extend((reader.line_num, position, *values))
    except (OSError, UnicodeDecodeError, csv.Error, TextLimitError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ReleaseError(f"table {path} cannot be read ({reason})") from None
    if not lines:
        raise ReleaseError(f"table {path} labels nothing")
    if not columns["split"]:
        lines = _assign_splits(path, lines, findings)
    return LabelTable(path, not columns["frame"], lines)


def _columns(path: Path, header: Iterable[str], findings: Findings) -> dict[str, str]:
    """Column of the table by what it holds; "" if there is none."""
    columns: dict[str, str] = {
        name: "" for name in ("video", "frame", "time", "split", *LABELS)
    }
    unused = []
    for name in header:
        key = name.strip().lower()
        if unit := _UNIT.fullmatch(key):
            key = f"AU{unit[1]}"
        if key in columns and not columns[key]:
            columns[key] = name
        else:
            unused.append(name.strip())
    if not columns["video"] or not (columns["frame"] or columns["time"]):
        raise ReleaseError(
            f"table {path} needs the columns video and frame (or time), and at least "
            f"one of {', '.join(AFFECT)}, expression, AU01, …; it has "
            f"{quote(', '.join(header)) if header else 'no header'}"
        )
    if not any(columns[name] for name in LABELS):
        raise ReleaseError(
            f"table {path} has no column of labels: {', '.join(AFFECT)}, expression, "
            f"or a unit ({', '.join(ACTION_UNITS)})"
        )
    if unused:
        findings.add("columns", path, f"not used: {quote(', '.join(unused))}", 1)
    return columns


@dataclass(frozen=True)
class _Line:
    """One line of a table; what is wrong with it is reported."""

    path: Path
    number: int
    findings: Findings
    row: Mapping[str, str]

    def split(self, column: str) -> str | None:
        """Its split, "" without the column, None if it names another one."""
        if not column:
            return ""
        text = self.row[column].strip().lower() or "train"
        if text in _SPLIT_NAMES:
            return _SPLIT_NAMES[text]
        self._note("split", f"split {quote(text)} is none of train and validation")
        return None

    def position(self, column: str, *, whole: bool) -> float | None:
        """Its frame number or its time."""
        text = self.row[column]
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if whole and value == 0:
            raise ReleaseError(
                f"table {self.path}, line {self.number}: frames count from 1, and this "
                "is frame 0: add 1 to all of them"
            )
        right = 1 <= value <= MAX_FRAME and value.is_integer() if whole else value >= 0
        if right and math.isfinite(value):
            return value
        kind = "a frame number" if whole else "a time in seconds"
        self._note("number", f"{quote(text)} is no {kind}")
        return None

    def value(self, name: str, column: str) -> float:
        """One of its labels; NaN if it has none."""
        text = (self.row[column] if column else "").strip()
        if not text:
            return math.nan
        if name == "expression":
            value = float(_CLASSES.get(text.lower().removesuffix(".0"), math.nan))
            right = not math.isnan(value)
        else:
            try:
                value = float(text)
            except ValueError:
                value = math.nan
            right = -1 <= value <= 1 if name in AFFECT else value in (0, 1)
        if right:
            return value
        choices = {"expression": f"{', '.join(EXPRESSIONS)} or 0 to 7"}
        wanted = choices.get(name, "-1 to 1" if name in AFFECT else "0 or 1")
        self._note("range", f"{name} is {quote(text)}, not {wanted}")
        return math.nan

    def _note(self, kind: str, text: str) -> None:
        self.findings.add(kind, self.path, f"{text}; left out", self.number)


def _video_name(cell: str) -> str:
    """Name of a video without folder and suffix, as its crops are named."""
    path = Path(normal_name(cell.strip().replace("\\", "/")))
    return path.stem if path.suffix.lower() in VIDEO_SUFFIXES else path.name


def _assign_splits(
    path: Path, lines: Mapping[tuple[str, str], "array[float]"], findings: Findings
) -> dict[tuple[str, str], "array[float]"]:
    """Every fifth video validates, and one of fewer."""
    names = sorted(video for video, _ in lines)
    held_out = {*names[_VALIDATED - 1 :: _VALIDATED]} or {*names[1:][-1:]}
    text = (
        f"no column split: {len(held_out)} of {len(names)} videos validate; name the "
        "splits if people are in several videos"
    )
    findings.add("split", path, text, 1)
    return {
        (name, SPLITS[name in held_out]): table for (name, _), table in lines.items()
    }


def label_sets(
    table: LabelTable, numbers: Mapping[str, np.ndarray], times: Times, found: Findings
) -> AllLabels:
    """Labels by set and split.

    Those of one task are the set of this task; of several, the multi-task set.

    Args:
      table: as read.
      numbers: frame numbers of the crops of every video.
      times: of the frames; asked for if lines name times.
      found: gets what is wrong.
    """
    labels: AllLabels = {
        key: SplitLabels(SetCounts(), [], {}) for key in product(SETS, SPLITS)
    }
    rows: dict[tuple[str, str], Rows] = {}
    for (video, split), lines in sorted(table.lines.items()):
        if video not in numbers:
            text = f"there is no video {video!a}; its labels were left out"
            found.add("unknown_subject", table.path, text)
        elif table.by_time:
            lines = _frames_of_times(lines, times(video))
        rows[video, split] = arrange(table.path, video, lines, found)
    name = _set_of(rows.values())
    for (video, split), each in rows.items():
        labels[name, split].add(video, each, numbers.get(video, np.zeros(0, np.int32)))
    return labels


def _frames_of_times(lines: "array[float]", times: FrameTimes) -> "array[float]":
    values = np.array(lines).reshape(-1, 2 + len(LABELS))
    values[:, 1] = times.nearest(values[:, 1])
    return array("d", values.ravel())


def _set_of(rows: Iterable[Rows]) -> str:
    tasks = {"va": False, "expr": False, "au": False}
    for each in rows:
        tasks["va"] |= bool(each.va_where.any())
        tasks["expr"] |= bool(each.expr_where.any())
        tasks["au"] |= bool(each.au_where.any())
    labelled = [name for name, there in tasks.items() if there]
    return labelled[0] if len(labelled) == 1 else "mtl"
