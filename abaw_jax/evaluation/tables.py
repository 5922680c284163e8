"""Tables of many runs: means with intervals, and paired differences.

A row is one network of one run. Rows of the same role and the same changes differ by
seed alone and make a group; groups are compared pair by pair, seed by seed, because two
runs of one seed share initialisation and order of the data.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from abaw_jax.evaluation.intervals import Interval, mean_interval
from abaw_jax.report.console import COLUMNS

Scores = Mapping[str, float]
Intervals = dict[str, Interval]


_GREEK = {"alpha": "α", "beta": "β", "delta": "δ"}  # noqa: RUF001


@dataclass(frozen=True)
class Row:
    """One network of one run.

    Attributes:
      role: teacher, student, or the student of a later generation.
      changes: what the run changes, by the name and value that a person reads.
      seed: of the run.
      scores: by key of `COLUMNS`.
    """

    role: str
    changes: Mapping[str, str]
    seed: int
    scores: Scores

    @property
    def variant(self) -> str:
        """The changes in one short text."""
        if not self.changes:
            return "as configured"
        return ", ".join(
            f"{_GREEK.get(name, name)} {value}".strip()
            for name, value in self.changes.items()
        )


@dataclass(frozen=True)
class Group:
    """Runs that differ by seed alone.

    Attributes:
      role: of all of them.
      variant: their changes.
      runs: how many.
      scores: means with intervals over the seeds.
    """

    role: str
    variant: str
    runs: int
    scores: Intervals


@dataclass(frozen=True)
class Difference:
    """Difference between two groups, paired by the seeds that both have.

    Attributes:
      better: role of the first group; positive differences are in its favour.
      than: the second group, another role or another variant of this role.
      variant: of the group.
      runs: pairs.
      scores: mean differences with intervals.
    """

    better: str
    than: str
    variant: str
    runs: int
    scores: Intervals


@dataclass(frozen=True)
class Laboratory:
    """Everything that a population has shown.

    Attributes:
      rows: one a network, groups in the order of the table.
      levels: scores by name of the level, as of `measure_levels`.
      data: on what; one sentence.
    """

    rows: Sequence[Row]
    levels: Mapping[str, Scores]
    data: str

    @property
    def keys(self) -> list[str]:
        """Scores of the table, by key of `COLUMNS`: those of the tasks there are."""
        return [key for key in COLUMNS if key in self.levels["chance"]]

    def groups(self) -> list[Group]:
        """Means over the seeds, in the order of the rows."""
        return [
            Group(
                role,
                variant,
                len(found),
                _intervals([r.scores for r in found], self.keys),
            )
            for (role, variant), found in self._grouped().items()
        ]

    def differences(self) -> list[Difference]:
        """Every role over the one before it, and every variant over the first.

        Not those that are the same run twice: a teacher has no alpha to change; and
        not those of a variant that a role has not trained.
        """
        grouped = self._grouped()
        roles = list(dict.fromkeys(role for role, _ in grouped))
        variants = list(dict.fromkeys(variant for _, variant in grouped))
        pairs = [
            ((role, variant), (before, variant))
            for before, role in pairwise(roles)
            for variant in variants
        ] + [
            ((role, variant), (role, variants[0]))
            for role in roles
            for variant in variants[1:]
        ]
        found = [
            _difference(grouped, *pair, self.keys)
            for pair in pairs
            if grouped.keys() >= set(pair)
        ]
        return [each for each in found if any(map(any, each.scores.values()))]

    def _grouped(self) -> dict[tuple[str, str], list[Row]]:
        grouped: dict[tuple[str, str], list[Row]] = {}
        for row in self.rows:
            grouped.setdefault((row.role, row.variant), []).append(row)
        return grouped


def as_json(laboratory: Laboratory) -> str:
    """Everything, for programs: rows, summary, differences, chance."""

    def plain(scores: Intervals) -> dict[str, Any]:
        return {key: interval.plain for key, interval in scores.items()}

    values = {
        "rows": [
            {"role": r.role, **r.changes, "seed": r.seed, "scores": dict(r.scores)}
            for r in laboratory.rows
        ],
        "summary": [
            {**vars(group), "scores": plain(group.scores)}
            for group in laboratory.groups()
        ],
        "differences": [
            {**vars(each), "scores": plain(each.scores)}
            for each in laboratory.differences()
        ],
        **{name: dict(scores) for name, scores in laboratory.levels.items()},
        "data": laboratory.data,
        "interval": INTERVAL,
    }
    return json.dumps(values, indent=1) + "\n"


def as_markdown(laboratory: Laboratory) -> str:
    """The table and the differences as they stand in a README."""
    scores, differences = _cells(laboratory)
    parts = []
    for header, *rows in (scores, differences):
        rules = [":---", ":---", *["---:"] * (len(header) - 2)]
        lines = [f"| {' | '.join(row)} |" for row in (header, rules, *rows)]
        parts.append("\n".join(lines))
    return "\n\n".join([*parts, f"{laboratory.data} {INTERVAL}"]) + "\n"


def as_latex(laboratory: Laboratory) -> str:
    """The table for a paper; needs the package booktabs."""
    header, *rows = _cells(laboratory)[0]
    body = [r"    " + " & ".join(map(_escape, row)) + r" \\" for row in rows]
    return "\n".join(
        [
            r"\begin{table}",
            rf"  \caption{{{_escape(f'{laboratory.data} {INTERVAL}')}}}",
            rf"  \begin{{tabular}}{{ll{'r' * (len(header) - 2)}}}",
            r"    \toprule",
            r"    " + " & ".join(map(_escape, header)) + r" \\",
            r"    \midrule",
            *body[: -len(laboratory.levels)],
            r"    \midrule",
            *body[-len(laboratory.levels) :],
            r"    \bottomrule",
            r"  \end{tabular}",
            r"\end{table}",
            "",
        ]
    )


LEVEL_ROWS = {"chance": ("chance", "no input"), "linear_probe": ("linear probe", "")}
"""First two cells of a level's row."""

