"""Calibration: whether what is predicted with probability p is true in a share p."""

from typing import NamedTuple

import numpy as np

BINS = 10


class Reliability(NamedTuple):
    """Predictions in bins of equal width over their probability.

    Attributes:
      count: int ``[B]``, predictions of each bin.
      predicted: ``[B]``, their mean probability; NaN for an empty bin.
      observed: ``[B]``, the share of them that is true; NaN for an empty bin.
    """

    count: np.ndarray
    predicted: np.ndarray
    observed: np.ndarray

    @property
    def error(self) -> float:
        """Expected calibration error, in ``[0, 1]``; NaN without a prediction."""
        if not self.count.any():
            return float("nan")
        gaps = np.nan_to_num(np.abs(self.predicted - self.observed))
        return float((self.count * gaps).sum() / self.count.sum())


def reliability(
    probabilities: np.ndarray, outcomes: np.ndarray, *, bins: int = BINS
) -> Reliability:
    """Sorts predictions into bins ``(0, 1/B], (1/B, 2/B], …``.

    Args:
      probabilities: ``[N]`` in ``[0, 1]``.
      outcomes: bool ``[N]``, whether that which is predicted is true.
      bins: their number B.

    Raises:
      ValueError: if a probability is outside ``[0, 1]`` or no number.

    References:
      Guo, Pleiss, Sun and Weinberger, *On calibration of modern neural networks*, 2017.
    """
    values = np.asarray(probabilities, np.float64)
    if not ((values >= 0) & (values <= 1)).all():
        raise ValueError("A probability is outside [0, 1] or not a number.")
    inner = np.linspace(0, 1, bins + 1)[1:-1]
    which = np.searchsorted(inner, values)
    count = np.bincount(which, minlength=bins)
    sums = [np.bincount(which, each, minlength=bins) for each in (values, outcomes)]
    filled = np.where(count > 0, count, np.nan)
    return Reliability(count, sums[0] / filled, sums[1] / filled)
