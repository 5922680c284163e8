"""What a person sees of a training stage while it runs."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from abaw_jax.data.pipeline import Schedule
from abaw_jax.report import console
from abaw_jax.report.log import EventLog
from abaw_jax.training.loop import Limits, Position, Validation, Watch
from abaw_jax.training.processes import is_first


@contextmanager
def watched(
    name: str,
    directory: Path,
    schedule: Schedule,
    limits: Limits,
    chance: Mapping[str, float],
) -> Iterator[Watch]:
    """A progress bar, a line per epoch beside chance, and TensorBoard event files."""
    if not is_first():
        yield _look_away
        return
    total = limits.epochs * schedule.chunks_per_epoch
    events = EventLog(directory / "events")
    try:
        with console.progress(name, total) as update:
            yield _watch(name, update, events, schedule, limits, chance)
    finally:
        events.close()


def _look_away(
    position: Position, losses: Sequence[float], validations: Sequence[Validation]
) -> None:
    """What another process sees is the same."""


def _watch(
    name: str,
    update: Callable[..., None],
    events: EventLog,
    schedule: Schedule,
    limits: Limits,
    chance: Mapping[str, float],
) -> Watch:
    began = time.monotonic()

    def watch(
        position: Position, losses: Sequence[float], validations: Sequence[Validation]
    ) -> None:
        nonlocal began
        chunks = schedule.chunks_per_epoch
        update(position.epoch * chunks + position.chunk, limits.epochs * chunks)
        if not validations:
            return
        seconds, began = time.monotonic() - began, time.monotonic()
        loss, shown = float(np.mean(losses)), _mean([v.shown for v in validations])
        console.epoch_line(
            name, position.epoch, limits.epochs, loss, shown, chance, seconds
        )
        events.scalars(position.epoch, {"loss": loss, **shown})
        for k, validation in enumerate(validations if len(validations) > 1 else ()):
            curves = {f"member{k}/{key}": v for key, v in validation.shown.items()}
            events.scalars(position.epoch, curves)

    return watch


def _mean(scores: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Each score's mean over the members: what one line can say of many."""
    return {key: float(np.mean([each[key] for each in scores])) for key in scores[0]}
