"""Equations 12 and 13: what the teacher and the student minimise.

An objective maps the outputs of the network in training, the teacher's outputs (or
``None``), one batch and the loss weights to a scalar and its terms. It is written for
any mixture of rows: ``batch["task"]`` says from which set a row was drawn, so a batch
of one task (Algorithm 1) and a mixed batch run through the same lines. Every term is a
mean over its rows, where the paper prints sums: alpha is relative to mean losses.
"""

from collections.abc import Callable, Iterator, Mapping

import flax.struct
import jax
import jax.numpy as jnp

from abaw_jax import losses
from abaw_jax.tasks import SETS, TASKS

Outputs = Mapping[str, jax.Array]
Batch = Mapping[str, jax.Array]
Terms = dict[str, jax.Array]


@flax.struct.dataclass
class LossWeights:
    """The scalars of equations 12 and 13, all traced: a new epoch never recompiles.

    Attributes:
      supervised: alpha, the weight of a student's supervised terms.
      cross_task: beta, the weight of the distillation of the tasks a row is not from.
      discriminator: delta, the weight of the task discriminator's loss.
      per_task: gamma by task, raised for tasks that stopped improving.
      temperature: softens both expression distributions in the distillation.
    """

    supervised: jax.Array
    cross_task: jax.Array
    discriminator: jax.Array
    per_task: Mapping[str, jax.Array]
    temperature: jax.Array


Objective = Callable[
    [Outputs, Outputs | None, Batch, LossWeights], tuple[jax.Array, Terms]
]


def teacher_objective(
    outputs: Outputs, soft: Outputs | None, batch: Batch, weights: LossWeights
) -> tuple[jax.Array, Terms]:
    r"""Supervision and the task discriminator, equation 12.

    .. math:: L = \sum_i (L^S_i + \delta L^T_i) + \sum_j L^S_j[\text{MTL rows}]

    Args:
      outputs: of the network in training; ``va`` ``[B, 2]``, ``expr`` ``[B, 8]``
        logits, ``au`` ``[B, 12]`` logits, and ``task`` ``[B, 3]`` logits when it has a
        discriminator. A network with fewer heads is trained on those it has.
      soft: not used; a teacher has no teacher.
      batch: labels and masks of those tasks, and ``task`` int ``[B]``.
      weights: only ``discriminator`` is used.

    Returns:
      The loss, scalar, and its unweighted parts by name.

    References:
      Jeong, Oh and Lim, 2022, equation 12.
    """
    del soft
    terms: Terms = {"supervised": jnp.zeros(())}
    for name, rows in _drawn(batch):
        for task in TASKS if name == "mtl" else (name,):
            if task in outputs:
                terms["supervised"] += _supervised(task, outputs, batch, rows)
    terms["discriminator"] = _domain(outputs, batch)
    return terms["supervised"] + weights.discriminator * terms["discriminator"], terms


def student_objective(
    outputs: Outputs, soft: Outputs | None, batch: Batch, weights: LossWeights
) -> tuple[jax.Array, Terms]:
    r"""Supervision, distillation and the task discriminator, equation 13.

    A row drawn for task i is supervised on i and distilled on all three; the last term
    of the printed equation is read as :math:`L^D_j`. Rows of the multi-task set are
    supervised only, without alpha.

    .. math::
      L = \sum_i \Big( \gamma_i (\alpha L^S_i + L^D_i)
          + \beta \sum_{j \ne i} \gamma_j L^D_j + \delta L^T_i \Big)
          + \sum_j \gamma_j L^S_j[\text{MTL rows}]

    Args:
      outputs: of the student; the keys of `teacher_objective`.
      soft: the frozen teacher's outputs on the same rows, or ``None`` for a batch of
        multi-task rows, which are not distilled.
      batch: labels and masks of the three tasks, and ``task`` int ``[B]``.
      weights: all used.

    Returns:
      The loss, scalar, and its unweighted parts by name.

    References:
      Jeong, Oh and Lim, 2022, equation 13.
    """
    loss = jnp.zeros(())
    terms: Terms = {"supervised": loss, "distilled": loss}
    for name, rows in _drawn(batch):
        alpha = 1.0 if name == "mtl" else weights.supervised
        for task in TASKS if name == "mtl" else (name,):
            supervised = _supervised(task, outputs, batch, rows)
            loss += weights.per_task[task] * alpha * supervised
            terms["supervised"] += supervised
        if name == "mtl" or soft is None:
            continue
        for task in TASKS:
            distilled = _distilled(task, outputs, soft, rows, weights.temperature)
            share = 1.0 if task == name else weights.cross_task
            loss += share * weights.per_task[task] * distilled
            terms["distilled"] += distilled
    terms["discriminator"] = _domain(outputs, batch)
    return loss + weights.discriminator * terms["discriminator"], terms


def _drawn(batch: Batch) -> Iterator[tuple[str, jax.Array]]:
    """Every set with its rows, bool ``[B]``.

    A ``task`` that is a NumPy array is known while tracing: sets that have no row in it
    are left out of the compiled program, which is most of it in a round of Algorithm 1.
    """
    for index, name in enumerate(SETS):
        rows = batch["task"] == index
        if isinstance(rows, jax.Array) or rows.any():
            yield name, jnp.asarray(rows)


def _supervised(
    task: str, outputs: Outputs, batch: Batch, rows: jax.Array
) -> jax.Array:
    """L^S of one task (equations 1 to 6) over the labelled ones of ``rows``."""
    labels, where = batch[task], batch[f"{task}_where"]
    if task == "va":
        return losses.ccc_loss(outputs["va"], labels, where=rows & where).mean()
    if task == "expr":
        where = rows & where
        per_row = losses.expression_loss(outputs["expr"], labels, where=where)
        return losses.masked_mean(per_row, where)
    where = rows[:, None] & where
    per_unit = losses.action_unit_loss(outputs["au"], labels, where=where)
    return losses.masked_mean(per_unit, where)


def _distilled(
    task: str, outputs: Outputs, soft: Outputs, rows: jax.Array, temperature: jax.Array
) -> jax.Array:
    """L^D of one task (equations 8 to 10) over ``rows``; the teacher is the target."""
    if task == "va":
        return losses.ccc_loss(outputs["va"], soft["va"], where=rows).mean()
    if task == "expr":
        per_row = losses.soft_expression_loss(
            outputs["expr"], soft["expr"], temperature=temperature, where=rows
        )
        return losses.masked_mean(per_row, rows)
    where = jnp.broadcast_to(rows[:, None], outputs["au"].shape)
    per_unit = losses.soft_action_unit_loss(outputs["au"], soft["au"], where=where)
    return losses.masked_mean(per_unit, where)


def _domain(outputs: Outputs, batch: Batch) -> jax.Array:
    """L^T (equation 11): which single-task set a row was drawn from, summed over sets.

    Multi-task rows carry no such question and are left out.
    """
    if "task" not in outputs:
        return jnp.zeros(())
    labels = jnp.minimum(batch["task"], len(TASKS) - 1)
    per_row = losses.expression_loss(outputs["task"], labels)
    sets = (rows for name, rows in _drawn(batch) if name != "mtl")
    return sum((losses.masked_mean(per_row, rows) for rows in sets), jnp.zeros(()))
