"""Scores as means over shuffled mini-batches, as in the authors' code.

Not comparable with the official measures of `abaw_jax.metrics`, which look at a whole
data set: over small batches rare units score higher and concordance lower. Here to tell
how much of a published table comes from that.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from abaw_jax.formulas import concordance, f1_of_counts


class Labelled(NamedTuple):
    """Decisions or values of one task beside the labels, both ``[N, C]``.

    Attributes:
      predictions: values, or decisions 0/1; expressions one-hot.
      labels: in the same form.
    """

    predictions: ArrayLike
    labels: ArrayLike


def batch_mean_scores(
    va: Labelled,
    expressions: Labelled,
    action_units: Labelled,
    *,
    batch_size: int,
    zero_division: float = 1.0,
) -> dict[str, float]:
    """Means over mini-batches of each batch's scores.

    Per batch: population CCC without an epsilon, 0 where neither side varies; F1 of the
    expressions that occur in the batch, as label or as prediction; F1 of every unit.

    Args:
      va: valence and arousal of fully labelled rows, ``[N, 2]``; shuffled, for batches
        are taken as the rows stand.
      expressions: ``[N, 8]`` of the same rows, or of others.
      action_units: ``[N, 12]``.
      batch_size: rows of a batch; the last may have fewer.
      zero_division: F1 of a unit neither present nor predicted; 1 in the authors' code.

    Returns:
      ``valence``, ``arousal``, ``va``, ``expr``, ``au`` and ``mtl``, their sum; 0 for a
      task without rows.

    Raises:
      ValueError: if ``batch_size`` is below 1.

    Examples:
      >>> import numpy as np
      >>> from abaw_jax.evaluation.batch_means import Labelled, batch_mean_scores
      >>> right = Labelled(np.eye(4), np.eye(4))
      >>> never = Labelled(np.zeros((4, 1)), np.eye(4)[:, :1])
      >>> scores = batch_mean_scores(right, right, never, batch_size=1)
      >>> print(scores["au"])  # of a unit never predicted; officially 0
      0.75

    References:
      The authors' code, 2022: ``f1_score`` of scikit-learn with ``zero_division=1``.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size is {batch_size}, not at least 1.")
    concordance = _mean([_ccc(x, y) for x, y in _batches(va, batch_size)])
    pairs = _batches(expressions, batch_size)
    expr = _mean([_macro_f1(x, y) for x, y in pairs])[0]
    pairs = _batches(action_units, batch_size)
    units = _mean([_f1(x, y, zero_division) for x, y in pairs])
    au, both = float(units.mean()), float(concordance.mean())
    return {
        "valence": float(concordance[0]),
        "arousal": float(concordance[-1]),
        "va": both,
        "expr": float(expr),
        "au": au,
        "mtl": float(both + expr + au),
    }


def _batches(task: Labelled, size: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    x, y = (np.asarray(each, np.float64) for each in task)
    for start in range(0, len(x), size):
        yield x[start : start + size], y[start : start + size]


def _mean(scores: list[np.ndarray]) -> np.ndarray:
    return np.mean(scores, axis=0) if scores else np.zeros(1)


def _ccc(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    covariance = ((x - x.mean(0)) * (y - y.mean(0))).mean(0)
    variances, bias = x.var(0) + y.var(0), x.mean(0) - y.mean(0)
    return np.where(variances > 0, concordance(covariance, variances, bias), 0.0)


def _macro_f1(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    occurring = (x + y).any(axis=0)
    return _f1(x, y, 0.0)[occurring].mean(keepdims=True)


def _f1(x: np.ndarray, y: np.ndarray, zero_division: float) -> np.ndarray:
    counts = (x * y).sum(0), x.sum(0), y.sum(0)
    return f1_of_counts(*counts, zero_division=zero_division)
