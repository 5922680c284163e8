"""What an encoder without weights trains on: frames of one set, one stream, one task.

The image encoder sees single frames, the sound encoder windows of sound.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from abaw_jax.evaluation.validation import validation_samples
from abaw_jax.experiment import model_factory
from abaw_jax.experiment.run import Run
from abaw_jax.models import FrameRegressor, SoundRegressor
from abaw_jax.objectives import Batch
from abaw_jax.pipeline.augment import augment_frames
from abaw_jax.pipeline.batches import Augment, Schedule, plan
from abaw_jax.pipeline.items import Fill, frame_items, sound_items
from abaw_jax.pipeline.read_errors import ReadErrorLog
from abaw_jax.pipeline.windows import Samples, Windows, training_samples
from abaw_jax.report import console
from abaw_jax.store.reader import Store, open_store
from abaw_jax.tasks import SETS, SPLITS


@dataclass(frozen=True)
class StreamTraining:
    """Settings in which the training of the two encoders differs."""

    name: str
    store: Store
    source: str  # the annotation set that it trains on
    regressor: FrameRegressor | SoundRegressor
    windows: Windows
    fill: Fill
    augment: Augment | None
    inputs: Callable[[Batch], tuple[jax.Array, ...]]
    example: jax.ShapeDtypeStruct
    with_sound: bool


def streams_to_train(run: Run) -> list[StreamTraining]:
    """The streams whose encoders have no weights and no features in their place.

    Raises:
      ValueError: if there are no labels to train one on.
    """
    config = run.config
    found = []
    if _is_trained(config, "image") and not config.image_encoder.onnx:
        found.append(image_training(run))
    if _is_trained(config, "sound"):
        found.append(sound_training(run))
    return found


def _is_trained(config: ConfigDict, name: str) -> bool:
    given = config.features[name] or config[f"{name}_encoder"].weights
    return name in config.streams and not given


def image_training(run: Run) -> StreamTraining:
    """Data of the image encoder's training; ``backbone.store`` may name another."""
    settings, other = run.config.image_encoder, run.config.backbone.store
    store = open_store(other, run.config.data.verify) if other else run.store
    module, size = model_factory.image_encoder(run.config), store.image_size
    source, task = _source(store, "image")
    return StreamTraining(
        name="image",
        store=store,
        source=source,
        regressor=FrameRegressor(module, image_size=settings.size, task=task),
        windows=Windows(images=1),
        fill=frame_items(store, ReadErrorLog(console.warn)),
        augment=augment_frames,
        inputs=lambda batch: (batch["frames"][:, -1],),
        example=jax.ShapeDtypeStruct((1, size, size, 3), jnp.uint8),
        with_sound=False,
    )


def sound_training(run: Run) -> StreamTraining:
    """What the sound encoder trains on: windows of sound of the run's store."""
    settings, store = run.config.sound_encoder, run.store
    module = model_factory.sound_encoder(run.config)
    length = round(run.config.windows.sound_seconds * store.sample_rate)
    source, task = _source(store, "sound")
    return StreamTraining(
        name="sound",
        store=store,
        source=source,
        regressor=SoundRegressor(
            module, scale=settings.scale, softmax=settings.softmax, task=task
        ),
        windows=replace(run.windows, images=1),
        fill=sound_items(store, run.windows, ReadErrorLog(console.warn)),
        augment=None,
        inputs=lambda batch: (batch["waveform"],),
        example=jax.ShapeDtypeStruct((1, length), jnp.int16),
        with_sound=True,
    )


def rows_to_train(each: StreamTraining) -> Samples:
    """Labelled frames on which an encoder trains; those of sound with whole windows.

    Raises:
      ValueError: if there are none.
    """
    store, labels = each.store, each.store.labels(each.source, "train")
    samples = training_samples(store, labels, each.windows, with_sound=each.with_sound)
    if not len(samples):
        raise ValueError(_why_untrainable(each.name, store, len(labels)))
    return samples


def schedule_of(run: Run, each: StreamTraining, samples: Samples) -> Schedule:
    """An epoch of an encoder: once over the samples, or over the bound on them."""
    config = run.config.backbone
    limit = config[f"{each.name}_samples"] or len(samples)
    return plan(
        {each.source: min(len(samples), limit)},
        batch_size=config.batch_size,
        rounds_per_chunk=config.rounds_per_chunk,
    )


def rows_to_select(run: Run, each: StreamTraining, trained: int) -> dict[str, Samples]:
    """Evenly spaced validation frames, by which the epoch of an encoder is chosen.

    Half as many as an epoch trains on: all of them would take a third of its time.

    Args:
      run: may bound the frames of an epoch.
      each: of `streams_to_train`.
      trained: number of `rows_to_train`.
    """
    limit = max(1, (run.config.backbone[f"{each.name}_samples"] or trained) // 2)
    found = validation_samples(each.store, each.windows, sets=(each.source,))
    return {
        name: rows.take(np.arange(0, len(rows), math.ceil(len(rows) / limit)))
        for name, rows in found.items()
    }


def _source(store: Store, name: str) -> tuple[str, str]:
    """The set and the task that an encoder trains on: the first with both parts."""
    for source in SETS:
        if all(len(store.labels(source, split)) for split in SPLITS):
            return source, "va" if source == "mtl" else source
    raise ValueError(
        f"Store {store.path} has no labels of one set in both training and validation, "
        f"on which the {name} encoder could train. Prepare it with both, or name the "
        f"encoder's weights: --config.{name}_encoder.weights=FILE"
    )


def _why_untrainable(name: str, store: Store, labelled: int) -> str:
    return (
        f"The {name} encoder has nothing to train on: of the {labelled:,} training "
        f"frames with labels in store {store.path} none has its whole window of sound, "
        f"and no weights are named (--config.{name}_encoder.weights=FILE)."
    )
