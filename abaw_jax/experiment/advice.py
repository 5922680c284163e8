"""Judges before the first stage whether a run has the rows that it needs.

If not, it is refused with the switch that helps. Switches are tried, not guessed: rows
are counted again with each, and the fewest that let the run start are named.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import combinations
from typing import Any

import numpy as np

from abaw_jax.evaluation.validation import validation_samples
from abaw_jax.experiment import rows, stream_training
from abaw_jax.experiment.class_weights import only_complete
from abaw_jax.experiment.run import Run
from abaw_jax.pipeline.windows import sound_length
from abaw_jax.tasks import SETS

IsEnough = Callable[[Run], bool]
Changes = dict[str, Any]
"""Values by field, as ``{"windows.missing": "hold"}``."""


def require_rows(run: Run) -> None:
    """Refuses a run that could not train or could not be scored.

    Raises:
      ValueError: says what is missing, and the switches with which the run starts.
    """
    if (missing := what_is_missing(run)) is None:
        return
    changes = changes_that_help(run, lambda other: what_is_missing(other) is None)
    if changes is None:
        raise ValueError(missing)
    trained = sum(map(len, rows.training_samples(changed(run, changes)).values()))
    frames = f" to train on {trained:,} frame{'s' if trained > 1 else ''}"
    frames = frames if run.trains_networks else ""
    raise ValueError(f"{missing} Add {as_switches(changes)}{frames}.")


def what_is_missing(run: Run) -> str | None:
    """One sentence; ``None`` if each stage has rows to train on and be scored by."""
    try:
        if run.trains_networks:
            _require_rows_of_networks(run)
        for each in stream_training.streams_to_train(run):
            stream_training.rows_to_train(each)
    except ValueError as error:
        return str(error)
    return None


def changes_that_help(run: Run, is_enough: IsEnough) -> Changes | None:
    """The fewest changes of settings with which there are enough rows, if any do.

    Args:
      run: as it is configured.
      is_enough: of a run with other settings.
    """
    candidates = [*_candidates(run)]
    for count in range(1, len(candidates) + 1):
        for chosen in combinations(candidates, count):
            changes = {name: value for each in chosen for name, value in each.items()}
            if is_enough(changed(run, changes)):
                return changes
    return None


def changed(run: Run, changes: Changes) -> Run:
    """The run with other settings."""
    config = run.config.copy_and_resolve_references()
    config.update_from_flattened_dict(changes)
    return replace(run, config=config)


def as_switches(changes: Changes) -> str:
    """The changes as they are written on the command line."""
    return " ".join(
        f"--config.{name}={','.join(value) if isinstance(value, tuple) else value}"
        for name, value in changes.items()
    )


def _candidates(run: Run) -> Iterator[Changes]:
    """Settings by which rows are lost, each with its other value."""
    config = run.config
    if config.train.complete_rows:
        yield {"train.complete_rows": False}
    if "sound" in config.streams and config.windows.sound_pad == "drop":
        heard = any(sound_length(run.store, each) for each in _subjects(run))
        yield {"windows.sound_pad": "zero"} if heard else {"streams": ("image",)}
    if config.windows.missing == "drop" and config.windows.images > 1:
        yield {"windows.missing": "hold"}
    if config.train.proportional:
        yield {"train.proportional": False}
    if config.evaluation.held_out:
        yield {"evaluation.selection": "validation", "evaluation.held_out": 0.0}


def _require_rows_of_networks(run: Run) -> None:
    training = rows.training_samples(run)
    if not any(map(len, training.values())):
        raise ValueError(_why_nothing_trains(run))
    rows.schedule(run, training)
    validation = validation_samples(run.store, run.windows)
    if not validation:
        raise ValueError(
            f"Store {run.store.path} holds no labelled validation frame with an image, "
            "by which the best epoch is chosen: prepare it with a validation part."
        )
    kept = only_complete(validation, run.config.train.complete_rows)
    if not any(map(len, kept.values())):
        raise ValueError("No validation frame has every label of its set.")


def _why_nothing_trains(run: Run) -> str:
    labelled = sum(len(run.store.labels(name, "train")) for name in SETS)
    if not labelled:
        return (
            f"Store {run.store.path} holds no labelled training frame: prepare it with "
            "a training part."
        )
    rule, needed, subjects = run.windows, [], _subjects(run)
    if rule.missing == "drop" and rule.images > 1:
        unit = rule.unit[:-1] if rule.stride == 1 else rule.unit
        needed.append(f"{rule.images} images {rule.stride:g} {unit} apart")
    if "sound" in run.config.streams and rule.sound_pad == "drop":
        needed.append(f"{rule.sound_seconds:g} s of sound before it")
    if run.config.train.complete_rows:
        needed.append("every label of its set")
    videos = {run.store.subjects[each].video for each in subjects}
    longest = max(
        run.store.subjects[each].num_frames / run.store.subjects[each].fps
        for each in subjects
    )
    silent = not any(sound_length(run.store, each) for each in subjects)
    return (
        f"None of the {labelled:,} labelled training frames has all that a window "
        f"needs ({', '.join(needed)}); the longest of their {len(videos):,} videos "
        f"lasts {longest:.1f} s{', and none has sound' if silent else ''}."
    )


def _subjects(run: Run) -> list[int]:
    """Indices of the people with training labels."""
    parts = [run.store.labels(name, "train").subject for name in SETS]
    return np.unique(np.concatenate(parts)).tolist()
