"""The members that train together: runs of a population, copies of an ensemble.

``config.population`` lists what each run changes, seed or fields of ``loss``. They all
train as one program, which traces exactly those values. ``config.kd.ensemble`` students
of each run differ in their seed alone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from abaw_jax.experiment.field_rules import difference_fault
from abaw_jax.training.curriculum import LossSettings


@dataclass(frozen=True)
class Member:
    """One network of a role.

    Attributes:
      run: index of its run in the population.
      seed: of its initialisation, its dropout and its order of the data.
      losses: constants of its objective.
      changes: what its run changes, by field.
    """

    run: int
    seed: int
    losses: LossSettings
    changes: Mapping[str, Any] = field(default_factory=dict)

    def describe(self) -> dict[str, Any]:
        """Plain values, for a stage's fingerprint."""
        return {"run": self.run, "seed": self.seed, **self.changes}


def count_runs(config: ConfigDict) -> int:
    """Runs that train as one program."""
    return len(config.population) or 1


def plan_members(config: ConfigDict, *, copies: int = 1) -> tuple[Member, ...]:
    """Every network of one role.

    Args:
      config: as in ``configs/base.py``.
      copies: of each run, with other seeds.

    Raises:
      ValueError: if a run changes a field that is not traced.
    """
    members = []
    for run, changes in enumerate(config.population or ({},)):
        changed = _changed(config, changes)
        losses = LossSettings(**changed.loss.to_dict())
        members += [
            Member(run, _copy_seed(changed.seed, copy), losses, dict(changes))
            for copy in range(copies)
        ]
    return tuple(members)


def _copy_seed(seed: int, copy: int) -> int:
    """Seed of a member of an ensemble; the first has the run's own.

    The others are drawn, so that none is the seed of another run. 31 bits, as
    `jax.random.key` takes them without 64-bit integers.
    """
    if copy == 0:
        return seed
    return int(np.random.SeedSequence((seed, copy)).generate_state(1)[0] >> 1)


def root_keys(members: Sequence[Member], generation: int) -> jax.Array:
    """Roots of the members' randomness, ``[K]``; another one each generation."""
    keys = [jax.random.key(member.seed) for member in members]
    return jnp.stack([jax.random.fold_in(key, generation) for key in keys])


def group_teachers(
    students: Sequence[Member], teachers: Sequence[Member]
) -> list[list[int]]:
    """Indices of each student's teachers, which are the networks of its run."""
    return [
        [index for index, teacher in enumerate(teachers) if teacher.run == student.run]
        for student in students
    ]


def _changed(config: ConfigDict, changes: Mapping[str, Any]) -> ConfigDict:
    for fault in filter(None, map(difference_fault, changes)):
        raise ValueError(f"config.population {fault}.")
    changed = config.copy_and_resolve_references()
    try:
        changed.update_from_flattened_dict(dict(changes))
    except (KeyError, TypeError) as error:
        raise ValueError(f"config.population: {error.args[0]}") from None
    return changed
