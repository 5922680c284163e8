"""Tables of boxes: their columns, their count of frames, what is refused and noted."""

import numpy as np
import pytest
from PIL import Image

from abaw_jax.faces.box_columns import UNNUMBERED
from abaw_jax.faces.boxes import read_boxes
from abaw_jax.releases.findings import Findings
from tests.support.photo_clips import write_clip

PLAIN = "frame,x,y,width,height"


def read(folder, text, encoding="utf-8"):
    """Boxes by frame, and the remarks on them."""
    path = folder / "a.csv"
    path.write_bytes(text.encode(encoding))
    findings = Findings(folder)
    found = {
        number: [(each.face, tuple(each.box), each.confidence) for each in faces]
        for number, faces in read_boxes(path, findings).items()
    }
    return found, findings.sentences()


BOX = (UNNUMBERED, (2, 3, 10, 11), None)
TABLES = {
    "plain": (
        f"{PLAIN},confidence,face\n1,2,3,10,11,0.9,0\n1,20,3,9,9,,1\n",
        {1: [(0, (2, 3, 10, 11), 0.9), (1, (20, 3, 9, 9), None)]},
    ),
    "py-feat": (
        ",FaceRectX,FaceRectY,FaceRectWidth,FaceRectHeight,FaceScore,x_0,y_0,frame\n"
        "0,2,3,10,11,0.9,5,5,0\n1,,,,,,,,1\n",
        {1: [(UNNUMBERED, (2, 3, 10, 11), 0.9)]},
    ),
    "py-feat without a face at first": (
        "frame,FaceRectX,FaceRectY,FaceRectWidth,FaceRectHeight\n4,2,3,10,11\n",
        {5: [BOX]},
    ),
    "corners": ("frame,x1,y1,x2,y2\n1,2,3,12,14\n", {1: [BOX]}),
    "capitals": ("Frame,X,Y,Width,Height\n1,2,3,10,11\n", {1: [BOX]}),
    "semicolons": ("frame;x;y;width;height\n1;2;3;10;11\n", {1: [BOX]}),
    "tabs": ("frame\tx\ty\twidth\theight\n1\t2\t3\t10\t11\n", {1: [BOX]}),
    "spaces, blank lines": (f"\n{PLAIN}\n\n 1, 2, 3, 10, 11\n\n", {1: [BOX]}),
    "no face": (f"{PLAIN}\n1,2,3,10,11\n2,,,,\n3,nan,nan,NaN,NA\n", {1: [BOX]}),
    "frames as fractions": (f"{PLAIN}\n1.0,2,3,10,11\n", {1: [BOX]}),
    "whose frames have no face": (f"{PLAIN}\n1,,,,\n", {}),
    "carriage returns": (f"{PLAIN}\r1,2,3,10,11\r", {1: [BOX]}),
}


@pytest.mark.parametrize("kind", TABLES)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_tables_are_recognised(tmp_path, kind, encoding):
    text, expected = TABLES[kind]
    assert read(tmp_path, text, encoding) == (expected, [])


def open_face_table(*lines):
    """A table of OpenFace 2.2 with the header of its FeatureExtraction.

    Lines are frame, face, success and the 2-D landmarks; all else is a number that no
    box may be made of.
    """
    names = ["frame", "face_id", "timestamp", "confidence", "success"]
    names += [f"gaze_{eye}_{axis}" for eye in range(2) for axis in "xyz"]
    names += ["gaze_angle_x", "gaze_angle_y"]
    names += [f"eye_lmk_{axis}_{k}" for axis in "xyXYZ" for k in range(56)]
    names += [f"pose_{part}{axis}" for part in "TR" for axis in "xyz"]
    names += [f"{axis}_{k}" for axis in "xyXYZ" for k in range(68)]
    names += ["p_scale", "p_rx", "p_ry", "p_rz", "p_tx", "p_ty"]
    names += [f"p_{k}" for k in range(34)] + ["AU01_r", "AU02_r", "AU01_c", "AU02_c"]
    text = ", ".join(names) + "\n"
    for frame, face, success, x, y in lines:
        values = dict.fromkeys(names, 9999.0)
        values |= {"frame": frame, "face_id": face, "success": success}
        values |= {"confidence": 0.98, "timestamp": frame / 30}
        values |= {f"x_{k}": x[k] for k in range(68)}
        values |= {f"y_{k}": y[k] for k in range(68)}
        text += ", ".join(f"{value:g}" for value in values.values()) + "\n"
    return text


def test_landmarks_of_open_face_become_their_bounding_box(tmp_path):
    rng = np.random.default_rng(0)
    x, y = rng.integers(100, 200, 68), rng.integers(50, 180, 68)
    text = open_face_table(
        (1, 0, 1, x, y), (1, 1, 1, x + 200, y), (2, 0, 0, 0 * x, 0 * y)
    )
    found, remarks = read(tmp_path, text)
    width, height = x.max() - x.min(), y.max() - y.min()
    assert found == {
        1: [
            (0, (x.min(), y.min(), width, height), 0.98),
            (1, (x.min() + 200, y.min(), width, height), 0.98),
        ]
    }
    assert remarks == []


