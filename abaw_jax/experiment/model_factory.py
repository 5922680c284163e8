"""Builds networks from a configuration."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from abaw_jax.models import AffectHeads, AffectModel, ImageEncoder, SoundNet


def compute_dtype(config: ConfigDict) -> jnp.dtype:
    """That of products; ``auto`` is the device's, parameters stay float32."""
    known = {"bfloat16": jnp.bfloat16, "float32": jnp.float32}
    if config.dtype == "auto":
        name = automatic_dtype(jax.devices()[0])
    elif (name := config.dtype) not in known:
        raise ValueError(f"config.dtype is {name!r}; choose auto, {', '.join(known)}.")
    return jnp.dtype(known[name])


def automatic_dtype(device: Any) -> str:
    """bfloat16 where matrix units multiply it, float32 elsewhere.

    CPUs and GPUs before compute capability 8.0 have no such units: XLA converts to
    float32, multiplies that, and converts back.
    """
    if device.platform == "cpu":
        return "float32"
    # Of a GPU of NVIDIA "7.5"; of AMD "gfx90a", all of which have it.
    major = getattr(device, "compute_capability", "").partition(".")[0]
    return "float32" if major.isdigit() and int(major) < 8 else "bfloat16"


def lanes(platform: str) -> int:
    """Width of a vector register, to which the columns of a table are padded."""
    return 128 if platform == "tpu" else 1


def pad_to_lanes(values: np.ndarray) -> np.ndarray:
    """Columns of zeros up to whole vector registers, where a TPU gathers rows.

    From a table of 1000 columns a v5e program copies all of it at every call, 11 GB; of
    1024 it reads the rows it needs.
    """
    missing = -values.shape[-1] % lanes(jax.default_backend())
    return np.pad(values, [*[(0, 0)] * (values.ndim - 1), (0, missing)])


def feature_shapes(
    config: ConfigDict, widths: tuple[int, int] | None = None
) -> tuple[jax.ShapeDtypeStruct, ...]:
    """Input shapes of the heads: images of a window, and its sound.

    Args:
      config: gives the number of images.
      widths: columns of both features; by default those of the configured encoders.
    """
    image, sound = widths or (
        config.image_encoder.widths[-1],
        config.sound_encoder.objects,
    )
    return (
        jax.ShapeDtypeStruct((2, config.windows.images, image), jnp.float32),
        jax.ShapeDtypeStruct((2, sound), jnp.float32),
    )


def image_encoder(config: ConfigDict) -> ImageEncoder:
    """ResNeXt with parallel attention."""
    settings = config.image_encoder
    return ImageEncoder(
        stage_sizes=settings.stage_sizes,
        widths=settings.widths,
        cardinality=settings.cardinality,
        remat=settings.remat,
        dtype=compute_dtype(config),
    )


def sound_encoder(config: ConfigDict) -> SoundNet:
    """SoundNet of eight layers."""
    settings = config.sound_encoder
    return SoundNet(
        widths=settings.widths,
        objects=settings.objects,
        scenes=settings.scenes,
        dtype=compute_dtype(config),
    )


def heads(config: ConfigDict) -> AffectHeads:
    """LSTM, fusion, task heads and the discriminator."""
    settings = config.heads
    return AffectHeads(
        lstm_size=settings.lstm_size,
        extractor_sizes=settings.extractor_sizes,
        head_sizes=settings.head_sizes,
        discriminator_sizes=(
            settings.discriminator_sizes if settings.discriminator else None
        ),
        num_domains=settings.domains,
        dropout_rate=settings.dropout_rate,
        image_dropout=settings.image_dropout,
        stream_dropout=settings.stream_dropout,
        fusion=settings.fusion,
        lstm_activation=_activation(settings.lstm_activation),
        streams=config.streams,
        dtype=compute_dtype(config),
    )


def _activation(name: str) -> Callable[[jax.Array], jax.Array]:
    known = {"tanh": nn.tanh, "relu": nn.relu}
    if name not in known:
        raise ValueError(
            f"config.heads.lstm_activation is {name!r}; choose {' or '.join(known)}."
        )
    return known[name]


def affect_model(config: ConfigDict) -> nn.Module:
    """The whole network from uint8 frames and int16 sound, encoders trained."""
    return AffectModel(
        image_encoder=image_encoder(config),
        sound_encoder=sound_encoder(config),
        heads=heads(config),
        image_size=config.image_encoder.size,
        softmax=config.sound_encoder.softmax,
        sound_scale=config.sound_encoder.scale,
        train_encoders=True,
        batch_statistics=config.end_to_end.statistics == "batch",
        microbatches=config.end_to_end.microbatches,
    )
