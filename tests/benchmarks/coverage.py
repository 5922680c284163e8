"""How often intervals over validation videos hold the truth, on simulated data.

    python -m tests.benchmarks.coverage          two minutes on one core

Frames of a video resemble each other (autocorrelation .95) and videos differ, in what
they show and in how well they are predicted. Expressions and action units are as
unevenly distributed as in Aff-Wild2. The truth is the score over thousands of videos.
"""

from collections.abc import Callable, Mapping

import numpy as np
from rich.console import Console
from rich.table import Table
from scipy.special import ndtri

from abaw_jax.evaluation.intervals import (
    Interval,
    VideoSums,
    jackknife_interval,
    score_resamples,
    sum_by_video,
)

KEYS = ("valence", "arousal", "va", "expr", "au", "mtl")
FRAMES = 120
EXPRESSION_RATES = np.array([0.35, 0.06, 0.04, 0.04, 0.18, 0.13, 0.05, 0.15])
UNIT_RATES = np.array(
    [0.12, 0.06, 0.16, 0.26, 0.34, 0.33, 0.23, 0.03, 0.03, 0.03, 0.63, 0.08]
)

Intervals = Callable[[VideoSums, VideoSums | None], Mapping[str, Interval]]


def smooth(rng: np.random.Generator, videos: int, columns: int) -> np.ndarray:
    """Standard normal ``[V, F, C]`` with an autocorrelation of .95, video by video."""
    noise = rng.normal(size=(videos, FRAMES, columns))
    noise[:, 1:] *= np.sqrt(1 - 0.95**2)
    for frame in range(1, FRAMES):
        noise[:, frame] += 0.95 * noise[:, frame - 1]
    return noise


def simulate(rng: np.random.Generator, videos: int) -> tuple[VideoSums, VideoSums]:
    """Statistics of two equally good predictors on the same videos."""

    def varied(columns: int) -> np.ndarray:
        return smooth(rng, videos, columns) + rng.normal(size=(videos, 1, columns))

    affect, faces, units = 0.25 * varied(2), varied(8), varied(12)
    faces += np.log(EXPRESSION_RATES)
    threshold = ndtri(1 - UNIT_RATES) * np.sqrt(2)
    every, rows = np.ones(videos * FRAMES, bool), np.arange(videos).repeat(FRAMES)
    one_hot = np.eye(8, dtype=bool)

    def predict() -> VideoSums:
        said = (faces + 0.9 * varied(8)).argmax(-1).ravel()
        on = units + 0.8 * varied(12) > 1.1 * threshold
        va = 0.6 * affect + 0.15 * varied(2)
        return sum_by_video(
            rows,
            va=(va.reshape(-1, 2), affect.reshape(-1, 2), every),
            expressions=(one_hot[said], one_hot[faces.argmax(-1).ravel()], every),
            action_units=(
                on.reshape(-1, 12),
                (units > threshold).reshape(-1, 12),
                np.ones((len(every), 12), bool),
            ),
        )

    return predict(), predict()


def truth(seed: int = 0, videos: int = 6000) -> dict[str, float]:
    """Scores over so many videos that their own error does not matter."""
    sums, _ = simulate(np.random.default_rng(seed), videos)
    return {
        k: float(v[0]) for k, v in score_resamples(sums, np.ones((1, videos))).items()
    }


def percentile_bootstrap(
    sums: VideoSums, versus: VideoSums | None
) -> dict[str, Interval]:
    """The usual interval, for comparison: percentiles over 500 draws of the videos."""
    videos = len(sums.affect)
    draws = np.random.default_rng(0).multinomial(
        videos, np.full(videos, 1 / videos), size=500
    )
    scores = score_resamples(sums, draws)
    if versus is not None:
        other = score_resamples(versus, draws)
        scores = {key: values - other[key] for key, values in scores.items()}
    return {
        key: Interval(float(each.mean()), *np.percentile(each, [2.5, 97.5]).tolist())
        for key, each in scores.items()
    }


def measure(
    intervals: Intervals, videos: int, repetitions: int, seed: int = 1
) -> tuple[dict[str, float], dict[str, float]]:
    """Shares of intervals that hold the truth, and of null differences with a verdict.

    Args:
      intervals: of one predictor, or of the difference between two.
      videos: of each simulated validation set.
      repetitions: how many of these there are.
      seed: of the simulation.
    """
    rng, expected = np.random.default_rng(seed), truth()
    held, decided = dict.fromkeys(KEYS, 0.0), dict.fromkeys(KEYS, 0.0)
    for _ in range(repetitions):
        one, other = simulate(rng, videos)
        alone, difference = intervals(one, None), intervals(one, other)
        for key in KEYS:
            held[key] += alone[key].low <= expected[key] <= alone[key].high
            decided[key] += difference[key].verdict != "undecided"
    return tuple(
        {key: count / repetitions for key, count in counts.items()}
        for counts in (held, decided)
    )


def main() -> None:
    """Prints coverage and false verdicts (of the worst score) by number of videos."""
    table = Table("videos", "interval", *KEYS, "false")
    methods: dict[str, Intervals] = {
        "bootstrap": percentile_bootstrap,
        "jackknife": lambda sums, versus: jackknife_interval(sums, versus=versus),
    }
    for videos in (10, 20, 40, 70, 150):
        for name, intervals in methods.items():
            held, decided = measure(intervals, videos, 500)
            cells = [f"{held[key]:.2f}" for key in KEYS]
            table.add_row(str(videos), name, *cells, f"{max(decided.values()):.3f}")
    Console().print(table)


if __name__ == "__main__":
    main()
