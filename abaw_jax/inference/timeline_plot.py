"""A figure of one person in a video over time, from the table of `predict`."""

import csv
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
_DRAWN = (*AFFECT, *EXPRESSIONS, *UNIT_NAMES)
_PARTS = len(AFFECT), len(AFFECT) + len(EXPRESSIONS)


_ALONE = 0.04
"""Seconds that the only frame of a table is drawn for: nothing tells its rate."""


def draw_timeline(table: Path, path: Path) -> None:
    """Writes valence and arousal, expressions and action units over time.

    The axis spans all frames of the table, with a face or without. A frame is as wide
    as the time until the next one.

    Args:
      table: CSV of `write_table`; the face with the most rows is drawn.
      path: of the PNG.

    Raises:
      ValueError: if the table has no row with a face.
    """
    face, others, edges, values = _most_frequent_face(table)
    affect, expressions, units = np.split(values, _PARTS, axis=1)
    with new_figure(path, 12, 7) as figure:
        top, middle, bottom = figure.subplots(
            3, 1, sharex=True, height_ratios=(2, 1.5, 2)
        )
        which = f", one of {others + 1}" if others else ""
        name = printable(table.stem)
        top.set_title(f"{name}: face {face}{which}", parse_math=False)
        _draw_affect(top, edges, affect)
        _draw_expressions(middle, edges, expressions)
        _draw_units(bottom, edges, units)
        bottom.set_xlim(edges[0], edges[-1])
        bottom.set_xlabel("seconds")


def _most_frequent_face(table: Path) -> tuple[str, int, np.ndarray, np.ndarray]:
    """The face with the most rows.

    Returns:
      Its number; how many other faces there are; when each frame of the table begins
      and the last one ends ``[F + 1]``, in seconds; and its values ``[F, C]``, NaN in
      frames without it.
    """
    starts: dict[str, float] = {}
    rows: dict[str, dict[str, list[float]]] = {}
    with table.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            starts.setdefault(row["frame"], float(row["time"]))
            if row["face"]:
                values = [float(row[name]) for name in _DRAWN]
                rows.setdefault(row["face"], {})[row["frame"]] = values
    if not rows:
        raise ValueError(f"{table} has no face to draw.")
    face = max(rows, key=lambda each: len(rows[each]))
    nothing = [np.nan] * len(_DRAWN)
    found = np.array([rows[face].get(frame, nothing) for frame in starts])
    return face, len(rows) - 1, _edges([*starts.values()]), found


def _edges(starts: Sequence[float]) -> np.ndarray:
    """Where frames begin, and where the last one ends if it is as long as most are."""
    length = np.median(np.diff(starts)) if len(starts) > 1 else _ALONE
    return np.array([*starts, starts[-1] + length])


def _draw_affect(axes: Axes, edges: np.ndarray, values: np.ndarray) -> None:
    axes.axhline(0, color=CHANCE, lw=1)
    seen = np.pad(np.isfinite(values[:, 0]), 1)
    # Between two frames without the face there is no line, but a dot.
    dots = np.flatnonzero(seen[1:-1] & ~seen[:-2] & ~seen[2:])
    shape = {"marker": ".", "markevery": dots.tolist(), "ms": 8}
    colours = map(colour_of, ("teacher", "student"))
    for name, colour, column in zip(AFFECT, colours, values.T, strict=True):
        axes.plot(edges[:-1], column, color=colour, label=name, **shape)
    axes.set_ylim(-1, 1)
    axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1), frameon=False)


def _draw_expressions(axes: Axes, edges: np.ndarray, values: np.ndarray) -> None:
    sides, heights = np.repeat(edges, 2)[1:-1], np.repeat(values, 2, axis=0)
    axes.stackplot(sides, heights.T, colors=_COLOURS, labels=EXPRESSIONS)
    axes.set_ylim(0, 1)
    axes.set_ylabel("probability")
    axes.legend(
        loc="upper left", bbox_to_anchor=(1.01, 1.05), frameon=False, fontsize=8
    )


def _draw_units(axes: Axes, edges: np.ndarray, values: np.ndarray) -> None:
    mesh = axes.pcolormesh(
        edges, np.arange(len(UNIT_NAMES) + 1), values.T, cmap="Blues", vmin=0, vmax=1
    )
    axes.set_yticks(np.arange(len(UNIT_NAMES)) + 0.5, UNIT_NAMES, fontsize=8)
    axes.invert_yaxis()
    axes.grid(visible=False)
    axes.figure.colorbar(mesh, ax=axes, label="probability", pad=0.01)
