"""Convolutions and pooling whose plain form is slow on some platform.

XLA's CPU backend is good at dense convolutions and their gradient with respect to the
input, but not at gradients with respect to kernels (16 images, 28x28x64: 41 ms against
18 as nine matrix products), at anything grouped (32 groups there: gradient 1.5 s
against 14 ms) and at the gradient of overlapping max-pooling (57 ms against 8).
Accelerators want the primitive. The platform is chosen here and nowhere else, when the
program is lowered: compiling for a TPU on a machine without one takes the TPU's form.
"""

from collections.abc import Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax import Array, lax
from jax.typing import DTypeLike

_IMAGE_LAYOUT = ("NHWC", "HWIO", "NHWC")
# Channels of a group up to which a sum over them is faster on a CPU than products of
# blocks: the convolution, and its kernel's gradient. 16 images, 32 groups, in ms: 3
# against 44 (gradient 8, 42) with 2 channels, 4 against 7 (28, 7) with 4, 8 against 3
# with 8.
_SUMMED_DEPTH, _SUMMED_GRADIENT_DEPTH = 4, 2
# Channels that one matrix product of a grouped convolution reads, at least.
_BLOCK_DEPTH = 16


def _shifted(x: Array, axis: int, offset: int, length: int, stride: int) -> Array:
    """``length`` entries along ``axis``, the first at ``offset``, ``stride`` apart."""
    last = offset + (length - 1) * stride + 1
    return lax.slice_in_dim(x, offset, last, stride=stride, axis=axis)


def _padded(x: Array, taps: Sequence[int], strides: int = 1) -> Array:
    """The images with the zeros around them that SAME padding asks for."""
    pads = lax.padtype_to_pads(x.shape[1:3], taps, (strides, strides), "SAME")
    return jnp.pad(x, ((0, 0), *pads, (0, 0)))


def _taps(
    x: Array, taps: Sequence[int], size: Sequence[int], strides: int = 1
) -> list[Array]:
    """What each entry of a kernel sees of padded images, ``size`` pixels each."""
    h, w = size
    return [
        _shifted(_shifted(x, 1, i, h, strides), 2, j, w, strides)
        for i in range(taps[0])
        for j in range(taps[1])
    ]


def convolution_primitive(x: Array, kernel: Array, *, strides: int) -> Array:
    """:func:`convolution` as XLA's own operation."""
    return lax.conv_general_dilated(
        x, kernel, (strides, strides), "SAME", dimension_numbers=_IMAGE_LAYOUT
    )


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def convolution_by_products(x: Array, kernel: Array, strides: int) -> Array:
    """:func:`convolution`; its kernel's gradient is one matrix product per entry."""
    return convolution_primitive(x, kernel, strides=strides)


def _convolution_forward(
    x: Array, kernel: Array, strides: int
) -> tuple[Array, tuple[Array, Array]]:
    return convolution_primitive(x, kernel, strides=strides), (x, kernel)


def _convolution_backward(
    strides: int, saved: tuple[Array, Array], gradient: Array
) -> tuple[Array, Array]:
    x, kernel = saved
    of_input = partial(convolution_primitive, kernel=kernel, strides=strides)
    (of_x,) = jax.vjp(of_input, x)[1](gradient)
    flat = gradient.reshape(-1, gradient.shape[-1])
    sides = kernel.shape[:2]
    taps = _taps(_padded(x, sides, strides), sides, gradient.shape[1:3], strides)
    entries = [tap.reshape(-1, x.shape[-1]).T @ flat for tap in taps]
    return of_x, jnp.stack(entries).reshape(kernel.shape)


convolution_by_products.defvjp(_convolution_forward, _convolution_backward)


def convolution(x: Array, kernel: Array, *, strides: int = 1) -> Array:
    """Convolves with SAME padding.

    Args:
      x: ``[N, H, W, C]``.
      kernel: ``[kh, kw, C, F]``.
      strides: down and across.

    Returns:
      ``[N, ceil(H / strides), ceil(W / strides), F]``.
    """
    return lax.platform_dependent(
        x,
        kernel,
        cpu=lambda x, k: convolution_by_products(x, k, strides),
        default=partial(convolution_primitive, strides=strides),
    )


def _rotated(x: Array, by: int, depth: int) -> Array:
    """Every channel replaced by the one ``by`` places on in its group, in a circle."""
    groups = x.reshape(*x.shape[:-1], -1, depth)
    return jnp.roll(groups, -by, axis=-1).reshape(x.shape)


def grouped_convolution_as_sum(x: Array, kernel: Array, *, groups: int) -> Array:
    """:func:`grouped_convolution` as a sum of images times one number a channel.

    Output f of a group meets input f + r of it in the r-th term, so all channels stay
    side by side and nothing but the rotated images is stored. A group has as many
    outputs as inputs.
    """
    del groups
    depth, features = kernel.shape[2:]
    padded, total = _padded(x, kernel.shape[:2]), jnp.zeros((), x.dtype)
    for by in range(depth):
        taps = _taps(_rotated(padded, by, depth), kernel.shape[:2], x.shape[1:3])
        channel = np.arange(features)
        weights = kernel[:, :, (channel + by) % depth, channel]
        for tap, weight in zip(taps, weights.reshape(-1, features), strict=True):
            total += tap * weight.reshape(1, 1, 1, -1)
    return total


