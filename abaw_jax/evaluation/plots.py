"""Figures of a run: learning curves, agreement, confusion, action units, a summary.

Figures are made without pyplot and without a window system. Point clouds become
densities, so a million frames make a small file.
"""

from collections.abc import Mapping, Sequence
from os import PathLike
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import FigureBase
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike

from abaw_jax.evaluation.class_scores import confusion
from abaw_jax.evaluation.plot_style import (
    CHANCE,
    DENSITY,
    INK,
    LEVEL_LINES,
    colour_of,
    new_figure,
)
from abaw_jax.report.console import LEVELS, Levels
from abaw_jax.tasks import ACTION_UNITS, AFFECT, EXPRESSIONS

Records = Mapping[str, Sequence[Mapping[str, Any]]]
"""Records of the metrics log by stage."""


CURVES = {
    "loss": "loss, relative to epoch 1",
    "valence": "valence (CCC)",
    "arousal": "arousal (CCC)",
    "expr": "EXPR (mean F1)",
    "au": "AU (mean F1)",
    "mtl": "MTL (sum)",
    "discriminator": "discriminator (accuracy)",
}

MOVEMENTS = (
    "inner brow raiser",
    "outer brow raiser",
    "brow lowerer",
    "cheek raiser",
    "lid tightener",
    "upper lip raiser",
    "lip corner puller",
    "lip corner depressor",
    "lip tightener",
    "lip pressor",
    "lips part",
    "jaw drop",
)
"""Movements of the `ACTION_UNITS`, as the facial action coding system names them."""


class Compared(NamedTuple):
    """Predictions beside the labels they are for.

    Attributes:
      predictions: ``[N, 2]`` for valence and arousal, int ``[N]`` for expressions.
      labels: of the same shape.
      where: bool ``[N]``, True at labelled frames.
    """

    predictions: ArrayLike
    labels: ArrayLike
    where: ArrayLike


