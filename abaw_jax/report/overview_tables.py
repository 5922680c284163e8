"""Tables that a run shows before its first stage, for a terminal of 80 columns."""

from collections.abc import Sequence
from typing import NamedTuple

from rich.box import SIMPLE_HEAD
from rich.filesize import decimal
from rich.table import Table


class SplitCounts(NamedTuple):
    """One split of one annotation set.

    Attributes:
      set_name: va, expr, au or mtl.
      split: train or validation.
      videos: with a label.
      people: with a label; two may share a video.
      labelled: frames.
      used: frames that train, or that are scored.
    """

    set_name: str
    split: str
    videos: int
    people: int
    labelled: int
    used: int


class StagePlan(NamedTuple):
    """What one stage will do.

    Attributes:
      name: as in the header of the stage.
      work: of an epoch, or of the whole stage if it has none, "2,816 images".
      epochs: at most; 0 if the stage has none.
      updates: of the weights in all epochs.
      seconds: on this machine, without compilation; ``None`` if unknown.
      disk: bytes that stay; ``None`` if unknown.
      ready: it was completed by an earlier call.
    """

    name: str
    work: str
    epochs: int
    updates: int
    seconds: float | None
    disk: int | None
    ready: bool


def data_table(counts: Sequence[SplitCounts]) -> Table:
    """Who is labelled in every set and split, and how many frames are used."""
    table = _table(
        ("set", ""), ("videos", "people", "labelled frames", "frames used", "")
    )
    last = ""
    for each in counts:
        numbers = (f"{number:,}" for number in each[2:])
        share = f"{each.used / each.labelled:.0%}"
        shown = "" if each.set_name == last else each.set_name
        style = "" if each.used else "bold yellow"
        table.add_row(shown, each.split, *numbers, share, style=style)
        last = each.set_name
    return table


def plan_table(stages: Sequence[StagePlan]) -> Table:
    """Work, time and disk of every stage."""
    table = _table(("stage", "an epoch, or all"), ("epochs", "updates", "time", "disk"))
    for each in stages:
        numbers = (f"{n:,}" if n else "" for n in (each.epochs, each.updates))
        cost = (rough_time(each.seconds), rough_size(each.disk))
        cost = ("ready", "") if each.ready else cost
        style = "dim" if each.ready else ""
        table.add_row(each.name, each.work, *numbers, *cost, style=style)
    return table


def _table(left: Sequence[str], right: Sequence[str]) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for name in left:
        table.add_column(name, no_wrap=True)
    for name in right:
        table.add_column(name, justify="right", no_wrap=True)
    return table


def rough_time(seconds: float | None) -> str:
    """As exact as an estimate is: "40 s", "12 min", "5 h", "3 days"."""
    if seconds is None:
        return "?"
    for unit, length, below in (("s", 1, 100), ("min", 60, 6000), ("h", 3600, 172_800)):
        if seconds < below:
            return f"{max(1, round(seconds / length))} {unit}"
    return f"{seconds / 86_400:,.0f} days"


def rough_size(size: int | None) -> str:
    """Bytes as "1.3 MB"."""
    return "?" if size is None else decimal(size)
