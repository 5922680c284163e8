"""The compiled steps: a chunk of training rounds, and a chunk of predictions.

A round is Algorithm 1: one update per set, in order, by every member. Teacher and
student share these lines; they differ in the objective and in the ``teacher`` argument,
a frozen pytree (``None`` for a teacher). Only the state is donated.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from abaw_jax import metrics
from abaw_jax.objectives import Batch, LossWeights, Objective, Outputs
from abaw_jax.tasks import ACTION_UNITS, AFFECT, EXPRESSIONS, SETS, TASKS
from abaw_jax.training.distillation import Inputs, SoftLabels, vmap_members
from abaw_jax.training.sharding import Shardings
from abaw_jax.training.state import TrainState, Variables

MakeBatch = Callable[[Any, Mapping[str, jax.Array]], Batch]
"""Turns a data item into a batch, on the device: ``make_batch(table, item)``."""

ModelKwargs = Callable[[LossWeights], Mapping[str, Any]]
"""Picks the network's keyword inputs in training out of the loss weights."""

ChunkStep = Callable[..., tuple[TrainState, dict[str, jax.Array]]]


def make_chunk_step(
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    objective: Objective,
    *,
    make_batch: MakeBatch,
    inputs: Inputs,
    shardings: Shardings,
    unroll: bool = False,
    order: Sequence[str] = SETS,
    soft_labels: SoftLabels | None = None,
    distilled: Collection[str] = TASKS,
    model_kwargs: ModelKwargs = lambda weights: {},
    skip_nonfinite: bool = True,
) -> ChunkStep:
    """Compiles R rounds of K members into one call.

    Args:
      model: takes what ``inputs`` gives.
      optimizer: of all its parameters.
      objective: what is minimised.
      make_batch: turns an item into a batch.
      inputs: picks the network's inputs out of a batch.
      shardings: placement of the arrays on the devices.
      unroll: writes the R rounds out instead of looping. XLA's CPU backend is slow at
        convolutions inside a loop: a round of a small SoundNet on two cores takes 1.7 s
        looped and 0.35 s written out. Heads alone are as fast looped.
      order: of the updates of a round, by set; Algorithm 1's.
      soft_labels: where a student's soft labels come from; ``None`` for a teacher.
      distilled: sets whose batches have soft labels.
      model_kwargs: what of the weights acts inside the network, by keyword.
      skip_nonfinite: leave the state as it is where an update is not finite. On a CPU
        a student's round takes a third longer so, and compiles a minute longer.

    Returns:
      ``step(state, teacher, table, chunk, weights, keys, active) -> (state, terms)``
      with ``teacher`` as ``soft_labels`` wants it, ``[K, ...]`` per leaf, ``chunk``
      ``{set: {key: [R, K, B, ...]}}``, ``weights`` ``[R, K, ...]`` per leaf, ``keys``
      ``[K]``, ``active`` bool ``[K]`` (a member that is not stays as it is) and
      ``terms`` ``{set/term: [R, K]}``. The term `SKIPPED` of an update whose loss or
      gradients are not finite is True.
    """
    network = model, optimizer, objective, inputs, shardings, model_kwargs
    update = _make_update(*network, skip_nonfinite=skip_nonfinite)
    train_round = _make_round(
        update, make_batch, shardings, order, soft_labels, distilled
    )
    loop = _unrolled_scan if unroll else jax.lax.scan
    members = shardings.members
    return jax.jit(
        partial(_train_chunk, train_round, loop),
        in_shardings=(
            *(members, members, shardings.replicated),
            # Chunks come as they are: only batches that divide evenly come split.
            *(None, shardings.weights, members, members),
        ),
        out_shardings=(members, shardings.weights),
        donate_argnums=0,
    )


def _make_round(
    update: Callable[..., tuple[TrainState, dict[str, jax.Array]]],
    make_batch: MakeBatch,
    shardings: Shardings,
    order: Sequence[str],
    soft_labels: SoftLabels | None,
    distilled: Collection[str],
) -> Callable[..., tuple[TrainState, dict[str, jax.Array]]]:
    """One update per set, in order, by one member."""

    def train_round(
        table: Any,
        state: TrainState,
        teacher: Any,
        items: Mapping[str, Mapping[str, jax.Array]],
        weights: LossWeights,
        key: jax.Array,
    ) -> tuple[TrainState, dict[str, jax.Array]]:
        keys = jax.random.split(jax.random.fold_in(key, state.step), len(items))
        logged = {}
        # A dict that crossed jit is sorted by key; Algorithm 1 has its own order.
        present = [name for name in order if name in items]
        for name, update_key in zip(present, keys, strict=True):
            rows = shardings.split_rows(make_batch(table, items[name]))
            batch = {**rows, "task": _drawn_from(name, items)}
            teacher_outputs = None
            if soft_labels is not None and name in distilled:
                teacher_outputs = soft_labels(table, teacher, name, batch)
            with jax.named_scope(f"update_{name}"):
                state, terms = update(
                    state, teacher_outputs, batch, weights, update_key
                )
            logged |= {f"{name}/{term}": value for term, value in terms.items()}
        return replace(state, step=state.step + 1), logged

    return train_round


