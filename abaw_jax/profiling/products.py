"""Counts the floating-point operations of the products in a compiled program.

These are matrix products and convolutions, of the compiler or of cuBLAS and cuDNN. A
convolution counts only the places that lie inside its input.
"""

import math
import re

import numpy as np

from abaw_jax.profiling.hlo import Array, Computation, Instruction, Module

_LABELS = re.compile(r"dim_labels=(\w+)_(\w+)->(\w+)")
_WINDOW = re.compile(r"window=\{(.*?)\}")
_CONTRACTED = re.compile(
    r'(?:lhs_contracting_dims=\{|"lhs_contracting_dimensions":\[)([^\]}]*)'
)


def executed_flops(module: Module) -> int:
    """Twice the multiplications; the body of a loop once, as XLA counts."""
    return sum(
        _flops(inside, part)
        for here, each in module.executed()
        for inside, part in module.parts(here, each)
    )


def _flops(here: Computation, each: Instruction) -> int:
    labels = _LABELS.search(each.attributes)
    if each.op == "convolution" or (each.op == "custom-call" and labels):
        return _convolution(here, each)
    if each.op == "dot" or (each.op == "custom-call" and "__cublas" in each.attributes):
        return _product(here, each)
    return 0


def _product(here: Computation, each: Instruction) -> int:
    left = here.instructions[each.operands[0]].results[0].shape
    contracted = _CONTRACTED.search(each.attributes)
    axes = re.findall(r"\d+", contracted[1] if contracted else "")
    depth = math.prod(left[int(axis)] for axis in axes)
    return 2 * depth * math.prod(each.results[0].shape)


def _convolution(here: Computation, each: Instruction) -> int:
    image, kernel, output = _roles(here, each)
    labels = _LABELS.search(each.attributes)
    assert labels is not None
    of_image, of_kernel, of_output = labels.groups()
    window = _WINDOW.search(each.attributes)
    steps = dict(part.split("=") for part in window[1].split()) if window else {}
    places = 1
    for axis in map(str, range(sum(label.isdigit() for label in of_output))):
        places *= _places(
            image.shape[of_image.index(axis)],
            kernel.shape[of_kernel.index(axis)],
            output.shape[of_output.index(axis)],
            {name: value.split("x")[int(axis)] for name, value in steps.items()},
        )
    return (
        2
        * places
        * kernel.shape[of_kernel.index("i")]
        * output.shape[of_output.index("b")]
        * output.shape[of_output.index("f")]
    )


def _roles(here: Computation, each: Instruction) -> tuple[Array, Array, Array]:
    """Input, kernel and output of a convolution, or of the one it is a gradient of."""
    first, second = (here.instructions[name].results[0] for name in each.operands[:2])
    result = each.results[0]
    if "__cudnn$convBackwardInput" in each.attributes:
        return result, second, first
    if "__cudnn$convBackwardFilter" in each.attributes:
        return first, result, second
    return first, second, result


def _places(length: int, taps: int, outputs: int, step: dict[str, str]) -> int:
    """Pairs of an output and a tap that meet an element of the input, on one axis."""
    stride, hole = int(step.get("stride", 1)), int(step.get("rhs_dilate", 1))
    spread = int(step.get("lhs_dilate", 1))
    before = int(re.split(r"(?<=\d)_", step.get("pad", "0_0"))[0])
    few, many = sorted(((taps, hole), (outputs, stride)))
    along = np.arange(many[0]) * many[1] - before
    last = (length - 1) * spread
    return sum(
        int(np.sum((at >= 0) & (at <= last) & (at % spread == 0)))
        for at in (along + number * few[1] for number in range(few[0]))
    )
