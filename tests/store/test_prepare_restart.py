"""Kills, full disks and rivals: a store is finished, or unfinished and not lost."""

import errno
import os
import random
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

import av
import pytest
from PIL import Image

from abaw_jax.store import reader as store_module
from abaw_jax.store.reader import StoreError, open_store
from abaw_jax.store.writer import prepare
from tests.support import tiny_release
from tests.support.tiny_release import SIZE, VA, contents, write_lines, write_release
from tests.test_disk_space import leave

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def pristine(tmp_path_factory):
    return write_release(tmp_path_factory.mktemp("tiny") / "release")


IMAGES = pytest.mark.parametrize("images", ["pixels", "jpeg"])
DIES = """
import sys
from abaw_jax.store import writer
from tests.support.sudden_end import SuddenEnd
release, path, calls, images = sys.argv[1:]
end = SuddenEnd(int(calls))
writer.prepare(release, path, image_size=16, workers=2, images=images)
print(end.left)
"""


@pytest.mark.slow
@IMAGES
def test_killed_anywhere_it_ends_with_the_same_bytes(pristine, tmp_path, images):
    def run(store, calls):
        program = [sys.executable, "-c", DIES, pristine, store, str(calls), images]
        return subprocess.run(program, capture_output=True, text=True, cwd=ROOT)

    whole = run(tmp_path / "whole", 10**6)
    steps = 10**6 - int(whole.stdout)
    assert steps > 100
    rng, path = random.Random(11), tmp_path / "killed"
    kept: dict[Path, int] = {}
    for calls in (*rng.sample(range(1, 40), 4), *rng.sample(range(40, steps), 3)):
        killed = run(path, calls)
        if killed.returncode == 0:  # so much was done before that it came to the end
            continue
        assert killed.returncode == -9, killed.stderr
        for file, inode in kept.items():
            assert file.stat().st_ino == inode, f"{file} was made again"
        records = [*path.rglob("record.json"), *path.glob("sound/*.json")]
        kept = {file: file.stat().st_ino for file in records}
        with pytest.raises(StoreError, match="unfinished"):
            open_store(path)
    assert kept
    assert run(path, 10**6).returncode == 0
    assert contents(path) == contents(tmp_path / "whole")


def test_killed_by_the_clock_it_ends_with_the_same_bytes(pristine, tmp_path):
    program = [sys.executable, "-c", DIES, pristine]
    whole = [*program, tmp_path / "whole", "0", "pixels"]
    subprocess.run(whole, capture_output=True, cwd=ROOT, check=True)
    for delay in (0.25, 0.35, 0.45, 0.6):
        killed = [*program, tmp_path / "killed", "0", "pixels"]
        process = subprocess.Popen(killed, cwd=ROOT)
        try:
            process.wait(delay)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    prepare(pristine, tmp_path / "killed", image_size=SIZE)
    assert contents(tmp_path / "killed") == contents(tmp_path / "whole")


def fill_disk_after(monkeypatch, calls, code=errno.ENOSPC):
    """Lets ``calls - 1`` files reach the disk, and no more."""
    left = calls

    def fsync(descriptor):
        nonlocal left
        left -= 1
        if left <= 0:
            raise OSError(code, os.strerror(code))

    monkeypatch.setattr(store_module.os, "fsync", fsync)


@IMAGES
@pytest.mark.parametrize("calls", [1, 7, 20])
def test_a_full_disk_is_reported_and_finished_work_stays(
    pristine, tmp_path, monkeypatch, calls, images
):
    store = tmp_path / "store"
    options = {"image_size": SIZE, "images": images}
    with monkeypatch.context() as patched:
        fill_disk_after(patched, calls)
        with pytest.raises(
            StoreError, match=r"No space left on device; .* free some space"
        ):
            prepare(pristine, store, **options)
    assert not list(store.rglob("*.partial"))
    kept = {p: p.stat().st_ino for p in store.rglob("*.json")}
    prepare(pristine, store, **options)
    assert all(p.stat().st_ino == inode for p, inode in kept.items())
    prepare(pristine, tmp_path / "fresh", **options)
    assert contents(store) == contents(tmp_path / "fresh")


@pytest.mark.parametrize(
    ("code", "advice"),
    [(errno.EROFS, "mount that so that"), (errno.EIO, "correct that and run prepare")],
)
def test_what_the_system_refuses_is_told_with_what_to_do(
    pristine, tmp_path, monkeypatch, code, advice
):
    fill_disk_after(monkeypatch, 1, code)
    with pytest.raises(StoreError, match=f"{os.strerror(code)}; .*{advice}") as error:
        prepare(pristine, tmp_path / "store", image_size=SIZE)
    assert "space" not in str(error.value)


