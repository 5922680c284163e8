"""Counts the bytes that a compiled TPU program moves to and from HBM.

XLA's own count adds up what every operation reads and writes, wherever it lies. On a
TPU much of it never leaves the chip: what has a memory space in its layout, as
``bf16[256,512]{1,0:T(8,128)S(1)}``, lies in vector memory, and the compiler copies what
is used again there ahead of time. Only the rest waits for the large memory (HBM), whose
bandwidth a roofline is about.
"""

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial

# Bytes of an element, by XLA's name of the type.
_WIDTHS = {"pred": 1, "s8": 1, "u8": 1, "bf16": 2, "f16": 2, "s16": 2, "u16": 2}
_WIDTHS |= {"s32": 4, "u32": 4, "f32": 4, "s64": 8, "u64": 8, "f64": 8}

_ARRAY = re.compile(rf"\b({'|'.join(_WIDTHS)})\[([\d,]*)\](\{{[^}}]*\}})?")
_COMPUTATION = re.compile(r"(ENTRY )?%([\w.-]+) \(.*\{$")
_INSTRUCTION = re.compile(r" +(ROOT )?%([\w.-]+) = (.*?) ([\w-]+)\((.*?)\)(, .*)?$")
_CALLED = re.compile(
    r"(?:calls|body|condition|to_apply|branch_computations)=(\{.*?\}|\S+)"
)
_NAME = re.compile(r"%([\w.-]+)")

# Names for what is there already; so are all that end in "-done".
_FREE = {"parameter", "constant", "tuple", "get-tuple-element", "bitcast", "after-all"}
_CALLS = {"while", "conditional", "call"}
# Which of the results is the copy; others name the source again, and a flag.
_COPIES = {"copy-start": 0, "slice-start": 1}
# Of their first operand they read as much as they give.
_PARTS = {"gather", "dynamic-slice", "slice"}


@dataclass(frozen=True)
class Array:
    """Size of an array in bytes; ``outside`` the chip is its large memory."""

    size: int
    outside: bool


@dataclass(frozen=True)
class _Instruction:
    op: str
    inner: str  # what its parentheses hold
    results: tuple[Array, ...]
    operands: tuple[str, ...]
    called: tuple[str, ...]


@dataclass
class _Computation:
    instructions: dict[str, _Instruction] = field(default_factory=dict)
    root: str = ""


def hbm_bytes(text: str) -> int | None:
    """Sums them over a program; the body of a loop once, as XLA counts.

    Other devices' programs give ``None``: their layouts have no tiles, and a GPU's
    memory spaces all lie in its one memory.

    Args:
      text: HLO after scheduling, as a compiled program's ``as_text()``.
    """
    if ":T(" not in text:
        return None
    computations, entry = _computations(text)
    return _moved(computations, entry)


def arrays(text: str) -> Iterator[Array]:
    """Arrays that a piece of HLO names, as ``(bf16[16]{0}, f32[2]{0})``."""
    for dtype, dimensions, layout in _ARRAY.findall(text):
        count = math.prod(map(int, filter(None, dimensions.split(","))))
        yield Array(_WIDTHS[dtype] * count, "S(" not in layout)


def _computations(text: str) -> tuple[dict[str, _Computation], str]:
    """All computations by name, and the name of the first."""
    found: dict[str, _Computation] = {}
    entry = here = ""
    for line in text.splitlines():
        if head := _COMPUTATION.match(line):
            here = head[2]
            found[here] = _Computation()
            entry = here if head[1] else entry
        elif parts := _INSTRUCTION.match(line):
            root, name, results, op, inner, after = parts.groups()
            found[here].instructions[name] = _Instruction(
                op,
                inner,
                results=tuple(arrays(results)),
                operands=tuple(_NAME.findall(inner)),
                called=tuple(_NAME.findall(" ".join(_CALLED.findall(after or "")))),
            )
            found[here].root = name if root else found[here].root
    return found, entry


def _moved(computations: Mapping[str, _Computation], name: str) -> int:
    here = computations[name].instructions
    return sum(_moved_by(each, here, computations) for each in here)


def _moved_by(
    name: str,
    here: Mapping[str, _Instruction],
    computations: Mapping[str, _Computation],
) -> int:
    each = here[name]
    if each.op in _CALLS:
        return sum(_moved(computations, called) for called in each.called)
    if each.op in _FREE or each.op.endswith("-done"):
        return 0
    given = [here[operand].results for operand in each.operands]
    if each.op in _COPIES:
        target = each.results[_COPIES[each.op]]
        return target.size * (given[0][0].outside + target.outside)
    if each.op == "fusion":
        fused = computations[each.called[0]]
        written = _written(fused.instructions, fused.root)
        read = partial(_read_inside, fused)
    else:
        written, read = _written(here, name), partial(_read, each)
    moved = sum(
        size for size, to in zip(written, each.results, strict=False) if to.outside
    )
    for position, operand in enumerate(given):
        size = sum(array.size for array in operand if array.outside)
        moved += min(size, read(position, size))
    return moved


def _read(each: _Instruction, position: int, size: int) -> int:
    """Bytes that an operation reads of an operand."""
    if position == 0 and each.op in _PARTS:
        return sum(array.size for array in each.results)
    return 0 if position == 0 and each.op == "dynamic-update-slice" else size


def _read_inside(fused: _Computation, position: int, size: int) -> int:
    """Bytes that a fusion reads of an operand; twice of what two operations read."""
    named = [
        name
        for name, each in fused.instructions.items()
        if each.op == "parameter" and each.inner == str(position)
    ]
    total = 0
    for name, each in fused.instructions.items():
        for position, operand in enumerate(each.operands):
            if operand in named:
                if each.op == "bitcast":
                    named.append(name)
                else:
                    total += _read(each, position, size)
    return total


def _written(here: Mapping[str, _Instruction], name: str) -> list[int]:
    """Bytes of each result that are new; an update in place writes its part."""
    each = here[name]
    if each.op == "tuple":
        return [size for part in each.operands for size in _written(here, part)]
    if each.op == "bitcast" and each.operands[0] in here:
        return _written(here, each.operands[0])
    if each.op == "dynamic-update-slice":
        return [sum(array.size for array in here[each.operands[1]].results)]
    return [array.size for array in each.results]
