"""Last stage: teacher and student by the official measures, a table and pictures."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from abaw_jax.data.windows import Samples
from abaw_jax.report import console, plots
from abaw_jax.report.log import mean_records, read_metrics
from abaw_jax.stages.artefact import read_json, write_json
from abaw_jax.stages.measuring import Measured, measure, write_predictions
from abaw_jax.stages.network import Trained
from abaw_jax.stages.run import Run
from abaw_jax.stages.validation import Validator
from abaw_jax.tasks import AFFECT, TASKS

Results = dict[str, Any]


def evaluate(run: Run, validate: Validator, trained: Sequence[Trained]) -> Results:
    """Scores the networks on all validation sets and writes what a person looks at.

    Args:
      run: the working directory gets ``result.json``, ``plots/`` and ``predictions/``.
      validate: has the validation sets and the compiled network.
      trained: by generation, the teacher first; the last one's predictions are drawn.
        An ensemble is scored by what its networks say together.

    Returns:
      What ``result.json`` holds: scores by role, ``chance`` and ``settings``; of an
      ensemble also ``members``, the scores of its networks by role.
    """
    settings = _settings(run, trained)
    path = run.workdir / "result.json"
    if path.exists() and (old := read_json(path))["settings"] == settings:
        return old
    samples = validate.samples
    measured = {role.role: measure(validate, role.variables) for role in trained}
    results: Results = {name: each.scores for name, each in measured.items()}
    results |= {"chance": validate.chance, "settings": settings}
    several = {name: m.members for name, m in measured.items() if len(m.members) > 1}
    if several:
        results["members"] = several
    last = list(measured.values())[-1]
    for name, outputs in last.outputs.items():
        archive = run.workdir / "predictions" / f"{name}.npz"
        write_predictions(archive, run.store, samples[name], outputs)
    _draw(run, results, samples, measured)
    write_json(path, results)
    return results


def show(run: Run, results: Results) -> None:
    """Prints Table 1 of this run and where its files are."""
    rows = {role: each for role, each in results.items() if role not in _NO_ROLES}
    data = "synthetic release" if run.config.data.synthetic else "the release"
    ran = {role: f"one run on {data}, seed {run.config.seed}" for role in rows}
    for role, members in results.get("members", {}).items():
        ran[role] = f"{len(members)} networks together, on {data}"
    console.results_table(rows, results["chance"], ran=ran)
    console.say(f"{run.workdir / 'result.json'}  {run.workdir / 'plots'}")


_NO_ROLES = ("chance", "settings", "members", "batch_mean")


def _settings(run: Run, trained: Sequence[Trained]) -> Results:
    return {
        "made_from": {role.role: role.fingerprint for role in trained},
        "regime": run.config.regime,
        "seed": run.config.seed,
        "store": run.store.fingerprint,
    }


def _draw(
    run: Run,
    results: Results,
    samples: Mapping[str, Samples],
    measured: Mapping[str, Measured],
) -> None:
    """Every picture; each task on its own set, or on the joint one if it has none."""
    directory = run.workdir / "plots"
    home = {task: task if task in samples else "mtl" for task in TASKS}
    records = {
        role: mean_records(read_metrics(run.workdir / role / "metrics.jsonl"))
        for role in measured
    }
    va, expr, au = (samples[home[task]] for task in TASKS)
    last = list(measured.values())[-1]
    outputs = {task: last.together[home[task]][task] for task in TASKS}
    affect = plots.Compared(outputs["va"], va.va, va.va_where)
    classes = plots.Compared(outputs["expr"].argmax(-1), expr.expr, expr.expr_where)
    units = {role: each.unit_f1[home["au"]] for role, each in measured.items()}
    unit_chance = _always_on(au)
    scores = {name: last.scores[name] for name in AFFECT}
    levels = results["chance"]
    plots.learning_curves(records, levels, directory / "curves.png")
    plots.valence_arousal_scatter(
        *affect, directory / "valence_arousal.png", scores=scores
    )
    plots.expression_confusion(*classes, directory / "expressions.png")
    plots.action_unit_bars(units, unit_chance, directory / "action_units.png")
    plots.summary(
        records,
        levels,
        directory / "summary.png",
        va=affect,
        expr=classes,
        unit_scores=units,
        unit_chance=unit_chance,
        scores=scores,
    )


def _always_on(samples: Samples) -> np.ndarray:
    """F1 of each unit when it is always predicted, ``[12]``."""
    on = (samples.au > 0) & samples.au_where
    rate = on.sum(0) / np.maximum(samples.au_where.sum(0), 1)
    return 2 * rate / (1 + rate)
