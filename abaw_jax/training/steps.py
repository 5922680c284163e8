"""The compiled steps: a chunk of training rounds, and a chunk of predictions.

A round is Algorithm 1: one update per set, in order, by every member. Teacher and
student share these lines; they differ in the objective and in the ``teacher`` argument,
a frozen pytree (``None`` for a teacher). Only the state is donated.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from abaw_jax import metrics
from abaw_jax.objectives import Batch, LossWeights, Objective, Outputs
from abaw_jax.tasks import ACTION_UNITS, AFFECT, EXPRESSIONS, SETS, TASKS
from abaw_jax.training.distillation import Inputs, SoftLabels, vmap_members
from abaw_jax.training.sharding import Shardings
from abaw_jax.training.state import TrainState, Variables
from abaw_jax.training.updates import MakeBatch, ModelKwargs, Round, Terms, make_update

ChunkStep = Callable[..., tuple[TrainState, Terms]]


def make_chunk_step(
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    objective: Objective,
    *,
    make_batch: MakeBatch,
    inputs: Inputs,
    shardings: Shardings,
    order: Sequence[str] = SETS,
    soft_labels: SoftLabels | None = None,
    distilled: Collection[str] = TASKS,
    model_kwargs: ModelKwargs = lambda weights: {},
    skip_nonfinite: bool = False,
) -> ChunkStep:
    """Compiles R rounds of K members into one call.

    Args:
      model: takes what ``inputs`` gives.
      optimizer: of all its parameters.
      objective: what is minimised.
      make_batch: turns an item into a batch.
      inputs: picks the network's inputs out of a batch.
      shardings: placement of the arrays on the devices.
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
    train_round = Round(
        make_update(*network, skip_nonfinite=skip_nonfinite),
        *(make_batch, shardings, order, soft_labels),
        distilled if soft_labels is not None else (),
        looped=shardings.platform == "cpu",
    )
    members = shardings.members
    return jax.jit(
        partial(_train_chunk, train_round),
        in_shardings=(
            *(members, members, shardings.replicated),
            # Chunks come as they are: only batches that divide evenly come split.
            *(None, shardings.weights, members, members),
        ),
        out_shardings=(members, shardings.weights),
        donate_argnums=0,
    )


def _train_chunk(
    train_round: Round,
    state: TrainState,
    teacher: Any,
    table: Any,
    chunk: Mapping[str, Mapping[str, jax.Array]],
    weights: LossWeights,
    keys: jax.Array,
    active: jax.Array,
) -> tuple[TrainState, Terms]:
    """R rounds of K members; arguments as in `make_chunk_step`."""
    train_members = vmap_members(partial(train_round, table))

    def one_round(
        state: TrainState, scanned: tuple[Mapping, LossWeights]
    ) -> tuple[TrainState, Terms]:
        trained, terms = train_members(state, teacher, *scanned, keys)
        # A run of one ends when its member does.
        return (trained if len(keys) == 1 else select(active, trained, state)), terms

    return jax.lax.scan(one_round, state, (chunk, weights))


def select(chosen: jax.Array, new: Any, old: Any) -> Any:
    """Members of ``new`` where ``chosen`` ``[K]`` is True, of ``old`` elsewhere."""

    def pick(new: jax.Array, old: jax.Array) -> jax.Array:
        return jnp.where(chosen.reshape(-1, *[1] * (new.ndim - 1)), new, old)

    return jax.tree.map(pick, new, old)


Scores = dict[str, Any]
"""Mergeable metric states: ``va`` Concordance, ``expr``, ``au`` and ``task`` F1."""

PredictChunk = Callable[..., tuple[Scores, Outputs]]


def make_predict_chunk(
    model: nn.Module,
    *,
    make_batch: MakeBatch,
    inputs: Inputs,
    shardings: Shardings,
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

        return jax.lax.scan(one_batch, states, chunk)

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
