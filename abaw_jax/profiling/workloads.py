"""The steps that are profiled: their programs, shapes and inputs.

They are the programs that training runs, built from the same configuration; only the
data are drawn, because how long a step takes does not depend on what is in them.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from ml_collections import ConfigDict

from abaw_jax.experiment import model_factory
from abaw_jax.experiment.population import plan_members
from abaw_jax.objectives import Equations, LossWeights, student_objective
from abaw_jax.pipeline.batches import Schedule, training_chunks
from abaw_jax.pipeline.items import Fill, feature_items, gather_features
from abaw_jax.profiling.encoder_workloads import (
    extract,
    image_training,
    sound_training,
)
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
from abaw_jax.tasks import SETS, TASKS
from abaw_jax.training.curriculum import Progress, chunk_weights
from abaw_jax.training.distillation import lookup_teacher, online_teacher
from abaw_jax.training.sharding import Shardings
from abaw_jax.training.state import create_state, init_variables, stack_members
from abaw_jax.training.steps import ChunkStep, make_chunk_step

_SOFT_LABELS = 22  # columns: valence-arousal, expressions, action units


def heads(config: ConfigDict, shardings: Shardings, frames: int) -> Workload:
    """A student's rounds on a feature table of ``frames`` images."""
    examples = model_factory.feature_shapes(config)
    widths = (examples[0].shape[-1], examples[1].shape[-1])
    lanes = model_factory.lanes(shardings.platform)

    def table() -> dict[str, Any]:
        dtype = model_factory.compute_dtype(config)
        image, sound = (jnp.zeros((frames, _whole(w, lanes)), dtype) for w in widths)
        if not config.kd.cache_soft_labels:
            return {"image": image, "sound": sound}
        cached = jnp.zeros((1, frames, _whole(_SOFT_LABELS, lanes)))
        return {
            "image": image,
            "sound": sound,
            "soft_labels": dict.fromkeys(TASKS, cached),
        }

    return _rounds(
        "heads",
        config,
        shardings,
        _Network(
            model_factory.heads(config),
            examples,
            inputs=lambda batch: (batch["image"], batch["sound"]),
            make_batch=partial(gather_features, widths=widths),
            table=table,
            fill=feature_items(np.arange(frames, dtype=np.int32)),
            cached=config.kd.cache_soft_labels,
            images=0,
        ),
        frames,
    )


def end_to_end(config: ConfigDict, shardings: Shardings, frames: int) -> Workload:
    """A student's rounds on frames and waveforms, encoders trained."""
    size, count = config.data.image_size, config.windows.images
    length = round(config.windows.sound_seconds * SAMPLE_RATE)
    return _rounds(
        "end_to_end",
        config,
        shardings,
        _Network(
            model_factory.affect_model(config),
            (
                jax.ShapeDtypeStruct((2, count, size, size, 3), jnp.uint8),
                jax.ShapeDtypeStruct((2, length), jnp.int16),
            ),
            inputs=lambda batch: (batch["frames"], batch["waveform"]),
            make_batch=lambda table, item: item,
            table=lambda: None,
            fill=drawn_media(count, size, length),
            cached=False,
            images=count,
        ),
        min(frames, 1000),
    )


STEPS = {
    "heads": heads,
    "end_to_end": end_to_end,
    "extract": extract,
    "image_training": image_training,
    "sound_training": sound_training,
}
"""Choices of ``--step``."""


@dataclass(frozen=True)
class _Network:
    """Differences between the rounds of the two regimes."""

    model: Any
    examples: tuple[jax.ShapeDtypeStruct, ...]
    inputs: Any
    make_batch: Any
    table: Callable[[], Any]
    fill: Fill
    cached: bool
    images: int

    def fresh(self) -> Any:
        return init_variables(self.model, jax.random.key(0), *self.examples)

    def forward(self, variables: Any, *inputs: jax.Array) -> Any:
        return self.model.apply(variables, *inputs, train=False)


def _rounds(
    name: str, config: ConfigDict, shardings: Shardings, of: _Network, frames: int
) -> Workload:
    optimizer, batch = optax.adam(config.train.learning_rate), config.train.batch_size
    # Media come round by round in training too; ten rounds of heads hide a call's cost.
    rounds = 1 if of.images else min(config.train.rounds_per_chunk, 10)
    schedule = Schedule(dict.fromkeys(SETS, batch), rounds, chunks_per_epoch=1000)
    chunks = training_chunks(
        {name: drawn_samples(name, frames, config.windows.images) for name in SETS},
        of.fill,
        schedule,
        epochs=1000,
        process_rows=shardings.process_rows,
    )
    chunk = next(iter(chunks))

    def arguments() -> tuple[Any, ...]:
        variables = stack_members([of.fresh()])
        teacher = jax.tree.map(lambda leaf: jnp.copy(leaf)[None], variables)
        return (
            create_state(variables, optimizer),
            jnp.zeros(1, jnp.int32) if of.cached else teacher,
            of.table(),
            chunk,
            jax.tree.map(lambda leaf: leaf[:, None], _first_weights(config, schedule)),
            jax.random.key(0)[None],
            np.array([True]),
        )

    def place(chunk: Any) -> Any:
        return shardings.place_rounds(chunk, schedule.batch_sizes)

    placed = placements(shardings, batch)
    alone = jax.eval_shape(of.fresh)
    # Forward and twice as much backward on every set; the teacher forward, unless its
    # outputs are looked up.
    passes = 3 * len(SETS) + (0 if of.cached else len(TASKS))
    each = batch / of.examples[0].shape[0]
    return Workload(
        name=name,
        call=_student_step(config, optimizer, shardings, of),
        shapes=tuple(map(abstract, jax.eval_shape(arguments), placed)),
        draw=lambda: tuple(map(jax.device_put, arguments(), placed)),
        rounds=rounds,
        rows=batch * len(SETS),
        images=batch * len(SETS) * of.images,
        model_flops=count_flops(of.forward, alone, *of.examples) * each * passes,
        state_bytes=STATE_PASSES * len(SETS) * tree_bytes(alone["params"]),
        row_bytes=2
        * each
        * len(SETS)
        * count_activations(of.forward, alone, *of.examples),
        counted=not of.images or config.end_to_end.microbatches == 1,
        chunks=chunks,
        place=place,
    )


def _student_step(
    config: ConfigDict,
    optimizer: optax.GradientTransformation,
    shardings: Shardings,
    of: _Network,
) -> ChunkStep:
    """The compiled rounds that training runs."""
    live = online_teacher(of.model, of.inputs, shardings)
    return make_chunk_step(
        of.model,
        optimizer,
        partial(student_objective, equations=Equations(**config.equations)),
        make_batch=of.make_batch,
        inputs=of.inputs,
        shardings=shardings,
        order=config.train.order,
        soft_labels=lookup_teacher if of.cached else live,
        model_kwargs=lambda weights: {"reversal_scale": weights.reversal},
        skip_nonfinite=config.train.nonfinite != "stop",
    )


def _first_weights(config: ConfigDict, schedule: Schedule) -> LossWeights:
    """Loss weights of the first chunk of the first member, ``[R]`` per leaf."""
    return chunk_weights(
        plan_members(config)[0].losses,
        Progress(),
        first_round=0,
        rounds=schedule.rounds_per_chunk,
        rounds_per_epoch=schedule.rounds_per_epoch,
        epochs=config.train.epochs,
    )


def _whole(width: int, lanes: int) -> int:
    return -(-width // lanes) * lanes
