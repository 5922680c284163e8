"""Videos in the order in which they cost a set its score."""

import numpy as np
import pytest
from sklearn.metrics import f1_score

from abaw_jax.evaluation.video_intervals import video_sums
from abaw_jax.evaluation.worst_videos import worst_videos
from tests.support.made_up_scores import make_outputs, make_samples

NAMES = ["good", "bad", "short"]


def score(names, video, samples, outputs, key, **most):
    sums = video_sums(video, samples, outputs)
    return worst_videos(names, video, sums, key, **most)


def ccc(x, y):
    both = np.cov(x, y, bias=True)
    bias = (x.mean() - y.mean()) ** 2
    return 2 * both[0, 1] / (both[0, 0] + both[1, 1] + bias)


@pytest.fixture
def case():
    """A long video well predicted, a long one badly, a short one even worse."""
    video = np.repeat([0, 1, 2], [60, 60, 2])
    samples = make_samples(video)
    samples.expr_where[:] = samples.va_where[:] = samples.au_where[:] = True
    outputs = make_outputs(samples)
    outputs["va"][video == 0] = samples.va[video == 0]
    outputs["va"][video == 2] = -samples.va[video == 2]
    wrong = video > 0
    outputs["expr"][wrong] = 9 * np.eye(8)[(samples.expr[wrong] + 1) % 8]
    outputs["expr"][~wrong] = 9 * np.eye(8)[samples.expr[~wrong]]
    return video, samples, outputs


def test_the_order_is_that_of_scores_without_each_video(case):
    video, samples, outputs = case
    found = score(NAMES, video, samples, outputs, "expr")
    guess, labels = outputs["expr"].argmax(-1), samples.expr

    def f1(rows):
        return f1_score(
            labels[rows], guess[rows], average="macro", labels=range(8), zero_division=0
        )

    whole = f1(video >= 0)
    assert [each.video for each in found] == ["bad", "short"]  # long before short
    for each in found:
        without = f1(video != NAMES.index(each.video))
        assert each.without == pytest.approx(without)
        assert each.rise == pytest.approx(without - whole)
    assert [each.expressions_right for each in found] == [0, 0]
    assert [each.frames for each in found] == [60, 2]


def test_valence_and_arousal_of_a_video(case):
    video, samples, outputs = case
    worst = score(NAMES, video, samples, outputs, "va", most=1)
    (bad,) = worst
    rows, rest = video == 1, video != 1
    errors = np.float64(outputs["va"][rows] - samples.va[rows])
    assert bad.video == "bad"
    assert bad.affect_error == pytest.approx(np.sqrt((errors**2).mean()), rel=1e-5)
    pairs = [(outputs["va"][rest, k], samples.va[rest, k]) for k in range(2)]
    assert bad.without == pytest.approx(np.mean([ccc(*p) for p in pairs]), rel=1e-5)


def test_units_of_a_video_count_together(case):
    video, samples, outputs = case
    found = score(NAMES, video, samples, outputs, "au")
    assert found
    for each in found:
        rows = video == NAMES.index(each.video)
        said, on = outputs["au"][rows] > 0, samples.au[rows] > 0
        assert each.units_f1 == pytest.approx(f1_score(on.ravel(), said.ravel()))


def test_the_only_video_of_a_set_is_listed_without_a_rise(case):
    _, samples, outputs = case
    (only,) = score(["a"], np.zeros(len(samples), int), samples, outputs, "mtl")
    assert only.frames == 122 and np.isnan(only.rise) and np.isnan(only.without)
    assert 0 < only.expressions_right < 1


def test_no_video_is_blamed_where_everything_is_right(case):
    video, samples, outputs = case
    right = {**outputs, "va": samples.va}
    assert score(NAMES, video, samples, right, "va") == []


def test_a_task_without_labels_has_no_number():
    samples = make_samples(np.repeat([0, 1], 30), tasks=("va",))
    found = score(["a", "b"], samples.subject, samples, make_outputs(samples), "va")
    for each in found:
        assert np.isnan(each.expressions_right) and np.isnan(each.units_f1)
        assert each.affect_error > 0
