"""Encodes the media of one subject, in batches of one shape."""

from collections.abc import Callable
from dataclasses import dataclass

import jax
import numpy as np

from abaw_jax.pipeline.read_errors import ReadErrorLog
from abaw_jax.store.frames import StoreError

Extract = Callable[[np.ndarray], jax.Array | np.ndarray]
Encoded = tuple[np.ndarray, list[int]]
"""Features of a subject, and the rows whose media could not be read."""


@dataclass(frozen=True)
class Media:
    """Input of an encoder, subject by subject.

    Attributes:
      count: items of a subject.
      read: some of them, stacked; raises `StoreError` where one cannot be read.
      blank: one item, for the place of such.
    """

    count: Callable[[int], int]
    read: Callable[[int, slice], np.ndarray]
    blank: np.ndarray


def encode(
    apply: Extract, media: Media, size: int, index: int, unreadable: ReadErrorLog
) -> Encoded:
    """Encoder outputs of one subject, in batches of one shape, the last one padded.

    No media, as of a subject whose crops were all unreadable, are one batch of padding:
    no rows, but as many columns as the others.
    """
    total, lost = media.count(index), []
    done: list[np.ndarray] = []
    pending = None
    for start in range(0, max(total, 1), size):
        batch, missing = _read(
            media, index, range(start, min(start + size, total)), unreadable
        )
        lost += missing
        padding = [(0, size - len(batch)), *[(0, 0)] * (batch.ndim - 1)]
        dispatched = apply(np.pad(batch, padding))
        # Read one behind: the device works while the next media are cut, and no more
        # than two batches wait there.
        if pending is not None:
            done.append(np.asarray(pending, np.float32))
        pending = dispatched
    done.append(np.asarray(pending, np.float32))
    return mark_lost(np.concatenate(done)[:total], lost)


def mark_lost(features: np.ndarray, lost: list[int]) -> Encoded:
    """Features of a subject with NaN where its media could not be read.

    Raises:
      FloatingPointError: if a feature is not finite.
    """
    if not np.isfinite(features).all():
        raise FloatingPointError(
            "An encoder's output is not finite: look at the weights it was given."
        )
    features[lost] = np.nan
    return features, lost


def _read(
    media: Media, index: int, rows: range, unreadable: ReadErrorLog
) -> tuple[np.ndarray, list[int]]:
    """Some media of a subject, and the rows that a blank replaces."""
    try:
        return media.read(index, slice(rows.start, rows.stop)), []
    except StoreError:
        pass  # read one by one below, to find which record is damaged
    batch, lost = np.repeat(media.blank[None], len(rows), axis=0), []
    for position, row in enumerate(rows):
        try:
            batch[position] = media.read(index, slice(row, row + 1))[0]
        except StoreError as error:
            unreadable.add(error)
            lost.append(row)
    return batch, lost
