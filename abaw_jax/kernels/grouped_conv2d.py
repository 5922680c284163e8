"""Grouped convolution of images, in one form for each platform.

On a CPU, XLA's own takes 44 ms for 16 images of 28x28x64 in 32 groups, and 1.5 s with
its gradient; the forms here take .5 and 17. GPUs and TPUs take XLA's. The platform is
chosen when the program is lowered: a program compiled for a TPU takes the TPU's form on
any machine.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax import Array, lax
from jax.typing import DTypeLike

from abaw_jax.kernels.convolution_cpu import convolve_cpu

# Channels of a group up to which a sum over them is faster than products of blocks: in
# the image encoder, inference in .79 of the time (jax 0.10.2).
_SUMMED_DEPTH = 4
# Channels that a block of groups has, at least, and blocks that a convolution has, at
# most: the fastest in the image encoder of 8, 16 and 32.
_BLOCK_DEPTH = _MOST_BLOCKS = 16


def _pad(x: Array, kernel: Array) -> Array:
    """Adds the zeros that the kernel meets outside of ``[N, H, W, C]``."""
    pads = lax.padtype_to_pads(x.shape[1:3], kernel.shape[:2], (1, 1), "SAME")
    return jnp.pad(x, ((0, 0), *pads, (0, 0)))


def _taps(padded: Array, kernel: Array) -> list[Array]:
    """Pixels under each entry of the kernel, ``[N, H, W, C]`` each."""
    kh, kw = kernel.shape[:2]
    h, w = padded.shape[1] - kh + 1, padded.shape[2] - kw + 1
    return [padded[:, i : i + h, j : j + w] for i in range(kh) for j in range(kw)]


def _computed_once(x: Array) -> Array:
    """The same values, which XLA's CPU compiler stores.

    It computes a sum, or gathers entries, again wherever they are read, but not a
    quotient. The divisor is 1, or 0 under a NaN that is a NaN already.
    """
    return x / (x == x).astype(x.dtype)


def _roll_within_groups(x: Array, by: int, depth: int) -> Array:
    """Every channel replaced by the one ``by`` places on in its group, in a circle."""
    groups = x.reshape(*x.shape[:-1], -1, depth)
    return jnp.roll(groups, -by, axis=-1).reshape(x.shape)


def grouped_conv2d_shifted_sum(x: Array, kernel: Array) -> Array:
    """`grouped_conv2d` as a sum of images times one number a channel.

    Output f of a group meets input f + r of it in the r-th term, so all channels stay
    side by side and nothing but the rotated images is stored. A group has as many
    outputs as inputs.
    """
    depth, features = kernel.shape[2:]
    channel, total = np.arange(features), jnp.zeros((), x.dtype)
    padded = _pad(x, kernel)
    for by in range(depth):
        weights = kernel[:, :, (channel + by) % depth, channel].reshape(-1, features)
        taps = _taps(_roll_within_groups(padded, by, depth), kernel)
        # Side by side in memory: 16 images of 28x28x64 take .5 ms instead of 1.6.
        for tap, weight in zip(taps, _computed_once(weights), strict=True):
            total += tap * weight.reshape(1, 1, 1, -1)
    # A residual block reads it five times: three of 14x14x128 with gradient take 102 ms
    # instead of 186.
    return _computed_once(total)


def grouped_conv2d_blocked(x: Array, kernel: Array, *, groups: int) -> Array:
    """`grouped_conv2d` as a convolution of each block of groups.

    A block is as many groups as have 16 channels or so, with zeros between them: wide
    enough for matrix products, and no wider.
    """
    kh, kw, depth, features = kernel.shape
    most = max(_BLOCK_DEPTH, x.shape[-1] // _MOST_BLOCKS) // depth
    each = next(k for k in range(max(1, most), 0, -1) if groups % k == 0)
    blocks = groups // each
    by_group = kernel.reshape(kh, kw, depth, blocks, each, features // groups)
    own = jnp.eye(each, dtype=kernel.dtype)
    by_block = jnp.einsum("hwdbgf,eg->hwedbgf", by_group, own)
    by_block = by_block.reshape(kh, kw, each * depth, features)
    pairs = zip(
        jnp.split(x, blocks, axis=-1), jnp.split(by_block, blocks, axis=-1), strict=True
    )
    pads = (kh // 2, kh // 2), (kw // 2, kw // 2)
    return jnp.concatenate([convolve_cpu(*pair, (1, 1), pads) for pair in pairs], -1)


def _product(x: Array, kernel: Array, groups: int) -> Array:
    kh, kw, depth, features = kernel.shape
    if not (kh % 2 and kw % 2):
        raise ValueError(f"grouped_conv2d: the kernel {kh}x{kw} has an even side.")
    if depth <= _SUMMED_DEPTH and features == x.shape[-1]:
        return grouped_conv2d_shifted_sum(x, kernel)
    return grouped_conv2d_blocked(x, kernel, groups=groups)


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def grouped_conv2d_cpu(x: Array, kernel: Array, groups: int) -> Array:
    """`grouped_conv2d` in the form that is the fastest for its depth.

    Raises:
      ValueError: if the kernel has an even side: its gradient is padded otherwise.
    """
    return _product(x, kernel, groups)


def _forward(x: Array, kernel: Array, groups: int) -> tuple[Array, tuple[Array, Array]]:
    return _product(x, kernel, groups), (x, kernel)


def _backward(
    groups: int, saved: tuple[Array, Array], gradient: Array
) -> tuple[Array, Array]:
    x, kernel = saved
    kh, kw, depth, _ = kernel.shape
    # With stride 1 the images' gradient is a convolution with the mirrored kernel.
    mirrored = kernel[::-1, ::-1].reshape(kh, kw, depth, groups, -1)
    mirrored = mirrored.transpose(0, 1, 4, 3, 2).reshape(kh, kw, -1, x.shape[-1])
    by_blocks = partial(grouped_conv2d_blocked, x, groups=groups)
    (of_kernel,) = jax.vjp(by_blocks, kernel)[1](gradient)
    return _product(gradient, mirrored, groups), of_kernel


grouped_conv2d_cpu.defvjp(_forward, _backward)


def grouped_conv2d_xla(x: Array, kernel: Array, *, groups: int) -> Array:
    """`grouped_conv2d` as XLA's own operation."""
    return lax.conv_general_dilated(
        x,
        kernel,
        (1, 1),
        "SAME",
        feature_group_count=groups,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )


