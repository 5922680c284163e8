"""The objectives of teacher and student, equations 12 and 13.

An objective maps the outputs of the network in training, the teacher's outputs (or
``None``), one batch and the loss weights to a scalar and its terms. It is written for
any mixture of rows: ``batch["task"]`` says from which set a row was drawn, so a batch
of one task (Algorithm 1) and a mixed batch run through the same lines. Every term is a
mean over its rows, where the paper prints sums: alpha is relative to mean losses.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import flax.struct
import jax
import jax.numpy as jnp

from abaw_jax import losses, swapped
from abaw_jax.tasks import EXPRESSIONS, SETS, TASKS

Outputs = Mapping[str, jax.Array]
Batch = Mapping[str, jax.Array]
Terms = dict[str, jax.Array]


@flax.struct.dataclass
class LossWeights:
    """The scalars of equations 12 and 13, all traced: a new epoch never recompiles.

    Attributes:
      supervised: alpha, the weight of a student's supervised terms.
      distilled: of the distillation of the task a row is from; 1 in the paper.
      cross_task: beta, the weight of the distillation of the tasks a row is not from.
      joint: of a student's supervision on multi-task rows; 1 in the paper.
      discriminator: delta, the weight of the task discriminator's loss.
      reversal: factor on the gradient that the discriminator reverses; 1 in the paper.
      per_task: gamma by task, raised for tasks that stopped improving.
      temperature: softens both expression distributions in the distillation.
      expressions: ``[8]``, weight of the labels of each class; ones in the paper.
      action_units: ``[12]``, weight of each unit's positive labels; ones in the paper.
    """

    supervised: jax.Array
    distilled: jax.Array
    cross_task: jax.Array
    joint: jax.Array
    discriminator: jax.Array
    reversal: jax.Array
    per_task: Mapping[str, jax.Array]
    temperature: jax.Array
    expressions: jax.Array
    action_units: jax.Array


@dataclass(frozen=True)
class Equations:
    """Interpretation of the printed equations; each one is another compiled program.

    Attributes:
      swapped: cross-entropies with their arguments exchanged wherever the authors' code
        does so: supervision, discriminator, and the distillation of expressions and
        units but for the terms listed in `_AS_PRINTED`.
      softened_supervision: a student's supervised expression logits are divided by the
        temperature too.
      softened_units: the distillation of action units is softened too.
      squared_temperature: softened distillation is multiplied by the square of the
        temperature, which keeps its gradient's size (Hinton et al., 2015).
      distilled_joint: multi-task rows are distilled too, with the weight ``distilled``.
    """

    swapped: bool = False
    softened_supervision: bool = False
    softened_units: bool = False
    squared_temperature: bool = False
    distilled_joint: bool = False


PAPER = Equations()
"""The equations as they are meant."""

_AS_PRINTED = frozenset({("va", "expr"), ("va", "au"), ("expr", "au")})
"""Set and task of the distillation terms that the authors' code does not swap."""

Objective = Callable[
    [Outputs, Outputs | None, Batch, LossWeights], tuple[jax.Array, Terms]
]


def teacher_objective(
    outputs: Outputs,
    teacher_outputs: Outputs | None,
    batch: Batch,
    weights: LossWeights,
    *,
    equations: Equations = PAPER,
) -> tuple[jax.Array, Terms]:
    r"""Supervision and the task discriminator, equation 12.

    .. math:: L = \sum_i (L^S_i + \delta L^T_i) + \sum_j L^S_j[\text{MTL rows}]

    Args:
      outputs: of the network in training; ``va`` ``[B, 2]``, ``expr`` ``[B, 8]``
        logits, ``au`` ``[B, 12]`` logits, and ``task`` ``[B, 3]`` logits when it has a
        discriminator. A network with fewer heads is trained on those it has.
      teacher_outputs: not used; a teacher has no teacher.
      batch: labels and masks of those tasks, and ``task`` int ``[B]``.
      weights: ``discriminator``, ``expressions`` and ``action_units`` are used.
      equations: ``swapped`` is used.

    Returns:
      The loss, scalar, and its unweighted parts by name.

    References:
      Jeong, Oh and Lim, 2022, equation 12.
    """
    del teacher_outputs
    terms: Terms = {"supervised": jnp.zeros(())}
    for name, rows in _drawn(batch):
        for task in TASKS if name == "mtl" else (name,):
            if task in outputs:
                terms["supervised"] += _supervised(
                    task, outputs, batch, rows, weights, equations
                )
    terms["discriminator"] = _domain(outputs, batch, equations)
    return terms["supervised"] + weights.discriminator * terms["discriminator"], terms


