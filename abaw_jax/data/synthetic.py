"""A synthetic release in the official layout, drawn from settings and a seed.

``write_release`` writes videos, crops and annotation files as Aff-Wild2 has them;
``truth`` says, without a look at the disk, what a reader must find there. A video is
the unit of work: drawn in a folder of its own, moved in place by renaming, the video
file last, so that a video that is there is finished and a killed run goes on.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from abaw_jax.data.cast import Person, SyntheticSettings, Video, draw_cast
from abaw_jax.data.film import Scene, play, shoot
from abaw_jax.data.sheets import Sheet, fill_sheet, list_text, sheet_text
from abaw_jax.tasks import SETS, SPLITS

__all__ = ["Labels", "SyntheticSettings", "Truth", "truth", "write_release"]

_VERSION = 1  # of the drawing; another one refuses to add to an old release
_CARD, _STAGING, _CROPS = "synthetic.json", ".partial", "cropped_aligned"
_ANNOTATIONS = "Third ABAW Annotations"
_FOLDERS = {
    "va": "VA_Estimation_Challenge",
    "expr": "EXPR_Classification_Challenge",
    "au": "AU_Detection_Challenge",
    "mtl": "MTL_Challenge",
}
_PARTS = {"train": "Train_Set", "validation": "Validation_Set"}
_TEST_FOLDER = "names_of_videos_in_each_test_set"
_TEST_LISTS = (
    "Valence_Arousal_Estimation_Challenge_test_set_release.txt",
    "Expression_Classification_Challenge_test_set_release.txt",
    "Action_Unit_Detection_Challenge_test_set_release.txt",
)


@dataclass(frozen=True)
class Labels:
    """What a reader must find in one set: frames with an image and a valid label.

    Sorted by subject and frame, no duplicates; 0 where a mask is False.

    Attributes:
      subject: ``[N]`` names.
      frame: ``[N]`` int32 from 1.
      va: ``[N, 2]`` float32.
      va_where: ``[N]`` bool.
      expr: ``[N]`` int32.
      expr_where: ``[N]`` bool.
      au: ``[N, 12]`` uint8.
      au_where: ``[N, 12]`` bool.
      subjects: names of all people of the set, sorted.
      labels_without_image: rows with a valid label whose frame has no crop.
      invalid_labels: rows without any valid label.
    """

    subject: NDArray[np.str_]
    frame: NDArray[np.int32]
    va: NDArray[np.float32]
    va_where: NDArray[np.bool_]
    expr: NDArray[np.int32]
    expr_where: NDArray[np.bool_]
    au: NDArray[np.uint8]
    au_where: NDArray[np.bool_]
    subjects: tuple[str, ...]
    labels_without_image: int
    invalid_labels: int


@dataclass(frozen=True)
class Truth:
    """Everything a release holds.

    Attributes:
      videos: what was filmed.
      images: numbers of the frames with a crop, ascending, by subject.
      labels: by set and split, before any overlap is removed.
    """

    videos: tuple[Video, ...]
    images: dict[str, NDArray[np.int32]]
    labels: dict[tuple[str, str], Labels]


def truth(settings: SyntheticSettings, *, seed: int) -> Truth:
    """Says what the release of these settings and this seed holds.

    Args:
      settings: what to draw.
      seed: the only source of chance.

    Returns:
      Videos, images and labels; nothing is read or drawn.
    """
    videos = draw_cast(settings, seed=seed)
    scenes = _scenes(videos, settings, seed)
    images = {
        name: (np.flatnonzero(scene.present) + 1).astype(np.int32)
        for name, scene in scenes.items()
    }
    labels = {
        key: _labels([(p.name, s) for p, s in sheets], images)
        for key, sheets in _sheets(scenes, settings, seed).items()
    }
    return Truth(videos, images, labels)


def write_release(
    directory: str | os.PathLike[str],
    settings: SyntheticSettings,
    *,
    seed: int,
    workers: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Writes a release, or what a killed call left of it to do.

    The files depend on settings and seed alone, not on the workers. Workers are plain
    subprocesses: unlike those of ``multiprocessing`` they do not import the caller's
    main module, and with it jax.

    Args:
      directory: empty, absent, or a release of the same settings and seed.
      settings: what to draw.
      seed: the only source of chance.
      workers: processes; all cores if None, this one if 1.
      progress: called with the videos done and their number.

    Raises:
      ValueError: if the directory holds anything else, or ``workers`` is below 1.
      RuntimeError: if a worker fails; what is finished stays.
    """
    root = Path(directory)
    report = progress or (lambda done, total: None)
    if workers is not None and workers < 1:
        raise ValueError(f"workers is {workers}, not at least 1")
    _claim(root, settings, seed)
    videos = draw_cast(settings, seed=seed)
    left = [video for video in videos if not _path(root, video).exists()]
    done = len(videos) - len(left)
    report(done, len(videos))
    # A worker costs half a second to start, about what one video takes.
    workers = min(workers or _cores(), (len(left) + 1) // 2)
    recorded = (
        _record_apart(root, left, settings, seed, workers)
        if workers > 1
        else _record_here(root, left, settings, seed)
    )
    for _ in recorded:
        done += 1
        report(done, len(videos))
    shutil.rmtree(root / _STAGING, ignore_errors=True)
    _write_annotations(root, videos, settings, seed)


def _scenes(
    videos: Sequence[Video], settings: SyntheticSettings, seed: int
) -> dict[str, Scene]:
    return {
        person.name: play(video, person, settings, seed=seed)
        for video in videos
        for person in video.people
    }


def _sheets(
    scenes: dict[str, Scene], settings: SyntheticSettings, seed: int
) -> dict[tuple[str, str], list[tuple[Person, Sheet]]]:
    """All annotation sheets, by set and split."""
    sheets: dict[tuple[str, str], list[tuple[Person, Sheet]]] = {
        (name, split): [] for name in SETS for split in SPLITS
    }
    for scene in scenes.values():
        for name, split in scene.person.sets:
            person, ratings = scene.person, scene.ratings
            sheet = fill_sheet(settings, person, name, split, ratings, seed=seed)
            sheets[name, split].append((person, sheet))
    return sheets


def _labels(
    sheets: list[tuple[str, Sheet]], images: dict[str, NDArray[np.int32]]
) -> Labels:
    sheets = sorted(sheets, key=lambda pair: pair[0])
    subject = np.repeat([n for n, _ in sheets], [len(s.frame) for _, s in sheets])
    columns = [
        np.concatenate(column) for column in zip(*(s for _, s in sheets), strict=True)
    ]
    frame, va, expr, au = columns
    seen = np.concatenate([np.isin(s.frame, images[name]) for name, s in sheets])
    va_where, expr_where, au_where = va[:, 0] != -5, expr != -1, au != -1
    valid = va_where | expr_where | au_where.any(axis=1)
    keep = valid & seen
    return Labels(
        subject=subject[keep],
        frame=frame[keep].astype(np.int32),
        va=np.where(va_where[:, None], va, 0)[keep].astype(np.float32),
        va_where=va_where[keep],
        expr=np.where(expr_where, expr, 0)[keep].astype(np.int32),
        expr_where=expr_where[keep],
        au=np.where(au_where, au, 0)[keep].astype(np.uint8),
        au_where=au_where[keep],
        subjects=tuple(name for name, _ in sheets),
        labels_without_image=int((valid & ~seen).sum()),
        invalid_labels=int((~valid).sum()),
    )


def _claim(root: Path, settings: SyntheticSettings, seed: int) -> None:
    """Makes the directory ours, or says why it cannot be."""
    card = {"synthetic": True, "version": _VERSION, "seed": seed}
    card = json.loads(json.dumps(card | {"settings": asdict(settings)}))
    if root.exists() and not root.is_dir():
        raise ValueError(f"{root} is a file; a release needs a directory")
    if (root / _CARD).is_file():
        try:
            found = json.loads((root / _CARD).read_text())
        except ValueError:
            raise ValueError(
                f"{root / _CARD} cannot be read; delete {root} to draw it anew"
            ) from None
        if found != card:
            raise ValueError(
                f"{root} holds a synthetic release of other settings "
                f"({_difference(found, card)}); choose another directory or delete it"
            )
    elif root.is_dir() and any(root.iterdir()):
        raise ValueError(
            f"{root} is not empty and no synthetic release; choose another directory"
        )
    root.mkdir(parents=True, exist_ok=True)
    _write_text(root / _CARD, json.dumps(card, indent=2) + "\n")


def _difference(found: object, wanted: dict) -> str:
    if not isinstance(found, dict):
        return f"{_CARD} is of another kind"
    flat = [
        card | dict(card.pop("settings", {})) for card in (dict(found), dict(wanted))
    ]
    return ", ".join(
        f"{key}: {flat[0].get(key)} there, {flat[1].get(key)} asked for"
        for key in sorted(flat[0].keys() | flat[1].keys())
        if flat[0].get(key) != flat[1].get(key)
    )


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _path(root: Path, video: Video) -> Path:
    return root / video.batch / (video.name + video.extension)


def _write_text(path: Path, text: str) -> None:
    """Writes as a whole or not at all, line ends as given."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    partial.write_bytes(text.encode())
    partial.replace(path)


def _write_annotations(
    root: Path, videos: Sequence[Video], settings: SyntheticSettings, seed: int
) -> None:
    sheets = _sheets(_scenes(videos, settings, seed), settings, seed)
    for (name, split), pairs in sheets.items():
        folder = root / _ANNOTATIONS / _FOLDERS[name]
        if name == "mtl":
            _write_text(folder / f"{split}_set.txt", list_text(settings, pairs))
            continue
        for person, sheet in pairs:
            text = sheet_text(settings, person, name, sheet)
            _write_text(folder / _PARTS[split] / f"{person.name}.txt", text)
    unlabelled = [p.name for video in videos for p in video.people if not p.sets]
    for name in _TEST_LISTS if unlabelled else ():
        _write_text(root / _TEST_FOLDER / name, "".join(f"{n}\n" for n in unlabelled))


def _record_here(
    root: Path, videos: Sequence[Video], settings: SyntheticSettings, seed: int
) -> Iterator[str]:
    for video in videos:
        _record(root, video, settings, seed)
        yield video.name


def _record_apart(
    root: Path,
    videos: Sequence[Video],
    settings: SyntheticSettings,
    seed: int,
    workers: int,
) -> Iterator[str]:
    """Shares videos out to subprocesses; all print what they finish to one pipe."""
    path = os.pathsep.join(entry or os.getcwd() for entry in sys.path)
    receive, send = os.pipe()
    crew: list[subprocess.Popen[str]] = []
    try:
        with open(receive) as finished:
            for worker in range(workers):
                names = [video.name for video in videos[worker::workers]]
                crew.append(_hire(root, names, settings, seed, send, path))
            os.close(send)
            for line in finished:
                yield line.strip()
        if any([process.wait() for process in crew]):
            raise RuntimeError(
                f"a worker drawing {root} failed, see its message above; call again to "
                "go on with what is left"
            )
    finally:
        for process in crew:
            process.kill()
            process.wait()


def _hire(
    root: Path,
    names: list[str],
    settings: SyntheticSettings,
    seed: int,
    output: int,
    path: str,
) -> subprocess.Popen[str]:
    task = {"root": str(root.resolve()), "names": names, "seed": seed}
    process = subprocess.Popen(
        [sys.executable, "-m", "abaw_jax.data.synthetic"],
        stdin=subprocess.PIPE,
        stdout=output,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
    )
    assert process.stdin is not None
    with process.stdin as pipe:
        pipe.write(json.dumps(task | {"settings": asdict(settings)}))
    return process


def _record(root: Path, video: Video, settings: SyntheticSettings, seed: int) -> None:
    """Draws aside, then moves in place, the video last: its presence means done."""
    staging = root / _STAGING / video.name
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir(parents=True)
    shoot(video, settings, staging, seed=seed)
    for person in video.people:
        crops = root / _CROPS / person.name
        shutil.rmtree(crops, ignore_errors=True)
        crops.parent.mkdir(exist_ok=True)
        (staging / person.name).rename(crops)
    path = _path(root, video)
    path.parent.mkdir(exist_ok=True)
    (staging / path.name).rename(path)
    staging.rmdir()


def _work() -> None:
    """A worker's whole life: tasks in by standard input, names of videos out."""
    task = json.load(sys.stdin)
    size = tuple(task["settings"].pop("video_size"))
    settings = SyntheticSettings(**task["settings"], video_size=size)
    videos = draw_cast(settings, seed=task["seed"])
    mine = [video for video in videos if video.name in task["names"]]
    for name in _record_here(Path(task["root"]), mine, settings, task["seed"]):
        print(name, flush=True)


if __name__ == "__main__":
    _work()
