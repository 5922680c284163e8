"""A figure of one person in a video over time, from the table of `predict`."""

import csv
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes

from abaw_jax.evaluation.plot_style import CHANCE, colour_of, new_figure
from abaw_jax.inference.prediction_table import UNIT_NAMES
from abaw_jax.releases.names import printable
from abaw_jax.tasks import AFFECT, EXPRESSIONS

_COLOURS = (
    *("#c7c7c7", "#b2182b", "#5aae61", "#542788"),
    *("#fdb863", "#2166ac", "#e7298a", "#666666"),
)
"""Of the expressions, in their order."""


def draw_timeline(table: Path, path: Path) -> None:
    """Writes valence and arousal, expressions and action units over time.

    Args:
      table: CSV of `write_table`; the face with the most rows is drawn.
      path: of the PNG.

    Raises:
      ValueError: if the table has no row with a face.
    """
    with table.open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["face"]]
    if not rows:
        raise ValueError(f"{table} has no face to draw.")
    people = Counter(row["face"] for row in rows)
    face = people.most_common(1)[0][0]
    rows = [row for row in rows if row["face"] == face]
    time, gaps = _times([float(row["time"]) for row in rows])

    def values(names: tuple[str, ...]) -> np.ndarray:
        found = np.array([[float(row[name]) for name in names] for row in rows])
        return np.insert(found, gaps, np.nan, axis=0)

    with new_figure(path, 12, 7) as figure:
        top, middle, bottom = figure.subplots(
            3, 1, sharex=True, height_ratios=(2, 1.5, 2)
        )
        others = f", one of {len(people)}" if len(people) > 1 else ""
        name = printable(table.stem)
        top.set_title(f"{name}: face {face}{others}", parse_math=False)
        _draw_affect(top, time, values(AFFECT))
        _draw_expressions(middle, time, values(EXPRESSIONS))
        _draw_units(bottom, time, values(UNIT_NAMES))
        bottom.set_xlabel("seconds")


def _times(seconds: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    """Times with one more in the middle of each gap, and the rows that follow these."""
    time = np.array(seconds)
    steps = np.diff(time)
    gaps = np.flatnonzero(steps > 2 * np.median(steps)) + 1 if len(steps) else []
    gaps = np.asarray(gaps, int)
    return np.insert(time, gaps, (time[gaps] + time[gaps - 1]) / 2), gaps


def _draw_affect(axes: Axes, time: np.ndarray, values: np.ndarray) -> None:
    axes.axhline(0, color=CHANCE, lw=1)
    colours = map(colour_of, ("teacher", "student"))
    for name, colour, column in zip(AFFECT, colours, values.T, strict=True):
        axes.plot(time, column, color=colour, label=name)
    axes.set_ylim(-1, 1)
    axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1), frameon=False)


def _draw_expressions(axes: Axes, time: np.ndarray, values: np.ndarray) -> None:
    axes.stackplot(time, values.T, colors=_COLOURS, labels=EXPRESSIONS)
    axes.set_ylim(0, 1)
    axes.set_ylabel("probability")
    axes.legend(
        loc="upper left", bbox_to_anchor=(1.01, 1.05), frameon=False, fontsize=8
    )


def _draw_units(axes: Axes, time: np.ndarray, values: np.ndarray) -> None:
    # Edges half way between the rows: frames without a face stay as wide as they are.
    middle = (time[1:] + time[:-1]) / 2
    edges = np.concatenate([time[:1], middle, time[-1:] + 1e-3])
    mesh = axes.pcolormesh(
        edges, np.arange(len(UNIT_NAMES) + 1), values.T, cmap="Blues", vmin=0, vmax=1
    )
    axes.set_yticks(np.arange(len(UNIT_NAMES)) + 0.5, UNIT_NAMES, fontsize=8)
    axes.invert_yaxis()
    axes.grid(visible=False)
    axes.figure.colorbar(mesh, ax=axes, label="probability", pad=0.01)