def test_frames_that_count_from_0_are_moved_with_a_word(tmp_path):
    found, remarks = read(tmp_path, f"{PLAIN}\n2,2,3,10,11\n0,,,,\n1,2,3,10,11\n")
    assert found == {2: [BOX], 3: [BOX]}
    text = "a.csv: frames count from 0: frame 0 is taken for the first of the video"
    assert remarks == [text]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b\n1,2\n", r"line 1: the header needs the columns frame and x, y.*'a, b'"),
        ("1,2,3,4,5\n", "line 1: the header needs the columns frame .*'1, 2, 3, 4, 5'"),
        ("", "line 1: the header needs the columns .* it has nothing"),
        ("x,y,width,height\n1,2,3,4\n", "line 1: the header needs the columns frame"),
        ("frame,x_0,y_1,x_1\n1,2,3,4\n", "line 1: the header needs the columns frame"),
        (f"{PLAIN}\n", "holds no box of a face"),
        (f"{PLAIN}\n1,2,3,ten,9\n", "line 2: width is 'ten', not a number"),
        (f"{PLAIN}\n\n1,2,3,inf,9\n", "line 3: width is 'inf', not a number"),
        (f"{PLAIN}\n1,nan,3,9,9\n", "line 2: x is 'nan', not a number"),
        (f"{PLAIN}\n1,,3,9,9\n", "line 2: x is '', not a number"),
        (
            "frame;x;y;width;height\n1;2,5;3;9;9",
            "line 2: x is '2,5', not a number",
        ),
        (f"{PLAIN}\n1,2,3,10\n", "line 2: has 4 cells, and the header 5"),
        (f"{PLAIN}\n1,2,3,10,10,1\n", "line 2: has 6 cells, and the header 5"),
        (f"{PLAIN}\n2.5,2,3,9,9\n", "line 2: frame is '2.5', not a whole number"),
        (f"{PLAIN}\n-1,2,3,9,9\n", "line 2: frame is '-1', not a whole number from 0"),
        (f"{PLAIN}\n1e300,2,3,9,9\n", "line 2: frame is '1e300', not a whole"),
        (f"{PLAIN},face\n1,2,3,9,9,anna\n", "line 2: face is 'anna', not a whole"),
        (f"{PLAIN},face\n1,2,3,9,9,-1\n", "line 2: face is '-1', not a whole number"),
        (f"{PLAIN},face\n1,2,3,9,9,9999999\n", "face is '9999999'.*from 0 to 999,999"),
        (f"{PLAIN},face\n1,2,3,9,9,1\n2,2,3,9,9,\n", "line 3: some lines have a face"),
        (f"{PLAIN}\n1,.2,.2,.4,.4\n2,.3,-.1,.9,1.1\n", "like fractions of the picture"),
    ],
)
def test_other_tables_are_refused(tmp_path, text, message):
    with pytest.raises(ValueError, match=message) as refusal:
        read(tmp_path, text)
    assert str(tmp_path / "a.csv") in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    "save",
    [
        lambda path, picture: write_clip(path, [picture] * 3),
        lambda path, picture: Image.fromarray(picture).save(path, "png"),
        lambda path, picture: path.write_bytes(picture.tobytes()),
        lambda path, picture: path.write_bytes(b"RIFF" + b"." * 3000 + b"\0" * 70_000),
    ],
)
def test_a_file_that_is_no_text_is_no_table(tmp_path, save):
    save(tmp_path / "a.mp4", np.zeros((64, 64, 3), np.uint8))
    with pytest.raises(
        ValueError, match=r"a\.mp4 is no table of boxes, for it is no t"
    ):
        read_boxes(tmp_path / "a.mp4", Findings(tmp_path))


def test_lines_of_no_use_are_counted_by_their_kind(tmp_path):
    lines = ["1,0,2,3,10,11", "2,0,0,0,0,0", "3,0,5,5,-9,9", "1,0,3,3,10,11"]
    found, remarks = read(tmp_path, "\n".join(["frame,face,x,y,width,height", *lines]))
    assert found == {1: [(0, (2, 3, 10, 11), None)]}
    assert remarks == [
        "a.csv:3: width or height is 0 or less; left out (1 more of this kind)",
        "a.csv:5: the same face as in line 2; left out",
    ]


def test_faces_without_numbers_are_the_same_if_their_boxes_are(tmp_path):
    lines = ["1,2,3,10,11", "1,2,3,10,11", "1,40,3,10,11"]
    found, remarks = read(tmp_path, "\n".join([PLAIN, *lines]))
    assert found == {1: [BOX, (UNNUMBERED, (40, 3, 10, 11), None)]}
    assert remarks == ["a.csv:3: the same face as in line 2; left out"]
