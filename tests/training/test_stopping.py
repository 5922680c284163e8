"""Signals: what ends at once, what is saved first, and that all processes agree."""

import gc
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import jax
import pytest

from abaw_jax.store import writer
from abaw_jax.training.loop import fit
from abaw_jax.training.stopping import Stopped, deferred, requested, watch_signals
from tests.support import tiny, tiny_release
from tests.training.test_loop import assert_same, ignore
from tests.training.test_processes import assert_equal, spread

CODES = {"SIGTERM": 143, "SIGINT": 130, "SIGUSR1": 128 + signal.SIGUSR1}


@pytest.mark.parametrize("name", CODES)
def test_a_signal_stops_what_can_be_repeated_at_once(name):
    number = getattr(signal, name)
    former = signal.getsignal(number)
    with pytest.raises(Stopped, match=f"stopped by {name};.* goes on") as stop:
        with watch_signals():
            signal.raise_signal(number)
            pytest.fail("went on")
    assert stop.value.exit_code == CODES[name]
    assert signal.getsignal(number) is former
    assert requested() == 0


def test_a_deferred_block_ends_first(capsys):
    done = []
    with pytest.raises(Stopped), watch_signals(), deferred():
        with deferred():
            signal.raise_signal(signal.SIGTERM)
        assert requested() == signal.SIGTERM
        done.append(True)
    assert done
    assert "saving after this round" in capsys.readouterr().err


def test_an_error_of_a_deferred_block_is_not_replaced():
    with pytest.raises(ValueError, match="the reason"), watch_signals(), deferred():
        signal.raise_signal(signal.SIGTERM)
        raise ValueError("the reason")


def test_a_compiler_that_ends_by_the_same_signal_is_a_stop():
    """As on a GPU, when ``timeout`` or a cluster signals the whole process group."""
    killed = "INTERNAL: ptxas exited with non-zero error code 15"
    with pytest.raises(Stopped, match="SIGTERM"), watch_signals(), deferred():
        signal.raise_signal(signal.SIGTERM)
        raise jax.errors.JaxRuntimeError(killed)
    with pytest.raises(jax.errors.JaxRuntimeError), watch_signals(), deferred():
        raise jax.errors.JaxRuntimeError(killed)


class Finalized:
    def __del__(self):
        signal.raise_signal(signal.SIGTERM)


def collect_garbage():
    """Sends the signal from a callback of the collector, as JAX has one."""

    def send(phase, info):
        gc.callbacks.remove(send)
        signal.raise_signal(signal.SIGTERM)

    gc.callbacks.append(send)
    gc.collect()


@pytest.mark.parametrize("ignored_in", [Finalized, collect_garbage])
def test_a_stop_that_python_ignores_is_raised_again(ignored_in, capsys):
    with pytest.raises(Stopped), watch_signals():
        ignored_in()
        for _ in range(500):
            time.sleep(0.01)
        pytest.fail("went on")
    assert "Traceback" not in capsys.readouterr().err


def test_what_else_python_ignores_is_shown_as_before(monkeypatch):
    shown = []
    monkeypatch.setattr(sys, "unraisablehook", shown.append)
    with watch_signals():
        sys.unraisablehook(SimpleNamespace(exc_value=ValueError()))
    assert len(shown) == 1


def test_in_another_thread_nothing_is_installed():
    former = signal.getsignal(signal.SIGTERM)
    found = []

    def work():
        with watch_signals():
            found.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [former]


SLOW = """
import time
from abaw_jax.training.stopping import deferred, watch_signals
with watch_signals(), deferred():
    print("ready", flush=True)
    time.sleep(60)
"""


def test_a_second_signal_ends_at_once():
    process = subprocess.Popen(
        [sys.executable, "-c", SLOW],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None and process.stderr is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGTERM)
    assert "a second signal ends at once" in process.stderr.readline()
    began = time.monotonic()
    process.send_signal(signal.SIGINT)
    assert process.wait(10) == 130
    assert time.monotonic() - began < 5
    process.communicate()


