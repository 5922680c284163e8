"""Features of the user's own encoders: a folder with an array for every subject.

``DIR/<subject>.npy`` replaces the output of an encoder. It has one row per stored image
or per frame of the video; sound may instead have one row per step of equal length.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.lib.format import open_memmap

from abaw_jax.releases.annotations import MAX_FRAME
from abaw_jax.releases.names import find_file
from abaw_jax.store.reader import Store


@dataclass(frozen=True)
class GivenFeatures:
    """Features of one stream, from a folder; read one subject at a time.

    Attributes:
      paths: of the files, by subject.
      lengths: rows of each file.
      rows: of each subject, the row of its file for every image.
    """

    paths: Sequence[Path]
    lengths: Sequence[int]
    rows: Sequence[np.ndarray]
    _read: dict[int, str] = field(default_factory=dict, init=False)

    def read(self, subject: int) -> np.ndarray:
        """The features ``[N, D]`` of a subject, given by its number.

        Raises:
          ValueError: if they are not finite; names the file.
        """
        path = self.paths[subject]
        array = _open(path)
        finite = np.isfinite(array).all(axis=1)
        if not finite.all():
            row = int(np.argmin(finite))
            raise ValueError(f"{path} is not finite in row {row}; give numbers only.")
        digest = hashlib.sha256(np.ascontiguousarray(array).data).hexdigest()
        self._read[subject] = f"{path.name} {array.dtype} {array.shape} {digest}\n"
        return array

    @property
    def fingerprint(self) -> str:
        """Changes with names and content of the files, all of which must be read."""
        read = "".join(self._read[subject] for subject in range(len(self.paths)))
        return hashlib.sha256(read.encode()).hexdigest()[:16]


def read_images(store: Store, folder: str) -> GivenFeatures:
    """Reads the features of images: one row per stored image, or per frame.

    Raises:
      ValueError: if a file is missing or does not fit; names it and what would fit.
    """
    return _read(store, Path(folder), "image", _image_rows)


def read_sounds(store: Store, folder: str) -> GivenFeatures:
    """Reads the features of sound: also one row per step of equal length.

    Raises:
      ValueError: as `read_images`.
    """
    return _read(store, Path(folder), "sound", _sound_rows)


def _read(
    store: Store,
    folder: Path,
    stream: str,
    choose_rows: Callable[[Store, int, int], np.ndarray | None],
) -> GivenFeatures:
    paths = [find_file(folder, f"{each.name}.npy") for each in store.subjects]
    _require_files(paths, stream)
    columns, lengths, rows = 0, [], []
    for index, path in enumerate(paths):
        array = _open(path)
        columns = columns or array.shape[1]
        if array.shape[1] != columns:
            raise ValueError(
                f"{path} has {array.shape[1]} columns, {paths[0]} has {columns}: give "
                "all subjects features of one encoder."
            )
        chosen = choose_rows(store, index, len(array))
        if chosen is None:
            images, frames = store.subjects[index].num_images, _last(store, index)
            raise ValueError(
                f"{path} has {len(array)} rows: give one for each of the {images} "
                f"stored images, or for each frame of the video (at least {frames})."
            )
        lengths.append(len(array))
        rows.append(chosen)
    return GivenFeatures(paths, lengths, rows)


def _require_files(paths: Sequence[Path], stream: str) -> None:
    missing = [path for path in paths if not path.is_file()]
    if missing:
        raise ValueError(
            f"config.features.{stream}: {len(missing)} of {len(paths)} subjects have "
            f"no features; the first is {missing[0]}. Give a file for every subject of "
            "the store."
        )


def _open(path: Path) -> np.ndarray:
    """The array, mapped: its rows are judged by the header before they are read."""
    try:
        array = open_memmap(path, mode="r")
    except (ValueError, OSError, OverflowError, RecursionError) as error:
        raise ValueError(f"{path} cannot be read as a NumPy array ({error}).") from None
    if array.ndim != 2 or not np.issubdtype(array.dtype, np.floating):
        raise ValueError(
            f"{path} holds {array.dtype} {array.shape}; give floats [rows, columns]."
        )
    return array


def _image_rows(store: Store, index: int, length: int) -> np.ndarray | None:
    """Row of each stored image in an array of so many; None if it does not fit."""
    numbers = np.asarray(store.numbers(index))
    if length == len(numbers):
        return np.arange(length)
    fits = _last(store, index) <= length <= MAX_FRAME
    return numbers - 1 if fits else None


def _sound_rows(store: Store, index: int, length: int) -> np.ndarray | None:
    """The same, or the step of equal length in which each image's frame begins."""
    rows = _image_rows(store, index, length)
    numbers = np.asarray(store.numbers(index))
    duration = store.sound_length(index) / store.sample_rate
    # More rows than frames are steps where they are too many to be frames.
    frames = duration * store.subjects[index].fps
    if length and duration and (rows is None or length > 1.5 * max(frames, 1)):
        if length > len(store.sound(index)):
            return None  # a step is a sample or more
        times = store.frame_times(index).seconds(numbers)
        return np.minimum((times / duration * length).astype(int), length - 1)
    return rows


def _last(store: Store, index: int) -> int:
    """Number of the last stored frame."""
    return int(max(store.numbers(index), default=0))
