"""Files of features: an ``.npy`` array for every subject, and beside it its digest.

``<subject>.sha256`` is in the format of the program sha256sum and is there before its
array. Arrays that earlier versions wrote have none, as the ends of their stages have
none; only their shape is known.
"""

import hashlib
import io
from pathlib import Path

import numpy as np

from abaw_jax.json_files import is_sealed
from abaw_jax.store.files import replacing


class DamagedFeaturesError(ValueError):
    """A file of features that is missing, or is not as it was written."""


def save(path: Path, features: np.ndarray) -> None:
    """Writes float32 ``[N, D]`` atomically, with its digest."""
    buffer = io.BytesIO()
    np.save(buffer, features, allow_pickle=False)
    data = buffer.getbuffer()
    for name, content in ((_digest_file(path), _sums(path, data)), (path, data)):
        with replacing(name) as file:
            file.write(content)


def load(path: Path, rows: int) -> np.ndarray:
    """Reads what `save` wrote.

    Args:
      path: of the file.
      rows: that it must have.

    Raises:
      DamagedFeaturesError: if it is missing, cannot be read or is not as it was
        written; names it.
    """
    if not path.exists():
        raise DamagedFeaturesError(f"{path} is missing")
    try:
        data, digests = path.read_bytes(), _digest_file(path)
        recorded = digests.read_bytes() if digests.exists() else None
    except OSError as error:
        raise DamagedFeaturesError(f"{path} cannot be read ({error})") from None
    if recorded is None and is_sealed(path.with_name("done.json")):
        raise DamagedFeaturesError(f"{path} has lost its {digests.name}")
    if recorded not in (None, _sums(path, data)):
        raise DamagedFeaturesError(f"{path} is not as it was written (SHA-256)")
    try:
        features = np.load(io.BytesIO(data), allow_pickle=False)
    except (EOFError, MemoryError, ValueError) as error:
        raise DamagedFeaturesError(f"{path} is damaged ({error})") from None
    if features.ndim != 2 or len(features) != rows:
        shape = list(features.shape)
        raise DamagedFeaturesError(f"{path} is {shape}, not of {rows} rows")
    return features


def subjects_in(folder: Path) -> set[str]:
    """Names of the subjects that have a file, damaged or not."""
    return {path.stem for path in folder.glob("*.npy")}


def damage(path: Path) -> str:
    """What is wrong with a file of features; "" if nothing is."""
    try:
        data, recorded = path.read_bytes(), _digest_file(path).read_bytes()
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    return "" if recorded == _sums(path, data) else "is not as it was written"


def _sums(path: Path, data: bytes | memoryview) -> bytes:
    """A line of sha256sum."""
    return f"{hashlib.sha256(data).hexdigest()}  {path.name}\n".encode()


def _digest_file(path: Path) -> Path:
    return path.with_suffix(".sha256")
