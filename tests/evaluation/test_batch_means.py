"""Batch means against scikit-learn batch by batch, and what they do to a score."""

import numpy as np
import pytest
from sklearn.metrics import f1_score

from abaw_jax.evaluation.batch_means import Labelled, batch_mean_scores
from abaw_jax.metrics import F1

RATES = np.array([118, 50, 154, 266, 397, 345, 245, 28, 31, 26, 627, 74]) / 1000
"""Of the action units in the training set."""


def make_tasks(rows=203, seed=0):
    rng = np.random.default_rng(seed)
    va = rng.uniform(-1, 1, (rows, 2))
    expr = rng.choice(8, rows, p=[0.4, 0.02, 0.02, 0.02, 0.2, 0.1, 0.04, 0.2])
    said = np.where(rng.random(rows) < 0.6, expr, rng.integers(0, 8, rows))
    au = (rng.random((rows, 12)) < np.linspace(0.02, 0.6, 12)).astype(float)
    on = np.where(rng.random(au.shape) < 0.85, au, 0.0)
    return (
        Labelled(0.6 * va + rng.normal(0, 0.3, va.shape), va),
        Labelled(np.eye(8)[said], np.eye(8)[expr]),
        Labelled(on, au),
    )


@pytest.mark.parametrize("zero_division", [0.0, 1.0])
@pytest.mark.parametrize("batch_size", [8, 50, 1000])
def test_scores_are_means_of_scikit_learns(batch_size, zero_division):
    va, expr, au = make_tasks()
    found = batch_mean_scores(
        va, expr, au, batch_size=batch_size, zero_division=zero_division
    )
    expected = {"expr": [], "au": [], "valence": []}
    for start in range(0, 203, batch_size):
        rows = slice(start, start + batch_size)
        classes = [each[rows].argmax(1) for each in (expr.labels, expr.predictions)]
        expected["expr"].append(f1_score(*classes, average="macro", zero_division=1))
        expected["au"].append(
            f1_score(
                au.labels[rows],
                au.predictions[rows],
                average="macro",
                zero_division=zero_division,
            )
        )
        x, y = va.predictions[rows, 0], va.labels[rows, 0]
        ccc = 2 * np.cov(x, y, bias=True)[0, 1]
        expected["valence"].append(
            ccc / (x.var() + y.var() + (x.mean() - y.mean()) ** 2)
        )
    for key, values in expected.items():
        assert found[key] == pytest.approx(np.mean(values), abs=1e-12)
    assert found["mtl"] == pytest.approx(found["va"] + found["expr"] + found["au"])


def test_small_batches_flatter_rare_units_and_punish_the_rest():
    """Units as rare as in Aff-Wild2, and a detector that misses most of them."""
    va, expr, _ = make_tasks(rows=8000)
    rng = np.random.default_rng(1)
    au = (rng.random((8000, 12)) < RATES).astype(float)
    detected = au * (rng.random(au.shape) < 0.35)
    tasks = (va, expr, Labelled(detected, au))
    small, large = (
        batch_mean_scores(*tasks, batch_size=size) for size in (8, len(tasks[0][0]))
    )
    official = np.asarray(F1.from_batch(*tasks[2]).compute()).mean()
    assert large["au"] == pytest.approx(official, abs=1e-6)
    assert small["au"] > large["au"] + 0.05
    assert small["va"] < large["va"]


def test_a_constant_batch_agrees_with_nothing():
    flat = np.zeros((6, 2))
    tasks = make_tasks(rows=6)
    scores = batch_mean_scores(Labelled(flat, flat), *tasks[1:], batch_size=3)
    assert scores["va"] == 0


def test_a_batch_needs_a_row():
    with pytest.raises(ValueError, match="batch_size is 0"):
        batch_mean_scores(*make_tasks(), batch_size=0)


def test_a_task_without_rows_scores_nothing():
    va, _, au = make_tasks(rows=9)
    none = Labelled(np.zeros((0, 8)), np.zeros((0, 8)))
    scores = batch_mean_scores(va, none, au, batch_size=4)
    assert scores["expr"] == 0 and scores["mtl"] == scores["va"] + scores["au"]
