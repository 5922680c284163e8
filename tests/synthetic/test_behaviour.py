import numpy as np
import pytest

from abaw_jax.synthetic.behaviour import EXPRESSION_SHARES, annotate, drift, perform
from abaw_jax.synthetic.voice import Voice
from abaw_jax.tasks import ACTION_UNITS, EXPRESSIONS

VOICE = Voice(pitch=120.0, tract=1.0, level=1.0, tempo=1.0, hiss=0.0)
FPS = 15


def play(seed: int = 0, cards: tuple[int, ...] = (0, 4, 5, 6, 1), count: int = 300):
    return perform(cards, VOICE, count=count, fps=FPS, rng=np.random.default_rng(seed))


def rate(performance, noise: float, seed: int = 1):
    rng = np.random.default_rng(seed)
    return annotate(performance, fps=FPS, noise=noise, rng=rng)


def test_drift_is_standard_normal_with_the_memory_asked_for() -> None:
    rng = np.random.default_rng(0)
    series = drift(rng, 200_000, seconds=0.5, fps=20)
    assert series.mean() == pytest.approx(0, abs=0.05)
    assert series.std() == pytest.approx(1, abs=0.05)
    lags = np.array([5, 10, 20, 40])
    seen = [np.mean(series[lag:] * series[:-lag]) for lag in lags]
    # Noise through (t exp(-t)) has the autocorrelation (1 + lag) exp(-lag).
    expected = (1 + lags / 10) * np.exp(-lags / 10)
    np.testing.assert_allclose(seen, expected, atol=0.06)


def test_the_deck_holds_every_expression() -> None:
    assert sorted(set(EXPRESSION_SHARES)) == list(range(len(EXPRESSIONS)))


def test_episodes_follow_the_cards() -> None:
    performance = play()
    order = performance.expression[np.flatnonzero(np.diff(performance.episode)) + 1]
    assert [performance.expression[0], *order] == [0, 4, 5, 6, 1]
    assert performance.strength.max() > 0.99
    assert performance.strength[[0, -1]].max() < 0.2


def test_the_same_state_gives_the_same_performance() -> None:
    first, again, other = play(3), play(3), play(4)
    np.testing.assert_array_equal(first.va, again.va)
    np.testing.assert_array_equal(first.motion.actions, again.motion.actions)
    assert not np.array_equal(first.va, other.va)


def test_affect_is_legal_varies_within_seconds_and_follows_the_expression() -> None:
    performances = [play(seed) for seed in range(20)]
    va = np.stack([performance.va for performance in performances])
    assert np.abs(va).max() <= 1
    within = va.std(axis=1).mean(axis=0)
    assert np.all(within > 0.15)
    assert np.abs(np.diff(va, axis=1)).max() < 0.2
    held = np.stack([p.strength > 0.9 for p in performances])
    joy = np.stack(
        [p.expression == EXPRESSIONS.index("Happiness") for p in performances]
    )
    gloom = np.stack(
        [p.expression == EXPRESSIONS.index("Sadness") for p in performances]
    )
    assert va[joy & held, 0].mean() > 0.3 > -0.3 > va[gloom & held, 0].mean()


@pytest.mark.parametrize(
    ("expression", "unit"),
    [
        ("Happiness", "AU12"),
        ("Anger", "AU4"),
        ("Surprise", "AU26"),
        ("Sadness", "AU15"),
    ],
)
def test_expressions_show_their_units(expression: str, unit: str) -> None:
    performance = play(cards=(EXPRESSIONS.index(expression), 0), count=120)
    shown = performance.motion.actions[:, ACTION_UNITS.index(unit)]
    assert shown[:55].max() > 0.45
    assert shown[:55].mean() > 2 * shown[65:].mean()


def test_perfect_raters_are_late_and_otherwise_right() -> None:
    performance = play()
    ratings = rate(performance, 0.0)
    np.testing.assert_allclose(ratings.va[3:], performance.va[:-3], atol=5.1e-4)
    np.testing.assert_array_equal(ratings.expr, performance.expression)


def test_noise_is_as_large_as_asked_for() -> None:
    errors, wrong, plain = [], [], []
    for seed in range(40):
        performance = play(seed)
        ratings = rate(performance, 0.1, seed)
        errors.append(ratings.va[3:] - performance.va[:-3])
        wrong.append(ratings.expr != performance.expression)
        plain.append(ratings.plain)
    assert np.std(errors) == pytest.approx(0.1, rel=0.1)
    assert np.mean(wrong) == pytest.approx(0.1 * 7 / 8, abs=0.02)
    assert 0.4 < np.mean(plain) < 0.7


def test_units_are_rated_zero_one_or_invalid_alone() -> None:
    au = np.concatenate([rate(play(seed), 0.1, seed).au for seed in range(20)])
    assert set(np.unique(au)) == {-1, 0, 1}
    invalid = (au == -1).sum(axis=1)
    assert invalid.max() < 12
    assert 0 < np.mean(invalid > 0) < 0.2
