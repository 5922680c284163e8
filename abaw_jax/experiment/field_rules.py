"""The values that each field of the configuration may have.

`RULES` has one for every field of ``configs/base.py``. Every run is checked by them
before its first stage, and the reference in the documentation shows their words.
"""

import math
import os
import struct
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from abaw_jax.path_faults import file_fault, folder_fault
from abaw_jax.tasks import SETS


@dataclass(frozen=True)
class Rule:
    """The values that a field may have.

    Attributes:
      allowed: in words that complete "give ...".
      accepts: whether a value is one of them; a `TypeError` means that it is not.
      path_fault: why a path cannot be read, of fields that are paths.
    """

    allowed: str
    accepts: Callable[[Any], bool]
    path_fault: Callable[[str], str | None] = lambda path: None

    def takes(self, value: Any) -> bool:
        """Whether a field may have the value, wherever a path leads."""
        try:
            return self.accepts(value)
        except TypeError:  # of kinds that cannot be compared
            return False

    def fault(self, name: str, value: Any) -> str | None:
        """One sentence on a value that field ``name`` may not have; else ``None``."""
        if not self.takes(value):
            return f"{name} is {value!r}: give {self.allowed}"
        reason = None if value is None else self.path_fault(value)
        return f"{name}: {reason}" if reason else None


def difference_fault(name: str) -> str | None:
    """Why the runs of a population cannot differ in a field; else ``None``."""
    if name == "seed" or name.startswith("loss."):
        return None
    return (
        f"changes {name!r}: the runs of a population are one program and may differ in "
        "seed and in fields of loss; run it alone"
    )


def _integer(least: int, most: int = 2**31 - 1) -> Rule:
    """JAX's integers have 32 bits; of a larger seed it would drop the others."""
    bounds = f", {least} or more" if most == 2**31 - 1 else f" from {least} to {most}"
    return Rule(
        f"an int32{bounds}", lambda value: type(value) is int and least <= value <= most
    )


def _number(bounds: str, accepts: Callable[[float], bool]) -> Rule:
    """A number whose value in float32, in which networks compute, is accepted."""
    return Rule(f"a float32, {bounds}", lambda value: accepts(_float32(value)))


def _float32(value: Any) -> float:
    """The value in float32; NaN, which no bound accepts, if it is not finite there."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return math.nan
    try:
        (single,) = struct.unpack("f", struct.pack("f", value))
    except (OverflowError, struct.error):
        return math.nan
    return single if math.isfinite(single) else math.nan


def _one_of(*choices: Any) -> Rule:
    *others, last = map(str, choices)
    return Rule(
        f"{', '.join(others)} or {last}",
        # By type too: 1 == True.
        lambda value: any(value == x and type(value) is type(x) for x in choices),
    )


def _some_of(choices: Collection[str]) -> Rule:
    def accepts(value: Any) -> bool:
        known = isinstance(value, tuple | list) and set(value) <= set(choices)
        return known and 0 < len(value) == len(set(value))

    return Rule(f"one or more of {', '.join(choices)}, each once", accepts)


def _all_of(choices: Collection[str]) -> Rule:
    return Rule(
        f"each of {', '.join(choices)} once, in any order",
        lambda value: (
            isinstance(value, tuple | list) and sorted(value) == sorted(choices)
        ),
    )


def _several(how_many: str, counts: Collection[int], each: Rule) -> Rule:
    """A tuple of one of these lengths, of values that another rule accepts."""
    return Rule(
        f"{how_many} values, each {each.allowed}",
        lambda value: (
            isinstance(value, tuple | list)
            and len(value) in counts
            and all(map(each.accepts, value))
        ),
    )


def _path(kind: str, path_fault: Callable[[str], str | None]) -> Rule:
    return Rule(kind, lambda value: isinstance(value, str) and value != "", path_fault)


def _checkpoint_fault(path: str) -> str | None:
    """Of weights: a file, or the prefix of a TensorFlow checkpoint's files."""
    return None if Path(f"{path}.index").is_file() else file_fault(path)


def _own_folder_fault(path: str) -> str | None:
    """Of the store, whose path may begin with ``~`` in a configuration file too."""
    return folder_fault(os.path.expanduser(path))


def _or_none(rule: Rule) -> Rule:
    return replace(
        rule,
        allowed=f"{rule.allowed}, or None",
        accepts=lambda value: value is None or rule.accepts(value),
    )


def _is_population(value: Any) -> bool:
    return isinstance(value, tuple | list) and all(
        isinstance(x, Mapping) for x in value
    )


_COUNT = _integer(1)
_COUNT_OR_0 = _integer(0)
_FINITE = _number("finite", math.isfinite)
_POSITIVE = _number("more than 0", lambda x: x > 0)
_NOT_NEGATIVE = _number("0 or more", lambda x: x >= 0)
_SHARE = _number("0 or more, less than 1", lambda x: 0 <= x < 1)
_LEARNING_RATE = _number("more than 0, at most 1", lambda x: 0 < x <= 1)
_SWITCH = _one_of(True, False)
_LAYERS = _several("any number of", range(1000), _COUNT)
_STAGES = _several("one or more", range(1, 1000), _COUNT)
_FOLDER = _or_none(_path("a folder", folder_fault))
_WEIGHTS = _or_none(_path("a file", _checkpoint_fault))

