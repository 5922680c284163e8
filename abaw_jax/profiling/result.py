"""The figures of a profile, as JSON and as a table."""

import math
import statistics
from collections import Counter
from typing import Any

from abaw_jax.profiling.hardware import Peak, peak_of, roofline_seconds
from abaw_jax.profiling.programs import Program
from abaw_jax.profiling.timing import Timing
from abaw_jax.profiling.workload import Workload

Profile = dict[str, Any]


def describe(
    workload: Workload,
    program: Program,
    devices: list[Any],
    compile_seconds: float,
    timing: Timing | None,
) -> Profile:
    """Returns all figures, by the names of ``--json``; of one round and one device.

    XLA counts the body of a loop once, whatever the number of rounds; operations and
    bytes of a program that loops within a round are left out.

    Args:
      workload: what was compiled.
      program: what it became; a call of so many rounds.
      devices: that share it.
      compile_seconds: that this took.
      timing: of this machine; ``None`` where there is only a compiler.
    """
    peak, share = peak_of(devices[0]), 1 / len(devices)
    found: Profile = {
        "name": workload.name,
        "devices": f"{len(devices)} x {devices[0].device_kind}",
        "rounds_per_call": workload.rounds,
        "compile_seconds": compile_seconds,
        "model_flops": workload.model_flops * share,
        "floor_bytes": workload.state_bytes + workload.row_bytes * share,
        "peak_bytes": program.peak_bytes,
        "argument_bytes": program.argument_bytes,
        "collectives": program.collectives,
        "loops": list(program.loops),
    }
    if program.kernels:
        found["kernels"] = dict(program.kernels)
    if program.nondeterministic is not None:
        found["nondeterministic"] = list(program.nondeterministic)
    if workload.counted:
        found["flops"] = program.flops
    if workload.counted and not math.isnan(program.bytes_accessed):
        found["bytes_accessed"] = program.bytes_accessed
    if workload.counted and program.hbm_bytes is not None:
        found["hbm_bytes"] = program.hbm_bytes
    if peak is not None:
        found["fits"] = program.peak_bytes <= peak.memory
    if peak is not None and workload.counted:
        moved = found.get("hbm_bytes", program.bytes_accessed)
        found["roofline_seconds"] = roofline_seconds(program.flops, moved, peak)
    return found | (_timed(workload, timing, peak, share) if timing else {})


def _timed(
    workload: Workload, timing: Timing, peak: Peak | None, share: float
) -> Profile:
    seconds = timing.median
    found = {
        "step_seconds_median": seconds,
        "step_seconds_p90": timing.p90,
        "samples_per_second": workload.rows / seconds,
        "images_per_second": workload.images / seconds,
        "waiting_share": timing.waiting,
        "achieved_flops": workload.model_flops * share / seconds,
        "step_seconds": timing.step,
        "fed_seconds": timing.fed,
    }
    if peak is not None:
        found["share_of_peak"] = found["achieved_flops"] / peak.flops
    return found


def rows(profile: Profile) -> list[tuple[str, str, str]]:
    """Name, value and what it means of every figure worth a line."""
    return [
        (name, write(profile[key]), meaning)
        for key, name, write, meaning in _ROWS
        if profile.get(key) not in (None, 0) and profile[key] == profile[key]
    ]


def quantity(value: float, unit: str) -> str:
    """With a prefix of a thousand: "1.72 GB"."""
    if not value:
        return f"0 {unit}"
    power = min(max(math.floor(math.log10(abs(value)) / 3), -3), 5)
    return f"{value / 1000**power:.3g} {_PREFIXES[power]}{unit}"


_PREFIXES = {-3: "n", -2: "µ", -1: "m", 0: "", 1: "k", 2: "M", 3: "G", 4: "T", 5: "P"}


def _unit(unit: str) -> Any:
    return lambda value: quantity(value, unit)


def _percent(value: float) -> str:
    return f"{100 * value:.1f} %"


def _collectives(found: dict[str, dict[str, int]]) -> str:
    each = [
        f"{one['count']} {kind}, {quantity(one['bytes'], 'B')}"
        for kind, one in found.items()
    ]
    return "; ".join(each) or "none"


def _kernels(found: dict[str, int]) -> str:
    return f"{sum(found.values())}: " + ", ".join(
        f"{count} {kind}" for kind, count in found.items()
    )


def _origins(found: list[str]) -> str:
    """The ends of their names, each with how often it occurs."""
    ends = Counter("/".join(name.split("/")[-2:]) for name in found)
    return "; ".join(f"{count} {name}" for name, count in ends.items()) or "none"


def _loops(found: list[int | None]) -> str:
    return ", ".join("?" if times is None else str(times) for times in found) or "none"


_ROWS = (
    ("devices", "devices", str, ""),
    ("compile_seconds", "compilation", _unit("s"), "once a run; then from the cache"),
    ("step_seconds_median", "step", _unit("s"), "a round or batch, median"),
    ("step_seconds_p90", "step, p90", _unit("s"), "nine in ten are faster"),
    ("samples_per_second", "samples", _unit("/s"), ""),
    ("images_per_second", "images", _unit("/s"), "encoded"),
    ("waiting_share", "waiting", _percent, "of the time for data"),
    ("model_flops", "model", _unit("FLOP"), "what the networks need a step"),
    ("flops", "executed", _unit("FLOP"), "what the program does a step"),
    ("bytes_accessed", "accessed", _unit("B"), "by all operations of a step"),
    ("hbm_bytes", "HBM", _unit("B"), "to and from the large memory, a step"),
    ("floor_bytes", "floor", _unit("B"), "state and activations once, a step"),
    ("peak_bytes", "memory", _unit("B"), "peak of a call"),
    ("argument_bytes", "of it", _unit("B"), "arguments: state, table, chunk"),
    ("achieved_flops", "achieved", _unit("FLOP/s"), "model operations"),
    ("share_of_peak", "of peak", _percent, "bfloat16"),
    ("fits", "fits", lambda fits: "yes" if fits else "NO", "into the device's memory"),
    ("roofline_seconds", "roofline", _unit("s"), "no step is faster"),
    (
        "paper_roofline_seconds",
        "the paper",
        _unit("s"),
        "20 + 20 epochs of Aff-Wild2 at this pace",
    ),
    ("collectives", "collectives", _collectives, "in the program of one device"),
    ("kernels", "kernels", _kernels, "started in a step"),
    ("nondeterministic", "any order", _origins, "sums whose rounding varies"),
    ("loops", "loops", _loops, "rounds of each; what is in them is counted once"),
)


def bars(profile: Profile) -> dict[str, float]:
    """Seconds of a round for the picture: measured, then the bounds."""
    found = {}
    if "step_seconds_median" in profile:
        found["step"] = profile["step_seconds_median"]
        if profile["fed_seconds"]:
            found["step with its input"] = statistics.median(profile["fed_seconds"])
    if "roofline_seconds" in profile:
        found["roofline"] = profile["roofline_seconds"]
    return found
