"""The lock, the project file and the launch scripts agree with each other."""

import importlib.metadata
import json
import os
import re
import runpy
import shutil
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.benchmarks import timing

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
LOCK = (ROOT / "requirements.lock").read_text().splitlines()
EXTRAS = PROJECT["optional-dependencies"]
WANTED = [*PROJECT["dependencies"], *EXTRAS["dev"], *EXTRAS["docs"]]
PYTHONS = ("3.11", "3.12", "3.13")

merge = runpy.run_path(str(ROOT / "launch" / "lock.py"))["merge"]


def locked(python):
    """``{name: version}`` that the lock gives one Python version."""
    entries = [Requirement(line) for line in LOCK]
    environment = {"python_version": python, "python_full_version": f"{python}.0"}
    chosen = [
        entry
        for entry in entries
        if entry.marker is None or entry.marker.evaluate(environment)
    ]
    names = [canonicalize_name(entry.name) for entry in chosen]
    assert len(names) == len(set(names)), "a package is locked twice"
    return {
        name: str(entry.specifier).removeprefix("==")
        for name, entry in zip(names, chosen, strict=True)
    }


def test_lock_lines_are_name_version_and_marker_only():
    version = r"[a-z0-9-]+==[0-9][0-9a-z.]*"
    bound = r'python_version (<|>=) "3\.1[1-3]"'
    for line in LOCK:
        assert re.fullmatch(rf"{version}( ; {bound}( and {bound})?)?", line), line
    assert sorted(LOCK, key=lambda line: line.split("==")[0]) == LOCK


@pytest.mark.parametrize("python", PYTHONS)
def test_lock_satisfies_the_project(python):
    versions = locked(python)
    for requirement in map(Requirement, WANTED):
        version = versions[canonicalize_name(requirement.name)]
        assert requirement.specifier.contains(version), (requirement, version)


def test_lock_is_closed_under_what_the_packages_ask_for():
    """Nothing is resolved at installation, so no requirement may be missing."""
    versions = locked("{}.{}".format(*sys.version_info))
    here = {
        canonicalize_name(each.metadata["Name"]): each
        for each in importlib.metadata.distributions()
    }
    if any(n not in here or here[n].version != v for n, v in versions.items()):
        pytest.skip("this environment was not made from the lock")
    for name in versions:
        for requirement in map(Requirement, here[name].requires or ()):
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                version = versions[canonicalize_name(requirement.name)]
                assert requirement.specifier.contains(version), (name, requirement)


def test_merge_marks_runs_of_python_versions_that_agree():
    answers = {
        "3.11": {"a": "1", "b": "1", "c": "1", "only": "7"},
        "3.12": {"a": "1", "b": "2", "c": "2", "new": "5"},
        "3.13": {"a": "1", "b": "2", "c": "1", "new": "5"},
    }
    assert merge(answers) == [
        "a==1",
        'b==1 ; python_version < "3.12"',
        'b==2 ; python_version >= "3.12"',
        'c==1 ; python_version < "3.12"',
        'c==2 ; python_version >= "3.12" and python_version < "3.13"',
        'c==1 ; python_version >= "3.13"',
        'new==5 ; python_version >= "3.12"',
        'only==7 ; python_version < "3.12"',
    ]


SHIM = f"""#!/bin/bash
# An interpreter whose venv and pip only write down that they were called.
case "$*" in
*_base_executable*) echo "$MADE_WITH" ;;
"-m venv "*) mkdir -p "$3/bin" && cp "$0" "$3/bin/python" ;;
"-m pip "*) echo "$*" >>calls; exit "${{PIP_EXIT:-0}}" ;;
*) exec "{sys.executable}" "$@" ;;
esac
"""


class Clone:
    """A checkout with the launch scripts, a lock of one line and a false Python."""

    def __init__(self, directory):
        self.directory = directory
        shutil.copytree(ROOT / "launch", directory / "launch")
        self.lock = directory / "requirements.lock"
        self.lock.write_text("jax==0.10.2\n")
        self.python = directory / "python"
        self.python.write_text(SHIM)
        self.python.chmod(0o755)

    def source(self, **environment):
        """Sources environment.sh from elsewhere; returns status, words, Python."""
        script = f"source {self.directory}/launch/environment.sh; command -v python"
        made_with = str(self.python)
        system = {"PATH": os.defpath, "PYTHON": made_with, "MADE_WITH": made_with}
        result = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script],
            env={key: v for key, v in (system | environment).items() if v},
            cwd="/",
            capture_output=True,
            text=True,
        )
        return result.returncode, result.stderr, result.stdout.strip()

    def installations(self):
        calls = self.directory / "calls"
        return calls.read_text().splitlines() if calls.exists() else []


@pytest.fixture
def clone(tmp_path):
    return Clone(tmp_path)


def test_an_environment_is_made_once_and_named_in_one_line(clone):
    status, words, python = clone.source()
    assert status == 0
    assert words.count("\n") == 1 and "making .venv" in words and "minutes" in words
    assert python == str(clone.directory / ".venv/bin/python")
    assert clone.source() == (0, "", python)
    # Without PYTHON too, what was made is used.
    assert clone.source(PYTHON="") == (0, "", python)
    (call,) = clone.installations()
    assert "--no-deps --requirement requirements.lock" in call


