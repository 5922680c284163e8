"""Converts names and layouts of public weights to those of our networks.

Pure functions from arrays by name to ``{"params", "batch_stats"}``; none of them needs
the framework that wrote the file. Sources: the Torch release of SoundNet and its ports,
and the TensorFlow checkpoint of the paper's image encoder.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from flax import traverse_util

Variables = dict[str, Any]
Arrays = Mapping[str, np.ndarray]

_DEEPEST = 20  # parts of a name; those of our networks have up to seven
_SOUND_LAYERS = range(1, 8)
_TENSORFLOW_SUFFIX = "/.ATTRIBUTES/VARIABLE_VALUE"


def flatten(variables: Variables) -> dict[str, np.ndarray]:
    """Names every array by its path, such as ``params/stem_conv/kernel``."""
    flat = traverse_util.flatten_dict(variables, sep="/")
    return {name: np.asarray(array) for name, array in flat.items()}


def unflatten(arrays: Arrays) -> Variables:
    """Undoes `flatten`.

    Raises:
      ValueError: if a name is that of an array and of a group, or nested too deep.
    """
    for name in arrays:
        parts = name.split("/")
        if len(parts) > _DEEPEST:
            raise ValueError(f"the name {name[:60]!a}… has {len(parts)} parts.")
        groups = ("/".join(parts[:k]) for k in range(1, len(parts)))
        if group := next((each for each in groups if each in arrays), None):
            raise ValueError(f"{group!a} is an array, and {name!a} lies in it.")
    return traverse_util.unflatten_dict(dict(arrays), sep="/")


def _take(arrays: Mapping[str, Any], name: str) -> Any:
    try:
        return arrays[name]
    except KeyError:
        raise ValueError(f"the weights lack {name!r}.") from None


def _norm(
    name: str, scale: np.ndarray, bias: np.ndarray, mean: np.ndarray, var: np.ndarray
) -> dict[str, np.ndarray]:
    return {
        f"params/{name}/scale": scale,
        f"params/{name}/bias": bias,
        f"batch_stats/{name}/mean": mean,
        f"batch_stats/{name}/var": var,
    }


def soundnet_from_sound8(layers: Mapping[str, Arrays]) -> Variables:
    """Maps the dict in ``sound8.npy``.

    Args:
      layers: ``conv1 ... conv7`` with ``weights [K, 1, in, out]``, ``biases``,
        ``gamma``, ``beta``, ``mean``, ``var``; ``conv8`` (objects) and ``conv8_2``
        (scenes) with ``weights`` and ``biases``.

    Returns:
      Variables of `abaw_jax.models.soundnet.SoundNet`.

    Raises:
      ValueError: if a layer or an array is missing.
    """
    flat = {}
    names = {f"conv{k}": f"conv{k}" for k in _SOUND_LAYERS}
    for theirs, ours in {**names, "conv8": "objects", "conv8_2": "scenes"}.items():
        layer = _take(layers, theirs)
        flat[f"params/{ours}/kernel"] = _take(layer, "weights").squeeze(1)
        flat[f"params/{ours}/bias"] = _take(layer, "biases")
    for k in _SOUND_LAYERS:
        layer, parts = layers[f"conv{k}"], ("gamma", "beta", "mean", "var")
        flat |= _norm(f"norm{k}", *(_take(layer, part) for part in parts))
    return unflatten(flat)


def soundnet_from_torch(state: Arrays) -> Variables:
    """Maps the state dict of either PyTorch port.

    Args:
      state: ``convK.0.*`` and ``convK.1.*`` with ``conv8.0.*`` and ``conv8_2.0.*``; or
        ``convK.*`` and ``batchnormK.*`` with ``conv8_objs.*`` and ``conv8_scns.*``.
        Weights are ``[out, in, K, 1]``.

    Returns:
      Variables of `abaw_jax.models.soundnet.SoundNet`.

    Raises:
      ValueError: if an array is missing, or the normalisations were never filled in, as
        in a file in circulation whose converter left them out.
    """
    if "conv1.0.weight" in state:
        conv, norm, objects, scenes = "conv{}.0", "conv{}.1", "conv8.0", "conv8_2.0"
    else:
        conv, norm, objects, scenes = (
            "conv{}",
            "batchnorm{}",
            "conv8_objs",
            "conv8_scns",
        )
    convolutions = {f"conv{k}": conv.format(k) for k in _SOUND_LAYERS}
    flat = {}
    for ours, theirs in {**convolutions, "objects": objects, "scenes": scenes}.items():
        weight = _take(state, f"{theirs}.weight")
        flat[f"params/{ours}/kernel"] = weight.squeeze(3).transpose(2, 1, 0)
        flat[f"params/{ours}/bias"] = _take(state, f"{theirs}.bias")
    parts = ("weight", "bias", "running_mean", "running_var")
    for k in _SOUND_LAYERS:
        theirs = norm.format(k)
        flat |= _norm(f"norm{k}", *(_take(state, f"{theirs}.{part}") for part in parts))
    # Every variance of the trained network exceeds 1.6.
    if all(np.all(flat[f"batch_stats/norm{k}/var"] == 1) for k in _SOUND_LAYERS):
        raise ValueError(
            "the BatchNorm statistics were never filled in (all variances are 1): the "
            "file was converted without them and cannot give features; take sound8.npy."
        )
    return unflatten(flat)


def _blocks(stage_sizes: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Stage and block, both from 1, in the order of the network."""
    for stage, blocks in enumerate(stage_sizes, start=1):
        for block in range(1, blocks + 1):
            yield stage, block


