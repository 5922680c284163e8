"""Reads named arrays from ``.safetensors`` and ``.npz`` files of others.

Headers come first: names, shapes and types can be compared with what a network needs
before any array is read, so a file that claims terabytes, or unpacks to them, takes no
memory.
"""

import contextlib
import json
import math
import zipfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from safetensors import safe_open

from abaw_jax.releases.names import printable

_FLOATS = {"F16": "float16", "F32": "float32", "F64": "float64"}
"""Types of safetensors that weights may have, by NumPy's names."""

_COMPRESSIONS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
"""What NumPy writes; others take memory by the claim of the file."""


class Header(NamedTuple):
    """What a file says of an array before it is read.

    Attributes:
      shape: of the array.
      dtype: name of its type, as NumPy's where NumPy has it.
      read: reads it.
    """

    shape: tuple[int, ...]
    dtype: str
    read: Callable[[], np.ndarray]


class Shapes(NamedTuple):
    """What a file of weights has to hold.

    Attributes:
      network: name of its class, for messages.
      by_name: shape of every array.
    """

    network: str
    by_name: dict[str, tuple[int, ...]]

    @property
    def most_bytes(self) -> int:
        """Length that no file of these arrays exceeds, whatever else is in it."""
        return 16 * sum(map(math.prod, self.by_name.values())) + 2**20

    def require_length(self, length: int) -> None:
        """Raises a ValueError if so many bytes are too many."""
        if length > self.most_bytes:
            raise ValueError(
                f"has more than {self.most_bytes:,} bytes, too many for this "
                f"{self.network}."
            )

    def require(self, found: Mapping[str, tuple[tuple[int, ...], str]]) -> None:
        """Raises a ValueError if shapes and types by name are others."""
        wanted = self.by_name
        for those, what in (
            (wanted.keys() - found.keys(), "are missing"),
            (found.keys() - wanted.keys(), f"are unknown to this {self.network}"),
        ):
            if those:
                some = ", ".join(printable(name[:60]) for name in sorted(those)[:3])
                raise ValueError(f"{len(those)} arrays {what}: {some}.")
        for name, (shape, dtype) in found.items():
            if shape != wanted[name] or not dtype.startswith("float"):
                raise ValueError(
                    f"{name} is {dtype} {shape}, where this {self.network} has float32 "
                    f"{wanted[name]}."
                )


@contextlib.contextmanager
def open_arrays(path: Path) -> Iterator[dict[str, Header]]:
    """Headers by name; arrays can be read inside the context.

    Raises:
      ValueError: if the file is of another kind, or has a name twice. A damaged file
        raises what its library does.
    """
    if path.suffix == ".safetensors":
        # The library sees to it that arrays lie in the file and not in each other.
        with safe_open(path, "numpy") as file:
            names = list(file.keys())
            _require_distinct(_names_in_header(path))
            yield {name: _tensor(file, name) for name in names}
    elif path.suffix == ".npz":
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            _require_distinct(m.filename.removesuffix(".npy") for m in members)
            yield dict(_member(archive, member) for member in members)
    else:
        raise ValueError(
            f"{path.suffix!r} is none of the kinds of file that are read here."
        )


def _require_distinct(names: Iterable[str]) -> None:
    for name, count in Counter(names).most_common(1):
        if count > 1:
            raise ValueError(f"{name[:60]!a} is in it {count} times.")


def _names_in_header(path: Path) -> list[str]:
    """Names as written; the library keeps the last of two that are equal."""
    with path.open("rb") as file:
        header = file.read(int.from_bytes(file.read(8), "little"))
    return [name for name, _ in json.loads(header, object_pairs_hook=list)]


def _tensor(file: safe_open, name: str) -> Header:
    described = file.get_slice(name)
    kind = str(described.get_dtype())
    shape = tuple(described.get_shape())
    return Header(shape, _FLOATS.get(kind, kind), lambda: file.get_tensor(name))


def _member(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> tuple[str, Header]:
    name = member.filename.removesuffix(".npy")
    if member.compress_type not in _COMPRESSIONS:
        raise ValueError(f"{name[:60]!a} is compressed as NumPy never does.")
    with archive.open(member) as file:
        # Headers of later versions may claim 4 GB; names of columns alone need them.
        if np.lib.format.read_magic(file) != (1, 0):
            raise ValueError(f"{name[:60]!a} is no plain array.")
        shape, _, dtype = np.lib.format.read_array_header_1_0(file)

    def read() -> np.ndarray:
        with archive.open(member) as file:
            return np.lib.format.read_array(file, allow_pickle=False)

    return name, Header(shape, str(dtype.name), read)
