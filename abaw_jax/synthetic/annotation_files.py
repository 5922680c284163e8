"""Writes the annotation files of a synthetic release.

A sheet is what one set holds about one person, sentinels and irregular lengths
included; its text is a file of the official release, quirks and all.
"""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from abaw_jax.synthetic.behaviour import Ratings
from abaw_jax.synthetic.plan import Person, SyntheticSettings, stream
from abaw_jax.synthetic.simulate import Scene
from abaw_jax.tasks import ACTION_UNITS, AFFECT, EXPRESSIONS, SETS, SPLITS

HEADERS = {
    "va": ",".join(AFFECT),
    "expr": ",".join(EXPRESSIONS),
    "au": ",".join(ACTION_UNITS),
    "mtl": "image,valence,arousal,expression,aus",
}
"""First line of each set's files; that of MTL names five of its sixteen fields."""

NO_AFFECT, NO_LABEL = -5, -1
"""Values of a missing label: of valence and arousal, and of the other tasks."""

_SURPLUS = (1, 1, 1, 0, 1, -9, 14)
"""Lines of a file beyond the frames of its video, by person; one is usual."""

_PATTERNS = np.array(
    [[1, 1, 1], [1, 0, 1], [1, 0, 0], [1, 1, 0], [0, 0, 1], [0, 1, 1], [0, 1, 0]], bool
)
_PATTERN_ODDS = np.array([0.37, 0.20, 0.08, 0.08, 0.08, 0.08, 0.11])
"""Which of VA, EXPR and AU a row of MTL training labels: VA and AU 73 %, EXPR 64 %, all
three 37 % of the rows, as counted in the challenge's list."""

_EVERY = 10  # frames between rows of the MTL lists, which are lists of still images


class Sheet(NamedTuple):
    """Labels of N rows about one person.

    Attributes:
      frame: ``[N]`` from 1; beyond the video's last frame for surplus rows.
      va: ``[N, 2]``; -5 where invalid.
      expr: ``[N]``; -1 where invalid.
      au: ``[N, 12]``; -1 where invalid.
    """

    frame: NDArray[np.integer]
    va: NDArray[np.floating]
    expr: NDArray[np.integer]
    au: NDArray[np.integer]


def fill_sheets(
    scenes: Iterable[Scene], settings: SyntheticSettings, *, seed: int
) -> dict[tuple[str, str], list[tuple[Person, Sheet]]]:
    """Enters all ratings into all sets.

    Args:
      scenes: everybody.
      settings: of the release.
      seed: of the release.

    Returns:
      People and their sheets, by set and split.
    """
    sheets: dict[tuple[str, str], list[tuple[Person, Sheet]]] = {
        (name, split): [] for name in SETS for split in SPLITS
    }
    for scene in scenes:
        for name, split in scene.person.sets:
            rng = stream(seed, scene.person.name, name, split)
            sheet = _sheet(settings, scene.person, name, split, scene.ratings, rng)
            sheets[name, split].append((scene.person, sheet))
    return sheets


def sheet_text(
    settings: SyntheticSettings, person: Person, name: str, sheet: Sheet
) -> str:
    """The file of one person in the VA, EXPR or AU set.

    Args:
      settings: of the release.
      person: of the annotation; determines line ends, blank lines and spelling.
      name: the set.
      sheet: the labels.

    Returns:
      The text, header first.
    """
    if name == "va":
        spelling = "-5.0" if settings.quirks and person.number % 2 else "-5"
        lines = [_affect(row, spelling) for row in sheet.va.tolist()]
    elif name == "expr":
        lines = [str(label) for label in sheet.expr.tolist()]
    else:
        lines = [",".join(map(str, row)) for row in sheet.au.tolist()]
    odd = settings.quirks and person.number % 5 == 1
    end = "\r\n" if odd else "\n"
    return end.join([HEADERS[name], *lines, *([""] * (3 if odd else 1))])


def list_text(settings: SyntheticSettings, sheets: list[tuple[Person, Sheet]]) -> str:
    """The list of the MTL set.

    Args:
      settings: of the release.
      sheets: people and their rows.

    Returns:
      The text, header first; some rows twice.
    """
    lines = [HEADERS["mtl"]]
    for person, sheet in sheets:
        columns = (sheet.frame.tolist(), sheet.va.tolist(), sheet.expr.tolist())
        for frame, va, expr, au in zip(*columns, sheet.au.tolist(), strict=True):
            labels = [_affect(va, "-5"), str(expr), *map(str, au)]
            lines.append(",".join([f"{person.name}/{frame:05d}.jpg", *labels]))
        if settings.quirks and person.number % 3 == 0:
            lines += [lines[-1], lines[-len(sheet.frame)]]
    return "\n".join([*lines, ""])


def _sheet(
    settings: SyntheticSettings,
    person: Person,
    name: str,
    split: str,
    ratings: Ratings,
    rng: np.random.Generator,
) -> Sheet:
    """A row per frame, a few more or fewer; every tenth frame in the MTL set."""
    count = len(ratings.expr)
    surplus = _SURPLUS[person.number % len(_SURPLUS)] if settings.quirks else 0
    if name == "mtl":
        first = int(rng.integers(_EVERY))
        index = np.arange(first, count + max(surplus, 0), _EVERY)
        index = np.unique(index + rng.integers(0, 3, len(index)))
    else:
        index = np.arange(count + surplus)
    rated = np.minimum(index, count - 1)
    keep = _kept(name, split, person, settings, len(index), rng)
    if name == "expr" or split == "validation":
        keep[:, 1] &= ratings.plain[rated]
    return Sheet(
        frame=index + 1,
        va=np.where(keep[:, :1], ratings.va[rated], NO_AFFECT),
        expr=np.where(keep[:, 1], ratings.expr[rated], NO_LABEL),
        au=np.where(keep[:, 2:], ratings.au[rated], NO_LABEL),
    )


def _kept(
    name: str,
    split: str,
    person: Person,
    settings: SyntheticSettings,
    count: int,
    rng: np.random.Generator,
) -> NDArray[np.bool_]:
    """True where VA, EXPR and AU are labelled, bool ``[N, 3]``."""
    if name == "mtl":
        keep = np.ones((count, 3), bool)
        if split == "train":
            odds = rng.choice(len(_PATTERNS), count, p=_PATTERN_ODDS)
            keep = _PATTERNS[odds]
            keep[rng.random(count) < 0.02] = False  # rows that label nothing exist
        return keep
    keep = np.tile([name == "va", name == "expr", name == "au"], (count, 1))
    if settings.quirks and person.number % 4 == 2:
        first = int(rng.integers(count // 2))
        keep[first : first + count // 16] = False
    return keep


def _affect(row: list[float], invalid: str) -> str:
    return ",".join(invalid if v == NO_AFFECT else f"{v:.3f}" for v in row)
