"""Counts what a compiled program starts on a device, by kind, and what varies there."""

import re
from collections import Counter

from abaw_jax.profiling.hlo import Computation, Instruction, Module

_TARGET = re.compile(r'custom_call_target="([^"]*)"')
_FUSION = re.compile(r'"kind":"(__[^"]+)"')
_ORIGIN = re.compile(r'op_name="([^"]*)"')

# What a kernel is named for: the first of these that it contains.
_OPERATIONS = {
    "scatter": "scatter",
    "select-and-scatter": "scatter",
    "sort": "sort",
    "convolution": "convolution",
    "dot": "matrix product",
    "rng-bit-generator": "random numbers",
    "reduce": "reduction",
    "reduce-window": "reduction",
    "transpose": "transposition",
    "gather": "gather",
    "copy": "copy",
    "copy-start": "copy",
    "slice-start": "copy",
}
# Kernels of libraries, and of the compiler's templates, by the beginning of the name.
_LIBRARIES = {
    "__cublas": "cuBLAS product",
    "__cudnn$conv": "cuDNN convolution",
    "__cudnn": "cuDNN",
    "__cub$": "sort",
    "__triton": "Triton",
}
_COLLECTIVES = re.compile(
    r"(all-reduce|all-gather|reduce-scatter|all-to-all|collective-permute)(-start)?"
)
_FLOATS = {"bf16", "f16", "f32", "f64"}


def count_kernels(module: Module) -> dict[str, int]:
    """Kernels, library calls, copies and collectives by kind, most frequent first."""
    each = Counter(_kind(module, here, each) for here, each in module.executed())
    return dict(each.most_common())


def nondeterministic(module: Module) -> list[str]:
    """Origins of operations that a GPU adds up in an order that varies.

    These are scatters of floating-point numbers at indices that may repeat: XLA adds
    with atomic operations. What cuDNN and cuBLAS do is not in the program.
    """
    found = []
    for here, each in module.executed():
        for _, part in module.parts(here, each):
            if _varies(part):
                origin = _ORIGIN.search(part.attributes)
                found.append(origin[1] if origin else part.op)
    return found


def collective(each: Instruction) -> str | None:
    """Kind of an operation between devices; ``None`` of any other."""
    found = _COLLECTIVES.fullmatch(each.op)
    return found[1] if found else None


def _varies(each: Instruction) -> bool:
    if each.op not in ("scatter", "select-and-scatter"):
        return False
    sums = any(array.dtype in _FLOATS for array in each.results)
    return sums and "unique_indices=true" not in each.attributes


def _kind(module: Module, here: Computation, each: Instruction) -> str:
    if collective(each):
        return "collective"
    library = _TARGET.search(each.attributes) or _FUSION.search(each.attributes)
    if library:
        for prefix, name in _LIBRARIES.items():
            if library[1].startswith(prefix):
                return name
        if each.op == "custom-call":
            return library[1]
    inside = {part.op for _, part in module.parts(here, each)}
    for op, name in _OPERATIONS.items():
        if op in inside:
            return name
    return "element by element"
