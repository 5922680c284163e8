"""Every field of the configuration is checked, and all faults are told at once."""

import itertools
import math
import re
import time

import pytest

from abaw_jax.experiment.checks import LEAST_SOUND_SECONDS, check, flat
from abaw_jax.experiment.field_rules import RULES
from abaw_jax.models.soundnet import MINIMUM_SAMPLES
from abaw_jax.releases.media import SAMPLE_RATE
from configs import base, table1

DEFAULTS = dict(flat(base.get_config()))
INT32, FLOAT32 = 2**31 - 1, 3.4e38

# Of every field with numbers: words of its rule; a value below its range, the least and
# the largest in it, one above; its fields.
RANGES = [
    (
        "an int32, 0 or more",
        (-1, 0, INT32, INT32 + 1),
        "seed backbone.image_samples backbone.sound_samples loss.gamma_cap",
    ),
    (
        "an int32, 1 or more",
        (0, 1, INT32, 10**400),
        "data.drawing.train_subjects data.drawing.validation_subjects data.drawing.fps "
        "windows.images image_encoder.size image_encoder.cardinality "
        "image_encoder.stage_sizes image_encoder.widths sound_encoder.widths "
        "sound_encoder.objects sound_encoder.scenes backbone.epochs backbone.patience "
        "backbone.batch_size backbone.rounds_per_chunk features.batch_size "
        "features.sound_every end_to_end.microbatches heads.lstm_size "
        "heads.extractor_sizes heads.head_sizes heads.discriminator_sizes "
        "train.epochs train.patience train.batch_size train.rounds_per_chunk "
        "train.nonfinite_limit kd.generations kd.ensemble",
    ),
    ("an int32 from 8 to 1024", (7, 8, 1024, 1025), "data.image_size"),
    ("3 or 4", (2, 3, 4, 5), "heads.domains"),
    (
        "a float32, more than 0",
        (0.0, 1e-30, FLOAT32, 3.5e38),
        "windows.stride windows.sound_seconds sound_encoder.scale loss.temperature "
        "image_encoder.onnx_input.std",
    ),
    (
        "a float32, more than 0, at most 1",
        (1e-60, 1e-30, 1.0, 1.01),  # 1e-60 is 0 in float32
        "backbone.learning_rate train.learning_rate",
    ),
    (
        "a float32, 0 or more",
        (-1e-9, 0.0, FLOAT32, 1e300),
        "train.checkpoint_seconds loss.supervised loss.distilled loss.cross_task "
        "loss.joint loss.discriminator",
    ),
    ("a float32, 0 to 10", (-1e-9, 0.0, 10.0, 10.1), "loss.gamma_rate"),
    (
        "a float32, 0 or more, less than 1",
        (-1e-9, 0.0, 0.999, 1 - 1e-12),  # which is 1 in float32
        "heads.dropout_rate heads.image_dropout heads.stream_dropout "
        "train.average_decay evaluation.held_out",
    ),
    ("a float32, 0 to 0.5", (-0.1, 0.0, 0.5, 0.51), "data.drawing.label_noise"),
    ("a float32, 2 or more", (1.9, 2.0, FLOAT32, 1e39), "data.drawing.seconds"),
    (
        "a float32, finite",
        (-1e39, -FLOAT32, FLOAT32, 1e39),
        "image_encoder.onnx_input.mean",
    ),
]
NUMBERS = {name: (words, *v) for words, v, names in RANGES for name in names.split()}


def put(config, name, value):
    with config.ignore_type():
        config.update_from_flattened_dict({name: value})
    return config


def with_value(name, value):
    return put(base.get_config(), name, value)


def told(config):
    """The lines of the message, less the one that counts them."""
    try:
        check(config)
    except ValueError as error:
        lines = str(error).splitlines()
        assert len(lines) == 1 or lines[0] == f"{len(lines) - 1} settings are wrong:"
        return lines if len(lines) == 1 else [each.strip() for each in lines[1:]]
    return []


def holds_numbers(value):
    first = value[0] if isinstance(value, tuple) and value else value
    return isinstance(first, int | float) and not isinstance(first, bool)


def like(name, number):
    """The number, or as many as the field has of which it is the last."""
    default = DEFAULTS[name]
    return (*default[:-1], number) if isinstance(default, tuple) else number


