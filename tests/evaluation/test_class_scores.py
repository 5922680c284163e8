"""Scores of single classes against scikit-learn."""

import numpy as np
import pytest
from scipy.special import expit, softmax
from sklearn.metrics import confusion_matrix, f1_score

from abaw_jax.evaluation.calibration import reliability
from abaw_jax.evaluation.class_scores import (
    confusion,
    expression_scores,
    unit_scores,
)
from abaw_jax.tasks import ACTION_UNITS, EXPRESSIONS
from tests.support.made_up_scores import make_outputs, make_samples


@pytest.fixture
def scored():
    """Labels of 400 frames, a fifth unknown; no Fear, never AU2, AU4 unknown."""
    samples = make_samples(np.repeat(np.arange(8), 50), seed=1)
    samples.expr[samples.expr == EXPRESSIONS.index("Fear")] = 0
    samples.au[:, 1] = 0
    samples.au_where[:, 2] = False
    return samples, make_outputs(samples, seed=2)


def test_confusion_is_that_of_scikit_learn(scored):
    samples, outputs = scored
    guess, where = outputs["expr"].argmax(-1), samples.expr_where
    expected = confusion_matrix(samples.expr[where], guess[where], labels=range(8))
    found = confusion(guess, samples.expr, where)
    np.testing.assert_array_equal(found, expected)
    assert where.sum() < len(where) and not found[EXPRESSIONS.index("Fear")].any()


def test_expressions_one_by_one(scored):
    samples, outputs = scored
    where = samples.expr_where
    labels, guess = samples.expr[where], outputs["expr"].argmax(-1)[where]
    said = softmax(outputs["expr"][where], axis=-1)
    found = expression_scores(outputs["expr"], samples)
    assert [each.name for each in found] == [*EXPRESSIONS]
    for k, each in enumerate(found):
        truth, marked = labels == k, guess == k
        assert each.labelled == where.sum()
        assert each.present == truth.sum() and each.predicted == marked.sum()
        assert each.right == (truth & marked).sum()
        error = reliability(said[:, k], truth).error
        assert each.calibration_error == pytest.approx(error, abs=1e-6)
        assert np.isnan(each.best_threshold)
    assert found[EXPRESSIONS.index("Fear")].prevalence == 0


def test_no_threshold_beats_the_best_one(scored):
    samples, outputs = scored
    found = unit_scores(outputs["au"], samples)
    assert [each.name for each in found] == [*ACTION_UNITS]
    for k, each in enumerate(found):
        known = samples.au_where[:, k]
        truth, logits = samples.au[known, k] > 0, outputs["au"][known, k]
        assert (each.labelled, each.present) == (known.sum(), truth.sum())
        if not truth.any():
            assert np.isnan(each.best_threshold) and np.isnan(each.best_f1)
            continue
        tried = [
            f1_score(truth, logits >= value, zero_division=0) for value in set(logits)
        ]
        assert each.best_f1 == pytest.approx(max(tried))
        at_best = f1_score(truth, expit(logits) >= each.best_threshold)
        assert at_best == pytest.approx(each.best_f1)
    assert np.isnan(found[2].prevalence) and np.isnan(found[2].calibration_error)
    assert found[1].prevalence == 0 and found[1].calibration_error > 0
