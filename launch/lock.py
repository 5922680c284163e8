"""Writes ``requirements.lock``: what pip resolves today, for every Python we support.

    python launch/lock.py [python3.11 python3.12 python3.13]

Each interpreter resolves the project's own requirements and its extras ``dev`` and
``docs`` without installing anything. One file holds all answers: a line is
``name==version``, with a marker behind it where the interpreters disagree. Environments
are made from it by ``launch/environment.sh`` with ``pip install --no-deps``, so nothing
is resolved twice.
"""

import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PYTHONS = ("python3.11", "python3.12", "python3.13")

Versions = Mapping[str, str]


def requirements() -> list[str]:
    """Returns what program, tests and documentation need by ``pyproject.toml``."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    return [*project["dependencies"], *extras["dev"], *extras["docs"]]


def python_version(python: str) -> str:
    """Returns the interpreter's version as markers write it, ``"3.12"``."""
    code = "import sys; print('%d.%d' % sys.version_info[:2])"
    return subprocess.check_output([python, "-c", code], text=True).strip()


def resolve(python: str) -> dict[str, str]:
    """Returns ``{name: version}`` of everything the interpreter would install."""
    command = [python, "-m", "pip", "install", "--quiet", "--dry-run"]
    command += ["--ignore-installed", "--only-binary=:all:", "--report=-"]
    report = subprocess.run(
        [*command, *requirements()], check=True, stdout=subprocess.PIPE, text=True
    ).stdout
    # pip may print a notice before the report.
    packages = json.loads(report[report.index("{") :])["install"]
    metadata = [package["metadata"] for package in packages]
    return {normalise(entry["name"]): entry["version"] for entry in metadata}


def normalise(name: str) -> str:
    """Returns the name as package indices compare it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def merge(answers: Mapping[str, Versions]) -> list[str]:
    """Returns the lines of the lock.

    Args:
      answers: by Python version, ascending and without a gap; each ``{name: version}``.

    Returns:
      Sorted lines, one for each run of Python versions that agree on a package.
    """
    pythons = list(answers)
    lines = []
    for name in sorted({name for versions in answers.values() for name in versions}):
        chosen = [answers[python].get(name) for python in pythons]
        starts = [i for i in range(len(chosen)) if i == 0 or chosen[i] != chosen[i - 1]]
        for start, stop in zip(starts, [*starts[1:], len(chosen)], strict=True):
            if chosen[start] is not None:
                marker = _marker(pythons, start, stop)
                lines.append(f"{name}=={chosen[start]}{marker}")
    return lines


def _marker(pythons: Sequence[str], start: int, stop: int) -> str:
    """Returns the marker of ``pythons[start:stop]``; the outer bounds stay open."""
    bounds = []
    if start > 0:
        bounds.append(f'python_version >= "{pythons[start]}"')
    if stop < len(pythons):
        bounds.append(f'python_version < "{pythons[stop]}"')
    return f" ; {' and '.join(bounds)}" if bounds else ""


def main(pythons: Sequence[str]) -> None:
    """Resolves with every interpreter and writes the lock."""
    answers = {}
    for python in pythons:
        print(f"resolving with {python}", file=sys.stderr)
        answers[python_version(python)] = resolve(python)
    lines = merge(answers)
    (ROOT / "requirements.lock").write_text("\n".join(lines) + "\n")
    print(f"requirements.lock: {len(lines)} lines", file=sys.stderr)


if __name__ == "__main__":
    main(sys.argv[1:] or PYTHONS)
