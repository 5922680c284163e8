"""Reads operations, bytes, memory and collectives off a compiled program."""

import math
import re
from collections import Counter
from dataclasses import dataclass
from typing import Any

from abaw_jax.profiling.traffic import arrays, hbm_bytes

_KINDS = "all-reduce|all-gather|reduce-scatter|all-to-all|collective-permute"
_COLLECTIVE = re.compile(rf" = (.*?) ({_KINDS})(?:-start)?\(")


@dataclass(frozen=True)
class Program:
    """Figures of one round on one device; XLA counts the body of a loop once.

    Attributes:
      flops: that are executed.
      bytes_accessed: by all operations, in whichever memory.
      hbm_bytes: to and from a TPU's large memory; ``None`` of other devices.
      peak_bytes: of memory while it runs: arguments, results and what is between.
      argument_bytes: of these the arguments, as the state and the feature table.
      collectives: by kind, how many and how many bytes they give.
    """

    flops: float
    bytes_accessed: float
    hbm_bytes: int | None
    peak_bytes: int
    argument_bytes: int
    collectives: dict[str, dict[str, int]]


def read_program(compiled: Any) -> Program:
    """Costs and collectives of a compiled program."""
    cost, memory = compiled.cost_analysis() or {}, compiled.memory_analysis()
    arguments = int(memory.argument_size_in_bytes)
    results = int(memory.output_size_in_bytes) - int(memory.alias_size_in_bytes)
    text = compiled.as_text()
    return Program(
        flops=float(cost.get("flops", math.nan)),
        bytes_accessed=float(cost.get("bytes accessed", math.nan)),
        hbm_bytes=hbm_bytes(text),
        peak_bytes=arguments + results + int(memory.temp_size_in_bytes),
        argument_bytes=arguments,
        collectives=_collectives(text),
    )


def _collectives(text: str) -> dict[str, dict[str, int]]:
    count: Counter[str] = Counter()
    size: Counter[str] = Counter()
    for shapes, kind in _COLLECTIVE.findall(text):
        count[kind] += 1
        size[kind] += sum(array.size for array in arrays(shapes))
    return {kind: {"count": count[kind], "bytes": size[kind]} for kind in sorted(count)}
