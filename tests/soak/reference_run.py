"""The undisturbed run that every round is compared with, and how long it takes."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

from tests.soak import small_run
from tests.soak.command_process import CommandProcess, Ended, in_a_process
from tests.soak.end_state import State, differences, write_end_state
from tests.soak.started_states import FINISHED, RESULTS, stage_of

_LIMIT = 600.0  # seconds for one run, with all that it compiles


@dataclass(frozen=True)
class Reference:
    """A finished run.

    Attributes:
      folder: a copy of its release and its workdir.
      state: its end state.
      left: seconds that a run needs from the end of the stage before, by stage, and
        that a finished one needs by "".
    """

    folder: Path
    state: State
    left: dict[str, float]

    def seconds(self, state: str) -> float:
        """What an undisturbed call takes that begins in a state."""
        return self.left[stage_of(state)]


def make_reference(work: Path, place: Path) -> Reference:
    """Makes the run twice: the first compiles, and both must have the same bits.

    Args:
      work: gets ``reference`` with the copy; what is there already is taken.
      place: folder in which all rounds take place, since runs name their paths.

    Raises:
      RuntimeError: if a run fails, or they differ.
    """
    folder, facts = work / "reference", work / "reference.json"
    if facts.exists():
        return Reference(folder, **json.loads(facts.read_text()))
    for path in (folder, place):
        shutil.rmtree(path, ignore_errors=True)
    place.mkdir(parents=True)
    small_run.make_release(place)
    states, left = [], {}
    for _ in range(2):
        shutil.rmtree(place / "run", ignore_errors=True)
        left = _time_stages(work, place)
        states.append(end_state(work, place / "run"))
    if different := [*differences(*states)]:
        raise RuntimeError(f"two undisturbed runs differ: {different}")
    shutil.copytree(place, folder)
    facts.write_text(json.dumps({"state": states[0], "left": left}, indent=1))
    return Reference(folder, states[0], left)


def end_state(work: Path, run: Path) -> State:
    """The end state of a finished run, read by another process."""
    target = work / "state.json"
    in_a_process(write_end_state, run, target)
    return json.loads(target.read_text())


def _time_stages(work: Path, place: Path) -> dict[str, float]:
    """Runs all stages; what was left at the beginning of each."""
    made, finished = (_run(work, place) for _ in range(2))
    ends = [
        (place / "run" / stage / "done.json").stat().st_mtime - made.began
        for stage in small_run.STAGES
    ]
    stages = (*small_run.STAGES, RESULTS)
    left = {
        stage: finished.seconds + made.seconds - end
        for stage, end in zip(stages, [0.0, *ends], strict=True)
    }
    return {**left, stage_of(FINISHED): finished.seconds}


def _run(work: Path, place: Path) -> Ended:
    process = CommandProcess(small_run.arguments(place), work / "reference.txt")
    ended = process.wait(_LIMIT)
    if ended.code != 0:
        raise RuntimeError(f"the undisturbed run failed: {ended.shown[-2000:]}")
    return ended
