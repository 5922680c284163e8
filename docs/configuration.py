"""Generates the reference of the configuration from ``configs/base.py``.

Default and explanation of a field are read from the source, where a comment stands
behind each field or above it; the values allowed come from the rules that every run
checks (`abaw_jax.experiment.field_rules`).
"""

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from abaw_jax.experiment.field_rules import RULES
from configs import base


class Field(NamedTuple):
    """A field of the configuration, ``section.name``, and what is known of it."""

    name: str
    default: str
    comment: str
    allowed: str


def reference() -> str:
    """Returns a Markdown section with a table for every section of the fields."""
    return "\n".join(
        f"## {title}\n\n{summary}\n\n"
        "| field | default | meaning | allowed |\n| --- | --- | --- | --- |\n"
        + "".join(map(_row, fields))
        for title, summary, fields in _sections()
    )


def fields() -> Iterator[Field]:
    """Yields every field in the order of ``configs/base.py``."""
    for _, _, found in _sections():
        yield from found


def _sections() -> Iterator[tuple[str, str, list[Field]]]:
    """Title, summary and fields by function of ``configs/base.py``."""
    source = Path(base.__file__).read_text()
    for function in ast.parse(source).body:
        if isinstance(function, ast.FunctionDef):
            title = function.name.removeprefix("_").replace("get_config", "run")
            summary = (ast.get_docstring(function) or "").partition("\n")[0]
            yield title, summary, [*_fields(function, source.splitlines())]


def _fields(function: ast.FunctionDef, lines: list[str]) -> Iterator[Field]:
    found: dict[str, Field] = {}
    for node in function.body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Attribute):
            name = ast.unparse(node.targets[0]).removeprefix("config.")
            default = ast.unparse(node.value)
            if not default.endswith("()") or default == "()":
                comment = _comment(node, lines) or found[name].comment
                default = "None" if default.startswith("placeholder") else default
                found[name] = Field(name, default, comment, RULES[name].allowed)
    yield from found.values()


def _comment(node: ast.Assign, lines: list[str]) -> str:
    """The comment behind an assignment, or the lines of comment above it."""
    behind = lines[node.lineno - 1][node.end_col_offset :].strip()
    if node.lineno == node.end_lineno and behind.startswith("#"):
        return behind.removeprefix("#").strip()
    above: list[str] = []
    for line in reversed(lines[: node.lineno - 1]):
        if not line.strip().startswith("#"):
            break
        above.insert(0, line.strip().removeprefix("#").strip())
    return " ".join(above)


def _row(field: Field) -> str:
    cells = (f"`{field.name}`", f"`{field.default}`", field.comment, field.allowed)
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n"
