"""Selects the labelled rows that train, and weighs the labels of rare classes."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from ml_collections import ConfigDict

from abaw_jax.pipeline.windows import Samples
from abaw_jax.tasks import ACTION_UNITS, EXPRESSIONS, TASKS
from abaw_jax.training.curriculum import LossSettings


def only_complete(samples: Mapping[str, Samples], wanted: bool) -> dict[str, Samples]:
    """Rows in which every label of their set is known, as the authors' code wants them.

    Like there, a row of valence or arousal -1 is taken for an unlabelled one.

    Args:
      samples: by set.
      wanted: otherwise all rows stay.
    """
    if not wanted:
        return {**samples}
    return {name: each.take(_is_complete(name, each)) for name, each in samples.items()}


def balanced(
    losses: LossSettings, samples: Mapping[str, Samples], train: ConfigDict
) -> LossSettings:
    """The settings with the label weights that ``train`` asks for.

    ``class_weights``: inversely proportional to how often a class is labelled, with a
    mean of 1 over labelled rows. ``unit_weights``: labels of 0 for each label of 1.

    Args:
      losses: of a member.
      samples: the training rows by set.
      train: its two switches decide.
    """
    if train.class_weights:
        labels = [each.expr[each.expr_where] for each in samples.values()]
        counts = np.bincount(np.concatenate(labels), minlength=len(EXPRESSIONS))
        present = np.maximum(np.count_nonzero(counts), 1)
        weights = counts.sum() / (present * np.maximum(counts, 1))
        losses = replace(losses, expressions=tuple(weights.tolist()))
    if train.unit_weights:
        on, known = np.zeros(len(ACTION_UNITS)), np.zeros(len(ACTION_UNITS))
        for each in samples.values():
            on += ((each.au > 0) & each.au_where).sum(0)
            known += each.au_where.sum(0)
        weights = (known - on) / np.maximum(on, 1)
        losses = replace(losses, action_units=tuple(weights.tolist()))
    return losses


def _is_complete(name: str, samples: Samples) -> np.ndarray:
    known = {
        "va": samples.va_where & (samples.va != -1).all(axis=1),
        "expr": samples.expr_where,
        "au": samples.au_where.all(axis=1),
    }
    asked = TASKS if name == "mtl" else (name,)
    return np.logical_and.reduce([known[task] for task in asked])
