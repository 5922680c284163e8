"""Profiles one step: from a configuration to a table, a figure and JSON."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict
from rich.box import SIMPLE_HEAD
from rich.table import Table

from abaw_jax.experiment.checks import check
from abaw_jax.experiment.model_factory import automatic_dtype
from abaw_jax.json_files import write_json
from abaw_jax.profiling import result, roofline_plot
from abaw_jax.profiling.hardware import compiler_options, topology_devices
from abaw_jax.profiling.programs import read_program
from abaw_jax.profiling.timing import measure
from abaw_jax.profiling.workload import Workload
from abaw_jax.profiling.workloads import STEPS
from abaw_jax.report import console
from abaw_jax.report.release_page import PUBLISHED
from abaw_jax.training.sharding import over_all_devices, over_devices

# The paper's whole training: teacher and student, twenty epochs each.
_EPOCHS = 2 * 20
# Frames of the whole of Aff-Wild2, and enough to defeat a processor's caches.
ALL_FRAMES, SOME_FRAMES = 2_660_000, 20_000


class NotCompiled(ValueError):
    """A compiler, or the memory of a chip, refuses a step."""


def profile(
    config: ConfigDict,
    step: str,
    *,
    topology: str | None,
    frames: int | None,
    calls: int,
    trace: Path | None,
) -> result.Profile:
    """Compiles a step, and unless it is for a ``topology`` times it.

    Args:
      config: as in ``configs/base.py``.
      step: of `STEPS`.
      topology: a TPU slice or GPUs to compile for, as "v5e:2x4" or "h100:1", which
        need not be present.
      frames: rows of the feature table.
      calls: that are timed.
      trace: folder for a trace of three of them.

    Raises:
      NotCompiled: if the step does not fit there, or the compiler refuses it.
      ValueError: if the step, the topology or the configuration is wrong.
    """
    check_request(config, [step], [], frames)
    if topology is None:
        shardings = over_all_devices()
    else:
        shardings = over_devices(topology_devices(topology))
        if config.dtype == "auto":
            config.dtype = automatic_dtype(shardings.mesh.devices.flat[0])
    frames = frames or (SOME_FRAMES if topology is None else ALL_FRAMES)
    workload = STEPS[step](config, shardings, frames)
    devices = list(shardings.mesh.devices.flat)
    console.stage_header(
        step, f"{len(devices)} x {devices[0].device_kind}, a table of {frames:,} frames"
    )
    compiled, seconds = _compile(workload, topology)
    timing = None
    if topology is None:
        total = calls + 2 + (calls if workload.chunks else 0) + 3 * bool(trace)
        with console.progress("calls", total) as update:
            timing = measure(
                workload, compiled, calls=calls, trace=trace, progress=update
            )
    program = read_program(compiled, shardings.platform)
    found = result.describe(workload, program, devices, seconds, timing)
    if "roofline_seconds" in found and step in ("heads", "end_to_end"):
        _, largest = PUBLISHED["va", "train"]
        rounds = -(-largest // config.train.batch_size) * _EPOCHS
        found["paper_roofline_seconds"] = rounds * found["roofline_seconds"]
    return found


def check_request(
    config: ConfigDict,
    steps: Sequence[str],
    topologies: Sequence[str],
    frames: int | None,
) -> None:
    """Refuses what cannot be profiled before anything is compiled.

    Raises:
      ValueError: if a field is wrong, a step or a topology is unknown, or its compiler
        is not installed.
    """
    check(config)
    for step in steps:
        if step not in STEPS:
            raise ValueError(f"--step={step} is unknown; choose {', '.join(STEPS)}.")
        # The steps that are left train on single images or none.
        least = config.windows.images if step in ("heads", "end_to_end") else 1
        if frames is not None and frames < least:
            raise ValueError(
                f"--frames={frames} is too few for --step={step}: one window has "
                f"{least} (config.windows.images), give as many or more."
            )
    for topology in topologies:
        topology_devices(topology)


def _compile(workload: Workload, topology: str | None) -> tuple[Any, float]:
    lowered = workload.call.lower(*workload.shapes)
    began = time.perf_counter()
    try:
        compiled = lowered.compile(compiler_options=compiler_options(topology))
    except Exception as error:  # XLA raises a general class
        reason = str(error).strip().splitlines()[0]
        if "memory" in str(error).lower():
            raise NotCompiled(f"{workload.name} does not fit: {reason}") from None
        if topology is None:
            raise
        raise NotCompiled(
            f"--step={workload.name} cannot be compiled for {topology}: {reason}"
        ) from None
    return compiled, time.perf_counter() - began


def show(found: result.Profile, file: Path | None, picture: Path | None) -> None:
    """Prints the table; writes all figures to ``file`` and bars to ``picture``."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_header=False)
    for style in ("", "bold", "dim"):
        table.add_column(style=style)
    for row in result.rows(found):
        table.add_row(*row)
    console.show(table)
    if file is not None:
        write_json(file, found)
    if picture is not None:
        title = f"{found['name']} on {found['devices']}"
        roofline_plot.draw(result.bars(found), title, picture)
