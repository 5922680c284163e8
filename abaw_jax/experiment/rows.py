"""Selects the frames that train, that tune thresholds, and that are predicted."""

from collections.abc import Iterable, Mapping

import numpy as np

from abaw_jax.evaluation.thresholds import held_out_videos, rows_of
from abaw_jax.experiment.class_weights import only_complete
from abaw_jax.experiment.run import Run
from abaw_jax.pipeline import windows
from abaw_jax.pipeline.batches import Schedule, plan
from abaw_jax.pipeline.windows import Samples, evaluation_samples
from abaw_jax.releases.labels import Labels
from abaw_jax.store.reader import Store
from abaw_jax.tasks import ACTION_UNITS, AFFECT, SETS, TASKS


def training_samples(run: Run) -> dict[str, Samples]:
    """Training frames of every set with complete windows, less the held-out videos."""
    samples = {
        name: windows.training_samples(
            run.store,
            run.store.labels(name, "train"),
            run.windows,
            with_sound="sound" in run.config.streams,
        )
        for name in SETS
    }
    if held_out := _held_out(run):
        samples = {
            name: each.take(~rows_of(run.store, each.subject, held_out))
            for name, each in samples.items()
        }
    return only_complete(samples, run.config.train.complete_rows)


def held_out_samples(run: Run) -> dict[str, Samples]:
    """Labelled frames of the videos held out of training, of every set with any."""
    if not (videos := _held_out(run)):
        return {}
    found = {}
    for name in SETS:
        labels = run.store.labels(name, "train")
        samples = evaluation_samples(run.store, labels, run.windows)
        found[name] = samples.take(rows_of(run.store, samples.subject, videos))
    return {name: samples for name, samples in found.items() if len(samples)}


def test_samples(run: Run) -> dict[str, Samples]:
    """Frames of the test lists that have an image; no label of theirs is known."""
    samples = {}
    for name in SETS:
        labels = without_labels(*run.store.test_frames(name))
        found = evaluation_samples(run.store, labels, run.windows)
        if len(found):
            samples[name] = found
    return samples


def count(run: Run, samples: Mapping[str, Samples]) -> dict[str, dict[str, int]]:
    """Labelled training frames of every set, and how many of them train."""
    return {
        name: {"labelled": len(run.store.labels(name, "train")), "trained": len(each)}
        for name, each in samples.items()
    }


def why_left_out(run: Run) -> str:
    """One sentence: what training frames that do not train may lack."""
    rule, reasons = run.windows, []
    if rule.missing == "drop":
        reasons.append("images of their window (config.windows.missing)")
    if "sound" in run.config.streams and rule.sound_pad == "drop":
        seconds = f"{rule.sound_seconds:g} s of sound"
        reasons.append(f"its {seconds} (config.windows.sound_pad)")
    if run.config.train.complete_rows:
        reasons.append("some labels (config.train.complete_rows)")
    held_out = ", or are held out" if _held_out(run) else ""
    return f"The others lack an image, {' or '.join(reasons)}{held_out}."


def schedule(
    run: Run, samples: Mapping[str, Samples], *, on_device: bool = True
) -> Schedule:
    """An epoch of teacher or student.

    Args:
      run: its settings of training.
      samples: of `training_samples`.
      on_device: items are small; else a chunk is a single round, for the media of
        fifty at full size are 34 GB.

    Raises:
      ValueError: if no set has a sample, or one has too few.
    """
    settings = run.config.train
    return plan(
        {name: len(each) for name, each in samples.items()},
        batch_size=settings.batch_size,
        rounds_per_chunk=settings.rounds_per_chunk if on_device else 1,
        proportional=settings.proportional,
    )


def _held_out(run: Run) -> frozenset[str]:
    return held_out_videos(run.store, run.config.evaluation.held_out)


def without_labels(subject: np.ndarray, frame: np.ndarray) -> Labels:
    """Frames of which no label is known."""
    rows = len(frame)
    return Labels(
        subject=np.asarray(subject),
        frame=np.asarray(frame),
        va=np.zeros((rows, len(AFFECT)), np.float32),
        va_where=np.zeros(rows, bool),
        expr=np.zeros(rows, np.int32),
        expr_where=np.zeros(rows, bool),
        au=np.zeros((rows, len(ACTION_UNITS)), np.uint8),
        au_where=np.zeros((rows, len(ACTION_UNITS)), bool),
    )


def name_rows(
    store: Store, samples: Mapping[str, Samples], name: str, rows: np.ndarray
) -> str:
    """Videos and frames of some rows of a set's samples, for a person."""
    picked = samples[name].take(rows[:_SHOWN])
    named = [
        f"{store.subjects[subject].name} frame "
        f"{store.numbers(subject)[row - store.subjects[subject].first_row]}"
        for subject, row in zip(
            picked.subject.tolist(), picked.image_rows[:, -1].tolist(), strict=True
        )
    ]
    more = len(rows) - len(named)
    return ", ".join(named) + (f" and {more} more rows" if more else "")


_SHOWN = 8


def distilled(run: Run, names: Iterable[str] = SETS) -> list[str]:
    """Those of the sets whose batches are distilled into a student."""
    joint = run.config.equations.distilled_joint
    return [name for name in names if joint or name in TASKS]


def tasks_without_labels(run: Run) -> list[str]:
    """Tasks that no frame that trains has a label of."""
    samples = training_samples(run).values()
    return [
        task
        for task in TASKS
        if not any(getattr(each, f"{task}_where").any() for each in samples)
    ]
