"""Writes a network as StableHLO and ONNX, each file compared with the network.

The files are caches of what the weights and ``model.json`` say: a JAX some months newer
may refuse a StableHLO file, never the weights.
"""

import importlib.util
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from abaw_jax.inference import stablehlo
from abaw_jax.inference.model_folder import Contract
from abaw_jax.inference.network_parts import Part, float32_model, parts
from abaw_jax.report import console
from abaw_jax.training.state import Variables

FORMATS = ("stablehlo", "onnx")
"""Names of the formats, which are also how their files end."""
BOUND = 1e-4
"""Largest difference between a file and its network."""
_ROWS = (1, 5)  # batches that are compared

Function = Callable[..., Mapping[str, Any]]


class Example(NamedTuple):
    """Arrays by name that a part reads, and what the network makes of them."""

    given: dict[str, np.ndarray]
    expected: Mapping[str, Any]


def require(formats: Sequence[str]) -> None:
    """Checks that the formats can be written here.

    Raises:
      ValueError: if one is unknown, or what it needs is missing; says what to do.
    """
    for name in formats:
        if name not in FORMATS:
            known = ", ".join(FORMATS)
            raise ValueError(f"--formats={name} is unknown; there are {known}.")
    missing = [p for p in ("onnx", "onnxruntime") if not importlib.util.find_spec(p)]
    if "onnx" in formats and missing:
        raise ValueError(
            f"--formats=onnx needs {' and '.join(missing)}: pip install "
            "'abaw_jax[onnx]'."
        )


def convert(
    contract: Contract, networks: dict[str, Variables], formats: Sequence[str]
) -> tuple[dict[str, bytes], dict[str, Any]]:
    """Writes every part of a network in every format, and compares it.

    Args:
      contract: as of `write_model`.
      networks: likewise.
      formats: of `FORMATS`, as `require` allows.

    Returns:
      Contents of the files by name, and what ``model.json`` holds of them: inputs,
      outputs and files of each part.

    Raises:
      ValueError: if a file differs from its network by more than `BOUND`, or JAX has
        no CPU to compare them on.
    """
    contents, described = {}, {}
    with jax.default_device(_cpu()):
        found = parts(float32_model(contract, networks))
        examples = [_compute(found, contract, rows) for rows in _ROWS]
        for part in found:
            of_part = [each[part.name] for each in examples]
            written = {f"{part.name}.{f}": _convert(part, f, of_part) for f in formats}
            contents |= written
            described[part.name] = part.describe() | {"files": [*written]}
    return contents, described


def _cpu() -> Any:
    """Where files are compared; elsewhere products may be rounded to fewer bits."""
    try:
        return jax.local_devices(backend="cpu")[0]
    except RuntimeError:
        raise ValueError(
            "--formats compares files with the network on the CPU, which "
            "JAX_PLATFORMS leaves out: set, for example, JAX_PLATFORMS=cuda,cpu."
        ) from None


def _compute(
    found: Sequence[Part], contract: Contract, rows: int
) -> dict[str, Example]:
    """What each part makes of random input; the heads read what the encoders give."""
    rng = np.random.default_rng(rows)
    arrays, examples = {}, {}
    for name, each in contract["inputs"].items():
        arrays[name] = _draw(rng, (rows, *each["shape"][1:]), each["dtype"])
    for part in found:
        given = {
            name: np.asarray(arrays[name]).reshape(-1, *row.shape)
            for name, row in part.inputs.items()
        }
        examples[part.name] = Example(given, part.function(**given))
        arrays |= examples[part.name].expected
    return examples


def _draw(rng: np.random.Generator, shape: Sequence[int], dtype: str) -> np.ndarray:
    """Noise, from row to row bright or dark, loud or quiet."""
    most = np.iinfo(dtype).max
    levels = most ** rng.uniform(0, 1, (shape[0], *[1] * (len(shape) - 1)))
    least = -1 if np.iinfo(dtype).min else 0
    return (rng.uniform(least, 1, shape) * levels).astype(dtype)


def _convert(part: Part, name: str, examples: Sequence[Example]) -> bytes:
    write, read = stablehlo.write, stablehlo.read
    if name == "onnx":
        from abaw_jax.inference import onnx_networks  # needs packages of an extra

        write, read = onnx_networks.write, onnx_networks.read
    content = write(part)
    difference = _largest_difference(read(content), examples)
    if not difference <= BOUND:  # NaN is too large as well
        raise ValueError(
            f"{part.name}.{name} differs from the network by {difference:.1e}, more "
            f"than {BOUND:g}: nothing was written. Leave {name} out of --formats."
        )
    size = f"{len(content) / 1e6:.2f} MB"
    console.say(f"{part.name}.{name}: {size}, largest difference {difference:.1e}")
    return content


def _largest_difference(run: Function, examples: Sequence[Example]) -> float:
    """Between a file and its network; relative where values are above 1."""
    found = []
    for given, expected in examples:
        results = run(**given)
        for name, values in expected.items():
            difference = np.abs(np.asarray(results[name]) - values)
            found.append(difference.max() / max(1, np.abs(values).max()))
    return float(np.max(found))
