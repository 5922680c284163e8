"""Networks as StableHLO and ONNX: what they compute, and what is refused."""

import json
import sys

import jax
import numpy as np
import onnxruntime
import pytest

import abaw_jax
from abaw_jax.inference import formats, stablehlo
from abaw_jax.inference.model import Model
from abaw_jax.inference.model_folder import CONTRACT, write_model
from abaw_jax.inference.run_export import export
from tests.support.tiny_model import (
    SAMPLES,
    SIDE,
    make_config,
    make_contract,
    make_networks,
)


def both_streams(config):
    """Towers of two networks, and crops that are enlarged."""
    config.heads.fusion, config.image_encoder.size = "sum", 24
    config.heads.head_sizes = (8, 6)


def images_alone(config):
    """Crops that become smaller, and a second stage."""
    config.streams, config.heads.lstm_activation = ("image",), "relu"
    config.image_encoder.size = 12
    config.image_encoder.stage_sizes = (1, 2)
    config.image_encoder.widths = (8, 16)


def sound_alone(config):
    config.streams, config.sound_encoder.softmax = ("sound",), False
    config.sound_encoder.scale = 255.0


def concatenated(config):
    config.heads.fusion, config.heads.stream_dropout = "concatenate", 0.0
    config.heads.discriminator = False


def make_model(change, seed=0):
    config = make_config()
    change(config)
    return make_contract(config), make_networks(config, seed)


@pytest.fixture(
    scope="module", params=[both_streams, images_alone, sound_alone, concatenated]
)
def folder(request, tmp_path_factory):
    path = tmp_path_factory.mktemp("models") / "model"
    contract, networks = make_model(request.param)
    files, described = formats.convert(contract, networks, formats.FORMATS)
    write_model(path, contract | {"networks": described}, networks, files)
    return path


def run_onnx(path):
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [each.name for each in session.get_outputs()]
    return lambda **given: dict(zip(names, session.run(names, given), strict=True))


def run_stablehlo(path):
    exported = jax.export.deserialize(bytearray(path.read_bytes()))
    assert exported.platforms == ("cpu", "cuda", "tpu")
    return exported.call


def predict(folder, ending, run, frames, waveform):
    """What the files of a folder make of crops and sound, one after the other."""
    features = {}
    if (folder / f"image_encoder.{ending}").exists():
        encode = run(folder / f"image_encoder.{ending}")
        flat = encode(frames=frames.reshape(-1, SIDE, SIDE, 3))["image_features"]
        features["image_features"] = np.reshape(flat, (len(frames), 6, -1))
    if (folder / f"sound_encoder.{ending}").exists():
        features |= run(folder / f"sound_encoder.{ending}")(waveform=waveform)
    return run(folder / f"heads.{ending}")(**features)


def test_files_predict_what_the_model_does_in_batches_of_any_size(folder):
    model, rng = abaw_jax.load(folder), np.random.default_rng(1)
    for rows in (1, 5):
        frames = rng.integers(0, 256, (rows, 6, SIDE, SIDE, 3), np.uint8)
        waveform = rng.integers(-99, 99, (rows, SAMPLES), np.int16)
        expected = model(frames, waveform)._asdict()
        expected.pop("spread")
        for ending, run in (("onnx", run_onnx), ("stablehlo", run_stablehlo)):
            found = predict(folder, ending, run, frames, waveform)
            assert found.keys() == expected.keys()
            for name, values in expected.items():
                assert np.std(values) > 1e-3  # of noise that the network tells apart
                np.testing.assert_allclose(found[name], values, atol=1e-5)


def test_the_contract_lists_names_shapes_types_and_digests(folder):
    contract = json.loads((folder / CONTRACT).read_text())
    for name, each in contract["networks"].items():
        assert each["files"] == [f"{name}.stablehlo", f"{name}.onnx"]
        assert {*each["files"]} < {*contract["files"]}
        session = onnxruntime.InferenceSession(folder / f"{name}.onnx")
        types = {"tensor(uint8)": "uint8", "tensor(int16)": "int16"}
        for key, arrays in (
            ("inputs", session.get_inputs()),
            ("outputs", session.get_outputs()),
        ):
            assert each[key] == {
                array.name: {
                    "shape": array.shape,
                    "dtype": types.get(array.type, "float32"),
                }
                for array in arrays
            }
    assert "heads.onnx" in (folder / "README.md").read_text()


@pytest.mark.parametrize("name", ["heads.onnx", "heads.stablehlo"])
def test_a_damaged_file_is_refused(folder, name):
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content[:-9] + b"something")
    try:
        with pytest.raises(ValueError, match=f"{name} is not as it was written"):
            abaw_jax.load(folder)
    finally:
        (folder / name).write_bytes(content)


def test_a_file_that_differs_is_refused(monkeypatch):
    contract, networks = make_model(sound_alone)
    _, others = make_model(sound_alone, seed=1)
    write, other = stablehlo.write, Model(contract, others)

    def write_other(part):
        function = {each.name: each.function for each in formats.parts(other)}
        return write(part._replace(function=function[part.name]))

    monkeypatch.setattr(stablehlo, "write", write_other)
    with pytest.raises(ValueError, match=r"sound_encoder\.stablehlo differs .* by \d"):
        formats.convert(contract, networks, ["stablehlo"])


def test_a_network_that_is_no_number_is_refused():
    contract, networks = make_model(sound_alone)
    output = networks["heads"]["params"]["sound_va"]["output"]
    output["bias"] = output["bias"] * np.nan
    with pytest.raises(ValueError, match=r"heads\.stablehlo differs .* by nan"):
        formats.convert(contract, networks, ["stablehlo"])


@pytest.mark.parametrize(
    ("name", "missing", "message"),
    [
        ("tflite", (), "--formats=tflite is unknown; there are stablehlo, onnx"),
        ("onnx", ["onnxruntime"], r"needs onnxruntime: pip install 'abaw_jax\[onnx\]'"),
        ("onnx", ["onnx", "onnxruntime"], "needs onnx and onnxruntime: pip install"),
    ],
)
def test_what_cannot_be_written_is_told_first(
    tmp_path, monkeypatch, name, missing, message
):
    for package in missing:
        monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ValueError, match=message):
        export(tmp_path / "no run", "student", tmp_path / "model", ["stablehlo", name])
    assert not [*tmp_path.iterdir()]


def test_without_the_cpu_it_says_what_to_set(monkeypatch):
    def fail(**_):
        raise RuntimeError("Unknown backend: 'cpu' requested")

    monkeypatch.setattr(jax, "local_devices", fail)
    with pytest.raises(ValueError, match="JAX_PLATFORMS=cuda,cpu"):
        formats.convert(*make_model(sound_alone), ["stablehlo"])
