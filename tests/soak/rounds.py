"""One round: a copy of the finished run is disturbed, called again and judged."""

import shutil
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from tests.soak import judge
from tests.soak.command_process import CommandProcess, computed
from tests.soak.disturbances import DISTURBANCES, Scene, mount, unmount
from tests.soak.end_state import State, differences, write_damaged
from tests.soak.ended_call import Ended
from tests.soak.file_damage import kind_of
from tests.soak.mending import follow
from tests.soak.reference_run import Reference
from tests.soak.started_states import FINISHED, make_state, saves

CALLS = 5  # at most, until a run has ended
LIMIT = 240.0  # seconds for a call
_SIGNALLED = {"SIGTERM": 143, "SIGINT": 130, "SIGUSR1": 138}
# Nothing is computed from these, and the page on reliability promises nothing.
_UNUSED = ("report pages of the store",)


@dataclass
class Round:
    """What happened in a round.

    Attributes:
      number: of the round; with the seed it determines all choices.
      disturbance: a key of `DISTURBANCES`.
      state: of the run before, as of `started_states`.
      done: what was done to it, and what was done to mend it.
      kinds: of the files that were damaged.
      codes: exit codes of all calls.
      sentences: with which calls were refused.
      outcome: one of `judge.OUTCOMES`.
      why: in a few words.
      seconds: that it took.
    """

    number: int
    disturbance: str
    state: str
    done: list[str] = field(default_factory=list)
    kinds: list[str] = field(default_factory=list)
    codes: list[int | None] = field(default_factory=list)
    sentences: list[str] = field(default_factory=list)
    outcome: str = ""
    why: str = ""
    seconds: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """All of it."""
        return asdict(self)


def play(
    number: int, seed: int, reference: Reference, place: Path, *, disturbance: str = ""
) -> Round:
    """Plays one round in ``place``; what is printed goes to ``place.parent / output``.

    Args:
      number: of the round.
      seed: of the session.
      reference: the undisturbed run.
      place: that of all rounds.
      disturbance: what to do; chosen at random if there is none.
    """
    began, rng = time.monotonic(), np.random.default_rng([seed, number])
    names = list(DISTURBANCES)
    weights = np.array([weight for weight, _ in DISTURBANCES.values()])
    name = disturbance or names[rng.choice(len(names), p=weights / weights.sum())]
    state = _choose_state(name, reference, rng)
    result = Round(number, name, state)
    output = place.parent / "output"
    for path in (place, output):
        shutil.rmtree(path, ignore_errors=True)
        path.mkdir()
    try:
        if name == "disk full":
            mount(place)
        shutil.copytree(reference.folder, place, dirs_exist_ok=True)
        make_state(place / "run", state, rng)
        scene = Scene(
            place, reference.arguments, output, rng, reference.seconds(state), LIMIT
        )
        DISTURBANCES[name][1](scene)
        result.done += scene.done
        result.kinds += [kind_of(place, path) for path in scene.damaged]
        result.outcome, result.why = _judge(result, scene, reference)
        if result.outcome not in judge.GOOD:
            _keep(place, output, place.parent / "failed" / str(number))
    finally:
        unmount(place)
    result.seconds = time.monotonic() - began
    return result


def _choose_state(name: str, reference: Reference, rng: np.random.Generator) -> str:
    """A state; those from which a run takes long are rarer, to play more rounds.

    Files are damaged after the end as a rule, and processes are disturbed before it.
    """
    if name.startswith(("bytes", "file")) and rng.random() < 0.7:
        return FINISHED
    begun = [state for state in reference.states if state != FINISHED]
    if name == "SIGKILL while saving":
        begun = [state for state in begun if saves(state)]
    rates = np.array([1 / reference.seconds(state) ** 2 for state in begun])
    return begun[rng.choice(len(begun), p=rates / rates.sum())]


def _judge(result: Round, scene: Scene, reference: Reference) -> judge.Verdict:
    for ended in scene.ended:
        result.codes.append(ended.code)
        if verdict := _judge_disturbed(result.disturbance, ended):
            return verdict
    known = judge.saved_epochs(scene.run, scene.damaged)
    for call in range(CALLS):
        output = scene.output / f"call{call}.txt"
        ended = CommandProcess(scene.arguments, output).wait(LIMIT)
        result.codes.append(ended.code)
        if verdict := judge.judge_call(ended, known):
            return verdict
        if ended.code == 0:
            found = reference.state_of(scene.run, scene.output)
            excused = _excused(result, scene, found, reference.state)
            return judge.judge_end(found, reference.state, excused, result.sentences)
        result.sentences.append(ended.last_line)
        prepared = scene.output / f"prepare{call}.txt"
        done, packed = follow(ended.last_line, scene.folder, reference.folder, prepared)
        result.done.append(done or "nothing that could be done")
        if packed is not None and (verdict := judge.judge_call(packed, {})):
            return verdict
        if not done:
            return judge.WRONG, f"no advice that mends it: {ended.last_line}"
        known = {}
    return judge.WRONG, f"still refused after {CALLS} calls: {result.sentences[-1]}"


def _judge_disturbed(name: str, ended: Ended) -> judge.Verdict | None:
    """The verdict on a call that was itself disturbed."""
    if ended.code is None:
        return judge.HUNG, f"the disturbed call ran for {ended.seconds:.0f} s"
    if ended.traceback:
        return judge.TRACEBACK, f"in the disturbed call: {ended.traceback}"
    if ended.code in (0, _SIGNALLED.get(name)) or ended.code < 0:
        return None
    if name == "clock set back" and ended.code == 143:
        return None
    if fault := judge.sentence_fault(ended):
        return judge.WRONG, f"the disturbed call {fault}"
    return None


def _excused(result: Round, scene: Scene, found: State, reference: State) -> set[str]:
    """Files that may differ: damaged ones of no use, and what is drawn of the logs.

    A damaged file that no result was made from may still be so, if the command that
    compares digests names it.
    """
    damaged = {
        path.relative_to(scene.run).as_posix(): kind
        for path, kind in zip(scene.damaged, result.kinds, strict=True)
        if path.is_relative_to(scene.run)
    }
    excused = {name for name, kind in damaged.items() if kind in _UNUSED}
    if {name for name, _ in differences(found, reference)} & {*damaged} - excused:
        target = scene.output / "damaged.json"
        excused |= {*damaged} & {*computed(write_damaged, scene.run, target)}
    if "metrics logs" in result.kinds:
        excused |= {"plots/curves.png", "plots/summary.png", "result.json"}
    return excused


def _keep(place: Path, output: Path, target: Path) -> None:
    """Keeps what is left of a round that failed."""
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(place, target / "round")
    shutil.copytree(output, target / "output")