def test_every_field_has_a_rule_and_every_rule_a_field():
    assert RULES.keys() == DEFAULTS.keys()


def test_every_field_with_numbers_has_its_range_here():
    assert NUMBERS.keys() == {n for n, v in DEFAULTS.items() if holds_numbers(v)}


@pytest.mark.parametrize("name", NUMBERS)
def test_numbers_out_of_range_are_refused_with_the_range(name):
    words, below, _, _, above = NUMBERS[name]
    config = base.get_config()
    for number in (below, above, math.nan, math.inf, -math.inf, "1", [2]):
        value = like(name, number)
        (line,) = told(put(config, name, value))
        assert line.startswith(f"config.{name} is {value!r}: give ") and words in line


@pytest.mark.parametrize("name", NUMBERS)
def test_the_ends_of_a_range_are_in_it(name):
    words, _, least, most, _ = NUMBERS[name]
    for number in (least, most):
        lines = told(with_value(name, like(name, number)))
        assert not [each for each in lines if words in each]


@pytest.mark.parametrize("name", NUMBERS)
def test_truth_values_are_no_numbers(name):
    """Python takes True for 1; a field of floats makes 1.0 of it."""
    value = like(name, True)
    assert RULES[name].fault(name, value).startswith(f"{name} is {value!r}: give ")


@pytest.mark.parametrize("name", sorted(NUMBERS.keys() - {"loss.gamma_cap"}))
def test_numbers_are_not_none(name):
    assert told(with_value(name, None))[0].startswith(f"config.{name} is None: give ")


def test_only_a_bound_may_be_none():
    assert told(with_value("loss.gamma_cap", None)) == []


SWITCHES = [name for name, value in DEFAULTS.items() if isinstance(value, bool)]
CHOICES = [name for name, value in DEFAULTS.items() if isinstance(value, str)]


@pytest.mark.parametrize("name", SWITCHES)
def test_switches_take_nothing_else(name):
    for value in (0, 1, "True", None, math.nan):
        line = f"config.{name} is {value!r}: give True or False"
        assert told(with_value(name, value)) == [line]
    assert told(with_value(name, not DEFAULTS[name])) == []


@pytest.mark.parametrize("name", CHOICES)
def test_choices_name_all_that_there_are(name):
    assert DEFAULTS[name] in RULES[name].allowed
    for value in ("other", "", None, 1, ["best"], DEFAULTS[name].upper()):
        line = f"config.{name} is {value!r}: give {RULES[name].allowed}"
        assert told(with_value(name, value)) == [line]


@pytest.mark.parametrize(
    ("field", "value", "right"),
    [
        ("train.order", ("va", "expr", "au"), "each of va, expr, au, mtl once"),
        ("train.order", (1, "va", "expr", "au"), "each of va, expr, au, mtl once"),
        ("streams", ([],), "one or more of image, sound"),
        ("streams", ("video",), "one or more of image, sound"),
        ("streams", ("image", "image"), "one or more of image, sound"),
        ("streams", (), "one or more of image, sound"),
        ("loss.discriminator", (1.0,), "two values, each a float32, 0 or more"),
        ("sound_encoder.widths", (4,), "seven values, each an int32, 1 or more"),
        ("image_encoder.widths", (), "one or more values, each an int32, 1 or more"),
        ("image_encoder.onnx_input.mean", (0.0, 0.0), "one or three values"),
        ("image_encoder.onnx_input.output", "", "a name, or None"),
        ("population", 3, "a tuple of dictionaries"),
        ("population", (3,), "a tuple of dictionaries"),
    ],
)
def test_tuples_and_names_are_checked(field, value, right):
    (line,) = told(with_value(field, value))
    assert line.startswith(f"config.{field} is {value!r}: give {right}")


PATHS = ("image_encoder.weights", "image_encoder.onnx", "sound_encoder.weights")
FOLDERS = ("data.store", "backbone.store", "features.image", "features.sound")


