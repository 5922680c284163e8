"""Features encoded by many processes: divided, locked apart, found by the run."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from absl.testing import flagsaver

from abaw_jax import main
from abaw_jax.experiment import encoding, feature_files, features, sequence
from abaw_jax.experiment import model_factory as factory
from abaw_jax.experiment.artefact import Artefact, MismatchError
from abaw_jax.experiment.sole_run import sole_stage
from abaw_jax.json_files import read_json
from abaw_jax.models.soundnet import MINIMUM_SAMPLES
from abaw_jax.store.shares import Share
from abaw_jax.store.sole_writer import LOCK, InUseError
from abaw_jax.store.writer import prepare
from abaw_jax.training.state import init_variables
from abaw_jax.training.stopping import Stopped, watch_signals
from abaw_jax.weights.loading import save_variables
from configs import quickstart
from tests.support.tiny_release import SIZE, contents, write_release
from tests.test_disk_space import leave

ROOT = Path(__file__).parents[2]
NAMES = ["alpha", "beta_left", "beta_right", "gamma10_1"]
DIVIDED = [["beta_left", "gamma10_1"], ["alpha", "beta_right"]]
"""By hand: 12, 12, 12 and 11 images, so that the last to be given is alpha."""


def make_config(folder):
    """Small encoders with imported weights, on the tiny release."""
    config = quickstart.get_config()
    config.until = "features"
    config.windows.sound_pad = "zero"
    config.data.store, config.data.synthetic = str(folder / "store"), False
    config.image_encoder.size = SIZE
    config.image_encoder.stage_sizes, config.image_encoder.widths = (1,), (8,)
    config.image_encoder.cardinality = 4
    config.sound_encoder.widths, config.sound_encoder.objects = (2,) * 7, 5
    config.features.sound_every = 6
    return config


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shards")
    prepare(write_release(folder / "release"), folder / "store", image_size=SIZE)
    config = make_config(folder)
    inputs = (1, SIZE, SIZE, 3), (1, MINIMUM_SAMPLES)
    modules = factory.image_encoder(config), factory.sound_encoder(config)
    for name, module, shape in zip(("image", "sound"), modules, inputs, strict=True):
        like = jax.ShapeDtypeStruct(shape, np.float32)
        path = folder / f"{name}.safetensors"
        save_variables(path, init_variables(module, jax.random.key(0), like))
        config[f"{name}_encoder"].weights = str(path)
    return config


def encode(config, inputs, index, count=2):
    sequence.encode_share(config, inputs, inputs, Share(index, count))


@pytest.fixture(scope="module")
def whole(config, tmp_path_factory):
    """Every file of the features that one call makes, by name."""
    inputs = tmp_path_factory.mktemp("whole")
    sequence.run(config, inputs, inputs)
    return contents(inputs / "features")


@pytest.fixture
def encoded(monkeypatch):
    """Files that are written, in their order."""
    paths, save = [], feature_files.save

    def saved(path, found):
        save(path, found)
        paths.append(f"{path.parent.name}/{path.stem}")

    monkeypatch.setattr(feature_files, "save", saved)
    return paths


def test_in_any_order_the_bytes_are_those_of_one_call(
    config, whole, tmp_path, encoded, capsys
):
    encode(config, tmp_path, 1)
    assert encoded == [f"{k}/{name}" for k in ("image", "sound") for name in DIVIDED[1]]
    said = " ".join(capsys.readouterr().out.split())
    assert "shard 1 of 2 is encoded: 2 subjects, 23 images. 2 of other shards" in said
    encode(config, tmp_path, 0)
    said = " ".join(capsys.readouterr().out.split())
    assert "24 images. Call the same command without" in said
    assert sorted(encoded[4:]) == [
        f"{k}/{name}" for k in ("image", "sound") for name in DIVIDED[0]
    ]
    assert not [*tmp_path.rglob("done.json")]
    sequence.run(config, tmp_path, tmp_path)
    assert len(encoded) == 8 and len(whole) == 20
    assert contents(tmp_path / "features") == whole
    assert not [*tmp_path.rglob(".shards")]


def test_a_damaged_file_of_the_share_is_made_again(config, whole, tmp_path, encoded):
    encode(config, tmp_path, 0)
    damaged = tmp_path / "features/image/gamma10_1.npy"
    damaged.write_bytes(damaged.read_bytes()[:-1])
    other = tmp_path / "features/image/alpha.npy"
    other.write_text("not of this share")
    encoded.clear()
    encode(config, tmp_path, 0)
    assert encoded == ["image/gamma10_1"]
    assert damaged.read_bytes() == whole["image/gamma10_1.npy"]
    assert other.read_text() == "not of this share"


DIES = """
import json, os, signal, sys
from pathlib import Path
from abaw_jax.experiment import encoding, feature_files, features, sequence
from abaw_jax.experiment.run_record import as_config
from abaw_jax.store.shares import Share
from tests import conftest
save = feature_files.save
def dies(path, found):
    save(path, found)
    os.kill(os.getpid(), signal.SIGKILL)
