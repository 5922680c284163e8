"""Finds the field of the configuration that a wrong name probably means."""

import difflib
from collections.abc import Iterable

# Fields and groups of fields that had other names before 0.2.
_RENAMED = {"reading": "equations", "kd.bank": "kd.cache_soft_labels"}


def name_fault(name: str, fields: Iterable[str]) -> str | None:
    """One sentence on a name that is none of ``fields``; else ``None``.

    Args:
      name: as ``train.epoch``.
      fields: all full names.
    """
    fields = [*fields]
    if name in fields:
        return None
    for former, new in _RENAMED.items():
        if name == former or name.startswith(f"{former}."):
            return f"config.{name} is called config.{new}{name[len(former) :]} now"
    return f"there is no field config.{name}{_hint(name, fields)}"


def _hint(name: str, fields: list[str]) -> str:
    ends = {field.rpartition(".")[2]: field for field in fields}
    group, _, end = name.rpartition(".")
    similar = difflib.get_close_matches(name, fields, n=1, cutoff=0.8)
    similar = similar or difflib.get_close_matches(end, ends, n=1, cutoff=0.8)
    if similar:
        return f"; did you mean config.{ends.get(similar[0], similar[0])}?"
    beside = [field for field in fields if field.rpartition(".")[0] == group]
    return f"; there are {', '.join(beside)}" if beside else ""
