"""Convolutions and pooling whose plain form is slow on some platform.

XLA's CPU backend is good at every convolution of these networks except the kernel
gradient of a grouped one (16 images, 28x28x64, 32 groups: 1.5 s against 15 ms as a
dense one) and the gradient of overlapping max-pooling (57 ms against 8 ms): a training
step of the image encoder, 16 images of 112x112, takes 0.41 s on two cores.
Accelerators want the primitive. The platform is chosen here and nowhere else, when the
program is lowered: compiling for a TPU on a machine without one takes the TPU's form.
"""

from functools import partial

import jax.numpy as jnp
from flax import linen as nn
from jax import Array, lax
from jax.typing import DTypeLike

_IMAGE_LAYOUT = ("NHWC", "HWIO", "NHWC")
_SOUND_LAYOUT = ("NWC", "WIO", "NWC")
# Channels of a group up to which a dense convolution is the faster one on a CPU: the
# whole encoder infers in 96 ms with 4, 144 with 0, 117 with 16, and trains in 404 ms
# with 4, 575 with 0, 444 with 16.
_DENSE_DEPTH = 4


def _shifted(x: Array, axis: int, offset: int, length: int, stride: int) -> Array:
    """``length`` entries along ``axis``, the first at ``offset``, ``stride`` apart."""
    last = offset + (length - 1) * stride + 1
    return lax.slice_in_dim(x, offset, last, stride=stride, axis=axis)


def grouped_convolution_by_taps(x: Array, kernel: Array, *, groups: int) -> Array:
    """:func:`grouped_convolution` as one batched matrix product per kernel entry.

    Channels go first, so a product is batched over groups and its long side is all
    pixels of all images; no patches are stored.
    """
    n, h, w, _ = x.shape
    kh, kw, depth, features = kernel.shape
    pads = lax.padtype_to_pads((h, w), (kh, kw), (1, 1), "SAME")
    x = jnp.pad(x.transpose(3, 0, 1, 2), ((0, 0), (0, 0), *pads))
    kernel = kernel.reshape(kh, kw, depth, groups, features // groups)
    total = jnp.zeros((groups, features // groups, n * h * w), x.dtype)
    for i in range(kh):
        for j in range(kw):
            tap = _shifted(_shifted(x, 2, i, h, 1), 3, j, w, 1)
            tap = tap.reshape(groups, depth, n * h * w)
            total += jnp.einsum("gdm,dgf->gfm", tap, kernel[i, j])
    return total.reshape(features, n, h, w).transpose(1, 2, 3, 0)


def grouped_convolution_as_dense(x: Array, kernel: Array, *, groups: int) -> Array:
    """:func:`grouped_convolution` with the kernels of all groups in one, else zero.

    More products, but as many as a dense layer has, at which every backend is best.
    """
    kh, kw, depth, features = kernel.shape
    kernel = kernel.reshape(kh, kw, depth, groups, features // groups)
    own = jnp.eye(groups, dtype=kernel.dtype)
    dense = jnp.einsum("hwdgf,eg->hwedgf", kernel, own)
    return grouped_convolution_primitive(
        x, dense.reshape(kh, kw, depth * groups, features), groups=1
    )


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
      kernel: ``[kh, kw, C / groups, F]``; outputs ``g F/groups ... (g+1) F/groups - 1``
        read the ``g``-th group of channels.
      groups: the cardinality of the convolution.

    Returns:
      ``[N, H, W, F]``.
    """
    thin = kernel.shape[2] <= _DENSE_DEPTH
    on_cpu = grouped_convolution_as_dense if thin else grouped_convolution_by_taps
    return lax.platform_dependent(
        x,
        kernel,
        cpu=lambda x, k: on_cpu(x, k, groups=groups),
        default=lambda x, k: grouped_convolution_primitive(x, k, groups=groups),
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


def halving_convolution_by_frames(
    x: Array, kernel: Array, *, padding: int, outputs: int
) -> Array:
    """:func:`halving_convolution` as stride 1 over frames of ``2 outputs`` samples.

    A frame's channels are its samples, and ``outputs`` results come out of each at
    once: the gradient with respect to ``x`` becomes an ordinary convolution instead of
    one over an input half zeros, and few channels become many.
    """
    n, length, channels = x.shape
    taps, _, features = kernel.shape
    total = (length + 2 * padding - taps) // 2 + 1
    frame, frames = 2 * outputs, -(-total // outputs)
    reach = -(-(taps + frame - 2) // frame)  # frames that the outputs of one look at
    # What lies behind the last frame is never read; lax.pad takes a negative amount.
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
        dimension_numbers=_SOUND_LAYOUT,
    )
    return y.reshape(n, -1, features)[:, :total]


def halving_convolution(x: Array, kernel: Array, *, padding: int) -> Array:
    """Convolves over time with stride 2, computed as stride 1 over pairs of samples.

    On a CPU a waveform, of one channel, gives four outputs at once. By pairs, the
    convolutions and pools of SoundNet, eight windows of 10 s on two cores, train in
    0.23 s instead of 0.31 s; with four outputs and pooling by halves they infer in
    33 ms instead of 41.

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
            f"halving_convolution: the kernel length {len(kernel)} must be even."
        )
    by_pairs = partial(halving_convolution_by_frames, padding=padding, outputs=1)
    by_fours = partial(halving_convolution_by_frames, padding=padding, outputs=4)
    if x.shape[-1] > 1:
        return by_pairs(x, kernel)
    return lax.platform_dependent(x, kernel, cpu=by_fours, default=by_pairs)


def max_pool_by_halves(x: Array, *, size: int) -> Array:
    """:func:`max_pool_over_time` as maxima of the halves of each window."""
    n, length, channels = x.shape
    windows = length // size
    x = x[:, : windows * size].reshape(n, windows, size * channels)
    while size > 1:
        size //= 2
        x = jnp.maximum(x[..., : size * channels], x[..., size * channels :])
    return x


def max_pool_over_time(x: Array, *, size: int) -> Array:
    """Takes the maximum over windows of ``size``, side by side.

    Args:
      x: ``[N, S, C]``.
      size: a power of two.

    Returns:
      ``[N, floor(S / size), C]``.
    """

    def primitive(x: Array) -> Array:
        return nn.max_pool(x, (size,), (size,))

    by_halves = partial(max_pool_by_halves, size=size)
    return lax.platform_dependent(x, cpu=by_halves, default=primitive)


class GroupedConv(nn.Module):
    """3x3 :func:`grouped_convolution` with bias, initialised as Keras does it.

    Attributes:
      features: output channels, a multiple of ``groups``.
      groups: cardinality.
      dtype: of the computation; parameters are float32.
    """

    features: int
    groups: int
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Maps ``[N, H, W, C]`` to ``[N, H, W, features]``."""
        shape = (3, 3, x.shape[-1] // self.groups, self.features)
        # Glorot-uniform of one group, which is as wide out as in: its limit
        # sqrt(6 / (in + out)) is sqrt(3 / in), LeCun's. Glorot's own fan-out would
        # count the outputs of every group.
        kernel = self.param("kernel", nn.initializers.lecun_uniform(), shape)
        bias = self.param("bias", nn.initializers.zeros_init(), (self.features,))
        x, kernel, bias = (jnp.asarray(a, self.dtype) for a in (x, kernel, bias))
        return grouped_convolution(x, kernel, groups=self.groups) + bias.reshape(
            1, 1, 1, -1
        )


class HalvingConv(nn.Module):
    """:func:`halving_convolution` with bias.

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
        y = halving_convolution(x, kernel, padding=self.padding)
        return y + bias.reshape(1, 1, -1)
