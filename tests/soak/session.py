"""Plays rounds until their number or the time is reached, and shows how they ended."""

import json
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress
from rich.table import Table

from tests.soak.judge import GOOD, OUTCOMES
from tests.soak.reference_run import Reference, make_reference
from tests.soak.rounds import Round, play
from tests.soak.started_states import FINISHED

_console = Console(highlight=False)


@dataclass(frozen=True)
class Plan:
    """Which rounds are played.

    Attributes:
      seed: of all choices.
      numbers: of the rounds.
      seconds: after which no more round begins.
      disturbance: a key of `DISTURBANCES`, the only one; "" for any.
    """

    seed: int
    numbers: Sequence[int]
    seconds: float
    disturbance: str = ""


def soak(work: Path, plan: Plan, out: Path | None, *, short: bool) -> bool:
    """Plays rounds; True if all ended well.

    Args:
      work: folder for everything; an undisturbed run that it holds is used.
      plan: which.
      out: file for the rounds as JSON, written after each.
      short: as of `small_run.arguments`.
    """
    _say("first the undisturbed run")
    reference = make_reference(work, work / "round", short=short)
    whole, finished = reference.seconds("before corpus"), reference.seconds(FINISHED)
    _say(
        f"seed {plan.seed}; a run takes {whole:.0f} s, once it is finished "
        f"{finished:.1f} s"
    )
    rounds = _play(work, plan, reference, out)
    show(rounds)
    failed = [each for each in rounds if each.outcome not in GOOD]
    for each in failed:
        _say(f"round {each.number}: {work / 'failed' / str(each.number)}")
    return not failed


def _play(
    work: Path, plan: Plan, reference: Reference, out: Path | None
) -> list[Round]:
    began, rounds = time.monotonic(), []
    columns = (BarColumn(), MofNCompleteColumn())
    # No thread of its own: processes are forked from this one.
    with Progress(*columns, console=_console, auto_refresh=False) as bar:
        task = bar.add_task("", total=len(plan.numbers))
        for number in plan.numbers:
            if time.monotonic() - began > plan.seconds:
                break
            played = play(
                number,
                plan.seed,
                reference,
                work / "round",
                disturbance=plan.disturbance,
            )
            rounds.append(played)
            _say(line(played))
            bar.update(task, advance=1, refresh=_console.is_terminal)
            if out is not None:
                write(out, plan, rounds)
    return rounds


def line(each: Round) -> str:
    """A round in one line."""
    done = "; ".join(each.done)
    why = f": {each.why}" if each.why else ""
    return (
        f"{each.number:4} {each.seconds:5.1f} s  {each.disturbance}, {each.state}: "
        f"{done} -> {each.outcome}{why}"
    )


def show(rounds: Iterable[Round]) -> None:
    """Prints how many rounds of each disturbance ended how."""
    counts = Counter((each.disturbance, each.outcome) for each in rounds)
    table = Table("", *OUTCOMES, box=SIMPLE_HEAD)
    for name in sorted({name for name, _ in counts}):
        cells = [counts[name, outcome] for outcome in OUTCOMES]
        table.add_row(name, *(str(count or "") for count in cells))
    table.add_section()
    sums = [sum(n for (_, o), n in counts.items() if o == each) for each in OUTCOMES]
    table.add_row(f"{sum(sums)} rounds", *map(str, sums))
    _console.print(table)


def write(path: Path, plan: Plan, rounds: Iterable[Round]) -> None:
    """Writes rounds as JSON, with the files that were damaged by kind."""
    rounds = list(rounds)
    kinds = Counter(
        kind
        for each in rounds
        if each.disturbance == "bytes flipped"
        for kind in each.kinds
    )
    found = {
        "seed": plan.seed,
        "disturbance": plan.disturbance,
        "flipped": dict(kinds.most_common()),
        "rounds": [each.to_json() for each in rounds],
    }
    path.write_text(json.dumps(found, indent=1) + "\n")


def _say(text: str) -> None:
    _console.print(text, soft_wrap=True, markup=False)
