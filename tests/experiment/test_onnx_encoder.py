"""An ONNX network in place of the image encoder: its input, its output, refusals."""

import sys
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from abaw_jax.experiment import features
from abaw_jax.experiment.checks import check
from abaw_jax.experiment.onnx_encoder import OnnxEncoder
from abaw_jax.report import console
from configs import base

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SIDE, WIDTH = 8, 5


def make_network(path, shape):
    """Outputs "feature", a linear layer over all pixels, and "seen", the pixels."""
    weights = np.random.default_rng(0).standard_normal((3 * SIDE * SIDE, WIDTH))
    weights = weights[: SIDE * SIDE * min(shape[1], shape[-1])].astype(np.float32)

    def describe(name, shape):
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)

    graph = helper.make_graph(
        [
            helper.make_node("Flatten", ["image"], ["flat"]),
            helper.make_node("MatMul", ["flat", "weights"], ["feature"]),
            helper.make_node("Identity", ["image"], ["seen"]),
        ],
        "linear",
        [describe("image", shape)],
        [describe("feature", [shape[0], WIDTH]), describe("seen", shape)],
        [numpy_helper.from_array(weights, "weights")],
    )
    opset = helper.make_opsetid("", 17)
    onnx.save(helper.make_model(graph, opset_imports=[opset], ir_version=8), path)
    return weights


def settings(path, **contract):
    config = base.get_config()
    config.image_encoder.onnx, config.image_encoder.size = str(path), SIDE
    config.image_encoder.onnx_input.update(contract)
    return config.image_encoder


def crops():
    return np.random.default_rng(1).integers(0, 256, (3, SIDE, SIDE, 3), np.uint8)


@pytest.mark.parametrize("batch", ["N", 1, 2, 7])
def test_features_are_those_of_the_network(tmp_path, batch):
    """The usual preparation of torchvision, written out in NumPy."""
    path = tmp_path / "net.onnx"
    weights = make_network(path, (batch, 3, SIDE, SIDE))
    found = OnnxEncoder(settings(path, mean=MEAN, std=STD))(crops())
    images = (np.float64(crops()) / 255 - np.array(MEAN)) / np.array(STD)
    expected = images.transpose(0, 3, 1, 2).reshape(3, -1) @ weights
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def as_grey(frames):
    return np.stack([np.asarray(Image.fromarray(each).convert("L")) for each in frames])


@pytest.mark.parametrize(
    ("contract", "channels", "prepare"),
    [
        ({"colours": "bgr"}, 3, lambda x: np.moveaxis(x[..., ::-1], -1, 1) / 255),
        ({"layout": "nhwc"}, 3, lambda x: x / 255),
        ({"std": (1 / 255,)}, 3, lambda x: np.moveaxis(x, -1, 1)),
        (
            {"layout": "nhwc", "mean": (0.5,), "std": (0.5,)},
            3,
            lambda x: x / 127.5 - 1,
        ),
        ({"colours": "grey"}, 1, lambda x: as_grey(x) / 255),
    ],
)
def test_the_network_sees_what_the_settings_say(tmp_path, contract, channels, prepare):
    path, image = tmp_path / "net.onnx", [SIDE, SIDE]
    image.insert(2 if "layout" in contract else 0, channels)
    make_network(path, ["N", *image])
    encoder = OnnxEncoder(settings(path, **contract))
    encoder._output = "seen"
    tolerance = 0.51 / 255 if channels == 1 else 1e-5  # Pillow rounds grey values
    expected = prepare(crops()).reshape(3, -1)
    np.testing.assert_allclose(encoder(crops()), expected, atol=tolerance, rtol=1e-5)


