"""Tunes action unit thresholds on training videos held out from training.

Rare units seldom reach a probability of one half, the official threshold. Other
thresholds are tuned on videos that are used neither for training nor for validation.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np
from scipy.special import expit

from abaw_jax.formulas import f1_of_counts
from abaw_jax.pipeline.windows import Samples
from abaw_jax.store.reader import Store
from abaw_jax.tasks import ACTION_UNITS, SETS


def held_out_videos(store: Store, share: float) -> frozenset[str]:
    """Names of the training videos to keep apart, the same ones in every run.

    No video with a validation label is among them: what is tuned on it would be scored
    on it. Of a share above 0 there is at least one.

    Args:
      store: the packed data.
      share: of the videos with training labels and without validation labels.

    Raises:
      ValueError: if ``share`` is not in ``[0, 1)``, or no video with action units
        could be kept apart and one be left to train on.
    """
    if not 0 <= share < 1:
        raise ValueError(
            f"config.evaluation.held_out is {share}; it is a share from 0 to below 1."
        )
    if share == 0:
        return frozenset()
    videos = sorted(_videos(store, "train") - _videos(store, "validation"))
    count = max(1, round(share * len(videos)))
    if count >= len(videos):
        raise ValueError(
            f"config.evaluation.held_out is {share}, but only {len(videos)} videos "
            "train without validating too; set it to 0 to tune no thresholds."
        )
    order = [videos[k] for k in np.random.default_rng(0).permutation(len(videos))]
    chosen, tuning = order[:count], _videos(store, "train", ("au",))
    if not tuning.intersection(chosen):
        first = next((video for video in order if video in tuning), None)
        if first is None:
            raise ValueError(
                f"config.evaluation.held_out is {share}, but no video that only trains "
                "has action units to tune thresholds on; set it to 0."
            )
        chosen[-1] = first
    return frozenset(chosen)


def _videos(store: Store, split: str, sets: Iterable[str] = SETS) -> set[str]:
    """Names of the videos with a label in this split of any of these sets."""
    labels = [store.labels(name, split).subject for name in sets]
    return {store.subjects[k].video for k in np.unique(np.concatenate(labels))}


def rows_of(store: Store, subject: np.ndarray, videos: frozenset[str]) -> np.ndarray:
    """True for rows of one of these videos, bool ``[N]``."""
    of_video = np.array([each.video in videos for each in store.subjects], bool)
    return of_video[subject]


def best_thresholds(logits: np.ndarray, samples: Samples) -> np.ndarray:
    """The logit from which on each unit counts as present, ``[12]``, by its F1.

    A unit without a positive label keeps the official threshold, 0.

    Args:
      logits: ``[N, 12]`` of held-out frames.
      samples: their labels.
    """
    found = np.zeros(len(ACTION_UNITS))
    for unit in range(len(ACTION_UNITS)):
        known = samples.au_where[:, unit]
        values, on = logits[known, unit], samples.au[known, unit] > 0
        if on.any():
            found[unit] = _best_threshold(values, on)
    return found


def score_with(
    thresholds: np.ndarray, logits: np.ndarray, samples: Samples
) -> dict[str, Any]:
    """Mean F1 of the action units with these thresholds, and what they are.

    Args:
      thresholds: ``[12]``, logits.
      logits: ``[N, 12]`` of validation frames.
      samples: their labels.
    """
    said = (logits >= thresholds) & samples.au_where
    on = (samples.au > 0) & samples.au_where
    f1 = f1_of_counts((said & on).sum(0), said.sum(0), on.sum(0))
    probabilities = dict(zip(ACTION_UNITS, expit(thresholds).tolist(), strict=True))
    return {"au": float(f1.mean()), "thresholds": probabilities}


def _best_threshold(values: np.ndarray, on: np.ndarray) -> float:
    """Halfway between the last value marked present and the next, where F1 is best."""
    order = np.argsort(-values, kind="stable")
    ordered = values[order]
    hits, said = np.cumsum(on[order]), np.arange(1, len(on) + 1)
    f1 = f1_of_counts(hits, said, on.sum())
    # Equal values are marked together.
    last_of_equals = np.append(np.diff(ordered) != 0, True)
    best = int(np.argmax(np.where(last_of_equals, f1, -1)))
    below = ordered[best + 1] if best + 1 < len(ordered) else ordered[best] - 2
    return float((ordered[best] + below) / 2)
