"""Faces of a real photograph are found, aligned and followed."""

import importlib.util
import sys
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import av
import matplotlib
import numpy as np
import pytest
from PIL import Image

from abaw_jax.faces.detection import FaceDetector, align, similarity
from abaw_jax.faces.observations import observe
from abaw_jax.faces.tracking import FaceTracker, overlap
from abaw_jax.releases.images import Box

EYES = np.array([[227, 193], [308, 195]])  # of the portrait, by eye


def photograph():
    """Grace Hopper, 600 x 512, which ships with Matplotlib."""
    path = Path(matplotlib.get_data_path()) / "sample_data" / "grace_hopper.jpg"
    return np.asarray(Image.open(path).convert("RGB"))


@pytest.mark.parametrize("scale", [0.2, 1, 3])
def test_a_face_is_found_at_any_size(scale):
    image = Image.fromarray(photograph())
    size = round(512 * scale), round(600 * scale)
    (face,) = FaceDetector()(np.asarray(image.resize(size)))
    assert face.confidence > 0.85
    np.testing.assert_allclose(face.landmarks[:2] / scale, EYES, atol=8)
    centre = face.box.left + face.box.width / 2, face.box.top + face.box.height / 2
    np.testing.assert_allclose(np.array(centre) / scale, [268, 227], atol=20)


def test_a_picture_without_a_face_has_none():
    assert FaceDetector()(photograph()[350:, :100]) == []
    assert FaceDetector()(np.zeros((40, 60, 3), np.uint8)) == []


def is_centred(crop):
    """Eyes, nose and mouth are where they are in aligned crops of Aff-Wild2."""
    (again,) = FaceDetector()(np.pad(crop, ((56, 56), (56, 56), (0, 0))))
    template = [[38.3, 51.7], [73.5, 51.5], [56.0, 71.7], [41.5, 92.4], [70.7, 92.2]]
    found = again.landmarks - 56
    # Her eyes are further apart than those of the template, and on one line.
    np.testing.assert_allclose(found, template, atol=8)
    np.testing.assert_allclose(found.mean(0), np.mean(template, axis=0), atol=2.5)
    return abs(found[0, 1] - found[1, 1]) < 2


def test_the_eyes_of_a_crop_are_where_they_are_in_aligned_crops():
    (face,) = FaceDetector()(photograph())
    crop = align(photograph(), face.landmarks, 112)
    assert crop.shape == (112, 112, 3)
    assert is_centred(crop)


def test_a_turned_face_gives_the_same_crop():
    (face,) = FaceDetector()(photograph())
    upright = align(photograph(), face.landmarks, 112)
    turned = np.rot90(photograph())
    x, y = face.landmarks.T
    landmarks = np.stack([y, photograph().shape[1] - x], axis=1)
    difference = np.abs(np.int32(upright) - align(turned, landmarks, 112))
    assert difference.mean() < 3


def test_similarity_is_the_one_that_was_applied():
    points = np.random.default_rng(0).normal(size=(5, 2))
    angle, scale, shift = 0.7, 2.5, np.array([3.0, -4.0])
    cos, sin = scale * np.cos(angle), scale * np.sin(angle)
    turn = np.array([[cos, -sin], [sin, cos]])
    matrix = similarity(points, points @ turn.T + shift)
    np.testing.assert_allclose(matrix, np.column_stack([turn, shift]))


def test_overlap_is_intersection_over_union():
    assert overlap(Box(0, 0, 10, 10), Box(5, 0, 10, 10)) == pytest.approx(50 / 150)
    assert overlap(Box(0, 0, 10, 10), Box(20, 0, 10, 10)) == 0
    assert overlap(Box(0, 0, 0, 0), Box(0, 0, 0, 0)) == 0


def test_people_keep_their_numbers():
    tracker = FaceTracker()
    one, other, third = Box(0, 0, 10, 10), Box(50, 0, 10, 10), Box(90, 0, 10, 10)
    assert tracker.number(1, [one, other]) == [0, 1]
    # In another order, moved, and with a new one.
    moved = Box(2, 1, 10, 10)
    assert tracker.number(2, [third, other, moved]) == [2, 1, 0]
    assert tracker.number(3, []) == []
    assert tracker.number(20, [other]) == [1]
    assert tracker.number(60, [other]) == [3]  # away for longer than a second


def test_two_people_in_a_video_and_a_frame_without_any(tmp_path):
    """The portrait twice, the second time from frame 2 on; nobody in frame 4."""
    portrait = np.asarray(Image.fromarray(photograph()).resize((256, 300)))
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 512, 300, "yuv420p"
        stream.bit_rate, stream.codec_context.time_base = 8_000_000, Fraction(1, 10)
        for k in range(5):
            pixels = np.zeros((300, 512, 3), np.uint8)
            if k != 3:
                pixels[:, :256] = portrait
            if k in (1, 2, 4):
                pixels[:, 256:] = portrait
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels)))
        container.mux(stream.encode())
    recording = SimpleNamespace(num_frames=5, fps=10.0)
    rows = list(observe(path, "detect", 112, recording, lambda number: True))
    assert [(row.frame, row.face) for row in rows] == [
        *((1, 0), (2, 0), (2, 1), (3, 0), (3, 1), (4, 0), (5, 0), (5, 1))
    ]
    assert [row.pixels is None for row in rows] == [row.frame == 4 for row in rows]
    left, right = rows[1], rows[2]
    assert right.box.left - left.box.left == pytest.approx(256, abs=6)
    for each in (left, right):
        assert is_centred(each.pixels)


def test_what_is_missing_is_named(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="there is no face detector"):
        FaceDetector(tmp_path / "missing.onnx")
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(
        ValueError, match=r"needs OpenCV: pip install 'abaw_jax\[faces\]'"
    ):
        FaceDetector()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match="needs the detector: pip install"):
        FaceDetector()


def write_network(path, operators):
    """An ONNX network of operators in a row, which is no YuNet."""
    helper = pytest.importorskip("onnx").helper
    names = ["x", *(f"y{k}" for k in range(len(operators)))]
    nodes = [
        helper.make_node(operator, [names[k]], [names[k + 1]])
        for k, operator in enumerate(operators)
    ]
    ends = [
        helper.make_tensor_value_info(name, 1, [1, 3, 320, 320])
        for name in (names[0], names[-1])
    ]
    graph = helper.make_graph(nodes, "network", ends[:1], ends[1:])
    path.write_bytes(helper.make_model(graph).SerializeToString())


def test_a_file_that_is_no_detector_is_refused_at_once(tmp_path, capfd):
    paths = [tmp_path / name for name in ("a.onnx", "b.csv", "c.onnx", "d.onnx")]
    paths[0].write_text("no network")
    paths[1].write_text("frame,x,y,width,height\n")
    write_network(paths[2], ["Relu", "Sigmoid"])
    write_network(paths[3], ["Relu", "NoOperator"])
    for path in paths:
        with pytest.raises(ValueError) as error:
            FaceDetector(path)
        assert str(error.value) == (
            f"{path} cannot be read as a face detector: name a YuNet (.onnx)."
        )
    assert capfd.readouterr() == ("", "")
