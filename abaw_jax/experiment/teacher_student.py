"""Trains teachers and students, in any number of generations.

Generation 0 are teachers (equation 12). The students of generation g (equation 13)
learn from all networks that their own run had in generation g - 1.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax

from abaw_jax.evaluation.validation import Validator, stream
from abaw_jax.experiment import rows
from abaw_jax.experiment.artefact import Artefact
from abaw_jax.experiment.class_weights import balanced
from abaw_jax.experiment.going_on import first_limit
from abaw_jax.experiment.initial_network import InitialNetwork
from abaw_jax.experiment.model_factory import pad_to_lanes
from abaw_jax.experiment.population import (
    Member,
    group_teachers,
    plan_members,
    root_keys,
)
from abaw_jax.experiment.progress import report_progress
from abaw_jax.experiment.run import Run
from abaw_jax.experiment.training_setup import TrainingSetup
from abaw_jax.experiment.validators import PREDICTED_BATCHES
from abaw_jax.objectives import Equations, student_objective, teacher_objective
from abaw_jax.pipeline.batches import training_chunks
from abaw_jax.pipeline.windows import Samples
from abaw_jax.report import console
from abaw_jax.tasks import TASKS
from abaw_jax.training.distillation import (
    SoftLabels,
    lookup_teacher,
    online_teacher,
    precompute_soft_labels,
)
from abaw_jax.training.job import Job, Limits
from abaw_jax.training.loop import fit
from abaw_jax.training.networks import load_if_sound
from abaw_jax.training.nonfinite import NonFinite
from abaw_jax.training.sharding import put_on_devices
from abaw_jax.training.state import (
    Variables,
    average_parameters,
    create_state,
    stack_members,
    take_members,
)
from abaw_jax.training.steps import empty_scores, make_chunk_step


@dataclass(frozen=True)
class Trained:
    """Finished networks of one role, and what they were made from.

    Attributes:
      role: names the folder.
      variables: ``[K, ...]`` per leaf.
      members: who they are.
      fingerprint: of the stage.
    """

    role: str
    variables: Variables
    members: tuple[Member, ...]
    fingerprint: str


@dataclass(frozen=True)
class _Teaching:
    """Source of a generation's soft labels; empty for teachers."""

    soft_labels: SoftLabels | None = None
    teacher: Any = None
    table: Any = None


def train_teachers(run: Run, setup: TrainingSetup, validate: Validator) -> Trained:
    """Supervision where labels are, equation 12."""
    members = tuple(
        replace(member, losses=replace(member.losses, gamma_rule="none"))
        for member in plan_members(run.config)
    )
    return _train(run, setup, validate, members)


def train_students(
    run: Run,
    setup: TrainingSetup,
    validate: Validator,
    teachers: Trained,
    generation: int,
) -> Trained:
    """Supervision where labels are, the teachers' outputs everywhere, equation 13."""
    members = plan_members(run.config, copies=run.config.kd.ensemble)
    return _train(run, setup, validate, members, teachers, generation)


def _train(
    run: Run,
    setup: TrainingSetup,
    validate: Validator,
    members: tuple[Member, ...],
    teachers: Trained | None = None,
    generation: int = 0,
) -> Trained:
    role, name = ("teacher", "student")[min(generation, 1)], _name(generation)
    initial = InitialNetwork.read(run.config.train.init)
    made_from = _made_from(run, members, teachers, generation)
    artefact = Artefact(
        run.workdir / name,
        made_from | setup.made_from | initial.made_from,
        used_by=run.workdir / _name(generation + 1),
    )
    complete = artefact.begin()
    many = f"{len(members)} networks, " if len(members) > 1 else ""
    console.stage_header(name, "ready" if complete else many + _equation(run, role))
    keys = root_keys(members, generation)
    if complete:
        like = jax.eval_shape(setup.init, keys[0])
        variables = load_if_sound(
            artefact.directory, like, len(members), run.shardings, console.warn
        )
        if variables is not None:
            return Trained(name, variables, members, artefact.fingerprint)
    job = _job(run, setup, validate, members, teachers, keys)
    planned = first_limit(artefact.made_from, "train.epochs")
    job = replace(job, limits=replace(job.limits, planned_epochs=planned))
    fresh = [setup.init(key) for key in keys]
    initial.say(name, fresh[0])
    state = create_state(
        stack_members([initial.start(each) for each in fresh]), _optimizer(run)
    )
    with report_progress(
        name, artefact.directory, job.schedule, job.limits, validate.chance
    ) as callback:
        fitted = fit(state, job, artefact.directory, callback)
    counts = rows.count(run, rows.training_samples(run))
    artefact.finish({**fitted.summary(), "rows": counts})
    return Trained(name, fitted.variables, members, artefact.fingerprint)


def _name(generation: int) -> str:
    """Names the folder of a generation's networks."""
    return ("teacher", "student", f"student{generation}")[min(generation, 2)]


