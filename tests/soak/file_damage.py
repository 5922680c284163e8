"""Damages files of a run and its release: random bytes, truncation, deletion."""

import os
import shutil
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

import numpy as np

KINDS = {
    "annotations of the release": "release/*Annotations/*.txt",
    "test lists of the release": "release/names_of_*",
    "crops of the release": "release/cropped_aligned/*.jpg",
    "videos of the release": "release/batch*",
    "crops of the store": "run/corpus/store/subjects/*/frames.npy",
    "frame numbers of the store": "run/corpus/store/subjects/*/numbers.npy",
    "records of the store's pieces": "run/corpus/store/s*/*.json",
    "sound of the store": "run/corpus/store/sound/*.npy",
    "labels of the store": "run/corpus/store/labels/*.npy",
    "manifest of the store": "run/corpus/store/manifest.json",
    "report pages of the store": "run/corpus/store/report.*",
    "features": "run/features/*.npy",
    "digests of features": "run/features/*.sha256",
    "digests of networks": "run/*/networks/0.json",
    "arrays of networks": "run/*/networks/0/*/d/*",
    "metadata of networks": "run/*/networks/0/*",
    "records of checkpoints": "run/*/checkpoints/*/record/*",
    "arrays of checkpoints": "run/*/checkpoints/*/d/*",
    "metadata of checkpoints": "run/*/checkpoints/*",
    "settings of stages": "run/*/config.json",
    "ends of stages": "run/*/done.json",
    "metrics logs": "run/*/metrics.jsonl",
    "TensorBoard files": "run/*/events/*",
    "pictures": "run/plots/*",
    "predictions": "run/predictions/*",
    "result.json": "run/result.json",
    "run.json": "run/run.json",
}
"""Every kind of file, by a pattern; a file is of the first kind that it matches."""


def kind_of(folder: Path, path: Path) -> str:
    """The kind of a file; "other" if it is of none."""
    name = path.relative_to(folder).as_posix()
    return next((kind for kind, p in KINDS.items() if fnmatch(name, p)), "other")


def files_by_kind(folder: Path, *, with_release: bool) -> dict[str, list[Path]]:
    """The files of a round that hold anything, by kind."""
    found: dict[str, list[Path]] = {}
    for path in sorted((folder if with_release else folder / "run").rglob("*")):
        if path.is_file() and path.stat().st_size:
            found.setdefault(kind_of(folder, path), []).append(path)
    return found


def flip_bytes(paths: list[Path], rng: np.random.Generator) -> Iterator[Path]:
    """Changes one to four bytes, each of one of the files.

    Half of the times the file's time stays as it was, as on a disk that decays.
    """
    for _ in range(rng.integers(1, 5)):
        path = paths[rng.integers(len(paths))]
        before = path.stat()
        data = bytearray(path.read_bytes())
        data[rng.integers(len(data))] ^= int(rng.integers(1, 256))
        path.write_bytes(data)
        if rng.random() < 0.5:
            os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        yield path


def truncate(paths: list[Path], rng: np.random.Generator) -> Iterator[Path]:
    """Cuts a file short, in one of four cases to nothing."""
    path = paths[rng.integers(len(paths))]
    size = path.stat().st_size
    os.truncate(path, 0 if rng.random() < 0.25 else int(rng.integers(size)))
    yield path


def delete(paths: list[Path], rng: np.random.Generator) -> Iterator[Path]:
    """Deletes a file, or now and then its whole folder; gives all that is gone."""
    path = paths[rng.integers(len(paths))]
    if rng.random() < 0.2 and path.parent.name != "run":
        gone = [each for each in path.parent.rglob("*") if each.is_file()]
        shutil.rmtree(path.parent)
    else:
        gone = [path]
        path.unlink()
    yield from gone
