"""Complete rows and label weights, against hand counts and scikit-learn."""

from types import SimpleNamespace

import numpy as np
import pytest
from sklearn.utils.class_weight import compute_class_weight

from abaw_jax.experiment.class_weights import balanced, only_complete
from abaw_jax.pipeline.windows import Samples
from abaw_jax.training.curriculum import LossSettings

NONE = SimpleNamespace(class_weights=False, unit_weights=False)


def make_samples(rows=40, seed=0):
    rng = np.random.default_rng(seed)
    return Samples(
        subject=np.arange(rows, dtype=np.int32),
        image_rows=np.zeros((rows, 2), np.int32),
        sound_end=np.zeros(rows, np.int64),
        va=rng.uniform(-0.9, 1, (rows, 2)).astype(np.float32),
        va_where=rng.random(rows) < 0.7,
        expr=rng.choice([0, 0, 0, 4, 6], rows).astype(np.int32),
        expr_where=rng.random(rows) < 0.7,
        au=(rng.random((rows, 12)) < 0.2).astype(np.uint8),
        au_where=rng.random((rows, 12)) < 0.9,
    )


def test_incomplete_rows_are_kept_unless_asked_for():
    samples = {"au": make_samples()}
    assert len(only_complete(samples, False)["au"]) == 40


def test_a_single_set_asks_for_its_own_labels_and_the_joint_one_for_all():
    samples = make_samples()
    units = samples.au_where.all(axis=1)
    expected = {
        "va": samples.va_where,
        "expr": samples.expr_where,
        "au": units,
        "mtl": samples.va_where & samples.expr_where & units,
    }
    assert 0 < expected["mtl"].sum() < expected["au"].sum() < 40
    found = only_complete(dict.fromkeys(expected, samples), True)
    for name, rows in expected.items():
        np.testing.assert_array_equal(found[name].subject, np.flatnonzero(rows))


def test_a_valence_of_minus_one_counts_as_missing_like_in_the_authors_code():
    samples = make_samples()
    samples.va_where[:] = True
    samples.va[5, 1] = -1
    found = only_complete({"va": samples}, True)["va"].subject
    assert 5 not in found and len(found) == 39


def test_labels_weigh_the_same_by_default():
    losses = LossSettings()
    assert balanced(losses, {"expr": make_samples()}, NONE) == losses


def test_class_weights_are_scikit_learns():
    samples = {"expr": make_samples(), "mtl": make_samples(seed=1)}
    labels = np.concatenate([s.expr[s.expr_where] for s in samples.values()])
    present = np.unique(labels)
    expected = compute_class_weight("balanced", classes=present, y=labels)
    train = SimpleNamespace(class_weights=True, unit_weights=False)
    weights = np.array(balanced(LossSettings(), samples, train).expressions)
    np.testing.assert_allclose(weights[present], expected)
    assert np.average(weights[labels]) == pytest.approx(1)


def test_unit_weights_are_negatives_for_each_positive():
    samples = make_samples()
    train = SimpleNamespace(class_weights=False, unit_weights=True)
    weights = balanced(LossSettings(), {"au": samples}, train).action_units
    for unit in range(12):
        labels = samples.au[samples.au_where[:, unit], unit]
        assert weights[unit] == pytest.approx((labels == 0).sum() / labels.sum())
