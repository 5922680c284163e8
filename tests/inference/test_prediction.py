"""Rows of a video: windows, sound and times; frames without a face are rows too."""

import csv
import weakref
from dataclasses import replace

import numpy as np
import pytest

from abaw_jax.faces.boxes import Observation
from abaw_jax.inference import prediction
from abaw_jax.inference.model import Predictions
from abaw_jax.inference.prediction import needed_frames, predict
from abaw_jax.inference.prediction_table import COLUMNS, write_table
from abaw_jax.releases.frame_times import FrameTimes
from abaw_jax.releases.media import Recording
from abaw_jax.releases.sound_file import SoundFile
from configs import base

RATE, LENGTH = 10, 20


def track(samples):
    found = SoundFile()
    found.append(np.int16(samples))
    return found


RECORDING = Recording(FrameTimes(5.0), 60, track(np.arange(1000)), ())


class Echo:
    """Predicts what it was given: numbers of the images, and the last sound sample.

    A crop's first pixel is its frame number; valence is the first image of the window,
    arousal the last, the first unit the last sample of the window of sound.
    """

    def __init__(self, *, reads=("frames", "waveform"), **windows):
        self.config = base.get_config()
        self.config.windows.images, self.config.windows.stride = 3, 2.0
        self.config.windows.update(windows)
        waveform = {"rate": RATE, "shape": ["B", LENGTH], "pad": "zero"}
        inputs = {"frames": {"shape": ["B", 3, 1, 1, 3]}, "waveform": waveform}
        self.contract = {"inputs": {name: inputs[name] for name in reads}}
        self.num_networks = 1
        self.shapes = set()

    def reads(self, name):
        return name in self.contract["inputs"]

    def encode_images(self, crops):
        self.shapes.add(("image", crops.shape))
        return np.float32(crops[:, 0, 0, :1])

    def encode_sound(self, windows):
        self.shapes.add(("sound", windows.shape))
        return np.float32(windows[:, -1:])

    def predict_features(self, images, sound):
        rows = images if images is not None else sound[:, None]
        units = np.zeros((len(rows), 12), np.float32)
        if sound is not None:
            units[:, 0] = sound[:, 0]
        expressions = np.tile(np.float32(np.arange(8) / 28), (len(rows), 1))
        return Predictions(rows[:, [0, -1], 0], expressions, units)


def faces(*numbers, person=0):
    return [
        Observation(n, (n - 1) / 5, person, None, 0.5, np.full((1, 1, 3), n, np.uint8))
        for n in numbers
    ]


def run(model, observations, **options):
    return list(predict(model, observations, RECORDING, **options))


def test_a_window_has_the_images_before_the_frame_or_the_nearest():
    rows = run(Echo(), faces(1, 2, 3, 4, 5, 6, 9, 12))
    assert [row["frame"] for row in rows] == [1, 2, 3, 4, 5, 6, 9, 12]
    #                  frame - 4, nearest; of two the earlier
    assert [row["valence"] for row in rows] == [1, 1, 1, 1, 1, 2, 5, 9]
    assert [row["arousal"] for row in rows] == [row["frame"] for row in rows]


def test_missing_images_are_zero_where_they_were_in_training():
    rows = run(Echo(missing="zero"), faces(1, 2, 3, 4, 5, 6, 9))
    assert [row["valence"] for row in rows] == [0, 0, 0, 0, 1, 2, 5]


def test_sound_ends_at_the_time_of_the_frame():
    rows = run(Echo(), faces(1, 2, 3, 11))
    # Two samples a frame; before the video there is silence.
    assert [row["AU01"] for row in rows] == [0, 1, 3, 19]


def test_images_share_the_sound_of_the_first_as_in_training():
    model = Echo()
    model.config.features.sound_every = 3
    rows = run(model, faces(1, 2, 3, 4, 5))
    assert [row["AU01"] for row in rows] == [0, 0, 0, 5, 5]


def test_times_of_frames_count_not_their_numbers():
    late = faces(2)[0]._replace(time=3.0)
    assert run(Echo(), [late])[0]["AU01"] == 29


