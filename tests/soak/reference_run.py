"""The undisturbed run that every round is compared with, and how long it takes."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

from tests.soak import small_run
from tests.soak.command_process import CommandProcess, computed
from tests.soak.end_state import State, differences, read_state, write_arrays
from tests.soak.ended_call import Ended
from tests.soak.started_states import FINISHED, stage_of, states

_LIMIT = 600.0  # seconds for one run, with all that it compiles


@dataclass(frozen=True)
class Reference:
    """A finished run.

    Attributes:
      folder: a copy of its release and its workdir.
      arguments: of the command.
      state: its end state.
      arrays: digests of the arrays of its networks.
      left: seconds that a run needs from the end of the stage before, by stage, and
        that a finished one needs by "".
    """

    folder: Path
    arguments: list[str]
    state: State
    arrays: State
    left: dict[str, float]

    def seconds(self, state: str) -> float:
        """What an undisturbed call takes that begins in a state."""
        return self.left[stage_of(state)]

    def state_of(self, run: Path, output: Path) -> State:
        """The end state of another run: of equal arrays, a network is the same."""
        found = read_state(run)
        unlike = [n for n in self.arrays if found.get(n, "") != self.state[n]]
        if any(name in found for name in unlike):
            arrays = computed(write_arrays, run, output / "arrays.json")
            same = [n for n in unlike if arrays.get(n) == self.arrays[n]]
            found |= {name: self.state[name] for name in same}
        return found

    @property
    def states(self) -> list[str]:
        """States from which a round may begin."""
        return states(stage for stage in self.left if stage)


def make_reference(work: Path, place: Path, *, short: bool) -> Reference:
    """Makes the run twice: the first compiles, and both must have the same bits.

    A short one is made once.

    Args:
      work: gets ``reference`` with the copy; what is there already is taken.
      place: folder in which all rounds take place, since runs name their paths.
      short: as of `small_run.arguments`.

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
    arguments = small_run.arguments(place, short=short)
    found, arrays, left = [], [], {}
    for _ in range(1 if short else 2):
        shutil.rmtree(place / "run", ignore_errors=True)
        left = _time_stages(work, place, arguments)
        found.append(read_state(place / "run"))
        arrays.append(computed(write_arrays, place / "run", work / "arrays.json"))
        found[-1] |= arrays[-1]
    if different := [*differences(found[0], found[-1])]:
        raise RuntimeError(f"two undisturbed runs differ: {different}")
    shutil.copytree(place, folder)
    known = {"state": read_state(folder / "run"), "arrays": arrays[0]}
    known |= {"left": left, "arguments": arguments}
    facts.write_text(json.dumps(known, indent=1))
    return Reference(folder, **known)


def _time_stages(work: Path, place: Path, arguments: list[str]) -> dict[str, float]:
    """Runs all stages; what was left at the beginning of each."""
    made, finished = (_run(work, arguments) for _ in range(2))
    done = [place / "run" / stage / "done.json" for stage in small_run.STAGES]
    ends = {
        stage: path.stat().st_mtime - made.began
        for stage, path in zip(small_run.STAGES, done, strict=True)
        if path.exists()
    }
    stages = (*ends, small_run.RESULTS)
    left = {
        stage: finished.seconds + made.seconds - end
        for stage, end in zip(stages, [0.0, *ends.values()], strict=True)
    }
    return {**left, stage_of(FINISHED): finished.seconds}


def _run(work: Path, arguments: list[str]) -> Ended:
    process = CommandProcess(arguments, work / "reference.txt")
    ended = process.wait(_LIMIT)
    if ended.code != 0:
        raise RuntimeError(f"the undisturbed run failed: {ended.shown[-2000:]}")
    return ended
