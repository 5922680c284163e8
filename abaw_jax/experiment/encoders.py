"""Second stage: imports encoders, or trains them per frame.

An encoder with configured weights is loaded. One without is trained on valence and
arousal, as the paper's image encoder was, or on another task where a release lacks
them; then its last layer is left out.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jax
import optax
from ml_collections import ConfigDict

from abaw_jax.evaluation.validation import Validator, stream
from abaw_jax.experiment import model_factory, rows, stream_training
from abaw_jax.experiment.artefact import Artefact
from abaw_jax.experiment.progress import report_progress
from abaw_jax.experiment.run import Run
from abaw_jax.experiment.sole_run import sole_stage
from abaw_jax.experiment.stream_training import StreamTraining
from abaw_jax.models import ImageEncoder, SoundNet
from abaw_jax.objectives import teacher_objective
from abaw_jax.pipeline.batches import Schedule, training_chunks
from abaw_jax.pipeline.windows import Samples
from abaw_jax.report import console
from abaw_jax.store.reader import Store
from abaw_jax.training.curriculum import LossSettings
from abaw_jax.training.job import Fitted, Job, Limits
from abaw_jax.training.loop import fit
from abaw_jax.training.networks import load_if_sound
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

    module: ImageEncoder | SoundNet
    variables: Variables
    fingerprint: str


def image_encoder(run: Run) -> Encoder:
    """The image encoder of the configuration, with weights."""
    settings = run.config.image_encoder
    module = model_factory.image_encoder(run.config)
    if settings.weights:
        weights = load_image_encoder(settings.weights, encoder=module)
        return _imported(module, settings.weights, weights)
    return _trained(run, stream_training.image_training(run))


def sound_encoder(run: Run) -> Encoder:
    """The sound encoder of the configuration, with weights."""
    settings = run.config.sound_encoder
    module = model_factory.sound_encoder(run.config)
    if settings.weights:
        weights = load_soundnet(settings.weights, network=module)
        return _imported(module, settings.weights, weights)
    return _trained(run, stream_training.sound_training(run))


def _imported(
    module: ImageEncoder | SoundNet, path: str, variables: Variables
) -> Encoder:
    digest = hashlib.sha256(Path(path).read_bytes()).hexdigest()[:16]
    return Encoder(module, variables, digest)


def _trained(run: Run, each: StreamTraining) -> Encoder:
    name, artefact = each.name, _artefact(run, each)
    complete = artefact.begin()
    console.stage_header(
        f"{name} encoder",
        "ready" if complete else f"trained per frame on {_NAMES[each.regressor.task]}",
    )
    variables = None
    if complete:
        like = jax.eval_shape(
            lambda: init_variables(each.regressor, _key(run), each.example)
        )
        variables = load_if_sound(
            artefact.directory, like, 1, _shardings(), console.warn
        )
    if variables is None:
        with sole_stage(artefact.directory):
            fitted = _fit(run, each, artefact.directory)
            variables = fitted.variables
            artefact.finish(fitted.summary())
    weights = to_host(_extract_encoder(take_member(variables, 0)))
    return Encoder(each.regressor.encoder, weights, artefact.fingerprint)


def untrained(run: Run) -> list[str]:
    """Names of the encoders that are still to be trained, image and sound.

    Raises:
      MismatchError: if one was trained with other settings.
      ValueError: if there are no labels to train one on.
    """
    each_trained = stream_training.streams_to_train(run)
    return [e.name for e in each_trained if not _artefact(run, e).is_finished()]


def _artefact(run: Run, each: StreamTraining) -> Artefact:
    made_from = _made_from(run.config, each.name, each.store)
    return Artefact(run.inputs / "backbone" / each.name, made_from)


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


def _fit(run: Run, each: StreamTraining, directory: Path) -> Fitted:
    config, samples = run.config.backbone, stream_training.rows_to_train(each)
    schedule = stream_training.schedule_of(run, each, samples)
    limits = Limits(config.epochs, config.patience)
    validation = stream_training.rows_to_select(run, each, len(samples))
    optimizer = optax.adam(config.learning_rate)
    job = _job(run, each, optimizer, samples, validation, schedule, limits)
    fresh = init_variables(each.regressor, _key(run), each.example)
    state = create_state(stack_members([fresh]), optimizer)
    title = f"{each.name} encoder"
    with report_progress(
        title, directory, schedule, limits, job.validate.chance
    ) as callback:
        return fit(state, job, directory, callback)


def _job(
    run: Run,
    each: StreamTraining,
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
    }
    return Job(
        step=make_chunk_step(
            each.regressor,
            optimizer,
            teacher_objective,
            skip_nonfinite=run.config.train.nonfinite != "stop",
            **compiled,
        ),
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


def _extract_encoder(variables: Variables) -> Variables:
    return {name: tree["encoder"] for name, tree in variables.items()}
