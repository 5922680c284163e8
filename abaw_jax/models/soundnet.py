"""SoundNet-8: maps ten seconds of sound to logits of objects and scenes.

Eight one-dimensional convolutions over the raw waveform, 14,356,777 values with both
heads and the BatchNorm statistics. Ten seconds at 22,050 Hz give exactly one time step;
the first step needs 209,374 samples (9.50 s), the second 274,910, then one per 65,536.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from flax.typing import VariableDict
from jax import Array
from jax.typing import DTypeLike

from abaw_jax.kernels.batch_norm_max_pool import BatchNormMaxPool
from abaw_jax.kernels.conv1d import StridedConv1d, map_batch_on_cpu

LAYERS = (
    (64, 32, 8),
    (32, 16, 8),
    (16, 8, 1),
    (8, 4, 1),
    (4, 2, 4),
    (4, 2, 1),
    (4, 2, 1),
)
"""Kernel length, zeros on either side, max-pool of conv1 ... conv7; strides are 2."""
_HEAD_TAPS = 8
MINIMUM_SAMPLES = 209_374
"""The shortest waveform that gives one time step, 9.50 s at 22,050 Hz."""


def scale_waveform(waveform: Array, *, scale: float = 256.0) -> Array:
    """Maps stored samples to what `SoundNet` reads, on the device.

    Args:
      waveform: ``[N, S]`` int16 as stored, or floating point in ``[-1, 1]``.
      scale: full scale of the result. 256 for the public weights, whose running
        variances confirm it; the authors of the paper used 255.

    Returns:
      ``[N, S]`` float32, clipped to ``[-scale, scale]``.

    Raises:
      ValueError: if ``waveform`` is neither int16 nor floating point.
    """
    if waveform.dtype == jnp.int16:
        unit = waveform.astype(jnp.float32) / 32768
    elif jnp.issubdtype(waveform.dtype, jnp.floating):
        unit = waveform.astype(jnp.float32)
    else:
        raise ValueError(
            "scale_waveform: the waveform must be int16, or floating point in [-1, 1], "
            f"got {waveform.dtype}."
        )
    return jnp.clip(unit * scale, -scale, scale)


def sound_feature(object_logits: Array, *, softmax: bool = True) -> Array:
    """Summarises the object head as the paper's sound vector.

    That the paper took probabilities is likely, not certain: its network came from a
    lineage that ends with a softmax, and the file itself could not be had.
    ``softmax=False`` gives the logits.

    Args:
      object_logits: ``[N, T, K]``.
      softmax: average probabilities over the steps instead of logits.

    Returns:
      ``[N, K]`` float32.
    """
    logits = object_logits.astype(jnp.float32)
    return jnp.mean(nn.softmax(logits) if softmax else logits, axis=1)


def _conv_bn_relu(
    conv: Callable[[Array], Array], norm: Callable[[Array], Array], x: Array
) -> Array:
    return nn.relu(norm(conv(x)))


def _as_pure_function(module: Any) -> Callable[[Array], Array]:
    """Returns ``module`` as a pure function, which a loop may call."""
    unbound, variables = module.unbind()
    return partial(unbound.apply, variables)


class SoundNet(nn.Module):
    """The eight-layer network with its object and scene heads.

    Variables: ``conv1 ... conv7``, ``norm1 ... norm7``, ``objects``, ``scenes``.

    Attributes:
      widths: channels of conv1 ... conv7.
      objects: classes of the object head (ImageNet's 1000).
      scenes: classes of the scene head (Places2's 401).
      dtype: of the computation; parameters and statistics are float32.

    References:
      Aytar, Vondrick and Torralba, *SoundNet: learning sound representations from
      unlabeled video*, 2016.
    """

    widths: Sequence[int] = (16, 32, 64, 128, 256, 512, 1024)
    objects: int = 1000
    scenes: int = 401
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, waveform: Array, *, train: bool = False, from_pool2: bool = False
    ) -> tuple[Array, Array]:
        """Classifies what is heard, step by step.

        Args:
          waveform: ``[N, S]`` mono at 22,050 Hz, within about ``[-256, 256]``.
          train: normalise by the statistics of this batch, and average them.
          from_pool2: the input is what the second pool gave, ``[N, P, C]``, see
            `abaw_jax.models.soundnet_track`.

        Returns:
          Float32 logits of objects ``[N, T, objects]`` and scenes ``[N, T, scenes]``.

        Raises:
          ValueError: if the waveform is too short for one step or not ``[N, S]``.
        """
        if len(self.widths) != len(LAYERS):
            raise ValueError(
                f"SoundNet: needs {len(LAYERS)} widths, got {tuple(self.widths)}."
            )
        if not from_pool2 and (
            waveform.ndim != 2 or waveform.shape[1] < MINIMUM_SAMPLES
        ):
            raise ValueError(
                f"SoundNet: the waveform must be [N, S] with S >= {MINIMUM_SAMPLES} "
                f"(9.50 s at 22,050 Hz), got {waveform.shape}; pad shorter sound."
            )
        norm = partial(
            BatchNormMaxPool, use_running_average=not train, dtype=self.dtype
        )
        x = waveform if from_pool2 else waveform[:, :, None]
        for layer, (width, (taps, padding, pool)) in enumerate(
            zip(self.widths, LAYERS, strict=True), start=1
        ):
            if from_pool2 and layer <= 2:
                continue
            conv = StridedConv1d(width, taps, padding, self.dtype, name=f"conv{layer}")
            parts = conv, norm(pool, name=f"norm{layer}")
            if layer == 1 and not (train or self.is_initializing()):
                x = map_batch_on_cpu(
                    partial(_conv_bn_relu, *map(_as_pure_function, parts)), x
                )
            else:
                x = _conv_bn_relu(*parts, x)
        objects = StridedConv1d(self.objects, _HEAD_TAPS, 0, self.dtype, name="objects")
        scenes = StridedConv1d(self.scenes, _HEAD_TAPS, 0, self.dtype, name="scenes")
        return objects(x).astype(jnp.float32), scenes(x).astype(jnp.float32)

    def inference_variables(self, variables: VariableDict) -> VariableDict:
        """The variables with kernels of type ``dtype``, as every call would make them.

        Args:
          variables: of this module.

        Returns:
          Variables with which the module returns the same, if it does not train.
        """

        def cast(layer: dict[str, Array]) -> dict[str, Array]:
            if "kernel" not in layer:  # a normalisation computes in float32
                return layer
            return {name: leaf.astype(self.dtype) for name, leaf in layer.items()}

        params = {name: cast(layer) for name, layer in variables["params"].items()}
        return {**variables, "params": params}
