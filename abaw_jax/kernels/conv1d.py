"""Strided convolution and max-pooling over time, in one form for each platform.

As in `conv2d`, the platform is chosen when the program is lowered.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import Array, lax
from jax.typing import DTypeLike

_LAYOUT = ("NWC", "WIO", "NWC")


def strided_conv1d_blocked(
    x: Array, kernel: Array, *, padding: int, outputs: int
) -> Array:
    """`strided_conv1d` as stride 1 over frames of ``2 outputs`` samples.

    A frame's channels are its samples, and ``outputs`` results come out of each at
    once: the gradient with respect to ``x`` becomes an ordinary convolution instead of
    one over an input half zeros, and few channels become many.
    """
    n, length, channels = x.shape
    taps, _, features = kernel.shape
    total = (length + 2 * padding - taps) // 2 + 1
    frame, frames = 2 * outputs, -(-total // outputs)
    reach = -(-(taps + frame - 2) // frame)  # frames that the outputs of one look at
    # Samples after the last frame are never read: lax.pad crops by a negative amount.
    behind = (frames - 1 + reach) * frame - padding - length
    edges = ((0, 0, 0), (padding, behind, 0), (0, 0, 0))
    x = lax.pad(x, jnp.zeros((), x.dtype), edges)
    shifted = [
        jnp.pad(kernel, ((2 * k, reach * frame - taps - 2 * k), (0, 0), (0, 0)))
        for k in range(outputs)
    ]
    y = lax.conv_general_dilated(
        x.reshape(n, -1, frame * channels),
        jnp.stack(shifted, 2).reshape(reach, frame * channels, outputs * features),
        (1,),
        "VALID",
        dimension_numbers=_LAYOUT,
    )
    return y.reshape(n, -1, features)[:, :total]


def strided_conv1d_im2col(x: Array, kernel: Array, *, padding: int) -> Array:
    """`strided_conv1d` as one product of all patches.

    Its gradients read a large kernel in place; those of a convolution transpose it.
    """
    n, taps, features = len(x), len(kernel), kernel.shape[2]
    x = jnp.pad(x, ((0, 0), (padding, padding), (0, 0)))
    total = (x.shape[1] - taps) // 2 + 1
    pairs = x[:, : 2 * (total - 1) + taps].reshape(n, -1, 2 * x.shape[2])
    seen = [pairs[:, k : k + total] for k in range(taps // 2)]
    patches = jnp.concatenate(seen, axis=-1).reshape(n * total, -1)
    return (patches @ kernel.reshape(-1, features)).reshape(n, total, features)


def strided_conv1d(x: Array, kernel: Array, *, padding: int) -> Array:
    """Convolves over time with stride 2, computed as stride 1 over pairs of samples.

    On a CPU a waveform, of one channel, gives four outputs at once: eight windows of
    10 s through SoundNet in 33 ms instead of 41. And where the kernel is larger than
    all that it sees, as at the end of SoundNet, it is one product: the gradients of
    the object head take 5 ms instead of 22.

    Args:
      x: ``[N, S, C]``.
      kernel: ``[K, C, F]`` with even ``K``.
      padding: zeros on either side of ``x``.

    Returns:
      ``[N, floor((S + 2 padding - K) / 2) + 1, F]``.

    Raises:
      ValueError: if ``K`` is odd.
    """
    if len(kernel) % 2:
        raise ValueError(
            f"strided_conv1d: the kernel length {len(kernel)} must be even."
        )
    by_pairs = partial(strided_conv1d_blocked, padding=padding, outputs=1)
    by_fours = partial(strided_conv1d_blocked, padding=padding, outputs=4)
    by_patches = partial(strided_conv1d_im2col, padding=padding)
    results = len(x) * ((x.shape[1] + 2 * padding - len(kernel)) // 2 + 1)
    if x.shape[-1] == 1:
        on_cpu = by_fours
    elif kernel.shape[2] > results:  # the kernel is larger than all patches
        on_cpu = by_patches
    else:
        on_cpu = by_pairs
    return lax.platform_dependent(x, kernel, cpu=on_cpu, default=by_pairs)


@partial(jax.custom_vjp, nondiff_argnums=(1,))
def max_pool1d_tree(x: Array, size: int) -> Array:
    """`max_pool1d` as maxima of the halves of each window.

    Its gradient is the same to the bit every time, as that of `max_pool2d_shifted`.
    Samples that share the maximum share its gradient, in one pass over ``x`` where the
    gradients of the halves need six: normalising and pooling what conv1 of SoundNet
    makes of eight windows, backward in 70 ms instead of 110.
    """
    n, length, channels = x.shape
    windows = length // size
    x = x[:, : windows * size].reshape(n, windows, size * channels)
    while size > 1:
        size //= 2
        x = jnp.maximum(x[..., : size * channels], x[..., size * channels :])
    return x


def _tree_forward(x: Array, size: int) -> tuple[Any, tuple[Any, Any]]:
    y = max_pool1d_tree(x, size)
    return y, (x, y)


def _tree_backward(
    size: int, saved: tuple[Array, Array], gradient: Array
) -> tuple[Array]:
    x, y = saved
    n, windows, channels = y.shape
    seen = windows * size
    largest = x[:, :seen].reshape(n, windows, size, channels) == y[:, :, None]
    share = gradient / largest.sum(2, dtype=gradient.dtype)
    of_x = jnp.where(largest, share[:, :, None], 0).reshape(n, seen, channels)
    return (jnp.pad(of_x, ((0, 0), (0, x.shape[1] - seen), (0, 0))),)


max_pool1d_tree.defvjp(_tree_forward, _tree_backward)


def max_pool1d(x: Array, *, size: int) -> Array:
    """Takes the maximum over windows of ``size``, side by side.

    Args:
      x: ``[N, S, C]``.
      size: a power of two.

    Returns:
      ``[N, floor(S / size), C]``.
    """

    def primitive(x: Array) -> Array:
        return nn.max_pool(x, (size,), (size,))

    def by_halves(x: Array) -> Array:
        return max_pool1d_tree(x, size)

    return lax.platform_dependent(x, tpu=primitive, default=by_halves)


def map_batch_on_cpu(layer: Callable[[Array], Array], x: Array) -> Array:
    """Applies ``layer`` to ``[N, ...]``, on a CPU to one entry after the other.

    What conv1 of SoundNet makes of a window of ten seconds, 7 MB, then stays in the
    processor's cache until it is pooled: 37 ms instead of 47 for eight windows through
    the network, 300 instead of 500 for 64.
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
