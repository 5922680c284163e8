"""Scores a model folder on the validation sets of a store or a release."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from abaw_jax.evaluation.predictions import Measured, measure, write_predictions
from abaw_jax.evaluation.terminal_tables import (
    OVER_VIDEOS,
    class_table,
    intervals_table,
)
from abaw_jax.evaluation.validation import home_set
from abaw_jax.evaluation.video_intervals import intervals
from abaw_jax.experiment import corpus, training_setup, validators
from abaw_jax.experiment.checks import check
from abaw_jax.experiment.results import training_curves
from abaw_jax.experiment.run import Run
from abaw_jax.experiment.run_record import as_config
from abaw_jax.inference.evaluation_report import Evaluated, evaluation_page
from abaw_jax.inference.model_folder import Contract, read_model
from abaw_jax.json_files import read_json, write_json, write_text
from abaw_jax.metrics import F1, expression_decisions, expression_one_hot
from abaw_jax.path_faults import require_writable
from abaw_jax.pipeline.windows import Samples
from abaw_jax.report import console
from abaw_jax.tasks import ACTION_UNITS, EXPRESSIONS
from abaw_jax.training.sharding import over_all_devices, put_on_devices

REPORT = "report.html"
"""Name of the page beside ``result.json``."""


def evaluate(
    model: Path, base: ConfigDict, out: Path, workdir: Path | None = None
) -> dict[str, Any]:
    """Scores a model; writes ``result.json``, predictions of every frame, a report.

    Args:
      model: the folder.
      base: all fields of a configuration; ``base.data`` names the data.
      out: folder for the results, and for features, which a second call finds again.
      workdir: of the run that trained the model, for its curves.

    Returns:
      What ``result.json`` holds: scores by role, ``chance``, ``intervals``,
      ``classes``, F1 of every expression and action unit, and ``settings``.

    Raises:
      ValueError: if the folder is no model, or the data hold nothing to score.
      OSError: if the results cannot be written.
    """
    contract, networks = read_model(model)
    config = configure(contract, base, model)
    require_writable(out)
    store = corpus.build(config, out)
    run = Run(config, out, out, store, over_all_devices())
    samples = validators.labelled_sets(run)  # before minutes of computing features
    setup = training_setup.choose(run)
    validate = validators.scorer(run, setup, samples)
    heads = put_on_devices(networks["heads"], run.shardings.members)
    measured = measure(validate, heads)
    role = contract["role"]
    found = intervals(store, validate.samples, measured)
    results = {
        role: measured.scores,
        "chance": validate.chance,
        "intervals": {role: {key: each.plain for key, each in found.items()}},
        "classes": _class_scores(validate.samples, measured),
        "settings": {
            "model": contract["files"],
            "store": store.fingerprint,
            "data": run.data_name,
        },
    }
    for name, outputs in measured.outputs.items():
        archive = out / "predictions" / f"{name}.npz"
        write_predictions(archive, store, validate.samples[name], outputs)
    write_json(out / "result.json", results)
    curves = curves_of(workdir) if workdir else None
    labels = validate.samples
    whole = Evaluated(contract, store, labels, measured.together, results, curves)
    write_text(out / REPORT, evaluation_page(whole))
    return results


def show(results: Mapping[str, Any], role: str, model: Path) -> None:
    """Prints the scores, their intervals and those of each class."""
    ran = {role: f"{model} on {results['settings']['data']}"}
    levels = {"chance": results["chance"]}
    console.results_table({role: results[role]}, levels, ran=ran)
    console.show(intervals_table(results["intervals"]))
    console.show(OVER_VIDEOS)
    for name, scores in results["classes"].items():
        console.show(class_table(name, scores))


def configure(contract: Contract, base: ConfigDict, model: Path) -> ConfigDict:
    """The model's configuration with its own encoders and the data of ``base``.

    Raises:
      ValueError: if settings cannot be used.
    """
    config = base.copy_and_resolve_references()
    data = config.data.copy_and_resolve_references()
    config.update(as_config(contract["config"]))
    config.data = data
    if config.regime == "end_to_end":
        config.features.sound_every = 1
    config.regime = "features"
    config.population = ()
    config.evaluation = base.evaluation
    for stream in config.streams:
        encoder = config[f"{stream}_encoder"]
        encoder.weights = str(model / f"{stream}_encoder.safetensors")
    config.backbone.store = None  # they are trained, and its data may be elsewhere
    check(config)
    return config


def curves_of(workdir: Path) -> dict[str, Any] | None:
    """Curves of a run; None if its result or a log is missing."""
    recorded = read_json(workdir / "result.json") or {}
    if "training" not in recorded:
        return None
    try:
        return training_curves(workdir, recorded)
    except FileNotFoundError:
        return None


def _class_scores(
    samples: Mapping[str, Samples], measured: Measured
) -> dict[str, dict[str, float]]:
    """F1 of every expression and unit, on the set that each task is scored on."""
    found = {}
    expr, au = home_set("expr", samples), home_set("au", samples)
    if expr is not None:
        decisions = expression_decisions(jnp.asarray(measured.together[expr]["expr"]))
        labels = expression_one_hot(jnp.asarray(samples[expr].expr))
        where = jnp.asarray(samples[expr].expr_where)
        scores = F1.from_batch(decisions, labels, where=where).compute()
        found["expressions"] = _named(EXPRESSIONS, scores)
    if au is not None:
        found["action units"] = _named(ACTION_UNITS, measured.unit_f1[au])
    return found


def _named(names: tuple[str, ...], scores: Any) -> dict[str, float]:
    return dict(zip(names, map(float, np.asarray(scores)), strict=True))
