"""One writer a folder: who is refused, whose lock is taken over, and who notices."""

import json
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from abaw_jax.store import sole_writer as module
from abaw_jax.store.sole_writer import LEASE_SECONDS, LOCK, InUseError, sole_writer

HOLD = """
import sys, time
from pathlib import Path
from abaw_jax.store.sole_writer import sole_writer
with sole_writer(Path(sys.argv[1])):
    print("locked", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path):
    """Another process that holds the lock of ``tmp_path``."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, tmp_path], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "locked\n"
    yield process
    process.kill()
    process.communicate()


def pretend(path, **changes):
    """Changes what a lock says."""
    owner = json.loads((path / LOCK).read_text())
    (path / LOCK).write_text(json.dumps(owner | changes))


def test_the_lock_is_there_while_the_block_runs(tmp_path):
    folder = tmp_path / "new" / "folder"
    with sole_writer(folder):
        owner = json.loads((folder / LOCK).read_text())
        assert owner["pid"] == os.getpid()
    assert not [*tmp_path.iterdir()]
    with sole_writer(folder):
        (folder / "result").touch()
    assert [path.name for path in folder.iterdir()] == ["result"]


def test_a_second_process_is_told_who_writes(holder, tmp_path):
    host = os.uname().nodename
    who = rf"in use by process {holder.pid} on {host}, since 20.* UTC: wait"
    with pytest.raises(InUseError, match=who), sole_writer(tmp_path):
        pytest.fail("two write")
    assert [path.name for path in tmp_path.iterdir()] == [LOCK]


def test_the_lock_of_a_killed_process_is_taken_over_at_once(holder, tmp_path):
    holder.send_signal(signal.SIGKILL)  # not waited for: it stays as a zombie
    while module._started(holder.pid):
        time.sleep(0.01)
    with sole_writer(tmp_path):
        assert json.loads((tmp_path / LOCK).read_text())["pid"] == os.getpid()
    assert not [*tmp_path.iterdir()]


def test_a_later_process_of_the_same_number_is_another(holder, tmp_path):
    pretend(tmp_path, started="1")
    with sole_writer(tmp_path):
        pass


@pytest.mark.parametrize(
    ("age", "held"),
    [(0, True), (LEASE_SECONDS / 2, True), (2 * LEASE_SECONDS, False), (-9e5, False)],
)
def test_on_another_host_the_lease_decides(holder, tmp_path, age, held):
    pretend(tmp_path, machine="another", host="far", pid=1)
    then = time.time() - age
    os.utime(tmp_path / LOCK, (then, then))
    if held:
        with pytest.raises(InUseError, match="process 1 on far"):
            sole_writer(tmp_path).__enter__()
    else:
        with sole_writer(tmp_path):
            pass


def test_a_lock_that_is_just_being_written_is_respected(tmp_path):
    (tmp_path / LOCK).touch()
    with pytest.raises(InUseError, match="in use by another process"):
        sole_writer(tmp_path).__enter__()
    os.utime(tmp_path / LOCK, (0, 0))  # its process died before it wrote
    with sole_writer(tmp_path):
        pass


def test_the_lease_is_renewed(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "RENEWAL_SECONDS", 0.02)
    with sole_writer(tmp_path):
        os.utime(tmp_path / LOCK, (0, 0))
        deadline = time.monotonic() + 10
        while (tmp_path / LOCK).stat().st_mtime == 0:
            assert time.monotonic() < deadline
            time.sleep(0.01)


def test_a_writer_whose_lock_was_taken_over_notices(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "RENEWAL_SECONDS", 0.02)
    lost = threading.Event()
    with sole_writer(tmp_path, on_lost=lambda folder: lost.set()):
        pretend(tmp_path, token="another")
        assert lost.wait(10)
    assert (tmp_path / LOCK).exists()  # the other's stays


def test_of_many_that_take_a_stale_lock_over_one_writes(tmp_path):
    (tmp_path / LOCK).touch()
    os.utime(tmp_path / LOCK, (0, 0))
    inside, most, refused = [], [], []

    def work():
        try:
            with sole_writer(tmp_path):
                inside.append(None)
                most.append(len(inside))
                time.sleep(0.2)
                inside.pop()
        except InUseError:
            refused.append(None)

    threads = [threading.Thread(target=work) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert max(most) == 1 and len(refused) == 15
