"""Writes and reads a part of a network as StableHLO, by `jax.export`.

A file holds the program for a CPU, CUDA and a TPU, for any number of rows, with the
weights. To read it, only jax is needed; nothing is unpickled.
"""

from collections.abc import Callable
from typing import Any

import jax
from jax import export

from abaw_jax.inference.network_parts import BATCH, Part

PLATFORMS = ("cpu", "cuda", "tpu")


def write(part: Part) -> bytes:
    """The content of a ``.stablehlo`` file."""
    (rows,) = export.symbolic_shape(BATCH.lower())
    exported = export.export(jax.jit(part.function), platforms=PLATFORMS)
    return bytes(exported(**part.batch(rows)).serialize())


def read(content: bytes) -> Callable[..., Any]:
    """The function that `write` wrote."""
    return export.deserialize(bytearray(content)).call
