"""The official ABAW3 measures as mergeable states.

A state is a pytree: build one per batch, merge in any order (also under ``jit``,
``vmap``, ``scan``), compute once over the whole data set. Averages of per-batch scores
are another, flattering quantity and are not offered.
"""

import dataclasses
from typing import Self

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from abaw_jax.concordance import Concordance, add_counts
from abaw_jax.formulas import f1_of_counts
from abaw_jax.masking import expand_where, require_between, require_same_shape
from abaw_jax.tasks import EXPRESSIONS


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class F1:
    r"""F1 of the positive class per column, over everything merged.

    .. math:: \mathrm{F1} = \frac{2\,\mathrm{TP}}{\text{predicted} + \text{actual}}

    and 0 for a column neither present nor predicted (``zero_division=0``).

    Attributes:
      true_positive: uint32 ``[C]``, rows both predicted and actual.
      predicted: uint32 ``[C]``.
      actual: uint32 ``[C]``.

    Examples:
      >>> import jax.numpy as jnp
      >>> from abaw_jax.metrics import F1
      >>> predictions = jnp.array([[1, 0, 0], [1, 1, 0], [0, 1, 0]])
      >>> labels = jnp.array([[1, 0, 0], [0, 1, 0], [1, 1, 0]])
      >>> print(F1.from_batch(predictions, labels).compute())
      [0.5 1.  0. ]

    References:
      Van Rijsbergen, *Information retrieval*, 1979.
    """

    true_positive: Array
    predicted: Array
    actual: Array

    @classmethod
    def empty(cls, columns: int) -> Self:
        """The state that has seen nothing, the neutral element of `merge`.

        Args:
          columns: number of columns C, 8 expressions or 12 action units.

        Returns:
          The state; every leaf is a separate buffer, so it may be donated.
        """
        return cls(*(jnp.zeros(columns, jnp.uint32) for _ in range(3)))

    @classmethod
    def from_batch(
        cls,
        predictions: ArrayLike,
        labels: ArrayLike,
        *,
        where: ArrayLike | None = None,
    ) -> Self:
        """Counts of one batch.

        Args:
          predictions: decisions ``[B, C]``, bool or probabilities; above 0.5 counts as
            1. See `expression_decisions` and `action_unit_decisions`.
          labels: ``[B, C]``, bool or 0/1; see `expression_one_hot`.
          where: bool ``[B]`` or ``[B, C]``, True at valid entries; whatever is
            under False is not counted.

        Returns:
          The state of this batch.

        Raises:
          ValueError: if the shapes disagree, or a value that is known is not between 0
            and 1, as the label -1 of a missing one; what is traced is not checked, and
            counts as 0 below 0.5.
        """
        require_between(0, 1, where=where, predictions=predictions, labels=labels)
        predicted = jnp.asarray(predictions) > 0.5
        actual = jnp.asarray(labels) > 0.5
        require_same_shape(2, predictions=predicted, labels=actual)
        where = expand_where(where, predicted.shape)
        counts = (predicted & actual, predicted, actual)
        return cls(*((each & where).sum(0, dtype=jnp.uint32) for each in counts))

    def merge(self, other: Self) -> Self:
        """The state of both data sets together.

        Args:
          other: a state with as many columns.

        Returns:
          The merged state; neither operand changes.

        Raises:
          ValueError: if the numbers of columns differ.
        """
        require_same_shape(
            self.actual.ndim, **{"this state": self.actual, "the other": other.actual}
        )
        return jax.tree.map(add_counts, self, other)

    def compute(self) -> Array:
        """F1 of everything merged.

        Returns:
          float32 ``[C]`` in ``[0, 1]``.
        """
        return f1_of_counts(self.true_positive, self.predicted, self.actual)


def expression_one_hot(
    classes: ArrayLike, *, num_classes: int = len(EXPRESSIONS)
) -> Array:
    """Class indices as one column per class, the form that `F1` counts.

    Args:
      classes: int ``[B]`` or any shape.
      num_classes: number of columns C.

    Returns:
      bool ``[B, C]``; an index outside ``[0, C)``, such as -1, gives a row of False.

    Raises:
      ValueError: if the classes are not integers.
    """
    classes = jnp.asarray(classes)
    if not jnp.issubdtype(classes.dtype, jnp.integer):
        raise ValueError(f"classes must be integers, got {classes.dtype}.")
    return jax.nn.one_hot(classes, num_classes, dtype=bool)


