"""Gamma, delta, best epoch and patience, by hand."""

import json
import math

import numpy as np
import pytest

from abaw_jax.training.curriculum import (
    LossSettings,
    Progress,
    advance,
    chunk_weights,
    gammas,
)


def after(*epochs):
    """Progress after epochs of (score, va, expr, au)."""
    progress = Progress()
    for score, va, expr, au in epochs:
        progress = advance(progress, score, {"va": va, "expr": expr, "au": au})
    return progress


def test_gamma_grows_with_epochs_since_the_tasks_own_best():
    progress = after((1, 0.2, 0.5, 0.1), (1, 0.3, 0.4, 0.1), (1, 0.1, 0.4, 0.2))
    assert progress.stale == {"va": 1, "expr": 2, "au": 0}
    expected = {"va": math.exp(0.5), "expr": math.e, "au": 1.0}
    assert gammas(LossSettings(), progress) == pytest.approx(expected)


def test_an_equal_score_is_no_new_best():
    assert after((1, 0.2, 0, 0), (1, 0.2, 0, 0)).stale["va"] == 1


def test_a_new_best_is_over_all_epochs_not_the_last():
    progress = after((1, 0.5, 0, 0), (1, 0.1, 0, 0), (1, 0.4, 0, 0))
    assert progress.stale["va"] == 2


def test_gamma_is_capped():
    progress = after(*[(1, -epoch, 0, 0) for epoch in range(12)])
    assert progress.stale["va"] == 11
    assert gammas(LossSettings(), progress)["va"] == pytest.approx(math.exp(2.5))
    assert gammas(LossSettings(gamma_rate=0.0), progress)["va"] == 1.0


def test_before_the_first_epoch_every_gamma_is_one():
    assert gammas(LossSettings(), Progress()) == {"va": 1.0, "expr": 1.0, "au": 1.0}


def test_best_epoch_and_patience():
    progress = after((0.5, 0, 0, 0), (0.7, 0, 0, 0), (0.7, 0, 0, 0), (0.6, 0, 0, 0))
    assert (progress.best_epoch, progress.best_score) == (2, 0.7)
    assert progress.stale_epochs() == 2


def test_negative_scores_still_have_a_best():
    assert after((-0.5, 0, 0, 0), (-0.2, 0, 0, 0)).best_epoch == 2


def test_progress_survives_json():
    for progress in (Progress(), after((0.1 + 0.2, 1 / 3, 0.5, 0.1))):
        text = json.dumps(progress.to_json(), allow_nan=False)
        assert Progress.from_json(json.loads(text)) == progress


def test_delta_ramps_linearly_per_round_from_zero():
    settings = LossSettings(discriminator=(0.0, 1.0))
    parts = [
        chunk_weights(settings, Progress(), first_round=i, rounds=5, total_rounds=20)
        for i in (0, 5, 10, 15)
    ]
    ramp = np.concatenate([part.discriminator for part in parts])
    np.testing.assert_allclose(ramp, np.arange(20) / 20, rtol=1e-6)


def test_delta_may_be_constant():
    weights = chunk_weights(
        LossSettings(discriminator=(0.5, 0.5)),
        Progress(),
        first_round=7,
        rounds=3,
        total_rounds=20,
    )
    np.testing.assert_array_equal(weights.discriminator, [0.5, 0.5, 0.5])
    np.testing.assert_array_equal(weights.supervised, [10, 10, 10])
