"""The concordance state: one-shot against float64, merged against one-shot."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from abaw_jax.concordance import Accumulator, Concordance


def ccc(predictions, labels):
    """By moments in float64, per column."""
    p, y = np.float64(predictions), np.float64(labels)
    covariance = ((p - p.mean(0)) * (y - y.mean(0))).mean(0)
    return 2 * covariance / (p.var(0) + y.var(0) + (p.mean(0) - y.mean(0)) ** 2)


def draw(rows, *, offset=0.2, seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.normal(offset, 0.3, (rows, 2))
    predictions = 0.5 * labels + 0.7 * offset + rng.normal(0, 0.2, (rows, 2))
    return predictions.astype(np.float32), labels.astype(np.float32)


def merged(pieces):
    state = Concordance.empty(2)
    for predictions, labels, where in pieces:
        batch = Concordance.from_batch(predictions, labels, where=where)
        state = state.merge(batch)
    return state


@pytest.mark.parametrize("offset", [0.0, 0.2, 100.0])
def test_one_shot_equals_float64(offset):
    predictions, labels = draw(5000, offset=offset)
    got = Concordance.from_batch(predictions, labels).compute()
    np.testing.assert_allclose(got, ccc(predictions, labels), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("cuts", [[], [1], [0, 2], [500, 501, 502], range(7, 1000, 7)])
def test_merged_over_any_split_equals_one_shot(cuts):
    predictions, labels = draw(1000)
    where = np.random.default_rng(1).random((1000, 2)) < 0.7
    predictions[~where] = np.nan
    one_shot = Concordance.from_batch(predictions, labels, where=where)
    pieces = zip(
        *(np.split(array, list(cuts)) for array in (predictions, labels, where)),
        strict=True,
    )
    got = merged(pieces)
    np.testing.assert_array_equal(got.count, where.sum(0))
    np.testing.assert_allclose(got.compute(), one_shot.compute(), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("offset", [0.2, 10.0])
def test_a_hundred_thousand_merges_lose_nothing(offset):
    # One float32 per moment, in place of two, is 1e-5 off here.
    predictions, labels = draw(100_000, offset=offset)

    def add_row(state, row):
        return state.merge(Concordance.from_batch(*row)), None

    rows = (predictions[:, None], labels[:, None])
    state, _ = jax.lax.scan(add_row, Concordance.empty(2), rows)
    expected = ccc(predictions, labels)
    np.testing.assert_allclose(state.compute(), expected, rtol=1e-6, atol=1e-6)


def test_merging_does_not_depend_on_order_or_grouping():
    predictions, labels = draw(300)
    a, b, c = (
        Concordance.from_batch(predictions[i::3] + i, labels[i::3]) for i in range(3)
    )
    expected = a.merge(b).merge(c).compute()
    for other in (c.merge(a).merge(b), a.merge(b.merge(c)), c.merge(b).merge(a)):
        np.testing.assert_allclose(other.compute(), expected, rtol=1e-6, atol=1e-6)


def test_empty_is_neutral_and_scores_zero():
    predictions, labels = draw(50)
    empty, state = Concordance.empty(2), Concordance.from_batch(predictions, labels)
    np.testing.assert_array_equal(empty.compute(), [0.0, 0.0])
    nothing = empty.merge(empty)
    for both in (empty.merge(state), state.merge(empty), nothing.merge(state)):
        np.testing.assert_array_equal(both.compute(), state.compute())


def test_two_single_rows_become_evidence_together():
    predictions, labels = draw(2)
    first = Concordance.from_batch(predictions[:1], labels[:1])
    second = Concordance.from_batch(predictions[1:], labels[1:])
    np.testing.assert_array_equal(first.compute(), [0.0, 0.0])
    got = first.merge(second).compute()
    np.testing.assert_allclose(got, ccc(predictions, labels), rtol=0, atol=1e-6)


def test_vmap_keeps_runs_apart():
    runs = [draw(64, seed=seed) for seed in range(3)]
    predictions, labels = (np.stack(each) for each in zip(*runs, strict=True))
    states = jax.vmap(Concordance.from_batch)(predictions, labels)
    halves = [
        jax.vmap(Concordance.from_batch)(predictions[:, part], labels[:, part])
        for part in (slice(None, 32), slice(32, None))
    ]
    together = halves[0].merge(halves[1])
    for k, (one, other) in enumerate(runs):
        np.testing.assert_allclose(states.compute()[k], ccc(one, other), rtol=1e-6)
        np.testing.assert_allclose(together.compute()[k], ccc(one, other), rtol=1e-6)


def test_a_state_may_be_donated():
    predictions, labels = draw(8)
    update = jax.jit(
        lambda state, p, y: state.merge(Concordance.from_batch(p, y)),
        donate_argnums=0,
    )
    state = Concordance.empty(2)
    for _ in range(3):
        state = update(state, predictions, labels)
    np.testing.assert_array_equal(state.count, [24, 24])
    np.testing.assert_allclose(state.compute(), ccc(predictions, labels), rtol=1e-6)


def test_rows_are_counted_beyond_float32():
    state = dataclasses.replace(
        Concordance.empty(1), count=jnp.array([2**24], jnp.uint32)
    )
    one = Concordance.from_batch([[0.0]], [[0.0]])
    assert state.merge(one).count.tolist() == [2**24 + 1]


def test_states_of_different_columns_do_not_merge():
    with pytest.raises(ValueError, match=r"\(2,\) but the other has shape \(1,\)"):
        Concordance.empty(2).merge(Concordance.empty(1))


def test_accumulator_keeps_what_float32_drops():
    total = Accumulator.of(jnp.float32(1.0)).add(jnp.float32(1e-9), jnp.float32(1e-9))
    assert total.high == 1.0
    np.testing.assert_allclose(total.low, 2e-9, rtol=1e-6)
    difference = total.minus(Accumulator.of(jnp.float32(1.0)))
    np.testing.assert_allclose(difference, 2e-9, rtol=1e-6)
