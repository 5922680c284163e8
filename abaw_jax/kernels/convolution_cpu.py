"""Convolutions in the forms that are fast on a CPU.

XLA's CPU compiler has fast kernels for one order of the dimensions, rows first and
channels last. It brings the convolutions of a program into that order, but not those in
the body of a loop: there the gradients of three convolutions of 16x32x32 pixels and 32
channels take 1.85 s instead of .04 (jax 0.10.2 and 0.12). Here they are written in that
order.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

# Of a gradient that is summed at once, so that a core's cache holds it. The kernel's
# gradient of 16 images of 28x28x64 takes 12 ms in such parts, not 27, of 64 images
# 50, not 130.
_PART_BYTES = 2**20
_BLOCK = 8  # steps of time that are convolved as one
_Pads = tuple[tuple[int, int], ...]


def convolve_cpu(
    x: Array, kernel: Array, strides: tuple[int, ...], pads: _Pads
) -> Array:
    """Convolves over one dimension or two.

    Args:
      x: ``[N, W, C]`` or ``[N, H, W, C]``.
      kernel: ``[w, C, F]`` or ``[h, w, C, F]``.
      strides: by dimension.
      pads: numbers of zeros before and behind, by dimension.

    Returns:
      ``[N, W', F]`` or ``[N, H', W', F]``.
    """
    if max(strides) == 1 and kernel.size <= kernel.shape[-2] ** 2:
        return _convolve_to_few(x, kernel, pads)
    return _convolve_cpu(x, kernel, strides, pads)


def _convolve_to_few(x: Array, kernel: Array, pads: _Pads) -> Array:
    """A sum of shifted images, each the product of the pixels with a tap of the kernel.

    All taps are one product, which reads ``x`` as it lies in memory; so do those of the
    gradients. The spatial attention of the image encoder, of one output, takes .3 to .6
    of the time.
    """
    *taps, channels, features = kernel.shape
    sides = [
        n + sum(pair) - length + 1
        for n, pair, length in zip(x.shape[1:-1], pads, taps, strict=True)
    ]
    exact = jnp.promote_types(x.dtype, jnp.float32)
    by_channel = jnp.moveaxis(kernel, -2, 0).reshape(channels, -1)
    products = jnp.matmul(x, by_channel, preferred_element_type=exact)
    padding = (0, 0, 0), *((*pair, 0) for pair in pads), (0, 0, 0)
    products = lax.pad(products, jnp.zeros((), exact), padding)
    total = jnp.zeros((), exact)
    for index, tap in enumerate(np.ndindex(*taps)):
        window = (slice(t, t + side) for t, side in zip(tap, sides, strict=True))
        outputs = slice(index * features, (index + 1) * features)
        total += products[:, *window, outputs]
    return total.astype(x.dtype)


@partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _convolve_cpu(
    x: Array, kernel: Array, strides: tuple[int, ...], pads: _Pads
) -> Array:
    """A convolution whose gradients are in the order of XLA's fast kernels."""
    taps, features = len(kernel), kernel.shape[-1]
    if strides == (1,) and features <= 16 and taps >= 4 * _BLOCK:
        return _convolve_in_blocks(x, kernel, pads)
    return convolve_xla(x, kernel, strides, pads)


def _convolve_in_blocks(x: Array, kernel: Array, pads: _Pads) -> Array:
    """Convolves over time; the outputs of eight steps are those of one longer step.

    XLA's kernel is slow where the outputs are few. SoundNet's first layer, of 16,
    multiplies 1.25 times as much and takes .8 of the time.
    """
    ((before, behind),) = pads
    n, length, channels = x.shape
    taps, _, features = kernel.shape
    steps = length + before + behind - taps + 1
    reach = -(-(taps + _BLOCK - 1) // _BLOCK)
    read = (-(-steps // _BLOCK) + reach - 1) * _BLOCK
    x = _pad(x, 1, before, read - length - before)
    later = reach * _BLOCK - taps
    shifted = [_pad(kernel, 0, step, later - step) for step in range(_BLOCK)]
    of_blocks = jnp.stack(shifted, axis=-2).reshape(reach, -1, _BLOCK * features)
    blocks = x.reshape(n, -1, _BLOCK * channels)
    y = convolve_xla(blocks, of_blocks, (1,), ((0, 0),))
    return y.reshape(n, -1, features)[:, :steps]


def _forward(
    x: Array, kernel: Array, strides: tuple[int, ...], pads: _Pads
) -> tuple[Array, tuple[Array, Array]]:
    return _convolve_cpu(x, kernel, strides, pads), (x, kernel)


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
    x_gradient = convolve_xla(
        gradient, mirrored, ones, tuple(x_pads), x_dilation=strides
    )
    kernel_gradient = _kernel_gradient(
        x, gradient, kernel.shape[:-2], strides, tuple(kernel_pads)
    )
    return x_gradient, kernel_gradient.astype(kernel.dtype)


_convolve_cpu.defvjp(_forward, _backward)


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
    x = _pad(x, 1, before, behind + missing * strides[0])
    gradient = _pad(gradient, 1, 0, missing)
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
    kernel_gradient = convolve_xla(
        jnp.swapaxes(x, 0, -1),
        jnp.moveaxis(gradient, 0, -2),
        (1,) * len(strides),
        pads,
        kernel_dilation=strides,
    )
    return jnp.moveaxis(kernel_gradient, 0, -2)


def _pad(x: Array, axis: int, before: int, behind: int) -> Array:
    """Adds zeros along an axis, or takes some away if a number is negative."""
    padding = [(0, 0, 0)] * x.ndim
    padding[axis] = (before, behind, 0)
    return lax.pad(x, jnp.zeros((), x.dtype), padding)


def _cut(x: Array, starts: tuple[Array, Array], sizes: tuple[int, int]) -> Array:
    """Some rows of some images."""
    for axis, (start, size) in enumerate(zip(starts, sizes, strict=True)):
        x = lax.dynamic_slice_in_dim(x, start, size, axis)
    return x


def convolve_xla(
    x: Array,
    kernel: Array,
    strides: tuple[int, ...],
    pads: _Pads,
    *,
    x_dilation: tuple[int, ...] | None = None,
    kernel_dilation: tuple[int, ...] | None = None,
) -> Array:
    """`convolve_cpu` by XLA's own operation.

    Dilations are the distances of pixels, or of taps, between which zeros are put.
    """
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