feature_files.save = dies
config, inputs = as_config(json.loads(sys.argv[1])), Path(sys.argv[2])
sequence.encode_share(config, inputs, inputs, Share(0, 2))
"""


def test_a_killed_shard_goes_on_and_encodes_nothing_again(
    config, whole, tmp_path, encoded
):
    program = [sys.executable, "-c", DIES, json.dumps(config.to_dict()), tmp_path]
    killed = subprocess.run(program, cwd=ROOT, capture_output=True, text=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    folder = tmp_path / "features/image"
    assert [each.name for each in folder.glob("*.npy")] == ["beta_left.npy"]
    assert (folder / ".shards/0-of-2" / LOCK).exists()  # stale: its process is dead
    encode(config, tmp_path, 0)
    assert encoded == ["image/gamma10_1", "sound/beta_left", "sound/gamma10_1"]
    sequence.run(config, tmp_path, tmp_path)  # also without the other share
    assert len(encoded) == 3 + 4
    assert contents(tmp_path / "features") == whole


def test_a_signal_ends_a_shard_and_keeps_what_is_finished(
    config, tmp_path, monkeypatch
):
    save = feature_files.save

    def stops(path, found):
        save(path, found)
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(feature_files, "save", stops)
    with watch_signals(), pytest.raises(Stopped) as stop:
        encode(config, tmp_path, 0)
    assert stop.value.exit_code == 143
    assert [each.stem for each in tmp_path.rglob("*.npy")] == ["beta_left"]
    assert not [*tmp_path.rglob(LOCK)]


def test_space_for_the_share_is_there_before_its_first_file(
    config, tmp_path, monkeypatch
):
    """24 rows of 8 float32 numbers in this half."""
    leave(monkeypatch, 24 * 8 * 4 - 1)
    with pytest.raises(OSError, match="a folder of image features needs"):
        encode(config, tmp_path, 0)
    assert not [*tmp_path.rglob("*.npy")]
    leave(monkeypatch, 24 * 8 * 4)
    encode(config, tmp_path, 0)


def test_what_runs_at_the_same_time_is_refused_and_named(config, tmp_path, monkeypatch):
    """The other share is not: it is encoded meanwhile."""
    tried, save = [], feature_files.save
    by = f"is in use by process {os.getpid()} on "

    def while_the_shard_runs(path, found):
        monkeypatch.setattr(feature_files, "save", save)
        for call in (
            lambda: encode(config, tmp_path, 0),
            lambda: encode(config, tmp_path, 2, 3),
            lambda: sequence.run(config, tmp_path, tmp_path),
        ):
            with pytest.raises(InUseError, match=f"image/.shards/0-of-2 {by}"):
                call()
        encode(config, tmp_path, 1)
        save(path, found)
        tried.append(path)

    monkeypatch.setattr(feature_files, "save", while_the_shard_runs)
    encode(config, tmp_path, 0)
    assert tried
    with (
        sole_stage(tmp_path / "features/image"),
        pytest.raises(InUseError, match=f"features/image {by}"),
    ):
        encode(config, tmp_path, 0)


def test_shards_of_other_settings_that_begin_at_once_are_not_mixed(
    config, tmp_path, monkeypatch
):
    """The other begins while the first encodes its first subject."""
    other, encode_subject = config.copy_and_resolve_references(), encoding.encode
    other.dtype = "float32"  # in place of auto
    begun = []

    def while_the_first_runs(*arguments):
        found = encode_subject(*arguments)
        if not begun:
            begun.append(None)
            encode(other, tmp_path, 1)
        return found

    monkeypatch.setattr(features, "encode", while_the_first_runs)
    with pytest.raises(
        MismatchError, match=r"image/config\.json was changed by another"
    ):
        encode(config, tmp_path, 0)
    assert {e.stem for e in (tmp_path / "features/image").glob("*.npy")} == {
        *DIVIDED[1]
    }
    with pytest.raises(MismatchError, match="dtype was float32, now auto"):
        encode(config, tmp_path, 0)


def test_shares_that_were_computed_in_other_types_are_not_mixed(
    config, tmp_path, monkeypatch
):
    """As ``dtype="auto"`` has it on machines of two kinds."""
    encode(config, tmp_path, 0)
    monkeypatch.setattr(factory, "automatic_dtype", lambda device: "bfloat16")
    said = "were computed in float32, and on this device config.dtype=auto is bfloat16"
    for call in (encode, lambda *_: sequence.run(config, tmp_path, tmp_path)):
        with pytest.raises(ValueError, match=said):
            call(config, tmp_path, 1)


def test_features_of_a_type_that_is_not_told_are_refused(config, tmp_path):
    encode(config, tmp_path, 0)
    noted = tmp_path / "features/image/dtype.json"
    noted.write_text("{}")
    with pytest.raises(ValueError, match=r"dtype\.json does not say in which type"):
        encode(config, tmp_path, 1)


def test_a_shard_of_finished_features_writes_nothing(config, whole, tmp_path):
    sequence.run(config, tmp_path, tmp_path)
    encode(config, tmp_path, 0)
    assert contents(tmp_path / "features") == whole


def test_given_features_are_judged_before_others_are_encoded(config, tmp_path, encoded):
    config = config.copy_and_resolve_references()
    config.image_encoder.weights, config.features.image = None, str(tmp_path)
    for call in (encode, lambda *_: sequence.run(config, tmp_path, tmp_path)):
        with pytest.raises(ValueError, match="4 of 4 subjects have no features"):
            call(config, tmp_path, 0)
    assert not encoded


def test_encoders_that_are_not_trained_are_refused(config, tmp_path):
    config = config.copy_and_resolve_references()
    config.image_encoder.weights = None
    said = "no trained encoder backbone/image yet: first run .*config.until=encoders in"
    with pytest.raises(ValueError, match=said):
        encode(config, tmp_path, 0)
    config.sound_encoder.weights = None
    with pytest.raises(ValueError, match="backbone/image and backbone/sound yet"):
        encode(config, tmp_path, 0)
    assert not [*tmp_path.iterdir()]


def test_a_release_that_is_not_packed_is_refused(config, tmp_path):
    config = config.copy_and_resolve_references()
    config.data.store, config.data.synthetic = None, True
    with pytest.raises(
        ValueError, match=r"no packed corpus yet: first .*until=encoders"
    ):
        encode(config, tmp_path, 0)
    assert not [*tmp_path.iterdir()]


@pytest.mark.slow
def test_encoders_train_and_nothing_after_them(config, tmp_path, encoded):
    config = config.copy_and_resolve_references()
    config.until, config.image_encoder.weights = "encoders", None
    config.backbone.epochs, config.backbone.batch_size = 1, 4
    sequence.run(config, tmp_path, tmp_path)
    assert (tmp_path / "backbone/image/done.json").exists()
    assert not (tmp_path / "features").exists() and not encoded
    encode(config, tmp_path, 0)
    assert len(encoded) == 4
    config.backbone.epochs = 2
    with pytest.raises(MismatchError, match=r"backbone\.epochs was 1, now 2"):
        encode(config, tmp_path, 1)


def test_where_no_encoder_is_frozen_there_is_nothing_to_divide(config, tmp_path):
    config = config.copy_and_resolve_references()
    config.regime = "end_to_end"
    with pytest.raises(ValueError, match=r"regime is end_to_end, .*leave out --shards"):
        encode(config, tmp_path, 0)
    config.regime, config.image_encoder.weights = "features", None
    config.sound_encoder.weights = None
    config.features.image = config.features.sound = str(tmp_path)
    with pytest.raises(ValueError, match=r"are given .*leave out --shards"):
        encode(config, tmp_path, 0)


def test_shards_that_begin_at_once_write_one_record(tmp_path, monkeypatch):
    """The second begins, and ends, between the first's writing and renaming."""
    begun, replace = [], os.replace

    def second(*paths):
        if not begun:
            begun.append(None)
            Artefact(tmp_path, {"store": "a"}).begin()
        replace(*paths)

    monkeypatch.setattr(os, "replace", second)
    Artefact(tmp_path, {"store": "a"}).begin()
    assert begun and [each.name for each in tmp_path.iterdir()] == ["config.json"]
    assert read_json(tmp_path / "config.json") == {"store": "a"}


