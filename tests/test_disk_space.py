"""A disk that is or becomes full: one sentence, and nothing saved is lost."""

import errno
import shutil
import subprocess
from collections import namedtuple
from pathlib import Path

import pytest

from abaw_jax import disk_space
from abaw_jax.disk_space import explained, require_space
from abaw_jax.training.job import Limits
from abaw_jax.training.loop import fit
from abaw_jax.training.orbax_io import size_on_disk
from tests.support import tiny
from tests.training.test_loop import assert_same, ignore

Usage = namedtuple("Usage", "total used free")
SENTENCE = (
    r"^The file system of / .* needs [0-9.,]+ MB: nothing that was saved is lost; free "
    r"some space, and the same command goes on\.$"
)


def leave(monkeypatch, *free):
    """Free bytes by call; the last value stays."""
    left = list(free)

    def disk_usage(path):
        assert Path(path).exists()
        return Usage(10**9, 0, left.pop(0) if len(left) > 1 else left[0])

    monkeypatch.setattr(disk_space.shutil, "disk_usage", disk_usage)
    monkeypatch.setattr(disk_space.os.path, "ismount", lambda path: str(path) == "/")


def test_too_little_space_is_told_with_both_numbers(tmp_path, monkeypatch):
    leave(monkeypatch, 1_500_000)
    require_space(tmp_path / "not" / "made", 1_500_000, "a checkpoint")
    with pytest.raises(OSError, match=SENTENCE) as error:
        require_space(tmp_path / "not" / "made", 2_500_000, "a checkpoint")
    assert "has 1.5 MB left, and a checkpoint needs 2.5 MB" in str(error.value)


def test_the_size_covers_what_is_written(tmp_path):
    state = tiny.make_state()
    limits = Limits(1, 9)
    fit(state, tiny.make_job(epochs=1, limits=limits), tmp_path, ignore)
    [saved] = (tmp_path / "checkpoints").iterdir()
    written = sum(file.stat().st_size for file in saved.rglob("*") if file.is_file())
    assert 0 < written < size_on_disk((state, state.evaluated))


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_behind_another_error_is_told(tmp_path, monkeypatch, number):
    leave(monkeypatch, 0)
    with pytest.raises(OSError, match=SENTENCE) as error:
        with explained(tmp_path, 10**6, "a checkpoint"):
            try:
                raise OSError(number, "of the system")
            except OSError as cause:
                raise RuntimeError("of a library") from cause
    assert "is full" in str(error.value)


def test_other_errors_pass(tmp_path):
    with pytest.raises(RuntimeError, match="another"):
        with explained(tmp_path, 1, "a checkpoint"):
            raise RuntimeError("another")


@pytest.mark.slow
def test_training_does_not_begin_without_space(tmp_path, monkeypatch):
    leave(monkeypatch, 1000)
    with pytest.raises(OSError, match="this training needs"):
        fit(tiny.make_state(), tiny.make_job(), tmp_path, pytest.fail)


@pytest.mark.slow
def test_a_disk_that_becomes_full_loses_nothing(tmp_path, monkeypatch):
    fit(tiny.make_state(), tiny.make_job(), tmp_path / "one", ignore)
    with monkeypatch.context() as patched:
        leave(patched, 10**9, 10**9, 1000)
        with pytest.raises(OSError, match="and a checkpoint needs"):
            fit(tiny.make_state(), tiny.make_job(), tmp_path / "two", ignore)
    assert [path.name for path in (tmp_path / "two" / "checkpoints").iterdir()] == ["4"]
    fit(tiny.make_state(), tiny.make_job(), tmp_path / "two", ignore)
    assert_same(tmp_path / "one", tmp_path / "two")


@pytest.fixture
def small_disk(tmp_path):
    """A file system of half a megabyte, where mounting one is allowed."""
    mount = ["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", str(tmp_path)]
    if shutil.which("mount") is None or subprocess.run(mount, check=False).returncode:
        pytest.skip("no file system can be mounted here")
    yield tmp_path
    subprocess.run(["umount", "-l", str(tmp_path)], check=True)


@pytest.mark.slow
# Orbax's other writes end after the first has failed; commands leave these out.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_disk_that_another_program_fills_is_told_in_one_sentence(
    small_disk, monkeypatch, capfd
):
    """The free space is enough when it is compared, and gone when it is used."""
    usage = Usage(10**9, 0, 10**9)
    monkeypatch.setattr(disk_space.shutil, "disk_usage", lambda path: usage)
    with pytest.raises(OSError, match=f"The file system of {small_disk} is full"):
        fit(tiny.make_state(), tiny.make_job(), small_disk, ignore)
    assert "Traceback" not in capfd.readouterr().err
