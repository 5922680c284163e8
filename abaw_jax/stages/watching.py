"""What a person sees of a training stage while it runs."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from abaw_jax.data.pipeline import Schedule
from abaw_jax.report import console
from abaw_jax.report.log import EventLog
from abaw_jax.training.curriculum import Progress
from abaw_jax.training.loop import Limits, Validation, Watch


@contextmanager
def watched(
    name: str,
    directory: Path,
    schedule: Schedule,
    limits: Limits,
    chance: Mapping[str, float],
) -> Iterator[Watch]:
    """A progress bar, a line per epoch beside chance, and TensorBoard event files."""
    total = limits.epochs * schedule.chunks_per_epoch
    events = EventLog(directory / "events")
    try:
        with console.progress(name, total) as update:
            yield _watch(name, update, events, schedule, limits, chance)
    finally:
        events.close()


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
        progress: Progress, loss: float | None, validation: Validation | None
    ) -> None:
        nonlocal began
        chunks = schedule.chunks_per_epoch
        update(progress.epoch * chunks + progress.chunk, limits.epochs * chunks)
        if loss is None or validation is None:
            return
        seconds, began = time.monotonic() - began, time.monotonic()
        shown = validation.shown
        console.epoch_line(
            name, progress.epoch, limits.epochs, loss, shown, chance, seconds
        )
        events.scalars(progress.epoch, {"loss": loss, **shown})

    return watch