def image_encoder_from_tensorflow(
    arrays: Arrays,
    *,
    stage_sizes: Sequence[int] = (3, 4, 6, 3),
    cardinality: int = 32,
) -> Variables:
    """Maps the TensorFlow checkpoint of the paper's image encoder.

    A grouped convolution is stored as ``cardinality`` small ones; they are joined along
    the output axis in the order of the groups. The two-unit head ``FC`` and whatever
    else the checkpoint holds (optimizer, counters) is left out.

    Args:
      arrays: by name in the checkpoint, with or without its long suffix.
      stage_sizes: blocks per stage.
      cardinality: groups.

    Returns:
      Variables of `abaw_jax.models.image_encoder.ImageEncoder`.

    Raises:
      ValueError: if an array is missing.
    """
    arrays = {name.removesuffix(_TENSORFLOW_SUFFIX): a for name, a in arrays.items()}
    flat = {}

    def affine(ours: str, theirs: str) -> None:
        for part in ("kernel", "bias"):
            flat[f"params/{ours}/{part}"] = _take(arrays, f"{theirs}/{part}")

    def norm(ours: str, theirs: str) -> None:
        parts = ("gamma", "beta", "moving_mean", "moving_variance")
        flat.update(_norm(ours, *(_take(arrays, f"{theirs}/{part}") for part in parts)))

    def grouped(ours: str, theirs: str) -> None:
        for part in ("kernel", "bias"):
            names = [f"{theirs}/conv_list/{g}/{part}" for g in range(cardinality)]
            joined = np.concatenate([_take(arrays, name) for name in names], axis=-1)
            flat[f"params/{ours}/{part}"] = joined

    affine("stem_conv", "conv_1")
    norm("stem_norm", "bn_1")
    for index, (stage, block) in enumerate(_blocks(stage_sizes)):
        theirs = f"residual_blocks/layer_with_weights-{index}"
        ours = f"stage{stage}_block{block}"
        affine(f"{ours}/conv1", f"{theirs}/conv_1")
        norm(f"{ours}/norm1", f"{theirs}/bn_1")
        grouped(f"{ours}/conv2", f"{theirs}/conv_2")
        norm(f"{ours}/norm2", f"{theirs}/bn_2")
        affine(f"{ours}/channel_attention/reduce", f"{theirs}/CA/FC1")
        affine(f"{ours}/channel_attention/expand", f"{theirs}/CA/FC2")
        affine(f"{ours}/spatial_attention", f"{theirs}/SA/conv")
        if stage > 1 and block == 1:
            affine(f"{ours}/shortcut_conv", f"{theirs}/conv_shortcut")
            norm(f"{ours}/shortcut_norm", f"{theirs}/bn_shortcut")
    return unflatten(flat)
