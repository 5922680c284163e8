"""Checks the settings and the folders of a run before its first stage begins.

Every field by itself (`field_rules`), then fields that contradict each other, then
folders. All faults are reported at once.
"""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from abaw_jax.experiment.field_names import name_fault
from abaw_jax.experiment.field_rules import RULES, difference_fault
from abaw_jax.experiment.network_folders import has_network, no_network
from abaw_jax.path_faults import folder_fault

Values = Mapping[str, Any]

# SoundNet needs 209,374 samples at 22,050 Hz; importing it would slow every --help.
LEAST_SOUND_SECONDS = 9.5


def check(config: ConfigDict) -> None:
    """Refuses settings that no stage can work with.

    Args:
      config: as in ``configs/base.py``.

    Raises:
      ValueError: if there are any; one line each, with what the field may be.
    """
    if wrong := faults(config):
        raise ValueError(in_words(wrong))


def check_run(config: ConfigDict, workdir: Path, inputs: Path) -> None:
    """The same of the settings and the folders of a run.

    Args:
      config: as in ``configs/base.py``.
      workdir: may be made.
      inputs: is there, unless it is the workdir.

    Raises:
      ValueError: as `check`.
    """
    if wrong := run_faults(config, workdir, inputs):
        raise ValueError(in_words(wrong))


def run_faults(config: ConfigDict, workdir: Path, inputs: Path) -> list[str]:
    """One sentence on everything that is wrong with settings and folders of a run."""
    return [*faults(config), *_folder_faults(config, workdir, inputs)]


def in_words(wrong: Sequence[str]) -> str:
    """All faults, at least one, as the text of one message."""
    if len(wrong) == 1:
        return wrong[0]
    return "\n  ".join([f"{len(wrong)} settings are wrong:", *wrong])


def faults(config: ConfigDict) -> list[str]:
    """One sentence on everything that is wrong with the settings."""
    values = dict(flat(config))
    found = [name_fault(name, RULES) for name in values]
    missing = [name for name in RULES if name not in values]
    found += [
        f"config.{name} is missing: give {RULES[name].allowed}" for name in missing
    ]
    known = {name: values[name] for name in RULES if name in values}
    found += [RULES[name].fault(f"config.{name}", known[name]) for name in known]
    right = {name: value for name, value in known.items() if RULES[name].takes(value)}
    for contradictions in _CONTRADICTIONS:
        try:
            found += contradictions(right)
        except KeyError:  # a field that is wrong by itself contradicts none
            continue
    return [fault for fault in found if fault]


def flat(config: ConfigDict, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Full names and values of all fields."""
    for name, value in config.items():
        if isinstance(value, ConfigDict):
            yield from flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def _folder_faults(config: ConfigDict, workdir: Path, inputs: Path) -> Iterator[str]:
    if fault := folder_fault(workdir, made=True):
        yield f"--workdir: {fault}"
    if inputs != workdir and (fault := folder_fault(inputs)):
        yield (
            f"--inputs: {fault}, as the workdir of another run, or leave it out: "
            "encoders and features are then made in the workdir"
        )
    values = dict(flat(config))
    release, store = values.get("data.release"), values.get("data.store")
    # A release may be removed once it is packed.
    packed = (inputs / "corpus" / "done.json").exists()
    if isinstance(release, str) and not store and not packed:
        if fault := folder_fault(os.path.expanduser(release)):
            yield f"config.data.release: {fault}"


def _of_selection(values: Values) -> Iterator[str]:
    selection, share = values["evaluation.selection"], values["evaluation.held_out"]
    if selection == "held_out" and not share:
        yield (
            "config.evaluation.selection is held_out, but no video is: give "
            "config.evaluation.held_out, as 0.2"
        )


def _of_streams(values: Values) -> Iterator[str]:
    rate = values["heads.stream_dropout"]
    if rate and values["heads.fusion"] != "sum":
        yield (
            f"config.heads.stream_dropout is {rate!r}, but one extractor reads both "
            "streams: give config.heads.fusion=sum, or 0"
        )


def _of_initial_network(values: Values) -> Iterator[str]:
    path = values["train.init"]
    if path and not has_network(Path(path).expanduser()):
        yield no_network(path)


def _of_image_sources(values: Values) -> Iterator[str]:
    fields = ("image_encoder.onnx", "image_encoder.weights", "features.image")
    given = [name for name in fields if values[name]]
    if len(given) > 1:
        yield f"config.{' and config.'.join(given)} exclude each other: give one"


def _of_image_sizes(values: Values) -> Iterator[str]:
    blocks, widths = values["image_encoder.stage_sizes"], values["image_encoder.widths"]
    if len(blocks) != len(widths):
        yield (
            f"config.image_encoder.stage_sizes has {len(blocks)} values, but "
            f"config.image_encoder.widths has {len(widths)}: give one of each per stage"
        )
    groups = values["image_encoder.cardinality"]
    if any(width % groups for width in widths):
        yield (
            f"config.image_encoder.widths is {widths!r}: give multiples of "
            f"config.image_encoder.cardinality, which is {groups}"
        )


def _of_sound(values: Values) -> Iterator[str]:
    seconds = values["windows.sound_seconds"]
    heard = "sound" in values["streams"] and not values["features.sound"]
    if heard and seconds < LEAST_SOUND_SECONDS:
        yield (
            f"config.windows.sound_seconds is {seconds!r}: give {LEAST_SOUND_SECONDS} "
            "or more, which the sound encoder needs for one feature; "
            "config.windows.sound_pad=zero pads what is shorter"
        )


def _of_regime(values: Values) -> Iterator[str]:
    if values["regime"] == "features":
        return
    if values["image_encoder.onnx"]:
        yield (
            "config.image_encoder.onnx is given, but regime=end_to_end trains the "
            "encoder: give config.regime=features, or no ONNX file"
        )
    for name in ("features.image", "features.sound"):
        if values[name]:
            yield (
                f"config.{name} is given, but regime=end_to_end trains encoders: give "
                "config.regime=features, or no features"
            )


def _of_slices(values: Values) -> Iterator[str]:
    slices = values["end_to_end.microbatches"]
    if values["end_to_end.statistics"] == "batch" and slices > 1:
        yield (
            f"config.end_to_end.microbatches is {slices}, but statistics of the batch "
            "need all of it at once: set config.end_to_end.statistics=running, or keep "
            "1 and set config.image_encoder.remat=True"
        )


def _of_population(values: Values) -> Iterator[str]:
    for index, changes in enumerate(values["population"]):
        where = f"config.population[{index}]"
        for name, value in changes.items():
            if fault := name_fault(name, RULES):
                yield f"{where}: {fault}"
            elif fault := difference_fault(name):
                yield f"{where} {fault}"
            elif fault := RULES[name].fault(f"{where}: {name}", value):
                yield fault


_CONTRADICTIONS: tuple[Callable[[Values], Iterator[str]], ...] = (
    _of_selection,
    _of_streams,
    _of_initial_network,
    _of_image_sources,
    _of_image_sizes,
    _of_sound,
    _of_regime,
    _of_slices,
    _of_population,
)
