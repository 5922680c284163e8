"""Reads the pickled SoundNet weights without executing code.

A pickle is a program. This unpickler knows the names that rebuild NumPy arrays and
refuses every other one before it is looked up, so nothing else can be called. An array
takes the memory that its bytes take in the file, whatever shape it claims.
"""

import math
import pickle
from typing import Any, BinaryIO

import numpy as np


class _Array(np.ndarray):
    """An array whose state is looked at before memory is taken for it."""

    def __setstate__(self, state: Any) -> None:
        _, shape, dtype, _, content = state
        objects = dtype.kind == "O"
        length = math.prod(shape) * (1 if objects else dtype.itemsize)
        if dtype.hasobject > objects or length != len(content):
            raise ValueError(f"an array claims to be {dtype} {shape}")
        super().__setstate__(state)


def _reconstruct(*_: Any) -> _Array:
    """An array to be filled; the pickle names a class, a shape and a type as well."""
    return _Array(0, "b")


# NumPy has kept the function that rebuilds an array in either module.
_ALLOWED = {
    ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy._core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy", "ndarray"): "ndarray",  # only an argument: a text cannot be called
    ("numpy", "dtype"): np.dtype,
}


class RefusedPickleError(ValueError):
    """The pickle asks for something else than NumPy arrays."""


# The unpickler in C takes 16 bytes for every number up to the one by which a pickle
# remembers an object, so that six bytes in a file can take 64 GB; this one does not.
class _ArrayUnpickler(pickle._Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        try:
            return _ALLOWED[module, name]
        except KeyError:
            raise RefusedPickleError(
                f"refused, and nothing in it was executed: it asks for {module}."
                f"{name}, which a file of weights has no need of."
            ) from None


def read_pickled_npy(file: BinaryIO) -> Any:
    """Reads the object in a 0-d ``.npy`` file, written by Python 2 or 3.

    Args:
      file: open for reading, at its start.

    Returns:
      The object: arrays in dicts, lists and plain values.

    Raises:
      RefusedPickleError: if the file asks for anything but NumPy's reconstruction of
        arrays; nothing of it was executed then.
      ValueError: if it is not such a file, or damaged.
    """
    version = np.lib.format.read_magic(file)
    if version != (1, 0):
        raise ValueError(f"version {version} of the .npy format is not expected here.")
    shape, _, dtype = np.lib.format.read_array_header_1_0(file)
    if shape != () or dtype != np.dtype(object):
        raise ValueError(
            f"an array {shape} of {dtype} is not the one pickled object expected here."
        )
    try:
        # NumPy pickles the 0-d array around the object.
        return _ArrayUnpickler(file, encoding="latin1").load().item()
    except RefusedPickleError:
        raise
    # A damaged pickle fails in whatever way its bytes happen to spell.
    except Exception as error:
        raise ValueError(f"the pickle is damaged: {error!r}.") from error
