"""Cross-entropies with exchanged arguments, as in the authors' code.

Their code hands Keras the prediction as the truth and the label as the prediction, and
Keras clips it. What comes out is no likelihood but a bounded, nearly linear error: 16.1
times the probability missed for an expression, 15.4 times for a unit. Only the preset
``authors`` uses it; `abaw_jax.losses` has the losses that the equations mean.
"""

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from abaw_jax.masking import expand_where, require_between, require_same_shape

_EPSILON = 1e-7  # Keras's


def expression_loss(
    logits: ArrayLike, targets: ArrayLike, *, where: ArrayLike | None = None
) -> Array:
    r"""Cross-entropy of the targets as seen from the prediction.

    .. math::
      -\sum_c p_c \log \operatorname{clip}(y_c), \quad p = \operatorname{softmax}(z)

    Args:
      logits: real ``[B, C]``; any float type, computed in float32.
      targets: ``[B, C]``, one-hot labels or a teacher's probabilities.
      where: bool ``[B]``, True at rows to use; ``None`` uses all.

    Returns:
      float32 ``[B]``, 0 where not used.

    Raises:
      ValueError: if the shapes disagree, ``where`` is not boolean, or a target that is
        known is out of ``[0, 1]``.

    Examples:
      >>> import jax.numpy as jnp
      >>> from abaw_jax import swapped
      >>> loss = swapped.expression_loss(jnp.zeros((1, 2)), jnp.array([[1.0, 0.0]]))
      >>> print(loss.round(3))
      [8.059]

    References:
      The authors' code, February to November 2022.
    """
    logits = jnp.asarray(logits, jnp.float32)
    targets = jnp.asarray(targets, jnp.float32)
    require_same_shape(2, logits=logits, targets=targets)
    require_between(0, 1, where=where, targets=targets)
    where = expand_where(where, logits.shape[:1])
    logits, targets = (
        jnp.where(where[:, None], each, 0.0) for each in (logits, targets)
    )
    clipped = jnp.clip(targets, _EPSILON, 1 - _EPSILON)
    losses = -(jax.nn.softmax(logits) * jnp.log(clipped)).sum(-1)
    return jnp.where(where, losses, 0.0)


def action_unit_loss(
    logits: ArrayLike, targets: ArrayLike, *, where: ArrayLike | None = None
) -> Array:
    r"""Binary cross-entropy of each target as seen from the prediction.

    .. math::
      -p \log(\operatorname{clip}(y) + \epsilon)
      - (1 - p) \log(1 - \operatorname{clip}(y) + \epsilon), \quad p = \sigma(z)

    Args:
      logits: real ``[B, A]``; any float type, computed in float32.
      targets: ``[B, A]``, labels 0/1 or a teacher's probabilities.
      where: bool ``[B]`` or ``[B, A]``, True at entries to use; ``None`` uses all.

    Returns:
      float32 ``[B, A]``, 0 where not used.

    Raises:
      ValueError: if the shapes disagree, ``where`` is not boolean, or a target that is
        known is out of ``[0, 1]``.

    Examples:
      >>> import jax.numpy as jnp
      >>> from abaw_jax import swapped
      >>> loss = swapped.action_unit_loss(jnp.zeros((1, 1)), jnp.zeros((1, 1)))
      >>> print(loss.round(2))
      [[7.71]]

    References:
      The authors' code; ``binary_crossentropy`` of Keras 2.7 adds epsilon twice.
    """
    logits = jnp.asarray(logits, jnp.float32)
    targets = jnp.asarray(targets, jnp.float32)
    require_same_shape(2, logits=logits, targets=targets)
    require_between(0, 1, where=where, targets=targets)
    where = expand_where(where, logits.shape)
    logits, targets = (jnp.where(where, each, 0.0) for each in (logits, targets))
    clipped = jnp.clip(targets, _EPSILON, 1 - _EPSILON)
    on = jax.nn.sigmoid(logits)
    losses = -on * jnp.log(clipped + _EPSILON)
    losses -= (1 - on) * jnp.log(1 - clipped + _EPSILON)
    return jnp.where(where, losses, 0.0)