def learning_curves(
    records: Records,
    levels: Levels,
    path: str | PathLike[str],
    *,
    chosen: Mapping[str, int] | None = None,
) -> None:
    """Loss and scores by epoch, one colour per stage, levels dashed.

    Args:
      records: by stage; those without a score, such as single steps, are left out.
      levels: scores by name of the level, as of `measure_levels`.
      path: of the PNG.
      chosen: epoch by stage whose network is handed on, marked with a dot.
    """
    known = {key for each in records.values() for record in each for key in record}
    keys = [key for key in CURVES if key in known]
    columns = -(-len(keys) // 2)
    with new_figure(path, 11.0 * columns / 3, 6.0) as figure:
        *panels, last = figure.subplots(2, columns).ravel()
        if len(keys) % 2:
            last.remove()
        for axes, key in zip((*panels, last), keys, strict=False):
            draw_curve(axes, records, levels, key, chosen or {})
        _draw_key(figure, records, levels, marked=bool(chosen))


def valence_arousal_scatter(
    predictions: ArrayLike,
    labels: ArrayLike,
    where: ArrayLike,
    path: str | PathLike[str],
    *,
    scores: Mapping[str, float] | None = None,
) -> None:
    """Density of predictions over labels; perfect ones lie on the diagonal.

    Args:
      predictions: ``[N, 2]`` in ``[-1, 1]``.
      labels: ``[N, 2]`` in ``[-1, 1]``.
      where: bool ``[N]``, True at labelled frames.
      path: of the PNG.
      scores: CCC by name of the dimension, printed where given.
    """
    va = Compared(predictions, labels, where)
    with new_figure(path, 9.0, 4.6) as figure:
        for axes, column in zip(figure.subplots(1, 2), range(2), strict=True):
            draw_agreement(axes, va, column, scores or {})


def expression_confusion(
    predictions: ArrayLike,
    labels: ArrayLike,
    where: ArrayLike,
    path: str | PathLike[str],
) -> None:
    """Share of every expression's frames that were taken for each expression.

    Args:
      predictions: int ``[N]``, classes.
      labels: int ``[N]``, classes.
      where: bool ``[N]``, True at labelled frames.
      path: of the PNG.
    """
    with new_figure(path, 6.4, 5.6) as figure:
        _draw_confusion(figure.subplots(), Compared(predictions, labels, where))


def action_unit_bars(
    scores: Mapping[str, ArrayLike], chance: ArrayLike, path: str | PathLike[str]
) -> None:
    """F1 of every action unit, a bar per model and a line at the chance level.

    Args:
      scores: ``[12]`` by model (teacher, student).
      chance: ``[12]``.
      path: of the PNG.
    """
    with new_figure(path, 7.2, 6.0) as figure:
        axes = figure.subplots()
        _draw_units(axes, scores, chance)
        chance_first, names = axes.get_legend_handles_labels()
        axes.legend(
            np.roll(np.array(chance_first, object), -1),
            np.roll(names, -1),
            loc="lower center",
            bbox_to_anchor=(0.4, 1.04),
            ncols=3,
        )


def summary(
    records: Records,
    levels: Levels,
    path: str | PathLike[str],
    *,
    va: Compared,
    expr: Compared,
    unit_scores: Mapping[str, ArrayLike],
    unit_chance: ArrayLike,
    scores: Mapping[str, float] | None = None,
    chosen: Mapping[str, int] | None = None,
) -> None:
    """The whole run in one picture, for a README.

    Args:
      records: as for `learning_curves`.
      levels: as there.
      path: of the PNG.
      va: as for `valence_arousal_scatter`.
      expr: as for `expression_confusion`.
      unit_scores: as for `action_unit_bars`.
      unit_chance: as there.
      scores: as for `valence_arousal_scatter`.
      chosen: as for `learning_curves`.
    """
    with new_figure(path, 16.0, 9.4) as figure:
        rows = figure.subfigures(2, 1, height_ratios=(1.0, 1.7), hspace=0.04)
        top, bottom = np.asarray(rows)
        keys = ("valence", "arousal", "expr", "au", "mtl")
        for axes, key in zip(top.subplots(1, 5), keys, strict=True):
            if any(key in record for each in records.values() for record in each):
                draw_curve(axes, records, levels, key, chosen or {})
            else:
                axes.remove()
        _draw_key(top, records, levels, marked=bool(chosen))
        parts = bottom.subfigures(1, 3, width_ratios=(0.72, 1.3, 1.15))
        left, middle, right = np.asarray(parts)
        for axes, column in zip(left.subplots(2, 1), range(2), strict=True):
            draw_agreement(axes, va, column, scores or {})
        _draw_confusion(middle.subplots(), expr)
        _draw_units(right.subplots(), unit_scores, unit_chance)


def draw_curve(
    axes: Axes,
    records: Records,
    levels: Levels,
    key: str,
    chosen: Mapping[str, int],
) -> None:
    """Draws one score of `CURVES` by epoch."""
    for stage, all_records in records.items():
        points = [record for record in all_records if key in record]
        points = [record for record in points if "chunk" not in record]
        if points:
            epochs = [record["epoch"] for record in points]
            # The log says null where a number was not finite; a gap shows it.
            values = np.array([record[key] for record in points], float)
            if key == "loss":
                values = values / values[0]
            colour = colour_of(stage)
            axes.plot(epochs, values, color=colour)
            best = np.isin(epochs, chosen.get(stage, -1))
            axes.plot(
                np.array(epochs)[best], values[best], "o", color=colour, markersize=5
            )
    for name, scores in levels.items():
        if key in scores:
            axes.axhline(scores[key], **LEVEL_LINES[name])
    axes.set_title(CURVES[key])
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator("auto", integer=True))
    axes.margins(y=0.12)


