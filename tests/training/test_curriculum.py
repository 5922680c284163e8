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
        chunk_weights(
            settings,
            Progress(),
            first_round=i,
            rounds=5,
            rounds_per_epoch=10,
            epochs=2,
        )
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
        rounds_per_epoch=10,
        epochs=2,
    )
    np.testing.assert_array_equal(weights.discriminator, [0.5, 0.5, 0.5])
    np.testing.assert_array_equal(weights.supervised, [10, 10, 10])


def weights_of(settings, *, first_round, rounds, progress=None):
    return chunk_weights(
        settings,
        progress or Progress(),
        first_round=first_round,
        rounds=rounds,
        rounds_per_epoch=4,
        epochs=5,
    )


def test_the_authors_ramp_is_constant_within_an_epoch_and_ends_at_one():
    weights = weights_of(LossSettings(ramp="epoch"), first_round=0, rounds=20)
    expected = np.repeat([0.2, 0.4, 0.6, 0.8, 1.0], 4)
    np.testing.assert_allclose(weights.discriminator, expected, rtol=1e-6)


def test_the_ramp_of_ganin_is_a_sigmoid_from_zero():
    weights = weights_of(LossSettings(ramp="ganin"), first_round=0, rounds=20)
    share = np.arange(20) / 20
    expected = 2 / (1 + np.exp(-10 * share)) - 1
    np.testing.assert_allclose(weights.discriminator, expected, rtol=1e-6, atol=1e-7)


def test_delta_may_scale_the_reversed_gradient_instead_of_the_loss():
    weights = weights_of(LossSettings(reversal=True), first_round=10, rounds=2)
    np.testing.assert_allclose(weights.reversal, [0.5, 0.55], rtol=1e-6)
    np.testing.assert_array_equal(weights.discriminator, [1, 1])
    weights = weights_of(LossSettings(), first_round=10, rounds=2)
    np.testing.assert_array_equal(weights.reversal, [1, 1])


def test_log2_counts_from_two_epochs_on_and_is_kept_after_a_new_best():
    """Scores of one task against the weights that the code of Deng et al. would use."""
    settings = LossSettings(gamma_rule="log2", gamma_cap=None)
    progress, weights = Progress(), []
    for score in (0.5, 0.1, 0.1, 0.1, 0.6, 0.1):
        progress = advance(progress, 1, {"va": score, "expr": score, "au": score})
        weights.append(gammas(settings, progress)["va"])
    # n = 0, 1, 2, 3, 0, 1
    assert weights == pytest.approx([1, 1, 1, math.log2(3), math.log2(3), math.log2(3)])


def test_normalised_gammas_sum_to_one():
    progress = after((1, 0.2, 0.5, 0.1), (1, 0.3, 0.4, 0.1), (1, 0.1, 0.4, 0.2))
    weights = gammas(LossSettings(gamma_normalised=True), progress)
    total = math.exp(0.5) + math.e + 1
    assert weights == pytest.approx(
        {"va": math.exp(0.5) / total, "expr": math.e / total, "au": 1 / total}
    )


def test_without_a_rule_every_gamma_is_one_however_stale_a_task():
    progress = after(*[(1, -epoch, 0, 0) for epoch in range(12)])
    weights = gammas(LossSettings(gamma_rule="none"), progress)
    assert weights == {"va": 1.0, "expr": 1.0, "au": 1.0}
    uncapped = gammas(LossSettings(gamma_cap=None), progress)
    assert uncapped["va"] == pytest.approx(math.exp(5.5))


@pytest.mark.parametrize("field, choices", [("ramp", "round"), ("gamma_rule", "log2")])
def test_an_unknown_rule_is_reported_with_the_known_ones(field, choices):
    with pytest.raises(ValueError, match=f"loss.{field} is 'linear'.*{choices}"):
        LossSettings(**{field: "linear"})


def test_weights_of_labels_reach_every_round():
    settings = LossSettings(expressions=tuple(range(8)), action_units=(2.0,) * 12)
    weights = weights_of(settings, first_round=0, rounds=3)
    np.testing.assert_array_equal(weights.expressions, np.tile(np.arange(8), (3, 1)))
    np.testing.assert_array_equal(weights.action_units, np.full((3, 12), 2))
