"""Fills the samples of a batch with media or with indices of features.

Indices into the feature table (`feature_items`), features of a table that stays on the
host (`gathered_items`), or uint8 frames and int16 sound (`media_items`). A record that
cannot be read masks its row and nothing else.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import jax
import numpy as np

from abaw_jax.pipeline.read_errors import ReadErrorLog
from abaw_jax.pipeline.windows import MISSING_ROW, Samples, Windows, cut_sound
from abaw_jax.store.frames import StoreError
from abaw_jax.store.reader import Store

Item = dict[str, np.ndarray]
Fill = Callable[[Samples], Item]
"""Media of picked samples; ``readable`` bool ``[B]`` among them masks the others."""


def feature_items(sound_rows: np.ndarray, lost: np.ndarray | None = None) -> Fill:
    """Items of indices into the feature table: ``image_rows``, ``sound_row``.

    Args:
      sound_rows: int32 ``[num_images]``, row of the sound feature of every image.
      lost: bool ``[num_images]``, images whose media could not be read.
    """
    any_lost = lost is not None and lost.any()

    def fill(samples: Samples) -> Item:
        rows = samples.image_rows
        item = {"image_rows": rows, "sound_row": sound_rows[rows[:, -1]]}
        if lost is not None and any_lost:
            item["readable"] = ~(lost[rows] & (rows != MISSING_ROW)).any(axis=1)
        return item

    return fill


def gathered_items(
    image: np.ndarray,
    sound: np.ndarray,
    sound_rows: np.ndarray,
    lost: np.ndarray | None = None,
) -> Fill:
    """Items of features themselves, of a table that stays on the host.

    Args:
      image: float ``[num_images, D]``.
      sound: float ``[num_sounds, K]``.
      sound_rows: as in `feature_items`.
      lost: as in `feature_items`.
    """
    indices = feature_items(sound_rows, lost)

    def fill(samples: Samples) -> Item:
        item = indices(samples)
        rows = item.pop("image_rows")
        features = image[rows]
        features[rows == MISSING_ROW] = 0
        return item | {"image": features, "sound": sound[item.pop("sound_row")]}

    return fill


def frame_items(store: Store, unreadable: ReadErrorLog | None = None) -> Fill:
    """Items of images: ``frames`` uint8 ``[B, T, H, W, 3]``.

    Args:
      store: the packed store.
      unreadable: takes windows that cannot be read, whose rows are then masked and
        black; ``None`` raises the `StoreError`.
    """
    first_rows = np.array([subject.first_row for subject in store.subjects])

    def fill(samples: Samples) -> Item:
        missing = samples.image_rows == MISSING_ROW
        places = samples.image_rows - first_rows[samples.subject][:, None]
        places = np.where(missing, 0, places)
        size = store.image_size
        frames = np.empty((*places.shape, size, size, 3), np.uint8)
        readable = np.ones(len(samples), bool)
        for k, (i, rows) in enumerate(zip(samples.subject, places, strict=True)):
            with _masked(unreadable, readable, k):
                frames[k] = store.frames(i)[rows]
        frames[missing] = 0  # some image stood in
        frames[~readable] = 0
        return {"frames": frames, "readable": readable}

    return fill


def sound_items(
    store: Store, windows: Windows, unreadable: ReadErrorLog | None = None
) -> Fill:
    """Items of sound: ``waveform`` int16 ``[B, S]``, silence where there is none.

    Args:
      store: the packed store.
      windows: the rule.
      unreadable: as in `frame_items`.
    """
    length = round(windows.sound_seconds * store.sample_rate)
    tiled = windows.sound_pad == "tile"

    def fill(samples: Samples) -> Item:
        sounds = np.empty((len(samples), length), np.int16)
        readable = np.ones(len(samples), bool)
        pairs = zip(samples.subject, samples.sound_end.tolist(), strict=True)
        for k, (i, end) in enumerate(pairs):
            with _masked(unreadable, readable, k):
                cut_sound(store.sound(i), end, sounds[k], tiled=tiled)
        sounds[~readable] = 0
        return {"waveform": sounds, "readable": readable}

    return fill


def media_items(
    store: Store, windows: Windows, unreadable: ReadErrorLog | None = None
) -> Fill:
    """Items of both, for encoders that are part of the network."""
    images = frame_items(store, unreadable)
    sounds = sound_items(store, windows, unreadable)

    def fill(samples: Samples) -> Item:
        seen, heard = images(samples), sounds(samples)
        return seen | heard | {"readable": seen["readable"] & heard["readable"]}

    return fill


@contextmanager
def _masked(
    unreadable: ReadErrorLog | None, readable: np.ndarray, row: int
) -> Iterator[None]:
    """Marks a row that a store can no longer give, if that may pass."""
    try:
        yield
    except StoreError as error:
        if unreadable is None:
            raise
        unreadable.add(error)
        readable[row] = False


def gather_features(
    table: Mapping[str, jax.Array],
    item: Mapping[str, jax.Array],
    *,
    widths: tuple[int, int] | None = None,
    zeros: bool = False,
) -> dict[str, jax.Array]:
    """A batch from an item of indices: the gather runs on the device.

    Args:
      table: ``image`` ``[num_images, D]`` and ``sound`` ``[num_sounds, K]``.
      item: of `feature_items`.
      widths: ``D`` and ``K`` of a table with more columns than features.
      zeros: rows of ``image_rows`` may be `MISSING_ROW`, whose feature is 0.

    Returns:
      The item with ``image`` ``[B, T, D]`` and ``sound`` ``[B, K]``.
    """
    batch = {k: v for k, v in item.items() if k not in ("image_rows", "sound_row")}
    rows = item["image_rows"]
    batch["image"] = table["image"][rows]
    if zeros:
        batch["image"] *= (rows != MISSING_ROW)[..., None]
    batch["sound"] = table["sound"][item["sound_row"]]
    for stream, width in zip(("image", "sound"), widths or (), strict=False):
        batch[stream] = batch[stream][..., :width]
    return batch
