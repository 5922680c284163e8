"""The stages in order, up to the one asked for."""

from pathlib import Path

from ml_collections import ConfigDict

from abaw_jax.data.store import raise_descriptor_limit
from abaw_jax.report import console
from abaw_jax.stages import corpus, evaluation, laboratory, network, regime
from abaw_jax.stages.checks import check
from abaw_jax.stages.members import count_runs
from abaw_jax.stages.run import Run
from abaw_jax.training import processes
from abaw_jax.training.sharding import over_all_devices


def join(whom: str) -> None:
    """Makes this process one of several; all but the first are silent.

    Args:
      whom: as in `processes.join`.
    """
    processes.join(whom)
    if not processes.is_first():
        console.mute()


def run(config: ConfigDict, workdir: Path, inputs: Path) -> None:
    """Runs what is not done yet, evaluates what was trained and shows the results.

    Args:
      config: as in ``configs/base.py``; ``until`` names the last stage.
      workdir: gets one folder per network; may hold an earlier or killed run.
      inputs: gets corpus, encoders and features; may be the same, or another run's.

    Raises:
      ValueError: if the configuration names no data or an unknown stage, or does not
        match what the folders hold.
    """
    check(config)
    raise_descriptor_limit()
    store = corpus.build(config, inputs)
    here = Run(config, workdir, inputs, store, over_all_devices(count_runs(config)))
    chosen = regime.choose(here)
    if config.until == "features":
        return
    validate = network.validator(here, chosen)
    trained = [network.train_teachers(here, chosen, validate)]
    if config.until == "student":
        for generation in range(1, config.kd.generations + 1):
            trained.append(
                network.train_students(here, chosen, validate, trained[-1], generation)
            )
    if count_runs(config) > 1:
        laboratory.show(here, laboratory.experiment(here, validate, trained))
        return
    tuning = network.tuning_validator(here, chosen)
    tests = network.test_validator(here, chosen)
    results = evaluation.evaluate(here, validate, trained, tuning, tests)
    evaluation.show(here, results)
