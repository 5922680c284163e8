"""Max-pooling of images whose gradient is the same to the bit every time."""

import jax.numpy as jnp
from flax import linen as nn
from jax import Array, lax


def _shifted_maxima(x: Array) -> Array:
    """`max_pool2d` as maxima of shifted images, first down, then across."""
    h, w = x.shape[1:3]
    pads = lax.padtype_to_pads((h, w), (3, 3), (2, 2), "SAME")
    x = jnp.pad(x, ((0, 0), *pads, (0, 0)), constant_values=-jnp.inf)
    for axis, size in ((1, h), (2, w)):
        last = 2 * (-(-size // 2)) - 1
        taps = [
            lax.slice_in_dim(x, offset, offset + last, stride=2, axis=axis)
            for offset in range(3)
        ]
        x = jnp.maximum(jnp.maximum(taps[0], taps[1]), taps[2])
    return x


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