def _draw_key(
    figure: FigureBase, records: Records, levels: Levels, *, marked: bool
) -> None:
    """One legend for all panels of a figure or subfigure."""
    lines = [Line2D([], [], color=colour_of(stage), label=stage) for stage in records]
    lines += [
        Line2D([], [], label=LEVELS[name][0], **LEVEL_LINES[name]) for name in levels
    ]
    if marked:
        dot: Any = {"marker": "o", "linestyle": "", "color": INK, "markersize": 5}
        lines.append(Line2D([], [], label="chosen epoch", **dot))
    figure.legend(handles=lines, loc="outside upper right", ncols=len(lines))


def draw_agreement(
    axes: Axes, va: Compared, column: int, scores: Mapping[str, float]
) -> None:
    """Draws the density of one dimension, predictions over labels."""
    name = AFFECT[column]
    where = np.asarray(va.where, bool)
    pair = np.asarray(va.labels), np.asarray(va.predictions)
    edges = np.linspace(-1, 1, 51)
    counts, *_ = np.histogram2d(*(each[where, column] for each in pair), bins=edges)
    axes.imshow(
        counts.T,
        cmap=DENSITY,
        norm=LogNorm(vmin=0.5, vmax=max(counts.max(), 1)),
        extent=(-1, 1, -1, 1),
        origin="lower",
        zorder=1,  # above the grid
    )
    axes.plot([-1, 1], [-1, 1], color=CHANCE, linewidth=1.0)
    axes.set(xlim=(-1.03, 1.03), ylim=(-1.03, 1.03), aspect="equal")
    axes.set(xticks=(-1, -0.5, 0, 0.5, 1), yticks=(-1, -0.5, 0, 0.5, 1))
    axes.set(xlabel="label", ylabel="prediction")
    ccc = f", CCC {scores[name]:.2f}" if name in scores else ""
    axes.set_title(f"{name}{ccc}")


def _draw_confusion(axes: Axes, expr: Compared) -> None:
    counts = confusion(*map(np.asarray, expr))
    frames = counts.sum(1)
    share = counts / np.maximum(frames, 1)[:, None]
    axes.imshow(share, cmap=DENSITY, vmin=0, vmax=1, aspect="auto")
    for row, column in np.ndindex(*share.shape):
        if frames[row]:
            colour = "white" if share[row, column] > 0.5 else INK
            text = f"{100 * share[row, column]:.0f}"
            axes.text(column, row, text, color=colour, ha="center", va="center")
    ticks = range(len(EXPRESSIONS))
    axes.set_xticks(ticks, EXPRESSIONS, rotation=35, ha="right")
    names = [f"{each} ({n:,})" for each, n in zip(EXPRESSIONS, frames, strict=True)]
    axes.set_yticks(ticks, names)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.grid(False)
    axes.set(xlabel="taken for", ylabel="label (frames)")
    axes.set_title("expressions, % of each row")


def _draw_units(axes: Axes, scores: Mapping[str, ArrayLike], chance: ArrayLike) -> None:
    rows = np.arange(len(ACTION_UNITS))
    height = 0.8 / len(scores)
    for i, (model, values) in enumerate(scores.items()):
        offset = (i + 0.5) * height - 0.4
        colour = colour_of(model)
        axes.barh(
            rows + offset, np.asarray(values), height * 0.9, color=colour, label=model
        )
    axes.vlines(
        np.asarray(chance), rows - 0.46, rows + 0.46, color=INK, lw=1.6, label="chance"
    )
    names = [
        f"{unit} {does}" for unit, does in zip(ACTION_UNITS, MOVEMENTS, strict=True)
    ]
    axes.set_yticks(rows, names)
    axes.tick_params(axis="y", length=0)
    axes.grid(False, axis="y")
    axes.set(xlim=(0, 1), ylim=(len(rows) - 0.4, -0.6), xlabel="F1")
    axes.set_title("action units, with chance marked")
