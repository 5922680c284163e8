"""Text files of any length and shape take little memory, or are refused."""

import re
import tracemalloc

import pytest

from abaw_jax.faces.boxes import read_boxes
from abaw_jax.inference.submission import read_template
from abaw_jax.releases import text_lines
from abaw_jax.releases.annotations import read_annotation, read_lines
from abaw_jax.releases.findings import Findings
from abaw_jax.releases.label_table import read_table
from abaw_jax.releases.text_lines import MAX_LINE, MAX_LINES, open_text

TABLE = "video,frame,valence,arousal"
BOXES = "frame,x,y,width,height"
TEMPLATE = "image_location,valence,arousal"


def read(path):
    findings = Findings(path.parent)
    rows = read_annotation(path, "va", findings)
    return rows, [str(each) for each in findings.anomalies()]


def test_lines_are_streamed(tmp_path):
    """Lists of these lines would take over 80 bytes each, 25 MB."""
    path = tmp_path / "a.txt"
    path.write_text("valence,arousal\n" + "0.5,-0.5\n" * 300_000)
    tracemalloc.start()
    assert sum(1 for _ in read_lines(path, Findings(tmp_path))) == 300_001
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1e6


def test_a_longer_file_than_any_release_has_is_left_out(tmp_path, monkeypatch):
    monkeypatch.setattr(text_lines, "MAX_LINES", 100)
    path = tmp_path / "a.txt"
    path.write_text("valence,arousal\n" + "0.5,-0.5\n" * 99)
    rows, found = read(path)
    assert len(rows["a"].frame) == 99 and not found
    path.write_text("valence,arousal\n" + "0.5,-0.5\n" * 100)
    assert read(path) == ({}, ["a.txt: has more than 100 lines; the file is left out"])


def test_lines_and_frames_are_exact_in_single_precision():
    assert MAX_LINES < 10_000_000  # which took 8.2 GB


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (b"valence,arousal" + b",0" * MAX_LINE, 1),
        (b"valence,arousal\n" + b"0," * MAX_LINE, 2),
        (b"valence,arousal\n" + bytes(2 * MAX_LINE), 2),
        (b"valence,arousal\r0,0\r" + b"0," * MAX_LINE, 3),
        (b"valence,arousal\n\xff\n" + b"0," * MAX_LINE, 3),
        (("valence,arousal\n0,0\n" + "0," * MAX_LINE).encode("utf-16"), 3),
    ],
    ids=["header", "label", "nul", "carriage returns", "latin-1", "utf-16"],
)
def test_a_line_without_end_is_left_out(tmp_path, content, line):
    (tmp_path / "a.txt").write_bytes(content)
    rows, found = read(tmp_path / "a.txt")
    text = f"has more than 65,536 characters in line {line}; the file is left out"
    assert (rows, found) == ({}, [f"a.txt: {text}"])


def test_nul_bytes_cost_their_line_only(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"valence,arousal\n0,0\n0,\0\n0.5,0.5\n")
    rows, found = read(tmp_path / "a.txt")
    assert rows["a"].va_where.tolist() == [True, False, True]
    assert found == ["a.txt:3: arousal is '\\x00', not a number; left out"]


@pytest.mark.parametrize(
    ("encoding", "end", "known"),
    [
        ("utf-8", "\n", True),
        ("utf-8-sig", "\r\n", True),
        ("utf-8", "\r", True),
        ("utf-16", "\n", True),
        ("utf-16", "\r", True),
        ("latin-1", "\n", False),
    ],
)
def test_encodings_and_line_ends(tmp_path, encoding, end, known):
    (tmp_path / "a").write_bytes(end.join(["é", "b", ""]).encode(encoding))
    file, found = open_text(tmp_path / "a")
    with file:
        assert [line.strip() for line in file] == ["é", "b"]
    assert found is known


def read_face_boxes(path):
    return read_boxes(path, Findings(path.parent))


def read_labels(path):
    return read_table(path, Findings(path.parent))


LONG = "x" * (MAX_LINE + 1)
MANY = "v/1.jpg,1,1,1,1\n" * 200
FRAMES = "\n".join(f"v/{n}.jpg" for n in range(1, 202))
OPEN = '"' + f"{'x' * 60_000}\n" * 4  # a quote that is never closed


@pytest.mark.parametrize(
    ("read", "content", "message"),
    [
        (read_face_boxes, f"{BOXES}\n{LONG}", "more than 65,536 characters in line 2"),
        (read_face_boxes, LONG, "more than 65,536 characters in line 1"),
        (read_face_boxes, f"{BOXES}\n" + "1,2,3,4,5\n" * 200, "more than 200 lines"),
        (read_face_boxes, f"{BOXES}\n{OPEN}", "field larger than field limit"),
        (
            read_face_boxes,
            f"{BOXES}\n\0,1,1,1,1",
            "is no table of boxes, for it is no text",
        ),
        (read_face_boxes, f"{BOXES}\n1e999,1,1,1,1", "line 2: frame is '1e999'"),
        (read_face_boxes, f"{BOXES}\n\udcff", "line 2: has 1 cells"),
        (read_labels, f"{TABLE}\n{LONG}", "more than 65,536 characters in line 2"),
        (read_labels, f"{TABLE}\n{MANY}", "more than 200 lines"),
        (read_labels, f"{TABLE}\n{OPEN}", "field larger than field limit"),
        (read_labels, f"{TABLE}\n\0,1,1,1,1", None),
        (read_labels, f"{TABLE}\na,1e999,1,1", "labels nothing"),
        (read_labels, f"{TABLE}\n\udcff", "utf-8"),
        (read_template, f"{TEMPLATE}\n{LONG}", "more than 65,536 characters in line 2"),
        (read_template, f"{TEMPLATE}\n{FRAMES}", "more than 200 lines"),
        (read_template, f"{TEMPLATE}\nv/{'9' * 5000}.jpg", "line 2: 'v/999"),
        (read_template, f"{TEMPLATE}\nv/99999999999.jpg", "line 2: frame numbers run"),
        (read_template, f"{TEMPLATE}\n../v/00001.jpg", "line 2: '../v/00001.jpg' is"),
        (read_template, f"{TEMPLATE}\n\udcff", "is no text in UTF-8"),
    ],
)
def test_tables_are_refused_in_a_sentence(
    tmp_path, monkeypatch, read, content, message
):
    monkeypatch.setattr(text_lines, "MAX_LINES", 200)
    path = tmp_path / "a.csv"
    path.write_text(content, "utf-8", "surrogateescape")
    if message is None:  # of use all the same
        assert read(path)
        return
    with pytest.raises(ValueError, match=re.escape(message)) as refusal:
        read(path)
    text = str(refusal.value)
    assert "a.csv" in text and "\n" not in text and len(text) < 300
