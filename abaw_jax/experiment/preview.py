"""Shows and judges, before the first stage, what labels and settings will lead to."""

from collections.abc import Mapping

from abaw_jax.evaluation.validation import validation_samples
from abaw_jax.experiment import data_overview, rows, run_plan
from abaw_jax.experiment.advice import require_rows
from abaw_jax.experiment.class_weights import only_complete
from abaw_jax.experiment.run import Run
from abaw_jax.pipeline.windows import Samples
from abaw_jax.report import console
from abaw_jax.report.overview_tables import (
    StagePlan,
    data_table,
    plan_table,
    rough_size,
    rough_time,
)


def show(run: Run) -> None:
    """Prints two tables, data and plan; nothing if all stages are complete.

    Raises:
      ValueError: if the run lacks rows to train on or be scored by, or disk.
    """
    if run_plan.is_finished(run):
        return
    require_rows(run)
    training = rows.training_samples(run)
    validation = only_complete(
        validation_samples(run.store, run.windows), run.config.train.complete_rows
    )
    _show_data(run, training, validation)
    stages = run_plan.plan_stages(run, training, validation)
    _show_plan(stages, run_plan.require_room(run, stages))


def _show_data(
    run: Run, training: Mapping[str, Samples], validation: Mapping[str, Samples]
) -> None:
    counts = data_overview.counts(run, training, validation)
    console.stage_header("data", "labelled frames, and those that train or are scored")
    console.show(data_table(counts))
    if any(each.used < each.labelled for each in counts if each.split == "train"):
        console.show(rows.why_left_out(run))
    for warning in data_overview.warnings(run, training, validation):
        console.warn(warning)


def _show_plan(stages: list[StagePlan], free: int) -> None:
    waiting = [each for each in stages if not each.ready]
    seconds = sum(each.seconds or 0 for each in waiting)
    disk = sum(each.disk or 0 for each in waiting)
    console.stage_header(
        "plan",
        f"at most about {rough_time(seconds)} on this machine and {rough_size(disk)} "
        f"of disk ({rough_size(free)} are free)",
    )
    console.show(plan_table(stages))
    console.show(
        "Times are those of a few batches, measured now. Compilation comes on top, "
        "from seconds to minutes a stage; training that no longer gains ends earlier."
    )
