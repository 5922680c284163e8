"""The compiled calls: a chunk of training rounds, and a chunk of predictions.

A round is Algorithm 1: one update per set, in order. Teacher and student share these
lines; they differ in the objective and in the ``teacher`` argument, a frozen pytree of
variables (``None`` for a teacher). Only the state is donated.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from abaw_jax import metrics
from abaw_jax.objectives import Batch, LossWeights, Objective, Outputs
from abaw_jax.tasks import ACTION_UNITS, AFFECT, EXPRESSIONS, SETS, TASKS
from abaw_jax.training.sharding import Shardings
from abaw_jax.training.state import TrainState, Variables

Fetch = Callable[[Any, Mapping[str, jax.Array]], Batch]
"""Turns a data item into a batch, on the device: ``fetch(table, item)``."""

Inputs = Callable[[Batch], tuple[jax.Array, ...]]
"""Picks the network's positional inputs out of a batch."""

Options = Callable[[LossWeights], Mapping[str, Any]]
"""Picks the network's keyword inputs in training out of the loss weights."""

ChunkStep = Callable[..., tuple[TrainState, dict[str, jax.Array]]]


def make_chunk_step(
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    objective: Objective,
    *,
    fetch: Fetch,
    inputs: Inputs,
    shardings: Shardings,
    unroll: bool = False,
    order: Sequence[str] = SETS,
    distilled: Collection[str] = TASKS,
    options: Options = lambda weights: {},
) -> ChunkStep:
    """Compiles R rounds into one call.

    Args:
      model: takes what ``inputs`` gives.
      optimizer: of all its parameters.
      objective: what is minimised.
      fetch: turns an item into a batch.
      inputs: picks the network's inputs out of a batch.
      shardings: where arrays live.
      unroll: writes the R rounds out instead of looping. XLA's CPU backend is slow at
        convolutions inside a loop: a round of a small SoundNet on two cores takes 1.7 s
        looped and 0.35 s written out. Heads alone are as fast looped.
      order: of the updates of a round, by set; Algorithm 1's.
      distilled: sets whose batches the teacher looks at.
      options: what of the weights acts inside the network, by keyword.

    Returns:
      ``step(state, teacher, table, chunk, weights, key) -> (state, terms)`` with
      ``chunk`` ``{set: {key: [R, B, ...]}}``, ``weights`` ``[R]`` per leaf and
      ``terms`` ``{set/term: [R]}``.
    """
    update = _make_update(model, optimizer, objective, inputs, options)

    def chunk_step(
        state: TrainState,
        teacher: Variables | None,
        table: Any,
        chunk: Mapping[str, Mapping[str, jax.Array]],
        weights: LossWeights,
        key: jax.Array,
    ) -> tuple[TrainState, dict[str, jax.Array]]:
        def one_round(
            state: TrainState, scanned: tuple[Mapping, LossWeights]
        ) -> tuple[TrainState, dict[str, jax.Array]]:
            items, weights = scanned
            keys = jax.random.split(jax.random.fold_in(key, state.step), len(items))
            logged = {}
            # A dict that crossed jit is sorted by key; Algorithm 1 has its own order.
            present = [name for name in order if name in items]
            for name, update_key in zip(present, keys, strict=True):
                frozen = teacher if name in distilled else None
                batch = {**fetch(table, items[name]), "task": _drawn_from(name, items)}
                with jax.named_scope(f"update_{name}"):
                    state, terms = update(state, frozen, batch, weights, update_key)
                logged |= {f"{name}/{term}": value for term, value in terms.items()}
            return replace(state, step=state.step + 1), logged

        loop = _written_out if unroll else jax.lax.scan
        return loop(one_round, state, (chunk, weights))

    replicated = shardings.replicated
    return jax.jit(
        chunk_step,
        in_shardings=(*[replicated] * 3, shardings.rounds, replicated, replicated),
        out_shardings=replicated,
        donate_argnums=0,
    )


def _written_out(body: Callable, carry: Any, scanned: Any) -> tuple[Any, Any]:
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
    options: Options,
) -> Callable[..., tuple[TrainState, dict[str, jax.Array]]]:
    """One step of the optimizer on one batch; ``teacher`` may be ``None``."""

    def update(
        state: TrainState,
        teacher: Variables | None,
        batch: Batch,
        weights: LossWeights,
        key: jax.Array,
    ) -> tuple[TrainState, dict[str, jax.Array]]:
        soft = None if teacher is None else soft_labels(model, teacher, inputs(batch))

        def loss(params: Any) -> tuple[jax.Array, tuple[dict, Any]]:
            outputs, changed = model.apply(
                {"params": params, "batch_stats": state.batch_stats},
                *inputs(batch),
                train=True,
                rngs={"dropout": key},
                mutable=["batch_stats"],
                **options(weights),
            )
            value, terms = objective(outputs, soft, batch, weights)
            return value, ({"loss": value, **terms}, changed)

        gradients, (terms, changed) = jax.grad(loss, has_aux=True)(state.params)
        updates, opt_state = optimizer.update(
            gradients, state.opt_state, params=state.params
        )
        state = replace(
            state,
            params=optax.apply_updates(state.params, updates),
            batch_stats=changed.get("batch_stats", state.batch_stats),
            opt_state=opt_state,
        )
        return state, terms

    return update


def soft_labels(
    model: nn.Module, teacher: Variables, inputs: tuple[jax.Array, ...]
) -> Outputs:
    """The frozen teacher's outputs, in inference mode, cut off from the gradient."""
    with jax.named_scope("teacher"):
        outputs: Any = model.apply(teacher, *inputs, train=False)
        return jax.lax.stop_gradient(outputs)


Scores = dict[str, Any]
"""Mergeable metric states by task: ``va`` Concordance, ``expr`` F1, ``au`` F1."""

PredictChunk = Callable[..., tuple[Scores, Outputs]]


def make_predict_chunk(
    model: nn.Module,
    *,
    fetch: Fetch,
    inputs: Inputs,
    shardings: Shardings,
    unroll: bool = False,
) -> PredictChunk:
    """Compiles predictions over a chunk with the metric states of its labelled rows.

    The arguments are those of `make_chunk_step`.

    Returns:
      ``predict(variables, table, chunk, states) -> (states, outputs)`` with ``chunk``
      ``{key: [R, B, ...]}`` and ``outputs`` ``[R, B, ...]``.
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
            batch = fetch(table, item)
            outputs: Any = model.apply(variables, *inputs(batch), train=False)
            fresh = batch_scores(outputs, batch)
            return {k: states[k].merge(fresh[k]) for k in states}, outputs

        loop = _written_out if unroll else jax.lax.scan
        return loop(one_batch, states, chunk)

    replicated = shardings.replicated
    return jax.jit(
        predict_chunk,
        in_shardings=(replicated, replicated, shardings.rounds, replicated),
        out_shardings=replicated,
    )


def empty_scores(tasks: tuple[str, ...]) -> Scores:
    """States that have seen nothing."""
    empty = {
        "va": metrics.Concordance.empty(len(AFFECT)),
        "expr": metrics.F1.empty(len(EXPRESSIONS)),
        "au": metrics.F1.empty(len(ACTION_UNITS)),
    }
    return {task: empty[task] for task in tasks}


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
    return scores
