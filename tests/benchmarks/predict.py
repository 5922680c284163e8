"""Speed and memory of `abaw_jax.predict` with networks of full size.

    python -m tests.benchmarks.predict           ten minutes on two CPU cores

Random weights, the student's sizes, a video of 112 x 112 pixels at 30 frames a second
with sound, every frame one face: two minutes of it, and the same repeated to twenty.
Each row is a call of the command in a process of its own, from its start to its end.
"""

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import av
import jax
import jax.numpy as jnp
import numpy as np
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

import abaw_jax
from abaw_jax.experiment import model_factory
from abaw_jax.faces.observations import observe
from abaw_jax.inference.model import Model
from abaw_jax.inference.model_folder import write_model
from abaw_jax.inference.prediction import BATCH, SOUNDS
from abaw_jax.releases.media import read_recording
from abaw_jax.tasks import ACTION_UNITS, EXPRESSIONS
from abaw_jax.training.state import init_variables, stack_members
from configs import student
from tests.benchmarks import timing
from tests.support.photo_clips import photograph, tone, write_clip

FPS, SIDE, SAMPLES = 30, 112, 220_500
SECONDS = 10  # of the clip that is repeated
CALLS = ((2, 1), (2, 10), (20, 10))
"""Minutes of the video, and every how many frames are predicted."""


class Call(NamedTuple):
    """A call of the command.

    Attributes:
      minutes: of the video.
      every: predicts every n-th frame.
      seconds: that it took.
      processor: seconds of all cores together, less disturbed by other programs.
      memory: the most it had, in MB.
    """

    minutes: int
    every: int
    seconds: float
    processor: float
    memory: float

    @property
    def rate(self) -> float:
        """Frames of the video a second."""
        return self.minutes * 60 * FPS / self.seconds


def main() -> None:
    """Calls the command, prints times and memory, and what the parts of it take."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.predict",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_full_model(folder / "model")
        clip = make_clip(folder / "clip.mp4")
        done = []
        for minutes, every in CALLS:
            video = folder / f"{minutes}.mp4"
            if not video.exists():
                repeat(clip, video, minutes * 60 // SECONDS)
            done.append(call(folder, video, minutes, every))
        show(done, measure_parts(abaw_jax.load(folder / "model"), clip))


def write_full_model(path: Path) -> None:
    """Writes a model folder with the paper's networks, untrained."""
    config, shape = student.get_config(), jax.ShapeDtypeStruct
    size = config.image_encoder.size
    inputs = {
        "image_encoder": [shape((1, size, size, 3), jnp.float32)],
        "sound_encoder": [shape((1, SAMPLES), jnp.float32)],
        "heads": model_factory.feature_shapes(config),
    }
    networks = {
        name: init_variables(
            getattr(model_factory, name)(config), jax.random.key(k), *x
        )
        for k, (name, x) in enumerate(inputs.items())
    }
    networks["heads"] = stack_members([networks["heads"]])
    frames = {"shape": ["B", 6, SIDE, SIDE, 3], "dtype": "uint8", "size": size}
    sound = {"shape": ["B", SAMPLES], "dtype": "int16", "rate": 22_050, "pad": "zero"}
    contract = {
        **{
            "name": "random",
            "role": "student",
            "made_by": {"abaw_jax": abaw_jax.__version__},
            "data": {"name": ""},
        },
        "inputs": {
            "frames": frames | {"stride": 10.0, "unit": "frames"},
            "waveform": sound | {"seconds": 10.0},
        },
        "outputs": {
            "expressions": list(EXPRESSIONS),
            "action_units": list(ACTION_UNITS),
        },
        **{"scores": {}, "intervals": {}, "config": config.to_dict()},
    }
    write_model(path, contract, networks)


def make_clip(path: Path) -> Path:
    """Ten seconds of a photograph that moves, with a rising tone."""
    face = photograph(SIDE / 200)[80:][:SIDE, 40:][:, :SIDE]
    pictures = [np.roll(face, k % 9, axis=1) for k in range(SECONDS * FPS)]
    sound = np.concatenate([tone(0.99, 200 + 50 * k) for k in range(SECONDS)])
    return write_clip(path, pictures, fps=FPS, sound=sound)