def _equation(run: Run, role: str) -> str:
    """What a network learns from, for the terminal."""
    if role == "teacher":
        return "supervised where labels are, equation 12"
    samples = rows.training_samples(run)
    taught = rows.distilled(run, [name for name in samples if len(samples[name])])
    return (
        f"supervised, and distilled from the teacher on {', '.join(taught) or 'no set'}"
        ", equation 13"
    )


def _made_from(
    run: Run, members: Sequence[Member], teachers: Trained | None, generation: int
) -> dict[str, Any]:
    config = run.config
    parts = ("windows", "heads", "loss", "equations")
    train = config.train.to_dict()
    del train["init"]  # identified by its network, not by its path
    return {
        "store": run.store.fingerprint,
        "regime": config.regime,
        "streams": config.streams,
        "dtype": config.dtype,
        "seed": config.seed,
        "train": train,
        **{part: config[part].to_dict() for part in parts},
        "members": [member.describe() for member in members],
        "keep": config.kd.teacher_epoch,
        "held_out": config.evaluation.held_out,
        "selection": config.evaluation.selection,
        "generation": generation,
        "teacher": teachers and teachers.fingerprint,
    }


def _optimizer(run: Run) -> optax.GradientTransformation:
    settings = run.config.train
    adam = optax.adam(settings.learning_rate)
    if not settings.average_decay:
        return adam
    return optax.chain(adam, average_parameters(settings.average_decay))


def _job(
    run: Run,
    setup: TrainingSetup,
    validate: Validator,
    members: Sequence[Member],
    teachers: Trained | None,
    keys: jax.Array,
) -> Job:
    config = run.config.train
    samples = rows.training_samples(run)
    schedule = rows.schedule(run, samples, on_device=setup.on_device)
    equations = Equations(**run.config.equations)
    objective = teacher_objective if teachers is None else student_objective
    distilled = rows.distilled(run)
    teaching = _teaching(run, setup, validate, members, teachers, samples, distilled)
    return Job(
        step=make_chunk_step(
            setup.model,
            _optimizer(run),
            partial(objective, equations=equations),
            make_batch=setup.make_batch,
            inputs=setup.inputs,
            shardings=run.shardings,
            order=config.order,
            soft_labels=teaching.soft_labels,
            distilled=distilled,
            model_kwargs=lambda weights: {"reversal_scale": weights.reversal},
            skip_nonfinite=config.nonfinite != "stop",
        ),
        teacher=teaching.teacher,
        table=teaching.table or setup.table,
        chunks=training_chunks(
            samples,
            setup.fill,
            schedule,
            epochs=config.epochs,
            seeds=[member.seed for member in members],
            process_rows=run.shardings.process_rows,
        ),
        schedule=schedule,
        losses=[balanced(member.losses, samples, config) for member in members],
        limits=Limits(config.epochs, config.patience, config.checkpoint_seconds),
        keys=put_on_devices(keys, run.shardings.members),
        validate=validate,
        shardings=run.shardings,
        keep=run.config.kd.teacher_epoch if teachers is None else "best",
        nonfinite=NonFinite(
            config.nonfinite,
            config.nonfinite_limit,
            partial(rows.name_rows, run.store, samples),
        ),
    )


def _teaching(
    run: Run,
    setup: TrainingSetup,
    validate: Validator,
    members: Sequence[Member],
    teachers: Trained | None,
    samples: Mapping[str, Samples],
    distilled: Sequence[str],
) -> _Teaching:
    """Soft labels from a cache where inputs never change, else from the networks."""
    if teachers is None:
        return _Teaching()
    groups = group_teachers(members, teachers.members)
    placed = run.shardings.members
    if not (setup.on_device and run.config.kd.cache_soft_labels):
        own = take_members(teachers.variables, groups)
        soft_labels = online_teacher(setup.model, setup.inputs, run.shardings)
        return _Teaching(soft_labels, put_on_devices(own, placed))
    runs = sorted({member.run for member in members})
    first = {member.run: k for k, member in reversed([*enumerate(members)])}
    taught = {name: samples[name] for name in distilled if len(samples[name])}
    chunks = stream(
        taught,
        setup.fill,
        run.shardings,
        batch_size=run.config.train.batch_size,
        batches_per_chunk=PREDICTED_BATCHES,
    )
    none = put_on_devices(
        stack_members([empty_scores(TASKS)] * len(teachers.members)), placed
    )

    def predict(chunk: Mapping[str, Any]) -> Any:
        return validate.predict(teachers.variables, setup.table, chunk, none)[1]

    sizes = {name: len(each) for name, each in taught.items()}
    cached = precompute_soft_labels(
        predict, chunks, [groups[first[each]] for each in runs], sizes
    )
    own = jnp.array([runs.index(member.run) for member in members])
    table = setup.table | {
        "soft_labels": put_on_devices(
            jax.tree.map(pad_to_lanes, cached), run.shardings.replicated
        )
    }
    return _Teaching(lookup_teacher, put_on_devices(own, placed), table)
