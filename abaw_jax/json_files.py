"""JSON files with a digest, which shows whether they are as they were written.

The last entry of each is ``digest``, the SHA-256 of all others. Files that earlier
versions wrote have none and are read as they are.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_ENTRY, _KIND = "digest", "sha256:"


def seal(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values as JSON has them (tuples are lists), and their digest."""
    content = json.loads(json.dumps(values))
    return {**content, _ENTRY: json_digest(content)}


def unseal(found: Mapping[str, Any]) -> dict[str, Any]:
    """The values that `seal` got, or all of them if they have no digest.

    Raises:
      ValueError: if they are not those that were sealed.
    """
    content = {name: value for name, value in found.items() if name != _ENTRY}
    # A digest under another name is a damaged name.
    sealed = _ENTRY in found or any(map(_is_digest, content.values()))
    if sealed and found.get(_ENTRY) != json_digest(content):
        raise ValueError("it is not as it was written (SHA-256)")
    return content


def _is_digest(value: Any) -> bool:
    return isinstance(value, str) and value.startswith(_KIND)


def json_digest(values: Any) -> str:
    """SHA-256 of JSON values, whatever the order of their names."""
    canonical = json.dumps(values, sort_keys=True)
    return _KIND + hashlib.sha256(canonical.encode()).hexdigest()


def is_damaged(path: Path) -> bool | None:
    """Whether a JSON file is not as it was written; None if it has no digest."""
    try:
        found = json.loads(path.read_text())
        sealed = isinstance(found, dict) and unseal(found) != found
        return False if sealed else None
    except ValueError:
        return True


def is_sealed(path: Path) -> bool:
    """True if a JSON file is there, has a digest and is as it was written."""
    return path.exists() and is_damaged(path) is False


def read_json(path: Path) -> dict[str, Any] | None:
    """Reads what `write_json` wrote; ``None`` if it is missing or damaged."""
    try:
        found = json.loads(path.read_text())
        return unseal(found) if isinstance(found, dict) else None
    except (FileNotFoundError, ValueError):
        return None


def write_json(path: Path, values: Mapping[str, Any], writer: str = "") -> None:
    """Writes JSON with its digest, atomically; ``writer`` is as of `write_text`."""
    write_text(path, json.dumps(seal(values), indent=1) + "\n", writer)


def write_text(path: Path, text: str, writer: str = "") -> None:
    """Writes atomically: a kill leaves the old file or the new one.

    Args:
      path: of the file; until it is complete it is called ``NAME.partial``.
      text: its content.
      writer: where several processes may write this file at the same time, a word that
        no two share: ``NAME.<writer>.partial``.
    """
    partial = path.with_name(f"{path.name}{writer and f'.{writer}'}.partial")
    try:
        partial.write_text(text)
        os.replace(partial, path)
    except BaseException:
        partial.unlink(missing_ok=True)  # on a full disk this is the space to go on
        raise
