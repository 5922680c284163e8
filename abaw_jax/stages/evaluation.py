"""Last stage: teacher and student by the official measures, a table and pictures."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from abaw_jax.data.windows import Samples
from abaw_jax.report import console, plots
from abaw_jax.report.log import read_metrics
from abaw_jax.stages.artefact import read_json, write_json
from abaw_jax.stages.network import Trained
from abaw_jax.stages.run import Run
from abaw_jax.stages.validation import Validator, shown
from abaw_jax.tasks import AFFECT, TASKS
from abaw_jax.training.steps import Scores

Results = dict[str, Any]


def evaluate(run: Run, validate: Validator, networks: Mapping[str, Trained]) -> Results:
    """Scores the networks on all validation sets and writes what a person looks at.

    Args:
      run: the working directory gets ``result.json`` and ``plots/``.
      validate: has the validation sets and the compiled network.
      networks: by role, the teacher first; the last one's predictions are drawn.

    Returns:
      What ``result.json`` holds: scores by role, ``chance`` and ``settings``.
    """
    settings = _settings(run, networks)
    path = run.workdir / "result.json"
    if path.exists() and (old := read_json(path))["settings"] == settings:
        return old
    samples = validate.samples
    seen = {
        role: {name: validate.predictions(network.variables, name) for name in samples}
        for role, network in networks.items()
    }
    states = {
        role: {name: states for name, (states, _) in sets.items()}
        for role, sets in seen.items()
    }
    results: Results = {role: shown(sets) for role, sets in states.items()}
    results |= {"chance": validate.chance, "settings": settings}
    outputs = {name: outputs for name, (_, outputs) in list(seen.values())[-1].items()}
    _draw(run, results, samples, states, outputs)
    write_json(path, results)
    return results


def show(run: Run, results: Results) -> None:
    """Prints Table 1 of this run and where its files are."""
    rows = {role: results[role] for role in _ROLES if role in results}
    data = "synthetic release" if run.config.data.synthetic else "the release"
    ran = {role: f"one run on {data}, seed {run.config.seed}" for role in rows}
    console.results_table(rows, results["chance"], ran=ran)
    console.say(f"{run.workdir / 'result.json'}  {run.workdir / 'plots'}")


_ROLES = ("teacher", "student")


def _settings(run: Run, networks: Mapping[str, Trained]) -> Results:
    return {
        "made_from": {role: network.fingerprint for role, network in networks.items()},
        "regime": run.config.regime,
        "seed": run.config.seed,
        "store": run.store.fingerprint,
    }


def _draw(
    run: Run,
    results: Results,
    samples: Mapping[str, Samples],
    states: Mapping[str, Mapping[str, Scores]],
    outputs: Mapping[str, Mapping[str, np.ndarray]],
) -> None:
    """Every picture; each task on its own set, or on the joint one if it has none."""
    directory = run.workdir / "plots"
    home = {task: task if task in samples else "mtl" for task in TASKS}
    records = {
        role: read_metrics(run.workdir / role / "metrics.jsonl") for role in states
    }
    va, expr, au = (samples[home[task]] for task in TASKS)
    affect = plots.Compared(outputs[home["va"]]["va"], va.va, va.va_where)
    classes = plots.Compared(
        outputs[home["expr"]]["expr"].argmax(-1), expr.expr, expr.expr_where
    )
    units = {
        role: np.asarray(sets[home["au"]]["au"].compute())
        for role, sets in states.items()
    }
    unit_chance = _always_on(au)
    last = results[list(states)[-1]]
    scores = {name: last[name] for name in AFFECT}
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
