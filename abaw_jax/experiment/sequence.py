"""Runs the stages in order, up to the requested one."""

from pathlib import Path

from ml_collections import ConfigDict

from abaw_jax.experiment import (
    baselines,
    corpus,
    encoders,
    feature_shards,
    features,
    preview,
    results,
    sweep,
    teacher_student,
    training_setup,
    validators,
)
from abaw_jax.experiment.checks import check_run
from abaw_jax.experiment.population import count_runs
from abaw_jax.experiment.run import Run
from abaw_jax.experiment.run_record import write_record
from abaw_jax.experiment.sole_run import sole_run
from abaw_jax.report import console
from abaw_jax.store.file_limit import raise_descriptor_limit
from abaw_jax.store.shares import Share
from abaw_jax.training import processes
from abaw_jax.training.sharding import over_all_devices


def join(cluster: str) -> None:
    """Makes this process one of several; all but the first are silent.

    Args:
      cluster: as in `processes.join`.
    """
    processes.join(cluster)
    if not processes.is_first():
        console.silence()


def run(config: ConfigDict, workdir: Path, inputs: Path) -> None:
    """Runs what is not done yet, evaluates what was trained and shows the results.

    Args:
      config: as in ``configs/base.py``; ``until`` names the last stage.
      workdir: gets one folder per network; may hold an earlier or killed run.
      inputs: gets corpus, encoders and features; may be the same, or another run's.

    Raises:
      InUseError: if another run is writing to ``workdir``.
      ValueError: if settings or folders cannot be used, the configuration names no
        data, or does not match what the folders hold; if there are no rows or no room
        for it.
    """
    check_run(config, workdir, inputs)
    raise_descriptor_limit()
    with sole_run(workdir):
        _run_stages(config, workdir, inputs)


def encode_share(config: ConfigDict, workdir: Path, inputs: Path, share: Share) -> None:
    """Encodes one share of the features; trains no network after them.

    Args:
      config: as of `run`, but for ``until``.
      workdir: is left alone unless it is ``inputs`` too.
      inputs: holds corpus and encoders, and gets the features of the share.
      share: which one, and of how many.

    Raises:
      InUseError: if another process writes the share or the whole stage.
      ValueError: if corpus or encoders are still to be made, or no encoder is frozen;
        else as of `run`.
    """
    check_run(config, workdir, inputs)
    if config.regime != "features":
        raise ValueError(
            f"config.regime is {config.regime}, where encoders are trained and no "
            "features are made: leave out --shards and --shard."
        )
    raise_descriptor_limit()
    if not corpus.is_packed(config, inputs):
        raise ValueError(f"{inputs} has no packed corpus yet: {_FIRST}.")
    store = corpus.build(config, inputs)
    here = Run(config, workdir, inputs, store, over_all_devices())
    if missing := encoders.untrained(here):
        names = " and ".join(f"backbone/{name}" for name in missing)
        raise ValueError(f"{inputs} has no trained encoder {names} yet: {_FIRST}.")
    feature_shards.extract(here, share, *training_setup.frozen_encoders(here))


_FIRST = (
    "first run this command in one process, with --config.until=encoders in place of "
    "--shards and --shard"
)


def _run_stages(config: ConfigDict, workdir: Path, inputs: Path) -> None:
    store = corpus.build(config, inputs)
    write_record(config, workdir, inputs)
    here = Run(config, workdir, inputs, store, over_all_devices(count_runs(config)))
    features.require_given(here)
    preview.show(here)
    if config.until == "encoders":
        training_setup.frozen_encoders(here)
        console.say(
            "The encoders are ready: call the same command without --config.until, or "
            "with --shards and --shard in its place."
        )
        return
    chosen = training_setup.choose(here)
    if not here.trains_networks:
        return
    validate = validators.validator(here, chosen)
    select = validators.selection_validator(here, chosen, validate)
    trained = [teacher_student.train_teachers(here, chosen, select)]
    if config.until == "student":
        for generation in range(1, config.kd.generations + 1):
            trained.append(
                teacher_student.train_students(
                    here, chosen, select, trained[-1], generation
                )
            )
    levels = baselines.measure_levels(here, chosen, validate)
    if count_runs(config) > 1:
        sweep.show(here, sweep.experiment(here, validate, trained, levels))
        return
    tuning = validators.tuning_validator(here, chosen)
    tests = validators.test_validator(here, chosen)
    found = results.evaluate(here, validate, trained, levels, tuning, tests)
    results.show(here, found)
