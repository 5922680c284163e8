"""The videos that cost a set the most of its official score."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from abaw_jax.evaluation.intervals import VideoSums, score_resamples

_ROUNDING = 1e-6


class VideoScore(NamedTuple):
    """What a network makes of one video.

    Attributes:
      video: its name.
      frames: labelled frames of the set.
      affect_error: root mean squared error of valence and arousal; NaN without labels.
      expressions_right: share of its frames with the right expression, or NaN.
      units_f1: F1 over all units together; NaN where none is labelled or predicted.
      without: the set's score without this video; NaN if it is the only one.
      rise: that less the score with it.
    """

    video: str
    frames: int
    affect_error: float
    expressions_right: float
    units_f1: float
    without: float
    rise: float


def worst_videos(
    names: Sequence[str], video: np.ndarray, sums: VideoSums, key: str, *, most: int = 5
) -> list[VideoScore]:
    """Videos without which the set's score is higher, those that cost most first.

    A score of one video alone orders badly: CCC and F1 are undefined or random where
    its labels hardly vary, and the shortest videos come first.

    Args:
      names: of the V videos.
      video: int ``[N]``, index of each frame's video.
      sums: of the set.
      key: of the score, as in `intervals.jackknife_interval`.
      most: at most so many.

    Returns:
      The videos; the only one of a set is listed whatever its score.
    """
    count = len(names)
    weights = np.concatenate([np.ones((1, count)), 1 - np.eye(count)])
    scores = score_resamples(sums, weights)[key]
    without = scores[1:] if count > 1 else np.full(1, np.nan)
    rise = without - scores[0]
    frames = np.bincount(video, minlength=count)
    columns = (frames, _affect_error(sums), *_shares(sums), without, rise)
    order = np.argsort(-rise, kind="stable")[:most]
    return [
        VideoScore(names[k], *(each[k].item() for each in columns))
        for k in map(int, order)
        if count == 1 or rise[k] > _ROUNDING
    ]


def _affect_error(sums: VideoSums) -> np.ndarray:
    """Root mean squared error of both dimensions by video, ``[V]``."""
    rows, _, _, xx, yy, xy = np.moveaxis(sums.affect.sum(1), -1, 0)
    return np.sqrt(np.maximum(_ratio(xx + yy - 2 * xy, rows), 0.0))


def _shares(sums: VideoSums) -> tuple[np.ndarray, np.ndarray]:
    """Share of right expressions and F1 of all units together by video, ``[V]``."""
    right, _, actual = np.moveaxis(sums.expressions.sum(1), -1, 0)
    both, predicted, present = np.moveaxis(sums.action_units.sum(1), -1, 0)
    return _ratio(right, actual), _ratio(2 * both, predicted + present)


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return part / np.where(whole > 0, whole, np.nan)
