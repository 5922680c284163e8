"""Sections of the evaluation's page on expressions and action units."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from scipy.special import expit, softmax

from abaw_jax.evaluation.calibration import Reliability, reliability
from abaw_jax.evaluation.class_scores import (
    ClassScore,
    confusion,
    expression_scores,
    unit_scores,
)
from abaw_jax.evaluation.plots import MOVEMENTS
from abaw_jax.evaluation.report_panels import reliability_panel
from abaw_jax.pipeline.windows import Samples
from abaw_jax.report.html_page import DASH, data_address, escape, number, table
from abaw_jax.tasks import EXPRESSIONS

_HEADS = (
    *("from 0 to 1", "F1", "precision", "recall"),
    *("prevalence", "predicted", "calibration error"),
)

_FULL = 0x56, 0xA5, 0xD0
"""Colour of a share of 1 in the confusion; dark text on it keeps a contrast of 5.9."""


def expressions_section(
    logits: np.ndarray, samples: Samples, f1: Mapping[str, float]
) -> Iterator[str]:
    """Table of the classes, confusion, calibration.

    Args:
      logits: ``[N, 8]``, finite where there is a label; there is at least one.
      samples: labels of the set.
      f1: official, by class.
    """
    where, labels = samples.expr_where, samples.expr
    probabilities = softmax(logits[where].astype(np.float64), axis=-1)
    guess = probabilities.argmax(-1)
    top = reliability(probabilities.max(-1), guess == labels[where])
    yield "<h2 id=expressions>Expressions</h2>"
    yield _expression_table(expression_scores(logits, samples), f1)
    yield (
        "<p class=dim>The most probable expression is predicted; there is no threshold."
        " Prevalence: share of the labelled frames. The mark on a bar is the F1 of a "
        "guess that knows the prevalences. An expression without a labelled frame has "
        "F1 0 and enters the mean, as in the challenge.</p><div class=pair>"
    )
    yield from _confusion(confusion(logits.argmax(-1), labels, where))
    yield _calibration(
        top,
        "the most probable expression",
        "One point is a tenth of the scale: of the frames whose most probable "
        "expression had about that probability, the share where it is right.",
    )
    yield "</div>"


def units_section(
    logits: np.ndarray, samples: Samples, f1: Mapping[str, float]
) -> Iterator[str]:
    """Table of the units, calibration.

    Args:
      logits: ``[N, 12]``, finite where there is a label; there is at least one.
      samples: labels of the set.
      f1: official, by unit.
    """
    where = samples.au_where
    probabilities = expit(logits[where].astype(np.float64))
    everything = reliability(probabilities, samples.au[where] > 0)
    yield "<h2 id=units>Action units</h2>"
    yield _unit_table(unit_scores(logits, samples), f1)
    yield (
        "<p class=dim>A unit counts as present above a probability of 0.50, the "
        "official threshold. <i>Best</i> is the threshold with the highest F1 on these "
        "very frames, which flatters it: choose one on other videos. The mark on a bar "
        "is the F1 of always saying yes. A unit that never occurs has F1 0 and enters "
        "the mean.</p><div class=pair>"
    )
    yield _calibration(
        everything,
        "all action units together",
        "One point is a tenth of the scale: of all pairs of a frame and a unit with "
        "about that probability, the share where the unit is labelled.",
    )
    yield "</div>"


def _expression_table(scores: Sequence[ClassScore], f1: Mapping[str, float]) -> str:
    rows = [_class_row(each, f1[each.name], each.prevalence) for each in scores]
    grid = table(("expression", *_HEADS), rows, name="Expressions")
    return f"<div class=classes>{grid}</div>"


def _unit_table(scores: Sequence[ClassScore], f1: Mapping[str, float]) -> str:
    rows = []
    for each, movement in zip(scores, MOVEMENTS, strict=True):
        share = each.prevalence
        name, *cells = _class_row(each, f1[each.name], 2 * share / (1 + share))
        cells += ["0.50", number(each.best_threshold, ".2f"), number(each.best_f1)]
        rows.append([f"{name} <span class=more>{movement}</span>", *cells])
    heads = ("unit", *_HEADS, "threshold", "best", "F1 at best")
    grid = table(heads, rows, name="Action units")
    return f"<div class=classes>{grid}</div>"


def _class_row(score: ClassScore, f1: float, chance: float) -> list[str]:
    return [
        escape(score.name),
        _bar(f1, chance),
        number(f1),
        number(_ratio(score.right, score.predicted)),
        number(_ratio(score.right, score.present)),
        number(score.prevalence, ".1%"),
        number(_ratio(score.predicted, score.labelled), ".1%"),
        number(score.calibration_error),
    ]


def _bar(score: float, chance: float) -> str:
    filled = f"<i style='width:{100 * score:.1f}%'></i>" if score == score else ""
    mark = f"<b style='left:{100 * chance:.1f}%'></b>" if chance == chance else ""
    return f"<div class=bar aria-hidden=true>{filled}{mark}</div>"


def _ratio(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def _confusion(counts: np.ndarray) -> Iterator[str]:
    yield "<figure><figcaption>Confusion: % of the frames of each label</figcaption>"
    rows = [
        [f"{name} <span class=more>({sum(row):,})</span>", *_shares(row, k)]
        for k, (name, row) in enumerate(zip(EXPRESSIONS, counts.tolist(), strict=True))
    ]
    heads = ["label <span class=more>(frames)</span>", *EXPRESSIONS]
    grid = table(heads, rows, name="Confusion of expressions")
    yield f"<div class=confusion>{grid}</div>"
    yield "<p class=dim>Rows: what is labelled. Columns: what was predicted.</p>"
    yield "</figure>"


def _shares(counts: Sequence[int], right: int) -> Iterator[str]:
    whole = sum(counts)
    for column, count in enumerate(counts):
        if not whole:
            yield DASH
            continue
        mixed = (round(255 + (full - 255) * count / whole) for full in _FULL)
        text = f"{100 * count / whole:.0f}"
        text = f"<b>{text}</b>" if column == right else text
        yield f"<span style='background:rgb{tuple(mixed)}'>{text}</span>"


def _calibration(found: Reliability, of: str, how: str) -> str:
    error = number(found.error)
    caption = f"Calibration of {of}: expected error {error}"
    address = data_address(reliability_panel(found), "image/svg+xml")
    points = "; ".join(
        f"predicted {p:.2f}, true {o:.2f}"
        for p, o in zip(found.predicted, found.observed, strict=True)
        if p == p
    )
    return (
        f"<figure><figcaption>{caption}</figcaption>"
        f"<img alt='Reliability diagram: {points}.' src='{address}'>"
        f"<p class=dim>{how} On the diagonal the probability can be taken at its word; "
        "below it the network is too sure. The expected error is the mean distance "
        "from it, weighted by the number of predictions.</p></figure>"
    )


CLASS_STYLE = """
.pair { display: grid; gap: 1.5rem 2.5rem; margin-top: 1.2rem; }
.pair figure { min-width: 0; } .pair img { max-width: 22rem; }
.pair > figure > figcaption { font-weight: 600; }
@media (min-width: 60rem) {
  .pair { grid-template-columns: 1.7fr 1fr; }
  .pair > :only-child { grid-column: 1 / -1; display: grid; align-items: center;
    grid-template-columns: 22rem 26rem; column-gap: 2.5rem; }
  .pair > :only-child figcaption { grid-column: 1 / -1; } }
.more { color: var(--dim); } @media (max-width: 40rem) { .more { display: none; } }
.bar { position: relative; width: 8rem; height: .8em; background: #f1f1f1; }
.bar i { display: block; height: 100%; background: var(--bar); border-radius: 1px; }
.bar b { position: absolute; top: -.15em; bottom: -.15em; width: 2px;
  background: var(--ink); }
.classes th, .classes td { padding-left: .5rem; padding-right: .5rem; }
.classes thead th { white-space: normal; }
.classes th:nth-child(2) { text-align: left; }
.confusion td { padding: 0 1px; border: 0; } .confusion th { padding: .2rem .3rem; }
.confusion thead th:not(:first-child) { text-align: center; }
.confusion td span { display: block; min-width: 4.1rem; padding: .35rem .3rem;
  text-align: center; }
"""
"""Rules of both sections."""
