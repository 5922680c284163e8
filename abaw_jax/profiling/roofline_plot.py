"""A figure of a profile: measured times beside their bounds."""

from collections.abc import Mapping
from os import PathLike

from abaw_jax.evaluation.plot_style import INK, new_figure

_COLOUR = "#4c78a8"


def draw(seconds: Mapping[str, float], title: str, path: str | PathLike[str]) -> None:
    """Writes one horizontal bar for each.

    Args:
      seconds: by name, from top to bottom.
      title: what was profiled.
      path: of the PNG; its folder is made.
    """
    with new_figure(path, 8, 1.6 + 0.5 * len(seconds)) as figure:
        axes = figure.subplots()
        bars = axes.barh(range(len(seconds)), [*seconds.values()], color=_COLOUR)
        labels = [f" {1000 * value:.3g} ms" for value in seconds.values()]
        axes.bar_label(bars, labels, color=INK)
        axes.set_yticks(range(len(seconds)), [*seconds])
        axes.invert_yaxis()
        axes.set_xlim(0, 1.2 * max(seconds.values()))
        axes.set_xticks([])
        axes.grid(False)
        axes.spines[["top", "right", "bottom"]].set_visible(False)
        axes.set_title(title, loc="left")