def expression_decisions(logits: ArrayLike) -> Array:
    """The most probable class of each row, one-hot.

    Args:
      logits: real ``[B, C]``.

    Returns:
      bool ``[B, C]``, one True in each row; the first of equal logits.
    """
    logits = jnp.asarray(logits)
    return expression_one_hot(logits.argmax(-1), num_classes=logits.shape[-1])


def action_unit_decisions(logits: ArrayLike) -> Array:
    """Units whose probability exceeds one half, that is, whose logit is positive.

    Args:
      logits: real ``[B, A]``.

    Returns:
      bool ``[B, A]``.
    """
    return jnp.asarray(logits) > 0


def challenge_scores(va: Concordance, expr: F1, au: F1) -> dict[str, float]:
    r"""The scores of the ABAW3 challenge, over everything the states have seen.

    .. math::
      P_\mathrm{VA} = \tfrac12 (\mathrm{CCC}_v + \mathrm{CCC}_a), \quad
      P_\mathrm{EXPR} = \tfrac18 \sum_c \mathrm{F1}_c, \quad
      P_\mathrm{AU} = \tfrac1{12} \sum_u \mathrm{F1}_u

    Args:
      va: of two columns, valence and arousal.
      expr: of one column per expression.
      au: of one column per action unit.

    Returns:
      ``va``, ``valence``, ``arousal``, ``expr``, ``au``, and ``mtl``, their sum
      :math:`P_\mathrm{VA} + P_\mathrm{EXPR} + P_\mathrm{AU}`. A task never seen is 0.

    Raises:
      ValueError: if ``va`` has not two columns.

    References:
      Kollias, *ABAW: valence-arousal estimation, expression recognition, action unit
      detection and multi-task learning challenges*, 2022.
    """
    if va.count.shape != (2,):
        raise ValueError(f"va needs valence and arousal, got columns {va.count.shape}.")
    return score_columns(va.compute(), expr.compute(), au.compute())


def score_columns(
    concordance: ArrayLike, expression_f1: ArrayLike, action_unit_f1: ArrayLike
) -> dict[str, float]:
    """The scores of the challenge from the measures of the single columns.

    Args:
      concordance: ``[2]``, CCC of valence and of arousal.
      expression_f1: one F1 per expression.
      action_unit_f1: one F1 per action unit.

    Returns:
      The keys of `challenge_scores`.
    """
    valence, arousal = np.asarray(concordance, np.float64).tolist()
    f1 = (
        np.asarray(each, np.float64).mean() for each in (expression_f1, action_unit_f1)
    )
    return _scores(valence, arousal, *map(float, f1))


def chance_scores(
    expr: ArrayLike,
    expr_where: ArrayLike | None,
    au: ArrayLike,
    au_where: ArrayLike | None,
    *,
    num_classes: int = len(EXPRESSIONS),
) -> dict[str, float]:
    r"""Expected scores of a predictor without input that has the label frequencies.

    A predictor that marks a class of frequency p at random with rate q has, over many
    rows, :math:`\mathrm{F1} = 2pq / (p + q)`. For action units this grows with q, so
    always on is best: :math:`2p / (1 + p)`. For expressions the rates sum to 1, the
    macro F1 is concave in them and greatest at q = p, where it is :math:`\sum_c p_c / C
    = 1/C`: no constant class and no other guess is better. CCC is 0 for anything
    independent of the labels.

    Args:
      expr: int ``[B]``, class indices.
      expr_where: bool ``[B]``, True at labelled rows, or ``None``.
      au: ``[B, A]``, 0/1.
      au_where: bool ``[B]`` or ``[B, A]``, or ``None``.
      num_classes: number of expressions C.

    Returns:
      The keys of `challenge_scores`. A task or unit without any label is 0.

    Raises:
      ValueError: if shapes disagree.
    """
    labelled = np.asarray(expand_where(expr_where, np.shape(expr)))
    au_where = np.asarray(expand_where(au_where, np.shape(au)))
    on = (np.asarray(au) > 0.5) & au_where
    frequency = on.sum(0) / np.maximum(au_where.sum(0), 1)
    chance = float(np.mean(2 * frequency / (1 + frequency)))
    return _scores(0.0, 0.0, 1 / num_classes if labelled.any() else 0.0, chance)


def _scores(valence: float, arousal: float, expr: float, au: float) -> dict[str, float]:
    va = (valence + arousal) / 2
    return {
        "va": va,
        "valence": valence,
        "arousal": arousal,
        "expr": expr,
        "au": au,
        "mtl": va + expr + au,
    }
