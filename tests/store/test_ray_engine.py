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
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import pytest
from PIL import Image

from abaw_jax.store.frames import StoreError
from abaw_jax.store.ray_engine import open_ray
from abaw_jax.store.writer import prepare
from tests.support.tiny_release import contents, write_release

ROOT = Path(__file__).parents[2]
SIZE = 32
STOPPED = (
    "abaw_jax.prepare: stopped by SIGTERM; what is finished is kept; the same command "
    "goes on.\n"
)

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


def wait_for(run, fact, seconds=40):
    ends = time.monotonic() + seconds
    while not fact():
        if run.poll() is not None or time.monotonic() > ends:
            run.kill()
            pytest.fail(f"ended too early or too late: {run.communicate()}")
        time.sleep(0.02)


def workers_below(process):
    """Processes of Ray that run a task, started below this one."""
    parents, busy = {}, []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, ValueError):
            stat = (folder / "stat").read_text().rpartition(")")[2].split()
            parents[int(folder.name)] = int(stat[1])
            line = (folder / "cmdline").read_text().rstrip("\0 ")
            if line in {f"ray::{name}" for name in "abcdefgh"}:
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
        wait_for(run, lambda: packed(store) >= 1)
        wait_for(run, lambda: workers_below(cluster))
        os.kill(workers_below(cluster)[0], signal.SIGKILL)
        wait_for(run, lambda: packed(store) >= 3)
        cluster.stdin.write("\n")
        cluster.stdin.flush()
        assert cluster.stdout.readline() == "killed\n"
        assert packed(store) < 10  # there was something left to do
        said, errors = run.communicate(timeout=60)
        assert run.returncode == 0, errors
        (store / "report.html").unlink()
        assert contents(store) == whole
        assert not [*store.rglob("*.partial")]
        assert said.count("pieces were begun again, since the process") == 1, said
    finally:
        cluster.communicate("\n", timeout=20)


@needs_ray
@pytest.mark.slow
def test_a_signal_ends_it_and_the_same_command_goes_on(
    release, whole, tmp_path, environment
):
    store = tmp_path / "store"
    run = start(release, store, environment, "--workers=2")
    wait_for(run, lambda: packed(store) >= 1)
    run.send_signal(signal.SIGTERM)
    _, errors = run.communicate(timeout=30)
    assert (run.returncode, errors) == (143, STOPPED)
    kept = {p: p.stat().st_ino for p in store.rglob("record.json")}
    assert kept and not (store / ".writer.json").exists()
    prepare(release, store, image_size=SIZE)
    assert all(p.stat().st_ino == inode for p, inode in kept.items())
    assert contents(store) == whole
    assert not [*store.rglob("*.partial")]


@needs_ray
@pytest.mark.slow
def test_an_error_is_the_sentence_of_threads(release, tmp_path, environment):
    said = {}
    for engine in ("threads", "ray"):
        store = tmp_path / engine
        (store / "subjects").mkdir(parents=True)
        (store / "subjects/h").touch()  # where a folder is to be
        flags = [f"--engine={engine}", "--workers=2"]
        _, errors = start(release, store, environment, *flags).communicate(timeout=60)
        said[engine] = errors.replace(str(store), "STORE")
    assert said["ray"] == said["threads"] and len(said["ray"].splitlines()) == 1
    assert "stopped at STORE/subjects/h" in said["ray"]


def test_where_there_is_no_cluster_one_sentence_says_so(release, tmp_path):
    if find_spec("ray"):
        with pytest.raises(StoreError, match=r"no Ray cluster at 127.0.0.1:1 \("):
            engine = partial(open_ray, "127.0.0.1:1", None, print)
            prepare(release, tmp_path / "store", open_engine=engine)
    hidden = {**os.environ, "PYTHONPATH": str(tmp_path)}
    (tmp_path / "ray.py").write_text("raise ImportError")
    _, errors = start(release, tmp_path / "store", hidden).communicate(timeout=60)
    needs = "--engine=ray needs Ray: pip install 'abaw_jax[ray]'.\n"
    assert errors == f"abaw_jax.prepare: {needs}"
    assert not (tmp_path / "store").exists()
