"""Intervals against SciPy, scikit-learn, simulation and plain concatenation."""

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import f1_score

from abaw_jax.evaluation.intervals import (
    FEWEST_VIDEOS,
    Interval,
    jackknife_interval,
    mean_interval,
    sum_by_video,
)
from abaw_jax.metrics import Concordance
from tests.benchmarks import coverage


def test_the_interval_is_students():
    values = [0.3, 0.5, 0.45, 0.38, 0.41]
    expected = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    found = mean_interval(values)
    assert found.mean == pytest.approx(np.mean(values))
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))


def test_it_covers_the_truth_as_often_as_it_says():
    rng = np.random.default_rng(0)
    found = [mean_interval(rng.normal(2.0, 1.0, 5)) for _ in range(2000)]
    covered = np.mean([each.low < 2.0 < each.high for each in found])
    assert 0.935 < covered < 0.965


def test_one_run_has_no_interval():
    found = mean_interval([0.4])
    assert found.mean == 0.4 and np.isnan(found.half_width)
    assert found.verdict == "undecided"


@pytest.mark.parametrize(
    "low, high, verdict",
    [(0.1, 0.2, "better"), (-0.2, -0.1, "worse"), (-0.1, 0.1, "undecided")],
)
def test_a_verdict_needs_an_interval_on_one_side_of_zero(low, high, verdict):
    assert Interval((low + high) / 2, low, high).verdict == verdict


def make_frames(seed=0, videos=9):
    """Frames of videos of uneven length, labels partly missing, a useful predictor."""
    rng = np.random.default_rng(seed)
    video = np.repeat(np.arange(videos), rng.integers(5, 60, videos))
    n = len(video)
    order = rng.permutation(n)  # frames of a video need not stand together
    video = video[order]
    va = rng.uniform(-1, 1, (n, 2)) + 0.3 * video[:, None] / videos
    expr, au = rng.integers(0, 8, n), rng.random((n, 12)) < 0.2
    said = np.where(rng.random(n) < 0.5, expr, rng.integers(0, 8, n))
    return video, {
        "va": (va + rng.normal(0, 0.5, va.shape), va, rng.random(n) < 0.8),
        "expressions": (
            np.eye(8, dtype=bool)[said],
            np.eye(8, dtype=bool)[expr],
            rng.random(n) < 0.7,
        ),
        "action_units": (
            au ^ (rng.random(au.shape) < 0.1),
            au,
            rng.random(au.shape) < 0.9,
        ),
    }


def plain_scores(labelled, rows):
    """Scores of these rows, each as often as it is named."""
    x, y, holds = (each[rows] for each in labelled["va"])
    x, y = x[holds], y[holds]
    covariance = ((x - x.mean(0)) * (y - y.mean(0))).mean(0)
    ccc = 2 * covariance / (x.var(0) + y.var(0) + (x.mean(0) - y.mean(0)) ** 2)
    said, true, holds = (each[rows] for each in labelled["expressions"])
    expr = f1_score(
        true[holds].argmax(1),
        said[holds].argmax(1),
        labels=range(8),
        average="macro",
        zero_division=0,
    )
    on, truth, holds = (each[rows] for each in labelled["action_units"])
    units = [
        f1_score(truth[holds[:, u], u], on[holds[:, u], u], zero_division=0)
        for u in range(12)
    ]
    au, va = np.mean(units), ccc.mean()
    return dict(zip(KEYS, (*ccc, va, expr, au, va + expr + au), strict=True))


KEYS = ("valence", "arousal", "va", "expr", "au", "mtl")


def test_the_jackknife_leaves_out_one_video_after_the_other():
    video, labelled = make_frames(videos=12)
    found = jackknife_interval(sum_by_video(video, **labelled))
    whole = plain_scores(labelled, np.arange(len(video)))
    without = [plain_scores(labelled, np.flatnonzero(video != v)) for v in range(12)]
    for key in KEYS:
        # Mean and standard error of Tukey's pseudo-values are the jackknife's.
        pseudo = 12 * whole[key] - 11 * np.array([each[key] for each in without])
        share = (pseudo - pseudo.mean()) ** 2
        share /= share.sum()
        freedom = 1.5 / (share**2).sum() - 1
        half = stats.t.ppf(0.975, min(freedom, 11)) * stats.sem(pseudo)
        expected = (whole[key], pseudo.mean() - half, pseudo.mean() + half)
        np.testing.assert_allclose(tuple(found[key]), expected, atol=1e-9)


def test_the_interval_of_a_difference_is_paired():
    video, labelled = make_frames(videos=12)
    sums = sum_by_video(video, **labelled)
    same = jackknife_interval(sums, versus=sums)
    assert all(tuple(each) == (0, 0, 0) for each in same.values())
    x, y, holds = labelled["va"]
    better = labelled | {"va": ((x + 3 * y) / 4, y, holds)}
    found = jackknife_interval(sum_by_video(video, **better), versus=sums)
    assert found["valence"].verdict == "better"
    assert tuple(found["au"]) == (0, 0, 0)


@pytest.mark.parametrize("videos", [1, FEWEST_VIDEOS - 1])
def test_few_videos_have_no_interval(videos):
    video, labelled = make_frames(videos=videos)
    found = jackknife_interval(sum_by_video(video, **labelled))
    for each in found.values():
        assert np.isfinite(each.mean) and each.verdict == "undecided"
        assert each.plain == [each.mean, None, None]


def test_intervals_hold_the_truth_and_equals_are_rarely_told_apart():
    """Nominal .95 and .05; over 250 sets of 20 videos both vary by up to .03."""
    held, decided = coverage.measure(
        lambda sums, versus: jackknife_interval(sums, versus=versus), 20, 250
    )
    assert min(held.values()) >= 0.90 and max(decided.values()) <= 0.07
    usual, _ = coverage.measure(coverage.percentile_bootstrap, 20, 50)
    assert usual["mtl"] < 0.75


def test_constants_are_scored_like_the_metric():
    """1 for identical constants, 0 where only the predictions are constant."""
    labels = np.full((60, 2), 0.3, np.float32)
    labels[:, 1] = np.linspace(-1, 1, 60)
    _, labelled = make_frames()
    labelled = {key: tuple(each[:60] for each in v) for key, v in labelled.items()}
    labelled["va"] = (np.full((60, 2), 0.3, np.float32), labels, np.ones(60, bool))
    found = jackknife_interval(sum_by_video(np.arange(60) // 10, **labelled))
    metric = Concordance.from_batch(*labelled["va"][:2]).compute()
    expected = [found["valence"].mean, found["arousal"].mean]
    np.testing.assert_allclose(metric, expected, atol=1e-12)
    np.testing.assert_allclose(metric, [1, 0], atol=1e-12)


def test_labels_far_from_zero_do_not_cancel():
    video, labelled = make_frames(videos=12)
    x, y, holds = labelled["va"]
    far = labelled | {"va": (x + 1e6, y + 1e6, holds)}
    near = jackknife_interval(sum_by_video(video, **labelled))
    found = jackknife_interval(sum_by_video(video, **far))
    np.testing.assert_allclose(found["va"], near["va"], atol=1e-6)