STOPPED = """
import signal
from abaw_jax import main
from abaw_jax.experiment import sequence
sequence.run = lambda *_: signal.raise_signal(signal.SIGUSR1)
main.run()
"""


def test_the_command_says_how_to_go_on():
    process = subprocess.run(
        [sys.executable, "-c", STOPPED, "--config=configs/quickstart.py"],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
        check=False,
    )
    assert process.returncode == CODES["SIGUSR1"]
    assert process.stderr == (
        "abaw_jax: stopped by SIGUSR1; what is finished is kept; the same command goes "
        "on.\n"
    )


def test_preparation_stops_and_goes_on(tmp_path):
    tiny_release.write_release(tmp_path / "release")

    sent = []

    def stop(done, total):
        if not sent:  # from a thread; a second one would end the tests
            sent.append(os.kill(os.getpid(), signal.SIGTERM))

    def prepare(store, **options):
        writer.prepare(
            tmp_path / "release", store, image_size=tiny_release.SIZE, **options
        )

    with pytest.raises(Stopped), watch_signals():
        prepare(tmp_path / "store", progress=stop)
    assert not [*(tmp_path / "store").rglob("*.partial")]
    prepare(tmp_path / "store")
    prepare(tmp_path / "fresh")
    assert tiny_release.contents(tmp_path / "store") == tiny_release.contents(
        tmp_path / "fresh"
    )


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    directory = tmp_path_factory.mktemp("finished")
    fit(tiny.make_state(), tiny.make_job(), directory, ignore)
    return directory


def signal_at(place):
    """A callback that is terminated where the run is at (epoch, chunk)."""

    def watch(position, ended):
        if (position.epoch, position.chunk) == place:
            signal.raise_signal(signal.SIGTERM)

    return watch


@pytest.mark.slow
@pytest.mark.parametrize(
    ("place", "saved"),
    [
        ((0, 1), "round 2 of epoch 1"),
        ((1, 2), "epoch 2"),  # its last chunk: scored and saved with its scores
        ((2, 0), "epoch 2"),
        ((4, 0), "what is finished"),  # the end of the run
    ],
)
def test_training_saves_and_goes_on_to_the_same_bits(finished, tmp_path, place, saved):
    assert tiny.make_schedule().chunks_per_epoch == 2
    with pytest.raises(Stopped, match=saved), watch_signals():
        fit(tiny.make_state(), tiny.make_job(), tmp_path, signal_at(place))
    rounds = 2 * (2 * place[0] + place[1])
    assert (tmp_path / "checkpoints" / str(rounds) / "optimizer").is_dir()
    assert not [*tmp_path.rglob("*tmp*"), *tmp_path.rglob("*.partial")]
    fit(tiny.make_state(), tiny.make_job(), tmp_path, ignore)
    assert_same(finished, tmp_path)


@pytest.mark.slow
def test_what_a_kill_left_half_written_is_removed(finished, tmp_path):
    left = [
        tmp_path / "checkpoints" / "4.orbax-checkpoint-tmp",
        tmp_path / "networks" / "0.orbax-checkpoint-tmp-17",
    ]
    for folder in left:
        (folder / "model").mkdir(parents=True)
    fit(tiny.make_state(), tiny.make_job(), tmp_path, ignore)
    assert not any(folder.exists() for folder in left)
    assert_same(finished, tmp_path)


@pytest.mark.slow
def test_of_two_processes_a_signal_to_one_stops_both_at_one_round(tmp_path):
    # One device each: with two, JAX's own collectives wait for ever on a busy machine.
    stopped = tmp_path / "stopped"
    spread(stopped, 1, count=2, chunks=["terminated", 2], codes=(143, 143))
    saved = {path.name for path in (stopped / "checkpoints").iterdir()}
    assert saved == {"2", "4"}  # two chunks of two rounds
    spread(stopped, 1, count=2)
    undisturbed = spread(tmp_path / "undisturbed", 1, count=2)
    assert_equal(undisturbed, stopped, tolerance=0)
