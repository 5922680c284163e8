"""Modules stay small and have names of their own."""

import ast
from collections import Counter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "abaw_jax"
MODULES = sorted(PACKAGE.rglob("*.py"))
LINES, FUNCTION_LINES = 350, 60


def name(path):
    return str(path.relative_to(PACKAGE))


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_files_and_functions_fit_their_bounds(path):
    text = path.read_text()
    assert len(text.splitlines()) <= LINES
    functions = [
        node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef)
    ]
    long = {
        each.name: lines
        for each in functions
        if (lines := (each.end_lineno or 0) - each.lineno + 1) > FUNCTION_LINES
    }
    assert not long


def test_no_two_modules_share_a_base_name():
    names = Counter(path.stem for path in MODULES if not path.stem.startswith("__"))
    assert not [each for each, count in names.items() if count > 1]
