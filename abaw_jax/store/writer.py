"""Packs a release into a store: all pieces in parallel, then labels and manifest.

Restartable at any point and bounded in memory by one video a thread. Threads do, since
decoding, resampling and hashing run outside the interpreter lock (one thread 121, two
75 microseconds a crop of 112 pixels).
"""

import contextlib
import dataclasses
import hashlib
import io
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import (
    FIRST_EXCEPTION,
    CancelledError,
    Future,
    ThreadPoolExecutor,
    wait,
)
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from abaw_jax.json_files import seal
from abaw_jax.releases.findings import Findings, Report, report_bytes
from abaw_jax.releases.labels import (
    AllLabels,
    Labels,
    Source,
    join_rows,
    open_release,
)
from abaw_jax.releases.media import SAMPLE_RATE
from abaw_jax.releases.test_lists import TestFrames
from abaw_jax.store.files import TEST_FIELDS, json_bytes, label_file, replacing
from abaw_jax.store.frames import FRAME_FILES, Images
from abaw_jax.store.joining import Overlap, PackedRelease, join_labels
from abaw_jax.store.pieces import Packer
from abaw_jax.store.reader import (
    MANIFEST,
    STORE_VERSION,
    StoreError,
    read_manifest,
)
from abaw_jax.store.sole_writer import InUseError, sole_writer

Reader = Callable[[Path, Findings], Source]


class Progress(Protocol):
    """Called with the number of packed crops and of all crops."""

    def __call__(self, done: int, total: int, /) -> None:
        """Shows it."""


def prepare(
    release: str | os.PathLike[str],
    store: str | os.PathLike[str],
    *,
    image_size: int = 112,
    images: Images = "pixels",
    overlap: Overlap = "remove",
    workers: int | None = None,
    progress: Progress | None = None,
    read: Reader = open_release,
) -> Report:
    """Reads a release and writes a store; goes on where an earlier run stopped.

    Args:
      release: folder of the release; nothing in it is changed.
      store: folder to write, made if needed; ``report.json`` goes there too.
      image_size: side of the stored crops in pixels.
      images: "pixels" is the fastest to read, "jpeg" takes an eighth of the disk
        and is decoded at every use.
      overlap: "remove" takes subjects whose video validates in any set out of the
        training labels, "keep" leaves them there.
      workers: threads; by default one a processor, at most 16.
      progress: called now and then, from any thread but never from two at once.
      read: what makes sense of the folder; ``affectnet.open_affectnet`` reads that
        data set instead of Aff-Wild2.

    Returns:
      What was found, as in ``report.json``.

    Raises:
      FileNotFoundError: if there is no such release.
      ReleaseError: if it is no release.
      StoreError: if the store cannot be written, is in use, or of another version.
      ValueError: if an option is out of range.
    """
    root, store = Path(release), Path(store)
    _check_options(image_size, images, overlap)
    findings = Findings(root)
    found = read(root, findings)
    with _explained(store), sole_writer(store):
        if (store / MANIFEST).exists():
            read_manifest(store)  # of this version, or stop before any change
        work = _Work(store, progress)
        packer = Packer(root, store, image_size, images, work.on_progress, work.renew)
        pieces = _pack(found, packer, work, workers)
        report, labels, tests = join_labels(found, pieces, findings, overlap)
        manifest, files = _manifest(pieces, labels, tests, packer)
        if not _is_written(store, manifest):
            work.renew()
            for name, data in files.items():
                with replacing(store / name) as file:
                    file.write(data)
        for name, data in (
            ("report.json", report_bytes(report)),
            (MANIFEST, json_bytes(seal(manifest))),
        ):
            with replacing(store / name) as file:
                file.write(data)
    return report


def inspect(
    release: str | os.PathLike[str],
    *,
    image_size: int = 112,
    overlap: Overlap = "remove",
    workers: int | None = None,
    progress: Progress | None = None,
    read: Reader = open_release,
) -> Report:
    """Reads every file of a release as ``prepare`` does, and writes nothing."""
    root = Path(release)
    _check_options(image_size, "pixels", overlap)
    findings = Findings(root)
    found = read(root, findings)
    with _explained(root):
        work = _Work(None, progress)
        packer = Packer(root, None, image_size, "pixels", work.on_progress, work.renew)
        report, *_ = join_labels(
            found, _pack(found, packer, work, workers), findings, overlap
        )
    return report


def _check_options(image_size: int, images: str, overlap: str) -> None:
    if not 8 <= image_size <= 1024:
        raise ValueError(f"image_size must be 8 to 1024 pixels, not {image_size}")
    if images not in FRAME_FILES:
        raise ValueError(f"images must be 'pixels' or 'jpeg', not {images!r}")
    if overlap not in ("remove", "keep"):
        raise ValueError(f"overlap must be 'remove' or 'keep', not {overlap!r}")