def test_space_for_all_crops_is_there_before_the_first_is_packed(
    pristine, tmp_path, monkeypatch
):
    store, needed = tmp_path / "store", tiny_release.IMAGES * SIZE**2 * 3
    leave(monkeypatch, needed - 1)
    said = rf"has .* left, and packing {tiny_release.IMAGES} crops needs 36\.1 kB"
    with pytest.raises(StoreError, match=said):
        prepare(pristine, store, image_size=SIZE)
    assert not [*store.rglob("*.npy")]
    leave(monkeypatch, needed)
    prepare(pristine, store, image_size=SIZE)
    leave(monkeypatch, 0)  # all is there
    prepare(pristine, store, image_size=SIZE)


@pytest.mark.parametrize(
    "change",
    [
        lambda root: (root / "batch1/alpha.mp4").write_bytes(b"another"),
        lambda root: (root / "cropped_aligned/alpha/00001.jpg").unlink(),
        lambda root: write_lines(
            root / VA / "Train_Set/alpha.txt", ["valence,arousal", "0.5,0.5"]
        ),
    ],
)
def test_a_store_that_is_being_changed_is_unfinished(
    pristine, tmp_path, monkeypatch, change
):
    release = Path(shutil.copytree(pristine, tmp_path / "release"))
    prepare(release, tmp_path / "store", image_size=SIZE)
    change(release)
    with monkeypatch.context() as patched:
        fill_disk_after(patched, 1)
        with pytest.raises(StoreError, match="No space left"):
            prepare(release, tmp_path / "store", image_size=SIZE)
    with pytest.raises(StoreError, match="is unfinished"):
        open_store(tmp_path / "store")


def test_two_runs_do_not_write_one_store(pristine, tmp_path):
    seen = []

    def progress(done, total):
        if not seen:
            seen.append(None)
            with pytest.raises(
                StoreError, match=f"store is in use by process {os.getpid()} on "
            ):
                prepare(pristine, tmp_path / "store", image_size=SIZE)

    prepare(pristine, tmp_path / "store", image_size=SIZE, progress=progress)
    assert seen


class Disk:
    """Files that the system cannot read while they are listed; counts the tries."""

    def __init__(self, monkeypatch, code=errno.EACCES):
        self.unreadable, self.tries, self.code = set(), [], code
        for module, refuse in ((av, refuse_as_ffmpeg), (Image, refuse_as_system)):
            reading = partial(self._open, module.open, refuse)
            monkeypatch.setattr(module, "open", reading)

    def _open(self, opening, refuse, path, *arguments, **options):
        name = "/".join(Path(str(path)).parts[-2:])
        if name in self.unreadable:
            self.tries.append(name)
            refuse(self.code, str(path))
        return opening(path, *arguments, **options)


def refuse_as_ffmpeg(code, path):
    av.error.err_check(-code, path)


def refuse_as_system(code, path):
    raise OSError(code, os.strerror(code), path)


@IMAGES
@pytest.mark.parametrize("code", [errno.EACCES, errno.EIO])
@pytest.mark.parametrize("name", ["alpha/00003.jpg", "batch1/alpha.mp4"])
def test_what_could_not_be_read_is_tried_again_at_each_call(
    pristine, tmp_path, monkeypatch, name, code, images
):
    """The crop was missing and the video silent for ever, though mended long since."""
    disk, store = Disk(monkeypatch, code), tmp_path / "store"
    disk.unreadable.add(name)
    options = {"image_size": SIZE, "workers": 2, "images": images}
    for _ in range(3):
        report = prepare(pristine, store, **options)
        assert any(os.strerror(code) in each.text for each in report.anomalies)
        tried, disk.tries = disk.tries, []
        assert name in tried
    kept = {p: p.stat().st_ino for p in store.rglob("*.npy") if "beta" in str(p)}
    assert kept
    disk.unreadable.clear()
    prepare(pristine, store, **options)
    assert all(p.stat().st_ino == inode for p, inode in kept.items())
    monkeypatch.undo()
    prepare(pristine, tmp_path / "fresh", **options)
    assert contents(store) == contents(tmp_path / "fresh")


def test_a_store_with_failures_that_stay_is_not_written_again(
    pristine, tmp_path, monkeypatch
):
    disk, store = Disk(monkeypatch), tmp_path / "store"
    disk.unreadable |= {"alpha/00003.jpg", "batch1/alpha.mp4"}
    prepare(pristine, store, image_size=SIZE)
    kept = {p: p.stat().st_ino for p in store.rglob("*.npy")}
    prepare(pristine, store, image_size=SIZE)
    assert {p: p.stat().st_ino for p in store.rglob("*.npy")} == kept


def test_numbers_that_are_not_as_they_were_written_are_packed_again(pristine, tmp_path):
    """Whatever reads them would end with an index out of bounds, or another store."""
    store = tmp_path / "store"
    prepare(pristine, store, image_size=SIZE)
    before = contents(store)
    for name in ("subjects/alpha/numbers.npy", "subjects/beta_left/numbers.npy"):
        data = bytearray(before[name])
        data[-1] ^= 64
        (store / name).write_bytes(data)
    (store / "manifest.json").unlink()
    prepare(pristine, store, image_size=SIZE)
    assert contents(store) == before
