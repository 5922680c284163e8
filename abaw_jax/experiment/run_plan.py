"""Lays out what every stage of a run will do: its work, its disk, and its time.

Work and disk are arithmetic on labels and settings. Time is work by the rates that
`encoding_rates` measures; an update takes three times as long as a prediction.
"""

import shutil
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import jax

from abaw_jax.experiment import (
    encoding_rates,
    feature_files,
    model_factory,
    rows,
    stream_training,
)
from abaw_jax.experiment.encoding_rates import Rates
from abaw_jax.experiment.population import count_runs
from abaw_jax.experiment.run import Run
from abaw_jax.pipeline.windows import Samples
from abaw_jax.report.overview_tables import StagePlan, rough_size
from abaw_jax.training.state import Variables, variable_shapes

_UPDATE = 3  # predictions: forward, and backward to weights and to inputs
_ADAM = 2  # moments of a parameter
_CHECKPOINTS = 2  # that are kept
_NOTES = 1000  # bytes that Orbax writes about an array, as measured with the quickstart
_FLOAT = 4  # bytes
_SHAPES = {
    "image": encoding_rates.shapes_of_image_encoder,
    "sound": encoding_rates.shapes_of_sound_encoder,
}
_ITEMS = {"image": "images", "sound": "windows"}


def plan_stages(
    run: Run, training: Mapping[str, Samples], validation: Mapping[str, Samples]
) -> list[StagePlan]:
    """Every stage up to the configured one, those that are ready included.

    Args:
      run: settings, store and folders.
      training: rows of the networks, by set.
      validation: rows that are scored after every epoch, by set.
    """
    rates = Rates(run)
    stages = [*_encoders(run, rates)]
    if run.config.regime == "features" and run.config.until != "encoders":
        stages += _features(run, rates)
    if run.trains_networks:
        stages += _networks(run, rates, training, validation)
    return stages


def is_finished(run: Run) -> bool:
    """True if an earlier call completed the last stage, and so all before it."""
    config = run.config
    if config.until == "encoders":
        trained = stream_training.streams_to_train(run)
        return all(_is_ready(run.inputs / "backbone" / each.name) for each in trained)
    if config.until == "features":
        made = [each for each in config.streams if not config.features[each]]
        return all(_is_ready(run.inputs / "features" / each) for each in made)
    return _is_ready(run.workdir / _roles(run)[-1])


def require_room(run: Run, stages: Sequence[StagePlan]) -> int:
    """Free bytes of the run's disk; of two, of the one with fewer.

    Raises:
      ValueError: if the stages need more; says how much.
    """
    needed, folders = Counter[int](), {}
    for each in stages:
        inner = run.workdir if each.name in _roles(run) else run.inputs
        folder = next(part for part in (inner, *inner.parents) if part.exists())
        disk = folder.stat().st_dev
        folders[disk] = folder
        needed[disk] += 0 if each.ready else each.disk or 0
    free = {disk: shutil.disk_usage(folder).free for disk, folder in folders.items()}
    for disk, folder in folders.items():
        if needed[disk] > free[disk]:
            raise ValueError(
                f"The run needs {rough_size(needed[disk])} of disk, and {folder} has "
                f"{rough_size(free[disk])} left: free some, or name a folder on "
                "another disk (--workdir, --inputs)."
            )
    return min(free.values())


def _is_ready(folder: Path) -> bool:
    return (folder / "done.json").exists()


def _encoders(run: Run, rates: Rates) -> Iterator[StagePlan]:
    epochs = run.config.backbone.epochs
    for each in stream_training.streams_to_train(run):
        samples = stream_training.rows_to_train(each)
        schedule = stream_training.schedule_of(run, each, samples)
        trained = schedule.rounds_per_epoch * schedule.batch_sizes[each.source]
        scored = stream_training.rows_to_select(run, each, len(samples))
        items = _UPDATE * trained + sum(map(len, scored.values()))
        ready = _is_ready(run.inputs / "backbone" / each.name)
        yield StagePlan(
            f"{each.name} encoder",
            f"{trained:,} {_ITEMS[each.name]}",
            epochs,
            epochs * schedule.rounds_per_epoch,
            None if ready else epochs * items * rates.of_stream(each.name),
            _bytes_of_training(variable_shapes(each.regressor, each.example)),
            ready,
        )


