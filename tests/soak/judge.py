"""Judges a round: what the calls after a disturbance printed and left behind."""

import json
import re
from collections.abc import Mapping, Sequence, Set
from pathlib import Path

from tests.soak.end_state import State, differences
from tests.soak.ended_call import Ended
from tests.soak.small_run import TRAINED, epochs_of

IDENTICAL, REFUSED = "identical", "refused in a sentence"
WRONG, TRACEBACK, LOST, HUNG = "WRONG", "TRACEBACK", "LOST", "HUNG"
OUTCOMES = (IDENTICAL, REFUSED, WRONG, TRACEBACK, LOST, HUNG)
GOOD = (IDENTICAL, REFUSED)

Verdict = tuple[str, str]
"""One of `OUTCOMES`, and why."""

_EPOCH = re.compile(r"^(image encoder|sound encoder|teacher|student) +(\d+)/\d+  loss")


def judge_end(
    found: State, reference: State, excused: Set[str], refusals: Sequence[str]
) -> Verdict:
    """The verdict on a run that has ended with exit code 0.

    Args:
      found: its end state.
      reference: that of the undisturbed run.
      excused: names of files that may differ: those on which no result depends, and
        damaged ones that no result was made from, if the verification names them.
      refusals: sentences with which earlier calls were refused.
    """
    different = [
        f"{name} {how}"
        for name, how in differences(found, reference)
        if name not in excused
    ]
    if different:
        return WRONG, "; ".join(different[:4])
    return (REFUSED, refusals[0]) if refusals else (IDENTICAL, "")


def judge_call(ended: Ended, known: Mapping[str, int]) -> Verdict | None:
    """The verdict on an undisturbed call by what it printed; None if nothing is wrong.

    Args:
      ended: the call.
      known: epochs that were saved by stage before it.
    """
    if ended.code is None:
        return HUNG, f"ran for more than {ended.seconds:.0f} s"
    if ended.traceback:
        return TRACEBACK, ended.traceback
    if ended.code < 0:
        return WRONG, f"died of signal {-ended.code}: {ended.last_line}"
    for stage, epoch in first_epochs(ended.shown).items():
        if epoch <= known.get(stage, 0):
            return LOST, f"{stage}: epoch {epoch} again, {known[stage]} were saved"
    if ended.code and (fault := sentence_fault(ended)):
        return WRONG, fault
    return None


def sentence_fault(ended: Ended) -> str:
    """Why the end of a call that failed is no sentence that helps; "" if it is."""
    sentence = ended.last_line
    if not sentence.startswith("abaw_jax"):
        return f"ended with {ended.code} and no sentence: {sentence}"
    if not re.search(r"/\S|config\.|--workdir|ulimit", sentence):
        return f"names no file: {sentence}"
    return ""


def first_epochs(shown: str) -> dict[str, int]:
    """The first epoch that a call trained, by stage."""
    found: dict[str, int] = {}
    for line in shown.splitlines():
        if match := _EPOCH.match(line):
            name, _, kind = match[1].partition(" ")
            stage = f"backbone/{name}" if kind else name
            found.setdefault(stage, int(match[2]))
    return found


def saved_epochs(run: Path, damaged: Sequence[Path]) -> dict[str, int]:
    """Epochs that need not be trained again, by stage.

    Args:
      run: as the disturbance left it.
      damaged: files that it damaged; a checkpoint with such a file does not count.
    """
    found = {}
    for stage in TRAINED:
        folder = run / stage
        here = any(path.is_relative_to(folder) for path in damaged)
        if (folder / "done.json").exists() and not here:
            found[stage] = epochs_of(stage)
        else:
            intact = (
                each
                for each in (folder / "checkpoints").glob("*")
                if not any(path.is_relative_to(each) for path in damaged)
            )
            found[stage] = max(map(_epoch, intact), default=0)
    return found


def _epoch(checkpoint: Path) -> int:
    """The last whole epoch of a complete checkpoint."""
    if not checkpoint.name.isdigit():
        return 0
    record = (checkpoint / "record" / "metadata").read_text()
    return json.loads(record)["position"]["epoch"]
