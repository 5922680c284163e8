"""Reads operations, bytes, memory, kernels and collectives off a compiled program."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from abaw_jax.profiling.hlo import Module, parse
from abaw_jax.profiling.launches import collective, count_kernels, nondeterministic
from abaw_jax.profiling.products import executed_flops
from abaw_jax.profiling.traffic import given, hbm_bytes


@dataclass(frozen=True)
class Program:
    """Figures of one round on one device; the body of a loop is counted once.

    Attributes:
      flops: that are executed; of GPUs and TPUs those of the products.
      bytes_accessed: by all operations, in whichever memory, by XLA's count; NaN of
        GPUs, for which it has none.
      hbm_bytes: to and from the large memory of a GPU or TPU; ``None`` of a CPU.
      peak_bytes: of memory while it runs: arguments, results and what is between.
      argument_bytes: of these the arguments, as the state and the feature table.
      collectives: by kind, how many and how many bytes they give.
      kernels: that a GPU or TPU starts, by kind.
      nondeterministic: origins of sums that a GPU adds up in an order that varies;
        ``None`` of others, which have one order.
      loops: how often each loop runs, ``None`` where the compiler does not know.
    """

    flops: float
    bytes_accessed: float
    hbm_bytes: int | None
    peak_bytes: int
    argument_bytes: int
    collectives: dict[str, dict[str, int]]
    kernels: Mapping[str, int] = field(default_factory=dict)
    nondeterministic: Sequence[str] | None = None
    loops: Sequence[int | None] = ()


def read_program(compiled: Any, platform: str) -> Program:
    """Costs and collectives of a program compiled for "cpu", "gpu" or "tpu".

    Of CPUs XLA's own count of operations is taken: their programs leave much to
    libraries whose calls do not tell what they compute.
    """
    cost, memory = compiled.cost_analysis() or {}, compiled.memory_analysis()
    arguments = int(memory.argument_size_in_bytes)
    results = int(memory.output_size_in_bytes) - int(memory.alias_size_in_bytes)
    module, cpu = parse(compiled.as_text()), platform == "cpu"
    return Program(
        flops=float(cost.get("flops", math.nan) if cpu else executed_flops(module)),
        bytes_accessed=float(cost.get("bytes accessed", math.nan)),
        hbm_bytes=None if cpu else hbm_bytes(module),
        peak_bytes=arguments + results + int(memory.temp_size_in_bytes),
        argument_bytes=arguments,
        collectives=_collectives(module),
        kernels={} if cpu else count_kernels(module),
        nondeterministic=nondeterministic(module) if platform == "gpu" else None,
        loops=module.loops(),
    )


def _collectives(module: Module) -> dict[str, dict[str, int]]:
    count: Counter[str] = Counter()
    size: Counter[str] = Counter()
    for _, each in module.executed():
        if kind := collective(each):
            count[kind] += 1
            size[kind] += sum(array.size for array in given(each))
    return {kind: {"count": count[kind], "bytes": size[kind]} for kind in sorted(count)}
