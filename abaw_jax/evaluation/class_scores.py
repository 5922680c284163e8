"""Expressions and action units one by one: confusion, prevalence, thresholds."""

from typing import NamedTuple

import numpy as np
from scipy.special import expit, softmax

from abaw_jax.evaluation.calibration import reliability
from abaw_jax.evaluation.thresholds import best_thresholds
from abaw_jax.formulas import f1_of_counts
from abaw_jax.pipeline.windows import Samples
from abaw_jax.tasks import ACTION_UNITS, EXPRESSIONS

_NAN = float("nan")


class ClassScore(NamedTuple):
    """How one class is predicted on its labelled frames.

    Attributes:
      name: of the expression or action unit.
      labelled: frames where it is known whether it holds.
      present: frames where it holds.
      predicted: frames where it is predicted.
      right: frames where it is predicted and holds.
      calibration_error: of its probability; NaN without a labelled frame.
      best_threshold: probability above which its F1 is highest on these very frames;
        NaN for expressions, where the most probable class wins, and for a unit that
        never holds.
      best_f1: F1 there, or NaN.
    """

    name: str
    labelled: int
    present: int
    predicted: int
    right: int
    calibration_error: float
    best_threshold: float = _NAN
    best_f1: float = _NAN

    @property
    def prevalence(self) -> float:
        """Share of the labelled frames where it holds; NaN without any."""
        return self.present / self.labelled if self.labelled else _NAN


def confusion(
    predictions: np.ndarray, labels: np.ndarray, where: np.ndarray
) -> np.ndarray:
    """Counts of frames by expression and by what it was taken for.

    Args:
      predictions: int ``[N]``, classes.
      labels: int ``[N]``, classes.
      where: bool ``[N]``, True at labelled frames.

    Returns:
      int64 ``[8, 8]``, a row per label, a column per prediction.
    """
    where = np.asarray(where, bool)
    counts = np.zeros((len(EXPRESSIONS), len(EXPRESSIONS)), np.int64)
    np.add.at(counts, (np.asarray(labels)[where], np.asarray(predictions)[where]), 1)
    return counts


def expression_scores(logits: np.ndarray, samples: Samples) -> list[ClassScore]:
    """Every expression.

    Args:
      logits: ``[N, 8]``, finite where there is a label.
      samples: their labels.
    """
    counts = confusion(logits.argmax(-1), samples.expr, samples.expr_where)
    labels = samples.expr[samples.expr_where]
    probabilities = softmax(logits[samples.expr_where].astype(np.float64), axis=-1)
    return [
        ClassScore(
            name,
            labelled=len(labels),
            present=int(counts[k].sum()),
            predicted=int(counts[:, k].sum()),
            right=int(counts[k, k]),
            calibration_error=reliability(probabilities[:, k], labels == k).error,
        )
        for k, name in enumerate(EXPRESSIONS)
    ]


def unit_scores(logits: np.ndarray, samples: Samples) -> list[ClassScore]:
    """Every action unit.

    Args:
      logits: ``[N, 12]``, finite where there is a label.
      samples: their labels.
    """
    best = best_thresholds(logits, samples)
    return [
        _unit_score(name, logits[known, k], samples.au[known, k] > 0, best[k])
        for k, name in enumerate(ACTION_UNITS)
        for known in [samples.au_where[:, k]]
    ]


def _unit_score(
    name: str, logits: np.ndarray, on: np.ndarray, best: float
) -> ClassScore:
    said, tuned = logits > 0, logits >= best
    counts = (tuned & on).sum(), tuned.sum(), on.sum()
    ever = bool(on.any())
    return ClassScore(
        name,
        labelled=len(on),
        present=int(on.sum()),
        predicted=int(said.sum()),
        right=int((said & on).sum()),
        calibration_error=reliability(expit(np.float64(logits)), on).error,
        best_threshold=float(expit(best)) if ever else _NAN,
        best_f1=float(f1_of_counts(*counts)) if ever else _NAN,
    )
