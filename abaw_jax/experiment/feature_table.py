"""The table of all features that training gathers from, filled subject by subject.

It is the only copy on the host: each subject's features are cast into their place, and
on a CPU the device uses this very memory.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

_ALIGNMENT = 64  # bytes; XLA's CPU client copies arrays that begin elsewhere


@dataclass(frozen=True)
class FeatureTable:
    """Encoder outputs of the whole store.

    Attributes:
      image: float ``[num_images, D]``, by the store's rows; columns of zeros follow
        up to whole vector registers.
      sound: float ``[num_sounds, K]``, likewise.
      widths: ``D`` and ``K``, without the columns of zeros.
      sound_rows: int32 ``[num_images]``, row of ``sound`` for every image.
      lost: bool ``[num_images]``, images whose crop or sound could not be read; their
        features are 0.
      fingerprint: of what it was made from.
    """

    image: np.ndarray
    sound: np.ndarray
    widths: tuple[int, int]
    sound_rows: np.ndarray
    lost: np.ndarray
    fingerprint: str


class StreamRows:
    """Features of one stream in the type of the computation, subject after subject.

    Attributes:
      values: ``[N, D]`` and the columns of zeros; None before the first subject.
      width: ``D``.
      lost: bool ``[N]``, rows that could not be read (NaN), which are 0 in ``values``.
    """

    def __init__(self, counts: Sequence[int], dtype: Any, lanes: int) -> None:
        """Takes the number of rows by subject.

        Args:
          counts: rows of every subject.
          dtype: of the values.
          lanes: width of a vector register, to which columns are padded.
        """
        self.first = np.cumsum([0, *counts])
        self.values: np.ndarray | None = None
        self.width = 0
        self.lost = np.zeros(self.first[-1], bool)
        self._dtype, self._lanes = np.dtype(dtype), lanes

    def put(self, subject: int, features: np.ndarray) -> None:
        """Copies the features ``[n, D]`` of a subject, given by its number."""
        if self.values is None:
            self.width = features.shape[1]
            columns = self.width + -self.width % self._lanes
            self.values = _zeros((self.first[-1], columns), self._dtype)
        rows = slice(*self.first[subject : subject + 2])
        self.lost[rows] = np.isnan(features).any(axis=1)
        place = self.values[rows, : self.width]
        place[:] = features
        place[self.lost[rows]] = 0


def _zeros(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    size = int(np.prod(shape)) * dtype.itemsize
    memory = np.zeros(size + _ALIGNMENT, np.uint8)
    start = -memory.ctypes.data % _ALIGNMENT
    return memory[start : start + size].view(dtype).reshape(shape)
