"""Gradient reversal: identity forward, negated and scaled gradient backward.

Placed between a feature extractor and a discriminator it trains the extractor *against*
the discriminator within one ordinary gradient step. Needs jax only.
"""

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike


@jax.custom_vjp
def _reverse(x: Array, scale: Array) -> Array:
    return x


def _forward(x: Array, scale: Array) -> tuple[Array, Array]:
    # Calls the reversal itself, so that a second derivative is reversed once more.
    return _reverse(x, scale), scale


def _backward(scale: Array, cotangent: Array) -> tuple[Array, Array]:
    # The product is formed in float32 at least, so a bfloat16 cotangent rounds once.
    scaled = jnp.where(scale == 0, 0.0, -scale * cotangent)  # 0 * infinity is NaN
    reversed_cotangent = scaled.astype(cotangent.dtype)
    return reversed_cotangent, jnp.zeros_like(scale)


_reverse.defvjp(_forward, _backward)


def gradient_reversal(x: ArrayLike, scale: ArrayLike = 1.0) -> Array:
    r"""Returns ``x`` unchanged and multiplies its gradient by ``-scale``.

    .. math::
      R_\lambda(x) = x, \qquad
      \bar x = -\lambda \, \bar R

    ``scale`` is an ordinary argument: it may be traced, change every step without
    recompiling, and be a ``vmap`` axis. It gets gradient 0. The function misstates its
    derivative on purpose, so numerical gradient checks fail, and forward mode (``jvp``,
    ``jacfwd``) raises ``TypeError``. Every further derivative passes through the
    reversal again: with ``scale`` 0.5 the second one of ``R(x) ** 3`` is
    ``-0.5 * -0.5 * 6 * x``, as for a reversal in PyTorch.

    Args:
      x: one real floating-point array of any shape; for a tree, map over its leaves.
      scale: scalar :math:`\lambda`; 1 in the paper, 0 stops the gradient, infinite or
        not.

    Returns:
      ``x``, bit for bit, with its shape and dtype.

    Raises:
      ValueError: if ``x`` is not floating point or ``scale`` is not a scalar.

    Examples:
      >>> import jax
      >>> from abaw_jax.reversal import gradient_reversal
      >>> print(gradient_reversal(3.0))
      3.0
      >>> print(jax.grad(lambda x: gradient_reversal(x, 0.5) ** 2)(3.0))
      -3.0

    References:
      Ganin and Lempitsky, *Unsupervised domain adaptation by backpropagation*, 2015.
    """
    x = jnp.asarray(x)
    scale = jnp.asarray(scale, jnp.float32)
    if not jnp.issubdtype(x.dtype, jnp.floating):
        raise ValueError(f"gradient_reversal: x must be floating point, got {x.dtype}.")
    if scale.ndim:
        raise ValueError(
            f"gradient_reversal: scale must be a scalar, got shape {scale.shape}."
        )
    return _reverse(x, scale)
