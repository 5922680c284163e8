"""Strided convolution and max-pooling over time."""

from collections.abc import Callable
from functools import partial

import jax.numpy as jnp
from flax import linen as nn
from jax import Array, lax
from jax.typing import DTypeLike

from abaw_jax.kernels.convolution import convolve
from abaw_jax.kernels.maximum import maximum


def strided_conv1d(x: Array, kernel: Array, *, padding: int) -> Array:
    """Convolves over time with stride 2, computed as stride 1 over pairs of samples.

    The gradient with respect to ``x`` is then an ordinary convolution instead of one
    over an input half zeros: a training step of SoundNet takes .6 of the time on a CPU.

    Args:
      x: ``[N, S, C]``.
      kernel: ``[K, C, F]`` with even ``K``.
      padding: zeros on either side of ``x``.

    Returns:
      ``[N, floor((S + 2 padding - K) / 2) + 1, F]``.

    Raises:
      ValueError: if ``K`` is odd.
    """
    n, length, channels = x.shape
    taps, _, features = kernel.shape
    if taps % 2:
        raise ValueError(f"strided_conv1d: the kernel length {taps} must be even.")
    pairs = (length + 2 * padding) // 2
    # An odd last sample is read by no output: lax.pad crops by a negative amount.
    behind = 2 * pairs - length - padding
    x = lax.pad(x, jnp.zeros((), x.dtype), ((0, 0, 0), (padding, behind, 0), (0, 0, 0)))
    return convolve(
        x.reshape(n, pairs, 2 * channels),
        kernel.reshape(taps // 2, 2 * channels, features),
        strides=(1,),
        padding="VALID",
    )


def max_pool1d(x: Array, *, size: int) -> Array:
    """Takes the maximum over windows of ``size``, side by side.

    The gradient of XLA's own operation is a scatter on a GPU, which adds in any order;
    maxima of the halves of each window have none. TPUs take XLA's operation.

    Args:
      x: ``[N, S, C]``.
      size: a power of two.

    Returns:
      ``[N, floor(S / size), C]``.
    """

    def primitive(x: Array) -> Array:
        return nn.max_pool(x, (size,), (size,))

    return lax.platform_dependent(
        x, tpu=primitive, default=partial(_maxima_of_halves, size=size)
    )


def sliding_max1d(x: Array, *, size: int) -> Array:
    """Takes the maximum over windows of ``size`` that begin at every step.

    Args:
      x: ``[N, S, C]``.
      size: a power of two.

    Returns:
      ``[N, S - size + 1, C]``.
    """
    reach = 1
    while reach < size:
        x = maximum(x[:, :-reach], x[:, reach:])
        reach *= 2
    return x


def _maxima_of_halves(x: Array, *, size: int) -> Array:
    n, length, channels = x.shape
    windows = length // size
    x = x[:, : windows * size].reshape(n, windows, size * channels)
    while size > 1:
        size //= 2
        x = maximum(x[..., : size * channels], x[..., size * channels :])
    return x


def map_batch_on_cpu(layer: Callable[[Array], Array], x: Array) -> Array:
    """Applies ``layer`` to ``[N, ...]``, on a CPU to one entry after the other.

    What conv1 of SoundNet makes of a window of ten seconds, 7 MB, then stays in the
    processor's cache until it is pooled: eight windows pass the network in .6 to .7 of
    the time.
    """

    def in_turn(x: Array) -> Array:
        return lax.map(lambda window: layer(window[None])[0], x)

    return lax.platform_dependent(x, cpu=in_turn, default=layer)


class StridedConv1d(nn.Module):
    """`strided_conv1d` with bias.

    Attributes:
      features: output channels.
      taps: kernel length, even.
      padding: zeros on either side.
      dtype: of the computation; parameters are float32.
    """

    features: int
    taps: int
    padding: int
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Maps ``[N, S, C]`` to ``[N, about S / 2, features]``."""
        shape = (self.taps, x.shape[-1], self.features)
        kernel = self.param("kernel", nn.initializers.he_normal(), shape)
        bias = self.param("bias", nn.initializers.zeros_init(), (self.features,))
        x, kernel, bias = (jnp.asarray(a, self.dtype) for a in (x, kernel, bias))
        y = strided_conv1d(x, kernel, padding=self.padding)
        return y + bias.reshape(1, 1, -1)