@contextlib.contextmanager
def _explained(place: Path) -> Iterator[None]:
    """Says in one sentence what the system refused."""
    try:
        yield
    except InUseError as error:
        raise StoreError(str(error)) from None
    except OSError as error:
        raise StoreError(
            f"stopped at {error.filename or place}: {error.strerror or error}; what is "
            "finished is kept, so correct that (free some space?) and run prepare again"
        ) from error


class _Work:
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
        if self._store is not None:
            (self._store / MANIFEST).unlink(missing_ok=True)


def _pack(
    release: Source, packer: Packer, work: _Work, workers: int | None
) -> PackedRelease:
    subjects = [subject for video in release.videos for subject in video.subjects]
    workers = min(os.cpu_count() or 1, 16) if workers is None else max(1, workers)
    with ThreadPoolExecutor(workers) as pool:
        signed = _collect(pool, work, [(packer.sign, (s,)) for s in subjects])
        work.total = sum(count for _, count in signed)
        tasks = [(packer.pack_sound, (video,)) for video in release.videos]
        tasks += [
            (packer.pack_subject, (subject, source))
            for subject, (source, _) in zip(subjects, signed, strict=True)
        ]
        results = _collect(pool, work, tasks)
    sounds = {v.name: results[k] for k, v in enumerate(release.videos)}
    packed = {s.name: results[len(sounds) + k] for k, s in enumerate(subjects)}
    return PackedRelease(
        sounds=sounds,
        subjects={name: packed[name][0] for name in sorted(packed)},
        numbers={name: packed[name][1] for name in sorted(packed)},
        videos={s.name: video.name for video in release.videos for s in video.subjects},
    )


def _collect(pool: ThreadPoolExecutor, work: _Work, tasks: list[Any]) -> list[Any]:
    """Results in order; after a failure the others stop at their next crop."""
    futures: list[Future[Any]] = [pool.submit(call, *args) for call, args in tasks]
    try:
        done, _ = wait(futures, return_when=FIRST_EXCEPTION)
        for future in done:
            future.result()
    except BaseException:
        work.stopped.set()
        pool.shutdown(wait=False, cancel_futures=True)
        raise
    return [future.result() for future in futures]


def _manifest(
    pieces: PackedRelease,
    labels: AllLabels,
    tests: dict[str, TestFrames],
    packer: Packer,
) -> tuple[dict[str, Any], dict[str, bytes]]:
    """The manifest, and the files of labels that are still to be written."""
    lengths = pieces.lengths()
    subjects = [
        {
            "name": name,
            "video": pieces.videos[name],
            "fps": pieces.sounds[pieces.videos[name]].facts["fps"],
            "num_frames": lengths[name],
            "num_images": len(numbers),
        }
        for name, numbers in pieces.numbers.items()
    ]
    files: dict[str, Any] = {}
    for record in (*pieces.sounds.values(), *pieces.subjects.values()):
        files |= record.files
    index = {subject["name"]: k for k, subject in enumerate(subjects)}
    arrays: dict[str, np.ndarray] = {}
    for (set_name, split), part in labels.items():
        table = join_rows(part.rows, index)
        for field in dataclasses.fields(Labels):
            name = label_file(set_name, split, field.name)
            arrays[name] = getattr(table, field.name)
    for set_name, frames in tests.items():
        order = sorted(frames, key=index.__getitem__)
        found = [np.full(len(frames[s]), index[s], np.int32) for s in order]
        columns = found, [frames[s] for s in order]
        for field, parts in zip(TEST_FIELDS, columns, strict=True):
            parts = [np.zeros(0, np.int32), *parts]
            arrays[label_file(set_name, "test", field)] = np.concatenate(parts)
    written = {}
    for name, array in arrays.items():
        buffer = io.BytesIO()
        np.save(buffer, array, allow_pickle=False)
        written[name] = data = buffer.getvalue()
        digest = hashlib.sha256(data).hexdigest()
        files[name] = {"bytes": len(data), "sha256": digest}
    manifest = {
        "version": STORE_VERSION,
        "image_size": packer.image_size,
        "images": packer.images,
        "sample_rate": SAMPLE_RATE,
        "subjects": subjects,
        "tests": sorted(tests),
        "files": files,
    }
    return manifest, written


def _is_written(store: Path, manifest: dict[str, Any]) -> bool:
    """True if this very store exists, by its sizes."""
    try:
        return read_manifest(store) == manifest and all(
            (store / name).stat().st_size == facts["bytes"]
            for name, facts in manifest["files"].items()
        )
    except (OSError, StoreError):
        return False
