"""Grouped convolution of images, in one form for each platform.

16 images of 28x28x64 in 32 groups: XLA's own takes 44 ms and 1.5 s with its gradient,
a sum over channels that are rolled within their group 3 and 17. GPUs and TPUs take
XLA's convolution; the platform is chosen when the program is lowered.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from abaw_jax.kernels.conv2d import IMAGE_LAYOUT, padded, patches, taps

# Channels of a group up to which a sum over them is faster on a CPU than products of
# blocks: the convolution, and its kernel's gradient. 16 images, 32 groups, in ms: 3
# against 44 (gradient 8, 42) with 2 channels, 4 against 7 (28, 7) with 4, 8 against 3
# with 8.
_SUMMED_DEPTH, _SUMMED_GRADIENT_DEPTH = 4, 2
# Channels that one matrix product of a grouped convolution reads, at least.
_BLOCK_DEPTH = 16


def _roll_within_groups(x: Array, by: int, depth: int) -> Array:
    """Every channel replaced by the one ``by`` places on in its group, in a circle."""
    groups = x.reshape(*x.shape[:-1], -1, depth)
    return jnp.roll(groups, -by, axis=-1).reshape(x.shape)


def grouped_conv2d_shifted_sum(x: Array, kernel: Array, *, groups: int) -> Array:
    """`grouped_conv2d` as a sum of images times one number a channel.

    Output f of a group meets input f + r of it in the r-th term, so all channels stay
    side by side and nothing but the rotated images is stored. A group has as many
    outputs as inputs.
    """
    del groups
    depth, features = kernel.shape[2:]
    around, total = padded(x, kernel.shape[:2]), jnp.zeros((), x.dtype)
    for by in range(depth):
        seen = taps(
            _roll_within_groups(around, by, depth), kernel.shape[:2], x.shape[1:3]
        )
        channel = np.arange(features)
        weights = kernel[:, :, (channel + by) % depth, channel]
        for tap, weight in zip(seen, weights.reshape(-1, features), strict=True):
            total += tap * weight.reshape(1, 1, 1, -1)
    # XLA computes a sum anew wherever it is read, five times in a residual block, but
    # not a quotient: three blocks of 14x14x128 with gradient 186 -> 102 ms. The divisor
    # is 1, or 0 under a NaN that is NaN in the sum already.
    return total / (x == x).astype(x.dtype)


def _kernel_gradient_as_sum(x: Array, kernel: Array, gradient: Array) -> Array:
    """The gradient of `grouped_conv2d_shifted_sum` with respect to ``kernel``."""
    depth, features = kernel.shape[2:]
    around, channel, total = padded(x, kernel.shape[:2]), np.arange(features), []
    for by in range(depth):
        seen = taps(
            _roll_within_groups(around, by, depth), kernel.shape[:2], x.shape[1:3]
        )
        total.append([jnp.sum(tap * gradient, (0, 1, 2)) for tap in seen])
    rotated = jnp.stack([jnp.stack(each) for each in total], axis=1)  # [taps, by, F]
    # Input d of output f stood in the term d - f.
    by = (np.arange(depth)[:, None] - channel) % depth
    return rotated[:, by, channel].reshape(kernel.shape)


def grouped_conv2d_blocked(x: Array, kernel: Array, *, groups: int) -> Array:
    """`grouped_conv2d` as a product of patches with each block of groups.

    A block is as many groups as have 16 channels or so, with zeros between them: wide
    enough for a matrix product, and no wider.
    """
    n, h, w, _ = x.shape
    kh, kw, depth, features = kernel.shape
    most = max(1, _BLOCK_DEPTH // depth)
    each = next(k for k in range(most, 0, -1) if groups % k == 0)
    blocks = groups // each
    kernel = kernel.reshape(kh * kw, depth, blocks, each, features // groups)
    own = jnp.eye(each, dtype=kernel.dtype)
    kernel = jnp.einsum("tdbgf,eg->btedgf", kernel, own)
    # Blocks come first while they are small: moving patches instead takes a third more.
    x = x.reshape(n, h, w, blocks, -1).transpose(3, 0, 1, 2, 4)
    seen = patches(x.reshape(blocks * n, h, w, -1), (kh, kw))
    y = seen.reshape(blocks, n * h * w, -1) @ kernel.reshape(
        blocks, -1, features // blocks
    )
    return y.transpose(1, 0, 2).reshape(n, h, w, features)


def _grouped_product(x: Array, kernel: Array, groups: int) -> Array:
    kh, kw, depth, features = kernel.shape
    if not (kh % 2 and kw % 2):
        raise ValueError(f"grouped_conv2d: the kernel {kh}x{kw} has an even side.")
    summed = depth <= _SUMMED_DEPTH and features == x.shape[-1]
    form = grouped_conv2d_shifted_sum if summed else grouped_conv2d_blocked
    return form(x, kernel, groups=groups)


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def grouped_conv2d_cpu(x: Array, kernel: Array, groups: int) -> Array:
    """`grouped_conv2d`, each part in the form that is the fastest for it.

    Raises:
      ValueError: if the kernel has an even side: its gradient is padded otherwise.
    """
    return _grouped_product(x, kernel, groups)


def _grouped_forward(
    x: Array, kernel: Array, groups: int
) -> tuple[Array, tuple[Array, Array]]:
    return _grouped_product(x, kernel, groups), (x, kernel)


def _grouped_backward(
    groups: int, saved: tuple[Array, Array], gradient: Array
) -> tuple[Array, Array]:
    x, kernel = saved
    kh, kw, depth, features = kernel.shape
    # With stride 1 the images' gradient is a convolution with the mirrored kernel.
    mirrored = kernel[::-1, ::-1].reshape(kh, kw, depth, groups, -1)
    mirrored = mirrored.transpose(0, 1, 4, 3, 2).reshape(kh, kw, -1, x.shape[-1])
    of_x = _grouped_product(gradient, mirrored, groups)
    if depth <= _SUMMED_GRADIENT_DEPTH and features == x.shape[-1]:
        return of_x, _kernel_gradient_as_sum(x, kernel, gradient)
    by_blocks = partial(grouped_conv2d_blocked, x, groups=groups)
    return of_x, *jax.vjp(by_blocks, kernel)[1](gradient)


grouped_conv2d_cpu.defvjp(_grouped_forward, _grouped_backward)


def grouped_conv2d_xla(x: Array, kernel: Array, *, groups: int) -> Array:
    """`grouped_conv2d` as XLA's own operation."""
    return lax.conv_general_dilated(
        x,
        kernel,
        (1, 1),
        "SAME",
        feature_group_count=groups,
        dimension_numbers=IMAGE_LAYOUT,
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
