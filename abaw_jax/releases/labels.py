"""Joins annotations and images, and counts the labels that are kept and dropped.

Labels meet images by subject and frame number, never by count: the annotation of a
video has often one line more than the video frames, and undetected faces leave gaps.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from abaw_jax.releases.aff_wild2 import Release, scan_release, video_name
from abaw_jax.releases.annotations import Rows, read_annotation
from abaw_jax.releases.crops import Video
from abaw_jax.releases.findings import AFFECT_BINS, Findings, SetCounts
from abaw_jax.tasks import ACTION_UNITS, AFFECT, EXPRESSIONS, SETS, SPLITS

Overlap = dict[str, dict[str, list[str]]]


@dataclasses.dataclass(frozen=True)
class Labels:
    """Labels of one split of one set, sorted by subject and frame, no frame twice.

    Every row has an image and at least one value; where a mask is False the value is 0.

    Attributes:
      subject: int32 ``[N]``, index into the store's subjects.
      frame: int32 ``[N]``, counted from 1.
      va: float32 ``[N, 2]`` in ``[-1, 1]``.
      va_where: bool ``[N]``.
      expr: int32 ``[N]``, index into ``EXPRESSIONS``.
      expr_where: bool ``[N]``.
      au: uint8 ``[N, 12]``, columns as ``ACTION_UNITS``.
      au_where: bool ``[N, 12]``.
    """

    subject: np.ndarray
    frame: np.ndarray
    va: np.ndarray
    va_where: np.ndarray
    expr: np.ndarray
    expr_where: np.ndarray
    au: np.ndarray
    au_where: np.ndarray

    def __len__(self) -> int:
        return len(self.frame)


@dataclasses.dataclass(frozen=True)
class SplitLabels:
    """One split of one set as read from a release.

    Attributes:
      counts: for the report.
      subjects: every subject that the annotation names.
      rows: usable rows with image, by subject.
      lengths: last frame that the annotation has a row of, by subject.
    """

    counts: SetCounts
    subjects: list[str]
    rows: dict[str, Rows]
    lengths: dict[str, int] = dataclasses.field(default_factory=dict)

    def add(self, subject: str, rows: Rows, numbers: np.ndarray) -> None:
        """Counts the rows of a subject and keeps those of use.

        Args:
          subject: its name.
          rows: everything that the annotation says of it.
          numbers: frame numbers of its images.
        """
        usable = rows.usable()
        images = np.isin(rows.frame, numbers)
        self.subjects.append(subject)
        self.lengths[subject] = int(rows.frame.max(initial=0))
        self.counts.subjects += 1
        self.counts.invalid_labels += int(np.sum(~usable))
        self.counts.labels_without_image += int(np.sum(usable & ~images))
        self.counts.frames += int(np.sum(usable & images))
        if np.any(usable & images):
            kept = self.rows[subject] = rows.take(usable & images)
            self._count_labels(kept)

    def _count_labels(self, rows: Rows) -> None:
        """Adds to the counts of every class, unit and level."""
        counts = self.counts
        classes = np.bincount(rows.expr[rows.expr_where], minlength=len(EXPRESSIONS))
        affect = rows.va[rows.va_where].T
        bins = [np.histogram(each, AFFECT_BINS, (-1, 1))[0] for each in affect]
        for total, found in (
            (counts.expressions, classes),
            (counts.units_known, rows.au_where.sum(0)),
            (counts.units_present, ((rows.au > 0) & rows.au_where).sum(0)),
            (counts.valence, bins[0]),
            (counts.arousal, bins[1]),
        ):
            total[:] = (np.array(total) + found).tolist()


AllLabels = dict[tuple[str, str], SplitLabels]
"""Labels by set and split."""


@dataclasses.dataclass(frozen=True)
class Source:
    """Input of ``prepare``.

    Attributes:
      root: the folder that contains everything.
      videos: with the crops of each.
      tests: test lists by set.
      read_labels: reads the labels, given the frame numbers of the images of every
        subject; anomalies are added to the findings.
    """

    root: Path
    videos: tuple[Video, ...]
    read_labels: Callable[[dict[str, np.ndarray], Findings], AllLabels]
    tests: dict[str, tuple[Path, ...]] = dataclasses.field(default_factory=dict)


def open_release(root: Path, findings: Findings) -> Source:
    """A release of Aff-Wild2; raises like ``scan_release``."""
    release = scan_release(root, findings)
    read = functools.partial(read_labels, release)
    return Source(root, release.videos, read, release.tests)


def read_labels(
    release: Release, numbers: dict[str, np.ndarray], findings: Findings
) -> AllLabels:
    """Reads all annotations of a release.

    Args:
      release: the folders found.
      numbers: frame numbers of the images of every subject.
      findings: takes what is odd.
    """
    return {
        (set_name, split): _read_split(release, set_name, split, numbers, findings)
        for set_name in SETS
        for split in SPLITS
    }


def _read_split(
    release: Release,
    set_name: str,
    split: str,
    numbers: dict[str, np.ndarray],
    findings: Findings,
) -> SplitLabels:
    labels = SplitLabels(SetCounts(), [], {})
    for path in release.annotations.get((set_name, split), ()):
        for subject, rows in sorted(read_annotation(path, set_name, findings).items()):
            if subject not in numbers:
                text = f"there are no crops of {subject!r}; its labels were left out"
                findings.add("unknown_subject", path, text)
            labels.add(subject, rows, numbers.get(subject, np.zeros(0, np.int32)))
    return labels


def find_overlap(labels: AllLabels, videos: Iterable[str]) -> Overlap:
    """Names the subjects that train in a set while their video validates in one.

    Compared by video, since two people of one video share its scene and its sound.

    Returns:
      Subjects by set of training and set of validation; without empty entries.
    """
    videos = frozenset(videos)
    overlap: Overlap = {}
    for other in SETS:
        held_out = {video_name(s, videos) for s in labels[other, "validation"].subjects}
        for name in SETS:
            shared = [
                subject
                for subject in sorted(labels[name, "train"].subjects)
                if video_name(subject, videos) in held_out
            ]
            if shared:
                overlap.setdefault(name, {})[other] = shared
    return overlap


def remove_overlap(labels: AllLabels, overlap: Overlap) -> dict[str, int]:
    """Takes overlapping subjects out of training; returns the frames lost by set."""
    removed = {}
    for name, others in overlap.items():
        rows = labels[name, "train"].rows
        leaking = {subject for subjects in others.values() for subject in subjects}
        lost = [rows.pop(subject) for subject in sorted(leaking) if subject in rows]
        removed[name] = sum(len(taken.frame) for taken in lost)
    return removed


def join_rows(rows: dict[str, Rows], index: dict[str, int]) -> Labels:
    """One table of all subjects, sorted by subject and frame.

    Args:
      rows: by subject.
      index: number of each subject in the store.
    """
    order = sorted(rows, key=index.__getitem__)
    blocks = [_no_rows(), *(rows[name] for name in order)]
    lengths = [len(rows[name].frame) for name in order]
    subject = np.repeat(np.array([index[name] for name in order], np.int32), lengths)
    return Labels(
        subject=subject,
        **{
            field.name: np.concatenate([getattr(block, field.name) for block in blocks])
            for field in dataclasses.fields(Rows)
        },
    )


def _no_rows() -> Rows:
    return Rows(
        frame=np.zeros(0, np.int32),
        va=np.zeros((0, len(AFFECT)), np.float32),
        va_where=np.zeros(0, bool),
        expr=np.zeros(0, np.int32),
        expr_where=np.zeros(0, bool),
        au=np.zeros((0, len(ACTION_UNITS)), np.uint8),
        au_where=np.zeros((0, len(ACTION_UNITS)), bool),
    )
