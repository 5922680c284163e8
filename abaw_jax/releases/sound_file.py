"""Keeps the sound of a video in a file, so that long ones do not fill the memory."""

import io
import shutil
from typing import BinaryIO

import numpy as np


class SoundFile:
    """Samples in an open file, read where they are asked for.

    Has a length and is sliced like an array ``[n]`` of int16.

    Attributes:
      silent: True if every sample is zero.
    """

    def __init__(self, file: BinaryIO | None = None) -> None:
        """Takes a file that can be read and written; by default one in memory."""
        self._file = io.BytesIO() if file is None else file
        self.clear()

    def clear(self) -> None:
        """Removes all samples."""
        self._file.seek(0)
        self._file.truncate()
        self._count, self.silent = 0, True

    def append(self, samples: np.ndarray) -> None:
        """Adds samples int16 ``[n]`` at the end.

        Raises:
          OSError: if there is no space for them.
        """
        self._file.seek(2 * self._count)
        self._file.write(samples.tobytes())
        self._count += len(samples)
        self.silent = self.silent and not samples.any()

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, picked: slice) -> np.ndarray:
        start, stop, _ = picked.indices(self._count)
        self._file.seek(2 * start)
        return np.frombuffer(self._file.read(2 * max(stop - start, 0)), np.int16)

    def save(self, file: BinaryIO) -> None:
        """Writes the samples as a ``.npy`` array, in pieces."""
        header = {"descr": "<i2", "fortran_order": False, "shape": (self._count,)}
        np.lib.format.write_array_header_1_0(file, header)
        self._file.seek(0)
        shutil.copyfileobj(self._file, file)
