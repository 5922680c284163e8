"""Nothing that is read can run: no pickle is loaded and no text is executed."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "abaw_jax"
PICKLES = {"pickle", "_pickle", "marshal", "shelve", "dill", "cloudpickle", "joblib"}
RUNS = {"eval", "exec", "compile", "__import__"}
ADMITTED = {"weights/restricted_pickle.py": {"pickle"}}
"""The one place that may, by what it uses; nothing in it can be called by a file."""


def risks(text):
    """What in a module could run what it reads, by name."""
    found = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names} & PICKLES
        elif isinstance(node, ast.ImportFrom):
            found |= {(node.module or "").split(".")[0]} & PICKLES
        elif isinstance(node, ast.Call):
            found |= risks_of_call(node)
    return found


def risks_of_call(call):
    name = ast.unparse(call.func)
    values = {each.arg: ast.unparse(each.value) for each in call.keywords}
    found = {name} & RUNS
    if values.get("allow_pickle", "False") != "False":
        found.add("allow_pickle")
    if name == "np.load" and values.get("allow_pickle") != "False":
        found.add("np.load")
    if name.endswith("read_array") and values.get("allow_pickle") != "False":
        found.add("read_array")
    if name == "torch.load" and values.get("weights_only") != "True":
        found.add("torch.load")
    if name in ("yaml.load", "os.system", "os.popen") or "shell" in values:
        found.add(name)
    return found


@pytest.mark.parametrize(
    "path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: path.stem
)
def test_nothing_is_unpickled_or_executed(path):
    name = path.relative_to(PACKAGE).as_posix()
    assert risks(path.read_text()) == ADMITTED.get(name, set())


@pytest.mark.parametrize(
    ("text", "risk"),
    [
        ("import pickle", "pickle"),
        ("from pickle import load", "pickle"),
        ("import joblib.numpy_pickle", "joblib"),
        ("eval(text)", "eval"),
        ("np.load(path)", "np.load"),
        ("np.load(path, allow_pickle=True)", "allow_pickle"),
        ("np.save(path, a, allow_pickle=allowed)", "allow_pickle"),
        ("np.lib.format.read_array(file)", "read_array"),
        ("torch.load(path)", "torch.load"),
        ("torch.load(path, weights_only=False)", "torch.load"),
        ("subprocess.run(text, shell=True)", "subprocess.run"),
    ],
)
def test_each_is_noticed(text, risk):
    assert risk in risks(text)
