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
from collections.abc import Callable, Sequence
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

Work = Callable[[], int]
"""Does some work and returns how many items it was."""


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
    pairs = [(_seconds(theirs), _seconds(ours)) for _ in range(repetitions)]
    return Comparison(name, note, target, *zip(*pairs, strict=True))


def report(
    title: str,
    comparisons: Sequence[Comparison],
    packages: Sequence[str],
    path: Path | None,
) -> None:
    """Prints one table; writes it with every single time as JSON to ``path``."""
    facts = _machine() | {name: importlib.metadata.version(name) for name in packages}
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
        table.add_row(each.name, *times, ratio, f"{each.target:g}")
        notes.add_row(each.name, each.note, style="dim")
    machine = ", ".join(f"{name} {value}" for name, value in facts.items())
    notes.add_row("machine", machine, style="dim")
    console = Console(highlight=False)
    console.print(table, notes)
    if path is not None:
        rows = [dataclasses.asdict(c) | {"ratio": c.ratio} for c in comparisons]
        content = {"machine": facts, "comparisons": rows}
        path.write_text(json.dumps(content, indent=2) + "\n")


def _seconds(work: Work) -> float:
    start = time.perf_counter()
    items = work()
    return (time.perf_counter() - start) / items


def _machine() -> dict[str, str | int]:
    """What times depend on beside the program."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "processor": _processor(),
        "cores": os.cpu_count() or 1,
        "memory": f"{memory / 1e9:.0f} GB",
        "system": platform.platform(aliased=True, terse=True),
        "Python": platform.python_version(),
    }


def _processor() -> str:
    described = Path("/proc/cpuinfo")
    for line in described.read_text().splitlines() if described.exists() else ():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _p90(times: Sequence[float]) -> float:
    return statistics.quantiles(times, n=10, method="inclusive")[-1]


def _duration(seconds: float) -> str:
    if seconds < 1e-3:
        return f"{seconds * 1e6:.3g} µs"
    return f"{seconds * 1e3:.3g} ms" if seconds < 1 else f"{seconds:.3g} s"
