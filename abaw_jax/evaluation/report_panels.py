"""Pictures of the HTML report: single panels, which a page sets side by side or not."""

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes

from abaw_jax.evaluation.calibration import Reliability
from abaw_jax.evaluation.plot_style import CHANCE, colour_of, draw_panel
from abaw_jax.evaluation.plots import Compared, Records, draw_agreement, draw_curve
from abaw_jax.report.console import Levels


def curve_panel(
    records: Records, levels: Levels, key: str, chosen: Mapping[str, int]
) -> bytes:
    """One score of `plots.CURVES` by epoch, as SVG; arguments of `learning_curves`."""
    return draw_panel(
        lambda axes: draw_curve(axes, records, levels, key, chosen), 3.7, 2.7
    )


def agreement_panel(va: Compared, column: int, scores: Mapping[str, float]) -> bytes:
    """Density of valence or arousal as SVG; arguments of `valence_arousal_scatter`."""
    return draw_panel(lambda axes: draw_agreement(axes, va, column, scores), 4.0, 4.0)


def reliability_panel(found: Reliability) -> bytes:
    """Observed over predicted probability, and how many predictions, as SVG.

    Args:
      found: with at least one prediction.
    """
    return draw_panel(lambda axes: _draw_reliability(axes, found), 4.0, 4.0)


def _draw_reliability(axes: Axes, found: Reliability) -> None:
    edges = np.linspace(0, 1, len(found.count) + 1)
    share = found.count / found.count.sum()
    width, filled = edges[1], found.count > 0
    axes.bar(
        *(edges[:-1], share, width * 0.96),
        align="edge",
        color="#DADADA",
        label="share of predictions",
    )
    axes.plot([0, 1], [0, 1], color=CHANCE, linewidth=1.0, label="perfect")
    axes.plot(
        *(found.predicted[filled], found.observed[filled]),
        "o-",
        color=colour_of("teacher"),
        markersize=5,
        label="observed",
    )
    axes.set(xlim=(0, 1), ylim=(0, 1.02), aspect="equal")
    axes.set(xlabel="predicted probability", ylabel="share that is true")
    axes.legend(loc="upper left", fontsize=9)
