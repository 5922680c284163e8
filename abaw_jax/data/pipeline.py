"""Batches of one round, through grain.

A round is one batch per set, in the order of Algorithm 1. Each set is an endless
reshuffled stream of its own samples; the streams are zipped, filled and stacked into
chunks of rounds, one chunk per compiled call. What a sample is filled with is the
regime's choice: indices into the feature table (`feature_items`) or uint8 frames and an
int16 waveform (`media_items`).
"""

import math
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from typing import Any

import grain
import jax
import numpy as np

from abaw_jax.data.frames import StoreError
from abaw_jax.data.order import BatchOrder
from abaw_jax.data.store import Store
from abaw_jax.data.unreadable import Unreadable
from abaw_jax.data.windows import NO_ROW, Samples, Windows, cut_sound
from abaw_jax.tasks import SETS

Item = dict[str, np.ndarray]
Fill = Callable[[Samples], Item]
"""Media of picked samples; ``readable`` bool ``[B]`` among them masks the others."""

Augment = Callable[[Item, np.random.Generator], Item]

OwnRows = Callable[[int], slice]
"""Which rows of a batch of so many this process provides."""


def all_rows(size: int) -> slice:
    """Those of the only process."""
    return slice(0, size)


@dataclass(frozen=True)
class Schedule:
    """How many samples of each set make a round, and how rounds make an epoch.

    Attributes:
      batch_sizes: rows per set and round.
      rounds_per_chunk: rounds in one compiled call.
      chunks_per_epoch: compiled calls per epoch.
    """

    batch_sizes: Mapping[str, int]
    rounds_per_chunk: int
    chunks_per_epoch: int

    @property
    def rounds_per_epoch(self) -> int:
        """Updates of each set in an epoch."""
        return self.rounds_per_chunk * self.chunks_per_epoch


def plan(
    sizes: Mapping[str, int],
    *,
    batch_size: int,
    rounds_per_chunk: int,
    proportional: bool = True,
) -> Schedule:
    """Lays out an epoch that passes once over the largest set.

    Args:
      sizes: samples per set; sets without samples are left out.
      batch_size: rows of the largest set's batch (of every batch when not
        ``proportional``).
      rounds_per_chunk: upper bound; chunks of an epoch are made equally long, so one
        shape is compiled.
      proportional: gives each set rows in proportion to its size, so that every set is
        passed once an epoch, as the paper's authors do.

    Raises:
      ValueError: if a set has too few samples for one batch.
    """
    sizes = {name: size for name, size in sizes.items() if size}
    if not sizes:
        raise ValueError("No set has a training sample with a complete window.")
    rounds = math.ceil(max(sizes.values()) / batch_size)
    chunks = math.ceil(rounds / rounds_per_chunk)
    rounds_per_chunk = math.ceil(rounds / chunks)
    rounds = chunks * rounds_per_chunk
    batch_sizes = {}
    for name, size in sizes.items():
        batch_sizes[name] = size // rounds if proportional else min(batch_size, size)
        if not batch_sizes[name]:
            raise ValueError(
                f"The set {name} has {size} samples, too few for {rounds} rounds: "
                "raise the batch size or use equal batches."
            )
    return Schedule(batch_sizes, rounds_per_chunk, chunks)


@dataclass(frozen=True)
class Chunks:
    """Rounds to train on, and what decides them.

    Attributes:
      dataset: iterated once; its iterator's state is a place in these very rounds.
      made_from: plain values; a state of other rounds would silently give other ones.
    """

    dataset: grain.IterDataset
    made_from: dict[str, Any]

    def __iter__(self) -> grain.DatasetIterator:
        return iter(self.dataset)


def training_chunks(
    samples: Mapping[str, Samples],
    fill: Fill,
    schedule: Schedule,
    *,
    epochs: int,
    seeds: Sequence[int] = (0,),
    augment: Augment | None = None,
    own_rows: OwnRows = all_rows,
    threads: int = 2,
) -> Chunks:
    """Endlessly reshuffled rounds, in chunks ``{set: {key: [R, K, B, ...]}}``.

    Args:
      samples: complete samples by set.
      fill: turns the picked samples of one batch into arrays.
      schedule: from `plan`.
      epochs: how many epochs the dataset lasts.
      seeds: of the order of each of K members, the first also of ``augment``; the same
        seed gives the same batches whatever ``threads`` and the other members.
      augment: changes a filled batch at random; how depends on ``own_rows``.
      own_rows: only these of every batch are filled.
      threads: that read ahead of the device.
    """
    rounds = epochs * schedule.rounds_per_epoch
    names = tuple(schedule.batch_sizes)
    orders = _orders(samples, schedule.batch_sizes, rounds, seeds)
    members = len(seeds)
    own = [own_rows(schedule.batch_sizes[name]) for name in names]

    def gather(
        picked: tuple[np.ndarray, ...], rng: np.random.Generator
    ) -> dict[str, Item]:
        items = {}
        for index, name in enumerate(names):
            # All members' rows at once: reshaping an item copies nothing.
            each = picked[index * members : (index + 1) * members]
            rows = np.concatenate([rows[own[index]] for rows in each])
            item = _item(samples[name], rows, fill)
            item = item if augment is None else augment(item, rng)
            items[name] = {
                key: value.reshape(members, -1, *value.shape[1:])
                for key, value in item.items()
            }
        return items

    dataset = (
        grain.experimental.ZipMapDataset(orders)
        .seed(seeds[0])
        .random_map(gather)
        .batch(schedule.rounds_per_chunk)
        .to_iter_dataset(
            grain.ReadOptions(num_threads=threads, prefetch_buffer_size=2 * threads)
        )
    )
    return Chunks(
        dataset,
        {
            "rows": {name: _digest(samples[name]) for name in names},
            "batch_sizes": dict(schedule.batch_sizes),
            "rounds_per_chunk": schedule.rounds_per_chunk,
            "seeds": list(seeds),
            "augmented": augment is not None,
        },
    )


