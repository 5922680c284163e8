"""The records of a training run: what it needs, how far it is and how it ended."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import jax

from abaw_jax.pipeline.batches import Chunks, Schedule
from abaw_jax.training.curriculum import LossSettings
from abaw_jax.training.differences import differences
from abaw_jax.training.nonfinite import NonFinite
from abaw_jax.training.sharding import Shardings
from abaw_jax.training.state import Variables
from abaw_jax.training.steps import ChunkStep


@dataclass(frozen=True)
class Validation:
    """Scores of one epoch.

    Attributes:
      selection: selects the best epoch and stops the run; higher is better.
      tasks: single-task scores, which drive gamma.
      shown: everything that is logged.
    """

    selection: float
    tasks: Mapping[str, float]
    shown: Mapping[str, float]


@dataclass(frozen=True)
class Limits:
    """When a run ends, and how often it saves within an epoch.

    Attributes:
      epochs: at most.
      patience: epochs without a new best after which it stops.
      checkpoint_seconds: a checkpoint is also saved within an epoch this often.
      planned_epochs: after which delta has come to its last value, where ``epochs``
        was raised since the run began; ``None`` if it was not.
    """

    epochs: int
    patience: int
    checkpoint_seconds: float = 600.0
    planned_epochs: int | None = None


@dataclass(frozen=True)
class Job:
    """Everything a run of K members needs besides its state.

    Attributes:
      step: compiled chunk of rounds.
      teacher: what the step's ``soft_labels`` wants, ``[K, ...]``, or ``None``.
      table: first argument of the step's ``make_batch``.
      chunks: of `training_chunks`.
      schedule: that the chunks follow.
      losses: constants of the objective, by member.
      limits: when to stop.
      keys: ``[K]``, root of each member's randomness; the round is folded into it.
      validate: scores all members on the validation sets.
      shardings: placement of the arrays on the devices.
      keep: epoch of the variables that are handed on, "best" or "last".
      nonfinite: what is done about updates that are not finite.
    """

    step: ChunkStep
    teacher: Any
    table: Any
    chunks: Chunks
    schedule: Schedule
    losses: Sequence[LossSettings]
    limits: Limits
    keys: jax.Array
    validate: Callable[[Variables], Sequence[Validation]]
    shardings: Shardings
    keep: str = "best"
    nonfinite: NonFinite = field(default_factory=NonFinite)

    def require_rounds(self, found: Mapping[str, Any], directory: Path) -> None:
        """A place in other rounds is no place in these; devices alone may differ.

        Raises:
          ValueError: if a checkpoint in ``directory`` is of other rounds, ``found``.
        """
        different = list(differences(found, self.chunks.made_from))
        if different:
            raise ValueError(
                f"The checkpoint in {directory} was trained on other rounds: "
                f"{'; '.join(different)}. Set that back to go on (batches follow the "
                f"number of devices), or delete {directory} to start this stage again."
            )


@dataclass(frozen=True)
class Position:
    """Position of a run.

    Attributes:
      epoch: epochs completed.
      chunk: chunks completed within the next one.
      log_offset: bytes of the metrics log that belong to this state.
      log_checksum: of these; None if an earlier version saved it.
    """

    epoch: int = 0
    chunk: int = 0
    log_offset: int = 0
    log_checksum: int | None = None


@dataclass(frozen=True)
class Epoch:
    """Result of an epoch of one member.

    Attributes:
      loss: mean over its rounds.
      validation: its scores.
    """

    loss: float
    validation: Validation


Callback = Callable[[Position, Mapping[int, Epoch]], None]
"""Called after every chunk, and after every epoch with the members that trained."""


@dataclass(frozen=True)
class Outcome:
    """Outcome of the training of one member.

    Attributes:
      chosen_epoch: 1-based epoch of the network that is handed on, 0 for none.
      epochs: completed ones.
      ended: "epochs" at the limit, "patience" without a new best, or "not finite".
      skipped: updates that were not applied, as they were not finite.
    """

    chosen_epoch: int
    epochs: int
    ended: str
    skipped: int = 0


@dataclass(frozen=True)
class Fitted:
    """Result of `fit`.

    Attributes:
      variables: ``[K, ...]``, of each member's chosen epoch.
      outcomes: by member.
      log_checksum: of the metrics log; None but in the first process.
    """

    variables: Variables
    outcomes: tuple[Outcome, ...]
    log_checksum: int | None

    def summary(self) -> dict[str, Any]:
        """For the record of a finished stage."""
        return {
            "members": [asdict(each) for each in self.outcomes],
            "log_checksum": self.log_checksum,
        }