def student_objective(
    outputs: Outputs,
    teacher_outputs: Outputs | None,
    batch: Batch,
    weights: LossWeights,
    *,
    equations: Equations = PAPER,
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
      teacher_outputs: the frozen teacher's, on the same rows, or ``None`` for a batch
        that is not distilled, as the paper's multi-task rows are not.
      batch: labels and masks of the three tasks, and ``task`` int ``[B]``.
      weights: all but ``reversal``, which acts inside the network.
      equations: all used.

    Returns:
      The loss, scalar, and its unweighted parts by name.

    References:
      Jeong, Oh and Lim, 2022, equation 13.
    """
    loss = jnp.zeros(())
    terms: Terms = {"supervised": loss, "distilled": loss}
    softening = weights.temperature if equations.softened_supervision else None
    for name, rows in _drawn(batch):
        joint = name == "mtl"
        alpha = weights.joint if joint else weights.supervised
        for task in TASKS if joint else (name,):
            supervised = _supervised(
                task, outputs, batch, rows, weights, equations, softening
            )
            loss += weights.per_task[task] * alpha * supervised
            terms["supervised"] += supervised
        if teacher_outputs is None or (joint and not equations.distilled_joint):
            continue
        for task in TASKS:
            term, temperature = (name, task), weights.temperature
            distilled = _distilled(
                term, outputs, teacher_outputs, rows, temperature, equations
            )
            own = joint or task == name
            share = weights.distilled if own else weights.cross_task
            loss += share * weights.per_task[task] * distilled
            terms["distilled"] += distilled
    terms["discriminator"] = _domain(outputs, batch, equations)
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
    task: str,
    outputs: Outputs,
    batch: Batch,
    rows: jax.Array,
    weights: LossWeights,
    equations: Equations,
    temperature: jax.Array | None = None,
) -> jax.Array:
    """L^S of one task (equations 1 to 6) over the labelled ones of ``rows``."""
    labels, where = batch[task], batch[f"{task}_where"]
    if task == "va":
        return losses.ccc_loss(outputs["va"], labels, where=rows & where).mean()
    if task == "expr":
        where = rows & where
        logits = outputs["expr"]
        logits = logits if temperature is None else logits / temperature
        if equations.swapped:
            one_hot = jax.nn.one_hot(labels, len(EXPRESSIONS))
            per_row = swapped.expression_loss(logits, one_hot, where=where)
        else:
            per_row = losses.expression_loss(logits, labels, where=where)
        share = weights.expressions[labels]
        norm = losses.masked_mean(share, where)
        return losses.masked_mean(per_row * share, where) / jnp.where(norm, norm, 1.0)
    where = rows[:, None] & where
    loss = swapped.action_unit_loss if equations.swapped else losses.action_unit_loss
    per_unit = loss(outputs["au"], labels, where=where)
    share = jnp.where(labels > 0, weights.action_units, 1.0)
    return losses.masked_mean(per_unit * share, where)


def _distilled(
    term: tuple[str, str],
    outputs: Outputs,
    teacher_outputs: Outputs,
    rows: jax.Array,
    temperature: jax.Array,
    equations: Equations,
) -> jax.Array:
    """L^D (equations 8 to 10) of one set and task; the teacher is the target."""
    _, task = term
    student, teacher = outputs[task], teacher_outputs[task]
    if task == "va":
        return losses.ccc_loss(student, teacher, where=rows).mean()
    softened = task == "expr" or equations.softened_units
    where = rows if task == "expr" else jnp.broadcast_to(rows[:, None], student.shape)
    if equations.swapped and term not in _AS_PRINTED:
        values = _swapped_distillation(
            task, student, teacher, temperature if softened else 1.0, where
        )
    elif task == "expr":
        values = losses.soft_expression_loss(
            student, teacher, temperature=temperature, where=where
        )
    else:
        values = losses.soft_action_unit_loss(
            student, teacher, temperature=temperature if softened else 1.0, where=where
        )
    scale = temperature**2 if equations.squared_temperature and softened else 1.0
    return scale * losses.masked_mean(values, where)


def _swapped_distillation(
    task: str,
    student: jax.Array,
    teacher: jax.Array,
    temperature: jax.Array | float,
    where: jax.Array,
) -> jax.Array:
    if task == "expr":
        targets = jax.nn.softmax(teacher / temperature)
        return swapped.expression_loss(student / temperature, targets, where=where)
    targets = jax.nn.sigmoid(teacher / temperature)
    return swapped.action_unit_loss(student / temperature, targets, where=where)


def _domain(outputs: Outputs, batch: Batch, equations: Equations) -> jax.Array:
    """L^T (equation 11): from which set a row was drawn, summed over the sets.

    Multi-task rows carry no such question and are left out, unless the discriminator
    has a class for them.
    """
    if "task" not in outputs:
        return jnp.zeros(())
    logits = outputs["task"]
    labels = jnp.minimum(batch["task"], logits.shape[-1] - 1)
    if equations.swapped:
        one_hot = jax.nn.one_hot(labels, logits.shape[-1])
        per_row = swapped.expression_loss(logits, one_hot)
    else:
        per_row = losses.expression_loss(logits, labels)
    asked = SETS[: logits.shape[-1]]
    sets = (rows for name, rows in _drawn(batch) if name in asked)
    return sum((losses.masked_mean(per_row, rows) for rows in sets), jnp.zeros(()))
