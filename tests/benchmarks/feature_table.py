"""Peak memory of the host while the feature table is made and put on the device.

    python -m tests.benchmarks.feature_table          in bfloat16 and in float32

133,020 images, a twentieth of Aff-Wild2, with features of both encoders (512 and 1000
values); each row is a process of its own.
"""

import subprocess
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace

import jax
import numpy as np

from abaw_jax.experiment import training_setup
from abaw_jax.report import console
from abaw_jax.training.sharding import over_all_devices
from configs import student

SUBJECTS, IMAGES = 60, 2217
WIDTHS = {"image": 512, "sound": 1000}


def write(folder: Path) -> None:
    """Writes float32 features of all subjects."""
    rng = np.random.default_rng(0)
    for stream, width in WIDTHS.items():
        (folder / stream).mkdir()
        for k in range(SUBJECTS):
            values = rng.normal(size=(IMAGES, width)).astype(np.float32)
            np.save(folder / stream / f"s{k}.npy", values)


def measure(folder: Path, dtype: str) -> None:
    """Prints the size of the table, and the peak above what the process had before."""
    config = student.get_config()
    config.dtype = dtype
    for stream in WIDTHS:
        config.features[stream] = str(folder / stream)
    store = SimpleNamespace(
        subjects=[
            SimpleNamespace(name=f"s{k}", num_images=IMAGES, fps=30)
            for k in range(SUBJECTS)
        ],
        numbers=lambda subject: np.arange(1, IMAGES + 1),
        sound_length=lambda subject: 0,
        sample_rate=1000,
    )
    run = SimpleNamespace(
        store=store,
        config=config,
        shardings=over_all_devices(),
        windows=SimpleNamespace(missing="hold"),
    )
    jax.block_until_ready(jax.device_put(np.zeros(1)))
    before = _peak()
    table = jax.block_until_ready(training_setup._features(run).table)
    size, peak = sum(each.nbytes for each in table.values()), _peak() - before
    console.say(f"{dtype}: {size / 1e6:.0f} MB, at most {peak / size:.2f} times that")


def _peak() -> int:
    """Bytes that the process had at most (Linux)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if "VmHWM" in line) * 1024


if __name__ == "__main__":
    if sys.argv[1:]:
        measure(Path(sys.argv[1]), sys.argv[2])
        sys.exit()
    with tempfile.TemporaryDirectory() as temporary:
        write(Path(temporary))
        for name in ("bfloat16", "float32"):
            module = [sys.executable, "-m", "tests.benchmarks.feature_table"]
            subprocess.run([*module, temporary, name], check=True)
