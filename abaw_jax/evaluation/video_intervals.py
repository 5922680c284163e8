"""Intervals over validation videos: the uncertainty of one run's scores."""

from collections.abc import Mapping

import numpy as np

from abaw_jax.evaluation.intervals import (
    Interval,
    VideoSums,
    jackknife_interval,
    sum_by_video,
)
from abaw_jax.evaluation.predictions import Measured
from abaw_jax.evaluation.validation import has_all_labels, home_set
from abaw_jax.pipeline.windows import Samples
from abaw_jax.store.reader import Store
from abaw_jax.tasks import AFFECT, EXPRESSIONS

_HOME = {"va": ("va", *AFFECT), "expr": ("expr",), "au": ("au",), "mtl": ("mtl",)}
"""Scores that are read off each set, as in the table; the joint set gives the rest."""


def intervals(
    store: Store,
    samples: Mapping[str, Samples],
    one: Measured,
    versus: Measured | None = None,
) -> dict[str, Interval]:
    """Interval of every score of a role, over the videos of the set it is read off.

    Args:
      store: that the samples are from.
      samples: of the validation sets.
      one: what the role said of them.
      versus: another role; the intervals are then of what ``one`` has over it.
    """
    found: dict[str, Interval] = {}
    for name, keys in _HOME.items():
        where = name if name == "mtl" else home_set(name, samples)
        if where is None or (name == "mtl" and not has_all_labels(samples)):
            continue
        _, video = videos(store, samples[where])
        sums = [
            video_sums(video, samples[where], each.together[where])
            for each in (one, versus)
            if each is not None
        ]
        other = sums[1] if versus is not None else None
        scores = jackknife_interval(sums[0], versus=other)
        found |= {key: scores[key] for key in keys}
    return found


def videos(store: Store, samples: Samples) -> tuple[np.ndarray, np.ndarray]:
    """Names of the videos ``[V]`` and index of each row's video ``[N]``.

    People of one video are drawn together.
    """
    names = np.array([subject.video for subject in store.subjects])
    return np.unique(names[samples.subject], return_inverse=True)


def video_sums(
    video: np.ndarray, samples: Samples, outputs: Mapping[str, np.ndarray]
) -> VideoSums:
    """Reduces the rows of one set to the sums of each video.

    Args:
      video: of `videos`.
      samples: of the set.
      outputs: by task, ``[N, C]``.
    """
    classes = np.eye(len(EXPRESSIONS), dtype=bool)
    return sum_by_video(
        video,
        va=(outputs["va"], samples.va, samples.va_where),
        expressions=(
            classes[outputs["expr"].argmax(-1)],
            classes[samples.expr],
            samples.expr_where,
        ),
        action_units=(outputs["au"] > 0, samples.au > 0, samples.au_where),
    )
