"""Rows of videos of a real photograph, faces found in them, sound as it comes."""

import itertools

import numpy as np
import pytest

from abaw_jax.inference import video_prediction
from abaw_jax.inference.prediction_table import COLUMNS
from abaw_jax.inference.video_prediction import (
    open_recording,
    predict_video,
    video_rows,
)
from abaw_jax.releases.images import MediaError
from abaw_jax.releases.media import SAMPLE_RATE
from tests.faces.test_observations import SHOWN, rotate
from tests.inference.test_prediction import Echo
from tests.support.photo_clips import photograph, tone, write_clip

PHOTO = photograph(0.5)


def make_model():
    """Whose first unit is the last sample of the sound before the frame."""
    model = Echo()
    model.contract["inputs"]["frames"]["shape"] = ["B", 3, 112, 112, 3]
    model.contract["inputs"]["waveform"]["rate"] = SAMPLE_RATE
    return model


def rows_of(path, faces="detect", every=1):
    recording = open_recording(path, None)
    return list(video_rows(make_model(), path, faces, recording, every))


def middle(row):
    return row["x"] + row["width"] / 2, row["y"] + row["height"] / 2


def test_two_people_are_two_rows_a_frame(tmp_path):
    both = np.concatenate([PHOTO, PHOTO], axis=1)
    rows = rows_of(write_clip(tmp_path / "a.mp4", [both] * 4))
    assert [(row["frame"], row["face"]) for row in rows] == [
        (frame, face) for frame in (1, 2, 3, 4) for face in (0, 1)
    ]
    places = {row["face"]: middle(row) for row in rows}
    assert abs(places[0][0] - places[1][0]) == pytest.approx(256, abs=5)
    assert all(row["confidence"] > 0.8 for row in rows)


def test_frames_without_a_face_are_rows_without_values(tmp_path):
    flag = np.ascontiguousarray(PHOTO[150:, :80])
    rows = rows_of(write_clip(tmp_path / "a.mp4", [flag] * 3))
    assert [row["frame"] for row in rows] == [1, 2, 3]
    assert all(row["face"] is None and row["valence"] is None for row in rows)


@pytest.mark.parametrize(("mirrored", "degrees"), SHOWN)
def test_a_turned_video_has_the_face_where_it_is_upright(tmp_path, mirrored, degrees):
    """As a phone stores it: pixels turned one way, the header turns them back."""
    turned = np.rot90(PHOTO, degrees // 90)
    stored = np.ascontiguousarray(turned[:, ::-1] if mirrored else turned)
    clip = write_clip(tmp_path / "a.mp4", [stored] * 2)
    path = rotate(clip, SHOWN[mirrored, degrees])
    for row in rows_of(path):
        np.testing.assert_allclose(middle(row), (134, 114), atol=8)


def test_a_variable_rate_gives_the_times_and_the_sound_of_each_frame(tmp_path):
    """Six frames at 10 a second, six at 30; sound from the eighth on."""
    times = [*np.arange(6) / 10, *(0.6 + np.arange(6) / 30)]
    silent, loud = np.zeros(round(0.65 * 16_000)), tone(0.5)
    sound = np.concatenate([silent, loud])
    path = write_clip(tmp_path / "a.mp4", [PHOTO] * 12, times=times, sound=sound)
    rows = rows_of(path)
    np.testing.assert_allclose([row["time"] for row in rows], times, atol=1e-3)
    heard = [abs(row["AU01"]) > 100 for row in rows]
    assert heard[:7] == [False] * 7 and sum(heard[8:]) >= 3


def test_sound_that_starts_late_is_silent_until_then(tmp_path):
    path = write_clip(
        tmp_path / "a.mp4", [PHOTO] * 12, sound=tone(0.6), sound_start=0.6
    )
    heard = [abs(row["AU01"]) > 100 for row in rows_of(path)]
    assert heard[:6] == [False] * 6 and sum(heard[7:]) >= 4


def test_a_video_without_sound_is_silent_and_its_silence_is_encoded_once(tmp_path):
    path = write_clip(tmp_path / "a.mp4", [PHOTO] * 3)
    model, calls = make_model(), []
    encode = model.encode_sound
    model.encode_sound = lambda windows: calls.append(0) or encode(windows)
    recording = open_recording(path, None)
    assert "no_sound" in dict(recording.remarks)
    rows = list(video_rows(model, path, "detect", recording, 1))
    assert [row["AU01"] for row in rows] == [0, 0, 0]
    assert len(calls) == 1


def test_three_tenths_of_a_second_are_enough(tmp_path):
    rows = rows_of(write_clip(tmp_path / "a.mp4", [PHOTO] * 3, sound=tone(0.3)))
    assert [row["frame"] for row in rows] == [1, 2, 3]
    # Images from before the video are the first one.
    assert rows[2]["valence"] == rows[0]["arousal"]
    assert all(row["expression"] for row in rows)


def test_a_table_in_memory_has_the_rows_before_the_damage(tmp_path, monkeypatch):
    clip = write_clip(tmp_path / "a.mp4", [PHOTO] * 30)
    rows, read = rows_of(clip, "whole", every=2), video_prediction.observe

    def broken(*given, **options):
        yield from itertools.islice(read(*given, **options), 9)
        raise MediaError("breaks off after frame 17 (damaged)")

    monkeypatch.setattr(video_prediction, "observe", broken)
    with pytest.warns(
        UserWarning, match=r"a\.mp4 breaks off after frame 17 .*ends there"
    ):
        found = predict_video(make_model(), clip, "whole", 2)
    assert found.columns == COLUMNS and len(rows) == 15
    for name in ("frame", "time", "valence", "AU01"):
        np.testing.assert_array_equal(found[name], [row[name] for row in rows[:9]])
