"""Who scores a run's networks, on which frames: validation, selection, tuning, test."""

from collections.abc import Mapping

from abaw_jax.evaluation.validation import Validator, stream, validation_samples
from abaw_jax.experiment import rows
from abaw_jax.experiment.class_weights import only_complete
from abaw_jax.experiment.run import Run
from abaw_jax.experiment.training_setup import TrainingSetup
from abaw_jax.pipeline.windows import Samples
from abaw_jax.training.steps import make_predict_chunk

PREDICTED_BATCHES = 8
"""Batches in one call of the compiled prediction."""


def validator(run: Run, setup: TrainingSetup) -> Validator:
    """Scores this setup's networks on the validation sets.

    Raises:
      ValueError: as of `labelled_sets`.
    """
    return scorer(run, setup, labelled_sets(run))


def labelled_sets(run: Run) -> dict[str, Samples]:
    """The labelled validation frames by set, found without any feature of them.

    Raises:
      ValueError: if there are none.
    """
    samples = validation_samples(run.store, run.windows)
    if not samples:
        raise ValueError(
            f"store {run.store.path} holds no labelled validation frame with an image, "
            "by which the best epoch is chosen; prepare it with a validation part."
        )
    return only_complete(samples, run.config.train.complete_rows)


def selection_validator(
    run: Run, setup: TrainingSetup, validate: Validator
) -> Validator:
    """Scores the networks of each epoch, of which the best is kept."""
    if run.config.evaluation.selection == "validation":
        return validate
    samples = rows.held_out_samples(run)
    return scorer(run, setup, only_complete(samples, run.config.train.complete_rows))


def tuning_validator(run: Run, setup: TrainingSetup) -> Validator | None:
    """The same on the action units of the videos held out of training, if any are."""
    samples = rows.held_out_samples(run)
    return scorer(run, setup, {"au": samples["au"]}) if "au" in samples else None


def test_validator(run: Run, setup: TrainingSetup) -> Validator | None:
    """Predicts the frames of the test lists that have an image, if there are any."""
    samples = rows.test_samples(run)
    return scorer(run, setup, samples) if samples else None


def scorer(run: Run, setup: TrainingSetup, samples: Mapping[str, Samples]) -> Validator:
    """Scores or predicts samples by set; compiled once for each number of networks."""
    chunks = stream(
        samples,
        setup.fill,
        run.shardings,
        batch_size=run.config.train.batch_size,
        batches_per_chunk=PREDICTED_BATCHES if setup.on_device else 1,
        on_device=setup.on_device,
    )
    predict = make_predict_chunk(
        setup.model,
        make_batch=setup.make_batch,
        inputs=setup.inputs,
        shardings=run.shardings,
    )
    heads = run.config.heads
    domains = heads.domains if heads.discriminator else 0
    return Validator(
        predict, setup.table, samples, chunks, run.shardings, domains=domains
    )
