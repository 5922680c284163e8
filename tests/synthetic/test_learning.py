"""A small honest learner on the synthetic release: what it gives away, and what not.

Gradient histograms of the crop and statistics of the last ten seconds of sound, ridge
and logistic regression, trained on some people and scored on others. Only the frames
that are looked at are drawn, and nothing is written.
"""

from typing import NamedTuple

import numpy as np
import pytest
from PIL import Image
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import f1_score
from sklearn.preprocessing import StandardScaler

from abaw_jax.synthetic import SyntheticSettings
from abaw_jax.synthetic.appearance import Motion
from abaw_jax.synthetic.face import render
from abaw_jax.synthetic.plan import draw_plan
from abaw_jax.synthetic.simulate import play
from abaw_jax.synthetic.voice import synthesize

SETTINGS = SyntheticSettings(
    train_subjects=70, validation_subjects=30, quirks=False, crop_size=40
)
RATE = 11_025
STEP = RATE // 10


class Sample(NamedTuple):
    image: np.ndarray
    sound: np.ndarray
    va: np.ndarray
    expr: np.ndarray
    au: np.ndarray


def gradients(crop: np.ndarray) -> np.ndarray:
    """Histograms of six directions in 8 x 8 cells, blind to light and colour."""
    gray = np.asarray(Image.fromarray(crop).convert("L"), np.float64)
    down, right = np.gradient(gray)
    angle = (np.arctan2(down, right) % np.pi) * 6 / np.pi
    cells = np.arange(len(gray)) * 8 // len(gray)
    bins = (cells[:, None] * 8 + cells) * 6
    low, share = angle.astype(int), angle % 1
    size = np.hypot(down, right)
    histogram = np.bincount(
        (bins + low % 6).ravel(), (size * (1 - share)).ravel(), 384
    ) + np.bincount((bins + (low + 1) % 6).ravel(), (size * share).ravel(), 384)
    return np.sqrt(histogram / histogram.mean())


def heard(sound: np.ndarray) -> np.ndarray:
    """Level and brightness of tenths of a second, ``[steps, 2]``."""
    blocks = sound[: len(sound) // STEP * STEP].reshape(-1, STEP).astype(np.float64)
    power = np.abs(np.fft.rfft(blocks * np.hanning(STEP))) ** 2
    pitch = power @ np.fft.rfftfreq(STEP, 1 / RATE) / power.sum(axis=1)
    return np.stack([np.log(1e-8 + power.mean(axis=1)), pitch / 1000], axis=1)


@pytest.fixture(scope="module")
def people() -> list[Sample]:
    samples = []
    for video in draw_plan(SETTINGS, seed=0):
        scene = play(video, video.people[0], SETTINGS, seed=0)
        ratings, rng = scene.ratings, np.random.default_rng(0)
        frames = np.arange(10 * video.fps, video.num_frames, 9)
        frames = frames[ratings.plain[frames]]
        motion = Motion(*(part[frames] for part in scene.performance.motion))
        crops = render(scene.looks, motion, size=SETTINGS.crop_size, rng=rng)
        seconds = video.num_frames / video.fps
        sound = synthesize(
            scene.voice,
            scene.performance.speech,
            seconds=seconds,
            sample_rate=RATE,
            rng=rng,
        )
        track, rows = heard(sound), []
        for frame in frames:
            end = frame * 10 // video.fps
            spans = (track[end - 100 : end], track[end - 30 : end])
            rows.append(
                np.concatenate(
                    [m for s in spans for m in (s.mean(axis=0), s.std(axis=0))]
                )
            )
        samples.append(
            Sample(
                np.stack([gradients(crop) for crop in crops]),
                np.stack(rows),
                ratings.va[frames],
                ratings.expr[frames],
                ratings.au[frames] == 1,
            )
        )
    return samples


def ccc(predicted: np.ndarray, true: np.ndarray) -> float:
    apart = (predicted.mean() - true.mean()) ** 2
    shared = np.mean((predicted - predicted.mean()) * (true - true.mean()))
    return float(2 * shared / (predicted.var() + true.var() + apart))


def scores(people: list[Sample], *streams: str) -> dict[str, float]:
    split = SETTINGS.train_subjects
    seen, unseen = (
        Sample(*(np.concatenate(part) for part in zip(*group, strict=True)))
        for group in (people[:split], people[split:])
    )
    scalers = [StandardScaler().fit(getattr(seen, stream)) for stream in streams]
    inputs, tests = (
        np.concatenate(
            [
                scaler.transform(getattr(group, stream))
                / (3 if stream == "image" else 1)
                for scaler, stream in zip(scalers, streams, strict=True)
            ],
            axis=1,
        )
        for group in (seen, unseen)
    )
    affect = Ridge(alpha=100.0).fit(inputs, seen.va).predict(tests)
    found = {
        name: ccc(affect[:, column], unseen.va[:, column])
        for column, name in enumerate(("valence", "arousal"))
    }

    def guess(labels: np.ndarray) -> np.ndarray:
        model = LogisticRegression(C=0.01, class_weight="balanced", max_iter=200)
        return model.fit(inputs, labels).predict(tests)

    found["expr"] = f1_score(unseen.expr, guess(seen.expr), average="macro")
    found["au"] = float(
        np.mean(
            [f1_score(t, guess(s)) for s, t in zip(seen.au.T, unseen.au.T, strict=True)]
        )
    )
    return found


@pytest.mark.slow
def test_scores_stand_between_chance_and_one_and_fall_without_a_stream(
    people: list[Sample],
) -> None:
    both, image, sound = (
        scores(people, *streams)
        for streams in (("image", "sound"), ("image",), ("sound",))
    )
    print(both, image, sound, sep="\n")
    assert 0.4 < both["valence"] < 0.85
    assert 0.4 < both["arousal"] < 0.85
    assert 0.35 < both["expr"] < 0.85  # chance: 0.125
    assert 0.4 < both["au"] < 0.85
    assert image["arousal"] < both["arousal"] - 0.1
    assert image["arousal"] > 0.1
    assert sound["arousal"] > image["arousal"] + 0.1
    assert sound["valence"] < both["valence"] - 0.3
    assert sound["expr"] < both["expr"] - 0.2
    assert sound["au"] < both["au"] - 0.15
