"""Describes how two records of plain values differ."""

from collections.abc import Iterator
from typing import Any

_SHORT = 60  # characters of a list that is shown whole


def differences(found: Any, wanted: Any, name: str = "") -> Iterator[str]:
    """Every field in which ``found`` is not ``wanted``, as "name was 1, now 2".

    Args:
      found: nested dictionaries and lists of plain values.
      wanted: the same.
      name: of the record, before the names of its fields.
    """
    if isinstance(found, dict) and isinstance(wanted, dict):
        for key in sorted(found.keys() | wanted.keys()):
            inner = f"{name}.{key}" if name else str(key)
            yield from differences(found.get(key), wanted.get(key), inner)
    elif found == wanted:
        return
    elif _is_long(found) and _is_long(wanted) and len(found) == len(wanted):
        yield from differences(dict(enumerate(found)), dict(enumerate(wanted)), name)
    else:
        yield f"{name} was {_brief(found)}, now {_brief(wanted)}"


def _is_long(value: Any) -> bool:
    return isinstance(value, list) and len(str(value)) > _SHORT


def _brief(value: Any) -> str:
    return f"a list of {len(value)}" if _is_long(value) else str(value)
