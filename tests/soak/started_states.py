"""States in which a run may be when it is disturbed, made from a finished one.

A state is ``finished``, ``before STAGE`` (that stage and all later ones are still to be
made) or ``within STAGE`` (as a kill leaves it between its first and its last result).
"""

import shutil
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from tests.soak.small_run import RESULTS, STAGES, TRAINED

FINISHED = "finished"


def states(stages: Iterable[str]) -> list[str]:
    """All states of a run of these stages."""
    found = [f"{how} {stage}" for how in ("before", "within") for stage in stages]
    return [FINISHED, *found]


def make_state(run: Path, state: str, rng: np.random.Generator) -> None:
    """Takes a finished run back to a state."""
    if state == FINISHED:
        return
    how, stage = state.split()
    order = (*STAGES, RESULTS)
    for later in order[order.index(stage) + 1 :]:
        if (run / later).exists() or later == RESULTS:
            _remove(run, later)
    if how == "before":
        _remove(run, stage)
    elif stage == RESULTS:
        (run / "result.json").unlink()
    else:
        _make_unfinished(run / stage, stage, rng)


def stage_of(state: str) -> str:
    """The first stage that is still to be made; "" if there is none."""
    return state.split()[1] if state != FINISHED else ""


def saves(state: str) -> bool:
    """True if a network is still to be trained."""
    stage = stage_of(state)
    return stage in STAGES and STAGES.index(stage) <= STAGES.index(TRAINED[-1])


def _remove(run: Path, stage: str) -> None:
    if stage != RESULTS:
        shutil.rmtree(run / stage)
        return
    (run / "result.json").unlink()
    for folder in ("plots", "predictions"):
        shutil.rmtree(run / folder)


def _make_unfinished(folder: Path, stage: str, rng: np.random.Generator) -> None:
    (folder / "done.json").unlink()
    if stage in TRAINED:
        shutil.rmtree(folder / "networks")
        checkpoints = sorted((folder / "checkpoints").iterdir(), key=_number)
        if rng.random() < 0.5:
            shutil.rmtree(checkpoints[-1])
        return
    if stage == "corpus":
        (folder / "store" / "manifest.json").unlink()
    for path in sorted(folder.rglob("*.npy")):
        if rng.random() < 0.5:
            path.unlink()


def _number(checkpoint: Path) -> int:
    return int(checkpoint.name) if checkpoint.name.isdigit() else -1
