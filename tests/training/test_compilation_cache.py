"""Programs are cached where only the user can put them, or not at all."""

import os
import stat
from types import SimpleNamespace

import jax
import pytest

from abaw_jax.training import compilation_cache
from abaw_jax.training.compilation_cache import enable_compilation_cache


@pytest.fixture
def chosen(monkeypatch, tmp_path):
    """Gives the folder that is chosen in a home of its own, None without one."""
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "tmp").mkdir()
    temporary = SimpleNamespace(gettempdir=lambda: str(tmp_path / "tmp"))
    monkeypatch.setattr(compilation_cache, "tempfile", temporary)

    def choose():
        settings = {}
        config = SimpleNamespace(update=settings.__setitem__)
        monkeypatch.setattr(compilation_cache, "jax", SimpleNamespace(config=config))
        enable_compilation_cache()
        return settings.get("jax_compilation_cache_dir")

    return choose


def test_names_of_the_settings_exist():
    assert hasattr(jax.config, "jax_compilation_cache_dir")
    assert hasattr(jax.config, "jax_persistent_cache_min_compile_time_secs")


def test_the_folder_is_the_users_alone(chosen, tmp_path):
    cache = tmp_path / "cache/abaw_jax"
    assert chosen() == str(cache / "programs")
    for folder in (cache, cache / "programs"):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_rights_of_others_are_taken_away(chosen, tmp_path):
    cache = tmp_path / "cache/abaw_jax"
    cache.mkdir(parents=True)
    cache.chmod(0o777)
    assert chosen() == str(cache / "programs")
    assert stat.S_IMODE(cache.stat().st_mode) == 0o700


def owned_by(monkeypatch, *strangers):
    """Lets folders of these names belong to another user."""

    def lie(real):
        def status(path, *args, **options):
            found = real(path, *args, **options)
            if os.path.basename(path) in strangers:
                values = list(found)
                values[4] = os.getuid() + 1
                return os.stat_result(values)
            return found

        return status

    for name in ("stat", "lstat"):
        monkeypatch.setattr(os, name, lie(getattr(os, name)))


def test_a_folder_of_another_user_is_not_used(chosen, tmp_path, monkeypatch):
    own = tmp_path / f"tmp/abaw_jax-{os.getuid()}/programs"
    owned_by(monkeypatch, "abaw_jax")
    assert chosen() == str(own)
    owned_by(monkeypatch, "abaw_jax", f"abaw_jax-{os.getuid()}")
    assert chosen() is None


def test_a_link_is_followed_only_to_ones_own(chosen, tmp_path, monkeypatch):
    (tmp_path / "cache").mkdir()
    (tmp_path / "other").mkdir()
    (tmp_path / "cache/abaw_jax").symlink_to(tmp_path / "other")
    assert chosen() == str(tmp_path / "cache/abaw_jax/programs")
    owned_by(monkeypatch, "other")
    monkeypatch.setattr(os, "stat", stat_of_target(os.stat))
    assert chosen() == str(tmp_path / f"tmp/abaw_jax-{os.getuid()}/programs")


def stat_of_target(real):
    def status(path, *args, **options):
        return real(os.path.realpath(path), *args, **options)

    return status


@pytest.mark.parametrize("where", ["cache", "cache/abaw_jax/programs"])
def test_a_file_in_the_way_is_passed_by(chosen, tmp_path, where):
    (tmp_path / where).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / where).touch()
    assert chosen() == str(tmp_path / f"tmp/abaw_jax-{os.getuid()}/programs")


def test_a_user_without_a_home_has_a_cache(chosen, tmp_path, monkeypatch):
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)
    monkeypatch.chdir(tmp_path)
    assert chosen() == str(tmp_path / f"tmp/abaw_jax-{os.getuid()}/programs")
    assert not (tmp_path / "~").exists()


def test_a_folder_that_is_named_is_left_alone(chosen, monkeypatch):
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", "/named")
    assert chosen() is None