def _train_chunk(
    train_round: Callable[..., tuple[TrainState, dict[str, jax.Array]]],
    loop: Callable[..., Any],
    state: TrainState,
    teacher: Any,
    table: Any,
    chunk: Mapping[str, Mapping[str, jax.Array]],
    weights: LossWeights,
    keys: jax.Array,
    active: jax.Array,
) -> tuple[TrainState, dict[str, jax.Array]]:
    """R rounds of K members; arguments as in `make_chunk_step`."""
    train_members = vmap_members(partial(train_round, table))

    def one_round(
        state: TrainState, scanned: tuple[Mapping, LossWeights]
    ) -> tuple[TrainState, dict[str, jax.Array]]:
        trained, terms = train_members(state, teacher, *scanned, keys)
        # A run of one ends when its member does.
        return (trained if len(keys) == 1 else select(active, trained, state)), terms

    return loop(one_round, state, (chunk, weights))


def select(chosen: jax.Array, new: Any, old: Any) -> Any:
    """Members of ``new`` where ``chosen`` ``[K]`` is True, of ``old`` elsewhere."""

    def pick(new: jax.Array, old: jax.Array) -> jax.Array:
        return jnp.where(chosen.reshape(-1, *[1] * (new.ndim - 1)), new, old)

    return jax.tree.map(pick, new, old)


def _unrolled_scan(body: Callable, carry: Any, scanned: Any) -> tuple[Any, Any]:
    """`jax.lax.scan` without a loop; its ``unroll`` keeps one even around one turn."""
    collected = []
    leaves, tree = jax.tree.flatten(scanned)
    for turn in zip(*leaves, strict=True):
        carry, out = body(carry, tree.unflatten(turn))
        collected.append(out)
    return carry, jax.tree.map(lambda *each: jnp.stack(each), *collected)


def _drawn_from(name: str, items: Mapping[str, Mapping[str, jax.Array]]) -> np.ndarray:
    """``task`` of a batch of one set, known while tracing."""
    rows = len(next(iter(items[name].values())))
    return np.full(rows, SETS.index(name), np.int32)


def _make_update(
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    objective: Objective,
    inputs: Inputs,
    shardings: Shardings,
    model_kwargs: ModelKwargs,
    *,
    skip_nonfinite: bool,
) -> Callable[..., tuple[TrainState, dict[str, jax.Array]]]:
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
    ) -> tuple[TrainState, dict[str, jax.Array]]:
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


SKIPPED = "skipped"
"""Term of an update that is not to be applied: its loss or gradient is not finite."""


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


Scores = dict[str, Any]
"""Mergeable metric states: ``va`` Concordance, ``expr``, ``au`` and ``task`` F1."""

PredictChunk = Callable[..., tuple[Scores, Outputs]]


def make_predict_chunk(
    model: nn.Module,
    *,
    make_batch: MakeBatch,
    inputs: Inputs,
    shardings: Shardings,
    unroll: bool = False,
) -> PredictChunk:
    """Compiles K members' predictions over a chunk, with their metric states.

    The arguments are those of `make_chunk_step`.

    Returns:
      ``predict(variables, table, chunk, states) -> (states, outputs)`` with
      ``variables`` and ``states`` ``[K, ...]`` per leaf, ``chunk`` ``{key: [R, B,
      ...]}`` and ``outputs`` ``[R, K, B, ...]``.
    """

    def predict_chunk(
        variables: Variables,
        table: Any,
        chunk: Mapping[str, jax.Array],
        states: Scores,
    ) -> tuple[Scores, Outputs]:
        def one_batch(
            states: Scores, item: Mapping[str, jax.Array]
        ) -> tuple[Scores, Outputs]:
            batch = shardings.split_rows(make_batch(table, item))

            def one_member(variables: Variables, states: Scores) -> tuple[Scores, Any]:
                outputs: Any = model.apply(variables, *inputs(batch), train=False)
                fresh = batch_scores(outputs, batch)
                return {k: states[k].merge(fresh[k]) for k in states}, outputs

            return vmap_members(one_member)(variables, states)

        loop = _unrolled_scan if unroll else jax.lax.scan
        return loop(one_batch, states, chunk)

    members = shardings.members
    return jax.jit(
        predict_chunk,
        in_shardings=(members, shardings.replicated, None, members),
        out_shardings=(members, shardings.weights),
    )


def empty_scores(tasks: Sequence[str], *, domains: int = 0) -> Scores:
    """States that have seen nothing, of the tasks and of so many domains."""
    empty = {
        "va": metrics.Concordance.empty(len(AFFECT)),
        "expr": metrics.F1.empty(len(EXPRESSIONS)),
        "au": metrics.F1.empty(len(ACTION_UNITS)),
        "task": metrics.F1.empty(domains),
    }
    return {task: empty[task] for task in (*tasks, *["task"] * (domains > 0))}


def batch_scores(outputs: Outputs, batch: Batch) -> Scores:
    """Metric states of one batch, by the official decisions (argmax, 0.5)."""
    scores = {}
    if "va" in outputs:
        scores["va"] = metrics.Concordance.from_batch(
            outputs["va"], batch["va"], where=batch["va_where"]
        )
    if "expr" in outputs:
        scores["expr"] = metrics.F1.from_batch(
            metrics.expression_decisions(outputs["expr"]),
            metrics.expression_one_hot(batch["expr"]),
            where=batch["expr_where"],
        )
    if "au" in outputs:
        scores["au"] = metrics.F1.from_batch(
            metrics.action_unit_decisions(outputs["au"]),
            batch["au"],
            where=batch["au_where"],
        )
    if "task" in outputs:
        # All rows are of one set: the counts of predicted domains give the accuracy.
        said = metrics.expression_decisions(outputs["task"])
        scores["task"] = metrics.F1.from_batch(
            said, jnp.zeros_like(said), where=batch["valid"]
        )
    return scores
