"""Last stage of a population: scores every run and writes one table with intervals."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from abaw_jax.evaluation.predictions import measure
from abaw_jax.evaluation.tables import (
    Laboratory,
    Row,
    as_json,
    as_latex,
    as_markdown,
)
from abaw_jax.evaluation.terminal_tables import as_tables
from abaw_jax.evaluation.validation import Validator
from abaw_jax.experiment.population import Member, count_runs
from abaw_jax.experiment.result_files import room_for
from abaw_jax.experiment.run import Run
from abaw_jax.experiment.teacher_student import Trained
from abaw_jax.json_files import write_text
from abaw_jax.report import console
from abaw_jax.report.console import Levels
from abaw_jax.training.processes import is_first
from abaw_jax.training.state import take_members


def experiment(
    run: Run, validate: Validator, trained: Sequence[Trained], levels: Levels
) -> Laboratory:
    """Scores every run and writes ``table1.json``, ``.md``, ``.tex`` and ``.png``.

    Args:
      run: its folder gets the files.
      validate: has the validation sets.
      levels: that the networks are compared with.
      trained: by generation, the teachers first. An ensemble counts as one network.
    """
    rows = [row for role in trained for row in _rows(run, validate, role)]
    videos = {
        run.store.subjects[index].video
        for each in validate.samples.values()
        for index in np.unique(each.subject)
    }
    found = Laboratory(
        rows,
        levels,
        f"Official measures on the validation sets of {run.data_name} "
        f"({len(videos)} videos).",
    )
    if is_first():
        _write(run, found)
    return found


def _write(run: Run, found: Laboratory) -> None:
    from abaw_jax.evaluation import seed_plot  # Matplotlib takes .3 s to load

    with room_for(0, run.workdir):
        for suffix, write in (
            ("json", as_json),
            ("md", as_markdown),
            ("tex", as_latex),
        ):
            write_text(run.workdir / f"table1.{suffix}", write(found))
        seed_plot.draw(found, run.workdir / "plots" / "table1.png")


def show(run: Run, found: Laboratory) -> None:
    """Prints the tables and where the files are."""
    for part in as_tables(found):
        console.show(part)
    console.say(
        f"{run.workdir / 'table1.json'}  {run.workdir / 'plots' / 'table1.png'}"
    )


def describe(changes: Mapping[str, Any]) -> dict[str, str]:
    """Settings that a run changes, in words; the seed is no change."""
    return {
        _NAMES.get(name, name.removeprefix("loss.")): _value(value)
        for name, value in changes.items()
        if name != "seed"
    }


_NAMES = {
    "loss.discriminator": "delta",
    "loss.supervised": "alpha",
    "loss.cross_task": "beta",
}


def _value(value: Any) -> str:
    """A schedule by its ends: "0->1"; a constant one by its value, "-" if it is 0."""
    if isinstance(value, list | tuple) and len(value) == 2:
        first, last = value
        if first != last:
            return f"{first:g}->{last:g}"
        return f"{first:g}" if first else "-"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _rows(run: Run, validate: Validator, role: Trained) -> list[Row]:
    """One row a run: of its only network, or of what its ensemble says together."""
    own: list[list[int]] = [[] for _ in range(count_runs(run.config))]
    for index, member in enumerate(role.members):
        own[member.run].append(index)
    if all(len(indices) == 1 for indices in own):
        scores = [each.shown for each in validate(role.variables)]
    else:
        scores = [
            measure(validate, take_members(role.variables, indices)).scores
            for indices in own
        ]
    firsts: list[Member] = [role.members[indices[0]] for indices in own]
    return [
        Row(role.role, describe(first.changes), first.seed, found)
        for first, found in zip(firsts, scores, strict=True)
    ]
