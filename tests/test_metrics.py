"""F1, decisions and challenge scores against scikit-learn and by hand."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.metrics import f1_score

from abaw_jax.metrics import (
    F1,
    Concordance,
    action_unit_decisions,
    challenge_scores,
    chance_scores,
    expression_decisions,
    expression_one_hot,
)
from abaw_jax.tasks import ACTION_UNITS, EXPRESSIONS

KEYS = ["va", "valence", "arousal", "expr", "au", "mtl"]


@pytest.fixture
def rng():
    return np.random.default_rng(3)


@pytest.fixture(params=[False, True], ids=["eager", "jit"])
def maybe_jit(request):
    return jax.jit if request.param else lambda function: function


def sklearn_f1(labels, predictions):
    return f1_score(labels, predictions, average=None, zero_division=0)


def draw_units(rng, rows=200):
    rates = np.linspace(0.02, 0.6, 12)
    labels = (rng.random((rows, 12)) < rates).astype(np.uint8)
    return np.where(rng.random((rows, 12)) < 0.2, 1 - labels, labels), labels


def test_f1_by_hand():
    # Column 0: TP 1, predicted 2, actual 3. Column 1: perfect. Column 2: predicted
    # but never there. Column 3: there but never predicted. Column 4: neither.
    predictions = [[1, 1, 1, 0, 0], [1, 0, 0, 0, 0], [0, 0, 0, 0, 0], [0, 1, 0, 0, 0]]
    labels = [[1, 1, 0, 1, 0], [0, 0, 0, 0, 0], [1, 0, 0, 0, 0], [1, 1, 0, 1, 0]]
    state = F1.from_batch(np.array(predictions), np.array(labels))
    np.testing.assert_array_equal(state.true_positive, [1, 2, 0, 0, 0])
    np.testing.assert_allclose(state.compute(), [2 / 5, 1, 0, 0, 0], rtol=1e-7)


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int32, np.float32])
def test_f1_of_units_equals_scikit_learn(rng, maybe_jit, dtype):
    predictions, labels = draw_units(rng)
    state = maybe_jit(F1.from_batch)(predictions.astype(dtype), labels.astype(dtype))
    expected = sklearn_f1(labels, predictions)
    np.testing.assert_allclose(state.compute(), expected, rtol=1e-6)


def test_f1_of_expressions_equals_scikit_learn(rng):
    # Class 7 is neither there nor predicted, class 6 is there only.
    classes, guesses = rng.integers(0, 7, 100), rng.integers(0, 6, 100)
    state = F1.from_batch(expression_one_hot(guesses), expression_one_hot(classes))
    expected = f1_score(
        classes, guesses, labels=range(8), average=None, zero_division=0
    )
    np.testing.assert_allclose(state.compute(), expected, rtol=1e-6)
    assert state.compute()[6:].tolist() == [0.0, 0.0]


def test_what_stands_under_false_is_not_counted(rng):
    predictions, labels = draw_units(rng)
    where = rng.random(labels.shape) < 0.6
    expected = [
        f1_score(labels[where[:, u], u], predictions[where[:, u], u], zero_division=0)
        for u in range(12)
    ]
    predictions = np.where(where, predictions, np.nan)
    labels = np.where(where, labels.astype(int), -1)
    state = F1.from_batch(predictions, labels, where=where)
    np.testing.assert_allclose(state.compute(), expected, rtol=1e-6)


def test_where_of_rows_equals_the_subset(rng):
    predictions, labels = draw_units(rng)
    where = rng.random(len(labels)) < 0.6
    state = F1.from_batch(predictions, labels, where=where)
    expected = sklearn_f1(labels[where], predictions[where])
    np.testing.assert_allclose(state.compute(), expected, rtol=1e-6)


@pytest.mark.parametrize("cuts", [[], [1], [0, 50], range(3, 200, 3)])
def test_merged_over_any_split_equals_one_shot(rng, cuts):
    predictions, labels = draw_units(rng)
    state = F1.empty(12)
    pieces = (np.split(array, list(cuts)) for array in (predictions, labels))
    for piece in zip(*pieces, strict=True):
        state = state.merge(F1.from_batch(*piece))
    one_shot = F1.from_batch(predictions, labels)
    assert jax.tree.all(jax.tree.map(jnp.array_equal, state, one_shot))


def test_f1_merges_under_scan_and_vmap(rng):
    predictions, labels = draw_units(rng)
    batches = (predictions.reshape(8, 25, 12), labels.reshape(8, 25, 12))

    def add(state, batch):
        return state.merge(F1.from_batch(*batch)), None

    scanned, _ = jax.lax.scan(add, F1.empty(12), batches)
    expected = sklearn_f1(labels, predictions)
    np.testing.assert_allclose(scanned.compute(), expected, rtol=1e-6)
    spread = jax.vmap(F1.from_batch)(*batches)
    summed = jax.tree.map(lambda counts: counts.sum(0), spread)
    np.testing.assert_allclose(summed.compute(), expected, rtol=1e-6)


def test_counts_are_exact_where_float32_and_int32_sums_are_not():
    state = F1(*(jnp.array([2**24], jnp.uint32) for _ in range(3)))
    more = state.merge(F1.from_batch([[1]], [[1]]))
    assert more.actual.tolist() == [2**24 + 1]
    vast = F1(*(jnp.array([2**31 - 1], jnp.uint32) for _ in range(3)))
    assert vast.compute().tolist() == [1.0]
    assert vast.merge(state).actual.tolist() == [2**31 - 1 + 2**24]
    full = functools.reduce(F1.merge, [vast] * 3)
    assert full.actual.tolist() == [2**32 - 1]


def test_moments_of_more_rows_than_int32_counts():
    """Merged with itself 32 times: the coefficient stays."""
    rows = jnp.array([[0.1], [0.5], [-0.7]]), jnp.array([[0.2], [0.4], [-0.5]])
    state = Concordance.from_batch(*rows)
    expected = state.compute()
    for _ in range(30):
        state = state.merge(state)
    assert state.count.tolist() == [3 * 2**30]
    np.testing.assert_allclose(state.compute(), expected, rtol=1e-6)


def test_an_empty_state_scores_zero_and_may_be_donated():
    np.testing.assert_array_equal(F1.empty(3).compute(), [0.0, 0.0, 0.0])
    update = jax.jit(lambda a, b: a.merge(b), donate_argnums=0)
    seen = update(F1.empty(1), F1.from_batch([[1]], [[1]]))
    assert seen.compute().tolist() == [1.0]


def test_shapes_that_disagree_are_refused():
    with pytest.raises(ValueError, match=r"predictions .*\(2, 3\).* labels .*\(2, 1\)"):
        F1.from_batch(jnp.ones((2, 3)), jnp.ones((2, 1)))
    with pytest.raises(ValueError, match=r"\(3,\) but the other has shape \(1,\)"):
        F1.empty(3).merge(F1.empty(1))


def test_expressions_one_hot():
    got = expression_one_hot(np.array([0, 7, -1, 8]))
    assert got.dtype == bool
    expected = np.zeros((4, 8), bool)
    expected[0, 0] = expected[1, 7] = True
    np.testing.assert_array_equal(got, expected)
    assert expression_one_hot(np.array([2]), num_classes=3).shape == (1, 3)


def test_decisions():
    logits = jnp.array([[0.1, -2.0, 0.0], [-1.0, -0.5, -3.0]])
    np.testing.assert_array_equal(
        expression_decisions(logits), [[True, False, False], [False, True, False]]
    )
    np.testing.assert_array_equal(
        action_unit_decisions(logits), [[True, False, False], [False, False, False]]
    )


def test_challenge_scores_by_hand():
    # Valence: means 2 and 3, CCC 8/13. Arousal: reversed, CCC -1.
    va = Concordance.from_batch(
        [[1.0, 1.0], [2.0, 2.0], [3.0, 3.0]], [[1.0, 3.0], [3.0, 2.0], [5.0, 1.0]]
    )
    # F1: class 0 has 2/3, class 1 has 1, class 2 has 0 (missed), the five others 0.
    expr = F1.from_batch(expression_one_hot([0, 0, 1]), expression_one_hot([0, 2, 1]))
    au = F1.from_batch(np.ones((4, 12)), np.eye(4, 12))
    scores = challenge_scores(va, expr, au)
    assert list(scores) == KEYS
    assert all(type(score) is float for score in scores.values())
    expected = {
        "va": (8 / 13 - 1) / 2,
        "valence": 8 / 13,
        "arousal": -1.0,
        "expr": (2 / 3 + 1) / 8,
        "au": 4 * 0.4 / 12,
    }
    expected["mtl"] = expected["va"] + expected["expr"] + expected["au"]
    for name, score in expected.items():
        assert scores[name] == pytest.approx(score, rel=1e-6)


def test_challenge_scores_of_nothing_are_zero():
    scores = challenge_scores(Concordance.empty(2), F1.empty(8), F1.empty(12))
    assert scores == dict.fromkeys(KEYS, 0.0)


def test_challenge_scores_need_valence_and_arousal():
    with pytest.raises(ValueError, match="valence and arousal"):
        challenge_scores(Concordance.empty(1), F1.empty(8), F1.empty(12))


def test_chance_is_what_the_best_blind_guess_reaches(rng):
    rows = 40_000
    frequencies = np.array([0.4, 0.05, 0.03, 0.02, 0.2, 0.17, 0.13, 0.0])
    classes = rng.choice(8, rows, p=frequencies)
    rates = np.linspace(0, 0.6, 12)
    units = (rng.random((rows, 12)) < rates).astype(np.uint8)
    chance = chance_scores(classes, None, units, None)
    assert list(chance) == KEYS
    assert (chance["va"], chance["valence"], chance["arousal"]) == (0.0, 0.0, 0.0)
    assert chance["mtl"] == pytest.approx(chance["expr"] + chance["au"])

    def macro(guesses):
        return f1_score(
            classes, guesses, labels=range(8), average="macro", zero_division=0
        )

    guesses = [np.full(rows, c) for c in range(8)]
    guesses += [rng.integers(0, 8, rows), rng.permutation(classes)]
    guesses += [rng.choice(8, rows, p=rng.dirichlet(np.ones(8))) for _ in range(5)]
    best = max(map(macro, guesses))
    # Sampling noise of a macro F1 over 40,000 rows is about 1e-3.
    assert chance["expr"] == pytest.approx(best, abs=3e-3)

    always_on = sklearn_f1(units, np.ones_like(units))
    assert chance["au"] == pytest.approx(always_on.mean(), abs=1e-6)
    for q in (0.0, 0.3, 0.5, 0.9, rates):
        guess = (rng.random(units.shape) < q).astype(int)
        assert (sklearn_f1(units, guess) <= always_on + 3e-3).all()


def test_chance_sees_labelled_rows_only(rng):
    classes, units = rng.integers(0, 8, 50), rng.integers(0, 2, (50, 12))
    rows, entries = rng.random(50) < 0.5, rng.random((50, 12)) < 0.5
    expected = np.mean(
        [
            f1_score(units[entries[:, u], u], np.ones(entries[:, u].sum()))
            for u in range(12)
        ]
    )
    got = chance_scores(
        np.where(rows, classes, -1), rows, np.where(entries, units, -1), entries
    )
    assert got["au"] == pytest.approx(expected)
    assert got["expr"] == 1 / len(EXPRESSIONS)


def test_chance_without_labels_is_zero():
    nowhere = np.zeros(5, bool)
    units = np.ones((5, len(ACTION_UNITS)))
    got = chance_scores(np.zeros(5, int), nowhere, units, nowhere)
    assert got == dict.fromkeys(KEYS, 0.0)
    assert chance_scores(np.zeros(5, int), None, units, None, num_classes=4)[
        "expr"
    ] == pytest.approx(0.25)


@pytest.mark.parametrize("scale", [1.0, 1e-3, 1e-4, 1e-6, 1e4])
def test_concordance_has_no_scale(scale):
    """With the loss's epsilon, 1e-4 gave .950 where .883 is right."""
    rng = np.random.default_rng(3)
    labels = rng.normal(size=(400, 1))
    predictions = 0.8 * labels + rng.normal(size=(400, 1)) * 0.3
    found = Concordance.from_batch(predictions * scale, labels * scale).compute()
    expected = 2 * np.cov(predictions[:, 0], labels[:, 0], bias=True)[0, 1]
    bias = predictions.mean() - labels.mean()
    expected /= predictions.var() + labels.var() + bias**2
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_concordance_of_constants():
    """0 where one side is constant or both differ, 1 where they are the same."""
    varying, constant = np.array([[0.1], [0.7]]), np.full((2, 1), 0.3)
    for one, other, expected in (
        (varying, constant, 0.0),
        (constant, varying, 0.0),
        (constant, constant + 0.1, 0.0),
        (constant, constant, 1.0),
    ):
        found = Concordance.from_batch(one, other).compute()
        np.testing.assert_allclose(found, expected, atol=1e-7)


@pytest.mark.parametrize("value", [-1.0, 2.0, np.nan])
def test_f1_refuses_labels_that_are_no_labels(value):
    labels = np.array([[1.0, value]])
    with pytest.raises(ValueError, match=r"labels holds .*; it must lie between 0 and"):
        F1.from_batch(np.ones((1, 2)), labels)
    where = np.array([[True, False]])
    counts = F1.from_batch(np.ones((1, 2)), labels, where=where)
    assert counts.actual.tolist() == [1, 0]


def test_classes_are_integers():
    with pytest.raises(ValueError, match="classes must be integers, got float32"):
        expression_one_hot(np.array([1.5], np.float32))
