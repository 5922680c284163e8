"""One run on many devices, in several processes, and on others than it began with."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from abaw_jax.training import processes
from abaw_jax.training.metrics_log import read_metrics
from abaw_jax.training.networks import load_fitted
from abaw_jax.training.state import take_member
from tests.support import tiny

pytestmark = pytest.mark.slow


def spread(folder, devices, *, count=1, chunks=(), codes=(0, 0)):
    """Runs `spread_run` in ``count`` processes and waits for all."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    places = [f"localhost:{port},{k}/{count}" for k in range(count)]
    each = [
        subprocess.Popen(
            [
                *(
                    sys.executable,
                    Path(__file__).parents[1] / "support" / "spread_run.py",
                    folder,
                ),
                *(str(devices), "alone" if count == 1 else place),
                *map(str, chunks),
            ],
            env=environment(k, count),
            stderr=subprocess.PIPE,
            text=True,
        )
        for k, place in enumerate(places)
    ]
    for process, code in zip(each, codes, strict=False):
        _, message = process.communicate(timeout=240)
        assert process.returncode == code, message
    return folder


def environment(index, count):
    """Gives concurrent processes separate caches, and crashes a stack trace.

    One in a full suite died of a segmentation fault (-11). JAX writes the entries of a
    cache in place, so that another process may read one half written.
    """
    compiled = Path(os.environ["JAX_COMPILATION_CACHE_DIR"]) / f"{index}of{count}"
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(sys.path),
        "PYTHONFAULTHANDLER": "1",
        "JAX_COMPILATION_CACHE_DIR": str(compiled),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "1",
    }


@pytest.fixture(scope="module")
def on_one_device(tmp_path_factory):
    return spread(tmp_path_factory.mktemp("one"), 1)


def assert_equal(one, other, tolerance=1e-5):
    """Losses of every chunk and the parameters at the end."""
    first, second = (read_metrics(folder / "metrics.jsonl") for folder in (one, other))
    assert len(first) == len(second) >= 10
    for a, b in zip(first, second, strict=True):
        assert a.keys() == b.keys()
        np.testing.assert_allclose(
            [*a.values()], [*b.values()], rtol=tolerance, atol=tolerance
        )
    like = jax.eval_shape(lambda: take_member(tiny.make_variables(), 0))
    networks = [
        jax.tree.leaves(load_fitted(folder, like, 1, tiny.SHARDINGS))
        for folder in (one, other)
    ]
    for a, b in zip(*networks, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=tolerance)


def test_eight_devices_train_what_one_does(on_one_device, tmp_path):
    assert_equal(on_one_device, spread(tmp_path, 8))


def test_two_processes_of_two_devices_train_what_one_does(on_one_device, tmp_path):
    assert_equal(on_one_device, spread(tmp_path, 2, count=2))


def test_a_run_goes_on_with_other_devices_and_processes(on_one_device, tmp_path):
    # Each as in a test above, so that nothing compiles again.
    spread(tmp_path, 8, chunks=["left", 4])
    spread(tmp_path, 2, count=2, chunks=["left", 3])
    assert len(read_metrics(tmp_path / "metrics.jsonl")) < 10
    assert_equal(on_one_device, spread(tmp_path, 1))


@pytest.mark.parametrize(
    "whom", ["localhost", "localhost:1,2", "localhost:1,2/2", "here,0/1", "auto"]
)
def test_a_place_that_cannot_be_understood_is_reported(whom, monkeypatch):
    monkeypatch.setattr(jax.distributed, "initialize", no_cluster)
    with pytest.raises(ValueError, match=f"--join={whom}"):
        processes.join(whom)


def no_cluster():
    """What JAX does where it finds none; a test has long used its devices."""
    raise ValueError("coordinator_address should be defined.")
