"""The overlay: values on every frame, the times and the sound of the video."""

import shutil

import av
import numpy as np
import pytest

from abaw_jax.faces.video_frames import read_frames
from abaw_jax.inference.overlay import write_overlay
from abaw_jax.inference.overlay_drawing import _place, draw_faces
from abaw_jax.inference.prediction_table import COLUMNS, write_table
from abaw_jax.releases.images import Box
from abaw_jax.releases.media import SAMPLE_RATE, read_recording
from tests.support.photo_clips import tone, write_clip

GREY = np.full((360, 640, 3), 128, np.uint8)
SEEN = dict.fromkeys(COLUMNS, 0.25) | {"face": 0, "expression": "Fear"}
BOX = {"x": 200.0, "y": 100.0, "width": 80.0, "height": 120.0}


def draw(video, rows, folder):
    """The overlay of a video: its file, and its frames."""
    write_table(folder / "t.csv", rows)
    path, told = folder / "t.overlay.mp4", []
    write_overlay(video, folder / "t.csv", path, read_recording(video), told.append)
    frames = list(read_frames(path))
    assert told == [frame.number for frame in frames]
    assert not path.with_suffix(".partial").exists()
    return path, frames


def changed(frame):
    """Where a frame is no longer grey; a codec leaves a little noise."""
    return np.abs(np.int32(frame.pixels) - 128).max(-1) > 40


def test_values_stay_until_the_next_ones(tmp_path):
    video = write_clip(tmp_path / "a.mp4", [GREY] * 8)
    rows = [
        SEEN | BOX | {"frame": 1},
        SEEN | BOX | {"frame": 4, "x": 400.0},
        dict.fromkeys(COLUMNS) | {"frame": 7},
    ]
    _, frames = draw(video, rows, tmp_path)
    assert len(frames) == 8
    left = [bool(changed(frame)[100:220, 199:203].any()) for frame in frames]
    right = [bool(changed(frame)[110:210, 478:482].any()) for frame in frames]
    assert left == [True] * 3 + [False] * 5
    assert right == [False] * 3 + [True] * 3 + [False] * 2
    assert not changed(frames[-1]).any()


def test_times_of_a_variable_rate_are_those_of_the_video(tmp_path):
    times = [0.3, 0.4, 0.45, 0.9, 1.0, 1.7]
    video = write_clip(tmp_path / "a.mp4", [GREY] * 6, times=times)
    _, frames = draw(video, [SEEN | BOX | {"frame": 1}], tmp_path)
    found = [frame.time for frame in frames]
    np.testing.assert_allclose(found, [f.time for f in read_frames(video)], atol=1e-4)
    np.testing.assert_allclose(found, np.array(times) - 0.3, atol=1e-3)


def sound_of(path):
    return np.float64(read_recording(path).sound)


def packets_of(path):
    with av.open(str(path)) as container:
        return [bytes(packet) for packet in container.demux(audio=0) if packet.size]


@pytest.mark.parametrize("start", [0.0, 0.7])
def test_sound_is_copied_where_it_was(tmp_path, start):
    """A tone that begins with the pictures, or later; the pictures begin at 0.2 s."""
    video = write_clip(
        *(tmp_path / "a.mp4", [GREY] * 20),
        times=0.2 + np.arange(20) / 10,
        sound=tone(1.0),
        sound_start=0.2 + start,
    )
    path, _ = draw(video, [SEEN | {"frame": 1}], tmp_path)
    before, after = sound_of(video), sound_of(path)
    length = min(len(before), len(after))
    assert length >= (start + 0.9) * SAMPLE_RATE and before.any()
    assert np.flatnonzero(np.abs(after) > 1000)[0] == pytest.approx(
        start * SAMPLE_RATE, abs=0.03 * SAMPLE_RATE
    )
    # The same packets: the same samples, but for the rounding of their start.
    shifts = range(-25, 26)
    part = slice(round((start + 0.2) * SAMPLE_RATE), round((start + 0.8) * SAMPLE_RATE))
    errors = [np.abs(np.roll(after, s)[part] - before[part]).mean() for s in shifts]
    assert min(errors) < 0.02 * np.abs(before[part]).mean()
    assert packets_of(path) == packets_of(video)


@pytest.mark.parametrize("codec", ["pcm_mulaw", "pcm_s16le", "adpcm_ima_qt"])
def test_sound_that_mp4_cannot_hold_is_encoded(tmp_path, codec):
    """As in telephone recordings and in files of cameras."""
    sound = {"sound": tone(1.0, 300), "sound_codec": codec}
    video = write_clip(tmp_path / "a.mov", [GREY] * 10, **sound)
    path, frames = draw(video, [SEEN | {"frame": 1}], tmp_path)
    assert len(frames) == 10
    with av.open(str(path)) as container:
        assert container.streams.audio[0].codec_context.name == "aac"
    found = np.abs(np.fft.rfft(sound_of(path)[: SAMPLE_RATE // 2]))
    assert found.argmax() == 150 and len(sound_of(path)) >= 0.95 * SAMPLE_RATE


@pytest.mark.parametrize("codec", ["libmp3lame", "libopus", "flac"])
def test_other_compressed_sound_is_copied(tmp_path, codec):
    sound = {"sound": tone(1.0, 300), "sound_codec": codec}
    video = write_clip(tmp_path / "a.mkv", [GREY] * 10, **sound)
    path, _ = draw(video, [SEEN | {"frame": 1}], tmp_path)
    assert packets_of(path) == packets_of(video)
    found = np.abs(np.fft.rfft(sound_of(path)[: SAMPLE_RATE // 2]))
    assert found.argmax() == 150


def test_a_video_without_sound_or_that_breaks_off(tmp_path):
    video = write_clip(tmp_path / "a.mkv", [GREY] * 30)
    cut = tmp_path / "cut.mkv"
    shutil.copyfile(video, cut)
    content = cut.read_bytes()
    cut.write_bytes(content[: len(content) // 2])
    path, frames = draw(cut, [SEEN | BOX | {"frame": 1}], tmp_path)
    assert 0 < len(frames) < 30 and changed(frames[-1]).any()
    with av.open(str(path)) as container:
        assert not container.streams.audio


def test_small_and_odd_frames_are_enlarged_and_even():
    assert draw_faces(np.zeros((112, 112, 3), np.uint8), []).shape == (448, 448, 3)
    assert draw_faces(np.zeros((481, 361, 3), np.uint8), []).shape == (480, 360, 3)
    pixels = np.random.default_rng(0).integers(0, 256, (720, 1280, 3), np.uint8)
    np.testing.assert_array_equal(draw_faces(pixels, []), pixels)


def test_values_without_a_box_are_in_the_corner():
    row = {name: "" if value is None else str(value) for name, value in SEEN.items()}
    seen = draw_faces(GREY, [row | dict.fromkeys(("x", "y", "width", "height"), "")])
    rows, columns = np.nonzero((seen != GREY).any(-1))
    assert rows.min() == columns.min() == 0
    assert rows.max() < 100 and columns.max() < 400


def test_a_panel_hides_no_other_face_and_stays_inside():
    face, below = Box(500, 100, 100, 100), Box(480, 210, 140, 100)
    assert _place((640, 360), face, 200, 80, [face])[:2] == (440, 200)
    assert _place((640, 360), face, 200, 80, [face, below])[:2] == (440, 20)
    assert _place((640, 360), Box(0, 0, 640, 360), 200, 80, [])[:2] == (0, 280)
