"""Convolution whose gradients are fast in a loop on a CPU.

XLA's CPU compiler has fast kernels for one order of the dimensions, rows first and
channels last. It brings the convolutions of a program into that order, but not those in
the body of a loop: there the gradients of three convolutions of 16x32x32 pixels and 32
channels take 1.85 s instead of .04 (jax 0.10.2 and 0.12). Here they are written in that
order. GPUs and TPUs take XLA's gradients.
"""

from collections.abc import Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax import Array, lax
from jax.typing import DTypeLike

# Of a gradient that is summed at once, so that a core's cache holds it. The kernel's
# gradient of 16 images of 28x28x64 takes 12 ms in such parts, not 27, of 64 images
# 50, not 130.
_PART_BYTES = 2**20
_Pads = tuple[tuple[int, int], ...]


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
        cpu=lambda x, k: convolve_cpu(x, k, strides, pads),
        default=partial(_convolve, strides=strides, pads=pads),
    )


@partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def convolve_cpu(
    x: Array, kernel: Array, strides: tuple[int, ...], pads: _Pads
) -> Array:
    """`convolve` whose gradients are in the order of XLA's fast kernels."""
    return _convolve(x, kernel, strides, pads)


def _convolve(
    x: Array,
    kernel: Array,
    strides: tuple[int, ...],
    pads: _Pads,
    *,
    x_dilation: tuple[int, ...] | None = None,
    kernel_dilation: tuple[int, ...] | None = None,
) -> Array:
    spatial = "HW"[4 - x.ndim :]
    return lax.conv_general_dilated(
        x,
        kernel,
        strides,
        pads,
        x_dilation,
        kernel_dilation,
        (f"N{spatial}C", f"{spatial}IO", f"N{spatial}C"),
    )


def _forward(
    x: Array, kernel: Array, strides: tuple[int, ...], pads: _Pads
) -> tuple[Array, tuple[Array, Array]]:
    return _convolve(x, kernel, strides, pads), (x, kernel)


def _backward(
    strides: tuple[int, ...],
    pads: _Pads,
    saved: tuple[Array, Array],
    gradient: Array,
) -> tuple[Array, Array]:
    """Gradients of ``x`` and ``kernel``, both convolutions with ``gradient``.

    It is dilated by the strides: between its values are zeros.
    """
    x, kernel = saved
    ones, axes = (1,) * len(strides), range(len(strides))
    x_pads, kernel_pads = [], []
    for axis in axes:
        length, taps = x.shape[axis + 1], kernel.shape[axis]
        dilated = (gradient.shape[axis + 1] - 1) * strides[axis] + 1
        before = pads[axis][0]
        behind = dilated - length - before
        x_pads.append((taps - 1 - before, -behind))
        kernel_pads.append((before, behind + taps - 1))
    mirrored = jnp.flip(kernel, axes).swapaxes(-1, -2)
    x_gradient = _convolve(gradient, mirrored, ones, tuple(x_pads), x_dilation=strides)
    if strides == ones and kernel.size <= kernel.shape[-2] ** 2:
        return x_gradient, _kernel_gradient_of_few(x, gradient, kernel, x_pads)
    kernel_gradient = _kernel_gradient(
        x, gradient, kernel.shape[:-2], strides, tuple(kernel_pads)
    )
    return x_gradient, kernel_gradient.astype(kernel.dtype)


def _kernel_gradient_of_few(
    x: Array, gradient: Array, kernel: Array, pads: Sequence[tuple[int, int]]
) -> Array:
    """A product of the pixels with the few outputs that each contributes to.

    ``x`` is read once, and as it lies in memory: a training step of the image encoder,
    whose spatial attention has one output, takes .94 of the time.
    """
    sides = x.shape[1:-1]
    config = [(0, 0, 0), *((*pair, 0) for pair in pads), (0, 0, 0)]
    padded = lax.pad(gradient, jnp.zeros((), gradient.dtype), config)
    outputs = []
    for tap in np.ndindex(*kernel.shape[:-2]):
        starts = [k - 1 - t for k, t in zip(kernel.shape, tap, strict=False)]
        ends = [start + side for start, side in zip(starts, sides, strict=True)]
        window = zip(starts, ends, strict=True)
        outputs.append(padded[:, *(slice(*each) for each in window)])
    joined = jnp.concatenate(outputs, axis=-1).reshape(-1, kernel.size // x.shape[-1])
    product = x.reshape(-1, x.shape[-1]).T @ joined
    return jnp.moveaxis(product.reshape(len(product), *kernel.shape[:-2], -1), 0, -2)


def _kernel_gradient(
    x: Array,
    gradient: Array,
    taps: tuple[int, ...],
    strides: tuple[int, ...],
    pads: _Pads,
) -> Array:
    """Sums over parts of the images that stay in the processor's cache."""
    images, rows = _parts(gradient)
    length = gradient.shape[1]
    if (images, rows) == (len(gradient), length):
        return _part_of_kernel_gradient(x, gradient, strides, pads)
    strips = -(-length // rows)
    missing = strips * rows - length
    (before, behind), *other_pads = pads
    x = _pad_rows(x, before, behind + missing * strides[0])
    gradient = _pad_rows(gradient, 0, missing)
    read = (rows - 1) * strides[0] + taps[0]

    def add(total: Array, start: Array) -> tuple[Array, None]:
        image, row = start
        own_x = _cut(x, (image, row * strides[0]), (images, read))
        own = _cut(gradient, (image, row), (images, rows))
        own_pads = (0, 0), *other_pads
        return total + _part_of_kernel_gradient(own_x, own, strides, own_pads), None

    starts = np.mgrid[: len(gradient) : images, : strips * rows : rows].reshape(2, -1)
    shape = (*taps, x.shape[-1], gradient.shape[-1])
    exact = jnp.promote_types(x.dtype, jnp.float32)
    total = jnp.zeros_like(gradient, exact, shape)
    return lax.scan(add, total, jnp.asarray(starts.T))[0]


def _parts(gradient: Array) -> tuple[int, int]:
    """Images and rows of the parts that a gradient is cut into."""
    images, rows = gradient.shape[:2]
    size = gradient.size * gradient.dtype.itemsize
    # The sum over images is the innermost: of fewer than eight it is slow.
    while size > _PART_BYTES and images > 8 and images % 2 == 0:
        images, size = images // 2, size // 2
    return images, -(-rows // -(-size // _PART_BYTES))


def _part_of_kernel_gradient(
    x: Array, gradient: Array, strides: tuple[int, ...], pads: _Pads
) -> Array:
    """A convolution whose channels are the images."""
    kernel_gradient = _convolve(
        jnp.swapaxes(x, 0, -1),
        jnp.moveaxis(gradient, 0, -2),
        (1,) * len(strides),
        pads,
        kernel_dilation=strides,
    )
    return jnp.moveaxis(kernel_gradient, 0, -2)


def _pad_rows(x: Array, before: int, behind: int) -> Array:
    """Adds rows of zeros, or takes some away if a number is negative."""
    others = ((0, 0, 0),) * (x.ndim - 2)
    rows = (before, behind, 0)
    return lax.pad(x, jnp.zeros((), x.dtype), ((0, 0, 0), rows, *others))


def _cut(x: Array, starts: tuple[Array, Array], sizes: tuple[int, int]) -> Array:
    """Some rows of some images."""
    for axis, (start, size) in enumerate(zip(starts, sizes, strict=True)):
        x = lax.dynamic_slice_in_dim(x, start, size, axis)
    return x


convolve_cpu.defvjp(_forward, _backward)


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
