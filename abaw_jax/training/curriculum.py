"""Loss weights by epoch (gamma, delta), the best score and early stopping.

Pure functions over one small record that fits in a checkpoint as JSON.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from abaw_jax.objectives import LossWeights
from abaw_jax.tasks import ACTION_UNITS, EXPRESSIONS, TASKS

Ramp = Callable[[np.ndarray, int, int], np.ndarray]
"""Share of delta's way by round, rounds an epoch and epochs of the run."""

RAMPS: Mapping[str, Ramp] = {
    "round": lambda rounds, per_epoch, epochs: rounds / (per_epoch * epochs),
    "epoch": lambda rounds, per_epoch, epochs: (rounds // per_epoch + 1) / epochs,
    "ganin": lambda rounds, per_epoch, epochs: (
        2 / (1 + np.exp(-10 * rounds / (per_epoch * epochs))) - 1
    ),
}
"""Linear by round from 0; linear by epoch up to 1, as in the authors' code; and the
schedule of Ganin and Lempitsky, 2015."""

_GAMMAS: Mapping[str, Callable[["LossSettings", int, int], float]] = {
    "none": lambda settings, stale, plateau: 1.0,
    "exp": lambda settings, stale, plateau: math.exp(
        settings.gamma_rate * _capped(stale, settings.gamma_cap)
    ),
    "log2": lambda settings, stale, plateau: math.log2(
        max(_capped(plateau, settings.gamma_cap), 2)
    ),
}


def _capped(epochs: int, cap: int | None) -> int:
    return epochs if cap is None else min(epochs, cap)


@dataclass(frozen=True)
class LossSettings:
    """Constants of equations 12 and 13 and of their schedules.

    Attributes:
      supervised: alpha.
      distilled: weight of the distillation of a row's own task.
      cross_task: beta.
      joint: weight of a student's supervision on multi-task rows.
      discriminator: delta at the first and after the last round; equal for a constant,
        ``(0, 1)`` for the paper's ramp.
      ramp: how delta goes from one to the other, a key of `RAMPS`.
      reversal: delta scales the reversed gradient only, and the discriminator itself
        learns at full speed; otherwise it scales the loss, and so both.
      temperature: of the expression distillation.
      gamma_rule: "exp", ``exp(gamma_rate * n)`` after n epochs without a new best of
        the task; "log2", ``log2(n)`` from n = 2 on, kept after a new best, as in the
        code of Deng et al., 2021; "none", every gamma is 1, as for a teacher.
      gamma_rate: of "exp".
      gamma_cap: largest n that counts, ``None`` for no bound. Uncapped, five stale
        epochs weigh 12, ten 148.
      gamma_normalised: gammas are divided by their sum.
      expressions: weight of each class's labels.
      action_units: weight of each unit's positive labels.
    """

    supervised: float = 10.0
    distilled: float = 1.0
    cross_task: float = 0.9
    joint: float = 1.0
    discriminator: tuple[float, float] = (0.0, 1.0)
    ramp: str = "round"
    reversal: bool = False
    temperature: float = 2.5
    gamma_rule: str = "exp"
    gamma_rate: float = 0.5
    gamma_cap: int | None = 5
    gamma_normalised: bool = False
    expressions: tuple[float, ...] = (1.0,) * len(EXPRESSIONS)
    action_units: tuple[float, ...] = (1.0,) * len(ACTION_UNITS)

    def __post_init__(self) -> None:
        for field_name, choices in (("ramp", RAMPS), ("gamma_rule", _GAMMAS)):
            chosen = getattr(self, field_name)
            if chosen not in choices:
                raise ValueError(
                    f"loss.{field_name} is {chosen!r}; choose {', '.join(choices)}."
                )


@dataclass(frozen=True)
class Progress:
    """Scores of the epochs of one member.

    Attributes:
      epoch: epochs completed.
      best_epoch: 1-based epoch of the best score, 0 before the first.
      best_score: its score.
      best: best score of each task over all epochs.
      stale: epochs since each task's best.
      plateau: the last such number above 1, by task; what "log2" remembers.
      loss_sum: sum over the epoch's rounds so far, for its mean.
      failed: a loss was not finite, so the member no longer trains.
      skipped: updates that were not applied, as their loss was not finite.
      in_a_row: of them, the last ones without another in between.
    """

    epoch: int = 0
    best_epoch: int = 0
    best_score: float = -math.inf
    best: Mapping[str, float] = field(default_factory=dict)
    stale: Mapping[str, int] = field(default_factory=dict)
    plateau: Mapping[str, int] = field(default_factory=dict)
    loss_sum: float = 0.0
    failed: bool = False
    skipped: int = 0
    in_a_row: int = 0

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
        plateau={**progress.plateau} | {task: n for task, n in stale.items() if n > 1},
        skipped=progress.skipped,
        in_a_row=progress.in_a_row,
    )


def gammas(settings: LossSettings, progress: Progress) -> dict[str, float]:
    """Task weights: a task that has stopped improving counts more."""
    rule = _GAMMAS[settings.gamma_rule]
    weights = {
        task: rule(settings, progress.stale.get(task, 0), progress.plateau.get(task, 0))
        for task in TASKS
    }
    total = sum(weights.values()) if settings.gamma_normalised else 1.0
    return {task: weight / total for task, weight in weights.items()}


def chunk_weights(
    settings: LossSettings,
    progress: Progress,
    *,
    first_round: int,
    rounds: int,
    rounds_per_epoch: int,
    epochs: int,
) -> LossWeights:
    """Loss weights of ``rounds`` rounds from ``first_round`` on, float32 ``[R, ...]``.

    Args:
      settings: of the run.
      progress: after the last epoch; decides the gammas.
      first_round: counted from the start of the run.
      rounds: R.
      rounds_per_epoch: of the schedule.
      epochs: of delta's ramp; a run that goes on longer stays at its end.
    """
    numbers = np.arange(first_round, first_round + rounds)
    start, end = settings.discriminator
    share = np.minimum(RAMPS[settings.ramp](numbers, rounds_per_epoch, epochs), 1)
    delta: Any = (start + (end - start) * share).astype(np.float32)

    # NumPy: the loop puts the weights of all members on the device at once.
    def constant(value: float | tuple[float, ...]) -> Any:
        return np.tile(np.array(value, np.float32), (rounds, *[1] * np.ndim(value)))

    return LossWeights(
        supervised=constant(settings.supervised),
        distilled=constant(settings.distilled),
        cross_task=constant(settings.cross_task),
        joint=constant(settings.joint),
        discriminator=constant(1.0) if settings.reversal else delta,
        reversal=delta if settings.reversal else constant(1.0),
        per_task={k: constant(v) for k, v in gammas(settings, progress).items()},
        temperature=constant(settings.temperature),
        expressions=constant(settings.expressions),
        action_units=constant(settings.action_units),
    )
