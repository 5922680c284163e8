"""Makes a source for ``prepare`` from one's own videos and a table of labels."""

import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from threading import Lock

import numpy as np

from abaw_jax.faces.crop_folders import CropRule, cut_video
from abaw_jax.faces.observations import faces_of
from abaw_jax.releases.aff_wild2 import Subject
from abaw_jax.releases.crops import ReleaseError, Video, list_entries
from abaw_jax.releases.findings import Findings
from abaw_jax.releases.frame_times import FrameTimes
from abaw_jax.releases.images import MediaError
from abaw_jax.releases.label_table import LabelTable, label_sets, read_table
from abaw_jax.releases.labels import AllLabels, Source
from abaw_jax.releases.media import VIDEO_SUFFIXES, Recording, read_pictures
from abaw_jax.releases.names import normal_name

Progress = Callable[[int, int], None]
"""Called with the number of frames done and of all frames."""


def open_videos(
    root: Path,
    findings: Findings,
    *,
    table: Path,
    rule: CropRule,
    crops: Path,
    progress: Progress,
    workers: int | None = None,
) -> Source:
    """Cuts the faces of videos and gives them with the labels of a table.

    Args:
      root: folder of videos; those of folders in it count too.
      findings: takes what is odd.
      table: CSV file, see `abaw_jax.releases.label_table`.
      rule: where faces come from and how they are cut; a folder of crops is used as it
        is.
      crops: folder for those that are cut here.
      progress: shows how far this is.
      workers: videos at a time; by default one a processor.

    Raises:
      ReleaseError: if there are no videos, two of one name, or no usable table.
      ValueError: if ``rule`` names a folder without the faces of a video.
    """
    labels = read_table(table, findings)
    videos = _find_videos(root, findings)
    if not {*labels.videos()} & videos.keys():
        raise ReleaseError(
            f"table {table} labels none of the {len(videos)} videos of {root}: its "
            f"first is {labels.videos()[0]!a}, theirs {min(videos)!a}"
        )
    rules = {n: rule._replace(faces=faces_of(p, rule.faces)) for n, p in videos.items()}
    folders = {
        name: Path(rules[name].faces) if _is_folder(rules[name].faces) else crops / name
        for name in videos
    }
    recordings = {name: _read(path) for name, path in videos.items()}
    to_cut = [name for name in videos if folders[name] == crops / name]
    count = _Counter(progress, sum(recordings[name].num_frames for name in to_cut))

    def cut(name: str) -> list[str]:
        recording = recordings[name]
        return cut_video(videos[name], rules[name], folders[name], recording, count)

    with ThreadPoolExecutor(workers or os.cpu_count()) as pool:
        for name, remarks in zip(to_cut, pool.map(cut, to_cut), strict=True):
            for remark in remarks:
                findings.add("video", videos[name], remark)
    return Source(
        root,
        tuple(
            Video(name, videos[name], (Subject(name, folders[name]),))
            for name in sorted(videos)
        ),
        partial(_read_labels, labels, recordings),
    )


def _find_videos(root: Path, findings: Findings) -> dict[str, Path]:
    """The videos of a folder and of those in it, by name."""
    if not root.is_dir():
        raise FileNotFoundError(f"videos {root} is not a folder")
    found: dict[str, Path] = {}
    folders = [root]
    for folder in folders:  # it grows
        for path in list_entries(folder, findings):
            if path.is_dir():
                folders += [] if path.is_symlink() else [path]
            elif path.suffix.lower() in VIDEO_SUFFIXES:
                other = found.setdefault(normal_name(path.stem), path)
                if other != path:
                    raise ReleaseError(f"{other} and {path} have one name: rename one")
    if not found:
        raise ReleaseError(f"{root} holds no videos ({', '.join(VIDEO_SUFFIXES)})")
    return found


def _is_folder(faces: str) -> bool:
    return faces not in ("detect", "whole") and Path(faces).is_dir()


def _read(path: Path) -> Recording:
    try:
        return read_pictures(path)
    except MediaError:  # reported where its frames or its sound are read
        return Recording(FrameTimes(0.0), 0)


class _Counter:
    """Adds up the frames that several threads have done."""

    def __init__(self, progress: Progress, total: int) -> None:
        self._progress, self._total = progress, total
        self._done, self._turn = 0, Lock()

    def __call__(self, frames: int) -> None:
        with self._turn:
            self._done += frames
            self._progress(min(self._done, self._total), self._total)


def _read_labels(
    table: LabelTable,
    recordings: Mapping[str, Recording],
    numbers: dict[str, np.ndarray],
    findings: Findings,
) -> AllLabels:
    return label_sets(
        table, numbers, lambda video: recordings[video].frame_times, findings
    )
