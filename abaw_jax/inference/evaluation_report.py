"""The HTML report of an evaluation: one page from what was scored, nothing recomputed.

A section whose labels are missing is left out; a number that is none is a dash.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from abaw_jax.evaluation.intervals import FEWEST_VIDEOS
from abaw_jax.evaluation.plot_style import colour_of
from abaw_jax.evaluation.plots import CURVES, Compared
from abaw_jax.evaluation.report_panels import agreement_panel, curve_panel
from abaw_jax.evaluation.validation import home_set
from abaw_jax.evaluation.video_intervals import video_sums, videos
from abaw_jax.evaluation.worst_videos import worst_videos
from abaw_jax.inference.class_sections import (
    CLASS_STYLE,
    expressions_section,
    units_section,
)
from abaw_jax.inference.model_folder import Contract
from abaw_jax.pipeline.windows import Samples
from abaw_jax.report.console import LEVELS
from abaw_jax.report.html_page import (
    DASH,
    data_address,
    escape,
    html_page,
    number,
    table,
)
from abaw_jax.store.reader import Store
from abaw_jax.tasks import AFFECT, TASKS

_SCORES = {
    "mtl": ("MTL", "sum of VA, EXPR and AU on the multi-task set"),
    "va": ("VA", "mean of valence and arousal"),
    "valence": ("valence", "concordance (CCC) of predictions and labels"),
    "arousal": ("arousal", "concordance (CCC) of predictions and labels"),
    "expr": ("EXPR", "mean F1 of the expressions"),
    "au": ("AU", "mean F1 of the action units"),
}
"""Name and meaning of each score, in the order of the page."""


@dataclass(frozen=True)
class Evaluated:
    """What an evaluation has found.

    Attributes:
      contract: of the model.
      store: that was scored on.
      samples: labels by set.
      outputs: by set and task, ``[N, C]``, of all networks together.
      results: as in ``result.json``.
      curves: arguments of `plots.learning_curves` without the path; None if no run
        is known.
    """

    contract: Contract
    store: Store
    samples: Mapping[str, Samples]
    outputs: Mapping[str, Mapping[str, np.ndarray]]
    results: Mapping[str, Any]
    curves: Mapping[str, Any] | None = None


def evaluation_page(found: Evaluated) -> str:
    """The whole page."""
    role, data = found.contract["role"], found.results["settings"]["data"]
    known = {
        name: _finite(each, found.outputs[name]) for name, each in found.samples.items()
    }
    title = f"{role.capitalize()} on {data}"
    parts = [
        f"<h1>{escape(title)}</h1>",
        *_header(found),
        *_lost(found, known),
        *_scores(found.results, role),
        *_curves(found.curves),
        *_affect(found, known),
        *_classes(found, known),
        *_worst(found, known),
        *_settings(found),
    ]
    return html_page(title, parts, style=_STYLE + CLASS_STYLE)


def _finite(samples: Samples, outputs: Mapping[str, np.ndarray]) -> Samples:
    """The samples without the labels whose prediction is not finite."""
    finite = {task: np.isfinite(outputs[task]) for task in TASKS}
    return replace(
        samples,
        va_where=samples.va_where & finite["va"].all(-1),
        expr_where=samples.expr_where & finite["expr"].all(-1),
        au_where=samples.au_where & finite["au"],
    )


def _labels(samples: Samples) -> dict[str, int]:
    """Frames with a label by task."""
    au = samples.au_where.any(-1)
    where = {"va": samples.va_where, "expr": samples.expr_where, "au": au}
    return {task: int(each.sum()) for task, each in where.items()}


def _header(found: Evaluated) -> Iterator[str]:
    contract, settings = found.contract, found.results["settings"]
    yield (
        f"<p class=dim>Model <b>{escape(contract['name'])}</b>, "
        f"{escape(contract['role'])} of a run on {escape(contract['data']['name'])}, "
        f"abaw_jax {escape(contract['made_by']['abaw_jax'])}. Data "
        f"<b>{escape(settings['data'])}</b>, fingerprint "
        f"<code>{escape(settings['store'][:16])}</code>.</p>"
    )
    rows = []
    for name, samples in found.samples.items():
        count = len(videos(found.store, samples)[0])
        counts = (count, len(samples), *_labels(samples).values())
        rows.append([name, *(f"{n:,}" if n else DASH for n in counts)])
    heads = "set", "videos", "frames", "valence, arousal", "expression", "action units"
    yield table(heads, rows, name="Labelled validation frames by set")


def _lost(found: Evaluated, known: Mapping[str, Samples]) -> Iterator[str]:
    for name, samples in known.items():
        given, left = _labels(found.samples[name]), _labels(samples)
        lost = max(given[task] - left[task] for task in TASKS)
        if lost:
            yield (
                f"<p class=warning>{lost:,} frames of {name} have a prediction that is "
                "no finite number. Pictures and tables below leave them out.</p>"
            )


def _scores(results: Mapping[str, Any], role: str) -> Iterator[str]:
    scores, intervals = results[role], results["intervals"][role]
    rows = []
    for key, (name, meaning) in _SCORES.items():
        if key not in scores:
            continue
        _, low, high = intervals.get(key, (None, None, None))
        chance = results["chance"].get(key)
        bounds = f"{number(low)} to {number(high)}" if low is not None else number(low)
        scale = 3 if key == "mtl" else 1
        picture = _range(scores[key], low, high, chance, scale)
        row = [name, number(scores[key]), bounds, number(chance), picture, meaning]
        rows.append(row)
    heads = (
        "measure",
        "score",
        "95 % interval",
        "chance",
        "from 0 to 1, MTL to 3",
        "meaning",
    )
    yield "<h2 id=scores>Scores</h2>"
    yield f"<div class=scores>{table(heads, rows, name='Scores')}</div>"
    yield (
        "<p class=dim>Intervals come from leaving one validation video out at a time "
        f"(jackknife) and need {FEWEST_VIDEOS} videos; what another seed of the "
        f"training would change is not in them. Chance is {LEVELS['chance'][1]}. In "
        "the picture the dot is the score, the bar its interval, the mark chance.</p>"
    )


def _range(
    score: float,
    low: float | None,
    high: float | None,
    chance: float | None,
    scale: float,
) -> str:
    def place(value: float) -> float:
        return 100 * min(max(value / scale, 0.0), 1.0)

    parts = []
    if low is not None and high is not None:
        left, right = place(low), place(high)
        parts.append(f"<i style='left:{left:.1f}%;width:{right - left:.1f}%'></i>")
    if chance is not None:
        parts.append(f"<b style='left:{place(chance):.1f}%'></b>")
    if np.isfinite(score):
        parts.append(f"<em style='left:{place(score):.1f}%'></em>")
    return f"<div class=range aria-hidden=true>{''.join(parts)}</div>"


def _curves(curves: Mapping[str, Any] | None) -> Iterator[str]:
    if curves is None:
        return
    records, levels, chosen = (curves[key] for key in ("records", "levels", "chosen"))
    known = {key for each in records.values() for record in each for key in record}
    yield "<h2 id=training>Training</h2><ul class=key>"
    for role in records:
        yield f"<li><i style='border-color:{colour_of(role)}'></i>{escape(role)}</li>"
    for name in levels:
        yield f"<li><i class={name}></i>{LEVELS[name][0]}</li>"
    dot = "<li>dot: chosen epoch</li>" if chosen else ""
    yield f"{dot}</ul><div class=charts>"
    for key in (key for key in CURVES if key in known):
        picture = data_address(
            curve_panel(records, levels, key, chosen), "image/svg+xml"
        )
        yield f"<figure><img alt='{_ends(records, key)}' src='{picture}'></figure>"
    yield "</div>"


def _ends(records: Mapping[str, Any], key: str) -> str:
    """Describes the picture in words: first and last value of every role."""
    described = []
    for role, each in records.items():
        points = [r for r in each if key in r and "chunk" not in r]
        if points:
            first, last = (number(point[key]) for point in (points[0], points[-1]))
            epochs = points[-1]["epoch"]
            described.append(f"{role} from {first} to {last} after {epochs} epochs")
    return escape(f"{CURVES[key]} by epoch: {', '.join(described)}.")


def _affect(found: Evaluated, known: Mapping[str, Samples]) -> Iterator[str]:
    name = home_set("va", known)
    if name is None:
        return
    samples, scores = known[name], found.results[found.contract["role"]]
    va = Compared(found.outputs[name]["va"], samples.va, samples.va_where)
    yield "<h2 id=affect>Valence and arousal</h2><div class=charts>"
    for column, affect in enumerate(AFFECT):
        picture = data_address(agreement_panel(va, column, scores), "image/svg+xml")
        alt = (
            f"Density of predicted over labelled {affect} of "
            f"{samples.va_where.sum():,} frames; CCC {number(scores[affect])}."
        )
        yield f"<figure><img alt='{alt}' src='{picture}'></figure>"
    yield (
        "</div><p class=dim>Darker: more frames (logarithmic). On the line the "
        "prediction equals the label; a cloud flatter than the line says that the "
        "network keeps to the middle.</p>"
    )


def _classes(found: Evaluated, known: Mapping[str, Samples]) -> Iterator[str]:
    scores = found.results["classes"]
    for task, section, title in (
        ("expr", expressions_section, "expressions"),
        ("au", units_section, "action units"),
    ):
        if (name := home_set(task, known)) is not None:
            yield from section(found.outputs[name][task], known[name], scores[title])


def _worst(found: Evaluated, known: Mapping[str, Samples]) -> Iterator[str]:
    rows = []
    for name, samples in known.items():
        names, video = videos(found.store, samples)
        sums = video_sums(video, samples, found.outputs[name])
        for each in worst_videos(names.tolist(), video, sums, name):
            rows.append(
                [
                    escape(name),
                    f"<code>{escape(each.video)}</code>",
                    f"{each.frames:,}",
                    number(each.rise, "+.3f"),
                    number(each.without),
                    number(each.affect_error, ".2f"),
                    number(each.expressions_right, ".0%"),
                    number(each.units_f1, ".2f"),
                ]
            )
    if not rows:
        return
    heads = "set", "video", "frames", "rise without it", "score without it"
    heads += "VA error", "EXPR right", "AU F1"
    yield "<h2 id=videos>Worst videos</h2>"
    yield f"<div class=videos>{table(heads, rows, name='Worst videos')}</div>"
    yield (
        "<p class=dim>Ordered by how much the score of the set rises when the video is "
        "left out, so by how wrong the network is and on how many frames. The score of "
        "one video alone would not do: CCC and F1 are undefined or random where labels "
        "hardly vary, and the shortest videos would come first. The last three columns "
        "are of the video alone: root mean squared error of valence and arousal, share "
        "of frames with the right expression, F1 over all units together.</p>"
    )


def _settings(found: Evaluated) -> Iterator[str]:
    parts = {
        "Settings of the run that trained it": found.contract["config"],
        "Versions": found.contract["made_by"],
        "Model files (SHA-256) and data": found.results["settings"],
    }
    yield "<h2 id=settings>Settings</h2>"
    for title, values in parts.items():
        lines = "\n".join(map(escape, _lines(values)))
        yield f"<details><summary>{title}</summary><pre>{lines}</pre></details>"


def _lines(values: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _lines(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name} = {value}"


_STYLE = """
:root { --dim: #666; }
figure img { display: block; width: 100%; max-width: 26rem; height: auto; }
.charts figure { min-width: 0; }
thead th { vertical-align: bottom; }
.wide { background:
  linear-gradient(to left, #fff 30%, #fff0) right / 2rem 100% no-repeat local,
  linear-gradient(to left, #0003, #0000) right / .7rem 100% no-repeat scroll; }
.wide table { border-collapse: separate; border-spacing: 0; }
.wide th, .wide td { line-height: 22px; padding-top: 3px; padding-bottom: 3px; }
.wide th:first-child { position: sticky; left: 0; background: var(--page);
  z-index: 1; }
.warning { border-left: 3px solid #b35900; padding-left: .7rem; }
.range { position: relative; width: 14rem; height: .8em;
  border-bottom: 1px solid var(--line); }
.range i { position: absolute; top: 35%; height: 30%; background: #9cc9e3; }
.range em { position: absolute; top: 10%; width: .65em; height: .65em;
  margin-left: -.325em; border-radius: 50%; background: var(--bar); }
.range b { position: absolute; top: -.15em; bottom: -.15em; width: 1px;
  background: var(--dim); }
.scores th:nth-child(n+5), .scores td:last-child { text-align: left; }
.scores td:last-child { color: var(--dim); }
.scores td:nth-child(2) { font-weight: 600; }
.videos td:nth-child(2), .videos th:nth-child(2) { text-align: left; }
.key { list-style: none; padding: 0; margin: 0 0 .9rem;
  display: flex; flex-wrap: wrap; gap: .2rem 1.2rem; }
.key i { display: inline-block; width: 1.6rem; border-top: 2px solid var(--dim);
  vertical-align: middle; margin-right: .4rem; }
.key .chance { border-top-style: dashed; }
.key .linear_probe { border-top-style: dotted; }
pre { font-size: .8rem; overflow-x: auto; }
"""
