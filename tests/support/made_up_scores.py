"""Made-up labels of one validation set and predictions that are often right."""

import numpy as np

from abaw_jax.pipeline.windows import Samples
from abaw_jax.tasks import TASKS


def make_samples(subject, *, seed=0, tasks=TASKS):
    """Labels of frames, a fifth of them unknown.

    Args:
      subject: int ``[N]``.
      seed: of the labels.
      tasks: that are labelled.
    """
    rng, n = np.random.default_rng(seed), len(subject)

    def known(task, *columns):
        return (rng.random((n, *columns)) < 0.8) & (task in tasks)

    return Samples(
        subject=np.asarray(subject, np.int32),
        image_rows=np.zeros((n, 1), np.int32),
        sound_end=np.zeros(n, np.int64),
        va=rng.uniform(-1, 1, (n, 2)).astype(np.float32),
        va_where=known("va"),
        expr=rng.integers(0, 8, n).astype(np.int32),
        expr_where=known("expr"),
        au=(rng.random((n, 12)) < 0.3).astype(np.uint8),
        au_where=known("au", 12),
    )


def make_outputs(samples, *, seed=1):
    """Values and logits by task, float32."""
    rng, n = np.random.default_rng(seed), len(samples)
    outputs = {
        "va": samples.va + rng.normal(0, 0.4, (n, 2)),
        "expr": 2 * np.eye(8)[samples.expr] + rng.normal(0, 1, (n, 8)),
        "au": 2.0 * samples.au - 1 + rng.normal(0, 1, (n, 12)),
    }
    return {task: values.astype(np.float32) for task, values in outputs.items()}
