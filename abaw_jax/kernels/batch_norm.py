"""Batch normalisation in few kernels: statistics of a batch, and their use.

The variables belong to the caller. The results are those of `flax.linen.BatchNorm`; the
gradient takes two sums over the batch where that of Flax takes three.
"""

import jax.numpy as jnp
from jax import Array, lax

from abaw_jax.kernels.cross_device import varying_axis_name


def batch_statistics(x: Array) -> tuple[Array, Array]:
    """Mean and variance of each feature of ``x [B, ..., F]`` over all devices.

    Returns:
      Two arrays ``[F]``, float32 or more exact.
    """
    axes = tuple(range(x.ndim - 1))
    x = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    mean, square = jnp.mean(x, axes), jnp.mean(lax.square(x), axes)
    if axis := varying_axis_name(x):
        mean, square = lax.pmean((mean, square), axis)
    return mean, jnp.maximum(square - lax.square(mean), 0)


def moving_average(running: Array, own: Array, momentum: float) -> Array:
    """Running statistics with those of one more batch."""
    return momentum * running + (1 - momentum) * own


def normalise(
    x: Array, mean: Array, var: Array, scale: Array, bias: Array, *, epsilon: float
) -> Array:
    """Normalises ``x [B, ..., F]`` by statistics ``[F]``, then scales and shifts it."""
    factor = scale * lax.rsqrt(var + epsilon)
    # The mean's gradient is that of the bias times a factor. Through x - mean it would
    # be a sum over the batch of its own, not so through mean - fixed, which is 0.
    fixed = lax.stop_gradient(mean)
    shift = bias - factor * (mean - fixed)
    axes = tuple(range(x.ndim - 1))
    fixed, factor, shift = (jnp.expand_dims(a, axes) for a in (fixed, factor, shift))
    return (x - fixed) * factor + shift
