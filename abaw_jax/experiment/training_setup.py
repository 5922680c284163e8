"""The two training regimes: frozen features, or encoders trained end to end.

``features``, as in the paper: encoders are frozen, their outputs are a table on the
device, and batches are indices. ``end_to_end``: batches are frames and waveforms, and
encoders are trained too. Everything after this choice is the same.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from abaw_jax.experiment import encoders, features, model_factory
from abaw_jax.experiment.encoders import Encoder
from abaw_jax.experiment.onnx_encoder import OnnxEncoder
from abaw_jax.experiment.run import Run
from abaw_jax.pipeline.items import (
    Fill,
    feature_items,
    gather_features,
    gathered_items,
    media_items,
)
from abaw_jax.pipeline.read_errors import ReadErrorLog
from abaw_jax.pipeline.windows import Samples
from abaw_jax.report import console
from abaw_jax.training.distillation import Inputs
from abaw_jax.training.sharding import put_on_devices
from abaw_jax.training.state import Variables, init_variables
from abaw_jax.training.updates import MakeBatch


@dataclass(frozen=True)
class TrainingSetup:
    """Model, data and table of a regime, for training and evaluation.

    Attributes:
      model: takes two inputs, image and sound, and gives outputs by task.
      inputs: picks the two out of a batch.
      fill: what grain puts into an item.
      make_batch: turns an item into a batch on the device.
      table: its first argument, on the device; ``None`` where items are batches.
      on_device: items are small and validation items stay on the device.
      init: fresh variables by key.
      window_features: of samples, float32 ``[N, D]``: mean and last of a window's
        images, beside its sound; ``None`` without a feature table.
      made_from: what its upstream was made from.
    """

    model: nn.Module
    inputs: Inputs
    fill: Fill
    make_batch: MakeBatch
    table: Any
    on_device: bool
    init: Callable[[jax.Array], Variables]
    made_from: dict[str, Any]
    window_features: Callable[[Samples], np.ndarray] | None = None


def choose(run: Run) -> TrainingSetup:
    """The configured regime, with every stage below it complete.

    Raises:
      ValueError: if the configuration names another regime.
    """
    build = {"features": _features, "end_to_end": _end_to_end}.get(run.config.regime)
    if build is None:
        raise ValueError(
            f"config.regime is {run.config.regime!r}; choose features or end_to_end."
        )
    return build(run)


def _features(run: Run) -> TrainingSetup:
    image, sound = frozen_encoders(run)
    table = features.extract(run, image, sound)
    model = model_factory.heads(run.config)
    widths = table.widths
    examples = model_factory.feature_shapes(run.config, widths)
    on_device = _fits(run, table.image.nbytes + table.sound.nbytes)
    images, sounds = table.image[:, : widths[0]], table.sound[:, : widths[1]]
    gather = gathered_items(images, sounds, table.sound_rows, table.lost)
    if on_device:
        fill = feature_items(table.sound_rows, table.lost)
        make_batch: MakeBatch = partial(
            gather_features,
            widths=widths,
            zeros=run.windows.missing == "zero",
        )
    else:
        fill = gather
        make_batch = _identity
    on_devices = (
        put_on_devices(
            {"image": table.image, "sound": table.sound},
            run.shardings.replicated,
        )
        if on_device
        else None
    )

    def window_features(samples: Samples) -> np.ndarray:
        # On the host: on a device every number of rows would be compiled for.
        item = gather(samples)
        image, sound = (np.asarray(item[s], np.float32) for s in ("image", "sound"))
        parts = {"image": [image.mean(1), image[:, -1]], "sound": [sound]}
        read = [part for stream in run.config.streams for part in parts[stream]]
        return np.concatenate(read, axis=1)

    return TrainingSetup(
        model=model,
        inputs=lambda batch: (batch["image"], batch["sound"]),
        fill=fill,
        make_batch=make_batch,
        table=on_devices,
        on_device=on_device,
        init=lambda key: init_variables(model, key, *examples),
        made_from={"features": table.fingerprint},
        window_features=window_features,
    )


def frozen_encoders(run: Run) -> tuple[Encoder | OnnxEncoder | None, Encoder | None]:
    """The encoders of the streams whose features are read and not given.

    Those without weights are trained first.
    """
    config = run.config
    streams = [stream for stream in config.streams if not config.features[stream]]
    if "image" in streams and config.image_encoder.onnx:
        _, sound = _encoders(run, [s for s in streams if s != "image"])
        return OnnxEncoder(config.image_encoder), sound
    return _encoders(run, streams)


def _encoders(
    run: Run, streams: Sequence[str]
) -> tuple[Encoder | None, Encoder | None]:
    return (
        encoders.image_encoder(run) if "image" in streams else None,
        encoders.sound_encoder(run) if "sound" in streams else None,
    )


def _identity(table: None, item: Any) -> Any:
    """Items that are batches already."""
    return item


def _fits(run: Run, size: int) -> bool:
    """True if a feature table of so many bytes fits on the device.

    "auto" leaves half of the memory to everything else; a CPU's is the host's.
    """
    wanted = run.config.features.table
    if wanted not in ("auto", "device", "host"):
        raise ValueError(
            f"config.features.table is {wanted!r}; choose auto, device or host."
        )
    if wanted != "auto":
        return wanted == "device"
    memory = jax.local_devices()[0].memory_stats() or {}
    return size <= memory.get("bytes_limit", 2 * size) / 2


def _end_to_end(run: Run) -> TrainingSetup:
    model = model_factory.affect_model(run.config)
    image, sound = _encoders(run, run.config.streams)
    encoders = {"image_encoder": image, "sound_encoder": sound}
    encoders = {name: each for name, each in encoders.items() if each is not None}
    size, windows = run.store.image_size, run.windows
    length = round(windows.sound_seconds * run.store.sample_rate)
    examples = (
        jax.ShapeDtypeStruct((2, windows.images, size, size, 3), jnp.uint8),
        jax.ShapeDtypeStruct((2, length), jnp.int16),
    )

    def init(key: jax.Array) -> Variables:
        fresh = init_variables(model, key, *examples)
        return {
            collection: tree
            | {name: each.variables[collection] for name, each in encoders.items()}
            for collection, tree in fresh.items()
        }

    return TrainingSetup(
        model=model,
        inputs=lambda batch: (batch["frames"], batch["waveform"]),
        fill=media_items(run.store, windows, ReadErrorLog(console.warn)),
        make_batch=_identity,
        table=None,
        on_device=False,
        init=init,
        made_from=end_to_end_made_from(run, image, sound),
    )


def end_to_end_made_from(
    run: Run, image: Encoder | None, sound: Encoder | None
) -> dict[str, Any]:
    """Fingerprint inputs of a network with encoders, besides its own settings.

    The store's media are read at every round, so that the settings by which features
    are made count here too.
    """
    config = run.config
    return {
        "image": image and image.fingerprint,
        "sound": sound and sound.fingerprint,
        "statistics": config.end_to_end.statistics,
        "size": config.image_encoder.size,
        "softmax": config.sound_encoder.softmax,
        "scale": config.sound_encoder.scale,
    }
