"""Packs all pieces of a release, several at a time, and collects their records.

What runs the tasks is an `Engine`: the threads of this process or, in `ray_engine`, the
processes of a Ray cluster. Threads do on one machine, since decoding, resampling and
hashing run outside the interpreter lock (one thread 121, two 75 microseconds a crop of
112 pixels).
"""

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import (
    FIRST_COMPLETED,
    CancelledError,
    Future,
    ThreadPoolExecutor,
    wait,
)
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from abaw_jax.disk_space import require_space
from abaw_jax.releases.labels import Source
from abaw_jax.store.frames import FRAME_FILES, crop_bytes
from abaw_jax.store.joining import PackedRelease
from abaw_jax.store.options import record_options
from abaw_jax.store.pieces import Packer, Record, Subject
from abaw_jax.store.reader import MANIFEST


class Progress(Protocol):
    """Called with the number of packed crops and of all crops."""

    def __call__(self, done: int, total: int, /) -> None:
        """Shows it."""


class Task(NamedTuple):
    """A call of a packer's method.

    Attributes:
      call: the method, such as ``Packer.pack_sound``.
      arguments: of the call.
      name: of the piece, for messages.
      crops: that are done when it returns.
    """

    call: Callable[..., Any]
    arguments: tuple[Any, ...]
    name: str
    crops: int = 0


class Engine(Protocol):
    """Runs tasks, several at a time.

    Attributes:
      places: how many tasks it takes at once; bounds what waits in it.
    """

    @property
    def places(self) -> int: ...  # noqa: D102

    def submit(self, packer: Packer, task: Task) -> Future[Any]:
        """Starts a task, soon, with this packer or its like in another process."""
        ...

    def cancel(self) -> None:
        """Drops the tasks that have not begun."""
        ...


OpenEngine = Callable[[], AbstractContextManager[Engine]]


class _Threads:
    """The engine of one process."""

    def __init__(self, pool: ThreadPoolExecutor, workers: int) -> None:
        self.places = 2 * workers
        self._pool = pool

    def submit(self, packer: Packer, task: Task) -> Future[Any]:
        return self._pool.submit(task.call, packer, *task.arguments)

    def cancel(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)


@contextmanager
def open_threads(workers: int | None = None) -> Iterator[Engine]:
    """Threads of this process; by default one a processor, at most 16."""
    workers = min(os.cpu_count() or 1, 16) if workers is None else max(1, workers)
    with ThreadPoolExecutor(workers) as pool:
        yield _Threads(pool, workers)


class Work:
    """State shared by the threads of one run: progress, and the request to stop."""

    def __init__(self, store: Path | None, progress: Progress | None) -> None:
        self.stopped = threading.Event()
        self.total = 0
        self._store = store
        self._progress = progress
        self._done = 0
        self._shown = 0
        self._turn = threading.Lock()

    def on_progress(self, crops: int) -> None:
        """Shows it; raises CancelledError where the work is to end."""
        if self.stopped.is_set():
            raise CancelledError
        if self._progress is None:
            return
        with self._turn:
            self._done += crops
            step = max(1, self.total // 500)
            if self._done >= min(self._shown + step, self.total):
                self._shown = self._done
                self._progress(self._done, self.total)

    def renew(self) -> None:
        """A store that is being changed is unfinished: its manifest goes first."""
        remove_manifest(self._store)


def remove_manifest(store: Path | None) -> None:
    """Makes a store, if there is one, an unfinished one."""
    if store is not None:
        (store / MANIFEST).unlink(missing_ok=True)


def pack_pieces(
    release: Source, packer: Packer, work: Work, open_engine: OpenEngine
) -> PackedRelease:
    """Packs every piece of a release that is not packed."""
    calls = Packer.pack_sound, Packer.pack_subject
    return _packed(release, *_each_piece(release, packer, work, open_engine, calls))


def _require_space(release: Source, packer: Packer, crops: int) -> None:
    """Compares the space for the crops that are not packed with what is free."""
    if packer.store is None:
        return
    folders = [
        packer.store / "subjects" / subject.name
        for video in release.videos
        for subject in video.subjects
    ]
    files = [f / name for f in folders for name in FRAME_FILES[packer.images]]
    packed = sum(file.stat().st_size for file in files if file.exists())
    needed = crops * crop_bytes(packer.image_size, packer.images) - packed
    require_space(packer.store, max(0, needed), f"packing {crops:,} crops")


def find_pieces(
    release: Source, packer: Packer, work: Work, open_engine: OpenEngine
) -> tuple[PackedRelease | None, list[str]]:
    """The pieces of a release if all are packed, and the subjects that are not."""
    calls = Packer.find_sound, Packer.find_subject
    sounds, subjects = _each_piece(release, packer, work, open_engine, calls)
    missing = [
        subject.name
        for video in release.videos
        for subject in video.subjects
        if sounds[video.name] is None or subjects[subject.name] is None
    ]
    return None if missing else _packed(release, sounds, subjects), missing


def _each_piece(
    release: Source,
    packer: Packer,
    work: Work,
    open_engine: OpenEngine,
    calls: tuple[Callable[..., Any], Callable[..., Any]],
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Results of a call for every sound and of one for every subject, by name."""
    sounds = [video.name for video in release.videos]
    subjects = {s.name: s for video in release.videos for s in video.subjects}
    for_sound, for_subject = calls
    with open_engine() as engine:
        collect = partial(_collect, engine, packer, work)
        signs = [Task(Packer.sign, (s,), name) for name, s in subjects.items()]
        signed = collect(signs)
        work.total = sum(count for _, count in signed)
        if for_subject is Packer.pack_subject:
            _require_space(release, packer, work.total)
            record_options(packer)
        tasks = [Task(for_sound, (video,), video.name) for video in release.videos]
        tasks += [
            Task(for_subject, (subject, source), name, count)
            for (name, subject), (source, count) in zip(
                subjects.items(), signed, strict=True
            )
        ]
        results = collect(tasks)
    first = len(sounds)
    return (
        dict(zip(sounds, results[:first], strict=True)),
        dict(zip(subjects, results[first:], strict=True)),
    )


def _collect(
    engine: Engine, packer: Packer, work: Work, tasks: Sequence[Task]
) -> list[Any]:
    """Results in order; after a failure the others stop at their next crop."""
    results: list[Any] = [None] * len(tasks)
    running: dict[Future[Any], int] = {}
    try:
        for index, task in enumerate(tasks):
            running[engine.submit(packer, task)] = index
            while len(running) >= engine.places:
                _take(running, results)
        while running:
            _take(running, results)
    except BaseException:
        work.stopped.set()
        engine.cancel()
        raise
    return results


def _take(running: dict[Future[Any], int], results: list[Any]) -> None:
    """Waits for the next result and any others that are there."""
    done, _ = wait(running, return_when=FIRST_COMPLETED)
    for future in done:
        results[running.pop(future)] = future.result()


def _packed(
    release: Source, sounds: dict[str, Record], subjects: dict[str, Subject]
) -> PackedRelease:
    return PackedRelease(
        sounds=sounds,
        subjects={name: subjects[name][0] for name in sorted(subjects)},
        numbers={name: subjects[name][1] for name in sorted(subjects)},
        videos={s.name: video.name for video in release.videos for s in video.subjects},
    )
