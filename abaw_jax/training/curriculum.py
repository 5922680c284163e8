"""What changes from epoch to epoch: gamma, delta, the best score and when to stop.

Pure functions over one small record that fits in a checkpoint as JSON.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

import jax
import jax.numpy as jnp
import numpy as np

from abaw_jax.objectives import LossWeights
from abaw_jax.tasks import TASKS


@dataclass(frozen=True)
class LossSettings:
    """Constants of equations 12 and 13 and of their schedules.

    Attributes:
      supervised: alpha.
      cross_task: beta.
      discriminator: delta at the first and after the last round; equal for a constant,
        ``(0, 1)`` for the paper's ramp, linear per round.
      temperature: of the expression distillation.
      gamma_rate: gamma is ``exp(gamma_rate * n)`` after n epochs without a new best of
        the task; 0 keeps every gamma at 1, as for a teacher.
      gamma_cap: largest n that counts. Uncapped, five stale epochs weigh 12, ten 148.
    """

    supervised: float = 10.0
    cross_task: float = 0.9
    discriminator: tuple[float, float] = (0.0, 1.0)
    temperature: float = 2.5
    gamma_rate: float = 0.5
    gamma_cap: int = 5


@dataclass(frozen=True)
class Progress:
    """How far a run is, and how well its epochs did.

    Attributes:
      epoch: epochs completed.
      chunk: chunks completed within the epoch.
      best_epoch: 1-based epoch of the best score, 0 before the first.
      best_score: its score.
      best: best score of each task over all epochs.
      stale: epochs since each task's best.
      log_offset: bytes of the metrics log that belong to this state.
      loss_sum: sum over the epoch's rounds so far, for its mean.
    """

    epoch: int = 0
    chunk: int = 0
    best_epoch: int = 0
    best_score: float = -math.inf
    best: Mapping[str, float] = field(default_factory=dict)
    stale: Mapping[str, int] = field(default_factory=dict)
    log_offset: int = 0
    loss_sum: float = 0.0

    def to_json(self) -> dict:
        """Plain values; infinities become ``None``."""
        values = asdict(self)
        values["best_score"] = values["best_score"] if self.best_epoch else None
        return values

    @classmethod
    def from_json(cls, values: Mapping) -> "Progress":
        """The inverse of `to_json`."""
        score = values["best_score"]
        return cls(**{**values, "best_score": -math.inf if score is None else score})

    def stale_epochs(self) -> int:
        """Epochs since the best one, for early stopping."""
        return self.epoch - self.best_epoch


def advance(
    progress: Progress, score: float, task_scores: Mapping[str, float]
) -> Progress:
    """The record after an epoch with these validation scores.

    Args:
      progress: before the epoch ended.
      score: the one that selects the model and stops the run.
      task_scores: of the single tasks; they drive gamma.
    """
    epoch = progress.epoch + 1
    best, stale = {}, {}
    for task, value in task_scores.items():
        improved = value > progress.best.get(task, -math.inf)
        best[task] = value if improved else progress.best[task]
        stale[task] = 0 if improved else progress.stale[task] + 1
    improved = score > progress.best_score
    return Progress(
        epoch=epoch,
        best_epoch=epoch if improved else progress.best_epoch,
        best_score=score if improved else progress.best_score,
        best=best,
        stale=stale,
        log_offset=progress.log_offset,
    )


def gammas(settings: LossSettings, progress: Progress) -> dict[str, float]:
    """Task weights: a task that has stopped improving counts more."""
    return {
        task: math.exp(
            settings.gamma_rate * min(progress.stale.get(task, 0), settings.gamma_cap)
        )
        for task in TASKS
    }


def chunk_weights(
    settings: LossSettings,
    progress: Progress,
    *,
    first_round: int,
    rounds: int,
    total_rounds: int,
) -> LossWeights:
    """Loss weights of ``rounds`` rounds from ``first_round`` on, float32 ``[R]``."""
    start, end = settings.discriminator
    ramp = np.arange(first_round, first_round + rounds) / total_rounds

    def constant(value: float) -> jax.Array:
        return jnp.full(rounds, value, jnp.float32)

    return LossWeights(
        supervised=constant(settings.supervised),
        cross_task=constant(settings.cross_task),
        discriminator=jnp.asarray(start + (end - start) * ramp, jnp.float32),
        per_task={k: constant(v) for k, v in gammas(settings, progress).items()},
        temperature=constant(settings.temperature),
    )
