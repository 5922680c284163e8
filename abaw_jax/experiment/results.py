"""Last stage: official scores of teacher and student, a table and figures."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from abaw_jax.evaluation.batch_means import Labelled, batch_mean_scores
from abaw_jax.evaluation.predictions import Measured, measure, write_predictions
from abaw_jax.evaluation.terminal_tables import OVER_VIDEOS, SELECTED, intervals_table
from abaw_jax.evaluation.thresholds import best_thresholds, score_with
from abaw_jax.evaluation.validation import Validator, columns, home_set
from abaw_jax.evaluation.video_intervals import intervals
from abaw_jax.experiment.result_files import describe_written, is_sound, room_for
from abaw_jax.experiment.run import Run
from abaw_jax.experiment.teacher_student import Trained
from abaw_jax.json_files import read_json, write_json
from abaw_jax.pipeline.windows import Samples
from abaw_jax.report import console
from abaw_jax.report.console import Levels
from abaw_jax.tasks import AFFECT, EXPRESSIONS, TASKS
from abaw_jax.training.metrics_log import (
    Record,
    log_damage,
    mean_records,
    read_metrics,
)
from abaw_jax.training.processes import is_first

Results = dict[str, Any]


def evaluate(
    run: Run,
    validate: Validator,
    trained: Sequence[Trained],
    levels: Levels,
    tuning: Validator | None = None,
    tests: Validator | None = None,
) -> Results:
    """Scores the networks on all validation sets and writes what a person looks at.

    Args:
      run: the working directory gets ``result.json``, ``plots/`` and ``predictions/``.
      validate: has the validation sets and the compiled network.
      trained: by generation, the teacher first; the last one's predictions are drawn.
        An ensemble is scored by what its networks say together.
      levels: that the networks are compared with.
      tuning: has the videos held out of training, on which thresholds are tuned.
      tests: has the frames of the test lists, which the last role predicts.

    Returns:
      What ``result.json`` holds: scores by role, and of ``chance`` and
      ``linear_probe``; ``settings``; ``files``; ``training`` by role, the chosen epochs
      and the rows that trained; ``intervals`` by role, and of what the last role has
      over the first; of an ensemble also ``members``, the scores of its networks by
      role; if asked for, ``batch_mean``, which is no official measure, and ``tuned``,
      action units with separate thresholds.
    """
    settings = _settings(run, trained)
    path = run.workdir / "result.json"
    old = read_json(path) or {}
    if is_sound(path, old, settings):
        return old
    samples = validate.samples
    measured = {role.role: measure(validate, role.variables) for role in trained}
    last = measured[trained[-1].role]
    scores = {name: each.scores for name, each in measured.items()}
    results: Results = {**scores, **levels, "settings": settings}
    results["training"] = {role.role: _training(run, role.role) for role in trained}
    results["intervals"] = _intervals(run, samples, measured)
    if several := {k: m.members for k, m in measured.items() if len(m.members) > 1}:
        results["members"] = several
    if run.config.evaluation.batch_mean:
        means = {name: batch_means(run, samples, m) for name, m in measured.items()}
        results["batch_mean"] = means
    if tuning is not None and (home := home_set("au", samples)):
        results["tuned"] = {
            role.role: _tuned(tuning, samples[home], role, measured[role.role], home)
            for role in trained
        }
    predicted = {name: (samples[name], o) for name, o in last.outputs.items()}
    if tests is not None:
        outputs = measure(tests, trained[-1].variables).outputs
        predicted |= {f"test_{k}": (tests.samples[k], o) for k, o in outputs.items()}
    if is_first():
        rows = sum(len(each) for each, _ in predicted.values())
        with room_for(rows, run.workdir):
            _write_files(run, results, predicted, samples, measured)
            write_json(path, results)
    return results


def _write_files(
    run: Run,
    results: Results,
    predicted: Mapping[str, tuple[Samples, Any]],
    samples: Mapping[str, Samples],
    measured: Mapping[str, Measured],
) -> None:
    """Writes predictions and pictures, and notes them as the result's files."""
    _write_predictions(run, predicted)
    _draw(run, results, samples, measured)
    results["files"] = describe_written(run.workdir)


def _write_predictions(run: Run, predicted: Mapping[str, tuple[Samples, Any]]) -> None:
    for name, (rows, values) in predicted.items():
        archive = run.workdir / "predictions" / f"{name}.npz"
        write_predictions(archive, run.store, rows, values)