INTERVAL = (
    "Means over seeds ± half of the 95 % interval (Student's t); differences are "
    "paired by seed, * where the interval leaves 0 out."
)


def _difference(
    grouped: Mapping[tuple[str, str], list[Row]],
    first: tuple[str, str],
    second: tuple[str, str],
    keys: Sequence[str],
) -> Difference:
    by_seed = [{row.seed: row for row in grouped[key]} for key in (first, second)]
    shared = sorted(by_seed[0].keys() & by_seed[1].keys())
    changes = [
        {
            key: by_seed[0][seed].scores[key] - by_seed[1][seed].scores[key]
            for key in keys
        }
        for seed in shared
    ]
    (better, variant), (role, other) = first, second
    than = role if role != better else other
    return Difference(better, than, variant, len(shared), _intervals(changes, keys))


def _intervals(scores: Sequence[Scores], keys: Sequence[str]) -> Intervals:
    return {key: mean_interval([each[key] for each in scores]) for key in keys}


def _cells(laboratory: Laboratory) -> tuple[list[list[str]], list[list[str]]]:
    """Both tables as text, header first; the first ends with the levels."""
    keys = laboratory.keys
    heads = [COLUMNS[key] for key in keys]
    scores = [["", "run", *heads]]
    scores += [
        [g.role, f"{g.variant} ({g.runs})", *(interval_text(g.scores[k]) for k in keys)]
        for g in laboratory.groups()
    ]
    scores += [
        [*LEVEL_ROWS[name], *(f"{level[key]:.3f}" for key in keys)]
        for name, level in laboratory.levels.items()
    ]
    differences = [["difference", "run", *heads]]
    differences += [
        [
            f"{each.better} - {each.than}",
            f"{each.variant} ({each.runs})",
            *(_signed(each.scores[key]) for key in keys),
        ]
        for each in laboratory.differences()
    ]
    return scores, differences


def interval_text(interval: Interval) -> str:
    """Mean and half of the length, or the mean alone, as "0.230 ± 0.025"."""
    if interval.half_width != interval.half_width:
        return f"{interval.mean:.3f}"
    return f"{interval.mean:.3f} ± {interval.half_width:.3f}"


def _signed(interval: Interval) -> str:
    sign = "+" if interval.mean >= 0 else ""
    return f"{sign}{interval_text(interval)}{_star(interval)}"


def _star(interval: Interval) -> str:
    return "" if interval.verdict == "undecided" else "*"


def _escape(text: str) -> str:
    letters = {letter: rf"$\{name}$" for name, letter in _GREEK.items()}
    for plain, latex in {"±": r"$\pm$", "→": r"$\to$", **letters}.items():
        text = text.replace(plain, latex)
    return text.replace("%", r"\%").replace("_", r"\_").replace("&", r"\&")
