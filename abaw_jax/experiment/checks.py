"""Checks the settings of a run before its first stage begins."""

import math
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from abaw_jax.experiment.initial_network import has_network, no_network
from abaw_jax.tasks import SETS

Rule = tuple[Callable[[Any], bool], str]


def check(config: ConfigDict) -> None:
    """Refuses settings that no stage can work with.

    Args:
      config: as in ``configs/base.py``.

    Raises:
      ValueError: if there are any; names all of them and what they may be.
    """
    wrong = []
    for name, (is_right, right) in RULES.items():
        value: Any = config
        for part in name.split("."):
            value = value[part]
        try:
            right_now = is_right(value)
        except TypeError:  # values of kinds that cannot be compared
            right_now = False
        if not right_now:
            wrong.append(f"config.{name} is {value!r}: give {right}")
    wrong += _contradictions(config)
    if wrong:
        raise ValueError("; ".join(wrong))


def _contradictions(config: ConfigDict) -> Iterator[str]:
    """What is wrong with settings that are right one by one."""
    if config.evaluation.selection == "held_out" and not config.evaluation.held_out:
        yield (
            "config.evaluation.selection is held_out, but no video is: give "
            "config.evaluation.held_out, as 0.2"
        )
    if config.heads.stream_dropout and config.heads.fusion != "sum":
        yield (
            f"config.heads.stream_dropout is {config.heads.stream_dropout!r}, but one "
            "extractor reads both streams: give config.heads.fusion=sum, or 0"
        )
    if (path := config.train.init) and not has_network(Path(path).expanduser()):
        yield no_network(path)
    yield from _contradictions_of_encoders(config)


def _contradictions_of_encoders(config: ConfigDict) -> Iterator[str]:
    for name in (
        "image_encoder.onnx",
        "image_encoder.weights",
        "sound_encoder.weights",
    ):
        encoder, field = name.split(".")
        if (path := config[encoder][field]) and not Path(path).is_file():
            yield f"config.{name}: {path} is no file"
    images = {
        "image_encoder.onnx": config.image_encoder.onnx,
        "image_encoder.weights": config.image_encoder.weights,
        "features.image": config.features.image,
    }
    given = [name for name, value in images.items() if value]
    if len(given) > 1:
        yield f"config.{' and config.'.join(given)} exclude each other: give one"
    if config.image_encoder.onnx and config.regime != "features":
        yield (
            "config.image_encoder.onnx is given, but regime=end_to_end trains the "
            "encoder: give config.regime=features, or no ONNX file"
        )
    for stream in ("image", "sound"):
        if config.features[stream] and config.regime != "features":
            yield (
                f"config.features.{stream} is given, but regime=end_to_end trains "
                "encoders: give config.regime=features, or no features"
            )


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _is_positive(value: Any) -> bool:
    return _is_number(value) and value > 0


def _from(least: float) -> Rule:
    return lambda value: _is_number(value) and value >= least, f"{least:g} or more"


def _above(bound: float) -> Rule:
    return lambda value: _is_number(value) and value > bound, f"more than {bound:g}"


def _share() -> Rule:
    return lambda value: _is_number(value) and 0 <= value < 1, "0 or more, less than 1"


def _one_of(*choices: Any) -> Rule:
    return lambda value: value in choices, " or ".join(map(str, choices))


def _some_of(choices: Collection[str]) -> Rule:
    def is_right(value: Any) -> bool:
        known = isinstance(value, tuple | list) and set(value) <= set(choices)
        return known and 0 < len(value) == len(set(value))

    return is_right, f"one or more of {', '.join(choices)}, each once"


def _all_of(choices: Collection[str]) -> Rule:
    return (
        lambda value: sorted(value or ()) == sorted(choices),
        f"each of {', '.join(choices)} once, in any order",
    )


def _colour(is_right: Callable[[Any], bool], right: str) -> Rule:
    return (
        lambda value: len(value) in (1, 3) and all(map(is_right, value)),
        f"one or three {right}",
    )


def _or_none(rule: Rule) -> Rule:
    is_right, right = rule
    return lambda value: value is None or is_right(value), f"{right}, or None"


RULES: dict[str, Rule] = {
    "seed": _from(0),
    "until": _one_of("features", "teacher", "student"),
    "regime": _one_of("features", "end_to_end"),
    "dtype": _one_of("auto", "bfloat16", "float32"),
    "streams": _some_of(("image", "sound")),
    "data.image_size": _from(1),
    "data.images": _one_of("pixels", "jpeg"),
    "data.overlap": _one_of("remove", "keep"),
    "windows.images": _from(1),
    "windows.stride": _above(0),
    "windows.unit": _one_of("frames", "seconds"),
    "windows.sound_seconds": _above(0),
    "windows.missing": _one_of("drop", "hold", "zero"),
    "windows.sound_pad": _one_of("drop", "zero", "tile"),
    "image_encoder.size": _from(1),
    "image_encoder.cardinality": _from(1),
    "image_encoder.onnx_input.colours": _one_of("rgb", "bgr", "grey"),
    "image_encoder.onnx_input.layout": _one_of("nchw", "nhwc"),
    "image_encoder.onnx_input.mean": _colour(_is_number, "numbers"),
    "image_encoder.onnx_input.std": _colour(_is_positive, "positive numbers"),
    "backbone.epochs": _from(1),
    "backbone.patience": _from(1),
    "backbone.batch_size": _from(1),
    "backbone.rounds_per_chunk": _from(1),
    "backbone.learning_rate": _above(0),
    "backbone.image_samples": _from(0),
    "backbone.sound_samples": _from(0),
    "features.batch_size": _from(1),
    "features.sound_every": _from(1),
    "features.table": _one_of("auto", "device", "host"),
    "end_to_end.statistics": _one_of("batch", "running"),
    "end_to_end.microbatches": _from(1),
    "heads.lstm_size": _from(1),
    "heads.lstm_activation": _one_of("tanh", "relu"),
    "heads.domains": _one_of(3, 4),
    "heads.dropout_rate": _share(),
    "heads.image_dropout": _share(),
    "heads.stream_dropout": _share(),
    "heads.fusion": _one_of("concatenate", "sum"),
    "train.epochs": _from(1),
    "train.patience": _from(1),
    "train.batch_size": _from(1),
    "train.order": _all_of(SETS),
    "train.rounds_per_chunk": _from(1),
    "train.learning_rate": _above(0),
    "train.average_decay": _share(),
    "train.checkpoint_seconds": _from(0),
    "train.nonfinite": _one_of("skip", "rollback", "stop"),
    "train.nonfinite_limit": _from(1),
    "loss.temperature": _above(0),
    "loss.ramp": _one_of("round", "epoch", "ganin"),
    "loss.gamma_rule": _one_of("exp", "log2", "none"),
    "loss.gamma_cap": _or_none(_from(0)),
    "kd.generations": _from(1),
    "kd.ensemble": _from(1),
    "kd.teacher_epoch": _one_of("best", "last"),
    "evaluation.held_out": _share(),
    "evaluation.selection": _one_of("validation", "held_out"),
}