def _features(run: Run, rates: Rates) -> Iterator[StagePlan]:
    config, size = run.config, run.config.features.batch_size
    steps = {"image": 1, "sound": config.features.sound_every}
    shapes = model_factory.feature_shapes(config)
    for (stream, step), shape in zip(steps.items(), shapes, strict=True):
        if stream not in config.streams or config.features[stream]:
            continue
        folder = run.inputs / "features" / stream
        ready = _is_ready(folder)
        made = set() if ready else feature_files.subjects_in(folder)
        left = [each for each in run.store.subjects if each.name not in made]
        ready = ready or not left
        counts = [-(-each.num_images // step) for each in left]
        # The last batch of every person is padded to the size of the others.
        encoded = sum(-(-count // size) * size for count in counts)
        # What an ONNX file gives, and how fast, is known when it runs.
        foreign = stream == "image" and config.image_encoder.onnx
        yield StagePlan(
            f"{stream} features",
            f"{sum(counts):,} {_ITEMS[stream]}",
            0,
            0,
            None if foreign or ready else encoded * rates.of_stream(stream),
            None if foreign else sum(counts) * shape.shape[-1] * _FLOAT,
            ready,
        )


def _networks(
    run: Run,
    rates: Rates,
    training: Mapping[str, Samples],
    validation: Mapping[str, Samples],
) -> Iterator[StagePlan]:
    config = run.config
    on_device = config.regime == "features"
    schedule = rows.schedule(run, training, on_device=on_device)
    trained = schedule.rounds_per_epoch * sum(schedule.batch_sizes.values())
    items = _UPDATE * trained + sum(map(len, validation.values()))
    epochs, rounds = config.train.epochs, schedule.rounds_per_epoch
    disk = _bytes_of_network(run)
    for role in _roles(run):
        copies = 1 if role == "teacher" else config.kd.ensemble
        members = copies * count_runs(config)
        ready = _is_ready(run.workdir / role)
        seconds = None if ready else members * epochs * items * rates.of_network()
        yield StagePlan(
            role,
            f"{f'{members} x ' if members > 1 else ''}{trained:,} rows",
            epochs,
            epochs * rounds * len(schedule.batch_sizes),
            seconds,
            disk and members * disk,
            ready,
        )


def _roles(run: Run) -> list[str]:
    """Names of the networks' stages, which are those of their folders."""
    if run.config.until == "teacher":
        return ["teacher"]
    later = range(2, run.config.kd.generations + 1)
    return ["teacher", "student", *(f"student{generation}" for generation in later)]


def _bytes_of_network(run: Run) -> int | None:
    """Disk of teacher or student; unknown if its features come from elsewhere."""
    config, shapes = run.config, [encoding_rates.shapes_of_heads(run)]
    given = (config.features[each] for each in config.streams)
    if config.image_encoder.onnx or any(given):
        return None
    if config.regime == "end_to_end":
        shapes += [_SHAPES[each](run) for each in config.streams]
    averaged = bool(config.train.average_decay)
    return sum(_bytes_of_training(each, averaged=averaged) for each in shapes)


def _bytes_of_training(variables: Variables, *, averaged: bool = False) -> int:
    """Disk of a finished stage: its checkpoints, and the network that was chosen."""
    network, parameters = _bytes(variables), _bytes(variables["params"])
    state = network + (_ADAM + averaged) * parameters
    return _CHECKPOINTS * (state + network) + network


def _bytes(tree: Variables) -> int:
    leaves = jax.tree.leaves(tree)
    return sum(leaf.size * leaf.dtype.itemsize + _NOTES for leaf in leaves)
