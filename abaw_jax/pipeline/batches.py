"""The input pipeline: batches of training rounds and of evaluation (Grain).

A round has one batch of each set, in the order of Algorithm 1. Every set is reshuffled
and repeated without end; rounds are stacked into chunks, one chunk per compiled call.
`items` adds the inputs of the samples: indices into a table, or frames and sound.
"""

import math
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import partial
from typing import Any

import grain
import numpy as np

from abaw_jax.pipeline.batch_order import BatchOrder
from abaw_jax.pipeline.items import Fill, Item
from abaw_jax.pipeline.windows import Samples
from abaw_jax.tasks import SETS

Augment = Callable[[Item, np.random.Generator], Item]

OwnRows = Callable[[int], slice]
"""Rows of a batch of a given size that this process provides."""


def all_rows(size: int) -> slice:
    """Rows of a single process: all."""
    return slice(0, size)


@dataclass(frozen=True)
class Schedule:
    """Samples of each set in a round, and rounds in an epoch.

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
                "raise the batch size (config.train.batch_size), or use equal batches "
                "(config.train.proportional=False)."
            )
    return Schedule(batch_sizes, rounds_per_chunk, chunks)


@dataclass(frozen=True)
class Chunks:
    """Rounds to train on, and what decides them.

    Attributes:
      dataset: of an order, by its number; 0 is the one that ``seeds`` give, and a run
        that is rolled back takes the next. A state of its iterator is a place in these
        very rounds.
      made_from: plain values; a state of other rounds would silently give other ones.
    """

    dataset: Callable[[int], grain.IterDataset]
    made_from: dict[str, Any]

    def __iter__(self) -> grain.DatasetIterator:
        return self.in_order(0)

    def in_order(self, number: int) -> grain.DatasetIterator:
        """Iterates over the rounds in another order of the samples."""
        return iter(self.dataset(number))


def training_chunks(
    samples: Mapping[str, Samples],
    fill: Fill,
    schedule: Schedule,
    *,
    epochs: int,
    seeds: Sequence[int] = (0,),
    augment: Augment | None = None,
    process_rows: OwnRows = all_rows,
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
      augment: changes a filled batch at random; how depends on ``process_rows``.
      process_rows: only these of every batch are filled.
      threads: that read ahead of the device.
    """
    rounds = epochs * schedule.rounds_per_epoch
    names = tuple(schedule.batch_sizes)
    own = {name: process_rows(size) for name, size in schedule.batch_sizes.items()}
    gather = partial(_gather_round, samples, own, len(seeds), fill, augment)

    def dataset(order: int) -> grain.IterDataset:
        orders = _orders(samples, schedule.batch_sizes, rounds, seeds, order)
        return (
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
            "order": BatchOrder.generator,
            "augmented": augment is not None,
        },
    )


def _gather_round(
    samples: Mapping[str, Samples],
    own: Mapping[str, slice],
    members: int,
    fill: Fill,
    augment: Augment | None,
    picked: tuple[np.ndarray, ...],
    rng: np.random.Generator,
) -> dict[str, Item]:
    """The items ``{set: {key: [K, B, ...]}}`` of one round.

    ``picked`` holds the rows of every member's batch, set by set.
    """
    items = {}
    for index, (name, rows_of_process) in enumerate(own.items()):
        # All members' rows at once: reshaping an item copies nothing.
        each = picked[index * members : (index + 1) * members]
        rows = np.concatenate([rows[rows_of_process] for rows in each])
        item = _item(samples[name], rows, fill)
        item = item if augment is None else augment(item, rng)
        items[name] = {
            key: value.reshape(members, -1, *value.shape[1:])
            for key, value in item.items()
        }
    return items


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
    process_rows: OwnRows = all_rows,
) -> grain.IterDataset:
    """The samples in order, padded to full chunks ``{key: [R, B, ...]}``.

    Padding at the end repeats the last sample with every mask False and ``valid``
    False. Only ``process_rows`` of every batch are filled.
    """
    total, own = batch_size * batches_per_chunk, process_rows(batch_size)

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


def _orders(
    samples: Mapping[str, Samples],
    batch_sizes: Mapping[str, int],
    rounds: int,
    seeds: Sequence[int],
    order: int,
) -> list[grain.MapDataset]:
    """Row numbers by round, of every set and within it of every member."""
    orders = []
    # Twice: a SeedSequence takes no notice of a zero at its end, which a pass may be.
    other = (order, order) if order else ()
    for name, rows in batch_sizes.items():
        by_seed = {  # members with the same seed share their order
            seed: grain.MapDataset.source(
                BatchOrder(
                    len(samples[name]), rows, rounds, (seed, SETS.index(name), *other)
                )
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