def test_its_features_are_extracted_and_known_by_file_and_contract(
    tmp_path, monkeypatch
):
    path = tmp_path / "net.onnx"
    make_network(path, ("N", 3, SIDE, SIDE))
    shown = []
    monkeypatch.setattr(console, "stage_header", lambda *each: shown.append(each))
    plain, swapped = (
        OnnxEncoder(settings(path, colours=colours)) for colours in ("rgb", "bgr")
    )
    assert shown[1] == (
        "image encoder",
        "net.onnx: 8x8 bgr, (pixel / 255 - 0) / 1, nchw; output feature",
    )
    assert plain.fingerprint != swapped.fingerprint
    config = base.get_config()
    config.streams = ("image",)
    store = SimpleNamespace(
        subjects=[SimpleNamespace(name="a", num_images=3)],
        frames=lambda index: crops(),
        image_size=SIDE,
        fingerprint="store",
    )
    run = SimpleNamespace(store=store, config=config, inputs=tmp_path)
    table = features.extract(run, plain, None)
    np.testing.assert_array_equal(table.image, plain(crops()))


@pytest.mark.parametrize(
    ("contract", "message"),
    [
        ({"layout": "nhwc"}, r"reads image .*'N', 3, 8, 8.* give it .*\[N, 8, 8, 3\]"),
        ({"colours": "grey"}, r"\[N, 1, 8, 8\]"),
        ({"output": "logits"}, "no output 'logits', only feature .*, seen"),
        ({"output": "seen"}, r"gives seen .*; a feature is \[N, D\]"),
    ],
)
def test_a_network_that_does_not_fit_is_refused(tmp_path, contract, message):
    make_network(tmp_path / "net.onnx", ("N", 3, SIDE, SIDE))
    with pytest.raises(ValueError, match=message):
        OnnxEncoder(settings(tmp_path / "net.onnx", **contract))


def test_a_batch_that_fills_memory_is_refused(tmp_path):
    make_network(tmp_path / "net.onnx", (10**9, 3, SIDE, SIDE))
    with pytest.raises(ValueError, match=r"net\.onnx reads image .*1000000000"):
        OnnxEncoder(settings(tmp_path / "net.onnx"))


def test_a_network_that_fails_is_named(tmp_path):
    """It makes an array of a terabyte of every image."""
    path = tmp_path / "net.onnx"
    make_network(path, ("N", 3, SIDE, SIDE))
    model = onnx.load(path)
    size = numpy_helper.from_array(np.array([10**6, 10**6]), "size")
    model.graph.initializer.append(size)
    model.graph.node[2].CopyFrom(
        helper.make_node("ConstantOfShape", ["size"], ["seen"])
    )
    model.graph.output[1].CopyFrom(
        helper.make_tensor_value_info("seen", TensorProto.FLOAT, ["N", "D"])
    )
    onnx.save(model, path)
    encoder = OnnxEncoder(settings(path, output="seen"))
    with pytest.raises(ValueError, match=r"net\.onnx fails: ") as refusal:
        encoder(crops())
    assert "\n" not in str(refusal.value)


def test_a_file_of_another_kind_is_refused(tmp_path):
    path = tmp_path / "net.onnx"
    path.write_bytes(b"no network")
    with pytest.raises(
        ValueError, match=r"net\.onnx cannot be read as an ONNX network"
    ):
        OnnxEncoder(settings(path))


def test_without_onnxruntime_the_installation_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ValueError, match=r"pip install 'abaw_jax\[onnx\]'"):
        OnnxEncoder(settings(tmp_path / "net.onnx"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"regime": "end_to_end"}, "onnx is given, but regime=end_to_end"),
        ({"features.image": "."}, "onnx and config.features.image exclude each other"),
        ({"image_encoder.onnx": "missing.onnx"}, "missing.onnx does not exist"),
        ({"image_encoder.onnx_input.mean": (1.0, 2.0)}, "mean is .*one or three"),
        (
            {"image_encoder.onnx_input.std": (0.0,)},
            "one or three values, each a float32, more",
        ),
    ],
)
def test_contradictions_are_found_before_the_first_stage(tmp_path, changes, message):
    (tmp_path / "net.onnx").touch()
    config = base.get_config()
    config.image_encoder.onnx = str(tmp_path / "net.onnx")
    config.update_from_flattened_dict(changes)
    with pytest.raises(ValueError, match=message):
        check(config)
