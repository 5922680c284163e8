"""Scores on the validation sets by the official measures."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from abaw_jax.metrics import chance_scores, score_columns
from abaw_jax.objectives import Batch, Outputs
from abaw_jax.pipeline.batches import evaluation_chunks
from abaw_jax.pipeline.items import Fill
from abaw_jax.pipeline.windows import Samples, Windows, evaluation_samples
from abaw_jax.store.reader import Store
from abaw_jax.tasks import AFFECT, SETS, TASKS
from abaw_jax.training.job import Validation
from abaw_jax.training.processes import to_host
from abaw_jax.training.sharding import Shardings, put_on_devices
from abaw_jax.training.state import Variables, count_members, stack_members
from abaw_jax.training.steps import (
    PredictChunk,
    Scores,
    batch_scores,
    empty_scores,
)

Chunks = Mapping[str, Iterable[Mapping[str, Any]]]
"""Evaluation chunks by set; iterated once per validation."""


@dataclass(frozen=True)
class Validator:
    """Scores variables on every validation set that has labels.

    Attributes:
      predict: compiled, of `make_predict_chunk`.
      table: first argument of its ``make_batch``.
      samples: by set.
      chunks: the same in batches, of `stream`.
      shardings: placement of the arrays on the devices.
      tasks: that the network predicts.
      domains: classes of its discriminator, 0 without one.
    """

    predict: PredictChunk
    table: Any
    samples: Mapping[str, Samples]
    chunks: Chunks
    shardings: Shardings
    tasks: tuple[str, ...] = TASKS
    domains: int = 0

    @property
    def chance(self) -> dict[str, float]:
        """Chance level of every score: each task on its own set, MTL on the joint."""
        levels = {
            name: chance_scores(each.expr, each.expr_where, each.au, each.au_where)
            for name, each in self.samples.items()
        }
        asked = [name for name in SETS[: self.domains] if name in self.samples]
        guess = {"discriminator": 1 / len(asked)} if len(asked) > 1 else {}
        return columns(levels, self.samples) | guess

    def __call__(self, variables: Variables) -> list[Validation]:
        """Scores of every member of ``variables``, read from the device once."""
        states = {name: self._states(variables, name) for name in self.chunks}
        return [self._judge(scores) for scores in self.scores(states)]

    def predictions(
        self, variables: Variables, name: str
    ) -> tuple[Scores, dict[str, np.ndarray]]:
        """Metric states and outputs ``[K, N, ...]`` of one set, padding removed."""
        states, parts = self._nothing(variables), []
        for chunk in self.chunks[name]:
            states, outputs = self.predict(variables, self.table, chunk, states)
            parts.append(to_host(outputs))
        size, stacked = len(self.samples[name]), {}
        for key in parts[0]:
            each = [np.moveaxis(part[key], 1, 0) for part in parts]  # [K, R, B, C]
            flat = [a.reshape(len(a), -1, a.shape[-1]) for a in each]
            stacked[key] = np.concatenate(flat, axis=1)[:, :size]
        return states, stacked

    def scores(self, states: Mapping[str, Scores]) -> list[dict[str, float]]:
        """The columns of Table 1 of every member, from the states of every set.

        With a discriminator also its accuracy: how often it names the set of a row,
        each set counting the same; one set alone is no question.
        """
        computed = to_host(_compute(states))
        some_set = next(iter(computed.values()))
        members = len(next(iter(some_set.values())))
        return [self._member_scores(computed, k) for k in range(members)]

    def _member_scores(
        self, computed: Mapping[str, Mapping[str, np.ndarray]], k: int
    ) -> dict[str, float]:
        found = columns(
            {
                name: score_columns(*(_of(each, task, k) for task in TASKS))
                for name, each in computed.items()
            },
            self.samples,
        )
        said = {
            index: computed[name]["task"][k]
            for index, name in enumerate(SETS[: self.domains])
            if name in computed
        }
        if len(said) > 1:
            right = [counts[index] / counts.sum() for index, counts in said.items()]
            found["discriminator"] = float(np.mean(right))
        return found

    def _judge(self, scores: dict[str, float]) -> Validation:
        """MTL selects the epoch; without it, the sum over the tasks that are scored."""
        single = {task: scores[task] for task in self.tasks if task in scores}
        everything = self.tasks == TASKS and "mtl" in scores
        shown = {
            key: value
            for key, value in scores.items()
            if self.tasks == TASKS or key in (*self.tasks, *AFFECT)
        }
        selection = scores["mtl"] if everything else sum(single.values())
        return Validation(selection, single, shown)

    def _states(self, variables: Variables, name: str) -> Scores:
        states = self._nothing(variables)
        for chunk in self.chunks[name]:
            states, _ = self.predict(variables, self.table, chunk, states)
        return states

    def _nothing(self, variables: Variables) -> Scores:
        empty = empty_scores(self.tasks, domains=self.domains)
        none = stack_members([empty] * count_members(variables))
        # Where the states come back from a call: anywhere else compiles it twice.
        return put_on_devices(none, self.shardings.members)


@jax.jit
def _compute(states: Mapping[str, Scores]) -> dict[str, dict[str, jax.Array]]:
    """Measures of every column by set and task, ``[K, C]``; counts of the domains."""
    return {
        name: {
            task: each.predicted
            if task == "task"
            else jax.vmap(type(each).compute)(each)
            for task, each in found.items()
        }
        for name, found in states.items()
    }


@jax.jit
def measure_columns(
    outputs: Mapping[str, Outputs], labels: Mapping[str, Batch]
) -> dict[str, dict[str, jax.Array]]:
    """Measures of every column by set and task, ``[C]``.

    Compiled as one program: step by step, JAX compiles a hundred small ones.

    Args:
      outputs: by set and task, ``[N, C]``.
      labels: of the same rows, of `labels_of`.
    """
    return {
        name: {
            task: state.compute()
            for task, state in batch_scores(each, labels[name]).items()
        }
        for name, each in outputs.items()
    }


def labels_of(samples: Samples) -> dict[str, np.ndarray]:
    """Labels of samples and where they are known, as a batch has them."""
    keys = [key for task in TASKS for key in (task, f"{task}_where")]
    return {key: getattr(samples, key) for key in keys}


def _of(computed: Mapping[str, np.ndarray], task: str, k: int) -> np.ndarray:
    """One member's measures; 0 for a task that the network does not predict."""
    return computed[task][k] if task in computed else np.zeros(2)