def test_strides_in_seconds_follow_the_times_of_a_variable_rate():
    """Frames 1 to 5 are a second apart, the later ones a tenth."""
    times = np.concatenate([np.arange(5.0), 4 + np.arange(1, 26) / 10])
    recording = replace(RECORDING, frame_times=FrameTimes(5.0, times))
    seen = [
        each._replace(time=float(times[each.frame - 1]))
        for each in faces(*range(1, 31))
    ]
    model = Echo(unit="seconds", stride=1.0)
    rows = list(predict(model, seen, recording))
    assert [row["valence"] for row in rows[:6]] == [1, 1, 1, 2, 3, 3]
    assert rows[-1]["valence"] == 10  # two seconds before the last
    assert rows[-1]["AU01"] == round(times[-1] * RATE) - 1
    wanted = needed_frames(model, recording, 29)
    assert [n for n in range(1, 31) if wanted(n)] == [1, 10, 20, 30]


def test_two_people_have_windows_of_their_own():
    pairs = zip(faces(1, 2, 3, 4, 5), faces(*range(101, 106), person=7), strict=True)
    both = [
        each for one, other in pairs for each in (one, other._replace(frame=one.frame))
    ]
    rows = run(Echo(), both)
    assert [row["face"] for row in rows] == [0, 7] * 5
    assert rows[-1]["valence"] == 101 and rows[-2]["valence"] == 1


def test_faces_that_are_gone_are_forgotten_and_change_nothing(monkeypatch):
    """A thousand people, each in one frame; the first comes back at the end."""
    kept, alive = [], weakref.WeakSet()
    batches, begin = prediction._batches, prediction._Face.__init__

    def begun(face, *given, **options):
        alive.add(face)
        begin(face, *given, **options)

    def watched(*given):
        for batch in batches(*given):
            kept.append(len(alive))
            yield batch

    monkeypatch.setattr(prediction, "_batches", watched)
    monkeypatch.setattr(prediction._Face, "__init__", begun)
    crowd = [faces(n % 200 + 1, person=n)[0]._replace(frame=n) for n in range(1, 1000)]
    back = faces(77, person=1)[0]._replace(frame=1000)
    rows = run(Echo(), [*crowd, back])
    assert max(kept) < 50
    assert rows[-1]["valence"] == rows[-1]["arousal"] == 77


def test_a_frame_without_a_face_is_a_row_without_values():
    rows = run(Echo(), [*faces(1), Observation(2, 0.2), *faces(3)])
    assert rows[1] == dict.fromkeys(COLUMNS) | {"frame": 2, "time": 0.2}
    assert rows[2]["expression"] == "Other" and rows[2]["confidence"] == 0.5


@pytest.mark.parametrize("count", [1, 32, 33, 70])
def test_every_network_compiles_once(count):
    model = Echo()
    assert len(run(model, faces(*range(1, count + 1)))) == count
    assert model.shapes == {("image", (8, 1, 1, 3)), ("sound", (8, LENGTH))}


@pytest.mark.parametrize("every", [1, 2, 3, 5])
def test_every_nth_frame_has_the_values_it_has_among_all(every):
    model = Echo()
    everything = run(model, faces(*range(1, 60)))
    wanted = needed_frames(model, RECORDING, every)
    chosen = [each for each in faces(*range(1, 60)) if wanted(each.frame)]
    assert len(chosen) <= 60 * min(1, 3 / every) + 3
    assert run(model, chosen, every=every) == everything[::every]


@pytest.mark.parametrize("stream", ["frames", "waveform"])
def test_one_stream_is_enough(stream):
    model = Echo(reads=(stream,))
    assert len(run(model, faces(1, 2, 3))) == 3
    assert {name for name, _ in model.shapes} == {
        "image" if stream == "frames" else "sound"
    }


def test_a_table_has_a_column_for_each_name_and_empty_cells(tmp_path):
    path = tmp_path / "a.csv"
    assert write_table(path, iter(run(Echo(), [*faces(1), Observation(2, 0.2)]))) == 2
    with path.open(newline="") as file:
        first, second = csv.DictReader(file)
    assert tuple(first) == COLUMNS
    assert first["Happiness"] == "0.142857" and first["AU01"] == "0"
    assert second["time"] == "0.2" and second["valence"] == ""


def test_what_was_decoded_before_a_failure_is_in_the_table(tmp_path):
    def rows():
        yield from run(Echo(), faces(1, 2))
        raise ValueError("damaged")

    with pytest.raises(ValueError, match="damaged"):
        write_table(tmp_path / "a.csv", rows())
    assert len((tmp_path / "a.csv").read_text().splitlines()) == 3
