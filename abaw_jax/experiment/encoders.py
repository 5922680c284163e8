"""Second stage: imports encoders, or trains them per frame.

An encoder with configured weights is loaded. One without is trained on valence and
arousal, as the paper's image encoder was, or on another task where a release lacks
them; then its last layer is left out.
"""

import hashlib
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from ml_collections import ConfigDict

from abaw_jax.evaluation.validation import Validator, stream, validation_samples
from abaw_jax.experiment import model_factory, rows
from abaw_jax.experiment.artefact import Artefact
from abaw_jax.experiment.progress import report_progress
from abaw_jax.experiment.run import Run
from abaw_jax.experiment.sole_run import sole_stage
from abaw_jax.models import FrameRegressor, SoundRegressor
from abaw_jax.objectives import Batch, teacher_objective
from abaw_jax.pipeline.augment import augment_frames
from abaw_jax.pipeline.batches import Augment, Schedule, plan, training_chunks
from abaw_jax.pipeline.items import Fill, frame_items, sound_items
from abaw_jax.pipeline.read_errors import ReadErrorLog
from abaw_jax.pipeline.windows import Samples, Windows, training_samples
from abaw_jax.report import console
from abaw_jax.store.reader import Store, open_store
from abaw_jax.tasks import SETS, SPLITS
from abaw_jax.training.curriculum import LossSettings
from abaw_jax.training.job import Fitted, Job, Limits
from abaw_jax.training.loop import fit, load_fitted
from abaw_jax.training.nonfinite import NonFinite
from abaw_jax.training.processes import to_host
from abaw_jax.training.sharding import Shardings, over_all_devices
from abaw_jax.training.state import (
    Variables,
    create_state,
    init_variables,
    stack_members,
    take_member,
)
from abaw_jax.training.steps import make_chunk_step, make_predict_chunk
from abaw_jax.weights.loading import load_image_encoder, load_soundnet


@dataclass(frozen=True)
class Encoder:
    """A frozen encoder.

    Attributes:
      module: maps media to features.
      variables: its weights, on the host.
      fingerprint: of where they came from.
    """

    module: nn.Module
    variables: Variables
    fingerprint: str


@dataclass(frozen=True)
class _Stream:
    """Settings in which the training of the two encoders differs."""

    store: Store
    source: str  # the annotation set that it trains on
    regressor: FrameRegressor | SoundRegressor
    windows: Windows
    fill: Fill
    augment: Augment | None
    inputs: Callable[[Batch], tuple[jax.Array, ...]]
    example: jax.ShapeDtypeStruct
    with_sound: bool


def image_encoder(run: Run) -> Encoder:
    """The image encoder of the configuration, with weights."""
    settings = run.config.image_encoder
    module = model_factory.image_encoder(run.config)
    if settings.weights:
        weights = load_image_encoder(settings.weights, encoder=module)
        return _imported(module, settings.weights, weights)
    other = run.config.backbone.store
    store = open_store(other) if other else run.store
    size = store.image_size
    source, task = _source(store, "image")
    return _trained(
        run,
        "image",
        module,
        _Stream(
            store=store,
            source=source,
            regressor=FrameRegressor(module, image_size=settings.size, task=task),
            windows=Windows(images=1),
            fill=frame_items(store, ReadErrorLog(console.warn)),
            augment=augment_frames,
            inputs=lambda batch: (batch["frames"][:, -1],),
            example=jax.ShapeDtypeStruct((1, size, size, 3), jnp.uint8),
            with_sound=False,
        ),
    )


def sound_encoder(run: Run) -> Encoder:
    """The sound encoder of the configuration, with weights."""
    settings = run.config.sound_encoder
    module = model_factory.sound_encoder(run.config)
    if settings.weights:
        weights = load_soundnet(settings.weights, network=module)
        return _imported(module, settings.weights, weights)
    length = round(run.config.windows.sound_seconds * run.store.sample_rate)
    source, task = _source(run.store, "sound")
    return _trained(
        run,
        "sound",
        module,
        _Stream(
            store=run.store,
            source=source,
            regressor=SoundRegressor(
                module, scale=settings.scale, softmax=settings.softmax, task=task
            ),
            windows=replace(run.windows, images=1),
            fill=sound_items(run.store, run.windows, ReadErrorLog(console.warn)),
            augment=None,
            inputs=lambda batch: (batch["waveform"],),
            example=jax.ShapeDtypeStruct((1, length), jnp.int16),
            with_sound=True,
        ),
    )


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


def _imported(module: nn.Module, path: str, variables: Variables) -> Encoder:
    digest = hashlib.sha256(Path(path).read_bytes()).hexdigest()[:16]
    return Encoder(module, variables, digest)


def _trained(run: Run, name: str, module: nn.Module, each: _Stream) -> Encoder:
    artefact = Artefact(
        run.inputs / "backbone" / name, _made_from(run.config, name, each.store)
    )
    complete = artefact.begin()
    console.stage_header(
        f"{name} encoder",
        "ready" if complete else f"trained per frame on {_NAMES[each.regressor.task]}",
    )
    if complete:
        like = jax.eval_shape(
            lambda: init_variables(each.regressor, _key(run), each.example)
        )
        variables = load_fitted(artefact.directory, like, 1, _shardings())
    else:
        with sole_stage(artefact.directory):
            fitted = _fit(run, name, each, artefact.directory)
            variables = fitted.variables
            artefact.finish({"members": [asdict(each) for each in fitted.outcomes]})
    weights = to_host(_extract_encoder(take_member(variables, 0)))
    return Encoder(module, weights, artefact.fingerprint)