def _kernel_gradient_as_sum(x: Array, kernel: Array, gradient: Array) -> Array:
    """The gradient of :func:`grouped_convolution_as_sum` with respect to ``kernel``."""
    depth, features = kernel.shape[2:]
    padded, channel, total = _padded(x, kernel.shape[:2]), np.arange(features), []
    for by in range(depth):
        taps = _taps(_rotated(padded, by, depth), kernel.shape[:2], x.shape[1:3])
        total.append([jnp.sum(tap * gradient, (0, 1, 2)) for tap in taps])
    rotated = jnp.stack([jnp.stack(each) for each in total], axis=1)  # [taps, by, F]
    # Input d of output f stood in the term d - f.
    by = (np.arange(depth)[:, None] - channel) % depth
    return rotated[:, by, channel].reshape(kernel.shape)


def grouped_convolution_by_blocks(x: Array, kernel: Array, *, groups: int) -> Array:
    """:func:`grouped_convolution` as a product of patches with each block of groups.

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
    taps = _taps(_padded(x, (kh, kw)), (kh, kw), (h, w))
    patches = jnp.stack(taps, axis=3).reshape(n * h * w, kh * kw, blocks, -1)
    patches = patches.transpose(2, 0, 1, 3).reshape(blocks, n * h * w, -1)
    y = patches @ kernel.reshape(blocks, -1, features // blocks)
    return y.transpose(1, 0, 2).reshape(n, h, w, features)


def _grouped_product(x: Array, kernel: Array, groups: int) -> Array:
    kh, kw, depth, features = kernel.shape
    if not (kh % 2 and kw % 2):
        raise ValueError(f"grouped_convolution: the kernel {kh}x{kw} has an even side.")
    summed = depth <= _SUMMED_DEPTH and features == x.shape[-1]
    form = grouped_convolution_as_sum if summed else grouped_convolution_by_blocks
    return form(x, kernel, groups=groups)


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def grouped_convolution_on_cpu(x: Array, kernel: Array, groups: int) -> Array:
    """:func:`grouped_convolution`, each part in the form that is the fastest for it.

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
    by_blocks = partial(grouped_convolution_by_blocks, x, groups=groups)
    return of_x, *jax.vjp(by_blocks, kernel)[1](gradient)


grouped_convolution_on_cpu.defvjp(_grouped_forward, _grouped_backward)


def grouped_convolution_primitive(x: Array, kernel: Array, *, groups: int) -> Array:
    """:func:`grouped_convolution` as XLA's own operation."""
    return lax.conv_general_dilated(
        x,
        kernel,
        (1, 1),
        "SAME",
        feature_group_count=groups,
        dimension_numbers=_IMAGE_LAYOUT,
    )


def grouped_convolution(x: Array, kernel: Array, *, groups: int) -> Array:
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
        cpu=lambda x, k: grouped_convolution_on_cpu(x, k, groups),
        default=partial(grouped_convolution_primitive, groups=groups),
    )


def max_pool_by_shifts(x: Array) -> Array:
    """:func:`max_pool` as maxima of shifted images, first down, then across."""
    h, w = x.shape[1:3]
    pads = lax.padtype_to_pads((h, w), (3, 3), (2, 2), "SAME")
    x = jnp.pad(x, ((0, 0), *pads, (0, 0)), constant_values=-jnp.inf)
    for axis, size in ((1, h), (2, w)):
        length = -(-size // 2)
        taps = [_shifted(x, axis, offset, length, 2) for offset in range(3)]
        x = jnp.maximum(jnp.maximum(taps[0], taps[1]), taps[2])
    return x


def max_pool_primitive(x: Array) -> Array:
    """:func:`max_pool` as XLA's own operation."""
    return nn.max_pool(x, (3, 3), (2, 2), "SAME")


def max_pool(x: Array) -> Array:
    """Takes the maximum over 3x3 windows, stride 2, TensorFlow's SAME padding.

    Where several pixels share the maximum, which of them receive its gradient depends
    on the platform.

    Args:
      x: ``[N, H, W, C]``.

    Returns:
      ``[N, ceil(H / 2), ceil(W / 2), C]``.
    """
    return lax.platform_dependent(x, cpu=max_pool_by_shifts, default=max_pool_primitive)


class Conv3x3(nn.Module):
    """3x3 :func:`convolution` or :func:`grouped_convolution` with bias.

    Attributes:
      features: output channels, a multiple of ``groups``.
      groups: cardinality.
      strides: 1 where there are groups.
      dtype: of the computation; parameters are float32.
    """

    features: int
    groups: int = 1
    strides: int = 1
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Maps ``[N, H, W, C]`` to ``[N, H / strides, W / strides, features]``."""
        if self.groups > 1 and self.strides > 1:
            raise ValueError("Conv3x3: a grouped convolution has stride 1.")
        shape = (3, 3, x.shape[-1] // self.groups, self.features)
        # Keras starts grouped kernels Glorot-uniform of one group, which is as wide out
        # as in: its limit sqrt(6 / (in + out)) is sqrt(3 / in), LeCun's. Glorot's own
        # fan-out would count the outputs of every group.
        grouped, plain = nn.initializers.lecun_uniform(), nn.initializers.he_normal()
        kernel = self.param("kernel", grouped if self.groups > 1 else plain, shape)
        bias = self.param("bias", nn.initializers.zeros_init(), (self.features,))
        x, kernel, bias = (jnp.asarray(a, self.dtype) for a in (x, kernel, bias))
        if self.groups > 1:
            y = grouped_convolution(x, kernel, groups=self.groups)
        else:
            y = convolution(x, kernel, strides=self.strides)
        return y + bias.reshape(1, 1, 1, -1)
