"""Faces of a video: whole frames, boxes of tables, crops; times and orientation."""

from fractions import Fraction
from types import SimpleNamespace

import av
import numpy as np
import pytest

from abaw_jax.faces.boxes import read_boxes
from abaw_jax.faces.observations import observe
from abaw_jax.faces.video_frames import read_frames
from abaw_jax.releases.frame_times import FrameTimes
from abaw_jax.releases.images import MediaError
from tests.support import tiny_release
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
    """Writes a rotation into the header of the track, as phones do."""
    content = bytearray(path.read_bytes())
    place = content.index(b"tkhd") + 4 + 40
    content[place : place + 36] = b"".join(
        value.to_bytes(4, "big", signed=True) for value in matrix
    )
    path.write_bytes(content)
    return path


ONE, UNIT = 1 << 16, 1 << 30
# Of the display matrix; the video is shown turned clockwise by so many degrees.
TURNED = {
    0: (ONE, 0, 0, 0, ONE, 0, 0, 0, UNIT),
    90: (0, ONE, 0, -ONE, 0, 0, 0, 0, UNIT),
    180: (-ONE, 0, 0, 0, -ONE, 0, 0, 0, UNIT),
    270: (0, -ONE, 0, ONE, 0, 0, 0, 0, UNIT),
}


@pytest.mark.parametrize("degrees", TURNED)
def test_frames_are_upright(tmp_path, degrees):
    path = rotate(film(tmp_path / "a.mp4"), TURNED[degrees])
    pixels = next(read_frames(path)).pixels
    upright = np.zeros((48, 32), bool)
    upright[:24, :16] = True
    expected = np.rot90(upright, -degrees // 90)
    assert pixels.shape == (*expected.shape, 3)
    # A codec blurs edges.
    assert np.mean((pixels[..., 0] > 127) != expected) < 0.05


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


BOXES = {
    "plain": (
        "frame,x,y,width,height,confidence,face\n1,2,3,10,11,0.9,0\n1,20,3,9,9,,1\n",
        {1: [(0, (2, 3, 10, 11), 0.9), (1, (20, 3, 9, 9), None)]},
    ),
    "py-feat": (
        "FaceRectX,FaceRectY,FaceRectWidth,FaceRectHeight,FaceScore,frame\n"
        "2,3,10,11,0.9,0\n,,,,,1\n",
        {1: [(-1, (2, 3, 10, 11), 0.9)]},
    ),
    "OpenFace": (
        "frame, face_id, timestamp, confidence, success, x_0, x_1, y_0, y_1\n"
        "1, 0, 0.0, 0.98, 1, 12, 2, 14, 3\n2, 0, 0.1, 0.1, 0, 0, 0, 0, 0\n",
        {1: [(0, (2, 3, 10, 11), 0.98)]},
    ),
}


@pytest.mark.parametrize("kind", BOXES)
def test_tables_of_boxes_are_recognised(tmp_path, kind):
    text, expected = BOXES[kind]
    (tmp_path / "a.csv").write_text("\ufeff" + text)
    found = {
        number: [(each.face, tuple(each.box), each.confidence) for each in faces]
        for number, faces in read_boxes(tmp_path / "a.csv").items()
    }
    assert found == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b\n1,2\n", "line 2: has no columns frame, x, y, width, height"),
        ("frame,x,y,width,height\n1,2,3,ten,9\n", "line 2: could not convert"),
        ("frame,x,y,width,height\n", "holds no box of a face"),
    ],
)
def test_other_tables_are_refused(tmp_path, text, message):
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(ValueError, match=message):
        read_boxes(tmp_path / "a.csv")


def recording(frames=6, fps=10.0):
    return SimpleNamespace(num_frames=frames, frame_times=FrameTimes(fps))


def test_whole_frames_are_faces(tmp_path):
    path = film(tmp_path / "a.mp4")
    found = list(observe(path, "whole", 8, recording(), everything))
    assert [each.frame for each in found] == [1, 2, 3, 4, 5, 6]
    assert found[0].pixels.shape == (8, 8, 3) and found[0].box == (0, 0, 32, 48)
    assert found[0].pixels[1, 1, 0] > 200 and found[0].pixels[6, 6, 0] < 50


def test_boxes_are_cut_from_their_frames(tmp_path):
    path = film(tmp_path / "a.mp4")
    table = tmp_path / "a.csv"
    table.write_text(
        "frame,x,y,width,height,face\n"
        "1,0,0,16,24,0\n1,16,24,16,24,1\n3,500,500,10,10,0\n4,-8,-12,24,36,0\n"
    )
    found = list(observe(path, str(table), 8, recording(), everything))
    assert [each.frame for each in found] == [1, 1, 2, 3, 4, 5, 6]
    assert found[0].pixels.mean() > 230 and found[1].pixels.mean() < 25
    # Nothing of a box outside the frame can be seen; a box is cut at the edges.
    assert [each.pixels is None for each in found[2:]] == [
        True,
        True,
        False,
        True,
        True,
    ]
    assert found[4].pixels.mean() > 200


def test_boxes_without_numbers_are_followed(tmp_path):
    """Two boxes a frame, the second frame in the other order."""
    table = tmp_path / "a.csv"
    table.write_text(
        "frame,x,y,width,height\n1,0,0,10,10\n1,20,20,10,10\n2,21,20,10,10\n2,1,0,10,10\n"
    )
    found = list(
        observe(film(tmp_path / "a.mp4"), str(table), 8, recording(), everything)
    )
    assert [(each.frame, each.face) for each in found[:4]] == [
        *((1, 0), (1, 1), (2, 1), (2, 0))
    ]


def test_crops_are_frames_by_their_name_and_the_others_have_no_face(tmp_path):
    tiny_release.write_crops(tmp_path / "crops", [1, 2, 4])
    (tmp_path / "crops" / "00004.jpg").write_bytes(b"damaged")
    video = tmp_path / "unread.mp4"
    found = list(observe(video, str(tmp_path / "crops"), 8, recording(5), everything))
    assert [(each.frame, each.time) for each in found] == [
        *((1, 0), (2, 0.1), (3, 0.2), (4, 0.3), (5, 0.4))
    ]
    seen = [each.pixels is not None for each in found]
    assert seen == [True, True, False, False, False]


def test_faces_from_nowhere_are_refused(tmp_path):
    (tmp_path / "empty").mkdir()
    video = tmp_path / "a.mp4"
    for faces, message in (
        (tmp_path / "empty", "no crops that are named by frame"),
        (tmp_path / "missing", "is neither detect nor whole, nor a folder"),
    ):
        with pytest.raises(ValueError, match=message):
            list(observe(video, str(faces), 8, recording(), everything))
