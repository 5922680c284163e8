"""Losses for affect recognition with missing labels.

Each is per row (CCC: per column) in float32, takes a boolean ``where`` (True = use) and
leaves the averaging to the caller, `masked_mean`. Whatever is under False, NaN,
infinities and sentinels included, changes neither the value nor the gradient; both are
exactly 0 there. Nothing is broadcast between predictions and labels.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array
from jax.core import Tracer
from jax.typing import ArrayLike

from abaw_jax.concordance import Concordance
from abaw_jax.masking import (
    expand_where,
    masked_mean,
    masked_sum_and_count,
    require_between,
    require_classes_or_probabilities,
    require_same_shape,
)

__all__ = [
    "action_unit_loss",
    "ccc",
    "ccc_loss",
    "expression_loss",
    "masked_mean",
    "masked_sum_and_count",
    "soft_action_unit_loss",
    "soft_expression_loss",
]


def ccc(
    predictions: ArrayLike,
    labels: ArrayLike,
    *,
    where: ArrayLike | None = None,
    eps: float = 1e-8,
) -> Array:
    r"""Concordance correlation coefficient of each column.

    .. math::
      \frac{2 \operatorname{cov}(y, \hat y) + \epsilon}
        {\sigma_y^2 + \sigma_{\hat y}^2 + (\mu_y - \mu_{\hat y})^2 + \epsilon}

    with population moments. A statistic of the batch: its value for a batch is not the
    mean over two halves, so it wants the *global* batch (automatic under ``jit`` with a
    sharded batch) and says little about a small one.

    Args:
      predictions: real ``[B, D]``; any float type, computed in float32.
      labels: real ``[B, D]``, in the unit of the predictions.
      where: bool ``[B]`` or ``[B, D]``, True at valid labels; ``None`` uses all rows.
      eps: added to numerator and denominator; keeps a constant batch finite.

    Returns:
      float32 ``[D]`` in ``[-1, 1]``; 0 for a column with fewer than two valid rows.

    Raises:
      ValueError: if the shapes disagree or ``where`` is not boolean.

    Examples:
      >>> import jax.numpy as jnp
      >>> from abaw_jax.losses import ccc
      >>> labels = jnp.array([[-1.0], [1.0]])
      >>> print(ccc(labels / 2, labels))
      [0.8]

    References:
      Lin, *A concordance correlation coefficient to evaluate reproducibility*, 1989.
    """
    state = Concordance.from_batch(predictions, labels, where=where)
    return state.compute(eps=eps)


def ccc_loss(
    predictions: ArrayLike,
    labels: ArrayLike,
    *,
    where: ArrayLike | None = None,
    eps: float = 1e-8,
) -> Array:
    r"""One minus the concordance correlation coefficient of each column.

    .. math:: 1 - \mathrm{CCC}(y, \hat y)

    See `ccc`. Serves supervision and distillation alike: for the latter ``labels`` are
    the teacher's predictions, into which the gradient flows unless the caller stops it.

    Args:
      predictions: real ``[B, D]``; any float type, computed in float32.
      labels: real ``[B, D]``, in the unit of the predictions.
      where: bool ``[B]`` or ``[B, D]``, True at valid labels; ``None`` uses all rows.
      eps: added to numerator and denominator; keeps a constant batch finite.

    Returns:
      float32 ``[D]`` in ``[0, 2]``: 0 for identical columns, 1 for constant predictions
      of varying labels; exactly 0, with gradient exactly 0, for a column with fewer
      than two valid rows.

    Raises:
      ValueError: if the shapes disagree or ``where`` is not boolean.

    Examples:
      >>> import jax.numpy as jnp
      >>> from abaw_jax.losses import ccc_loss
      >>> labels = jnp.array([[-1.0], [1.0], [-5.0]])
      >>> where = jnp.array([True, True, False])
      >>> print(ccc_loss(labels, labels, where=where))
      [0.]
      >>> print(ccc_loss(-labels, labels, where=where))
      [2.]

    References:
      Jeong, Oh and Lim, 2022, equations 1, 2 and 8.
    """
    state = Concordance.from_batch(predictions, labels, where=where)
    return jnp.where(state.count >= 2, 1.0 - state.compute(eps=eps), 0.0)


def expression_loss(
    logits: ArrayLike, labels: ArrayLike, *, where: ArrayLike | None = None
) -> Array:
    r"""Cross-entropy of one class out of C.

    .. math:: -\sum_c y_c \log \operatorname{softmax}(z)_c

    Args:
      logits: real ``[B, C]``; any float type, computed in float32.
      labels: int ``[B]``, class indices, or ``[B, C]``, probabilities or one-hot.
      where: bool ``[B]``, True at valid labels; ``None`` uses all rows.

    Returns:
      float32 ``[B]`` in nats, 0 where not valid. A traced index outside
      ``[0, C)`` gives NaN where valid: -1 would otherwise be the loss of the last
      class.

    Raises:
      ValueError: if the shapes disagree, the indices are not integers, ``where`` is not
        boolean, or a label that is known is out of range: indices of ``[0, C)``,
        probabilities of ``[0, 1]``.

    Examples:
      >>> import jax.numpy as jnp
      >>> from abaw_jax.losses import expression_loss
      >>> logits, labels = jnp.zeros((2, 8)), jnp.array([3, -1])
      >>> print(expression_loss(logits, labels, where=labels >= 0))
      [2.0794415 0.       ]

    References:
      Jeong, Oh and Lim, 2022, equations 3 and 4.
    """
    logits = jnp.asarray(logits, jnp.float32)
    labels = jnp.asarray(labels)
    require_classes_or_probabilities(logits, labels)
    largest = 1 if labels.ndim == 2 else logits.shape[1] - 1
    require_between(0, largest, where=where, labels=labels)
    where = expand_where(where, logits.shape[:1])
    logits = jnp.where(where[:, None], logits, 0.0)
    if labels.ndim == 2:
        targets = jnp.where(where[:, None], labels.astype(jnp.float32), 0.0)
        losses = optax.softmax_cross_entropy(logits, targets)
    else:
        losses = _cross_entropy_of_classes(logits, jnp.where(where, labels, 0))
    return jnp.where(where, losses, 0.0)


def _cross_entropy_of_classes(logits: Array, classes: Array) -> Array:
    """Picks by comparison: a GPU adds the gradient of an index up in any order."""
    chosen = classes[:, None] == jnp.arange(logits.shape[1])[None]
    losses = -jnp.sum(jnp.where(chosen, jax.nn.log_softmax(logits), 0.0), axis=1)
    return jnp.where(jnp.any(chosen, axis=1), losses, jnp.nan)


def action_unit_loss(
    logits: ArrayLike, labels: ArrayLike, *, where: ArrayLike | None = None
) -> Array:
    r"""Binary cross-entropy of each unit.

    .. math:: -y \log \sigma(z) - (1 - y) \log \sigma(-z)

    The paper prints equation 5 without the leading minus; this is the loss it means.

    Args:
      logits: real ``[B, A]``; any float type, computed in float32.
      labels: ``[B, A]``, 0/1 or probabilities.
      where: bool ``[B]`` or ``[B, A]``, True at valid labels; ``None`` uses all.

    Returns:
      float32 ``[B, A]`` in nats, 0 where not valid.

    Raises:
      ValueError: if the shapes disagree, ``where`` is not boolean, or a label that is
        known is out of ``[0, 1]``; traced ones are not checked.

    Examples:
      >>> import jax.numpy as jnp
      >>> from abaw_jax.losses import action_unit_loss
      >>> logits, labels = jnp.array([[0.0, 2.0]]), jnp.array([[1, -1]])
      >>> print(action_unit_loss(logits, labels, where=labels >= 0))
      [[0.6931472 0.       ]]

    References:
      Jeong, Oh and Lim, 2022, equations 5 and 6.
    """
    logits = jnp.asarray(logits, jnp.float32)
    labels = jnp.asarray(labels, jnp.float32)
    require_same_shape(2, logits=logits, labels=labels)
    require_between(0, 1, where=where, labels=labels)
    where = expand_where(where, logits.shape)
    logits, labels = (jnp.where(where, each, 0.0) for each in (logits, labels))
    losses = optax.sigmoid_binary_cross_entropy(logits, labels)
    return jnp.where(where, losses, 0.0)


def soft_expression_loss(
    logits: ArrayLike,
    teacher_logits: ArrayLike,
    *,
    temperature: ArrayLike = 1.0,
    where: ArrayLike | None = None,
) -> Array:
    r"""Cross-entropy from the teacher's class distribution, both softened.

    .. math::
      -\sum_c \operatorname{softmax}(t / T)_c \log \operatorname{softmax}(z / T)_c

    The teacher is the target, which the printed equation leaves open. No factor
    :math:`T^2`. The minimum, at :math:`z = t`, is the teacher's entropy, not 0. The
    gradient flows into both arguments; stop the teacher's where it is frozen.

    Args:
      logits: real ``[B, C]``; any float type, computed in float32.
      teacher_logits: real ``[B, C]``.
      temperature: positive scalar T, may be traced; 2.5 in the paper.
      where: bool ``[B]``, True at rows to use; ``None`` uses all.

    Returns:
      float32 ``[B]`` in nats, 0 where not used.

    Raises:
      ValueError: if the shapes disagree, ``where`` is not boolean or ``temperature``
        not a positive scalar.

    Examples:
      >>> import jax.numpy as jnp
      >>> from abaw_jax.losses import soft_expression_loss
      >>> logits, teacher_logits = jnp.zeros((1, 8)), jnp.eye(8)[:1]
      >>> print(soft_expression_loss(logits, teacher_logits, temperature=2.5))
      [2.0794415]

    References:
      Jeong, Oh and Lim, 2022, equation 9. Hinton, Vinyals and Dean, *Distilling the
      knowledge in a neural network*, 2015.
    """
    logits, teacher_logits = _matching_logits(logits, teacher_logits)
    where = expand_where(where, logits.shape[:1])
    student = _soften(logits, temperature, where[:, None])
    teacher = _soften(teacher_logits, temperature, where[:, None])
    return expression_loss(student, jax.nn.softmax(teacher), where=where)


def soft_action_unit_loss(
    logits: ArrayLike,
    teacher_logits: ArrayLike,
    *,
    temperature: ArrayLike = 1.0,
    where: ArrayLike | None = None,
) -> Array:
    r"""Binary cross-entropy of each unit from the teacher's probability.

    .. math::
      -\sigma(t / T) \log \sigma(z / T) - \sigma(-t / T) \log \sigma(-z / T)

    The teacher is the target; no factor :math:`T^2`; the gradient flows into both
    arguments. See `soft_expression_loss`.

    Args:
      logits: real ``[B, A]``; any float type, computed in float32.
      teacher_logits: real ``[B, A]``.
      temperature: positive scalar T, may be traced; 1 in the paper.
      where: bool ``[B]`` or ``[B, A]``, True at entries to use; ``None`` uses all.

    Returns:
      float32 ``[B, A]`` in nats, 0 where not used.

    Raises:
      ValueError: if the shapes disagree, ``where`` is not boolean or ``temperature``
        not a positive scalar.

    Examples:
      >>> import jax.numpy as jnp
      >>> from abaw_jax.losses import soft_action_unit_loss
      >>> print(soft_action_unit_loss(jnp.zeros((1, 2)), jnp.array([[3.0, -3.0]])))
      [[0.6931472 0.6931472]]

    References:
      Jeong, Oh and Lim, 2022, equation 10.
    """
    logits, teacher_logits = _matching_logits(logits, teacher_logits)
    where = expand_where(where, logits.shape)
    student = _soften(logits, temperature, where)
    teacher = _soften(teacher_logits, temperature, where)
    return action_unit_loss(student, jax.nn.sigmoid(teacher), where=where)


def _matching_logits(
    logits: ArrayLike, teacher_logits: ArrayLike
) -> tuple[Array, Array]:
    logits = jnp.asarray(logits, jnp.float32)
    teacher_logits = jnp.asarray(teacher_logits, jnp.float32)
    require_same_shape(2, logits=logits, teacher_logits=teacher_logits)
    return logits, teacher_logits


def _soften(logits: Array, temperature: ArrayLike, where: Array) -> Array:
    """Logits over T, 0 where not used."""
    if not isinstance(temperature, Tracer):
        known = np.asarray(temperature)
        if known.ndim == 0 and not (known.dtype.kind in "fiu" and known > 0):
            raise ValueError(f"temperature must be positive, got {temperature!r}.")
    temperature = jnp.asarray(temperature, jnp.float32)
    if temperature.ndim:
        raise ValueError(f"temperature must be a scalar, got {temperature.shape}.")
    # Selected before dividing: NaN / T would reach the gradient of T.
    return jnp.where(where, logits, 0.0) / temperature
