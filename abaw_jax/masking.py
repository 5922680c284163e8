"""Checks of shapes, and masks (``where``) of losses and metrics.

``where`` is True at entries to use. Selecting the result alone hides a NaN from the
value and not from the gradient, so callers replace what is under False *before*
computing and select again afterwards ("double where").
"""

import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.core import Tracer
from jax.typing import ArrayLike


def require_same_shape(rank: int, **arrays: Array) -> None:
    """Refuses arrays whose shapes differ or that do not have ``rank`` axes.

    Args:
      rank: number of axes each must have.
      **arrays: by their name in messages.

    Returns:
      None.

    Raises:
      ValueError: naming the first argument at fault, and both shapes if two differ.
    """
    (first, reference), *others = arrays.items()
    if reference.ndim != rank:
        raise ValueError(f"{first} has shape {reference.shape}; it needs {rank} axes.")
    for name, array in others:
        if array.shape != reference.shape:
            raise ValueError(
                f"{first} has shape {reference.shape} but {name} has shape "
                f"{array.shape}; they must agree, nothing is broadcast."
            )


def require_between(
    low: float, high: float, *, where: ArrayLike | None = None, **arrays: ArrayLike
) -> None:
    """Refuses values out of range, where they are known.

    A traced value is not known before its program runs: it is not checked.

    Args:
      low: smallest value.
      high: largest value.
      where: bool, of the rows or the whole shape; values under False may be anything.
      **arrays: by their name in messages.

    Returns:
      None.

    Raises:
      ValueError: naming the argument and the first value out of range; NaN is one.
    """
    for name, array in arrays.items():
        if isinstance(array, Tracer) or isinstance(where, Tracer):
            continue
        values = np.asarray(array, np.float64)
        used = np.asarray(expand_where(where, values.shape))
        wrong = values[used & ~((values >= low) & (values <= high))]
        if wrong.size:
            raise ValueError(
                f"{name} holds {wrong[0]:g}; it must lie between {low:g} and {high:g}, "
                "or be masked by where."
            )


def expand_where(where: ArrayLike | None, shape: tuple[int, ...]) -> Array:
    """Spreads a mask of rows, or of single entries, over an array's shape.

    Args:
      where: bool, ``[B]`` or the full ``shape``; ``None`` uses everything.
      shape: ``[B, ...]`` of the data.

    Returns:
      bool, of the full ``shape``.

    Raises:
      ValueError: if ``where`` is not boolean, or fits neither the rows nor the shape.

    Examples:
      >>> from abaw_jax.masking import expand_where
      >>> print(expand_where([True, False], (2, 3)))
      [[ True  True  True]
       [False False False]]
    """
    if where is None:
        return jnp.ones(shape, bool)
    where = jnp.asarray(where)
    if where.dtype != bool:
        raise ValueError(f"where must be boolean (True = use), got {where.dtype}.")
    if where.shape not in (shape, shape[:1]):
        fitting = " or ".join(dict.fromkeys((str(shape[:1]), str(shape))))
        raise ValueError(
            f"where has shape {where.shape} but the data {shape}; "
            f"it must have shape {fitting}."
        )
    trailing = (1,) * (len(shape) - where.ndim)
    return jnp.broadcast_to(where.reshape(where.shape + trailing), shape)


def require_classes_or_probabilities(logits: Array, labels: Array) -> None:
    """Refuses labels that are neither one class index a row nor one value a logit.

    Args:
      logits: ``[B, C]``.
      labels: to be int ``[B]`` or ``[B, C]``.

    Returns:
      None.

    Raises:
      ValueError: if they are neither.
    """
    if labels.ndim != 1:
        require_same_shape(2, logits=logits, labels=labels)
    elif logits.shape[:-1] != labels.shape:
        raise ValueError(
            f"logits has shape {logits.shape} but labels has shape {labels.shape}; "
            f"class indices need one entry per row of logits."
        )
    elif not jnp.issubdtype(labels.dtype, jnp.integer):
        raise ValueError(f"labels of one axis are class indices, got {labels.dtype}.")


def masked_sum_and_count(
    values: ArrayLike, where: ArrayLike | None = None
) -> tuple[Array, Array]:
    """Sum and number of the entries to use: a mean in two parts that can be merged.

    Args:
      values: real, of any shape with a leading axis ``[B, ...]``, or a scalar.
      where: bool, ``[B]`` or the shape of ``values``; ``None`` uses everything.

    Returns:
      The sum, float32 scalar, and the count, int32 scalar.

    Raises:
      ValueError: if ``where`` is not boolean or fits neither rows nor shape.

    Examples:
      >>> from abaw_jax.masking import masked_sum_and_count
      >>> total, count = masked_sum_and_count([3.0, float("nan")], [True, False])
      >>> print(total, count)
      3.0 1
    """
    values = jnp.asarray(values, jnp.float32)
    where = expand_where(where, values.shape)
    return jnp.where(where, values, 0.0).sum(), where.sum(dtype=jnp.int32)


def masked_mean(values: ArrayLike, where: ArrayLike | None = None) -> Array:
    """Mean of the entries to use; 0, with gradient 0, if there is none.

    Args:
      values: real, of any shape with a leading axis ``[B, ...]``, or a scalar.
      where: bool, ``[B]`` or the shape of ``values``; ``None`` uses everything.

    Returns:
      float32 scalar.

    Raises:
      ValueError: if ``where`` is not boolean or fits neither rows nor shape.

    Examples:
      >>> from abaw_jax.masking import masked_mean
      >>> print(masked_mean([1.0, 2.0, -5.0], [True, True, False]))
      1.5
    """
    total, count = masked_sum_and_count(values, where)
    return total / jnp.maximum(count, 1)
