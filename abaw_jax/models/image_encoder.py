"""ResNeXt with parallel attention: maps one face crop to one feature vector.

The frozen image encoder of the paper: 34 layers as in ResNet-34, the second convolution
of every block in 32 groups, and on every block's output the sum of a channel-attended
and a spatially attended map. 11,014,080 values with the BatchNorm statistics. The sizes
are arguments, so that a small encoder of the same kind can be trained on a CPU.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from flax.typing import VariableDict
from jax import Array, lax
from jax.typing import DTypeLike

from abaw_jax.kernels.convolution import Conv2d
from abaw_jax.kernels.cross_device import varying_axis_name
from abaw_jax.kernels.grouped_conv2d import GroupedConv2d
from abaw_jax.kernels.max_pool2d import max_pool2d

EPSILON = 1e-3
"""Of batch normalisation, Keras's."""


def scale_frames(frames: Array, *, size: int | None = None) -> Array:
    """Maps stored pixels to what `ImageEncoder` reads, on the device.

    Args:
      frames: ``[..., H, W, 3]`` uint8.
      size: height and width of the result, bilinearly resized; None keeps the size. The
        published weights saw 112-pixel crops enlarged to 224.

    Returns:
      ``[..., size, size, 3]`` float32 in ``[0, 1]``; no mean is subtracted.

    Raises:
      ValueError: if ``frames`` is not uint8 with three channels.
    """
    if frames.dtype != jnp.uint8 or frames.ndim < 3 or frames.shape[-1] != 3:
        raise ValueError(
            "scale_frames: frames must be uint8 [..., H, W, 3], got "
            f"{frames.dtype} {frames.shape}."
        )
    images = frames.astype(jnp.float32) / 255
    if size is None or frames.shape[-3:-1] == (size, size):
        return images
    shape = (*frames.shape[:-3], size, size, 3)
    resize = partial(jax.image.resize, shape=shape, method="bilinear")
    if size < max(frames.shape[-3:-1]):  # made smaller, a pixel is a mean of more
        return resize(images)
    return lax.platform_dependent(
        images, cuda=partial(_enlarge, size=size), default=resize
    )


def _enlarge(images: Array, *, size: int) -> Array:
    """Mixes neighbours, row by row and column by column, in one kernel.

    Two products with matrices that are mostly zeros, `jax.image.resize`, write floats
    of the larger size three times.
    """
    for axis in (images.ndim - 3, images.ndim - 2):
        length = images.shape[axis]
        place = np.clip((np.arange(size) + 0.5) * length / size - 0.5, 0, length - 1)
        before = place.astype(np.int32)
        after = np.minimum(before + 1, length - 1)
        share = (place - before).astype(np.float32)
        share = np.expand_dims(share, (*range(axis), *range(axis + 1, images.ndim)))
        first, second = (
            jnp.take(images, each, axis, mode="clip") for each in (before, after)
        )
        images = jnp.asarray((1 - share) * first + share * second)
    return images


def convolve_and_normalise(
    conv: Conv2d | GroupedConv2d, norm: nn.BatchNorm, x: Array
) -> Array:
    """Convolves ``[N, H, W, C]``, then normalises.

    Running statistics are part of the kernel and the bias: a GPU convolves, adds a bias
    and takes a maximum in one kernel, and reads and writes the images once.
    """
    if not norm.use_running_average or norm.is_initializing():
        return norm(conv(x))
    if not norm.variables:  # of `ImageEncoder.inference_variables`
        return conv(x)
    own = norm.variables
    layer = _fold(conv.variables["params"], own["params"], own["batch_stats"])
    kernel, bias = (layer[name].astype(conv.dtype) for name in ("kernel", "bias"))
    return conv.convolve(x.astype(conv.dtype), kernel) + bias[None, None, None]


def _fold(
    layer: Mapping[str, Array],
    affine: Mapping[str, Array],
    running: Mapping[str, Array],
) -> dict[str, Array]:
    """Kernel and bias of a convolution and the normalisation of what it gives."""
    scale = affine["scale"] * lax.rsqrt(running["var"] + EPSILON)
    bias = affine["bias"] + (layer["bias"] - running["mean"]) * scale
    return {"kernel": layer["kernel"] * scale[None, None, None], "bias": bias}


def _fold_all(params: Mapping[str, Any], running: Mapping[str, Any]) -> dict[str, Any]:
    """The layers of a network or a block; ``norm1`` becomes part of ``conv1``."""
    layers = {}
    for name, layer in params.items():
        if "conv" in name:
            norm = name.replace("conv", "norm")
            layers[name] = _fold(layer, params[norm], running[norm])
        elif name not in running:  # attention
            layers[name] = layer
        elif "norm" not in name:
            layers[name] = _fold_all(layer, running[name])
    return layers


