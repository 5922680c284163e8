"""A round of Algorithm 1: one update per set, in order, by one member."""

import itertools
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from abaw_jax.objectives import Batch, LossWeights, Objective, Outputs
from abaw_jax.tasks import SETS
from abaw_jax.training.distillation import Inputs, SoftLabels
from abaw_jax.training.sharding import Shardings
from abaw_jax.training.state import TrainState

Item = Mapping[str, jax.Array]
Terms = dict[str, jax.Array]

MakeBatch = Callable[[Any, Item], Batch]
"""Turns a data item into a batch, on the device: ``make_batch(table, item)``."""

ModelKwargs = Callable[[LossWeights], Mapping[str, Any]]
"""Picks the network's keyword inputs in training out of the loss weights."""

SKIPPED = "skipped"
"""Term of an update that is not to be applied: its loss or gradient is not finite."""


@dataclass(frozen=True)
class Round:
    """One update per set, in order, by one member.

    Attributes:
      update: one step of the optimizer.
      make_batch: as the next three, of `make_chunk_step`.
      distilled: none for a teacher.
      looped: sets whose batches have the same shapes take turns in a loop around one
        program, which then compiles once and not for each of them.
    """

    update: Callable[..., tuple[TrainState, Terms]]
    make_batch: MakeBatch
    shardings: Shardings
    order: Sequence[str]
    soft_labels: SoftLabels | None
    distilled: Collection[str]
    looped: bool

    def __call__(
        self,
        table: Any,
        state: TrainState,
        teacher: Any,
        items: Mapping[str, Item],
        weights: LossWeights,
        key: jax.Array,
    ) -> tuple[TrainState, Terms]:
        """The state after the round, and its terms by set."""
        keys = jax.random.split(jax.random.fold_in(key, state.step), len(items))
        # A dict that crossed jit is sorted by key; Algorithm 1 has its own order.
        present = [name for name in self.order if name in items]
        turns = {
            name: (items[name], self._taught(table, teacher, name, items[name]), key)
            for name, key in zip(present, keys, strict=True)
        }

        def turn(state: TrainState, task: Any, given: Any) -> tuple[TrainState, Terms]:
            item, teacher_outputs, key = given
            batch = {**self._batch(table, item), "task": _drawn_from(task, item)}
            return self.update(state, teacher_outputs, batch, weights, key)

        logged: Terms = {}
        for names in self._together(items, present):
            given = [turns[name] for name in names]
            with jax.named_scope(f"update_{'_'.join(names)}"):
                if len(names) == 1:
                    state, terms = turn(state, SETS.index(names[0]), given[0])
                    each = [terms]
                else:
                    state, each = _in_turns(turn, state, names, given)
            for name, terms in zip(names, each, strict=True):
                logged |= {f"{name}/{term}": value for term, value in terms.items()}
        return replace(state, step=state.step + 1), logged

    def _batch(self, table: Any, item: Item) -> Batch:
        return self.shardings.split_rows(self.make_batch(table, item))

    def _taught(
        self, table: Any, teacher: Any, name: str, item: Item
    ) -> Outputs | None:
        if self.soft_labels is None or name not in self.distilled:
            return None
        return self.soft_labels(table, teacher, name, self._batch(table, item))

    def _together(
        self, items: Mapping[str, Item], present: Sequence[str]
    ) -> Iterator[list[str]]:
        """Neighbouring sets that one program serves."""

        def kind(name: str) -> Any:
            shapes = {key: (a.shape, a.dtype) for key, a in items[name].items()}
            return (name in self.distilled, shapes) if self.looped else name

        for _, names in itertools.groupby(present, kind):
            yield list(names)


def _in_turns(
    turn: Callable[[TrainState, Any, Any], tuple[TrainState, Terms]],
    state: TrainState,
    names: Sequence[str],
    given: Sequence[Any],
) -> tuple[TrainState, list[Terms]]:
    """Takes a turn for each of the sets; its state, and the terms of each."""
    tasks = np.array([SETS.index(name) for name in names], np.int32)
    stacked = jax.tree.map(lambda *each: jnp.stack(each), *given)
    state, terms = jax.lax.scan(
        lambda state, given: turn(state, *given), state, (tasks, stacked)
    )
    return state, [
        {term: values[k] for term, values in terms.items()} for k in range(len(names))
    ]


def _drawn_from(task: Any, item: Item) -> Any:
    """``task`` of a batch of one set; of an int, it is known while tracing."""
    rows = len(next(iter(item.values())))
    return (np if isinstance(task, int) else jnp).full(rows, task, np.int32)


def make_update(
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    objective: Objective,
    inputs: Inputs,
    shardings: Shardings,
    model_kwargs: ModelKwargs,
    *,
    skip_nonfinite: bool,
) -> Callable[..., tuple[TrainState, Terms]]:
    """One step of the optimizer on one batch; ``teacher_outputs`` may be ``None``."""

    def apply(params: Any, shared: Any, rows: Any) -> tuple[Outputs, Any]:
        batch_stats, key, keywords = shared
        return model.apply(
            {"params": params, "batch_stats": batch_stats},
            *rows,
            train=True,
            rngs={"dropout": key},
            mutable=["batch_stats"],
            **keywords,
        )

    def update(
        state: TrainState,
        teacher_outputs: Outputs | None,
        batch: Batch,
        weights: LossWeights,
        key: jax.Array,
    ) -> tuple[TrainState, Terms]:
        def loss(params: Any) -> tuple[jax.Array, tuple[dict, Any]]:
            shared = (state.batch_stats, key, model_kwargs(weights))
            outputs, changed = shardings.by_rows(apply)(params, shared, inputs(batch))
            value, terms = objective(outputs, teacher_outputs, batch, weights)
            return value, ({"loss": value, **terms}, changed)

        gradients, (terms, changed) = jax.grad(loss, has_aux=True)(state.params)
        updates, opt_state = optimizer.update(
            gradients, state.opt_state, params=state.params
        )
        updated = replace(
            state,
            params=optax.apply_updates(state.params, updates),
            batch_stats=changed.get("batch_stats", state.batch_stats),
            opt_state=opt_state,
        )
        finite = _is_finite((terms["loss"], gradients))
        if skip_nonfinite:
            updated = jax.tree.map(partial(jnp.where, finite), updated, state)
        return updated, terms | {SKIPPED: ~finite}

    return update


def _is_finite(tree: Any) -> jax.Array:
    """True if all values are; their sum is not if one is not.

    The last axis is summed first, then all of what is left at once: sums of the leaves
    one by one are two kernels each. The barrier keeps XLA from making them so again.
    """
    rows = [
        jnp.ravel(jnp.sum(leaf, axis=-1) if leaf.ndim > 1 else leaf)
        for leaf in jax.tree.leaves(tree)
    ]
    return jnp.isfinite(jnp.sum(jax.lax.optimization_barrier(jnp.concatenate(rows))))