RULES: dict[str, Rule] = {
    "seed": _COUNT_OR_0,
    "until": _one_of("encoders", "features", "teacher", "student"),
    "regime": _one_of("features", "end_to_end"),
    "dtype": _one_of("auto", "bfloat16", "float32"),
    "streams": _some_of(("image", "sound")),
    "population": Rule(
        "a tuple of dictionaries of seed and fields of loss", _is_population
    ),
    # Whether it is there depends on the run's folders: see checks.
    "data.release": _or_none(_path("a folder", lambda path: None)),
    "data.store": _or_none(_path("a folder", _own_folder_fault)),
    "data.image_size": _integer(8, 1024),
    "data.images": _one_of("pixels", "jpeg"),
    "data.overlap": _one_of("remove", "keep"),
    "data.verify": _one_of("first_use", "always", "never"),
    "data.synthetic": _SWITCH,
    "data.drawing.train_subjects": _COUNT,
    "data.drawing.validation_subjects": _COUNT,
    "data.drawing.seconds": _number("2 or more", lambda x: x >= 2),
    "data.drawing.fps": _COUNT,
    "data.drawing.label_noise": _number("0 to 0.5", lambda x: 0 <= x <= 0.5),
    "windows.images": _COUNT,
    "windows.stride": _POSITIVE,
    "windows.unit": _one_of("frames", "seconds"),
    "windows.sound_seconds": _POSITIVE,
    "windows.missing": _one_of("drop", "hold", "zero"),
    "windows.sound_pad": _one_of("drop", "zero", "tile"),
    "image_encoder.weights": _WEIGHTS,
    "image_encoder.onnx": _or_none(_path("a file", file_fault)),
    "image_encoder.onnx_input.colours": _one_of("rgb", "bgr", "grey"),
    "image_encoder.onnx_input.layout": _one_of("nchw", "nhwc"),
    "image_encoder.onnx_input.mean": _several("one or three", (1, 3), _FINITE),
    "image_encoder.onnx_input.std": _several("one or three", (1, 3), _POSITIVE),
    "image_encoder.onnx_input.output": _or_none(_path("a name", lambda name: None)),
    "image_encoder.size": _COUNT,
    "image_encoder.stage_sizes": _STAGES,
    "image_encoder.widths": _STAGES,
    "image_encoder.cardinality": _COUNT,
    "image_encoder.remat": _SWITCH,
    "sound_encoder.weights": _WEIGHTS,
    "sound_encoder.widths": _several("seven", (7,), _COUNT),
    "sound_encoder.objects": _COUNT,
    "sound_encoder.scenes": _COUNT,
    "sound_encoder.softmax": _SWITCH,
    "sound_encoder.scale": _POSITIVE,
    "backbone.store": _FOLDER,
    "backbone.epochs": _COUNT,
    "backbone.patience": _COUNT,
    "backbone.batch_size": _COUNT,
    "backbone.rounds_per_chunk": _COUNT,
    "backbone.learning_rate": _LEARNING_RATE,
    "backbone.image_samples": _COUNT_OR_0,
    "backbone.sound_samples": _COUNT_OR_0,
    "features.image": _FOLDER,
    "features.sound": _FOLDER,
    "features.batch_size": _COUNT,
    "features.sound_every": _COUNT,
    "features.table": _one_of("auto", "device", "host"),
    "end_to_end.statistics": _one_of("batch", "running"),
    "end_to_end.microbatches": _COUNT,
    "heads.lstm_size": _COUNT,
    "heads.extractor_sizes": _LAYERS,
    "heads.head_sizes": _LAYERS,
    "heads.discriminator_sizes": _LAYERS,
    "heads.lstm_activation": _one_of("tanh", "relu"),
    "heads.discriminator": _SWITCH,
    "heads.domains": _one_of(3, 4),
    "heads.dropout_rate": _SHARE,
    "heads.image_dropout": _SHARE,
    "heads.stream_dropout": _SHARE,
    "heads.fusion": _one_of("concatenate", "sum"),
    # Whether it holds a network: see checks.
    "train.init": _or_none(_path("a folder", lambda path: None)),
    "train.epochs": _COUNT,
    "train.patience": _COUNT,
    "train.batch_size": _COUNT,
    "train.proportional": _SWITCH,
    "train.order": _all_of(SETS),
    "train.complete_rows": _SWITCH,
    "train.class_weights": _SWITCH,
    "train.unit_weights": _SWITCH,
    "train.rounds_per_chunk": _COUNT,
    "train.learning_rate": _LEARNING_RATE,
    "train.average_decay": _SHARE,
    "train.checkpoint_seconds": _NOT_NEGATIVE,
    "train.nonfinite": _one_of("skip", "rollback", "stop"),
    "train.nonfinite_limit": _COUNT,
    "loss.supervised": _NOT_NEGATIVE,
    "loss.distilled": _NOT_NEGATIVE,
    "loss.cross_task": _NOT_NEGATIVE,
    "loss.joint": _NOT_NEGATIVE,
    "loss.discriminator": _several("two", (2,), _NOT_NEGATIVE),
    "loss.ramp": _one_of("round", "epoch", "ganin"),
    "loss.reversal": _SWITCH,
    "loss.temperature": _POSITIVE,
    "loss.gamma_rule": _one_of("exp", "log2", "none"),
    "loss.gamma_rate": _number("0 to 10", lambda x: 0 <= x <= 10),
    "loss.gamma_cap": _or_none(_COUNT_OR_0),
    "loss.gamma_normalised": _SWITCH,
    "equations.swapped": _SWITCH,
    "equations.softened_supervision": _SWITCH,
    "equations.softened_units": _SWITCH,
    "equations.squared_temperature": _SWITCH,
    "equations.distilled_joint": _SWITCH,
    "kd.generations": _COUNT,
    "kd.ensemble": _COUNT,
    "kd.teacher_epoch": _one_of("best", "last"),
    "kd.cache_soft_labels": _SWITCH,
    "evaluation.linear_probe": _SWITCH,
    "evaluation.batch_mean": _SWITCH,
    "evaluation.held_out": _SHARE,
    "evaluation.selection": _one_of("validation", "held_out"),
}