def validation_samples(
    store: Store, windows: Windows, *, sets: Iterable[str] = SETS
) -> dict[str, Samples]:
    """Evaluation samples of every set that has any."""
    found = {
        name: evaluation_samples(store, store.labels(name, "validation"), windows)
        for name in sets
    }
    return {name: samples for name, samples in found.items() if len(samples)}


@dataclass(frozen=True)
class Stream:
    """Batches of one set on the devices, as often as they are iterated over."""

    dataset: Iterable[Mapping[str, Any]]
    shardings: Shardings
    batch_size: int

    def __iter__(self) -> Iterator[dict[str, jax.Array]]:
        for chunk in self.dataset:
            yield self.shardings.place_batches(chunk, self.batch_size)


def stream(
    samples: Mapping[str, Samples],
    fill: Fill,
    shardings: Shardings,
    *,
    batch_size: int,
    batches_per_chunk: int,
    on_device: bool = False,
) -> Chunks:
    """Evaluation chunks by set; small items stay on the device (``on_device``)."""
    chunks: dict[str, Iterable] = {}
    for name, each in samples.items():
        dataset = evaluation_chunks(
            each,
            fill,
            batch_size=batch_size,
            batches_per_chunk=batches_per_chunk,
            process_rows=shardings.process_rows,
        )
        placed = Stream(dataset, shardings, batch_size)
        chunks[name] = list(placed) if on_device else placed
    return chunks


def home_set(task: str, samples: Mapping[str, Samples]) -> str | None:
    """The set a task is scored on: its own, or the multi-task set without one.

    None if the task has no label there.
    """
    name = task if task in samples else "mtl"
    return name if name in samples and _has_labels(samples[name], task) else None


def columns(
    by_set: Mapping[str, Mapping[str, float]], samples: Mapping[str, Samples]
) -> dict[str, float]:
    """Scores of each task on its own set, or on the multi-task set without one.

    A task that has no label there has no score, nor has MTL unless the multi-task set
    has labels of all three.
    """
    found: dict[str, float] = {}
    for task, keys in {"va": ("va", *AFFECT), "expr": ("expr",), "au": ("au",)}.items():
        if (home := home_set(task, samples)) is not None:
            found |= {key: by_set[home][key] for key in keys}
    if has_all_labels(samples):
        found["mtl"] = by_set["mtl"]["mtl"]
    return found


def has_all_labels(samples: Mapping[str, Samples]) -> bool:
    """True if there is a multi-task set with labels of all three tasks."""
    return "mtl" in samples and all(_has_labels(samples["mtl"], t) for t in TASKS)


def _has_labels(samples: Samples, task: str) -> bool:
    return bool(getattr(samples, f"{task}_where").any())
