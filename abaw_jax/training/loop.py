"""The training loop, shared by encoders, teacher and student.

It dispatches chunk n to the device before it writes the metrics of chunk n - 1, so the
device never waits for the log. A checkpoint ties together state, place in the data,
progress and length of the log; a run killed anywhere goes on from it and ends with the
same bits.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import grain
import jax
import jax.numpy as jnp
import numpy as np

from abaw_jax.data.pipeline import Schedule
from abaw_jax.report.log import MetricsLog
from abaw_jax.training.checkpoints import Checkpoints
from abaw_jax.training.curriculum import (
    LossSettings,
    Progress,
    advance,
    chunk_weights,
)
from abaw_jax.training.sharding import Shardings
from abaw_jax.training.state import TrainState, Variables
from abaw_jax.training.steps import ChunkStep


@dataclass(frozen=True)
class Validation:
    """Scores of one epoch.

    Attributes:
      selection: selects the best epoch and stops the run; higher is better.
      tasks: single-task scores, which drive gamma.
      shown: everything that is logged.
    """

    selection: float
    tasks: Mapping[str, float]
    shown: Mapping[str, float]


@dataclass(frozen=True)
class Limits:
    """When a run ends, and how often it saves within an epoch.

    Attributes:
      epochs: at most.
      patience: epochs without a new best after which it stops.
      checkpoint_seconds: a checkpoint is also saved within an epoch this often.
    """

    epochs: int
    patience: int
    checkpoint_seconds: float = 600.0


@dataclass(frozen=True)
class Job:
    """Everything one run needs besides its state.

    Attributes:
      step: compiled chunk of rounds.
      teacher: frozen variables, or ``None``.
      table: first argument of the step's ``fetch``.
      chunks: of `training_chunks`.
      schedule: that the chunks follow.
      losses: constants of the objective.
      limits: when to stop.
      key: root of the run's randomness; the round number is folded into it.
      validate: scores variables on the validation sets.
      shardings: where arrays live.
    """

    step: ChunkStep
    teacher: Variables | None
    table: Any
    chunks: grain.IterDataset
    schedule: Schedule
    losses: LossSettings
    limits: Limits
    key: jax.Array
    validate: Callable[[Variables], Validation]
    shardings: Shardings


Watch = Callable[[Progress, float | None, Validation | None], None]
"""Told after every chunk (rounds done) and every epoch (mean loss and scores)."""


def fit(state: TrainState, job: Job, directory: Path, watch: Watch) -> Variables:
    """Trains until the limits and returns the variables of the best epoch.

    Args:
      state: fresh; replaced by the newest checkpoint in ``directory`` if there is one.
      job: what to train with.
      directory: gets ``checkpoints/`` and ``metrics.jsonl``.
      watch: sees progress as it happens.

    Raises:
      FloatingPointError: if a loss is not finite; the last checkpoint stays.
    """
    like = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), state
    )
    with Checkpoints(
        directory / "checkpoints", job.shardings.replicated
    ) as checkpoints:
        iterator = iter(job.chunks)
        progress = Progress()
        saved = checkpoints.restore_latest(like)
        if saved is not None:
            state, record = saved
            progress = Progress.from_json(record["progress"])
            iterator.set_state(record["data"])
        else:
            # Steps donate their state; the caller's arrays may be in use elsewhere, as
            # an imported encoder is that teacher and student both start from.
            state = jax.tree.map(jnp.copy, state)
            state = jax.device_put(state, job.shardings.replicated)
        log = MetricsLog(directory / "metrics.jsonl", offset=progress.log_offset)
        try:
            _run(state, job, iterator, progress, checkpoints, log, watch)
        finally:
            iterator.close()
            log.close()
        return checkpoints.restore_best(like.variables)


def best_variables(directory: Path, like: Variables, shardings: Shardings) -> Variables:
    """The best epoch's variables of a run that `fit` completed in ``directory``."""
    with Checkpoints(directory / "checkpoints", shardings.replicated) as checkpoints:
        return checkpoints.restore_best(like)


def _run(
    state: TrainState,
    job: Job,
    iterator: Any,
    progress: Progress,
    checkpoints: Checkpoints,
    log: MetricsLog,
    watch: Watch,
) -> None:
    def save(state: TrainState, score: float | None = None) -> None:
        nonlocal saved_at
        record = {"progress": progress.to_json(), "data": iterator.get_state()}
        checkpoints.save(state, record, **({} if score is None else {"score": score}))
        saved_at = time.monotonic()

    saved_at = time.monotonic()
    limits = job.limits
    while progress.epoch < limits.epochs and progress.stale_epochs() < limits.patience:
        pending = None
        while progress.chunk < job.schedule.chunks_per_epoch:
            state, terms = _dispatch(state, job, next(iterator), progress)
            progress = _write(pending, progress, log)
            pending = terms
            progress = replace(progress, chunk=progress.chunk + 1)
            watch(progress, None, None)
            due = time.monotonic() - saved_at > limits.checkpoint_seconds
            # The end of the epoch saves this very round, with its score.
            if due and progress.chunk < job.schedule.chunks_per_epoch:
                progress, pending = _write(pending, progress, log), None
                save(state)
        progress = _write(pending, progress, log)
        loss = progress.loss_sum / job.schedule.rounds_per_epoch
        validation = job.validate(state.variables)
        progress = advance(progress, validation.selection, validation.tasks)
        log.write({"epoch": progress.epoch, "loss": loss, **validation.shown})
        progress = replace(progress, log_offset=log.offset)
        save(state, validation.selection)
        watch(progress, loss, validation)


def _dispatch(
    state: TrainState, job: Job, chunk: Mapping[str, Any], progress: Progress
) -> tuple[TrainState, Mapping[str, jax.Array]]:
    schedule = job.schedule
    done = progress.epoch * schedule.rounds_per_epoch
    weights = chunk_weights(
        job.losses,
        progress,
        first_round=done + progress.chunk * schedule.rounds_per_chunk,
        rounds=schedule.rounds_per_chunk,
        rounds_per_epoch=schedule.rounds_per_epoch,
        epochs=job.limits.epochs,
    )
    weights = jax.device_put(weights, job.shardings.replicated)
    chunk = jax.device_put(chunk, job.shardings.rounds)
    return job.step(state, job.teacher, job.table, chunk, weights, job.key)


def _write(
    terms: Mapping[str, jax.Array] | None, progress: Progress, log: MetricsLog
) -> Progress:
    """Logs a finished chunk; waits for it, while the next one already runs."""
    if terms is None:
        return progress
    values = {name: np.asarray(each, np.float64) for name, each in terms.items()}
    losses = [each for name, each in values.items() if name.endswith("/loss")]
    loss = np.sum(losses, axis=0)
    if not np.isfinite(loss).all():
        raise FloatingPointError(
            f"The loss is not finite in epoch {progress.epoch + 1}, chunk "
            f"{progress.chunk}: lower the learning rate, or look for labels out of "
            "range with `python -m abaw_jax.prepare --check`. The last checkpoint "
            "stays."
        )
    means = {name: float(each.mean()) for name, each in values.items()}
    log.write({"epoch": progress.epoch + 1, "chunk": progress.chunk, **means})
    return replace(
        progress,
        loss_sum=progress.loss_sum + float(loss.sum()),
        log_offset=log.offset,
    )