def grouped_conv2d(x: Array, kernel: Array, *, groups: int) -> Array:
    """Convolves each group of channels with its own kernels, stride 1, SAME padding.

    Args:
      x: ``[N, H, W, C]``.
      kernel: ``[kh, kw, C / groups, F]`` with odd sides; outputs ``g F/groups ...
        (g+1) F/groups - 1`` read the ``g``-th group of channels.
      groups: the cardinality of the convolution.

    Returns:
      ``[N, H, W, F]``.
    """
    return lax.platform_dependent(
        x,
        kernel,
        cpu=lambda x, k: grouped_conv2d_cpu(x, k, groups),
        default=partial(grouped_conv2d_xla, groups=groups),
    )


class GroupedConv2d(nn.Module):
    """`grouped_conv2d` with a 3x3 kernel and bias, of as many outputs as inputs.

    Keras starts grouped kernels Glorot-uniform of one group, which is as wide out as
    in: its limit sqrt(6 / (in + out)) is sqrt(3 / in), LeCun's. Glorot's own fan-out
    would count the outputs of every group.

    Attributes:
      groups: the cardinality of the convolution.
      dtype: of the computation; parameters are float32.
    """

    groups: int
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Maps ``[N, H, W, C]`` to the same shape."""
        channels = x.shape[-1]
        shape = (3, 3, channels // self.groups, channels)
        kernel = self.param("kernel", nn.initializers.lecun_uniform(), shape)
        bias = self.param("bias", nn.initializers.zeros_init(), (channels,))
        x, kernel, bias = (jnp.asarray(a, self.dtype) for a in (x, kernel, bias))
        return self.convolve(x, kernel) + bias.reshape(1, 1, 1, -1)

    def convolve(self, x: Array, kernel: Array) -> Array:
        """Convolves with another kernel, without bias."""
        return grouped_conv2d(x, kernel, groups=self.groups)
