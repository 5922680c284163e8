"""The README is a promise: its Python runs and prints what it says it prints."""

import contextlib
import importlib
import io
import re
from pathlib import Path

import pytest

from configs import base

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", TEXT, flags=re.DOTALL)


@pytest.mark.parametrize("block", BLOCKS)
def test_python_prints_what_its_comment_says(block):
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(block, "README.md", "exec"), {})
    promised = re.findall(r"^print\(.*\)  # (.*)$", block, flags=re.MULTILINE)
    assert promised and printed.getvalue().splitlines() == promised


def test_there_is_python_to_run():
    assert BLOCKS


@pytest.mark.parametrize(
    "row", re.findall(r"^\| eq.*$|^\| Algo.*$|^\| gene.*$", TEXT, re.M)
)
def test_the_table_of_equations_names_what_exists(row):
    _, _, functions, switches, _ = row.split("|")
    for name in re.findall(r"`([a-z_.]+)`", functions):
        module, _, function = name.rpartition(".")
        assert hasattr(importlib.import_module(f"abaw_jax.{module}"), function), name
    for name in re.findall(r"`([a-z_.]+)`", switches):
        value = base.get_config()
        for part in name.split("."):
            value = value[part]


@pytest.mark.parametrize(
    "name", sorted(set(re.findall(r"configs/[a-z0-9_]+\.py", TEXT)))
)
def test_every_configuration_named_is_there(name):
    assert (ROOT / name).is_file()
