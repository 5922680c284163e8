"""Max-pooling of images whose gradient is the same to the bit every time."""

import jax.numpy as jnp
from flax import linen as nn
from jax import Array, lax

from abaw_jax.kernels.maximum import maximum


def _shifted_maxima(x: Array) -> Array:
    """`max_pool2d` as maxima of shifted images, first down, then across."""
    for axis in (1, 2):
        x = _maxima_of_three(x, axis)
    return x


def _maxima_of_three(x: Array, axis: int) -> Array:
    """Maxima of neighbours along an axis.

    Windows begin at even places where there is an even number of places, and are
    centred on them where it is odd.
    """
    even, odd = (lax.slice_in_dim(x, start, None, 2, axis) for start in (0, 1))
    if even.shape == odd.shape:
        neighbours = odd, _shift(even, axis, -1, 1)
    else:
        neighbours = _shift(odd, axis, 0, 1), _shift(odd, axis, 1, 0)
    return maximum(maximum(even, neighbours[0]), neighbours[1])


def _shift(x: Array, axis: int, before: int, behind: int) -> Array:
    """Adds places that are less than any value, or takes one away."""
    padding = [(0, 0, 0)] * x.ndim
    padding[axis] = (before, behind, 0)
    return lax.pad(x, jnp.array(-jnp.inf, x.dtype), padding)


def _primitive(x: Array) -> Array:
    return nn.max_pool(x, (3, 3), (2, 2), "SAME")


def max_pool2d(x: Array) -> Array:
    """Takes the maximum over 3x3 windows, stride 2, TensorFlow's SAME padding.

    The gradient of XLA's own operation is a scatter on a GPU, which adds in any order;
    maxima of shifted images have none. TPUs take XLA's operation. Where several pixels
    share the maximum, which of them receive its gradient depends on the platform.

    Args:
      x: ``[N, H, W, C]``.

    Returns:
      ``[N, ceil(H / 2), ceil(W / 2), C]``.
    """
    return lax.platform_dependent(x, tpu=_primitive, default=_shifted_maxima)
