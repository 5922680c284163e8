"""Records what a reader found in a release: counts by set, and anomalies.

Nothing in a release stops the reading of the rest: what cannot be used is left out,
counted, and named with its file and line in ``report.json``.
"""

import dataclasses
import json
from pathlib import Path
from typing import Any

from abaw_jax.releases.names import printable
from abaw_jax.tasks import ACTION_UNITS, EXPRESSIONS, SETS, SPLITS


@dataclasses.dataclass(frozen=True)
class Anomaly:
    """One thing that is not as a release should be.

    Attributes:
      kind: a short word to count by, such as ``"range"`` or ``"unreadable"``.
      file: the file or folder, relative to the release.
      line: line of a text file, counted from 1; None for anything else.
      text: one sentence: what is wrong and what was done about it.
    """

    kind: str
    file: str
    line: int | None
    text: str

    def __str__(self) -> str:
        place = self.file if self.line is None else f"{self.file}:{self.line}"
        return f"{place}: {self.text}"


class Findings:
    """Collects anomalies of one piece of work.

    A file of a hundred thousand bad lines must not become a report of that length, so
    from each file the first ``limit`` of a kind are kept and the others counted.
    """

    def __init__(self, root: Path, *, limit: int = 20) -> None:
        self._root = root
        self._limit = limit
        self._kept: list[Anomaly] = []
        self._counts: dict[tuple[str, str], int] = {}

    def add(self, kind: str, path: Path, text: str, line: int | None = None) -> None:
        """Notes one anomaly of the file or folder ``path``."""
        inside = path.is_relative_to(self._root)
        file = (path.relative_to(self._root) if inside else path).as_posix()
        file, text = printable(file), printable(text)
        group = _group(kind, file, line)
        self._counts[group] = self._counts.get(group, 0) + 1
        if self._counts[group] <= self._limit:
            self._kept.append(Anomaly(kind, file, line, text))

    def anomalies(self) -> list[Anomaly]:
        """Everything noted, then a line for each group that was cut short."""
        rest = [
            Anomaly(kind, file, None, f"{count - self._limit} more of this kind")
            for (kind, file), count in self._counts.items()
            if count > self._limit
        ]
        return self._kept + rest

    def sentences(self) -> list[str]:
        """One of each group: its first anomaly, and how many more there are."""
        first: dict[tuple[str, str], Anomaly] = {}
        for each in self._kept:
            first.setdefault(_group(each.kind, each.file, each.line), each)
        more = {group: self._counts[group] - 1 for group in first}
        return [
            f"{each}{f' ({more[group]:,} more of this kind)' if more[group] else ''}"
            for group, each in first.items()
        ]


def _group(kind: str, file: str, line: int | None) -> tuple[str, str]:
    # Crops count by their folder: a broken disk breaks thousands of them.
    return kind, file if line else Path(file).parent.as_posix()


AFFECT_BINS = 20
"""Bins of the histograms of valence and arousal."""


@dataclasses.dataclass
class SetCounts:
    """Counts of one split of one annotation set, overlaps still inside.

    Attributes:
      subjects: subjects that the annotation names.
      frames: frames with a usable label and an image.
      labels_without_image: usable labels whose frame has no image.
      invalid_labels: labels in which nothing is usable.
      expressions: how many of the frames show each expression, ``[8]``.
      units_known: how many are labelled for each action unit, ``[12]``.
      units_present: how many of those show it, ``[12]``.
      valence: histogram over ``[-1, 1]`` in twenty equal bins.
      arousal: the same.
    """

    subjects: int = 0
    frames: int = 0
    labels_without_image: int = 0
    invalid_labels: int = 0
    expressions: list[int] = dataclasses.field(
        default_factory=lambda: [0] * len(EXPRESSIONS)
    )
    units_known: list[int] = dataclasses.field(
        default_factory=lambda: [0] * len(ACTION_UNITS)
    )
    units_present: list[int] = dataclasses.field(
        default_factory=lambda: [0] * len(ACTION_UNITS)
    )
    valence: list[int] = dataclasses.field(default_factory=lambda: [0] * AFFECT_BINS)
    arousal: list[int] = dataclasses.field(default_factory=lambda: [0] * AFFECT_BINS)


def _empty_sets() -> dict[str, dict[str, SetCounts]]:
    return {name: {split: SetCounts() for split in SPLITS} for name in SETS}


@dataclasses.dataclass
class TestCounts:
    """Counts of one test list.

    Attributes:
      subjects: that it names and that have crops.
      frames: to predict, with an image.
      frames_without_image: to predict all the same.
    """

    subjects: int = 0
    frames: int = 0
    frames_without_image: int = 0


@dataclasses.dataclass
class Report:
    """Everything that ``prepare`` found, as in ``STORE/report.json``.

    Attributes:
      subjects: face tracks, one folder of crops each.
      images: crops stored.
      resized: how many of them had another size than the store's.
      sets: counts by set and split, before overlaps are removed, duplicates once.
      overlap: ``overlap[a][b]`` names the subjects that train in set ``a`` and whose
        video validates in set ``b``.
      removed: training frames taken out of each set for that reason.
      tests: counts of the test lists, by set.
      anomalies: everything odd, in the order of the release.
    """

    subjects: int = 0
    images: int = 0
    resized: int = 0
    sets: dict[str, dict[str, SetCounts]] = dataclasses.field(
        default_factory=_empty_sets
    )
    overlap: dict[str, dict[str, list[str]]] = dataclasses.field(default_factory=dict)
    removed: dict[str, int] = dataclasses.field(default_factory=dict)
    tests: dict[str, TestCounts] = dataclasses.field(default_factory=dict)
    anomalies: list[Anomaly] = dataclasses.field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """The report as plain lists and dictionaries."""
        return dataclasses.asdict(self)

    def summary(self) -> str:
        """A few lines for the terminal."""
        lines = [f"{self.subjects} subjects, {self.images} images"]
        if self.resized:
            lines[0] += f" ({self.resized} resized)"
        lines.append(
            f"{'set':<16}{'subjects':>9}{'frames':>10}{'no image':>10}{'invalid':>9}"
        )
        for name, splits in self.sets.items():
            for split, counts in splits.items():
                lines.append(
                    f"{name + ' ' + split:<16}{counts.subjects:>9}{counts.frames:>10}"
                    f"{counts.labels_without_image:>10}{counts.invalid_labels:>9}"
                )
        for name, test in self.tests.items():
            lines.append(
                f"{name + ' test':<16}{test.subjects:>9}{test.frames:>10}"
                f"{test.frames_without_image:>10}"
            )
        for name, others in self.overlap.items():
            for other, subjects in others.items():
                lines.append(
                    f"subjects that train in {name} and validate in {other}: "
                    f"{len(subjects)}"
                )
        for name, frames in self.removed.items():
            lines.append(f"{frames} training frames of {name} removed for it")
        lines.append(f"{len(self.anomalies)} anomalies" + self._kinds())
        return "\n".join(lines)

    def _kinds(self) -> str:
        counts: dict[str, int] = {}
        for anomaly in self.anomalies:
            counts[anomaly.kind] = counts.get(anomaly.kind, 0) + 1
        text = ", ".join(f"{count} {kind}" for kind, count in sorted(counts.items()))
        return f" ({text})" if text else ""


def report_bytes(report: Report) -> bytes:
    """Returns the bytes of ``report.json``."""
    return json.dumps(report.as_json(), indent=1).encode() + b"\n"