_NAMES = {"va": "valence and arousal", "expr": "expressions", "au": "action units"}


def _made_from(config: ConfigDict, name: str, store: Store) -> dict[str, Any]:
    """Fingerprint inputs of an encoder that trains."""
    encoder = config[f"{name}_encoder"].to_dict()
    for unused in ("remat", "onnx", "onnx_input"):  # change no trained encoder
        encoder.pop(unused, None)
    backbone = config.backbone.to_dict()
    del backbone["store"]  # identified by its fingerprint, not by its path
    windows = ("sound_seconds", "sound_pad") if name == "sound" else ()
    return {
        "store": store.fingerprint,
        "encoder": encoder,
        "backbone": backbone,
        "seed": config.seed,
        "dtype": config.dtype,
        **{key: config.windows[key] for key in windows},
    }


def _shardings() -> Shardings:
    """Every device for one encoder, also where heads train as a population."""
    return over_all_devices()


def _key(run: Run) -> jax.Array:
    return jax.random.key(run.config.seed)


def _fit(run: Run, name: str, each: _Stream, directory: Path) -> Fitted:
    config, store = run.config.backbone, each.store
    labels = store.labels(each.source, "train")
    samples = training_samples(store, labels, each.windows, with_sound=each.with_sound)
    if not len(samples):
        raise ValueError(_why_untrainable(name, store, len(labels)))
    limit = config[f"{name}_samples"] or len(samples)
    schedule = plan(
        {each.source: min(len(samples), limit)},
        batch_size=config.batch_size,
        rounds_per_chunk=config.rounds_per_chunk if model_factory.prefers_scan() else 1,
    )
    limits = Limits(config.epochs, config.patience)
    validation = validation_samples(store, each.windows, sets=(each.source,))
    # Half as many as an epoch trains on: all of them would take a third of its time.
    validation = _subsample(validation, max(1, limit // 2))
    optimizer = optax.adam(config.learning_rate)
    job = _job(run, each, optimizer, samples, validation, schedule, limits)
    fresh = init_variables(each.regressor, _key(run), each.example)
    state = create_state(stack_members([fresh]), optimizer)
    title = f"{name} encoder"
    with report_progress(
        title, directory, schedule, limits, job.validate.chance
    ) as callback:
        return fit(state, job, directory, callback)


def _job(
    run: Run,
    each: _Stream,
    optimizer: optax.GradientTransformation,
    samples: Samples,
    validation: Mapping[str, Samples],
    schedule: Schedule,
    limits: Limits,
) -> Job:
    """Supervision of single frames by one task, without a teacher."""
    compiled = {
        "make_batch": lambda table, item: item,
        "inputs": each.inputs,
        "shardings": _shardings(),
        "unroll": not model_factory.prefers_scan(),
    }
    return Job(
        step=make_chunk_step(each.regressor, optimizer, teacher_objective, **compiled),
        teacher=None,
        table=None,
        chunks=training_chunks(
            {each.source: samples},
            each.fill,
            schedule,
            epochs=limits.epochs,
            seeds=(run.config.seed,),
            augment=each.augment,
            process_rows=_shardings().process_rows,
        ),
        schedule=schedule,
        losses=(LossSettings(discriminator=(0.0, 0.0), gamma_rule="none"),),
        limits=limits,
        keys=_key(run)[None],
        validate=Validator(
            make_predict_chunk(each.regressor, **compiled),
            None,
            validation,
            stream(
                validation,
                each.fill,
                _shardings(),
                batch_size=schedule.batch_sizes[each.source],
                batches_per_chunk=1,
            ),
            _shardings(),
            tasks=(each.regressor.task,),
        ),
        shardings=_shardings(),
        nonfinite=NonFinite(
            run.config.train.nonfinite,
            run.config.train.nonfinite_limit,
            partial(rows.name_rows, each.store, {each.source: samples}),
        ),
    )


def _why_untrainable(name: str, store: Store, labelled: int) -> str:
    return (
        f"The {name} encoder has nothing to train on: of the {labelled:,} training "
        f"frames with labels in store {store.path} none has its whole window of sound. "
        "Shorten it (--config.windows.sound_seconds), pad it "
        "(--config.windows.sound_pad=zero), or name the encoder's weights: "
        f"--config.{name}_encoder.weights=FILE"
    )


def _subsample(samples: Mapping[str, Samples], limit: int) -> dict[str, Samples]:
    """Takes at most ``limit`` evenly spaced frames a set, to select an epoch by."""
    return {
        name: each.take(np.arange(0, len(each), math.ceil(len(each) / limit)))
        for name, each in samples.items()
    }


def _extract_encoder(variables: Variables) -> Variables:
    return {name: tree["encoder"] for name, tree in variables.items()}
