"""Terminal output: stages, progress, a line for each epoch, tables.

A terminal shows progress bars; a file or CI gets the same information as a few plain
lines.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Protocol

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table
from rich.text import Text

from abaw_jax.releases.names import printable

SCORES = {
    "valence": "valence",
    "arousal": "arousal",
    "expr": "EXPR",
    "au": "AU",
    "mtl": "MTL",
    "discriminator": "D",
}
"""Keys of the scores of an epoch line, in its order, and how a person reads them."""

COLUMNS = {
    "expr": "EXPR",
    "au": "AU",
    "va": "VA",
    "valence": "V",
    "arousal": "A",
    "mtl": "MTL",
}
"""Keys and headings of the results, in the order of Table 1 of the paper."""

LEVELS = {
    "linear_probe": (
        "linear probe",
        "ridge and logistic regression on the features of the same windows",
    ),
    "chance": (
        "chance",
        "a guess that sees no input and knows how often each label occurs",
    ),
}
"""What networks are compared with, by key of ``result.json``: name, and what it is."""

Levels = Mapping[str, Mapping[str, float]]
"""Scores by name of the level, a key of `LEVELS`."""

LEGEND = {
    "EXPR": "EXPR, AU: mean F1 over the classes.",
    "VA": "VA: mean CCC of valence (V) and arousal (A).",
    "MTL": "MTL: the sum of all three on the frames of the multi-task set.",
}
"""Meanings of the headings; shown for the columns that a table has."""

SECONDS_BETWEEN_LINES = 10.0

# One console for everything: rich keeps lines above a moving bar only if they share it.
_console = Console(highlight=False)


class Update(Protocol):
    """Tells a progress display how far things are."""

    def __call__(self, done: int, total: int | None = None) -> None:
        """Shows ``done`` of ``total``; without a total, of the last one given."""
        ...


class _RateEstimator:
    """Rate and time left, from the first report on: what came before it is set-up."""

    def __init__(self, total: int) -> None:
        self.began = time.monotonic()
        self.total = total
        self.done = 0
        self._first: tuple[float, int] | None = None

    def report(self, done: int, total: int | None) -> None:
        self.done, self.total = done, self.total if total is None else total
        if self._first is None:
            self._first = time.monotonic(), done

    def rate(self) -> float | None:
        """Items per second; ``None`` before it can be known."""
        if self._first is None or self.done <= self._first[1]:
            return None
        passed = time.monotonic() - self._first[0]
        return (self.done - self._first[1]) / passed if passed > 0 else None

    def text(self) -> str:
        rate = self.rate()
        if rate is None:
            return ""
        left = max(self.total - self.done, 0) / rate
        return f"{_rate(rate)}, {_duration(left)} left"


def silence() -> None:
    """Prints nothing from now on: of several processes, the first prints."""
    _console.quiet = True


def say(text: str, *, style: str = "") -> None:
    """Prints one line, above a moving progress bar if there is one.

    A line end or a code for the terminal in a name that it quotes is shown, not obeyed.
    """
    _console.print(printable(text), soft_wrap=True, markup=False, style=style)


def show(part: Table | str) -> None:
    """Prints a table, or a paragraph in the small print below one."""
    _console.print(part, style="dim" if isinstance(part, str) else "", markup=False)


def warn(text: str) -> None:
    """Prints one line that should not be overlooked."""
    say(f"Warning: {text}", style="bold yellow")


def stage_header(name: str, text: str) -> None:
    """Prints the name of a stage that begins, and what it will do."""
    _console.print()
    header = Text.assemble((name, "bold cyan"), "  ", printable(text))
    _console.print(header, soft_wrap=True)


@contextmanager
def progress(description: str, total: int) -> Iterator[Update]:
    """Shows how far something is, how fast, and how long it will take.

    Args:
      description: a word or two.
      total: number of items; may be corrected with any update.

    Yields:
      ``update(done, total=None)``, to be called as often as is convenient.
    """
    description = printable(description)
    pace = _RateEstimator(total)
    show = _bar if _console.is_interactive else _lines
    with show(description, pace) as update:
        yield update
    if not pace.total:  # nothing was to be done
        return
    passed = _duration(time.monotonic() - pace.began)
    say(f"{description}: {pace.done:,} of {pace.total:,} in {passed}", style="dim")


@contextmanager
def _bar(description: str, pace: _RateEstimator) -> Iterator[Update]:
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[pace]}", style="dim"),
    )
    with Progress(*columns, console=_console, transient=True) as bar:
        task = bar.add_task(description, total=pace.total, pace="")

        def update(done: int, total: int | None = None) -> None:
            pace.report(done, total)
            bar.update(task, completed=done, total=pace.total, pace=pace.text())

        yield update


@contextmanager
def _lines(description: str, pace: _RateEstimator) -> Iterator[Update]:
    last = pace.began

    def update(done: int, total: int | None = None) -> None:
        nonlocal last
        pace.report(done, total)
        now = time.monotonic()
        if now - last < SECONDS_BETWEEN_LINES or done >= pace.total:
            return
        last = now
        end = f", {pace.text()}" if pace.text() else ""
        say(f"{description}: {done:,} of {pace.total:,}{end}", style="dim")

    yield update


def epoch_line(
    stage: str,
    epoch: int,
    epochs: int,
    loss: float,
    scores: Mapping[str, float],
    chance: Mapping[str, float],
    seconds: float,
) -> None:
    """Prints one line: loss and every score, each followed by its chance level.

    Args:
      stage: name of what trains.
      epoch: the one that ended, from 1.
      epochs: of the whole run, at most.
      loss: mean over the epoch.
      scores: by key of `SCORES`; those missing are left out.
      chance: what a guess without input reaches, by the same keys.
      seconds: that the epoch took.
    """
    line = Text(f"{stage:8} {epoch:>{len(str(epochs))}}/{epochs}  loss {loss:.3f}")
    for key, name in SCORES.items():
        if key in scores:
            better = scores[key] > chance.get(key, 0.0)
            line.append(f"  {name} ")
            line.append(_score(scores[key], 3), style="green" if better else "yellow")
            if key in chance:
                line.append(f" ({_score(chance[key], 2).strip()})", style="dim")
    line.append(f"  {_duration(seconds)}", style="dim")
    _console.print(line, soft_wrap=True)


def results_table(
    results: Mapping[str, Mapping[str, float]],
    levels: Mapping[str, Mapping[str, float]],
    *,
    ran: Mapping[str, str] | None = None,
) -> None:
    """Prints the results in the form of Table 1 of the paper.

    Args:
      results: scores by row name (teacher, student), each with the keys of `COLUMNS`.
      levels: of `LEVELS`, the last rows.
      ran: by row name, what was run: on which data, how often.
        Rows that it does not name stay empty.
    """
    header, *rows = _cells(results, levels, ran or {})
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("", no_wrap=True)
    for name in header[1:-1]:
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(*row[:-1], style="" if row[0] in results else "dim")
    # Below the table, not in it: what was run takes more room than a terminal has.
    notes = Table.grid(padding=(0, 2))
    for name, *_, what in rows:
        notes.add_row(name, Text(printable(what)), style="dim")
    notes.add_row("", _legend(header), style="dim")
    for part in ("", table, notes):
        _console.print(part)


def _legend(header: Sequence[str]) -> str:
    return " ".join(text for name, text in LEGEND.items() if name in header)


def _cells(
    results: Mapping[str, Mapping[str, float]],
    levels: Mapping[str, Mapping[str, float]],
    ran: Mapping[str, str],
) -> list[list[str]]:
    named = {LEVELS[key][0]: levels[key] for key in LEVELS if key in levels}
    ran = {**dict(LEVELS.values()), **ran}
    all_scores = {**results, **named}
    keys = [key for key in COLUMNS if any(key in each for each in all_scores.values())]
    rows = [["", *(COLUMNS[key] for key in keys), "what was run"]]
    for name, scores in all_scores.items():
        numbers = [f"{scores[key]:.3f}" if key in scores else "-" for key in keys]
        rows.append([name, *numbers, ran.get(name, "")])
    return rows


def _score(value: float, decimals: int) -> str:
    """Without the zero before the point and of one width, so that epochs align."""
    text = f"{value:.{decimals}f}"
    return (text.replace("0.", ".") if abs(value) < 1 else text).rjust(decimals + 2)


def _rate(per_second: float) -> str:
    if per_second < 1:
        return f"{_duration(1 / per_second)} each"
    return f"{per_second:,.0f}/s" if per_second >= 10 else f"{per_second:.1f}/s"


def _duration(seconds: float) -> str:
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
