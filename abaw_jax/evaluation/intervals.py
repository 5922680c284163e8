"""Confidence intervals over seeds, over paired runs, and over videos of one run."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.special import stdtrit

from abaw_jax.formulas import concordance, f1_of_counts

LEVEL = 0.95
"""Coverage of every interval of the project."""
FEWEST_VIDEOS = 10
"""With fewer, no interval of a run is given: see `jackknife_interval`."""


class Interval(NamedTuple):
    """A mean and the bounds of its interval, which are NaN for a single value."""

    mean: float
    low: float
    high: float

    @property
    def half_width(self) -> float:
        """Half of the interval's length."""
        return (self.high - self.low) / 2

    @property
    def plain(self) -> list[float | None]:
        """The three numbers for JSON, which has no word for NaN."""
        return [None if math.isnan(each) else each for each in self]

    @property
    def verdict(self) -> str:
        """Verdict on a difference with this interval."""
        if self.low > 0:
            return "better"
        return "worse" if self.high < 0 else "undecided"


def mean_interval(values: Sequence[float]) -> Interval:
    """Mean of independent runs with Student's interval.

    Args:
      values: one per seed; pairs' differences for a paired comparison.

    Returns:
      The interval of the mean; with one value the bounds are NaN.
    """
    found = np.asarray(values, np.float64)
    mean = float(found.mean())
    if len(found) < 2:
        return Interval(mean, np.nan, np.nan)
    error = found.std(ddof=1) / np.sqrt(len(found))
    reach = float(stdtrit(len(found) - 1, (1 + LEVEL) / 2) * error)
    return Interval(mean, mean - reach, mean + reach)


@dataclass(frozen=True)
class VideoSums:
    """Sufficient statistics of one network's scores, per video.

    Attributes:
      affect: ``[V, 2, 6]`` of valence and arousal: rows, sums of prediction and label,
        of their squares and of their product, about the mean label.
      expressions: ``[V, 8, 3]``, rows both predicted and actual, predicted, actual.
      action_units: ``[V, 12, 3]``, the same.
    """

    affect: np.ndarray
    expressions: np.ndarray
    action_units: np.ndarray


def sum_by_video(
    video: np.ndarray,
    *,
    va: tuple[np.ndarray, np.ndarray, np.ndarray],
    expressions: tuple[np.ndarray, np.ndarray, np.ndarray],
    action_units: tuple[np.ndarray, np.ndarray, np.ndarray],
) -> VideoSums:
    """Reduces every frame to what the scores of a resample need.

    Args:
      video: int ``[N]``, index of each frame's video.
      va: predictions ``[N, 2]``, labels ``[N, 2]``, and whether they hold, ``[N]``.
      expressions: decisions and labels bool ``[N, 8]``, and whether they hold ``[N]``.
      action_units: the same ``[N, 12]``, with ``[N, 12]``.
    """
    predicted, actual, holds = va
    centre = actual[holds].mean(0) if holds.any() else 0.0  # or squares cancel
    x, y = (np.float64(each) - centre for each in (predicted, actual))
    moments = np.stack([np.ones_like(x), x, y, x * x, y * y, x * y], axis=-1)
    weight = holds[:, None, None]
    return VideoSums(
        _by_video(video, np.where(weight, moments, 0.0)),
        _by_video(video, _hits(*expressions[:2], expressions[2][:, None])),
        _by_video(video, _hits(*action_units)),
    )


