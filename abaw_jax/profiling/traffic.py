"""Counts the bytes that a compiled program moves to and from a device's large memory.

XLA's own count adds up what every operation reads and writes, wherever it lies, and has
none for GPUs. On a TPU much of it never leaves the chip: what has a memory space in its
layout, as ``bf16[256,512]{1,0:T(8,128)(2,1)S(1)}``, lies in vector memory, and the
compiler copies what is used again there ahead of time. On a GPU every array lies in the
large memory: a kernel reads each operand and writes each result once, whatever its
caches keep.
"""

from functools import partial

from abaw_jax.profiling.hlo import Array, Computation, Instruction, Module

# Which of the results is the copy; others name the source again, and a flag.
_COPIES = {"copy-start": 0, "slice-start": 1}
# Their results name the operands again, before what they give.
_TWICE = {"all-gather-start", "collective-permute-start"}
# Of their first operand they read as much as they give.
_PARTS = {"gather", "dynamic-slice", "slice"}
# Change a part of their first operand in place: the operand that is this part.
_IN_PLACE = {"dynamic-update-slice": 1, "scatter": 2}
_SCRATCH = ('custom_call_target="__cublas', 'custom_call_target="__cudnn')


def hbm_bytes(module: Module) -> int:
    """Sums them over a program; the body of a loop once, as XLA counts."""
    return sum(_moved(module, here, each) for here, each in module.executed())


def given(each: Instruction) -> tuple[Array, ...]:
    """What an instruction gives, without a library's scratch memory."""
    if each.op in _TWICE:
        return each.results[len(each.results) // 2 :]
    if len(each.results) > 1 and any(name in each.attributes for name in _SCRATCH):
        return each.results[:-1]
    return each.results


def _moved(module: Module, here: Computation, each: Instruction) -> int:
    taken = [here.instructions[operand].results for operand in each.operands]
    if each.op in _COPIES:
        target = each.results[_COPIES[each.op]]
        return target.size * ((not taken[0][0].on_chip) + (not target.on_chip))
    fused = module.fused(each)
    if fused is not None:
        written = _written(fused, fused.instructions[fused.root])
        read = partial(_read_inside, fused)
    else:
        written, read = _written(here, each), partial(_read, here, each)
    moved = sum(
        size for size, to in zip(written, given(each), strict=False) if not to.on_chip
    )
    for position, operand in enumerate(taken):
        size = sum(array.size for array in operand if not array.on_chip)
        moved += min(size, read(position, size))
    return moved


def _read(here: Computation, each: Instruction, position: int, size: int) -> int:
    """Bytes that an operation reads of an operand."""
    if position == 0 and each.op in _PARTS:
        return sum(array.size for array in each.results)
    if position == 0 and each.op == "scatter":
        return sum(_written(here, each))
    return 0 if position == 0 and each.op == "dynamic-update-slice" else size


def _read_inside(fused: Computation, position: int, size: int) -> int:
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
                    total += _read(fused, each, position, size)
    return total


def _written(here: Computation, each: Instruction) -> list[int]:
    """Bytes of each result that are new; an update in place writes its part."""
    parts = [here.instructions.get(name) for name in each.operands]
    if each.op == "tuple":
        return [size for part in parts if part for size in _written(here, part)]
    if each.op == "bitcast" and parts[0]:
        return _written(here, parts[0])
    changed = parts[_IN_PLACE[each.op]] if each.op in _IN_PLACE else None
    if changed:
        return [sum(array.size for array in changed.results)]
    return [array.size for array in given(each)]
