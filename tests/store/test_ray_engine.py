"""Packing over Ray: same bytes, whatever dies, and sentences as with threads."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from importlib.util import find_spec
from pathlib import Path

import pytest
from PIL import Image

from abaw_jax.store.writer import prepare
from tests.support.tiny_release import contents, write_release

ROOT = Path(__file__).parents[2]
SIZE = 32

needs_ray = pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed")


@pytest.fixture(scope="module")
def release(tmp_path_factory):
    """The tiny release and, in it, eight subjects whose crops take a while to read."""
    folder = write_release(tmp_path_factory.mktemp("slow") / "release")
    large = folder / "large.jpg"
    Image.radial_gradient("L").resize((1600, 1600)).convert("RGB").save(large)
    for name in "abcdefgh":
        (folder / "cropped_aligned" / name).mkdir()
        for frame in range(1, 41):
            os.link(large, folder / "cropped_aligned" / name / f"{frame:05d}.jpg")
    large.unlink()
    return folder


@pytest.fixture(scope="module")
def whole(release, tmp_path_factory):
    """Every file of the store that threads write."""
    store = tmp_path_factory.mktemp("whole") / "store"
    prepare(release, store, image_size=SIZE)
    return contents(store)


@pytest.fixture(scope="module")
def environment():
    """Of Ray: a secret and a folder of its own; sockets allow no long path."""
    folder = tempfile.mkdtemp(prefix="ray", dir="/tmp")
    own = {"RAY_TMPDIR": folder, "RAY_AUTH_MODE": "token"}
    yield os.environ | own | {"RAY_AUTH_TOKEN": uuid.uuid4().hex}
    shutil.rmtree(folder, ignore_errors=True)


def start(release, store, environment, *flags):
    program = [sys.executable, "-m", "abaw_jax.prepare", f"--release={release}"]
    program += [f"--store={store}", f"--image_size={SIZE}", "--engine=ray", *flags]
    return subprocess.Popen(
        program, cwd=ROOT, env=environment, stdout=-1, stderr=-1, text=True
    )


def packed(store):
    return len([*store.glob("subjects/*/record.json")])


def wait_for(fact, seconds=40):
    ends = time.monotonic() + seconds
    while not fact():
        assert time.monotonic() < ends
        time.sleep(0.02)


def workers_below(process):
    """Processes of Ray that run a task, started below this one."""
    parents, busy = {}, []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, ValueError):
            stat = (folder / "stat").read_text().rpartition(")")[2].split()
            parents[int(folder.name)] = int(stat[1])
            line = (folder / "cmdline").read_bytes()
            if line.startswith(b"ray::") and not line.startswith(b"ray::IDLE"):
                busy.append(int(folder.name))

    def is_below(pid):
        while pid not in (0, process.pid):
            pid = parents.get(pid, 0)
        return pid == process.pid

    return [pid for pid in busy if is_below(pid)]


@needs_ray
@pytest.mark.slow
def test_a_killed_worker_and_a_killed_node_lose_nothing(
    release, whole, tmp_path, environment
):
    store = tmp_path / "store"
    program = [sys.executable, "-m", "tests.support.ray_cluster"]
    cluster = subprocess.Popen(
        program, cwd=ROOT, env=environment, stdin=-1, stdout=-1, text=True
    )
    try:
        address = cluster.stdout.readline().strip()
        run = start(release, store, environment, f"--ray_address={address}")
        wait_for(lambda: packed(store) >= 1)
        os.kill(workers_below(cluster)[0], signal.SIGKILL)
        wait_for(lambda: packed(store) >= 3)
        cluster.stdin.write("\n")
        cluster.stdin.flush()
        assert cluster.stdout.readline() == "killed\n"
        assert packed(store) < 12  # there was something left to do
        said, errors = run.communicate(timeout=60)
        assert run.returncode == 0, errors
        assert contents(store) == whole | {
            "report.html": (store / "report.html").read_bytes()
        }
        assert not [*store.rglob("*.partial")]
        assert said.count("has left the Ray cluster") == 1 and not errors
    finally:
        cluster.communicate("\n", timeout=20)


@needs_ray
@pytest.mark.slow
def test_a_signal_ends_it_and_the_same_command_goes_on(
    release, whole, tmp_path, environment
):
    store = tmp_path / "store"
    run = start(release, store, environment, "--workers=2")
    wait_for(lambda: packed(store) >= 1)
    run.send_signal(signal.SIGTERM)
    said, errors = run.communicate(timeout=30)
    assert run.returncode == 143
    assert (
        errors
        == "abaw_jax.prepare: stopped by SIGTERM; what is finished is kept; the same command goes on.\n"
    )
    kept = {p: p.stat().st_ino for p in store.rglob("record.json")}
    assert kept and not (store / ".writer.json").exists()
    run = start(release, store, environment, "--workers=2")
    said, errors = run.communicate(timeout=60)
    assert run.returncode == 0 and not errors
    assert all(p.stat().st_ino == inode for p, inode in kept.items())
    assert contents(store) == whole | {
        "report.html": (store / "report.html").read_bytes()
    }
