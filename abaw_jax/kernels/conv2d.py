"""Convolution and max-pooling of images, in one form for each platform.

XLA's CPU backend is good at dense convolutions of medium size and their gradient with
respect to the input, but not at gradients with respect to kernels (16 images, 28x28x64:
41 ms against 18 as nine matrix products) and at the gradient of overlapping max-pooling
(57 ms against 8). GPUs and TPUs take XLA's convolution. The platform is chosen here,
when the program is lowered: a program compiled for a TPU takes the TPU's form on any
machine.
"""

import functools
import operator
from collections.abc import Sequence
from functools import partial

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import Array, lax

from abaw_jax.kernels.winograd import winograd_conv3x3

IMAGE_LAYOUT = ("NHWC", "HWIO", "NHWC")

# Where each form is the fastest on a CPU, with its gradients; 3x3 kernels, 16 images,
# as many features as channels, in ms: 28x28x64 34 by products, 17 by tiles; 14x14x128
# 21, 29 and 28 by patches; 7x7x256 25, 45, 19; 4x4x512 33, 126, 26. With stride 2 and
# twice the features: 28x28x64 14 by products, 12 by patches; 14x14x128 12, 10.
_TILED_PIXELS, _TILED_CHANNELS = 24 * 24, range(32, 65)
_PATCHED_PIXELS = 8 * 8
# Below this a product for each entry of a kernel reads the gradient too often: stem of
# 16 images at 224x224, 215 ms with 49 products, 134 with one.
_FEW_CHANNELS = 8


def _shifted(x: Array, axis: int, offset: int, length: int, stride: int) -> Array:
    """``length`` entries along ``axis``, the first at ``offset``, ``stride`` apart."""
    last = offset + (length - 1) * stride + 1
    return lax.slice_in_dim(x, offset, last, stride=stride, axis=axis)


def padded(x: Array, sides: Sequence[int], strides: int = 1) -> Array:
    """The images with the zeros around them that SAME padding asks for."""
    pads = lax.padtype_to_pads(x.shape[1:3], sides, (strides, strides), "SAME")
    return jnp.pad(x, ((0, 0), *pads, (0, 0)))


def taps(
    x: Array, sides: Sequence[int], size: Sequence[int], strides: int = 1
) -> list[Array]:
    """Pixels under each entry of a kernel in padded images, ``size`` of them each."""
    h, w = size
    return [
        _shifted(_shifted(x, 1, i, h, strides), 2, j, w, strides)
        for i in range(sides[0])
        for j in range(sides[1])
    ]


def conv2d_xla(x: Array, kernel: Array, *, strides: int) -> Array:
    """`conv2d` as XLA's own operation."""
    return lax.conv_general_dilated(
        x, kernel, (strides, strides), "SAME", dimension_numbers=IMAGE_LAYOUT
    )


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def conv2d_matmul_kernel_gradient(x: Array, kernel: Array, strides: int) -> Array:
    """`conv2d`; its kernel's gradient is one matrix product per entry."""
    return conv2d_xla(x, kernel, strides=strides)


def _products_forward(
    x: Array, kernel: Array, strides: int
) -> tuple[Array, tuple[Array, Array]]:
    return conv2d_xla(x, kernel, strides=strides), (x, kernel)


def _products_backward(
    strides: int, saved: tuple[Array, Array], gradient: Array
) -> tuple[Array, Array]:
    x, kernel = saved
    of_input = partial(conv2d_xla, kernel=kernel, strides=strides)
    (of_x,) = jax.vjp(of_input, x)[1](gradient)
    flat = gradient.reshape(-1, gradient.shape[-1])
    if x.shape[-1] < _FEW_CHANNELS:
        of_kernel = patches(x, kernel.shape[:2], strides).T @ flat
        return of_x, of_kernel.reshape(kernel.shape)
    sides = kernel.shape[:2]
    seen = taps(padded(x, sides, strides), sides, gradient.shape[1:3], strides)
    entries = [tap.reshape(-1, x.shape[-1]).T @ flat for tap in seen]
    return of_x, jnp.stack(entries).reshape(kernel.shape)


conv2d_matmul_kernel_gradient.defvjp(_products_forward, _products_backward)


