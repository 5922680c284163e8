"""A figure of many runs: a dot for each seed, means with their intervals."""

from os import PathLike

from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from abaw_jax.evaluation.plot_style import INK, LEVEL_LINES, colour_of, new_figure
from abaw_jax.evaluation.tables import Laboratory
from abaw_jax.report.console import COLUMNS, LEVELS

_SHOWN = ("valence", "arousal", "expr", "au", "mtl")
_APART = 0.3  # between the roles of one variant, in rows


def draw(laboratory: Laboratory, path: str | PathLike[str]) -> None:
    """Writes a panel per score, a row per variant, a colour per role.

    Args:
      laboratory: what to draw.
      path: of the PNG.
    """
    variants = list(dict.fromkeys(row.variant for row in laboratory.rows))
    roles = list(dict.fromkeys(row.role for row in laboratory.rows))
    height = 1.5 + 0.42 * len(variants) * max(1, len(roles) * _APART * 2)
    with new_figure(path, 13, height) as page:
        shown = [key for key in _SHOWN if key in laboratory.keys]
        panels = page.subplots(1, len(shown), sharey=True, squeeze=False)[0]
        for axes, key in zip(panels, shown, strict=True):
            _draw_score(axes, laboratory, key, variants, roles)
        panels[0].set_yticks(range(len(variants)), variants)
        panels[0].invert_yaxis()
        handles = [_mark(role) for role in roles]
        handles += [
            Line2D([], [], label=LEVELS[name][0], **LEVEL_LINES[name])
            for name in laboratory.levels
        ]
        page.legend(handles=handles, loc="outside lower center", ncols=len(handles))


def _draw_score(
    axes: Axes, laboratory: Laboratory, key: str, variants: list[str], roles: list[str]
) -> None:
    def height(variant: str, role: str) -> float:
        offset = roles.index(role) - (len(roles) - 1) / 2
        return variants.index(variant) + _APART * offset

    for name, scores in laboratory.levels.items():
        axes.axvline(scores[key], **LEVEL_LINES[name])
    for row in laboratory.rows:
        y = height(row.variant, row.role)
        axes.plot(row.scores[key], y, "o", color=colour_of(row.role), alpha=0.25, ms=4)
    for group in laboratory.groups():
        mean, low, high = group.scores[key]
        y, colour = height(group.variant, group.role), colour_of(group.role)
        axes.plot([low, high], [y, y], color=colour, solid_capstyle="round")
        axes.plot(mean, y, "o", color=colour, ms=7, mec="white", mew=1.2)
    axes.set_title(COLUMNS[key])
    axes.grid(axis="y", visible=False)
    axes.tick_params(left=False)
    axes.title.set_color(INK)


def _mark(role: str) -> Line2D:
    colour = colour_of(role)
    return Line2D(
        [], [], color=colour, marker="o", ms=7, mec="white", mew=1.2, label=role
    )
