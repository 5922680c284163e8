"""Faces of a video: whole frames, boxes of tables, crops; times and orientation."""

import gc
from fractions import Fraction
from types import SimpleNamespace

import av
import numpy as np
import pytest

from abaw_jax.faces.observations import observe
from abaw_jax.faces.video_frames import read_frames
from abaw_jax.releases.frame_times import FrameTimes
from abaw_jax.releases.images import MediaError
from tests.support.photo_clips import write_clip


def everything(number):
    return number > 0


def film(path, *, times=None, size=(32, 48), frames=6):
    """A video whose left upper quarter is white, at 10 frames a second."""
    width, height = size
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 100)
        for k in range(frames):
            pixels = np.zeros((height, width, 3), np.uint8)
            pixels[: height // 2, : width // 2] = 255
            picture = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            picture.pts = round(100 * times[k]) if times else 10 * k
            container.mux(stream.encode(picture))
        container.mux(stream.encode())
    return path


def rotate(path, matrix):
    """Writes a display matrix into the header of the track, as phones do."""
    content = bytearray(path.read_bytes())
    place = content.index(b"tkhd") + 4 + 40
    content[place : place + 36] = b"".join(
        value.to_bytes(4, "big", signed=True) for value in matrix
    )
    path.write_bytes(content)
    return path


ONE, UNIT = 1 << 16, 1 << 30
# Of the display matrix; the stored picture is shown mirrored or not, left for right,
# and then turned clockwise by so many degrees.
SHOWN = {
    (False, 0): (ONE, 0, 0, 0, ONE, 0, 0, 0, UNIT),
    (False, 90): (0, ONE, 0, -ONE, 0, 0, 0, 0, UNIT),
    (False, 180): (-ONE, 0, 0, 0, -ONE, 0, 0, 0, UNIT),
    (False, 270): (0, -ONE, 0, ONE, 0, 0, 0, 0, UNIT),
    (True, 0): (-ONE, 0, 0, 0, ONE, 0, 0, 0, UNIT),
    (True, 90): (0, -ONE, 0, -ONE, 0, 0, 0, 0, UNIT),
    (True, 180): (ONE, 0, 0, 0, -ONE, 0, 0, 0, UNIT),
    (True, 270): (0, ONE, 0, ONE, 0, 0, 0, 0, UNIT),
}


@pytest.mark.parametrize(("mirrored", "degrees"), SHOWN)
def test_frames_are_upright(tmp_path, mirrored, degrees):
    path = rotate(film(tmp_path / "a.mp4"), SHOWN[mirrored, degrees])
    pixels = next(read_frames(path)).pixels
    stored = np.zeros((48, 32), bool)
    stored[:24, :16] = True
    expected = np.rot90(stored[:, ::-1] if mirrored else stored, -degrees // 90)
    assert pixels.shape == (*expected.shape, 3)
    # A codec blurs edges.
    assert np.mean((pixels[..., 0] > 127) != expected) < 0.05


def test_frames_are_freed_as_they_are_read(tmp_path):
    """Without the garbage collector, which would find them in cycles."""
    path = rotate(film(tmp_path / "a.mp4", frames=60), SHOWN[False, 90])
    gc.collect()
    gc.disable()
    try:
        frames = sum(1 for _ in read_frames(path))
        found = gc.collect()
    finally:
        gc.enable()
    assert frames == 60
    assert found < frames  # three for each frame that was kept


def test_times_are_those_of_the_file(tmp_path):
    """Variable frame rate, from a start that is not 0."""
    times = [0.5, 0.6, 0.7, 1.2, 1.3, 2.0]
    path = film(tmp_path / "a.mkv", times=times)
    found = list(read_frames(path))
    assert [frame.number for frame in found] == [1, 2, 3, 4, 5, 6]
    np.testing.assert_allclose(
        [f.time for f in found], np.array(times) - 0.5, atol=5e-3
    )
    odd = read_frames(path, lambda number: number % 2)
    assert [(f.number, round(f.time, 2)) for f in odd] == [(1, 0), (3, 0.2), (5, 0.8)]


def test_a_file_that_is_no_video_or_breaks_off(tmp_path):
    (tmp_path / "a.mp4").write_bytes(b"no video")
    with pytest.raises(MediaError, match="cannot be opened as a video"):
        list(read_frames(tmp_path / "a.mp4"))


@pytest.mark.parametrize("suffix", ["mkv", "avi"])
def test_a_file_that_was_cut_off_breaks_off(tmp_path, suffix):
    path, rng = tmp_path / f"a.{suffix}", np.random.default_rng(0)
    pictures = [rng.integers(0, 256, (64, 64, 3), np.uint8) for _ in range(40)]
    write_clip(path, pictures)
    assert len(list(read_frames(path))) == 40
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    read, frames = [], read_frames(path)
    with pytest.raises(MediaError, match=r"breaks off after frame [12]\d \(4\.0 s by"):
        read.extend(frame.number for frame in frames)
    assert read == list(range(1, len(read) + 1)) and len(read) >= 10


def recording(frames=6, fps=10.0):
    return SimpleNamespace(num_frames=frames, frame_times=FrameTimes(fps))


def test_whole_frames_are_faces(tmp_path):
    path = film(tmp_path / "a.mp4")
    found = list(observe(path, "whole", 8, recording(), everything))
    assert [each.frame for each in found] == [1, 2, 3, 4, 5, 6]
    assert found[0].pixels.shape == (8, 8, 3) and found[0].box == (0, 0, 32, 48)
    assert found[0].pixels[1, 1, 0] > 200 and found[0].pixels[6, 6, 0] < 50


def test_faces_from_nowhere_are_refused(tmp_path):
    (tmp_path / "empty").mkdir()
    video = tmp_path / "a.mp4"
    for faces, message in (
        (tmp_path / "empty", "no crops that are named by frame"),
        (tmp_path / "missing", "is neither detect nor whole, nor a folder"),
    ):
        with pytest.raises(ValueError, match=message):
            list(observe(video, str(faces), 8, recording(), everything))