def patches(x: Array, sides: Sequence[int], strides: int = 1) -> Array:
    """Pixels under a kernel at each position, ``[positions, kh * kw * C]``."""
    size = [-(-side // strides) for side in x.shape[1:3]]
    seen = taps(padded(x, sides, strides), sides, size, strides)
    return jnp.concatenate(seen, axis=-1).reshape(-1, len(seen) * x.shape[-1])


def conv2d_im2col_strided(x: Array, kernel: Array, strides: int) -> Array:
    """`conv2d` as one product of all patches."""
    y = patches(x, kernel.shape[:2], strides) @ kernel.reshape(-1, kernel.shape[-1])
    return y.reshape(len(x), *(-(-side // strides) for side in x.shape[1:3]), -1)


@jax.custom_vjp
def conv2d_im2col(x: Array, kernel: Array) -> Array:
    """The same of stride 1 and odd sides, its gradient a convolution too."""
    return conv2d_im2col_strided(x, kernel, 1)


def _patches_forward(x: Array, kernel: Array) -> tuple[Array, tuple[Array, Array]]:
    return conv2d_im2col(x, kernel), (x, kernel)


def _patches_backward(
    saved: tuple[Array, Array], gradient: Array
) -> tuple[Array, Array]:
    x, kernel = saved
    mirrored = kernel[::-1, ::-1].swapaxes(2, 3)
    flat = gradient.reshape(-1, gradient.shape[-1])
    of_kernel = patches(x, kernel.shape[:2]).T @ flat
    return conv2d_im2col(gradient, mirrored), of_kernel.reshape(kernel.shape)


conv2d_im2col.defvjp(_patches_forward, _patches_backward)


def conv2d_single_pixel(x: Array, kernel: Array) -> Array:
    """`conv2d` of stride 1 to one feature: products first, then shifts."""
    kh, kw, channels, _ = kernel.shape
    each = jnp.tensordot(x, kernel.reshape(-1, channels), (-1, -1))  # [N, H, W, taps]
    seen = taps(padded(each, (kh, kw)), (kh, kw), x.shape[1:3])
    own = [tap[..., k : k + 1] for k, tap in enumerate(seen)]
    return functools.reduce(operator.add, own)


def conv2d_1x1(x: Array, kernel: Array, strides: int) -> Array:
    """`conv2d` with a kernel of 1x1."""
    return x[:, ::strides, ::strides] @ kernel[0, 0]


def conv2d_cpu(x: Array, kernel: Array, strides: int) -> Array:
    """`conv2d` in the form that is the fastest for these sizes."""
    kh, kw, channels, features = kernel.shape
    pixels = x.shape[1] * x.shape[2]
    if kh == kw == 1:
        return conv2d_1x1(x, kernel, strides)
    if strides == 1 and features == 1:
        return conv2d_single_pixel(x, kernel)
    if strides == 1 and kh == kw == 3:
        thin = channels in _TILED_CHANNELS and features in _TILED_CHANNELS
        if thin and pixels >= _TILED_PIXELS and x.dtype == jnp.float32:
            return winograd_conv3x3(x, kernel)
        if pixels <= _PATCHED_PIXELS:
            return conv2d_im2col(x, kernel)
    if strides > 1 and kh == kw == 3:
        return conv2d_im2col_strided(x, kernel, strides)
    return conv2d_matmul_kernel_gradient(x, kernel, strides)


def conv2d(x: Array, kernel: Array, *, strides: int = 1) -> Array:
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
        cpu=partial(conv2d_cpu, strides=strides),
        default=partial(conv2d_xla, strides=strides),
    )


def max_pool2d_shifted(x: Array) -> Array:
    """`max_pool2d` as maxima of shifted images, first down, then across.

    Its gradient is the same to the bit every time; that of the primitive is a scatter
    on a GPU, which adds in any order.
    """
    h, w = x.shape[1:3]
    pads = lax.padtype_to_pads((h, w), (3, 3), (2, 2), "SAME")
    x = jnp.pad(x, ((0, 0), *pads, (0, 0)), constant_values=-jnp.inf)
    for axis, size in ((1, h), (2, w)):
        length = -(-size // 2)
        taps = [_shifted(x, axis, offset, length, 2) for offset in range(3)]
        x = jnp.maximum(jnp.maximum(taps[0], taps[1]), taps[2])
    return x


def max_pool2d_xla(x: Array) -> Array:
    """`max_pool2d` as XLA's own operation."""
    return nn.max_pool(x, (3, 3), (2, 2), "SAME")


def max_pool2d(x: Array) -> Array:
    """Takes the maximum over 3x3 windows, stride 2, TensorFlow's SAME padding.

    Where several pixels share the maximum, which of them receive its gradient depends
    on the platform.

    Args:
      x: ``[N, H, W, C]``.

    Returns:
      ``[N, ceil(H / 2), ceil(W / 2), C]``.
    """
    return lax.platform_dependent(x, tpu=max_pool2d_xla, default=max_pool2d_shifted)