def jackknife_interval(
    sums: VideoSums, *, versus: VideoSums | None = None
) -> dict[str, Interval]:
    r"""Intervals of the official scores, from leaving one video out at a time.

    Videos, not frames, are the independent pieces of evidence. With the score
    :math:`\theta`, the scores :math:`\theta_i` without video i and their mean
    :math:`\bar\theta`, the interval is the jackknife's

    .. math::
      V \theta - (V - 1) \bar\theta \pm t_\nu
        \sqrt{\tfrac{V - 1}{V} \sum_i d_i^2}, \quad
      d_i = \theta_i - \bar\theta, \quad
      \nu = \tfrac32 \frac{(\sum_i d_i^2)^2}{\sum_i d_i^4} - 1 \le V - 1.

    Its centre is corrected for bias: macro F1 is lower in few videos than in many. Its
    degrees of freedom count the videos that the variance rests on, which are few for a
    rare class. A percentile bootstrap, which does neither, covers the expected score of
    20 videos in .67 of the cases for expressions; this one in .94
    (``python -m tests.benchmarks.coverage``).

    Args:
      sums: of one network.
      versus: of another on the same frames; the intervals are then of the difference.

    Returns:
      By score: ``valence``, ``arousal``, ``va``, ``expr``, ``au``, ``mtl``; the mean is
      the score of the data themselves. With fewer than `FEWEST_VIDEOS` the bounds are
      NaN.

    References:
      Efron and Stein, *The jackknife estimate of variance*, 1981.
    """
    videos = len(sums.affect)
    counts = np.concatenate([np.ones((1, videos)), 1 - np.eye(videos)])
    scores = score_resamples(sums, counts)
    if versus is not None:
        other = score_resamples(versus, counts)
        scores = {key: values - other[key] for key, values in scores.items()}
    return {key: _jackknife(each[0], each[1:]) for key, each in scores.items()}


def _jackknife(score: np.float64, without: np.ndarray) -> Interval:
    """The interval of `jackknife_interval` from the scores without each video."""
    videos, mean = len(without), without.mean()
    if videos < FEWEST_VIDEOS:
        return Interval(float(score), np.nan, np.nan)
    squares = (without - mean) ** 2
    if not squares.any():
        return Interval(float(score), float(score), float(score))
    error = np.sqrt((videos - 1) / videos * squares.sum())
    freedom = 1.5 * squares.sum() ** 2 / (squares**2).sum() - 1
    reach = stdtrit(np.clip(freedom, 1, videos - 1), (1 + LEVEL) / 2) * error
    centre = videos * score - (videos - 1) * mean
    return Interval(float(score), float(centre - reach), float(centre + reach))


def _hits(predicted: np.ndarray, actual: np.ndarray, holds: np.ndarray) -> np.ndarray:
    each = np.stack([predicted & actual, predicted, actual], axis=-1)
    return np.where(holds[..., None], each, False).astype(np.float64)


def _by_video(video: np.ndarray, values: np.ndarray) -> np.ndarray:
    order = np.argsort(video, kind="stable")
    starts = np.flatnonzero(np.diff(video[order], prepend=-1))
    return np.add.reduceat(values[order], starts, axis=0)


def score_resamples(sums: VideoSums, counts: np.ndarray) -> dict[str, np.ndarray]:
    """Official scores of each row of ``counts`` ``[S, V]``, ``[S]`` each."""

    def weigh(values: np.ndarray) -> np.ndarray:
        return np.tensordot(counts, values, axes=1)

    concordance = _concordance(weigh(sums.affect))
    expr, au = (_mean_f1(weigh(e)) for e in (sums.expressions, sums.action_units))
    va = concordance.mean(-1)
    valence, arousal = concordance.T
    named = {"valence": valence, "arousal": arousal, "va": va, "expr": expr, "au": au}
    return named | {"mtl": va + expr + au}


def _concordance(moments: np.ndarray) -> np.ndarray:
    rows, x, y, xx, yy, xy = np.moveaxis(moments, -1, 0)
    n = np.maximum(rows, 1)
    mean_x, mean_y = x / n, y / n
    covariance = xy / n - mean_x * mean_y
    variances = np.maximum(xx / n - mean_x**2 + yy / n - mean_y**2, 0.0)
    found = concordance(covariance, variances, mean_x - mean_y)
    return np.where(rows >= 2, found, 0.0)


def _mean_f1(counts: np.ndarray) -> np.ndarray:
    return f1_of_counts(*np.moveaxis(counts, -1, 0)).mean(-1)
