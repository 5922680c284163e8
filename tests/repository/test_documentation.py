"""README and docs are promises: their code runs, what they name exists."""

import contextlib
import importlib
import io
import re
import subprocess
import sys
from pathlib import Path

import pytest

from abaw_jax.experiment.field_rules import RULES
from configs import base
from docs.configuration import fields, reference

ROOT = Path(__file__).parents[2]
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs" / "pages").rglob("*.md")))
TEXTS = {path.name: path.read_text() for path in PAGES}
BLOCKS = [
    pytest.param(block, id=name)
    for name, text in TEXTS.items()
    for block in re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
]
COMMANDS = {
    command
    for text in TEXTS.values()
    for block in re.findall(r"```bash\n(.*?)```", text, flags=re.DOTALL)
    for command in re.findall(r"^(?:python -m|\./launch/\S+) .*$", block, re.M)
}


@pytest.mark.parametrize("block", BLOCKS)
def test_python_prints_what_its_comments_say(block):
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(block, "documentation", "exec"), {})
    promised = re.findall(r"^print\(.*\)  # (.*)$", block, flags=re.MULTILINE)
    assert promised and printed.getvalue().splitlines() == promised


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_the_tests_that_a_page_names_exist(path):
    for name in re.findall(r"`(tests/[a-z0-9_/]+\.py)`", path.read_text()):
        assert (ROOT / name).is_file(), name


def test_there_are_python_and_commands():
    assert len(BLOCKS) >= 2 and len(COMMANDS) >= 10


FIELDS = {field.name: field for field in fields()}


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_commands_name_modules_files_and_fields_that_exist(command):
    """Each command is also run by hand before a release; most take minutes."""
    line = command.split("#")[0]
    program = line.split()[0 if line.startswith("./") else 2]
    if program.startswith("./"):
        assert (ROOT / program).is_file()
    else:
        assert importlib.util.find_spec(program)
    for file in re.findall(r"configs/[a-z0-9_]+\.py", line):
        assert (ROOT / file).is_file()
    for field in re.findall(r"--config\.([a-z_.]+)", line):
        assert field in FIELDS


@pytest.mark.parametrize(
    "row",
    re.findall(r"^\| eq.*$|^\| Algo.*$|^\| gene.*$", TEXTS["concepts.md"], re.M),
)
def test_the_table_of_equations_names_what_exists(row):
    _, _, functions, switches, _ = row.split("|")
    for name in re.findall(r"`([a-z_.]+)`", functions):
        module, _, function = name.rpartition(".")
        assert hasattr(importlib.import_module(f"abaw_jax.{module}"), function), name
    for name in re.findall(r"`([a-z_.]+)`", switches):
        assert name in FIELDS


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_links_to_files_lead_somewhere(path):
    for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", path.read_text()):
        assert (path.parent / link).is_file(), link


def test_the_configuration_reference_explains_every_field():
    def leaves(config, prefix=""):
        for name, value in config.items():
            path = f"{prefix}{name}"
            yield from leaves(value, f"{path}.") if hasattr(value, "keys") else [path]

    assert sorted(leaves(base.get_config())) == sorted(FIELDS)
    assert all(field.comment for field in FIELDS.values())
    assert FIELDS["loss.gamma_cap"][1:] == (
        "5",
        "stale epochs that count; None: no bound",
        "an int32, 0 or more, or None",
    )
    assert [*RULES] == [*FIELDS]  # in the same order
    assert reference().count("\n| `") == len(FIELDS)
    assert f"all {len(FIELDS)} configuration fields" in TEXTS["README.md"]


def test_the_readme_is_short():
    assert len(TEXTS["README.md"].splitlines()) <= 120


@pytest.mark.slow
def test_the_site_builds_without_warnings(tmp_path):
    pytest.importorskip("mkdocs")
    built = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet"]
        + ["--config-file", "docs/mkdocs.yml", "--site-dir", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert built.returncode == 0, built.stdout + built.stderr
    page = (tmp_path / "configuration.html").read_text()
    assert page.count("<td><code>") >= 90
    for name in ("concepts.html", "api/losses.html", "api/training.html"):
        page = (tmp_path / name).read_text()
        prose = re.sub(r"<(code|pre|details)\b.*?</\1>", "", page, flags=re.DOTALL)
        assert "<math" in prose
        assert not re.search(r"\\sum|math::|:math:|:func:|:class:|\$\$", prose)