def test_what_a_kill_left_of_a_record_goes_with_the_end_of_the_stage(tmp_path):
    artefact = Artefact(tmp_path, {"store": "a"})
    artefact.begin()
    (tmp_path / f"config.json.{'0' * 32}.partial").touch()
    artefact.finish()
    assert sorted(e.name for e in tmp_path.iterdir()) == ["config.json", "done.json"]


NAME_BOTH = "^Name --shards=N with --shard=I, from 0 to N-1.$"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"shards": 2}, NAME_BOTH),
        ({"shard": 0}, NAME_BOTH),
        ({"shards": 2, "shard": 2}, NAME_BOTH),
        ({"shards": 2, "shard": 1, "join": "auto"}, "^--join makes processes one run"),
    ],
)
def test_wrong_flags_are_refused(values, message):
    with flagsaver.flagsaver(**values), pytest.raises(ValueError, match=message):
        main._share()
    assert main._share() is None
    with flagsaver.flagsaver(shards=2, shard=1):
        assert main._share() == Share(1, 2)


def test_the_command_encodes_a_share(config, tmp_path):
    image = ["size", "stage_sizes", "widths", "cardinality", "weights"]
    arguments = [
        "--config=configs/quickstart.py",
        f"--workdir={tmp_path / 'run'}",
        f"--inputs={tmp_path}",
        f"--config.data.store={config.data.store}",
        "--config.streams=image",
        *(f"--config.image_encoder.{k}={config.image_encoder[k]}" for k in image),
    ]

    def call(*flags):
        return subprocess.run(
            [sys.executable, "-m", "abaw_jax.main", *arguments, *flags],
            cwd=ROOT,
            env={**os.environ, "JAX_PLATFORMS": "cpu", "COLUMNS": "200"},
            capture_output=True,
            text=True,
        )

    wrong = call("--shards=2", "--shard=2")
    assert wrong.returncode == 1
    assert wrong.stderr == f"abaw_jax: {NAME_BOTH[1:-1]}\n"
    done = call("--shards=2", "--shard=1")
    assert done.returncode == 0, done.stderr
    assert "shard 1 of 2 is encoded: 2 subjects, 23 images" in done.stdout
    assert {path.stem for path in tmp_path.rglob("*.npy")} == {*DIVIDED[1]}
    assert not (tmp_path / "run").exists()
