"""Counts the floating-point operations that a network needs, from its equations.

What a program executes may be more (padding, recomputation) or, where the compiler
finds zeros, less. This count depends on neither compiler nor platform.
"""

import math
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend import core


def count_flops(function: Callable[..., Any], *arguments: Any) -> int:
    """Twice the multiplications of all matrix products and convolutions.

    Args:
      function: what is counted; traced, not run.
      *arguments: arrays or shapes.
    """
    return sum(map(_flops, _products(jax.make_jaxpr(function)(*arguments).jaxpr)))


def _products(jaxpr: core.Jaxpr) -> Iterator[Any]:
    """Equations that multiply, as often as they run."""
    for equation in jaxpr.eqns:
        params = equation.params
        if equation.primitive.name in ("dot_general", "conv_general_dilated"):
            yield equation
        elif equation.primitive.name == "cond":
            # Forms of one operation by platform: the leanest is what is needed.
            forms = [list(_products(each.jaxpr)) for each in params["branches"]]
            yield from min(forms, key=lambda form: sum(map(_flops, form)))
        else:
            inner = [
                getattr(each, "jaxpr", each)
                for each in params.values()
                if hasattr(each, "eqns") or hasattr(each, "jaxpr")
            ]
            for _ in range(params.get("length", 1) if inner else 0):
                for each in inner:
                    yield from _products(each)


def _flops(equation: Any) -> int:
    left, right = (each.aval.shape for each in equation.invars[:2])
    dimensions = equation.params["dimension_numbers"]
    if equation.primitive.name == "dot_general":
        (contracted, _), _ = dimensions
        depth = math.prod(left[axis] for axis in contracted)
    else:
        depth = math.prod(right) // right[dimensions.rhs_spec[0]]
    return 2 * depth * math.prod(equation.outvars[0].aval.shape)


def count_activations(function: Callable[..., Any], *arguments: Any) -> int:
    """Bytes of the results of all matrix products and convolutions.

    Args:
      function: as in `count_flops`.
      *arguments: as there.
    """
    return sum(
        tree_bytes([each.aval for each in equation.outvars])
        for equation in _products(jax.make_jaxpr(function)(*arguments).jaxpr)
    )


def tree_bytes(tree: Any) -> int:
    """Bytes of all leaves of a tree of arrays or shapes."""
    leaves = jax.tree.leaves(tree)
    return sum(
        math.prod(leaf.shape) * np.dtype(leaf.dtype).itemsize
        for leaf in leaves
        if not jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
    )
