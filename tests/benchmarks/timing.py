"""Two ways to do the same work, timed in turns: what counts is their ratio in one run.

A time alone says more about the machine, and about who else uses it, than about the
program. Sides that alternate share both.
"""

import dataclasses
import importlib.metadata
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from abaw_jax.report import console

_PACKAGES = (
    "jax",
    "flax",
    "optax",
    "grain",
    "numpy",
    "pillow",
    "librosa",
    "soxr",
    "torch",
)

Work = Callable[[], int]
"""Does some work and returns how many items it was."""

# PyTorch computes in the same memory.
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
ON_GPU = jax.default_backend() == "gpu"
DTYPE = jnp.bfloat16 if ON_GPU else jnp.float32
"""Of the products that are timed: what each device multiplies fastest."""


@contextmanager
def exact_products() -> Iterator[None]:
    """Both sides multiply float32 as float32; a GPU would take ten bits of it."""
    import torch

    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    try:
        with jax.default_matmul_precision("highest"):
            yield
    finally:
        torch.backends.cudnn.allow_tf32 = before


def as_fast_as_it_gets(network: Any, dtype: Any) -> Callable[..., Any]:
    """A PyTorch network with compiled bfloat16 products on a GPU, else as it is."""
    import torch

    if not ON_GPU or dtype != jnp.bfloat16:
        return network
    compiled = torch.compile(network)

    def run(*inputs: Any) -> Any:
        with torch.autocast("cuda", torch.bfloat16):
            return compiled(*inputs)

    return run


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Seconds an item of both sides.

    Attributes:
      name: a word.
      note: what an item is, and what it is compared with.
      target: ratio to be reached.
      theirs: seconds an item of the other side, one a repetition.
      ours: ours, likewise.
    """

    name: str
    note: str
    target: float
    theirs: tuple[float, ...]
    ours: tuple[float, ...]

    @property
    def ratio(self) -> float:
        """How many times faster ours is, by the medians."""
        return statistics.median(self.theirs) / statistics.median(self.ours)


def compare(
    name: str,
    note: str,
    *,
    target: float,
    theirs: Work,
    ours: Work,
    repetitions: int,
) -> Comparison:
    """Times both sides in turns, after each has run once for the caches."""
    theirs(), ours()
    pairs = []
    with console.progress(name, repetitions) as update:
        for done in range(repetitions):
            pairs.append((_seconds(theirs), _seconds(ours)))
            update(done + 1)
    found = Comparison(name, note, target, *zip(*pairs, strict=True))
    theirs_took, ours_took = map(statistics.median, (found.theirs, found.ours))
    console.say(  # kept if a later one fails
        f"{name}: {_duration(theirs_took)}, ours {_duration(ours_took)}, "
        f"{found.ratio:.3g} times as fast"
    )
    return found


def show(title: str, comparisons: Sequence[Comparison]) -> None:
    """Prints one table, and under it what was compared on what machine."""
    table = Table(title=title, box=SIMPLE_HEAD, pad_edge=False)
    for heading in ("", "theirs", "p90", "ours", "p90", "ratio", "target"):
        table.add_column(heading, justify="right" if heading else "left")
    notes = Table.grid(padding=(0, 2))
    for each in comparisons:
        times = [
            _duration(seconds)
            for side in (each.theirs, each.ours)
            for seconds in (statistics.median(side), _p90(side))
        ]
        colour = "green" if each.ratio >= each.target else "red"
        ratio = f"[{colour}]{each.ratio:.3g}[/]"
        table.add_row(each.name, *times, ratio, f"{each.target:.3g}")
        notes.add_row(each.name, each.note, style="dim")
    described = ", ".join(f"{name} {value}" for name, value in machine().items())
    notes.add_row("machine", described, style="dim")
    Console(highlight=False).print(table, notes)


def write(topics: Mapping[str, Sequence[Comparison]], path: Path) -> None:
    """Writes every single time as JSON."""
    content = {
        name: [dataclasses.asdict(c) | {"ratio": c.ratio} for c in comparisons]
        for name, comparisons in topics.items()
    }
    path.write_text(json.dumps({"machine": machine(), **content}, indent=2) + "\n")


def _seconds(work: Work) -> float:
    start = time.perf_counter()
    items = work()
    return (time.perf_counter() - start) / items


def machine() -> dict[str, str | int]:
    """What times depend on beside the program."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "device": jax.devices()[0].device_kind,
        "processor": _processor(),
        "cores": os.cpu_count() or 1,
        "memory": f"{memory / 1e9:.0f} GB",
        "system": platform.platform(aliased=True, terse=True),
        "Python": platform.python_version(),
        **dict(_versions()),
    }


def _versions() -> Iterator[tuple[str, str]]:
    for name in _PACKAGES:
        with suppress(importlib.metadata.PackageNotFoundError):  # PyTorch is an extra
            yield name, importlib.metadata.version(name)


def _processor() -> str:
    described = Path("/proc/cpuinfo")
    for line in described.read_text().splitlines() if described.exists() else ():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _p90(times: Sequence[float]) -> float:
    return float(np.percentile(times, 90))


def _duration(seconds: float) -> str:
    if seconds < 1e-3:
        return f"{seconds * 1e6:.3g} µs"
    return f"{seconds * 1e3:.3g} ms" if seconds < 1 else f"{seconds:.3g} s"
