"""Windows against a brute-force search over a small store."""

import time

import numpy as np
import pytest

from abaw_jax.pipeline.windows import (
    MISSING_ROW,
    Windows,
    cut_sound,
    evaluation_samples,
    sound_ends,
    training_samples,
)
from abaw_jax.releases.frame_times import FrameTimes
from abaw_jax.releases.labels import Labels
from abaw_jax.store.reader import Subject

RATE = 100
WINDOWS = Windows(images=3, stride=4, sound_seconds=1.0)


class SmallStore:
    """Two subjects in memory, the first with holes among its images."""

    sample_rate = RATE

    def __init__(self, seconds=3.0):
        rng = np.random.default_rng(1)
        first = np.sort(rng.choice(np.arange(1, 31), 22, replace=False))
        self._numbers = [first.astype(np.int32), np.arange(1, 21, dtype=np.int32)]
        self._sounds = [
            np.arange(int(seconds * RATE), dtype=np.int16),
            np.zeros(0, np.int16),
        ]
        self.subjects = (
            Subject("a", "a", 10.0, 30, 22, 0),
            Subject("b", "b", 24.0, 20, 20, 22),
        )

    def numbers(self, subject):
        return self._numbers[subject]

    def sound(self, subject):
        return self._sounds[subject]

    def sound_length(self, subject):
        return len(self._sounds[subject])

    def frame_times(self, subject):
        return FrameTimes(self.subjects[subject].fps)

    def variable_rate(self):
        return np.zeros(0, int)

    def row_of(self, subject, frame):
        return np.vectorize(self.find, otypes=[int])(subject, frame)

    def find(self, subject, frame):
        place = np.flatnonzero(self._numbers[subject] == frame)
        return self.subjects[subject].first_row + place[0] if len(place) else -1


def all_labels():
    subject = np.repeat([0, 1], [30, 20]).astype(np.int32)
    frame = np.concatenate([np.arange(1, 31), np.arange(1, 21)]).astype(np.int32)
    rows = len(frame)
    va = np.stack([frame, subject], axis=1).astype(np.float32)
    true = np.ones(rows, bool)
    units = np.zeros((rows, 12), np.uint8)
    return Labels(
        subject, frame, va, true, frame % 8, true, units, np.ones((rows, 12), bool)
    )


def found(samples):
    """(subject, frame) pairs; `all_labels` wrote them into the labels."""
    return [(int(s), int(f)) for f, s in samples.va]


def test_training_keeps_exactly_the_complete_windows():
    store = SmallStore()
    samples = training_samples(store, all_labels(), WINDOWS)
    expected = {}
    for frame in range(1, 31):  # subject b has no sound
        rows = [store.find(0, frame - back) for back in (8, 4, 0)]
        if min(rows) >= 0 and (frame - 1) / 10 >= WINDOWS.sound_seconds:
            expected[0, frame] = rows
    assert found(samples) == list(expected)
    assert len(expected) > 3
    np.testing.assert_array_equal(samples.image_rows, list(expected.values()))


def test_training_on_images_alone_needs_no_sound():
    store = SmallStore()
    samples = training_samples(store, all_labels(), WINDOWS, with_sound=False)
    complete = [
        (subject, frame)
        for subject, last in ((0, 30), (1, 20))
        for frame in range(1, last + 1)
        if min(store.find(subject, frame - back) for back in (8, 4, 0)) >= 0
    ]
    assert found(samples) == complete


def test_training_leaves_out_frames_after_the_sound_broke_off():
    kept = found(training_samples(SmallStore(2.0), all_labels(), WINDOWS))
    # Half a second of slack: frame 26 starts at 2.5 s.
    assert max(frame for _, frame in kept) <= 26


def test_evaluation_scores_every_frame_with_an_image():
    store = SmallStore()
    samples = evaluation_samples(store, all_labels(), WINDOWS)
    expected = [(0, int(n)) for n in store.numbers(0)] + [(1, n) for n in range(1, 21)]
    assert found(samples) == expected


def test_evaluation_holds_the_nearest_image():
    store = SmallStore()
    samples = evaluation_samples(store, all_labels(), WINDOWS)
    for (subject, frame), rows in zip(found(samples), samples.image_rows, strict=True):
        numbers = store.numbers(subject)
        for back, row in zip((8, 4, 0), rows, strict=True):
            distance = np.abs(numbers - (frame - back))
            place = row - store.subjects[subject].first_row
            assert distance[place] == distance.min()
            # Of two equally near images the earlier one is held.
            assert place == np.flatnonzero(distance == distance.min())[0]


