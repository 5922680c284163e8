"""Writes and reads a part of a network as ONNX, layer by layer; needs the extra onnx.

Images are channels first here, as ONNX wants them. Batch normalisation is part of the
weights of the layer before it.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import jax
import numpy as np
import onnxruntime
from flax import traverse_util
from ml_collections import ConfigDict
from onnx import TensorProto

from abaw_jax.inference.model import Model
from abaw_jax.inference.network_parts import Part
from abaw_jax.inference.onnx_graph import Graph
from abaw_jax.kernels.batch_norm_max_pool import BatchNormMaxPool
from abaw_jax.models import dense_networks, heads, image_encoder, soundnet
from abaw_jax.training.state import Variables, take_member

Layers = Mapping[str, Any]
"""Layers, or arrays of a layer, by name."""


def write(part: Part) -> bytes:
    """The content of an ``.onnx`` file."""
    translators = {
        "image_encoder": _image_encoder,
        "sound_encoder": _sound_encoder,
        "heads": _heads,
    }
    graph, outputs = Graph(), part.outputs()
    results = translators[part.name](graph, part.model, part.model.networks[part.name])
    for name in outputs:
        graph.rename(results[name], name)
    return graph.serialize(part.name, part.inputs, outputs)


def read(content: bytes) -> Callable[..., Any]:
    """The function in an ``.onnx`` file, run by onnxruntime on the CPU."""
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    names = [each.name for each in session.get_outputs()]

    def run(**arrays: np.ndarray) -> dict[str, Any]:
        return dict(zip(names, session.run(names, arrays), strict=True))

    return run


def _image_encoder(graph: Graph, model: Model, variables: Variables) -> dict[str, str]:
    settings, layers = model.config.image_encoder, _layers(variables)
    side = model.contract["inputs"]["frames"]["shape"][2]
    x = _scaled_frames(graph, side, settings.size)
    x = _image_convolution(
        graph, x, layers["stem_conv"], layers["stem_norm"], strides=[2, 2]
    )
    pool = {"kernel_shape": [3, 3], "strides": [2, 2], "auto_pad": "SAME_UPPER"}
    x = graph.add("MaxPool", graph.add("Relu", x), **pool)
    for stage, blocks in enumerate(settings.stage_sizes, start=1):
        for number in range(1, blocks + 1):
            block = layers[f"stage{stage}_block{number}"]
            x = _residual_block(graph, x, block, settings.cardinality)
    x = graph.add("GlobalAveragePool", x)
    return {"image_features": graph.add("Flatten", x)}


def _scaled_frames(graph: Graph, side: int, size: int) -> str:
    """`scale_frames`, ``[B, 3, size, size]``."""
    x = graph.add("Cast", "frames", to=TensorProto.FLOAT)
    x = graph.add("Div", x, np.float32(255))
    x = graph.add("Transpose", x, perm=[0, 3, 1, 2])
    if side == size:
        return x
    # ONNX's Resize differs from JAX's at the edges, and where images become smaller.
    resize = np.asarray(jax.image.resize(np.eye(side), (size, side), "bilinear"))
    return graph.add("MatMul", graph.add("MatMul", resize, x), resize.T)


def _residual_block(graph: Graph, x: str, layers: Layers, groups: int) -> str:
    convolution = partial(_image_convolution, graph)
    shortcut, strides = x, [1, 1]
    if "shortcut_conv" in layers:
        strides = [2, 2]
        shortcut = convolution(
            x, layers["shortcut_conv"], layers["shortcut_norm"], strides=strides
        )
    y = convolution(x, layers["conv1"], layers["norm1"], strides=strides)
    y = convolution(
        graph.add("Relu", y), layers["conv2"], layers["norm2"], group=groups
    )
    y = graph.add("Relu", graph.add("Add", y, shortcut))
    spatial = graph.add("Sigmoid", convolution(y, layers["spatial_attention"]))
    channel = _channel_attention(graph, y, layers["channel_attention"])
    return graph.add("Mul", y, graph.add("Add", channel, spatial))


def _channel_attention(graph: Graph, x: str, layers: Layers) -> str:
    x = graph.add("Flatten", graph.add("GlobalAveragePool", x))
    x = graph.add("Relu", _dense(graph, x, layers["reduce"]))
    x = graph.add("Sigmoid", _dense(graph, x, layers["expand"]))
    return graph.add("Unsqueeze", x, np.array([2, 3]))


def _image_convolution(
    graph: Graph, x: str, layer: Layers, norm: Layers | None = None, **attributes: Any
) -> str:
    kernel, bias = _normalised(layer, norm, image_encoder.EPSILON)
    kernel = kernel.transpose(3, 2, 0, 1)
    return graph.add("Conv", x, kernel, bias, auto_pad="SAME_UPPER", **attributes)


def _sound_encoder(graph: Graph, model: Model, variables: Variables) -> dict[str, str]:
    """Sound is an image of one line: onnxruntime convolves images twice as fast."""
    settings, layers = model.config.sound_encoder, _layers(variables)
    x = graph.add("Cast", "waveform", to=TensorProto.FLOAT)
    x = graph.add("Mul", x, np.float32(settings.scale / 32768))
    x = graph.add("Unsqueeze", x, np.array([1, 2]))
    for number, (_, padding, pool) in enumerate(soundnet.LAYERS, start=1):
        norm = layers[f"norm{number}"]
        x = _sound_convolution(graph, x, layers[f"conv{number}"], norm, padding)
        if pool > 1:
            x = graph.add("MaxPool", x, kernel_shape=[1, pool], strides=[1, pool])
        x = graph.add("Relu", x)
    x = _sound_convolution(graph, x, layers["objects"], None, 0)
    x = graph.add("Softmax", x, axis=1) if settings.softmax else x
    return {"sound_features": graph.add("ReduceMean", x, axes=[2, 3], keepdims=0)}


def _sound_convolution(
    graph: Graph, x: str, layer: Layers, norm: Layers | None, padding: int
) -> str:
    kernel, bias = _normalised(layer, norm, BatchNormMaxPool.epsilon)
    kernel = kernel.transpose(2, 1, 0)[:, :, None]
    return graph.add(
        "Conv", x, kernel, bias, strides=[1, 2], pads=[0, padding, 0, padding]
    )


def _heads(graph: Graph, model: Model, variables: Variables) -> dict[str, str]:
    """The mean of the networks of an ensemble."""
    members = len(jax.tree.leaves(variables)[0])
    found = [
        _heads_of_one(graph, model.config, _layers(take_member(variables, member)))
        for member in range(members)
    ]
    return {
        name: graph.add("Mean", *[each[name] for each in found]) for name in found[0]
    }


def _heads_of_one(graph: Graph, config: ConfigDict, layers: Layers) -> dict[str, str]:
    streams = []
    if "image" in config.streams:
        activation = config.heads.lstm_activation
        streams.append(("image_", _lstm(graph, layers["lstm"], activation)))
    if "sound" in config.streams:
        streams.append(("sound_", "sound_features"))
    if config.heads.fusion == "concatenate":
        both = graph.add("Concat", *[x for _, x in streams], axis=1)
        streams = [("", both)]
    towers = [_tower(graph, layers, prefix, x) for prefix, x in streams]
    va, expr, au = (graph.add("Sum", *logits) for logits in zip(*towers, strict=True))
    return {
        "valence_arousal": graph.add("Tanh", va),
        "expressions": graph.add("Softmax", expr, axis=1),
        "action_units": graph.add("Sigmoid", au),
    }


def _lstm(graph: Graph, layer: Layers, activation: str) -> str:
    """The last state over ``image_features``; ONNX has another order of the gates."""

    def reordered(array: np.ndarray) -> np.ndarray:
        write, keep, value, read = np.split(array, 4, axis=-1)
        return np.concatenate([write, read, keep, value], axis=-1).T[None]

    kernel, recurrent, bias = (
        reordered(np.asarray(layer[name]))
        for name in ("input_kernel", "recurrent_kernel", "bias")
    )
    states = graph.add(
        "LSTM",
        graph.add("Transpose", "image_features", perm=[1, 0, 2]),
        kernel,
        recurrent,
        np.concatenate([bias, np.zeros_like(bias)], axis=-1),
        hidden_size=recurrent.shape[-1],
        activations=["Sigmoid", activation.capitalize(), activation.capitalize()],
    )
    last = graph.add("Gather", states, np.int64(-1), axis=0)
    return graph.add("Squeeze", last, np.array([0]))


def _tower(graph: Graph, layers: Layers, prefix: str, x: str) -> list[str]:
    """Logits of valence and arousal, expressions and action units."""
    shared = _blocks(graph, x, layers[f"{prefix}extractor"])
    return [
        _dense(
            graph,
            _blocks(graph, shared, layers[prefix + task]),
            layers[prefix + task]["output"],
        )
        for task in heads.OUTPUTS
    ]


def _blocks(graph: Graph, x: str, layers: Layers) -> str:
    for number in range(1, sum(name.startswith("block") for name in layers) + 1):
        block = layers[f"block{number}"]
        x = _dense(graph, x, block["dense"], block["norm"])
        x = graph.add("Mul", x, graph.add("Sigmoid", x))
    return x


def _dense(graph: Graph, x: str, layer: Layers, norm: Layers | None = None) -> str:
    return graph.add("Gemm", x, *_normalised(layer, norm, dense_networks.EPSILON))


def _normalised(
    layer: Layers, norm: Layers | None, epsilon: float
) -> tuple[np.ndarray, np.ndarray]:
    """Kernel and bias of a layer with the normalisation of its outputs behind it."""
    kernel, bias = (np.asarray(layer[name], np.float64) for name in ("kernel", "bias"))
    if norm is not None:
        factor = norm["scale"] / np.sqrt(np.float64(norm["var"]) + epsilon)
        kernel, bias = kernel * factor, (bias - norm["mean"]) * factor + norm["bias"]
    return kernel.astype(np.float32), bias.astype(np.float32)


def _layers(variables: Variables) -> Layers:
    """Parameters and statistics of each layer side by side."""
    flat = {
        path: np.asarray(array)
        for tree in variables.values()
        for path, array in traverse_util.flatten_dict(tree).items()
    }
    return traverse_util.unflatten_dict(flat)
