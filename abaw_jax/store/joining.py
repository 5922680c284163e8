"""Joins the labels of a release with its packed images, and reports disagreements."""

import dataclasses
from pathlib import Path
from typing import Literal

import numpy as np

from abaw_jax.releases.findings import Findings, Report, TestCounts
from abaw_jax.releases.labels import (
    AllLabels,
    Source,
    find_overlap,
    remove_overlap,
)
from abaw_jax.releases.test_lists import TestFrames, read_test_lists
from abaw_jax.store.pieces import Record

Overlap = Literal["remove", "keep"]


@dataclasses.dataclass(frozen=True)
class PackedRelease:
    """Packed pieces: all records, and the frame numbers of each subject's crops."""

    sounds: dict[str, Record]
    subjects: dict[str, Record]
    numbers: dict[str, np.ndarray]
    videos: dict[str, str]

    def lengths(self) -> dict[str, int]:
        """Frames of each subject's video; up to its last crop if there is no video."""
        return {
            name: self.sounds[self.videos[name]].facts["num_frames"]
            or (int(numbers[-1]) if len(numbers) else 0)
            for name, numbers in self.numbers.items()
        }


def join_labels(
    release: Source, pieces: PackedRelease, findings: Findings, overlap: Overlap
) -> tuple[Report, AllLabels, dict[str, TestFrames]]:
    """Joins the labels of a release with its packed images.

    Args:
      release: reads its annotations.
      pieces: what was packed of it.
      findings: gets what is wrong with the annotations.
      overlap: "remove" leaves training labels of validation subjects out.

    Returns:
      What there is and what was found; the labels by set and split; the frames of the
      test lists by set.
    """
    labels = release.read_labels(pieces.numbers, findings)
    shared = find_overlap(labels, (video.name for video in release.videos))
    report = Report(
        subjects=len(pieces.subjects),
        images=sum(r.facts["num_images"] for r in pieces.subjects.values()),
        resized=sum(r.facts["resized"] for r in pieces.subjects.values()),
        overlap=shared,
    )
    for (set_name, split), part in labels.items():
        report.sets[set_name][split] = part.counts
    if overlap == "remove":
        report.removed = remove_overlap(labels, shared)
    for record in (*pieces.sounds.values(), *pieces.subjects.values()):
        report.anomalies += record.anomalies
    for video in release.videos:
        frames = pieces.sounds[video.name].facts["num_frames"]
        for subject in video.subjects:
            if late := int(np.sum(pieces.numbers[subject.name] > frames)) * bool(
                frames
            ):
                text = (
                    f"{late} crops come after the last of the video's {frames} frames"
                )
                findings.add("past_end", subject.folder, text)
    _compare_lengths(labels, pieces.lengths(), release.root, findings)
    tests = read_test_lists(release.tests, pieces.lengths(), findings)
    for name, frames in tests.items():
        seen = [np.isin(each, pieces.numbers[s]).sum() for s, each in frames.items()]
        asked = sum(map(len, frames.values()))
        report.tests[name] = TestCounts(len(frames), sum(map(int, seen)), 0)
        report.tests[name].frames_without_image = asked - report.tests[name].frames
    report.anomalies = findings.anomalies() + report.anomalies
    return report, labels, tests


def _compare_lengths(
    labels: AllLabels, frames: dict[str, int], root: Path, findings: Findings
) -> None:
    """Notes annotations with a row a frame whose rows end long before or after them.

    Those of a video at 5 frames a second for crops at 25 are not the first fifth of it.
    Some rows more or less are usual. The multi-task set lists single images.
    """
    for (set_name, split), part in labels.items():
        for subject, rows in part.lengths.items() if set_name != "mtl" else ():
            there = frames.get(subject, 0)
            if there and abs(rows - there) > max(_FEW_ROWS, there // 10):
                text = (
                    f"{set_name} {split}: {rows} rows for {there} frames of {subject}; "
                    "row n is taken for frame n"
                )
                findings.add("rows", root, text)


_FEW_ROWS = 30
