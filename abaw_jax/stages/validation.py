"""Scores on the validation sets, each frame by the official measure of its set."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from abaw_jax.data.pipeline import Fill, evaluation_chunks
from abaw_jax.data.store import Store
from abaw_jax.data.windows import Samples, Windows, evaluation_samples
from abaw_jax.metrics import challenge_scores, chance_scores
from abaw_jax.tasks import AFFECT, SETS, TASKS
from abaw_jax.training.loop import Validation
from abaw_jax.training.state import Variables
from abaw_jax.training.steps import PredictChunk, Scores, empty_scores

Chunks = Mapping[str, Iterable[Mapping[str, Any]]]
"""Evaluation chunks by set; iterated once per validation."""


@dataclass(frozen=True)
class Validator:
    """Scores variables on every validation set that has labels.

    Attributes:
      predict: compiled, of `make_predict_chunk`.
      table: first argument of its ``fetch``.
      samples: by set.
      chunks: the same in batches, of `stream`.
      tasks: that the network predicts.
    """

    predict: PredictChunk
    table: Any
    samples: Mapping[str, Samples]
    chunks: Chunks
    tasks: tuple[str, ...] = TASKS

    @property
    def chance(self) -> dict[str, float]:
        """Chance level of every score: each task on its own set, MTL on the joint."""
        levels = {
            name: chance_scores(each.expr, each.expr_where, each.au, each.au_where)
            for name, each in self.samples.items()
        }
        return _columns(levels)

    def __call__(self, variables: Variables) -> Validation:
        """Scores of ``variables``, read from the device once."""
        states = {name: self._states(variables, name) for name in self.chunks}
        return _validation(states, self.tasks)

    def predictions(
        self, variables: Variables, name: str
    ) -> tuple[Scores, dict[str, np.ndarray]]:
        """Metric states and outputs ``[N, ...]`` of one set, padding removed."""
        states, parts, valid = empty_scores(self.tasks), [], []
        for chunk in self.chunks[name]:
            states, outputs = self.predict(variables, self.table, chunk, states)
            parts.append({k: np.asarray(v) for k, v in outputs.items()})
            valid.append(np.asarray(chunk["valid"]).ravel())
        kept = np.concatenate(valid)
        stacked = {
            key: np.concatenate(
                [part[key].reshape(-1, *part[key].shape[2:]) for part in parts]
            )
            for key in parts[0]
        }
        return states, {key: value[kept] for key, value in stacked.items()}

    def _states(self, variables: Variables, name: str) -> Scores:
        states = empty_scores(self.tasks)
        for chunk in self.chunks[name]:
            states, _ = self.predict(variables, self.table, chunk, states)
        return states


def validation_samples(
    store: Store, windows: Windows, *, sets: Iterable[str] = SETS
) -> dict[str, Samples]:
    """Evaluation samples of every set that has any."""
    found = {
        name: evaluation_samples(store, store.labels(name, "validation"), windows)
        for name in sets
    }
    return {name: samples for name, samples in found.items() if len(samples)}


def stream(
    samples: Mapping[str, Samples],
    fill: Fill,
    *,
    batch_size: int,
    batches_per_chunk: int,
    place: Callable[[Any], Any] | None = None,
) -> Chunks:
    """Evaluation chunks by set; ``place`` puts small items on the device once."""
    chunks: dict[str, Iterable] = {}
    for name, each in samples.items():
        chunks[name] = evaluation_chunks(
            each, fill, batch_size=batch_size, batches_per_chunk=batches_per_chunk
        )
        if place is not None:
            chunks[name] = [place(chunk) for chunk in chunks[name]]
    return chunks


def shown(states: Mapping[str, Scores]) -> dict[str, float]:
    """The columns of Table 1 from the metric states of every set."""
    return _columns(
        {
            name: challenge_scores(**(empty_scores(TASKS) | state))
            for name, state in states.items()
        }
    )


def _validation(states: Mapping[str, Scores], tasks: tuple[str, ...]) -> Validation:
    columns = shown(states)
    if tasks == TASKS:
        single = {task: columns[task] for task in TASKS}
        return Validation(columns["mtl"], single, columns)
    kept = {name: columns[name] for name in (*tasks, *AFFECT)}
    return Validation(kept["va"], {"va": kept["va"]}, kept)


def _columns(by_set: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """Each task on its own set; one that has none borrows its part of the joint set."""

    def column(task: str, key: str) -> float:
        return by_set.get(task, by_set.get("mtl", {})).get(key, 0.0)

    single = {
        "va": column("va", "va"),
        "valence": column("va", "valence"),
        "arousal": column("va", "arousal"),
        "expr": column("expr", "expr"),
        "au": column("au", "au"),
    }
    joint = single["va"] + single["expr"] + single["au"]
    return {**single, "mtl": by_set["mtl"]["mtl"] if "mtl" in by_set else joint}
