"""Convolutions and pooling whose plain form is slow on some platform.

XLA's CPU backend is good at every convolution of these networks except the kernel
gradient of a grouped one (16 images, 28x28x64, 32 groups: 1.5 s against 10 ms as nine
batched products) and the gradient of overlapping max-pooling (57 ms against 8 ms): a
training step of the image encoder, 16 images of 112x112, takes 0.73 s on two cores.
Accelerators want the primitive. The platform is chosen here and nowhere else, when the
program is lowered: compiling for a TPU on a machine without one takes the TPU's form.
"""

import jax.numpy as jnp
from flax import linen as nn
from jax import Array, lax
from jax.typing import DTypeLike

_IMAGE_LAYOUT = ("NHWC", "HWIO", "NHWC")
_SOUND_LAYOUT = ("NWC", "WIO", "NWC")


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
    return lax.platform_dependent(
        x,
        kernel,
        cpu=lambda x, k: grouped_convolution_by_taps(x, k, groups=groups),
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


def halving_convolution(x: Array, kernel: Array, *, padding: int) -> Array:
    """Convolves over time with stride 2, computed as stride 1 over pairs of samples.

    The same products on every platform, but the gradient with respect to ``x`` becomes
    an ordinary convolution instead of one over an input half zeros: the convolutions
    and pools of SoundNet, eight windows of 10 s, train in 0.23 s instead of 0.31 s on
    two CPU cores.

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
        raise ValueError(f"halving_convolution: the kernel length {taps} must be even.")
    # An odd length never reads its last padded sample: leave that one away (or, where
    # there is no padding, cut the last sample; lax.pad takes a negative amount).
    edges = (padding, padding - length % 2, 0)
    x = lax.pad(x, jnp.zeros((), x.dtype), ((0, 0, 0), edges, (0, 0, 0)))
    return lax.conv_general_dilated(
        x.reshape(n, -1, 2 * channels),
        kernel.reshape(taps // 2, 2 * channels, features),
        (1,),
        "VALID",
        dimension_numbers=_SOUND_LAYOUT,
    )


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
