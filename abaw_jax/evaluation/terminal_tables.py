"""Tables for a terminal of 80 columns: a population, and the intervals of one run."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from abaw_jax.evaluation.intervals import FEWEST_VIDEOS, Interval
from abaw_jax.evaluation.tables import INTERVAL, LEVEL_ROWS, Laboratory, interval_text
from abaw_jax.report.console import COLUMNS


def as_tables(laboratory: Laboratory) -> Iterator[Table | str]:
    """Text for the terminal: both tables, 80 columns wide, and their captions.

    VA, the mean of V and A, is left to the files.
    """
    keys = [key for key in laboratory.keys if key != "va"]
    scores = _table(["", "run", *(COLUMNS[key] for key in keys)])
    for group in laboratory.groups():
        cells = [_short(group.scores[key]) for key in keys]
        scores.add_row(group.role, group.variant, *cells)
    for name, level in laboratory.levels.items():
        cells = [f"{level[key]:.3f}".replace("0.", ".", 1) for key in keys]
        scores.add_row(*LEVEL_ROWS[name], *cells, style="dim")
    yield scores
    differences = _table(["difference", *(COLUMNS[key] for key in keys)])
    for title, each in groupby(laboratory.differences(), lambda d: (d.better, d.than)):
        differences.add_row(Text(" - ".join(title), style="bold"))
        for one in each:
            stars = ["" if one.scores[k].verdict == "undecided" else "*" for k in keys]
            pairs = zip(keys, stars, strict=True)
            cells = [_short(one.scores[key]) + star for key, star in pairs]
            differences.add_row(f"  {one.variant}", *cells)
    yield differences
    yield f"{laboratory.data} {INTERVAL}"


def _table(header: Sequence[str]) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 0, 0, 1))
    for name in header:
        # Of a long line, what a run changes is folded and no score is cut.
        score = name in COLUMNS.values()
        table.add_column(name, justify="right" if score else "left", no_wrap=score)
    return table


def _short(interval: Interval) -> str:
    """Without zeros before the point, as ".230±.025"."""
    return interval_text(interval).replace("0.", ".").replace(" ", "")


def intervals_table(
    intervals: Mapping[str, Mapping[str, Sequence[float | None]]],
) -> Table:
    """The terminal's table of one run's intervals, 80 columns wide, without VA.

    Args:
      intervals: mean, low and high by score, by role or difference of roles; bounds
        are None where there are too few videos.
    """
    known = {key for scores in intervals.values() for key in scores}
    keys = [key for key in COLUMNS if key != "va" and key in known]
    table = _table(["95 % interval", *(COLUMNS[key] for key in keys)])
    for name, scores in intervals.items():
        bounds = {key: each[1:] for key, each in scores.items() if None not in each}
        cells = [
            "\N{EN DASH}".join(map(_bound, bounds[key])) if key in bounds else "-"
            for key in keys
        ]
        table.add_row(name, *cells)
    return table


def class_table(title: str, scores: Mapping[str, float]) -> Table:
    """F1 of every class of one task, best first.

    Args:
      title: of the classes.
      scores: by class.
    """
    table = _table([title, "F1", ""])
    table.columns[1].justify = "right"
    for name, score in sorted(scores.items(), key=lambda each: -each[1]):
        table.add_row(name, _bound(score), "\N{BLACK RECTANGLE}" * round(40 * score))
    return table


def _bound(value: float | None) -> str:
    """Two decimals, no zero before the point: -.05, 1.12."""
    return f"{value:.2f}".replace("0.", ".", 1)


OVER_VIDEOS = (
    "Intervals of one run over its validation videos (jackknife; - with fewer than "
    f"{FEWEST_VIDEOS} videos). They know no other seeds, as configs/table1.py does."
)

SELECTED = (
    "The epoch was chosen by these very scores, which flatters them a little; with "
    "config.evaluation.selection=held_out training videos choose it."
)
