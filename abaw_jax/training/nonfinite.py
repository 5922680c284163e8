"""What a run does about an update whose loss or gradients are not finite.

The compiled step flags the update (`steps.SKIPPED`) and, unless the policy is to stop,
leaves the state as it is. The loop reads the flags with the losses and follows the
policy here.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np

from abaw_jax.tasks import SETS
from abaw_jax.training.curriculum import Progress
from abaw_jax.training.updates import SKIPPED

POLICIES = ("skip", "rollback", "stop")

NameRows = Callable[[str, np.ndarray], str]
"""Names rows of a set's samples for a person."""

Rows = Mapping[str, np.ndarray]
"""Rows of a chunk's batches among the samples, ``[R, K, B]`` by set."""

_SHOWN = 8


def number_rows(name: str, rows: np.ndarray) -> str:
    """The numbers of the rows, where their videos and frames are unknown."""
    more = f" and {len(rows) - _SHOWN} more" if len(rows) > _SHOWN else ""
    return f"rows {', '.join(map(str, rows[:_SHOWN].tolist()))}{more}"


@dataclass(frozen=True)
class NonFinite:
    """The policy.

    Attributes:
      policy: "skip" goes on without the update; "rollback" goes back to the last
        checkpoint, with another order of batches; "stop" ends the member.
      limit: updates in a row, or rollbacks from one checkpoint, after which it ends.
      name_rows: names the rows of a batch in the log.
    """

    policy: str = "skip"
    limit: int = 10
    name_rows: NameRows = number_rows

    def ends(self, skipped: int, rollbacks: int) -> bool:
        """True if a member ends after so many in a row."""
        if self.policy == "rollback":
            return rollbacks >= self.limit
        return self.policy == "stop" or skipped > self.limit


class RolledBack(Exception):
    """The run goes back to its last checkpoint; says why."""


@dataclass(frozen=True)
class Skips:
    """Skipped updates of a chunk.

    Attributes:
      flags: by set, bool ``[R, K]``.
      terms: all others, ``[R, K]`` by ``set/term``.
    """

    flags: Mapping[str, np.ndarray]
    terms: Mapping[str, np.ndarray]

    @classmethod
    def of(cls, values: Mapping[str, np.ndarray]) -> "Skips":
        """Takes the values of a chunk apart."""
        terms = {k: v for k, v in values.items() if not k.endswith(f"/{SKIPPED}")}
        # A dict that crossed jit is sorted by key; updates have another order.
        named = {name: f"{name}/{SKIPPED}" for name in SETS}
        flags = {s: values[k].astype(bool) for s, k in named.items() if k in values}
        return cls(flags, terms)

    def count(self, k: int, progress: Progress) -> tuple[Progress, int]:
        """The record after these updates, and how many were skipped in a row."""
        row = longest = progress.in_a_row
        flags = np.stack([each[:, k] for each in self.flags.values()], axis=1).ravel()
        for flag in flags.tolist():
            row = row + 1 if flag else 0
            longest = max(longest, row)
        skipped = progress.skipped + int(flags.sum())
        return replace(progress, skipped=skipped, in_a_row=row), longest

    def describe(self, k: int, rows: Rows, name_rows: NameRows) -> Iterator[str]:
        """Set, terms and rows ``[R, K, B]`` of every skipped update of a member."""
        for name, flags in self.flags.items():
            for turn in np.flatnonzero(flags[:, k]).tolist():
                wrong = [
                    term
                    for term, values in self.terms.items()
                    if term.startswith(f"{name}/") and not np.isfinite(values[turn, k])
                ]
                what = ", ".join(wrong) or f"the gradient of {name}/loss"
                batch = rows[name][turn, k] if name in rows else np.zeros(0, int)
                yield (
                    f"{what} is not finite in round {turn + 1} of the chunk, on "
                    f"{name_rows(name, batch)}"
                )


def mean_of_finite(values: np.ndarray) -> float:
    """Mean over the rounds whose value is finite; NaN if none is."""
    finite = values[np.isfinite(values)]
    return float(finite.mean()) if len(finite) else float("nan")


def sum_of_finite(values: np.ndarray) -> float:
    """Sum over the rounds, with the mean of the others in place of skipped ones."""
    finite = values[np.isfinite(values)]
    return float(finite.sum()) * (len(values) / len(finite)) if len(finite) else 0.0
