"""Shows the progress of a training stage on the terminal."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from abaw_jax.pipeline.batches import Schedule
from abaw_jax.report import console
from abaw_jax.training.job import Callback, Epoch, Limits, Position
from abaw_jax.training.metrics_log import EventLog, mean_of
from abaw_jax.training.processes import is_first


@contextmanager
def report_progress(
    name: str,
    directory: Path,
    schedule: Schedule,
    limits: Limits,
    chance: Mapping[str, float],
) -> Iterator[Callback]:
    """A progress bar, a line per epoch beside chance, and TensorBoard event files."""
    if not is_first():
        yield _ignore_progress
        return
    total = limits.epochs * schedule.chunks_per_epoch
    events = EventLog(directory / "events")
    try:
        console.say(_legend(chance), style="dim")
        with console.progress(name, total) as update:
            yield _watch(name, update, events, schedule, limits, chance)
    finally:
        events.close()


_FIRST = Position(epoch=0, chunk=1)


def _legend(chance: Mapping[str, float]) -> str:
    text = "scores on the validation sets; in parentheses, chance"
    if "discriminator" not in chance:
        return text
    return f"{text}; D: share of rows whose set the discriminator names"


def _ignore_progress(position: Position, ended: Mapping[int, Epoch]) -> None:
    """Does nothing: the first process reports."""


def _watch(
    name: str,
    update: Callable[..., None],
    events: EventLog,
    schedule: Schedule,
    limits: Limits,
    chance: Mapping[str, float],
) -> Callback:
    began, is_new = time.monotonic(), True

    def callback(position: Position, ended: Mapping[int, Epoch]) -> None:
        nonlocal began, is_new
        if is_new and position != _FIRST:
            console.say(f"{name}: continuing from epoch {position.epoch + 1}")
        is_new = False
        chunks = schedule.chunks_per_epoch
        update(position.epoch * chunks + position.chunk, limits.epochs * chunks)
        if not ended:
            return
        seconds, began = time.monotonic() - began, time.monotonic()
        members = {
            k: {"loss": each.loss, **each.validation.shown} for k, each in ended.items()
        }
        mean = mean_of(list(members.values()))
        console.epoch_line(
            *(name, position.epoch, limits.epochs),
            *(mean["loss"], mean, chance, seconds),
        )
        several = {
            f"member{k}/{key}": value
            for k, each in members.items()
            for key, value in each.items()
        }
        many = several if members.keys() != {0} else {}
        events.scalars(position.epoch, mean | many)

    return callback
