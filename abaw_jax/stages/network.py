"""Fourth and fifth stage, teacher and student: one function, two objectives."""

from dataclasses import dataclass
from typing import Any

import jax
import optax

from abaw_jax.data.pipeline import Schedule, plan, training_chunks
from abaw_jax.data.windows import Samples, training_samples
from abaw_jax.objectives import Objective, student_objective, teacher_objective
from abaw_jax.report import console
from abaw_jax.stages.artefact import Artefact
from abaw_jax.stages.regime import Regime
from abaw_jax.stages.run import Run
from abaw_jax.stages.validation import Validator, stream, validation_samples
from abaw_jax.stages.watching import watched
from abaw_jax.tasks import SETS
from abaw_jax.training.curriculum import LossSettings
from abaw_jax.training.loop import Job, Limits, best_variables, fit
from abaw_jax.training.state import Variables, create_state
from abaw_jax.training.steps import make_chunk_step, make_predict_chunk

# A concordance over fewer rows is mostly noise (facts of the authors' own batches).
_FEW_ROWS = 16


_EQUATIONS = {
    "teacher": "supervised where labels are, equation 12",
    "student": "distilled from the teacher wherever labels are missing, equation 13",
}


@dataclass(frozen=True)
class Trained:
    """A finished network and what it was made from."""

    variables: Variables
    fingerprint: str


def train_teacher(run: Run, regime: Regime, validate: Validator) -> Trained:
    """Supervision where labels are, equation 12."""
    losses = _losses(run, gamma_rate=0.0)
    return _train(run, regime, validate, "teacher", teacher_objective, losses)


def train_student(
    run: Run, regime: Regime, validate: Validator, teacher: Trained
) -> Trained:
    """Supervision where labels are, the teacher's outputs everywhere, equation 13."""
    losses = _losses(run)
    return _train(run, regime, validate, "student", student_objective, losses, teacher)


def validator(run: Run, regime: Regime) -> Validator:
    """Scores variables of this regime's network; compiled once for both roles."""
    samples = validation_samples(run.store, run.windows)
    rows = run.config.train.batch_size
    rows -= rows % run.shardings.num_devices
    chunks = stream(
        samples,
        regime.fill,
        batch_size=max(rows, run.shardings.num_devices),
        batches_per_chunk=8 if regime.resident else 1,
        place=(
            (lambda chunk: jax.device_put(chunk, run.shardings.rounds))
            if regime.resident
            else None
        ),
    )
    predict = make_predict_chunk(
        regime.model,
        fetch=regime.fetch,
        inputs=regime.inputs,
        shardings=run.shardings,
        unroll=regime.unroll,
    )
    return Validator(predict, regime.table, samples, chunks)


def _losses(run: Run, **changes: Any) -> LossSettings:
    return LossSettings(**(run.config.loss.to_dict() | changes))


def _train(
    run: Run,
    regime: Regime,
    validate: Validator,
    role: str,
    objective: Objective,
    losses: LossSettings,
    teacher: Trained | None = None,
) -> Trained:
    artefact = Artefact(
        run.workdir / role,
        {
            "store": run.store.fingerprint,
            "regime": run.config.regime,
            "streams": run.config.streams,
            "windows": run.config.windows.to_dict(),
            "heads": run.config.heads.to_dict(),
            "train": run.config.train.to_dict(),
            "loss": run.config.loss.to_dict(),
            "seed": run.config.seed,
            "teacher": teacher and teacher.fingerprint,
            **regime.made_from,
        },
    )
    # Another stream of randomness than the teacher's: a fresh initialisation.
    key = jax.random.fold_in(jax.random.key(run.config.seed), teacher is not None)
    complete = artefact.begin()
    console.stage_header(role, "ready" if complete else _EQUATIONS[role])
    if complete:
        like = jax.eval_shape(regime.init, key)
        variables = best_variables(artefact.directory, like, run.shardings)
        return Trained(variables, artefact.fingerprint)
    job = _job(run, regime, validate, objective, losses, teacher, key)
    optimizer = optax.adam(run.config.train.learning_rate)
    state = create_state(regime.init(key), optimizer)
    with watched(
        role, artefact.directory, job.schedule, job.limits, validate.chance
    ) as watch:
        variables = fit(state, job, artefact.directory, watch)
    artefact.finish()
    return Trained(variables, artefact.fingerprint)


def _job(
    run: Run,
    regime: Regime,
    validate: Validator,
    objective: Objective,
    losses: LossSettings,
    teacher: Trained | None,
    key: jax.Array,
) -> Job:
    config = run.config.train
    samples = _training_samples(run)
    schedule = plan(
        {name: len(each) for name, each in samples.items()},
        batch_size=config.batch_size,
        rounds_per_chunk=1 if regime.unroll else config.rounds_per_chunk,
        proportional=config.proportional,
        multiple_of=run.shardings.num_devices,
    )
    _warn_of_small_batches(schedule)
    limits = Limits(config.epochs, config.patience, config.checkpoint_seconds)
    step = make_chunk_step(
        regime.model,
        optax.adam(config.learning_rate),
        objective,
        fetch=regime.fetch,
        inputs=regime.inputs,
        shardings=run.shardings,
        unroll=regime.unroll,
    )
    chunks = training_chunks(
        samples, regime.fill, schedule, epochs=limits.epochs, seed=run.config.seed
    )
    return Job(
        step=step,
        teacher=teacher and jax.device_put(teacher.variables, run.shardings.replicated),
        table=regime.table,
        chunks=chunks,
        schedule=schedule,
        losses=losses,
        limits=limits,
        key=key,
        validate=validate,
        shardings=run.shardings,
    )


def _training_samples(run: Run) -> dict[str, Samples]:
    return {
        name: training_samples(
            run.store,
            run.store.labels(name, "train"),
            run.windows,
            with_sound="sound" in run.config.streams,
        )
        for name in SETS
    }


def _warn_of_small_batches(schedule: Schedule) -> None:
    few = [name for name, rows in schedule.batch_sizes.items() if rows < _FEW_ROWS]
    if few:
        console.warn(
            f"{', '.join(few)}: a batch has fewer than {_FEW_ROWS} rows, too few for a "
            "steady concordance: raise config.train.batch_size, or make batches equal "
            "with config.train.proportional=False."
        )
