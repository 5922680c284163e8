"""The style of all figures: colours, the figure saved as PNG, the panel as SVG.

Colours are those of Okabe and Ito, which remain distinct for colour-blind readers; each
has one meaning throughout the project.
"""

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

COLOURS = {
    "teacher": "#0072B2",
    "student": "#D55E00",
    "student2": "#CC79A7",
    "student3": "#E69F00",
}


CHANCE = "#6B6B6B"

LEVEL_LINES: dict[str, Any] = {
    "chance": {"color": CHANCE, "linestyle": (0, (4, 3)), "linewidth": 1.2},
    "linear_probe": {"color": CHANCE, "linestyle": (0, (1, 1.5)), "linewidth": 1.6},
}
"""Lines of the levels that networks are compared with."""


INK = "#262626"


DENSITY = LinearSegmentedColormap.from_list(
    "density", ["#FFFFFF", "#BFDCEE", "#56A5D0", "#0072B2", "#00345A"]
)


STYLE: Any = {
    "axes.edgecolor": "#8C8C8C",
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.labelcolor": INK,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "font.size": 10,
    "grid.color": "#EBEBEB",
    "legend.frameon": False,
    "lines.linewidth": 2.0,
    "text.color": INK,
    "xtick.color": "#595959",
    "ytick.color": "#595959",
}


def colour_of(name: str) -> str:
    """The colour of a stage or model in every picture."""
    return COLOURS.get(name, INK)


@contextmanager
def new_figure(
    path: str | PathLike[str], width: float, height: float
) -> Iterator[Figure]:
    """An empty figure of that many inches, saved when the block ends."""
    with rc_context(STYLE):
        figure = Figure(figsize=(width, height), dpi=100, layout="constrained")
        yield figure
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        # Without the version of matplotlib: the same data make the same bytes.
        figure.savefig(path, metadata={"Software": None})


def draw_panel(draw: Callable[[Axes], None], width: float, height: float) -> bytes:
    """One panel of that many inches as SVG; the same data make the same bytes."""
    with rc_context({**STYLE, "svg.hashsalt": "abaw_jax"}):
        figure = Figure(figsize=(width, height), layout="constrained")
        draw(figure.subplots())
        content = io.BytesIO()
        nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(content, format="svg", metadata=nothing)
    return content.getvalue()
