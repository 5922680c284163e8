"""The ground floor is for everyone: alone it loads jax, NumPy and optax at most."""

import subprocess
import sys

import pytest

HEAVY = {
    "absl.app",
    "av",
    "configs",
    "flax",
    "grain",
    "librosa",
    "matplotlib",
    "ml_collections",
    "orbax",
    "rich",
    "soundfile",
    "tensorboardX",
}


def loaded_by(module: str) -> set[str]:
    """Names of all modules in a fresh interpreter that imported ``module`` only."""
    code = f"import sys, {module}; print(*sys.modules)"
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return set(result.stdout.split())


@pytest.mark.slow
@pytest.mark.parametrize(
    "module",
    [
        *("losses", "swapped", "metrics", "concordance", "formulas", "masking"),
        *("reversal", "tasks"),
    ],
)
def test_ground_floor_is_importable_alone(module):
    loaded = loaded_by(f"abaw_jax.{module}")
    assert f"abaw_jax.{module}" in loaded
    assert not loaded & HEAVY


@pytest.mark.parametrize("module", ["abaw_jax", "abaw_jax.tasks"])
def test_names_and_version_load_no_library(module):
    assert not loaded_by(module) & (HEAVY | {"jax", "numpy", "optax"})


def test_stages_load_what_fits_and_draws_only_where_it_is_needed():
    """Each takes a third of a second or more, at every call of a run."""
    assert not loaded_by("abaw_jax.experiment.sequence") & {"matplotlib", "sklearn"}


def test_the_package_has_a_version():
    import abaw_jax

    assert abaw_jax.__version__.count(".") == 2


LIGHT = ["export", "evaluate", "main", "predict", "profile", "submit", "verify"]


@pytest.mark.parametrize("command", [*LIGHT, "prepare"])
def test_help_loads_no_network(command):
    """It is shown in a fraction of a second: jax alone would take one."""
    program = (
        f"import runpy, sys; sys.argv = ['{command}', '--help']\n"
        f"try: runpy.run_module('abaw_jax.{command}', run_name='__main__')\n"
        "except SystemExit: print(*sys.modules)"
    )
    shown = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    *text, modules = shown.stdout.splitlines()
    assert any("--help" in line for line in text)
    heavy = {"jax"}
    if command in LIGHT:
        heavy |= HEAVY - {"absl.app", "ml_collections"} | {"cv2", "onnx", "optax"}
    assert not heavy & {*modules.split()}