def _training(run: Run, role: str) -> Results:
    """Chosen epoch and reason of the end by member, and the rows that trained."""
    done = read_json(run.workdir / role / "done.json") or {}
    return {key: done[key] for key in ("members", "rows") if key in done}


def batch_means(
    run: Run, samples: Mapping[str, Samples], measured: Measured
) -> dict[str, float]:
    """Scores of the last resort: what the authors' code would print.

    Each task on its own set, the sum on the multi-task set, in batches as large as
    theirs: the largest set's has ``train.batch_size`` rows, the others follow.
    """
    rounds = -(-max(map(len, samples.values())) // run.config.train.batch_size)
    found = {
        name: _batch_means(each, measured.together[name], max(1, len(each) // rounds))
        for name, each in samples.items()
    }
    return columns(found, samples)


def _batch_means(
    samples: Samples, outputs: Mapping[str, np.ndarray], batch_size: int
) -> dict[str, float]:
    order = np.random.default_rng(0).permutation(len(samples))
    shuffled = samples.take(order)
    logits = {task: values[order] for task, values in outputs.items()}

    def labelled(values: np.ndarray, labels: np.ndarray, where: np.ndarray) -> Labelled:
        return Labelled(values[where], labels[where])

    classes = np.eye(len(EXPRESSIONS))
    whole_rows = np.logical_and.reduce(shuffled.au_where, axis=1)
    return batch_mean_scores(
        labelled(logits["va"], shuffled.va, shuffled.va_where),
        labelled(
            classes[logits["expr"].argmax(-1)],
            classes[shuffled.expr],
            shuffled.expr_where,
        ),
        labelled(logits["au"] > 0, shuffled.au, whole_rows),
        batch_size=batch_size,
    )


def _intervals(
    run: Run, samples: Mapping[str, Samples], measured: Mapping[str, Measured]
) -> dict[str, dict[str, list[float | None]]]:
    """Intervals by role and of the last role minus the first, over the videos."""
    found = {
        role: intervals(run.store, samples, each) for role, each in measured.items()
    }
    roles = list(measured)
    if len(roles) > 1:
        first, last = roles[0], roles[-1]
        found[f"{last} - {first}"] = intervals(
            run.store, samples, measured[last], measured[first]
        )
    return {
        name: {key: each.plain for key, each in scores.items()}
        for name, scores in found.items()
    }


def _tuned(
    tuning: Validator, samples: Samples, role: Trained, seen: Measured, home: str
) -> dict[str, Any]:
    """The role's units with thresholds from the held-out videos."""
    held_out = measure(tuning, role.variables).together["au"]["au"]
    thresholds = best_thresholds(held_out, tuning.samples["au"])
    return score_with(thresholds, seen.together[home]["au"], samples)


def show(run: Run, results: Results) -> None:
    """Prints Table 1 of this run and where its files are."""
    rows = {role: each for role, each in results.items() if role not in _NO_ROLES}
    data, seed = run.data_name, run.config.seed
    ran = {
        role: f"one run on {data}, seed {seed}{_ended(results['training'][role])}"
        for role in rows
    }
    for role, members in results.get("members", {}).items():
        ran[role] = f"{len(members)} networks together, on {data}"
    levels = _levels(results)
    console.results_table(rows, levels, ran=ran)
    console.show(intervals_table(results["intervals"]))
    console.show(OVER_VIDEOS)
    if run.config.evaluation.selection == "validation":
        console.show(SELECTED)
    if "batch_mean" in results:
        console.say("Means over shuffled mini-batches, NOT the official measures:")
        means = {role: "not comparable with the table above" for role in rows}
        console.results_table(results["batch_mean"], {}, ran=means)
    for role, tuned in results.get("tuned", {}).items():
        console.say(
            f"{role}: AU {tuned['au']:.3f} with thresholds tuned on held-out videos, "
            f"{results[role]['au']:.3f} with the official one"
        )
    for role, scores in rows.items():
        _warn_below_probe(role, scores, levels.get("linear_probe", {}))
    console.say(f"{run.workdir / 'result.json'}  {run.workdir / 'plots'}")


def _levels(results: Results) -> Levels:
    return {name: results[name] for name in console.LEVELS if name in results}


def _warn_below_probe(
    role: str, scores: Mapping[str, float], probe: Mapping[str, float]
) -> None:
    below = [
        name
        for key, name in console.COLUMNS.items()
        if key in probe and scores.get(key, 0.0) < probe[key]
    ]
    if below:
        console.warn(
            f"the {role} is below the linear probe in {', '.join(below)}: it makes "
            "less of the features than a linear model. Compare its training rows, its "
            "learning rate and configs/recommended.py."
        )


_NO_ROLES = (
    *(*console.LEVELS, "settings", "members", "batch_mean", "tuned", "intervals"),
    *("training", "files"),
)


def _ended(training: Results) -> str:
    """Chosen epoch of the only network of a role, and the reason of its end."""
    if len(members := training.get("members", ())) != 1:
        return ""
    chosen, epochs, ended = (members[0][key] for key in _OUTCOME)
    why = {"patience": ", no better one since", "not finite": ", then not finite"}
    return f": epoch {chosen} of {epochs}{why.get(ended, '')}"


_OUTCOME = ("chosen_epoch", "epochs", "ended")


def _settings(run: Run, trained: Sequence[Trained]) -> Results:
    return {
        "made_from": {role.role: role.fingerprint for role in trained},
        "regime": run.config.regime,
        "evaluation": run.config.evaluation.to_dict(),
        "seed": run.config.seed,
        "store": run.store.fingerprint,
    }


def training_curves(workdir: Path, results: Results) -> dict[str, Any]:
    """What `plots.learning_curves` draws of a finished run, but for the path.

    Args:
      workdir: of the run.
      results: of its ``result.json``.

    Raises:
      FileNotFoundError: if a role has no metrics log.
    """
    roles = results["training"]
    return {
        "records": {role: _log_records(workdir / role) for role in roles},
        "levels": _levels(results),
        "chosen": {
            role: members[0]["chosen_epoch"]
            for role, training in roles.items()
            if len(members := training.get("members", ())) == 1
        },
    }


def _log_records(stage: Path) -> list[Record]:
    """The metrics log of a finished stage; a changed one with a warning."""
    checksum = (read_json(stage / "done.json") or {}).get("log_checksum")
    log = stage / "metrics.jsonl"
    if checksum is not None and (damage := log_damage(log, checksum)):
        console.warn(damage)
    return mean_records(read_metrics(log))


def _draw(
    run: Run,
    results: Results,
    samples: Mapping[str, Samples],
    measured: Mapping[str, Measured],
) -> None:
    """Every picture of the tasks that have frames.

    Each task is drawn on its own set, or on the multi-task set if it has none.
    """
    from abaw_jax.evaluation import plots  # Matplotlib takes .3 s to load

    directory = run.workdir / "plots"
    sets = {task: name for task in TASKS if (name := home_set(task, samples))}
    homes = {task: samples[name] for task, name in sets.items()}
    last = list(measured.values())[-1]
    outputs = {task: last.together[name][task] for task, name in sets.items()}
    curves = training_curves(run.workdir, results)
    plots.learning_curves(**curves, path=directory / "curves.png")
    parts: Results = {}
    if (va := homes.get("va")) is not None:
        scores = {name: last.scores[name] for name in AFFECT}
        affect = plots.Compared(outputs["va"], va.va, va.va_where)
        plots.valence_arousal_scatter(
            *affect, directory / "valence_arousal.png", scores=scores
        )
        parts |= {"va": affect, "scores": scores}
    if (expr := homes.get("expr")) is not None:
        classes = outputs["expr"].argmax(-1)
        compared = plots.Compared(classes, expr.expr, expr.expr_where)
        plots.expression_confusion(*compared, directory / "expressions.png")
        parts |= {"expr": compared}
    if (au := homes.get("au")) is not None:
        units = {role: each.unit_f1[sets["au"]] for role, each in measured.items()}
        plots.action_unit_bars(units, _always_on(au), directory / "action_units.png")
        parts |= {"unit_scores": units, "unit_chance": _always_on(au)}
    if len(homes) == len(TASKS):
        plots.summary(**curves, **parts, path=directory / "summary.png")


def _always_on(samples: Samples) -> np.ndarray:
    """F1 of each unit when it is always predicted, ``[12]``."""
    on = (samples.au > 0) & samples.au_where
    rate = on.sum(0) / np.maximum(samples.au_where.sum(0), 1)
    return 2 * rate / (1 + rate)