@pytest.mark.parametrize("name", PATHS + FOLDERS)
def test_what_is_read_has_to_be_there(name, tmp_path):
    file, loop = tmp_path / "file", tmp_path / "loop"
    file.touch()
    loop.symlink_to(loop)
    right, other, kind = (tmp_path, file, "folder")
    if name in PATHS:
        right, other, kind = file, tmp_path, "file"
    assert told(with_value(name, str(right))) == []
    missing = tmp_path / "missing"
    for path, what in (
        (other, "is a f"),
        (missing, f"does not exist: name an existing {kind}"),
        (
            loop,
            "is a symbolic link that leads back to itself: delete the link, or "
            f"name a {kind}",
        ),
    ):
        (line,) = told(with_value(name, str(path)))
        assert line.startswith(f"config.{name}: {path} {what}")


def test_a_store_at_home_is_found(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "store").mkdir()
    assert told(with_value("data.store", "~/store")) == []


def test_weights_may_be_the_prefix_of_a_checkpoint(tmp_path):
    (tmp_path / "model.ckpt.index").touch()
    config = with_value("image_encoder.weights", str(tmp_path / "model.ckpt"))
    assert told(config) == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"heads.stream_dropout": 0.3}, "0.3, but one .*config.heads.fusion=sum, or 0"),
        ({"evaluation.selection": "held_out"}, "give config.evaluation.held_out, as 0"),
        ({"image_encoder.stage_sizes": (1, 1)}, "has 2 values, but .*widths has 4"),
        ({"image_encoder.cardinality": 48}, r"\(64, .*: give multiples of .* is 48"),
        ({"windows.sound_seconds": 5.0}, "is 5.0: give 9.5 or more, which the sound"),
        (
            {"end_to_end.microbatches": 4},
            "is 4, .* config.end_to_end.statistics=running",
        ),
    ],
)
def test_contradictions_are_told_beside_other_faults(changes, message, tmp_path):
    config = base.get_config()
    config.update_from_flattened_dict(changes)
    config.train.epochs, config.features.image = 0, str(tmp_path / "missing")
    lines = told(config)
    assert len(lines) == 3 and re.search(message, lines[-1])
    assert "features.image" in lines[0] and "train.epochs" in lines[1]


def test_sound_that_is_not_encoded_may_be_short(tmp_path):
    config = with_value("windows.sound_seconds", 5.0)
    config.features.sound = str(tmp_path)
    assert told(config) == []
    config.features.sound, config.streams = None, ("image",)
    assert told(config) == []
    assert 0 <= LEAST_SOUND_SECONDS - MINIMUM_SAMPLES / SAMPLE_RATE < 0.01


def test_fields_that_there_are_not_and_fields_that_lack_are_told():
    config = base.get_config()
    config.train.epoch, config.lr = 3, 1.0
    del config.kd.ensemble
    del config.windows
    lines = told(config)
    assert (
        "there is no field config.train.epoch; did you mean config.train.epochs?"
        in (lines)
    )
    assert "config.kd.ensemble is missing: give an int32, 1 or more" in lines
    assert len([each for each in lines if "config.windows." in each]) == 6
    assert len(lines) == 2 + 1 + 6


def test_every_run_of_a_population_is_checked():
    config = base.get_config()
    config.population = (
        {"seed": 1, "loss.discriminator": [0.5, 0.5]},
        {"seed": -1, "loss.temperature": 0.0},
        {"loss.alpha": 1.0},
        {"train.epochs": 3},
        {"loss.supervised": math.nan},
    )
    seed, temperature, alpha, epochs, supervised = told(config)
    assert seed == "config.population[1]: seed is -1: give an int32, 0 or more"
    assert temperature.startswith("config.population[1]: loss.temperature is 0.0: give")
    assert alpha.startswith("config.population[2]: there is no field config.loss.alpha")
    assert epochs.startswith("config.population[3] changes 'train.epochs': the runs")
    assert supervised.startswith("config.population[4]: loss.supervised is nan: give a")


def test_a_population_may_have_everything_that_its_rules_allow():
    config = base.get_config()
    seeds, deltas = range(3), ((0.0, 1.0), [0.5, 0.5])
    config.population = tuple(
        {"seed": seed, "loss.discriminator": delta, "loss.gamma_cap": None}
        for seed, delta in itertools.product(seeds, deltas)
    )
    assert told(config) == []


def test_a_check_takes_no_time():
    """0.4 ms on one core."""
    config, seconds = table1.get_config("benchmark"), []
    for _ in range(5):
        start = time.perf_counter()
        check(config)
        seconds.append(time.perf_counter() - start)
    assert min(seconds) < 0.05