def repeat(clip: Path, video: Path, times: int) -> None:
    """Writes a clip again and again, as it is encoded."""
    turns = video.with_suffix(".txt")
    turns.write_text(f"file '{clip}'\n" * times)
    with (
        av.open(str(turns), format="concat", options={"safe": "0"}) as source,
        av.open(str(video), "w") as output,
    ):
        streams = {s.index: output.add_stream_from_template(s) for s in source.streams}
        for packet in source.demux():
            if packet.dts is not None:
                packet.stream = streams[packet.stream.index]
                output.mux(packet)


def call(folder: Path, video: Path, minutes: int, every: int) -> Call:
    """Runs the command on a video."""
    arguments = [f"--model={folder / 'model'}", f"--video={video}", "--faces=whole"]
    arguments += [f"--out={folder / f'{minutes}-{every}'}", f"--every={every}"]
    command = [sys.executable, "-m", "abaw_jax.predict", *arguments]
    began = time.perf_counter()
    child, memory = os.posix_spawn(sys.executable, command, os.environ), 0.0
    while (ended := os.wait4(child, os.WNOHANG))[0] == 0:
        memory = peak_memory(child) or memory
        time.sleep(0.05)
    _, status, used = ended
    if status:
        sys.exit(f"{' '.join(command)} failed.")
    seconds = time.perf_counter() - began
    return Call(minutes, every, seconds, used.ru_utime + used.ru_stime, memory)


def peak_memory(process: int) -> float:
    """Its most resident memory so far in MB, 0 once it ends.

    What `os.wait4` reports is never less than the memory of the parent.
    """
    for line in Path(f"/proc/{process}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    return 0.0


def measure_parts(model: Model, clip: Path) -> dict[str, float]:
    """Milliseconds that a frame takes in each part."""
    rng = np.random.default_rng(0)
    crops = rng.integers(0, 256, (BATCH, SIDE, SIDE, 3), np.uint8)
    waves = rng.integers(-9000, 9000, (SOUNDS, SAMPLES), np.int16)
    images = np.asarray(model.encode_images(crops))[:, None].repeat(6, axis=1)
    sounds = np.asarray(model.encode_sound(waves)).repeat(BATCH // SOUNDS, axis=0)
    recording = read_recording(clip)

    def decode() -> None:
        for _ in observe(clip, "whole", SIDE, recording, lambda number: True):
            pass

    return {
        "image encoder": median(lambda: model.encode_images(crops), BATCH),
        "sound encoder": median(lambda: model.encode_sound(waves), SOUNDS),
        "heads": median(lambda: model.predict_features(images, sounds), BATCH),
        "decoding": median(decode, SECONDS * FPS),
    }


def median(work: Callable[[], Any], items: int) -> float:
    """Milliseconds an item, the median of nine calls."""
    times = []
    for _ in range(10):  # the first compiles
        began = time.perf_counter()
        jax.block_until_ready(work())
        times.append(time.perf_counter() - began)
    return 1e3 * statistics.median(times[1:]) / items


def show(calls: Sequence[Call], parts: Mapping[str, float]) -> None:
    """Prints the calls, and the rate that the parts allow."""
    table = Table(title="Predict", box=SIMPLE_HEAD, pad_edge=False)
    headings = ("minutes", "--every", "seconds", "of CPU", "frames/s", "x real time")
    for heading in (*headings, "MB"):
        table.add_column(heading, justify="right")
    for each in calls:
        table.add_row(
            f"{each.minutes}",
            f"{each.every}",
            f"{each.seconds:.1f}",
            f"{each.processor:.1f}",
            f"{each.rate:.1f}",
            f"{each.rate / FPS:.2f}",
            f"{each.memory:.0f}",
        )
    costs = ", ".join(f"{name} {each:.1f} ms" for name, each in parts.items())
    bound = 1e3 / sum(parts.values())
    machine = ", ".join(f"{name} {value}" for name, value in timing.machine().items())
    notes = (f"a predicted frame: {costs}; bound {bound:.0f}/s", f"machine: {machine}")
    Console(highlight=False).print(table, *notes, sep="\n")


if __name__ == "__main__":
    main()