class ManySubjects(SmallStore):
    """Subjects with every second image of their video."""

    def __init__(self, count, images):
        self.subjects = tuple(
            Subject(str(k), str(k), 30.0, 2 * images, images, k * images)
            for k in range(count)
        )
        self._numbers = [np.arange(1, 2 * images, 2, dtype=np.int32)] * count

    def row_of(self, subject, frame):
        images = len(self._numbers[0])
        there = (frame >= 1) & (frame < 2 * images) & (frame % 2 == 1)
        return np.where(there, subject * images + frame // 2, MISSING_ROW)


def seconds_to_hold(count, images):
    store = ManySubjects(count, images)
    rows = count * images
    labels = Labels(
        np.repeat(np.arange(count, dtype=np.int32), images),
        np.tile(store.numbers(0), count),
        *[np.zeros((rows, 2), np.float32), np.ones(rows, bool)],
        *[np.zeros(rows, np.int32), np.ones(rows, bool)],
        *[np.zeros((rows, 12), np.uint8), np.ones((rows, 12), bool)],
    )
    began = time.process_time()
    samples = evaluation_samples(store, labels, Windows(6, 5))
    assert (samples.image_rows != MISSING_ROW).all()
    return time.process_time() - began


def test_holding_images_takes_as_long_for_many_subjects_as_for_few():
    """By one pass over all rows for every subject it took 20 times as long."""
    pairs = [(seconds_to_hold(5, 40_000), seconds_to_hold(500, 400)) for _ in range(3)]
    few, many = map(min, zip(*pairs, strict=True))  # of a machine with other work
    assert many < 4 * few


def test_sound_ends_do_not_drift():
    store = SmallStore()
    store.sample_rate = 22050
    store.subjects = (Subject("a", "a", 29.97, 100_000, 0, 0),)
    frames = np.array([1, 2, 100_000])
    exact = (frames - 1) * 22050 / 29.97
    ends = sound_ends(store, 0, frames)
    assert np.abs(ends - exact).max() <= 0.5


def test_sound_ends_follow_the_rate_of_each_video():
    subjects, frames = np.array([0, 1, 0]), np.array([11, 25, 21])
    ends = sound_ends(SmallStore(), subjects, frames)  # 10 and 24 frames a second
    assert ends.tolist() == [RATE, RATE, 2 * RATE]


@pytest.mark.parametrize("end", [-5, 0, 3, 10, 14, 40])
def test_cut_sound_is_padded_with_silence(end):
    sound = np.arange(1, 11, dtype=np.int16)
    padded = np.concatenate([np.zeros(50), sound, np.zeros(50)])
    window = np.full(8, 99, np.int16)
    cut_sound(sound, end, window)
    np.testing.assert_array_equal(window, padded[50 + end - 8 : 50 + end])


def images_of(store, subject, frame, windows):
    """Rows of one window as the rule describes them, frame by frame."""
    fps = store.subjects[subject].fps
    rows = []
    for back in range(windows.images - 1, -1, -1):
        rate = fps if windows.unit == "seconds" else 1
        wanted = frame + round(-back * windows.stride * rate)
        row = store.find(subject, wanted)
        if row < 0 and windows.missing == "hold":
            distance = np.abs(store.numbers(subject) - wanted)
            row = store.subjects[subject].first_row + distance.argmin()
        rows.append(row)
    return rows


@pytest.mark.parametrize("unit, stride", [("frames", 4), ("seconds", 0.25)])
@pytest.mark.parametrize("missing", ["drop", "hold", "zero"])
@pytest.mark.parametrize("sound_pad", ["drop", "zero", "tile"])
def test_training_windows_follow_every_switch(unit, stride, missing, sound_pad):
    store = SmallStore(2.2)
    windows = Windows(3, stride, unit, 1.0, missing, sound_pad)
    expected = {}
    for subject, frame in found_all(store):
        rows = images_of(store, subject, frame, windows)
        end = round((frame - 1) / store.subjects[subject].fps * RATE)
        heard = RATE <= end <= len(store.sound(subject)) + RATE // 2
        complete = min(rows) >= 0 or missing != "drop"
        if complete and (heard or sound_pad != "drop"):
            expected[subject, frame] = rows
    samples = training_samples(store, all_labels(), windows)
    assert found(samples) == list(expected)
    np.testing.assert_array_equal(samples.image_rows, list(expected.values()))


def found_all(store):
    """Every labelled frame that has an image."""
    labels = all_labels()
    pairs = zip(labels.subject.tolist(), labels.frame.tolist(), strict=True)
    return [(s, f) for s, f in pairs if store.find(s, f) >= 0]


@pytest.mark.parametrize("missing", ["drop", "hold", "zero"])
def test_evaluation_holds_or_puts_zeros(missing):
    store = SmallStore()
    windows = Windows(3, 4, "frames", 1.0, missing)
    samples = evaluation_samples(store, all_labels(), windows)
    assert found(samples) == found_all(store)
    holding = windows if missing == "zero" else Windows(3, 4, "frames", 1.0, "hold")
    expected = [images_of(store, s, f, holding) for s, f in found_all(store)]
    np.testing.assert_array_equal(samples.image_rows, expected)
    assert (samples.image_rows == MISSING_ROW).any() == (missing == "zero")


@pytest.mark.parametrize("end", [-5, 0, 3, 9, 10, 14, 40])
def test_tiled_sound_repeats_to_the_front(end):
    sound = np.arange(1, 4, dtype=np.int16)
    window, plain = np.full(8, 9, np.int16), np.full(8, 9, np.int16)
    cut_sound(sound, end, window, tiled=True)
    cut_sound(sound, end, plain)
    heard = np.flatnonzero(plain)
    if not len(heard):
        return np.testing.assert_array_equal(window, plain)
    first = heard[0]
    np.testing.assert_array_equal(window[first:], plain[first:])
    period = sound[: min(end, 3)] if end - 8 <= 0 else sound[end - 8 :]
    for place in range(first):
        assert window[place] == period[(place - first) % len(period)]


@pytest.mark.parametrize(
    "change, message",
    [
        ({"unit": "minutes"}, "windows.unit is 'minutes'; choose frames, seconds"),
        ({"missing": "keep"}, "windows.missing is 'keep'; choose drop, hold, zero"),
        ({"sound_pad": "loop"}, "windows.sound_pad is 'loop'; choose drop, zero, tile"),
    ],
)
def test_an_unknown_choice_is_reported_with_the_known_ones(change, message):
    with pytest.raises(ValueError, match=message):
        Windows(**change)


@pytest.mark.parametrize("change", [{"images": 0}, {"stride": 0}, {"sound_seconds": 0}])
def test_impossible_windows_are_refused(change):
    with pytest.raises(ValueError, match="at least one"):
        Windows(**change)


class VariableStore(SmallStore):
    """The first subject's frames are a tenth of a second apart, from 11 on a fifth."""

    times = np.concatenate([np.arange(10) / 10, 1 + np.arange(20) / 5])

    def frame_times(self, subject):
        fps = self.subjects[subject].fps
        return FrameTimes(fps, self.times) if subject == 0 else FrameTimes(fps)

    def variable_rate(self):
        return np.array([0])


def test_windows_of_a_variable_rate_follow_the_times_of_its_frames():
    store, times = VariableStore(seconds=6.0), VariableStore.times
    windows = Windows(images=3, stride=0.4, unit="seconds", sound_seconds=1.0)
    samples = training_samples(store, all_labels(), windows)
    expected = {}
    for frame in range(1, 31):
        wanted = times[frame - 1] - np.array([0.8, 0.4, 0])
        rows = [
            store.find(0, 1 + int(np.argmin(np.abs(times - time)))) for time in wanted
        ]
        if min(rows) >= 0 and times[frame - 1] >= 1:
            expected[0, frame] = rows
    assert expected and found(samples) == list(expected)
    assert samples.image_rows.tolist() == list(expected.values())
    ends = [round(times[frame - 1] * RATE) for _, frame in expected]
    assert samples.sound_end.tolist() == ends


def test_held_images_of_a_variable_rate_are_nearest_in_its_frames():
    store = VariableStore()
    windows = Windows(images=2, stride=0.4, unit="seconds")
    samples = evaluation_samples(store, all_labels(), windows)
    numbers = store.numbers(0)
    here = samples.subject == 0
    frames = numbers[samples.image_rows[here]]
    for older, frame in frames.tolist():
        wanted = store.frame_times(0).nearest(store.times[frame - 1] - 0.4)
        assert older == numbers[np.argmin(np.abs(numbers - wanted))]
    other = evaluation_samples(SmallStore(), all_labels(), windows)
    np.testing.assert_array_equal(samples.image_rows[~here], other.image_rows[~here])
