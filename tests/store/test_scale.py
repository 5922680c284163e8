"""The size of Aff-Wild2, and that time and memory do not follow it where they must not.

Memory is the peak of a process of its own. Not ru_maxrss: a child inherits the peak of
the process that started it.
"""

import os
import pathlib
import shutil
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image

from abaw_jax.pipeline.batches import Schedule, training_chunks
from abaw_jax.pipeline.items import feature_items
from abaw_jax.pipeline.windows import Windows, training_samples
from abaw_jax.store.reader import open_store
from tests.support.large_store import FRAMES, LABELLED, write_large_store
from tests.support.tiny_release import VA, write_lines, write_video

ROOT = pathlib.Path(__file__).parents[2]
PEAK = """
import re
from pathlib import Path
peak = re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())
print(int(peak[1]) / 1024)
"""


def run(program, *arguments):
    """The numbers that a program prints, and the megabytes that it took."""
    result = subprocess.run(
        [sys.executable, "-c", program + PEAK, *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert result.returncode == 0, result.stderr
    return [float(number) for number in result.stdout.split()]


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """A store of 2.66 million frames; its 230 MB go when the module is done."""
    path = write_large_store(tmp_path_factory.mktemp("large"))
    yield path
    shutil.rmtree(path)


OPEN = """
import sys, time
import numpy as np
from abaw_jax.pipeline.items import feature_items
from abaw_jax.pipeline.batches import (plan, training_chunks)
from abaw_jax.store.reader import open_store
from abaw_jax.pipeline.windows import (Windows, training_samples)
from abaw_jax.tasks import (SETS, SPLITS)

def name_a_million_times():
    start = time.process_time()
    names = {}
    for number in range(1_000_000):
        names[str(number % 1000)] = number
    return time.process_time() - start

naming = name_a_million_times()
start = time.process_time()
store = open_store(sys.argv[1])
labelled = sum(len(store.labels(name, split)) for name in SETS for split in SPLITS)
samples = {
    name: training_samples(store, store.labels(name, "train"), Windows())
    for name in SETS
}
sizes = {name: len(each) for name, each in samples.items()}
schedule = plan(sizes, batch_size=256, rounds_per_chunk=50)
fill = feature_items(np.arange(store.num_images, dtype=np.int32))
chunk = next(iter(training_chunks(samples, fill, schedule, epochs=1)))
seconds = time.process_time() - start
print(2 * seconds / (naming + name_a_million_times()))
print(store.num_images, labelled, sum(sizes.values()), chunk["va"]["image_rows"].size)
"""


@pytest.mark.slow
def test_the_real_size_opens_at_once(large):
    """2.66 million frames of 564 subjects, up to the first chunk of indices."""
    times, frames, labelled, samples, indices, megabytes = run(OPEN, large)
    assert frames == FRAMES and labelled == sum(map(sum, LABELLED.values()))
    trained_on = sum(train for train, _ in LABELLED.values())
    assert 0.8 * trained_on < samples < trained_on and indices > 50 * 250 * 6
    assert megabytes < 600
    # In units of a million updates of a dictionary, 0.12 s on an idle core, so that the
    # bound is 2 s there: an absolute time failed on a machine that others used. Sorting
    # as the unit failed on a processor with AVX-512, which sorts four times as fast.
    assert times < 16 or any(run(OPEN, large)[0] < 16 for _ in range(2))


def test_images_are_found_among_millions(large):
    store = open_store(large)
    wanted = np.random.default_rng(0).integers(0, store.num_images, 600_000)
    firsts = np.array([subject.first_row for subject in store.subjects])
    subject = np.searchsorted(firsts, wanted, side="right") - 1
    numbers = np.concatenate([store.numbers(i) for i in range(len(firsts))])
    start = time.process_time()
    rows = store.row_of(subject, numbers[wanted])
    assert time.process_time() - start < 2
    np.testing.assert_array_equal(rows, wanted)


def test_a_batch_costs_the_same_from_an_index_a_hundred_times_larger(large, tmp_path):
    """The batches are small, so that anything done to all of an index shows.

    The precise ratio is a matter for tests.benchmarks.input.
    """
    schedule = Schedule({"va": 4}, rounds_per_chunk=5, chunks_per_epoch=99)
    sides = []
    for path in (large, write_large_store(tmp_path, divisor=100)):
        store = open_store(path)
        labels = store.labels("va", "train")
        samples = {"va": training_samples(store, labels, Windows())}
        fill = feature_items(np.arange(store.num_images, dtype=np.int32))
        chunks = training_chunks(samples, fill, schedule, epochs=1, threads=0)
        sides.append(iter(chunks))
    seconds = [[], []]
    for _ in range(50):
        for side, times in zip(sides, seconds, strict=True):
            start = time.process_time()
            next(side)
            times.append(time.process_time() - start)
    assert min(seconds[0]) < 1.5 * min(seconds[1])


PREPARE = """
import sys
from abaw_jax.store.writer import prepare
report = prepare(*sys.argv[1:], image_size=64, workers=2)
assert not report.anomalies
print(report.subjects)
"""


@pytest.mark.slow
def test_packing_ten_times_the_subjects_takes_no_more_memory(tmp_path):
    """Half a megabyte of crops each, and as much sound."""
    video = tmp_path / "video.avi"
    write_video(video, frames=60, fps=5, rate=22_050, channels=1)
    crops = tmp_path / "crops"
    crops.mkdir()
    rng = np.random.default_rng(0)
    for number in range(1, 41):
        picture = Image.fromarray(rng.integers(0, 256, (64, 64, 3), np.uint8))
        picture.save(crops / f"{number:05d}.jpg")
    peaks = []
    for count in (10, 100):
        release = tmp_path / f"release{count}"
        for index in range(count):
            name = f"s{index:03d}"
            shutil.copytree(
                crops, release / "cropped_aligned" / name, copy_function=os.link
            )
            (release / "batch1").mkdir(exist_ok=True)
            os.link(video, release / f"batch1/{name}.avi")
            lines = ["valence,arousal", *["0.5,0.5"] * 60]
            write_lines(release / VA / f"Train_Set/{name}.txt", lines)
        subjects, megabytes = run(PREPARE, release, tmp_path / f"store{count}")
        assert subjects == count
        peaks.append(megabytes)
    assert peaks[1] < 1.1 * peaks[0]
