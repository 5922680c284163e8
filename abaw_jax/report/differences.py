"""Says in words how two plain records differ."""

from collections.abc import Iterator
from typing import Any


def differences(found: Any, wanted: Any, name: str = "") -> Iterator[str]:
    """Every field in which ``found`` is not ``wanted``, as "name was 1, now 2".

    Args:
      found: nested dictionaries of plain values.
      wanted: the same.
      name: of the record, before the names of its fields.
    """
    if isinstance(found, dict) and isinstance(wanted, dict):
        for key in sorted(found.keys() | wanted.keys()):
            inner = f"{name}.{key}" if name else key
            yield from differences(found.get(key), wanted.get(key), inner)
    elif found != wanted:
        yield f"{name} was {found}, now {wanted}"
