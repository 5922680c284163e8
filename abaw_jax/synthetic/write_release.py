"""Writes a synthetic release with several processes; can be interrupted.

A video is the unit of work. It is written to a temporary folder and renamed into place,
the video file last: one that exists is complete, and the next call writes the others.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from abaw_jax.synthetic.annotation_files import fill_sheets, list_text, sheet_text
from abaw_jax.synthetic.plan import SyntheticSettings, Video, draw_plan
from abaw_jax.synthetic.render import render_video
from abaw_jax.synthetic.simulate import simulate_all

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
    videos = draw_plan(settings, seed=seed)
    with _alone(root) as lock:
        left = [video for video in videos if not _path(root, video).exists()]
        done = len(videos) - len(left)
        report(done, len(videos))
        # A worker costs half a second to start, about what one video takes.
        workers = min(workers or _cores(), (len(left) + 1) // 2)
        for _ in _recorded(root, left, settings, seed, workers, lock):
            done += 1
            report(done, len(videos))
        shutil.rmtree(root / _STAGING, ignore_errors=True)
        _write_annotations(root, videos, settings, seed)


def record(root: Path, video: Video, settings: SyntheticSettings, *, seed: int) -> None:
    """Draws one video aside, then moves it in place, the file last.

    Args:
      root: the release.
      video: what to film.
      settings: of the release.
      seed: of the release.
    """
    staging = root / _STAGING / video.name
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir(parents=True)
    render_video(video, settings, staging, seed=seed)
    for person in video.people:
        crops = root / _CROPS / person.name
        shutil.rmtree(crops, ignore_errors=True)
        crops.parent.mkdir(exist_ok=True)
        (staging / person.name).rename(crops)
    path = _path(root, video)
    path.parent.mkdir(exist_ok=True)
    (staging / path.name).rename(path)
    staging.rmdir()


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
    elif root.is_dir() and {e.name for e in root.iterdir()} - {_partial(_CARD)}:
        raise ValueError(
            f"{root} is not empty and no synthetic release; choose another directory"
        )
    root.mkdir(parents=True, exist_ok=True)
    _write_text(root / _CARD, json.dumps(card, indent=2) + "\n")


def _difference(found: object, wanted: dict) -> str:
    """Names what two cards disagree about."""
    if not isinstance(found, dict):
        return f"{_CARD} is of another kind"
    there, asked = (card | card.get("settings", {}) for card in (found, wanted))
    return ", ".join(
        f"{key} {there.get(key)} instead of {asked.get(key)}"
        for key in sorted((there.keys() | asked.keys()) - {"settings"})
        if there.get(key) != asked.get(key)
    )


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _path(root: Path, video: Video) -> Path:
    return root / video.batch / (video.name + video.extension)


def _write_text(path: Path, text: str) -> None:
    """Writes as a whole or not at all, line ends as given; leaves what is right."""
    data = text.encode()
    if path.is_file() and path.read_bytes() == data:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(_partial(path.name))
    partial.write_bytes(data)
    partial.replace(path)


def _partial(name: str) -> str:
    return f".{name}.partial"


def _write_annotations(
    root: Path, videos: Sequence[Video], settings: SyntheticSettings, seed: int
) -> None:
    scenes = simulate_all(videos, settings, seed=seed)
    sheets = fill_sheets(scenes.values(), settings, seed=seed)
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


@contextmanager
def _alone(root: Path) -> Iterator[int]:
    """Waits until no other call writes here; yields the descriptor of the lock.

    Workers inherit it, so those of a killed call, which end as soon as they notice,
    are waited for as well.
    """
    import fcntl  # only drawing needs it; Windows has none

    lock = os.open(root, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield lock
    finally:
        os.close(lock)


def _recorded(
    root: Path,
    videos: Sequence[Video],
    settings: SyntheticSettings,
    seed: int,
    workers: int,
    lock: int,
) -> Iterator[str]:
    """Names of the videos as they get finished, here or in subprocesses."""
    if workers > 1:
        yield from _recorded_apart(root, videos, settings, seed, workers, lock)
        return
    for video in videos:
        record(root, video, settings, seed=seed)
        yield video.name


def _recorded_apart(
    root: Path,
    videos: Sequence[Video],
    settings: SyntheticSettings,
    seed: int,
    workers: int,
    lock: int,
) -> Iterator[str]:
    """Shares videos out to subprocesses; all print what they finish to one pipe."""
    path = os.pathsep.join(entry or os.getcwd() for entry in sys.path)
    receive, send = os.pipe()
    processes: list[subprocess.Popen[str]] = []
    try:
        with open(receive) as finished:
            for worker in range(workers):
                names = [video.name for video in videos[worker::workers]]
                task = {"root": str(root.resolve()), "names": names, "seed": seed}
                task["settings"] = asdict(settings)
                processes.append(_start_worker(json.dumps(task), send, path, lock))
            os.close(send)
            for line in finished:
                yield line.strip()
        if any([process.wait() for process in processes]):
            raise RuntimeError(
                f"a worker drawing {root} failed, see its message above; call again to "
                "go on with what is left"
            )
    finally:
        for process in processes:
            process.kill()
            process.communicate()


def _start_worker(
    task: str, output: int, path: str, lock: int
) -> subprocess.Popen[str]:
    """Starts a worker, which ends when its input is closed: with this process."""
    process = subprocess.Popen(
        [sys.executable, "-m", "abaw_jax.synthetic.worker"],
        stdin=subprocess.PIPE,
        stdout=output,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
        pass_fds=[lock],
    )
    assert process.stdin is not None
    process.stdin.write(task + "\n")
    process.stdin.flush()
    return process