def test_a_changed_lock_makes_it_anew(clone):
    clone.source()
    left_over = clone.directory / ".venv" / "left_over"
    left_over.touch()
    clone.lock.write_text("jax==0.10.3\n")
    status, words, _ = clone.source()
    assert (status, "making" in words, left_over.exists()) == (0, True, False)
    assert len(clone.installations()) == 2


def test_an_activated_environment_is_not_made_with_itself(clone):
    """Its interpreter is first on the PATH, and removed before the new one is made."""
    _, _, python = clone.source()
    clone.lock.write_text("jax==0.10.3\n")
    activated = f"{Path(python).parent}:{os.defpath}"
    status, words, _ = clone.source(PYTHON="python", PATH=activated)
    assert (status, f"with {clone.python}" in words) == (0, True), words


def test_a_failed_or_killed_installation_is_noticed_and_made_again(clone):
    status, words, _ = clone.source(PIP_EXIT="1")
    assert status == 1 and "next call starts it again" in words
    status, words, _ = clone.source()
    assert status == 0 and "making" in words
    assert clone.source()[1] == ""
    assert len(clone.installations()) == 2


def test_an_environment_of_someone_else_is_used_and_left_alone(clone):
    shutil.copytree(clone.directory / "launch", clone.directory / ".venv" / "theirs")
    status, words, _ = clone.source()
    assert status == 1 and "not ours" in words
    (clone.directory / ".venv" / "bin").mkdir()
    shutil.copy(clone.python, clone.directory / ".venv" / "bin" / "python")
    assert clone.source()[:2] == (0, "")
    assert (clone.directory / ".venv" / "theirs").exists()
    assert clone.installations() == []


def test_an_accelerator_has_a_folder_of_its_own_and_the_locked_jax(clone):
    _, _, python = clone.source(ACCELERATOR="cuda13")
    assert python == str(clone.directory / ".venv-cuda13/bin/python")
    _, extra = clone.installations()
    assert extra.endswith("--constraint requirements.lock jax[cuda13]")


def test_a_python_that_is_too_old_or_absent_is_named(clone):
    status, words, _ = clone.source(PYTHON="no-such-python")
    assert status == 1 and "PYTHON=no-such-python is not" in words
    assert not (clone.directory / ".venv").exists()


def test_benchmarks_say_what_to_install():
    program = (
        "import sys; sys.modules['torch'] = None\n"
        "from tests.benchmarks import __main__ as program; program.main()"
    )
    result = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True
    )
    assert result.returncode == 1 and result.stdout == ""
    assert result.stderr.count("\n") == 1, result.stderr
    assert "pip install torch" in result.stderr
    names = [Requirement(r).name for r in PROJECT["optional-dependencies"]["bench"]]
    assert names == ["torch"]


def test_a_benchmark_times_both_sides_in_turns(tmp_path, capsys):
    calls = []

    def side(name, items, seconds):
        def work():
            calls.append(name)
            stop = time.perf_counter() + seconds
            while time.perf_counter() < stop:
                pass
            return items

        return work

    theirs, ours = side("theirs", 2, 0.008), side("ours", 4, 0.001)
    comparison = timing.compare(
        "spin", "a turn", target=4, theirs=theirs, ours=ours, repetitions=7
    )
    assert calls == ["theirs", "ours"] * 8  # the first pair warms up
    assert len(comparison.theirs) == len(comparison.ours) == 7
    # 4 ms against 0.25 ms an item.
    assert min(comparison.theirs) >= 4e-3 and min(comparison.ours) >= 0.25e-3
    medians = [sorted(side)[3] for side in (comparison.theirs, comparison.ours)]
    assert comparison.ratio == medians[0] / medians[1]
    timing.show("Turns", [comparison])
    assert "spin" in capsys.readouterr().out
    timing.write({"turns": [comparison]}, tmp_path / "turns.json")
    content = json.loads((tmp_path / "turns.json").read_text())
    assert content["machine"]["numpy"] == importlib.metadata.version("numpy")
    assert content["turns"][0]["ours"] == list(comparison.ours)


def test_benchmarks_are_no_tests():
    """They take minutes and ask for more than the tests do."""
    for path in (ROOT / "tests" / "benchmarks").iterdir():
        assert not re.search("^test_|_test\\.py$", path.name), path


def test_every_package_is_installed():
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    found = {
        ".".join(path.parent.relative_to(ROOT).parts)
        for path in (ROOT / "abaw_jax").rglob("*.py")
    }
    assert set(listed["packages"]) == found | {"abaw_jax.configs"}


@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_help_is_printed_without_making_an_environment(clone, flag):
    result = subprocess.run(
        ["bash", str(clone.directory / "launch" / "run.sh"), flag],
        env={"PATH": os.defpath, "PYTHON": str(clone.python)},
        capture_output=True,
        text=True,
    )
    assert (result.returncode, result.stderr) == (0, "")
    assert "launch/run.sh --config=configs/quickstart.py" in result.stdout
    assert "#" not in result.stdout and "--processes" in result.stdout
    assert not (clone.directory / ".venv").exists()
