"""Convolution in the form that is fast on the platform it runs on."""

from collections.abc import Sequence
from functools import partial

import jax.numpy as jnp
from flax import linen as nn
from jax import Array, lax
from jax.typing import DTypeLike

from abaw_jax.kernels.convolution_cpu import convolve_cpu, convolve_xla


def convolve(
    x: Array,
    kernel: Array,
    *,
    strides: Sequence[int],
    padding: str | Sequence[tuple[int, int]],
) -> Array:
    """Convolves over one dimension or two.

    Args:
      x: ``[N, W, C]`` or ``[N, H, W, C]``.
      kernel: ``[w, C, F]`` or ``[h, w, C, F]``.
      strides: by dimension.
      padding: "SAME", "VALID", or numbers of zeros before and behind by dimension.

    Returns:
      ``[N, W', F]`` or ``[N, H', W', F]``.
    """
    strides = tuple(strides)
    if isinstance(padding, str):
        sides = x.shape[1:-1], kernel.shape[:-2]
        padding = lax.padtype_to_pads(*sides, strides, padding)
    pads = tuple((before, behind) for before, behind in padding)
    return lax.platform_dependent(
        x,
        kernel,
        cpu=partial(convolve_cpu, strides=strides, pads=pads),
        default=partial(convolve_xla, strides=strides, pads=pads),
    )


class Conv2d(nn.Module):
    """`convolve` over images, with bias and SAME padding.

    Attributes:
      features: output channels.
      kernel_size: height and width.
      strides: of both dimensions.
      dtype: of the computation; parameters are float32.
    """

    features: int
    kernel_size: tuple[int, int]
    strides: int = 1
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Maps ``[N, H, W, C]`` to ``[N, H / strides, W / strides, features]``."""
        shape = (*self.kernel_size, x.shape[-1], self.features)
        kernel = self.param("kernel", nn.initializers.he_normal(), shape)
        bias = self.param("bias", nn.initializers.zeros_init(), (self.features,))
        x, kernel, bias = (jnp.asarray(a, self.dtype) for a in (x, kernel, bias))
        return self.convolve(x, kernel) + bias.reshape(1, 1, 1, -1)

    def convolve(self, x: Array, kernel: Array) -> Array:
        """Convolves with another kernel, without bias."""
        return convolve(x, kernel, strides=(self.strides,) * 2, padding="SAME")
