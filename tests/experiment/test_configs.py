"""Every configuration builds its networks and refuses unknown or ill-typed fields."""

import importlib
from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import pytest
from ml_collections import ConfigDict

from abaw_jax.experiment import model_factory
from abaw_jax.experiment.population import count_runs, plan_members
from abaw_jax.pipeline.windows import Windows
from abaw_jax.synthetic import SyntheticSettings
from abaw_jax.training.curriculum import LossSettings
from configs import base, quickstart, student

ROOT = Path(__file__).parents[2]
NAMES = sorted(path.stem for path in (ROOT / "configs").glob("*.py"))

# Values with the statistics of batch normalisation, facts of the paper's networks.
PAPER_SIZES = {"image": 11_014_080, "sound": 14_356_777, "heads": 4_714_969}


def load(name: str, *variant: str) -> ConfigDict:
    return importlib.import_module(f"configs.{name}").get_config(*variant).lock()


def size(module, *inputs):
    variables = jax.eval_shape(lambda: module.init(jax.random.key(0), *inputs))
    return sum(leaf.size for leaf in jax.tree.leaves(variables))


def sizes(config):
    side, windows = config.image_encoder.size, Windows(**config.windows)
    samples = round(windows.sound_seconds * 22050)
    image, sound = (
        model_factory.image_encoder(config),
        model_factory.sound_encoder(config),
    )
    features = (
        jnp.zeros((2, windows.images, config.image_encoder.widths[-1])),
        jnp.zeros((2, config.sound_encoder.objects)),
    )
    return {
        "image": size(image, jnp.zeros((1, side, side, 3))),
        "sound": size(sound, jnp.zeros((1, samples))),
        "heads": size(model_factory.heads(config), *features),
    }


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_every_configuration_builds(name):
    config = load(name)
    built = sizes(config)
    assert (built == PAPER_SIZES) == (name not in ("quickstart", "recommended"))
    LossSettings(**config.loss.to_dict())
    SyntheticSettings(**config.data.drawing)


@pytest.mark.slow
def test_end_to_end_has_all_parts():
    config = load("student")
    frames = jnp.zeros((1, 6, 112, 112, 3), jnp.uint8)
    waveform = jnp.zeros((1, 220_500), jnp.int16)
    built = size(model_factory.affect_model(config), frames, waveform)
    assert built == sum(PAPER_SIZES.values())


@pytest.mark.parametrize("name", NAMES)
def test_fields_are_fixed_by_name_and_type(name):
    config = load(name)
    with pytest.raises(AttributeError, match="epochs"):
        config.train.epoch = 3
    with pytest.raises(TypeError):
        config.train.epochs = "many"


def test_the_drawing_of_the_base_is_the_generators_default():
    assert SyntheticSettings(**load("base").data.drawing) == SyntheticSettings()


def test_the_paper_is_the_default():
    config = load("student")
    assert (config.loss.supervised, config.loss.cross_task) == (10.0, 0.9)
    assert (config.loss.temperature, config.loss.discriminator) == (2.5, (0.0, 1.0))
    assert (config.train.batch_size, config.train.epochs) == (256, 20)
    assert (config.train.patience, config.train.learning_rate) == (5, 1e-4)
    assert config.windows.to_dict() == {
        "images": 6,
        "stride": 10,
        "unit": "frames",
        "sound_seconds": 10.0,
        "missing": "drop",
        "sound_pad": "drop",
    }


def differences(one: ConfigDict, other: ConfigDict) -> dict[str, object]:
    """Fields of ``other`` that are not as in ``one``, by their full name."""
    flat = [dict(config_fields(config)) for config in (one, other)]
    assert flat[0].keys() == flat[1].keys()
    return {key: flat[1][key] for key in flat[0] if flat[0][key] != flat[1][key]}


def config_fields(config, prefix=""):
    for key, value in config.items():
        if isinstance(value, ConfigDict):
            yield from config_fields(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


@pytest.mark.parametrize(
    "size, like", [("", student.get_config), ("small", quickstart.small)]
)
def test_the_authors_differ_from_the_paper_in_exactly_these_switches(size, like):
    expected = {
        "equations.swapped": True,
        "equations.softened_supervision": True,
        "loss.ramp": "epoch",
        "loss.gamma_cap": None,
        "kd.teacher_epoch": "last",
        "heads.lstm_activation": "relu",
        "sound_encoder.scale": 255.0,
        "train.order": ("mtl", "va", "expr", "au"),
        "train.complete_rows": True,
        "data.overlap": "keep",
        "evaluation.batch_mean": True,
    }
    if size:  # where batches are equal
        expected["train.proportional"] = True
    assert differences(like(), load("authors", size)) == expected


def test_the_quickstart_is_the_recommended_recipe_in_small():
    changed = differences(base.get_config(), load("recommended"))
    assert len(changed) == 11
    assert changed.items() <= differences(base.get_config(), load("quickstart")).items()
    # The small networks had less dropout, and equal batches before.
    changed["heads.dropout_rate"] = 0.5
    del changed["train.proportional"]
    assert changed == differences(quickstart.small(), load("quickstart"))


@pytest.mark.parametrize("size, seeds", [("", 5), ("small", 5), ("benchmark", 10)])
def test_table_1_is_four_settings_of_delta_with_at_least_five_seeds(size, seeds):
    config = load("table1", size)
    members = plan_members(config)
    assert count_runs(config) == len(members) == 4 * seeds
    deltas = {member.losses.discriminator for member in members}
    assert deltas == {(0.0, 0.0), (0.5, 0.5), (1.0, 1.0), (0.0, 1.0)}
    assert {member.seed for member in members} == set(range(seeds))


def test_what_teaches_is_four_settings_that_a_row_of_the_table_names():
    members = plan_members(load("table1", "causes"))
    losses = [member.losses for member in members[::8]]
    assert {each.discriminator for each in losses} == {(0.0, 0.0)}
    learned = [(e.supervised, e.joint, e.distilled, e.cross_task) for e in losses]
    everything, labels_alone, even, teacher_alone = learned
    assert everything == (10.0, 1.0, 1.0, 0.9)
    assert labels_alone == (10.0, 1.0, 0.0, 0.0)
    assert even == (1.0, 1.0, 1.0, 0.9)
    assert teacher_alone == (0.0, 0.0, 1.0, 0.9)
    assert [member.seed for member in members] == 4 * [*range(8)]


def test_the_new_trial_of_the_two_best_settings_shares_no_seed_with_the_first():
    first, again = (plan_members(load("table1", size)) for size in ("causes", "again"))
    assert [member.losses for member in again] == [m.losses for m in first[16:]]
    assert {m.seed for m in again}.isdisjoint(m.seed for m in first)


@pytest.mark.parametrize("name", ["table1", "authors"])
def test_an_unknown_size_is_reported(name):
    with pytest.raises(ValueError, match=r"huge is not known; choose .*small"):
        load(name, "huge")


@pytest.mark.parametrize(
    ("platform", "capability", "dtype"),
    [
        ("cpu", None, "float32"),
        ("tpu", None, "bfloat16"),
        ("gpu", "7.5", "float32"),
        ("gpu", "8.0", "bfloat16"),
        ("gpu", "10.0", "bfloat16"),
        ("gpu", "gfx90a", "bfloat16"),
    ],
)
def test_products_are_of_the_type_that_the_device_multiplies(
    platform, capability, dtype
):
    known = {} if capability is None else {"compute_capability": capability}
    device = SimpleNamespace(platform=platform, **known)
    assert model_factory.automatic_dtype(device) == dtype
