"""Times a step on this machine, with and without its input."""

import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np

from abaw_jax.profiling.workload import Workload


@dataclass(frozen=True)
class Timing:
    """Seconds of one round, or batch.

    Attributes:
      step: one a call, the same chunk again and again.
      fed: one a call, every chunk fresh from the pipeline; none without a pipeline.
    """

    step: tuple[float, ...]
    fed: tuple[float, ...]

    @property
    def median(self) -> float:
        """Of a step."""
        return statistics.median(self.step)

    @property
    def p90(self) -> float:
        """Of a step."""
        return float(np.percentile(self.step, 90))

    @property
    def waiting(self) -> float:
        """Share of the fed time in which the device waits for data."""
        fed = statistics.median(self.fed or self.step)
        return max(0.0, 1 - self.median / fed)


def measure(
    workload: Workload,
    compiled: Any,
    *,
    calls: int,
    trace: Path | None = None,
    progress: Callable[[int], None] = lambda done: None,
) -> Timing:
    """Runs a step again and again, first without input, then with it.

    Args:
      workload: what runs.
      compiled: its compiled call.
      calls: of either kind that are timed; two more come before.
      trace: gets a profile of the last three, for XProf or Perfetto.
      progress: called with the number of finished calls.
    """
    arguments = list(workload.draw())
    done = iter(range(1, 2 * calls + 6))

    def call() -> None:
        out = compiled(*arguments)
        if workload.chunks is not None:
            arguments[0] = out[0]  # a step consumes the state it is given
        jax.block_until_ready(out)
        progress(next(done))

    for _ in range(2):
        call()
    step = [_seconds(call) for _ in range(calls)]
    if trace is not None:
        _trace(call, trace)
    if workload.chunks is None:
        return Timing(_each(step, workload), ())
    fed = []
    for seconds in _fed(workload, arguments, compiled, calls):
        fed.append(seconds)
        progress(next(done))
    return Timing(_each(step, workload), _each(fed, workload))


def _fed(
    workload: Workload, arguments: list[Any], compiled: Any, calls: int
) -> Iterator[float]:
    """Seconds from one call to the next, chunks fetched while the device works."""
    iterator: Any = iter(workload.chunks or ())
    running, began = None, 0.0
    try:
        for number in range(calls + 2):
            arguments[3] = workload.place(next(iterator))
            out = compiled(*arguments)
            arguments[0] = out[0]
            jax.block_until_ready(running)
            running, now = out[1], time.perf_counter()
            if number > 1:  # the first two fill the queue
                yield now - began
            began = now
        jax.block_until_ready(running)
    finally:
        iterator.close()


def _seconds(call: Callable[[], None]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def _each(seconds: list[float], workload: Workload) -> tuple[float, ...]:
    return tuple(each / workload.rounds for each in seconds)


def _trace(call: Callable[[], None], directory: Path) -> None:
    options = jax.profiler.ProfileOptions()
    options.python_tracer_level = 0
    with jax.profiler.trace(str(directory), profiler_options=options):
        for number in range(3):
            with jax.profiler.StepTraceAnnotation("step", step_num=number):
                call()
