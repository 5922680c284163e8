"""Levels that a trained network is compared with: chance, and a linear probe."""

from typing import Any

from abaw_jax.evaluation.validation import Validator
from abaw_jax.experiment import rows
from abaw_jax.experiment.artefact import Artefact
from abaw_jax.experiment.run import Run
from abaw_jax.experiment.training_setup import TrainingSetup
from abaw_jax.json_files import read_json
from abaw_jax.report import console
from abaw_jax.report.console import Levels


def measure_levels(run: Run, setup: TrainingSetup, validate: Validator) -> Levels:
    """Scores of every level on the validation sets.

    The linear probe reads the feature table: there is none where encoders are trained.
    It is fitted once for a work folder.
    """
    if not run.config.evaluation.linear_probe or setup.window_features is None:
        return {"chance": validate.chance}
    return {
        "linear_probe": _probe(run, setup, validate),
        "chance": validate.chance,
    }


def _probe(run: Run, setup: TrainingSetup, validate: Validator) -> dict[str, float]:
    artefact = Artefact(run.workdir / "linear_probe", made_from(run, setup))
    complete = artefact.begin()
    console.stage_header(
        "linear probe",
        "ready" if complete else "ridge and logistic regression on the same windows",
    )
    if not complete:
        # scikit-learn takes most of a second to load; later calls do without.
        from abaw_jax.evaluation.linear_probe import linear_probe

        assert setup.window_features is not None
        samples = rows.training_samples(run)
        scores = linear_probe(samples, validate.samples, setup.window_features)
        artefact.finish({"scores": scores})
    return (read_json(artefact.directory / "done.json") or {})["scores"]


def made_from(run: Run, setup: TrainingSetup) -> dict[str, Any]:
    """Everything that the probe's scores depend on."""
    config = run.config
    return setup.made_from | {
        "store": run.store.fingerprint,
        "streams": config.streams,
        "windows": config.windows.to_dict(),
        "complete_rows": config.train.complete_rows,
        "held_out": config.evaluation.held_out,
    }
