"""Last stage: teacher and student by the official measures, a table and pictures."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from abaw_jax.data.windows import Samples
from abaw_jax.report import console, plots
from abaw_jax.report.log import read_metrics
from abaw_jax.stages.artefact import write_json
from abaw_jax.stages.network import Trained, validator
from abaw_jax.stages.regime import Regime
from abaw_jax.stages.run import Run
from abaw_jax.stages.validation import Validator, chance, validation_samples

Results = dict[str, Any]


def evaluate(run: Run, regime: Regime, networks: Mapping[str, Trained]) -> Results:
    """Scores the networks on all validation sets and writes what a person looks at.

    Args:
      run: the working directory gets ``result.json`` and ``plots/``.
      regime: that the networks were trained in.
      networks: by role, ``teacher`` first; the last one's predictions are drawn.

    Returns:
      What ``result.json`` holds: scores by role, ``chance`` and ``settings``.
    """
    samples = validation_samples(run.store, run.windows)
    score = validator(run, regime, samples)
    results: Results = {
        role: dict(score(network.variables).shown) for role, network in networks.items()
    }
    results["chance"] = chance(samples)
    results["settings"] = _settings(run, networks, samples)
    role = list(networks)[-1]
    _draw(run, score, samples, role, networks[role], results)
    write_json(run.workdir / "result.json", results)
    return results


def show(run: Run, results: Results) -> None:
    """Prints Table 1 of this run and where its files are."""
    roles = [role for role in ("teacher", "student") if role in results]
    console.results_table({role: results[role] for role in roles}, results["chance"])
    console.say(f"{run.workdir / 'result.json'}, {run.workdir / 'plots'}")


def _settings(
    run: Run, networks: Mapping[str, Trained], samples: Mapping[str, Samples]
) -> Results:
    return {
        "made_from": {role: network.fingerprint for role, network in networks.items()},
        "regime": run.config.regime,
        "seed": run.config.seed,
        "store": run.store.fingerprint,
        "validation_frames": {name: len(each) for name, each in samples.items()},
    }


def _draw(
    run: Run,
    score: Validator,
    samples: Mapping[str, Samples],
    role: str,
    network: Trained,
    results: Results,
) -> None:
    directory = run.workdir / "plots"
    directory.mkdir(exist_ok=True)
    records = {
        name: read_metrics(run.workdir / name / "metrics.jsonl")
        for name in ("teacher", "student")
        if name in results
    }
    plots.learning_curves(records, results["chance"], directory / "curves.png")
    for task, draw in _PICTURES.items():
        name = task if task in samples else "mtl"
        if name not in samples:
            continue
        _, outputs = score.predictions(network.variables, name)
        np.savez(directory / f"{role}_{task}.npz", **{task: outputs[task]})
        draw(outputs[task], samples[name], directory)


def _draw_va(outputs: np.ndarray, samples: Samples, directory: Path) -> None:
    plots.valence_arousal_scatter(
        outputs, samples.va, samples.va_where, directory / "valence_arousal.png"
    )


def _draw_expr(outputs: np.ndarray, samples: Samples, directory: Path) -> None:
    plots.expression_confusion(
        outputs.argmax(-1),
        samples.expr,
        samples.expr_where,
        directory / "expressions.png",
    )


def _draw_au(outputs: np.ndarray, samples: Samples, directory: Path) -> None:
    plots.action_unit_bars(
        outputs > 0, samples.au, samples.au_where, directory / "action_units.png"
    )


_PICTURES = {"va": _draw_va, "expr": _draw_expr, "au": _draw_au}
