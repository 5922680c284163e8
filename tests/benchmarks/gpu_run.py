"""Runs the quickstart on this device, whole and stopped twice, to the same bits.

    python -m tests.benchmarks.gpu_run

A stop is SIGTERM, as a cluster sends it, while the image encoder trains and while the
student trains; the run is started again after each. The digests of all networks and
the files of features must then be equal in both runs. There are fewer people than in
the quickstart: on a GPU it is compilation that takes the time.
"""

import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from abaw_jax.report import console

# Checkpoints that show that a stage is under way.
_STOPS = ("backbone/image/checkpoints", "student/checkpoints")
# Digests of networks lie beside them; features are compared as they are.
_COMPARED = ("*/networks/*.json", "backbone/*/networks/*.json", "features/*/*.npy")
_PEOPLE = "train_subjects=30", "validation_subjects=20"
_PATIENCE = 300.0  # seconds until a checkpoint


def check_stopped_run(folder: Path) -> None:
    """Makes both runs below ``folder``.

    Raises:
      AssertionError: if a file differs, or a stop does not end a run as it should.
    """
    began = time.perf_counter()
    whole, stopped = folder / "whole", folder / "stopped"
    assert _start(whole).wait() == 0
    console.say(f"quickstart: {time.perf_counter() - began:.0f} s")
    for awaited in _STOPS:
        _stop_after(stopped / awaited, _start(stopped))
    assert _start(stopped).wait() == 0
    files = _files(whole)
    different = [name for name in files if not _same(whole / name, stopped / name)]
    assert _files(stopped) == files
    console.say(
        f"quickstart, stopped twice: {len(different)} of {len(files)} files differ"
    )
    assert not different, different[:5]


def _start(workdir: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "abaw_jax.main", "--config=configs/quickstart.py"]
    people = [f"--config.data.drawing.{each}" for each in _PEOPLE]
    return subprocess.Popen([*command, *people, f"--workdir={workdir}"])


def _stop_after(checkpoints: Path, run: subprocess.Popen[bytes]) -> None:
    """Sends SIGTERM once there is a checkpoint."""
    began = time.perf_counter()
    while not any(checkpoints.glob("[0-9]*")):
        assert run.poll() is None, f"it ended before {checkpoints} had a checkpoint"
        assert time.perf_counter() - began < _PATIENCE, checkpoints
        time.sleep(0.05)
    run.send_signal(signal.SIGTERM)
    assert run.wait() == 128 + signal.SIGTERM


def _files(run: Path) -> list[str]:
    """What is compared, relative to the run."""
    found = (path for pattern in _COMPARED for path in run.glob(pattern))
    return sorted(str(path.relative_to(run)) for path in found)


def _same(one: Path, other: Path) -> bool:
    return one.read_bytes() == other.read_bytes()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        check_stopped_run(Path(temporary))
