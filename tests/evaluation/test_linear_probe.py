"""The linear probe against models fitted by hand, and what it does with few labels."""

import jax
import numpy as np
import pytest
from sklearn.metrics import f1_score

from abaw_jax.evaluation.linear_probe import linear_probe
from abaw_jax.pipeline.windows import Samples

WIDTH = 6


def make_samples(seed, rows=400, people=10, noise=0.5):
    """People whose features give their labels linearly, up to noise.

    ``image_rows`` holds the features themselves, so that a sample carries its own.
    """
    rng = np.random.default_rng(seed)
    weights = np.random.default_rng(99).normal(size=(WIDTH, 22))
    x = rng.normal(size=(rows, WIDTH)).astype(np.float32)
    signals = x @ weights + noise * rng.normal(size=(rows, 22))
    return Samples(
        subject=np.arange(rows, dtype=np.int32) % people,
        image_rows=x,
        sound_end=np.zeros(rows, np.int64),
        va=np.tanh(0.3 * signals[:, :2]).astype(np.float32),
        va_where=np.ones(rows, bool),
        expr=signals[:, 2:10].argmax(1).astype(np.int32),
        expr_where=np.ones(rows, bool),
        au=(signals[:, 10:] > 0).astype(np.uint8),
        au_where=np.ones((rows, 12), bool),
    )


def features(samples):
    return samples.image_rows


def ccc(x, y):
    covariance = np.mean((x - x.mean()) * (y - y.mean()))
    return 2 * covariance / (x.var() + y.var() + (x.mean() - y.mean()) ** 2)


def test_it_finds_what_is_linear_and_is_scored_officially():
    train, validation = make_samples(0), make_samples(1)
    found = linear_probe({"mtl": train}, {"mtl": validation}, features)
    assert found["valence"] > 0.8 and found["arousal"] > 0.8
    assert found["expr"] > 0.6 and found["au"] > 0.75
    assert found["mtl"] == pytest.approx(found["va"] + found["expr"] + found["au"])
    # Ordinary least squares, of which a little ridge is a neighbour.
    x = np.c_[train.image_rows, np.ones(len(train))]
    solution = np.linalg.lstsq(x, train.va, rcond=None)[0]
    guess = np.c_[validation.image_rows, np.ones(len(validation))] @ solution
    expected = ccc(guess[:, 0].clip(-1, 1), validation.va[:, 0])
    assert found["valence"] == pytest.approx(expected, abs=0.03)


def test_without_signal_it_stands_at_chance():
    train, validation = make_samples(0, noise=100), make_samples(1, noise=100)
    found = linear_probe({"mtl": train}, {"mtl": validation}, features)
    assert abs(found["va"]) < 0.1 and found["expr"] < 0.25


def test_the_rows_of_a_task_come_from_all_sets():
    """Half of the labels of expressions are in a set of their own."""
    whole = make_samples(0)
    expr = whole.take(np.arange(0, 400, 2))
    mtl = whole.take(np.arange(1, 400, 2))
    validation = {"expr": make_samples(1)}
    both = linear_probe({"expr": expr, "mtl": mtl}, validation, features)
    once = linear_probe({"mtl": whole}, validation, features)
    assert both["expr"] == pytest.approx(once["expr"], abs=0.05)
    assert set(both) == {"expr"}


def test_a_task_that_nobody_labels_is_a_guess():
    none = make_samples(0, rows=0)
    validation = make_samples(1, rows=60)
    found = linear_probe({"va": none, "mtl": none}, {"mtl": validation}, features)
    assert found["va"] == found["au"] == 0 and found["expr"] < 0.2


def test_labels_that_are_missing_or_all_alike_are_no_error():
    train = make_samples(0, rows=40)
    train.va_where[:] = False
    train.expr[:] = 3
    train.au[:, 0] = 1
    train.au[:, 1] = 0
    validation = make_samples(1, rows=60)
    found = linear_probe({"mtl": train}, {"mtl": validation}, features)
    assert found["va"] == 0
    labels = np.eye(8)[validation.expr]
    guess = np.eye(8)[np.full(60, 3)]
    expected = f1_score(labels, guess, average="macro", zero_division=0)
    assert found["expr"] == pytest.approx(expected)


def test_sets_of_any_size_are_scored_by_one_program(caplog):
    """Step by step, three sets took 11 s of a first run of 44 s, all compilation."""
    train = {"mtl": make_samples(0)}
    validation = {
        name: make_samples(seed, rows=rows)
        for seed, (name, rows) in enumerate((("va", 61), ("expr", 67), ("mtl", 71)))
    }
    with jax.log_compiles():
        linear_probe(train, validation, features)
    said = [each.getMessage() for each in caplog.records]
    assert sum(each.startswith("Compiling ") for each in said) == 1
