"""Statistics and dropout of a whole batch whose rows are split over devices.

Where each device runs a network on its own rows (`jax.shard_map`), statistics and the
draws of dropout are still those of the whole batch, so that training does not depend on
the number of devices. The type of an array has the axis over which it is split.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import Array, lax


def varying_axis_name(x: Array) -> str | None:
    """Mesh axis over which ``x`` is split; None where it is whole.

    What `flax.linen.BatchNorm` wants as ``axis_name``.
    """
    (axis,) = jax.typeof(x).manual_axis_type.varying or (None,)
    return axis


def mean_over_devices(tree: Any) -> Any:
    """Means of arrays that devices have of their rows; whole arrays stay as they are.

    Of parameters, which are the same everywhere, it gives what is known to be so.
    """
    axis = varying_axis_name(jax.tree.leaves(tree)[0])
    return tree if axis is None else lax.pmean(tree, axis)


def drop(dropout: nn.Dropout, x: Array) -> Array:
    """Applies ``dropout`` to ``x [B, ...]``, drawn for the whole batch."""
    if varying_axis_name(x) is None:
        return dropout(x)
    return x * draw_rows(lambda b: dropout(jnp.ones((b, *x.shape[1:]), x.dtype)), x)


def draw_rows(draw: Callable[[int], Array], x: Array) -> Array:
    """The rows of ``x`` out of ``draw(B)``, random numbers of the whole batch of B."""
    axis, rows = varying_axis_name(x), len(x)
    if axis is None:
        return draw(rows)
    whole = draw(rows * lax.axis_size(axis))
    return lax.dynamic_slice_in_dim(whole, rows * lax.axis_index(axis), rows)
