"""Where compiled programs are kept, for users with and without a home."""

import os
import tempfile
from pathlib import Path

import jax
import pytest

from abaw_jax.training import compilation_cache


@pytest.fixture
def chosen(monkeypatch, tmp_path):
    """Settings of JAX that are made, which stay without effect."""
    made = {}
    monkeypatch.setattr(jax.config, "update", made.__setitem__)
    for name in ("JAX_COMPILATION_CACHE_DIR", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
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
    compilation_cache.enable_compilation_cache()
    return chosen.get("jax_compilation_cache_dir")


def test_it_is_below_the_users_home(chosen, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path / "me"))
    assert enabled(chosen) == str(tmp_path / "me/.cache/abaw_jax/programs")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert enabled(chosen) == str(tmp_path / "cache/abaw_jax/programs")


def test_a_user_without_a_home_has_a_folder_that_only_he_may_write_to(nobody, tmp_path):
    own = tmp_path / f"abaw_jax-{os.getuid()}"
    assert enabled(nobody) == str(own / "programs")
    assert own.stat().st_mode & 0o777 == 0o700
    nobody.clear()
    assert enabled(nobody) == str(own / "programs")  # found again


@pytest.mark.parametrize("kind", ["link", "shared", "another's", "file"])
def test_a_folder_of_somebody_else_is_not_used(nobody, tmp_path, kind, monkeypatch):
    """Its programs would be executed."""
    own = tmp_path / f"abaw_jax-{os.getuid()}"
    if kind == "link":
        (tmp_path / "theirs").mkdir(mode=0o700)
        own.symlink_to(tmp_path / "theirs")
    elif kind == "file":
        own.touch(mode=0o700)
    else:
        own.mkdir()
        own.chmod(0o777 if kind == "shared" else 0o700)
    if kind == "another's":
        user = os.getuid()
        monkeypatch.setattr(os, "getuid", lambda: user + 1)
        own.rename(tmp_path / f"abaw_jax-{user + 1}")
    assert enabled(nobody) is None