class ChannelAttention(nn.Module):
    """Weights of the channels: squeeze to the mean, excite through a bottleneck.

    Attributes:
      reduction: the bottleneck has ``C / reduction`` units.
      dtype: of the computation.

    References:
      Hu, Shen and Sun, *Squeeze-and-excitation networks*, 2018.
    """

    reduction: int
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Maps ``[N, H, W, C]`` to weights ``[N, 1, 1, C]`` in ``(0, 1)``."""
        channels = x.shape[-1]
        hidden = max(1, channels // self.reduction)
        dense = partial(
            nn.Dense, dtype=self.dtype, kernel_init=nn.initializers.glorot_uniform()
        )
        y = jnp.mean(x, axis=(1, 2), keepdims=True)
        y = nn.relu(dense(hidden, name="reduce")(y))
        return nn.sigmoid(dense(channels, name="expand")(y))


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions, the second grouped, a shortcut, then attention.

    Attributes:
      features: output channels.
      strides: 1, or 2 with a projected shortcut.
      cardinality: groups of the second convolution.
      reduction: see `ChannelAttention`.
      norm: makes a batch normalisation.
      dtype: of the computation.
    """

    features: int
    strides: int
    cardinality: int
    reduction: int
    norm: Callable[..., nn.BatchNorm]
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Maps ``[N, H, W, C]`` to ``[N, H / strides, W / strides, features]``."""
        conv = partial(Conv2d, dtype=self.dtype)
        shortcut = x
        if self.strides != 1:
            project = conv(
                self.features, (1, 1), strides=self.strides, name="shortcut_conv"
            )
            norm = self.norm(name="shortcut_norm")
            shortcut = convolve_and_normalise(project, norm, x)
        first = conv(self.features, (3, 3), strides=self.strides, name="conv1")
        y = nn.relu(convolve_and_normalise(first, self.norm(name="norm1"), x))
        second = GroupedConv2d(self.cardinality, self.dtype, name="conv2")
        y = convolve_and_normalise(second, self.norm(name="norm2"), y)
        y = nn.relu(y + shortcut)
        attention = ChannelAttention(
            self.reduction, self.dtype, name="channel_attention"
        )
        spatial = nn.sigmoid(conv(1, (3, 3), name="spatial_attention")(y))
        # The sum of the two attended maps, y * channel + y * spatial, as one product.
        return y * (attention(y) + spatial)


class ImageEncoder(nn.Module):
    """ResNeXt with parallel channel and spatial attention.

    Variables are named by place: ``stem_conv``, ``stem_norm``, then
    ``stage<i>_block<j>/conv1, norm1, conv2, norm2, shortcut_conv, shortcut_norm,
    channel_attention/{reduce, expand}, spatial_attention``, counted from 1.

    Attributes:
      stage_sizes: blocks per stage; every stage but the first halves the image.
      widths: channels per stage, multiples of ``cardinality``; the last is ``D``.
      cardinality: groups of the second convolution of a block.
      attention_reduction: width of a block over that of its attention's bottleneck.
      remat: the backward pass computes every block once more instead of keeping its
        intermediate images.
      dtype: of the computation; parameters and statistics are float32.

    References:
      Xie et al., *Aggregated residual transformations for deep neural networks*, 2017;
      Oh, Jeong and Lim, *Causal affect prediction model using a past facial image
      sequence*, 2021, whose published weights fit.
    """

    stage_sizes: Sequence[int] = (3, 4, 6, 3)
    widths: Sequence[int] = (64, 128, 256, 512)
    cardinality: int = 32
    attention_reduction: int = 4
    remat: bool = False
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, images: Array, *, train: bool = False) -> Array:
        """Encodes images one by one.

        Args:
          images: ``[N, H, W, 3]`` floating point in ``[0, 1]``, any size.
          train: normalise by the statistics of this batch, and average them.

        Returns:
          ``[N, D]`` float32: the mean over places of the last block.

        Raises:
          ValueError: if ``images`` or the sizes of the encoder do not fit.
        """
        self._check(images)
        norm = partial(
            nn.BatchNorm,
            use_running_average=not train,
            momentum=0.9,
            epsilon=EPSILON,
            dtype=self.dtype,
            axis_name=varying_axis_name(images),
        )
        block_type = nn.remat(ResidualBlock) if self.remat else ResidualBlock
        stem = Conv2d(self.widths[0], (7, 7), 2, self.dtype, name="stem_conv")
        x = convolve_and_normalise(stem, norm(name="stem_norm"), images)
        x = max_pool2d(nn.relu(x))
        for stage, (blocks, width) in enumerate(
            zip(self.stage_sizes, self.widths, strict=True), start=1
        ):
            for block in range(1, blocks + 1):
                x = block_type(
                    width,
                    strides=2 if stage > 1 and block == 1 else 1,
                    cardinality=self.cardinality,
                    reduction=self.attention_reduction,
                    norm=norm,
                    dtype=self.dtype,
                    name=f"stage{stage}_block{block}",
                )(x)
        return jnp.mean(x, axis=(1, 2), dtype=jnp.float32)

    def inference_variables(self, variables: VariableDict) -> VariableDict:
        """What the calls of a frozen encoder would compute of its variables alone.

        The module takes them in the place of ``variables``, if it does not train, and
        returns the same features, but computes nothing of the weights in a call.

        Args:
          variables: of this module.

        Returns:
          Parameters of type ``dtype``; running statistics are part of the kernels.

        Raises:
          KeyError: if a convolution has no normalisation, or that no statistics.
        """
        folded = _fold_all(variables["params"], variables["batch_stats"])
        return {"params": jax.tree.map(lambda leaf: leaf.astype(self.dtype), folded)}

    def _check(self, images: Array) -> None:
        if len(self.stage_sizes) != len(self.widths):
            raise ValueError(
                f"ImageEncoder: {len(self.stage_sizes)} stage_sizes and "
                f"{len(self.widths)} widths; give one of each per stage."
            )
        if any(width % self.cardinality for width in self.widths):
            raise ValueError(
                f"ImageEncoder: widths {tuple(self.widths)} must be multiples of the "
                f"cardinality {self.cardinality}."
            )
        if images.ndim != 4 or images.shape[-1] != 3:
            raise ValueError(
                f"ImageEncoder: images must be [N, H, W, 3], got {images.shape}."
            )
        if not jnp.issubdtype(images.dtype, jnp.floating):
            raise ValueError(
                f"ImageEncoder: images must be floating point in [0, 1], got "
                f"{images.dtype}; pass stored frames through scale_frames first."
            )
