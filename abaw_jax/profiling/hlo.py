"""Parses the text of a compiled program (HLO) into computations and instructions."""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

# Bytes of an element, by XLA's name of the type.
_WIDTHS = {"pred": 1, "s8": 1, "u8": 1, "bf16": 2, "f16": 2, "s16": 2, "u16": 2}
_WIDTHS |= {"s32": 4, "u32": 4, "f32": 4, "s64": 8, "u64": 8, "f64": 8}

_ARRAY = re.compile(rf"\b({'|'.join(_WIDTHS)})\[([\d,]*)\](\{{[^}}]*\}})?")
_COMPUTATION = re.compile(r"(ENTRY )?%([\w.-]+) \(.*\{$")
_INSTRUCTION = re.compile(r" +(ROOT )?%([\w.-]+) = (.*?) ([\w-]+)\((.*?)\)(, .*)?$")
_CALLED = re.compile(
    r"(?:calls|body|condition|to_apply|branch_computations|"
    r"true_computation|false_computation)=(\{.*?\}|[^\s,]+)"
)
_NAME = re.compile(r"%([\w.-]+)")
_TRIPS = re.compile(r'"known_trip_count":\{"n":"(\d+)"')

# Operations whose computations run as part of the program, each instruction by itself.
_CALLS = {"while", "conditional", "call", "async-start"}
# Names for what is there already; so are all that end in "-done".
_FREE = {"parameter", "constant", "tuple", "get-tuple-element", "bitcast"}
_FREE |= {"after-all", "opt-barrier", "add-dependency", "async-update"}


@dataclass(frozen=True)
class Array:
    """One array.

    Attributes:
      dtype: by XLA's name, as "bf16".
      shape: of its elements.
      on_chip: lies in a TPU's vector memory, not in the large memory (HBM).
    """

    dtype: str
    shape: tuple[int, ...]
    on_chip: bool

    @property
    def size(self) -> int:
        """Bytes."""
        return _WIDTHS[self.dtype] * math.prod(self.shape)


@dataclass(frozen=True)
class Instruction:
    """One line of a computation.

    Attributes:
      op: of what kind, as "fusion".
      inner: text between its parentheses.
      results: arrays that it gives.
      operands: names of the instructions whose results it takes.
      called: names of the computations that it applies.
      attributes: text behind its parentheses.
    """

    op: str
    inner: str
    results: tuple[Array, ...]
    operands: tuple[str, ...]
    called: tuple[str, ...]
    attributes: str

    @property
    def free(self) -> bool:
        """Only names what is there already: nothing runs."""
        return self.op in _FREE or self.op.endswith("-done")

    @property
    def trips(self) -> int | None:
        """How often the body of a loop runs, if the compiler knows."""
        found = _TRIPS.search(self.attributes)
        return int(found[1]) if found else None


@dataclass
class Computation:
    """Instructions by name, and the name of the one that gives the result."""

    instructions: dict[str, Instruction] = field(default_factory=dict)
    root: str = ""


@dataclass
class Module:
    """All computations by name, and the name of the first."""

    computations: dict[str, Computation] = field(default_factory=dict)
    entry: str = ""

    def executed(
        self, name: str | None = None
    ) -> Iterator[tuple[Computation, Instruction]]:
        """What runs by itself, with its surroundings; the body of a loop once.

        A fusion is one instruction; loops, branches and calls are what they contain.
        """
        here = self.computations[self.entry if name is None else name]
        for each in here.instructions.values():
            if each.op in _CALLS:
                for called in each.called:
                    yield from self.executed(called)
            elif not each.free:
                yield here, each

    def fused(self, each: Instruction) -> Computation | None:
        """What a fusion computes; ``None`` of other instructions."""
        return self.computations[each.called[0]] if each.op == "fusion" else None

    def parts(self, here: Computation, each: Instruction) -> Iterator[tuple]:
        """An instruction with its surroundings, or all those inside a fusion."""
        fused = self.fused(each)
        if fused is None:
            yield here, each
        else:
            for inner in fused.instructions.values():
                yield from self.parts(fused, inner)

    def loops(self, name: str | None = None) -> list[int | None]:
        """How often each loop runs, one within a loop after it; ``None`` if unknown."""
        here = self.computations[self.entry if name is None else name]
        found: list[int | None] = []
        for each in here.instructions.values():
            if each.op == "while":
                found.append(each.trips)
            if each.op in _CALLS:
                found += [n for called in each.called for n in self.loops(called)]
        return found


def parse(text: str) -> Module:
    """Parses HLO after scheduling, as a compiled program's ``as_text()``."""
    module = Module()
    tiled = ":T(" in text  # only then does a memory space mean a memory on the chip
    here = Computation()
    for line in text.splitlines():
        if head := _COMPUTATION.match(line):
            here = module.computations[head[2]] = Computation()
            module.entry = head[2] if head[1] else module.entry
        elif parts := _INSTRUCTION.match(line):
            root, name, results, op, inner, after = parts.groups()
            here.instructions[name] = Instruction(
                op,
                inner,
                results=tuple(arrays(results, tiled)),
                operands=tuple(_NAME.findall(inner)),
                called=tuple(_NAME.findall(" ".join(_CALLED.findall(after or "")))),
                attributes=after or "",
            )
            here.root = name if root else here.root
    return module


def arrays(text: str, tiled: bool = False) -> Iterator[Array]:
    """Arrays that a piece of HLO names, as ``(bf16[16]{0}, f32[2]{0})``."""
    for dtype, dimensions, layout in _ARRAY.findall(text):
        shape = tuple(map(int, filter(None, dimensions.split(","))))
        yield Array(dtype, shape, tiled and "S(" in layout)
