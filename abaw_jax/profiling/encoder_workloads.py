"""The steps of an encoder alone: features extracted with it, or its training."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from ml_collections import ConfigDict

from abaw_jax.experiment import model_factory
from abaw_jax.models import FrameRegressor, SoundRegressor
from abaw_jax.models.image_encoder import scale_frames
from abaw_jax.objectives import Batch, LossWeights, teacher_objective
from abaw_jax.pipeline.batches import Schedule, training_chunks
from abaw_jax.profiling.flops import count_activations, count_flops, tree_bytes
from abaw_jax.profiling.workload import (
    SAMPLE_RATE,
    STATE_PASSES,
    Workload,
    abstract,
    drawn_media,
    drawn_samples,
    placements,
)
from abaw_jax.training.curriculum import LossSettings, Progress, chunk_weights
from abaw_jax.training.sharding import Shardings
from abaw_jax.training.state import create_state, init_variables, stack_members
from abaw_jax.training.steps import ChunkStep, make_chunk_step


def extract(config: ConfigDict, shardings: Shardings, frames: int) -> Workload:
    """One batch of images through the frozen image encoder."""
    del frames
    rows, size = config.features.batch_size, config.data.image_size
    module, shown = model_factory.image_encoder(config), config.image_encoder.size
    example = jax.ShapeDtypeStruct((1, shown, shown, 3), jnp.float32)

    def forward(variables: Any, images: jax.Array) -> jax.Array:
        return jnp.asarray(module.apply(variables, images, train=False))

    def apply(variables: Any, frames: jax.Array) -> jax.Array:
        split = shardings.split_rows({"frames": frames})["frames"]
        return forward(variables, scale_frames(split, size=shown))

    def arguments() -> tuple[Any, ...]:
        variables = init_variables(module, jax.random.key(0), example)
        weights = jax.jit(module.inference_variables)(variables)
        return weights, jnp.zeros((rows, size, size, 3), jnp.uint8)

    shapes = jax.eval_shape(arguments)
    return Workload(
        name="extract",
        call=jax.jit(apply),
        shapes=abstract(shapes, shardings.replicated),
        draw=lambda: jax.device_put(arguments(), shardings.replicated),
        rounds=1,
        rows=rows,
        images=rows,
        model_flops=rows * count_flops(forward, shapes[0], example),
        state_bytes=tree_bytes(shapes[0]),
        row_bytes=tree_bytes(shapes[1])
        + 2 * rows * count_activations(forward, shapes[0], example),
    )


def image_training(config: ConfigDict, shardings: Shardings, frames: int) -> Workload:
    """An update of the image encoder, on single frames."""
    size, settings = config.data.image_size, config.image_encoder
    regressor = FrameRegressor(
        model_factory.image_encoder(config), image_size=settings.size
    )
    example = jax.ShapeDtypeStruct((1, size, size, 3), jnp.uint8)
    return _training(
        "image_training", config, shardings, regressor, example, min(frames, 1000)
    )


def sound_training(config: ConfigDict, shardings: Shardings, frames: int) -> Workload:
    """An update of the sound encoder, on windows of sound."""
    settings = config.sound_encoder
    regressor = SoundRegressor(
        model_factory.sound_encoder(config),
        scale=settings.scale,
        softmax=settings.softmax,
    )
    length = round(config.windows.sound_seconds * SAMPLE_RATE)
    example = jax.ShapeDtypeStruct((1, length), jnp.int16)
    return _training(
        "sound_training", config, shardings, regressor, example, min(frames, 1000)
    )


def _training(
    name: str,
    config: ConfigDict,
    shardings: Shardings,
    regressor: FrameRegressor | SoundRegressor,
    example: jax.ShapeDtypeStruct,
    frames: int,
) -> Workload:
    """One update on valence and arousal, as `abaw_jax.experiment.encoders` trains."""
    batch, images = config.backbone.batch_size, example.ndim == 4
    size, length = (example.shape[1], 1) if images else (1, example.shape[1])
    schedule = Schedule({"va": batch}, rounds_per_chunk=1, chunks_per_epoch=1000)
    chunks = training_chunks(
        {"va": drawn_samples("va", frames, images=1)},
        drawn_media(1, size, length),
        schedule,
        epochs=1000,
        process_rows=shardings.process_rows,
    )
    chunk = next(iter(chunks))
    optimizer = optax.adam(config.backbone.learning_rate)

    def fresh() -> Any:
        return init_variables(regressor, jax.random.key(0), example)

    def forward(variables: Any, inputs: jax.Array) -> Any:
        return regressor.apply(variables, inputs, train=False)

    def arguments() -> tuple[Any, ...]:
        return (
            create_state(stack_members([fresh()]), optimizer),
            *(None, None, chunk),
            jax.tree.map(lambda leaf: leaf[:, None], _weights(config, schedule)),
            *(jax.random.key(0)[None], np.array([True])),
        )

    placed, alone = placements(shardings, batch), jax.eval_shape(fresh)
    return Workload(
        name=name,
        call=_update(config, shardings, regressor, optimizer, images),
        shapes=tuple(map(abstract, jax.eval_shape(arguments), placed)),
        draw=lambda: tuple(map(jax.device_put, arguments(), placed)),
        rounds=1,
        rows=batch,
        images=batch * images,
        model_flops=3 * batch * count_flops(forward, alone, example),
        state_bytes=STATE_PASSES * tree_bytes(alone["params"]),
        row_bytes=2 * batch * count_activations(forward, alone, example),
        chunks=chunks,
        place=lambda chunk: shardings.place_rounds(chunk, schedule.batch_sizes),
    )


def _update(
    config: ConfigDict,
    shardings: Shardings,
    regressor: FrameRegressor | SoundRegressor,
    optimizer: optax.GradientTransformation,
    images: bool,
) -> ChunkStep:
    """The compiled update that training runs."""

    def inputs(batch: Batch) -> tuple[jax.Array, ...]:
        return (batch["frames"][:, -1] if images else batch["waveform"],)

    return make_chunk_step(
        regressor,
        optimizer,
        teacher_objective,
        make_batch=lambda table, item: item,
        inputs=inputs,
        shardings=shardings,
        skip_nonfinite=config.train.nonfinite != "stop",
    )


def _weights(config: ConfigDict, schedule: Schedule) -> LossWeights:
    """Those of one task, ``[1]`` per leaf."""
    return chunk_weights(
        LossSettings(discriminator=(0.0, 0.0), gamma_rule="none"),
        Progress(),
        first_round=0,
        rounds=1,
        rounds_per_epoch=schedule.rounds_per_epoch,
        epochs=config.backbone.epochs,
    )
