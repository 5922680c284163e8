"""Programs are cached where only the user can put them, or not at all."""

import os
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import jax
import pytest

from abaw_jax.training import jax_settings


@pytest.fixture
def chosen(monkeypatch, tmp_path):
    """Settings of JAX that are made, which stay without effect."""
    made = {}
    monkeypatch.setattr(jax.config, "update", made.__setitem__)
    for name in ("JAX_COMPILATION_CACHE_DIR", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "me"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return made


@pytest.fixture
def nobody(chosen, monkeypatch):
    """A user id without a name, and no HOME: a container's."""

    def refuse():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", refuse)
    return chosen


def enabled(chosen):
    chosen.clear()
    jax_settings.set_up_jax()
    return chosen.get("jax_compilation_cache_dir")


def rights(folder):
    return stat.S_IMODE(folder.stat().st_mode)


def temporary(tmp_path):
    return tmp_path / f"abaw_jax-{os.getuid()}"


def test_for_devices_elsewhere_none_is_looked_at(chosen, monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: pytest.fail("looked"))
    jax_settings.set_up_jax(for_accelerators=True)
    assert chosen["jax_default_matmul_precision"] == "highest"


def test_float32_is_float32_unless_the_user_wants_less(chosen, monkeypatch):
    jax_settings.set_up_jax()
    assert "jax_default_matmul_precision" not in chosen  # a CPU's is exact
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    jax_settings.set_up_jax()
    assert chosen["jax_default_matmul_precision"] == "highest"
    chosen.clear()
    with jax.default_matmul_precision("tensorfloat32"):
        jax_settings.set_up_jax()
    assert "jax_default_matmul_precision" not in chosen


def test_names_of_the_settings_exist():
    assert hasattr(jax.config, "jax_default_matmul_precision")
    assert hasattr(jax.config, "jax_compilation_cache_dir")
    assert hasattr(jax.config, "jax_persistent_cache_min_compile_time_secs")


def test_it_is_below_the_users_home(chosen, monkeypatch, tmp_path):
    assert enabled(chosen) == str(tmp_path / "me/.cache/abaw_jax/programs")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert enabled(chosen) == str(tmp_path / "cache/abaw_jax/programs")


def test_the_folder_is_the_users_alone(chosen, tmp_path):
    cache = tmp_path / "me/.cache/abaw_jax"
    cache.mkdir(parents=True)
    cache.chmod(0o775)  # as earlier versions made it, by the umask
    assert enabled(chosen) == str(cache / "programs")
    assert (rights(cache), rights(cache / "programs")) == (0o700, 0o700)


def test_a_folder_that_is_named_is_left_alone(chosen, monkeypatch):
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", "/named")
    assert enabled(chosen) is None


def test_a_user_without_a_home_has_a_folder_that_only_he_may_enter(nobody, tmp_path):
    own = temporary(tmp_path)
    assert enabled(nobody) == str(own / "programs")
    assert (rights(own), rights(own / "programs")) == (0o700, 0o700)
    assert enabled(nobody) == str(own / "programs")  # found again


def spoil(folder, kind, monkeypatch):
    """Puts something there that may hold programs of somebody else."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    theirs = folder.with_name("theirs")
    if kind == "link":
        theirs.mkdir(mode=0o700)
        folder.symlink_to(theirs)
    elif kind == "file":
        folder.touch(mode=0o700)
    else:
        folder.mkdir()
        folder.chmod(0o777 if kind == "shared" else 0o700)
    if kind == "another's":
        real = Path.lstat

        def lstat(path):
            found = real(path)
            values = list(found)
            values[4] += path == folder  # st_uid
            return os.stat_result(values)

        monkeypatch.setattr(Path, "lstat", lstat)


@pytest.mark.parametrize("kind", ["link", "shared", "another's", "file"])
def test_a_folder_of_somebody_else_is_not_used(nobody, tmp_path, kind, monkeypatch):
    """Its programs would be executed."""
    spoil(temporary(tmp_path), kind, monkeypatch)
    assert enabled(nobody) is None


@pytest.mark.parametrize("place", ["abaw_jax", "abaw_jax/programs"])
@pytest.mark.parametrize("kind", ["link", "shared", "another's", "file"])
def test_below_the_home_too(chosen, tmp_path, place, kind, monkeypatch):
    spoil(tmp_path / "me/.cache" / place, kind, monkeypatch)
    assert enabled(chosen) == str(temporary(tmp_path) / "programs")


def test_a_damaged_program_is_replaced_without_a_word(tmp_path):
    """As a full disk leaves it: JAX warns of it at every call and keeps it."""
    program = """
import sys, warnings, jax
from pathlib import Path
from abaw_jax.training.jax_settings import set_up_jax
set_up_jax()
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
def double(x):
    return x + x
def compile():
    jax.clear_caches()
    jax.jit(double)(1.0)
    (entry,) = Path(jax.config.jax_compilation_cache_dir).glob("jit_double-*-cache")
    return entry
entry = compile()
whole = entry.read_bytes()
entry.write_bytes(whole[:100])
assert len(compile().read_bytes()) > 100
warnings.warn("another")
"""
    own = {"JAX_PLATFORMS": "cpu", "XDG_CACHE_HOME": str(tmp_path)}
    named = "JAX_COMPILATION_CACHE_DIR"  # this test's process may have one
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={key: each for key, each in os.environ.items() if key != named} | own,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Error reading" not in done.stderr and "another" in done.stderr
