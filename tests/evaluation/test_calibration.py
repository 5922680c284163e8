"""Reliability and expected calibration error against scikit-learn and by hand."""

import numpy as np
import pytest
from sklearn.calibration import calibration_curve

from abaw_jax.evaluation.calibration import reliability


def test_bins_are_those_of_scikit_learn():
    rng = np.random.default_rng(0)
    probabilities = rng.beta(0.5, 2, 5000)
    outcomes = rng.random(5000) < probabilities**2
    found = reliability(probabilities, outcomes)
    observed, predicted = calibration_curve(outcomes, probabilities, n_bins=10)
    filled = found.count > 0
    np.testing.assert_allclose(found.observed[filled], observed)
    np.testing.assert_allclose(found.predicted[filled], predicted)
    expected = (found.count[filled] * abs(observed - predicted)).sum() / 5000
    assert found.error == pytest.approx(expected)
    assert found.count.sum() == 5000


def test_the_error_of_a_case_by_hand():
    # (0, .5]: mean .2, none of two true; (.5, 1]: mean .8, two of three true.
    probabilities = np.array([0.1, 0.3, 0.7, 0.8, 0.9])
    outcomes = np.array([False, False, True, True, False])
    found = reliability(probabilities, outcomes, bins=2)
    assert found.count.tolist() == [2, 3]
    np.testing.assert_allclose(found.predicted, [0.2, 0.8])
    np.testing.assert_allclose(found.observed, [0, 2 / 3])
    assert found.error == pytest.approx((2 * 0.2 + 3 * (0.8 - 2 / 3)) / 5)


def test_certainty_that_is_right_has_no_error():
    found = reliability(np.array([0.0, 1.0, 1.0]), np.array([False, True, True]))
    assert found.error == 0 and found.count[[0, -1]].tolist() == [1, 2]


def test_nothing_predicted_has_no_error_to_tell():
    found = reliability(np.zeros(0), np.zeros(0, bool))
    assert np.isnan(found.error) and not found.count.any()


@pytest.mark.parametrize("value", [-0.01, 1.01, np.nan])
def test_what_is_no_probability_is_refused(value):
    with pytest.raises(ValueError, match="outside"):
        reliability(np.array([0.5, value]), np.array([True, True]))