def _digest(samples: Samples) -> str:
    """Changes with any window or label; a checksum will do against accidents."""
    digest = 0
    for field in fields(samples):
        values = np.ascontiguousarray(getattr(samples, field.name))
        digest = zlib.crc32(values.data, digest)
    return f"{len(samples)} frames, {digest:08x}"


def evaluation_chunks(
    samples: Samples,
    fill: Fill,
    *,
    batch_size: int,
    batches_per_chunk: int,
    own_rows: OwnRows = all_rows,
) -> grain.IterDataset:
    """The samples in order, padded to full chunks ``{key: [R, B, ...]}``.

    Padding at the end repeats the last sample with every mask False and ``valid``
    False. Only ``own_rows`` of every batch are filled.
    """
    total, own = batch_size * batches_per_chunk, own_rows(batch_size)

    def gather(chunk: int) -> Item:
        rows = np.arange(chunk * total, (chunk + 1) * total)
        rows = rows.reshape(batches_per_chunk, batch_size)[:, own].ravel()
        valid = rows < len(samples)
        item = _item(samples, rows.clip(max=len(samples) - 1), fill)
        for key in ("va_where", "expr_where", "au_where"):
            item[key] = item[key] & valid.reshape(-1, *[1] * (item[key].ndim - 1))
        item["valid"] = valid
        return {
            key: value.reshape(batches_per_chunk, -1, *value.shape[1:])
            for key, value in item.items()
        }

    return (
        grain.MapDataset.range(math.ceil(len(samples) / total))
        .map(gather)
        .to_iter_dataset(grain.ReadOptions(num_threads=1, prefetch_buffer_size=2))
    )


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
            item["readable"] = ~(lost[rows] & (rows != NO_ROW)).any(axis=1)
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
        features[rows == NO_ROW] = 0
        return item | {"image": features, "sound": sound[item.pop("sound_row")]}

    return fill


def frame_items(store: Store, unreadable: Unreadable | None = None) -> Fill:
    """Items of images: ``frames`` uint8 ``[B, T, H, W, 3]``.

    Args:
      store: the packed store.
      unreadable: takes windows that cannot be read, whose rows are then masked and
        black; ``None`` raises the `StoreError`.
    """
    first_rows = np.array([subject.first_row for subject in store.subjects])

    def fill(samples: Samples) -> Item:
        missing = samples.image_rows == NO_ROW
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


def vary_frames(item: Item, rng: np.random.Generator) -> Item:
    """Mirrors, shifts and lightens or darkens each window's ``frames`` as one.

    A face means the same to the left and to the right, a little aside and in other
    light; without this an encoder learns its few training people by heart.
    """
    varied = [_vary(frames, rng) for frames in item["frames"]]
    return {**item, "frames": np.stack(varied)}


def _vary(frames: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """One window, uint8 ``[T, H, W, 3]``: shifts up to a tenth of its side."""
    reach = max(1, frames.shape[1] // 10)
    edges = [(0, 0), (reach, reach), (reach, reach), (0, 0)]
    down, aside = rng.integers(0, 2 * reach + 1, 2)
    height, width = frames.shape[1:3]
    padded = np.pad(frames, edges, mode="edge")
    shifted = padded[:, down : down + height, aside : aside + width]
    mirrored = shifted[:, :, ::-1] if rng.random() < 0.5 else shifted
    light = rng.uniform(0.8, 1.25)
    return np.clip(mirrored * np.float32(light), 0, 255).astype(np.uint8)


def sound_items(
    store: Store, windows: Windows, unreadable: Unreadable | None = None
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
    store: Store, windows: Windows, unreadable: Unreadable | None = None
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
    unreadable: Unreadable | None, readable: np.ndarray, row: int
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
      zeros: rows of ``image_rows`` may be `NO_ROW`, whose feature is 0.

    Returns:
      The item with ``image`` ``[B, T, D]`` and ``sound`` ``[B, K]``.
    """
    batch = {k: v for k, v in item.items() if k not in ("image_rows", "sound_row")}
    rows = item["image_rows"]
    batch["image"] = table["image"][rows]
    if zeros:
        batch["image"] *= (rows != NO_ROW)[..., None]
    batch["sound"] = table["sound"][item["sound_row"]]
    for stream, width in zip(("image", "sound"), widths or (), strict=False):
        batch[stream] = batch[stream][..., :width]
    return batch


def _orders(
    samples: Mapping[str, Samples],
    batch_sizes: Mapping[str, int],
    rounds: int,
    seeds: Sequence[int],
) -> list[grain.MapDataset]:
    """Row numbers by round, of every set and within it of every member."""
    orders = []
    for name, rows in batch_sizes.items():
        by_seed = {  # members with the same seed share their order
            seed: grain.MapDataset.source(
                BatchOrder(len(samples[name]), rows, rounds, seed + SETS.index(name))
            )
            for seed in seeds
        }
        orders += [by_seed[seed] for seed in seeds]
    return orders


def _item(samples: Samples, rows: np.ndarray, fill: Fill) -> Item:
    picked = samples.take(rows)
    item = fill(picked)
    readable = item.pop("readable", np.True_)
    return item | {
        "row": rows.astype(np.int32),
        "va": picked.va,
        "va_where": picked.va_where & readable,
        "expr": picked.expr,
        "expr_where": picked.expr_where & readable,
        "au": picked.au,
        "au_where": picked.au_where & readable.reshape(-1, 1),
    }
