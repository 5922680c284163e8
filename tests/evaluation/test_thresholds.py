"""Thresholds by exhaustive search with scikit-learn; videos that stay apart."""

from types import SimpleNamespace

import numpy as np
import pytest
from sklearn.metrics import f1_score

from abaw_jax.evaluation.thresholds import (
    best_thresholds,
    held_out_videos,
    rows_of,
    score_with,
)
from abaw_jax.tasks import SETS
from tests.experiment.test_class_weights import make_samples


def test_the_best_threshold_is_found():
    samples = make_samples(rows=200)
    rng = np.random.default_rng(1)
    logits = samples.au + rng.normal(-2, 1, samples.au.shape).round(1)
    thresholds = best_thresholds(logits, samples)
    for unit in range(12):
        known = samples.au_where[:, unit]
        values, labels = logits[known, unit], samples.au[known, unit]
        reachable = [f1_score(labels, values >= t) for t in np.unique(values)]
        found = f1_score(labels, values >= thresholds[unit])
        assert found == pytest.approx(max(reachable))
    tuned = score_with(thresholds, logits, samples)["au"]
    assert tuned > score_with(np.zeros(12), logits, samples)["au"]


def test_a_unit_that_never_occurs_keeps_the_official_threshold():
    samples = make_samples(rows=50)
    samples.au[:, 3] = 0
    thresholds = best_thresholds(
        np.random.default_rng(0).normal(size=(50, 12)), samples
    )
    assert thresholds[3] == 0 and (thresholds[:3] != 0).all()


def test_the_official_threshold_gives_the_official_score():
    samples = make_samples(rows=300)
    logits = np.random.default_rng(2).normal(size=(300, 12))
    found = score_with(np.zeros(12), logits, samples)
    expected = [
        f1_score(samples.au[known, u], logits[known, u] >= 0, zero_division=0)
        for u, known in enumerate(samples.au_where.T)
    ]
    assert found["au"] == pytest.approx(np.mean(expected))
    assert set(found["thresholds"].values()) == {0.5}


def make_store(videos=10, both=()):
    """Two people in the first video, one in each of the others; some validate too."""
    names = ["v0", *(f"v{k}" for k in range(videos))]
    labels = {
        ("va", "train"): np.array([0, 0, 1, 2, 3, 4]),
        ("expr", "train"): np.array([5, 6]),
        ("au", "train"): np.array([7, 8]),
        ("mtl", "train"): np.array([8]),
    }
    validating = [k for k, name in enumerate(names) if name in both]
    labels |= {(name, "validation"): np.zeros(0, int) for name in SETS}
    labels["mtl", "validation"] = np.array(validating, int)
    return SimpleNamespace(
        subjects=[SimpleNamespace(video=name) for name in names],
        labels=lambda *key: SimpleNamespace(subject=labels[key]),
    )


def test_a_share_of_the_training_videos_is_held_out_whole():
    store = make_store()
    videos = held_out_videos(store, 0.5)
    assert len(videos) == 4 and videos == held_out_videos(store, 0.5)
    assert videos <= {f"v{k}" for k in range(8)}  # v8 and v9 do not train
    rows = rows_of(store, np.arange(11), frozenset({"v0"}))
    assert rows.tolist() == [True, True] + [False] * 9


def test_nothing_is_held_out_by_default_and_never_all():
    assert held_out_videos(make_store(), 0.0) == frozenset()
    with pytest.raises(ValueError, match=r"held_out is 1\.0; it is a share"):
        held_out_videos(make_store(), 1.0)


def test_what_is_held_out_has_action_units():
    """Else nothing could be tuned, and its labels would be lost to training."""
    assert held_out_videos(make_store(), 0.01) <= {"v6", "v7"}
    store = make_store(both={"v6", "v7"})
    with pytest.raises(ValueError, match="no video that only trains has action units"):
        held_out_videos(store, 0.3)


def test_a_small_share_is_one_video_and_none_that_validates():
    store = make_store(both={"v0", "v1", "v2", "v3", "v4", "v5"})
    (video,) = held_out_videos(store, 0.01)
    assert video in {"v6", "v7"}
    with pytest.raises(ValueError, match="only 1 videos train without validating"):
        held_out_videos(make_store(both={f"v{k}" for k in range(7)}), 0.5)
