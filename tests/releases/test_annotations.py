"""The text formats against values worked out by hand and a plain second reading."""

import tracemalloc

import numpy as np
import pytest

from abaw_jax.releases.annotations import parse_header, read_annotation
from abaw_jax.releases.findings import Findings
from abaw_jax.tasks import ACTION_UNITS, EXPRESSIONS
from tests.support.tiny_release import AU_HEADER, EXPR_HEADER, MTL_HEADER


@pytest.fixture
def read(tmp_path):
    """Reads text as the annotation of subject "s"; gives its rows and the findings."""

    def read(text, set_name):
        path = tmp_path / "s.txt"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        findings = Findings(tmp_path)
        rows = read_annotation(path, set_name, findings)
        return rows, [(a.kind, a.line) for a in findings.anomalies()]

    return read


def test_line_k_after_the_header_labels_frame_k(read):
    rows, found = read("valence,arousal\n0.25,-1\n-5,-5\n-5.0,0.5\n1,0\n", "va")
    assert found == []
    np.testing.assert_array_equal(rows["s"].frame, [1, 2, 3, 4])
    np.testing.assert_array_equal(rows["s"].va_where, [True, False, False, True])
    # -5 in either takes both.
    np.testing.assert_array_equal(rows["s"].va, [[0.25, -1], [0, 0], [0, 0], [1, 0]])
    assert not rows["s"].expr_where.any() and not rows["s"].au_where.any()


def test_columns_are_found_by_name(read):
    rows, _ = read("arousal,valence\n0.25,-1\n", "va")
    np.testing.assert_array_equal(rows["s"].va, [[-1, 0.25]])


def test_expressions_of_the_first_editions_have_no_other(read):
    header = EXPR_HEADER.removesuffix(",Other")
    rows, found = read(header + "\n6\n7\n-1\n", "expr")
    assert found == [("range", 3)]  # there is no eighth class to be
    np.testing.assert_array_equal(rows["s"].expr, [6, 0, 0])
    np.testing.assert_array_equal(rows["s"].expr_where, [True, False, False])


def test_expressions_in_another_order_are_renumbered(read):
    rows, _ = read("Happiness,Neutral,Other\n0\n1\n2\n", "expr")
    names = [EXPRESSIONS[k] for k in rows["s"].expr]
    assert names == ["Happiness", "Neutral", "Other"]


def test_action_units_of_the_first_edition_fall_into_place(read):
    rows, _ = read("AU1,AU2,AU4,AU6,AU12,AU15,AU20,AU25\n1,0,1,0,1,-1,1,1\n", "au")
    where = dict(zip(ACTION_UNITS, rows["s"].au_where[0].tolist(), strict=True))
    assert [u for u, ok in where.items() if ok] == "AU1 AU2 AU4 AU6 AU12 AU25".split()
    values = dict(zip(ACTION_UNITS, rows["s"].au[0].tolist(), strict=True))
    assert [unit for unit, v in values.items() if v] == ["AU1", "AU4", "AU12", "AU25"]


def test_one_action_unit_of_one_frame_can_be_missing(read):
    rng = np.random.default_rng(0)
    units = rng.integers(-1, 2, (500, 12))
    lines = [",".join(map(str, row)) for row in units]
    rows, found = read("\n".join([AU_HEADER, *lines]), "au")
    assert found == []
    np.testing.assert_array_equal(rows["s"].au_where, units >= 0)
    np.testing.assert_array_equal(rows["s"].au, np.maximum(units, 0))
    np.testing.assert_array_equal(rows["s"].usable(), (units >= 0).any(axis=1))


def test_list_sorts_groups_and_counts_frames_once(read):
    units = ",".join(["1"] * 12)
    none = ",".join(["-1"] * 12)
    lines = [
        MTL_HEADER,
        f"b/00003.jpg,0.5,0.5,2,{none}",
        f"a/00002.jpg,-5,-5,-1,{none}",
        f"b/00001.jpg,-5,0.5,-1,{units}",
        f"a/00002.jpg,-5,-5,4,{none}",  # usable, so it stands for frame 2
        f"b/00003.jpg,0.1,0.1,1,{none}",  # after the first usable one
        "",
        f"video10_1/12.PNG,0,0,0,{units}",
    ]
    rows, found = read("\n".join(lines), "mtl")
    assert sorted(found) == [("blank_line", 7), ("duplicate", 3), ("duplicate", 6)]
    assert sorted(rows) == ["a", "b", "video10_1"]
    np.testing.assert_array_equal(rows["a"].frame, [2])
    np.testing.assert_array_equal(rows["a"].expr, [4])
    np.testing.assert_array_equal(rows["b"].frame, [1, 3])
    np.testing.assert_array_equal(rows["b"].va, np.float32([[0, 0], [0.5, 0.5]]))
    np.testing.assert_array_equal(rows["b"].va_where, [False, True])
    np.testing.assert_array_equal(rows["b"].expr_where, [False, True])
    np.testing.assert_array_equal(rows["b"].au_where[:, 0], [True, False])
    np.testing.assert_array_equal(rows["video10_1"].frame, [12])


@pytest.mark.parametrize(
    ("text", "frames"),
    [
        ("valence,arousal\r\n0.5,0.5\r\n0.5,0.5\r\n", [1, 2]),
        ("valence,arousal\r\r\n0.5,0.5\r\r\n0.5,0.5\r\r\n", [1, 2]),
        ("valence,arousal\r0.5,0.5\r0.5,0.5\r", [1, 2]),
        ("valence,arousal\n0.5,0.5\n0.5,0.5\n\n \n\n", [1, 2]),
        ("\n\nvalence,arousal\n0.5,0.5\n0.5,0.5", [1, 2]),
        (" Valence , AROUSAL \n 0.5 , 0.5 \n5e-1,+0.5", [1, 2]),
        ("\ufeffvalence,arousal\n0.5,0.5\n0.5,0.5\n", [1, 2]),
        ("valence,arousal\n0.5,0.5\n0.5,0.5\n".encode("utf-16"), [1, 2]),
        # A blank line is a frame without label, not a shift of all that follow.
        ("valence,arousal\n0.5,0.5\n\n0.5,0.5\n", [1, 3]),
    ],
)
def test_line_ends_blanks_and_encodings(read, text, frames):
    rows, _ = read(text, "va")
    np.testing.assert_array_equal(rows["s"].frame, frames)
    np.testing.assert_array_equal(rows["s"].va, np.full((2, 2), 0.5, np.float32))
    assert rows["s"].va_where.all()


@pytest.mark.parametrize(
    ("set_name", "text", "kind", "line"),
    [
        ("va", "", "empty_file", None),
        ("va", "\n \n", "empty_file", None),
        ("va", "valence,arousal\n", "empty_file", None),
        ("va", EXPR_HEADER + "\n1\n", "header", 1),
        ("expr", "valence,arousal\n0,0\n", "header", 1),
        ("au", "\nimage,valence,arousal,expression,aus\n", "header", 2),
        ("va", "0.5,0.5\n0.5,0.5\n", "header", 1),
        ("va", "valence,valence\n0.5,0.5\n", "header", 1),
        ("au", "AU1,AU2,AU1\n1,1,1\n", "header", 1),
        ("mtl", "image,valence,arousal,smile\n", "header", 1),
        ("va", "valence,arousal\n0.5\n", "fields", 2),
        ("va", "valence,arousal\n0.5,0.5,0.5\n", "fields", 2),
        ("va", "valence,arousal\n0.5;0.5\n", "fields", 2),
        ("va", "valence,arousal\n0.5,high\n", "number", 2),
        ("va", "valence,arousal\n0.5,nan\n", "number", 2),
        ("va", "valence,arousal\n0.5,\n", "number", 2),
        ("va", "valence,arousal\n0.5,1.001\n", "range", 2),
        ("va", "valence,arousal\ninf,0\n", "range", 2),
        ("va", "valence,arousal\n-5.5,0\n", "range", 2),
        ("expr", EXPR_HEADER + "\n8\n", "range", 2),
        ("expr", EXPR_HEADER + "\n2.5\n", "range", 2),
        ("expr", EXPR_HEADER + "\n-5\n", "range", 2),
        ("mtl", f"{MTL_HEADER}\na/b/1.jpg,0,0,0{',1' * 12}\n", "path", 2),
        ("mtl", f"{MTL_HEADER}\n/a/1.jpg,0,0,0{',1' * 12}\n", "path", 2),
        ("mtl", f"{MTL_HEADER}\n../1.jpg,0,0,0{',1' * 12}\n", "path", 2),
        ("mtl", f"{MTL_HEADER}\na\\1.jpg,0,0,0{',1' * 12}\n", "path", 2),
        ("mtl", f"{MTL_HEADER}\nC:/1.jpg,0,0,0{',1' * 12}\n", "path", 2),
        ("mtl", f"{MTL_HEADER}\na/x.jpg,0,0,0{',1' * 12}\n", "path", 2),
        ("mtl", f"{MTL_HEADER}\na/0.jpg,0,0,0{',1' * 12}\n", "path", 2),
        ("mtl", f"{MTL_HEADER}\na/{'9' * 12}.jpg,0,0,0{',1' * 12}\n", "path", 2),
        ("mtl", f"{MTL_HEADER}\na/{'9' * 5000}.jpg,0,0,0{',1' * 12}\n", "path", 2),
    ],
)
def test_what_cannot_be_used_is_named_with_its_line(read, set_name, text, kind, line):
    rows, found = read(text, set_name)
    assert (kind, line) in found
    assert not any(table.usable().any() for table in rows.values())


def test_a_bad_value_costs_no_other(read):
    rows, found = read(f"{AU_HEADER}\n1,2,{','.join('1' * 10)}\n", "au")
    assert found == [("range", 2)]
    np.testing.assert_array_equal(rows["s"].au_where[0], np.arange(12) != 1)
    text = f"{MTL_HEADER}\na/1.jpg,9,0,6{',0' * 12}\n"
    rows, found = read(text, "mtl")
    assert found == [("range", 2)]
    assert not rows["a"].va_where[0] and rows["a"].expr[0] == 6
    assert rows["a"].au_where.all() and not rows["a"].va.any()


def test_bytes_that_are_not_utf8_cost_no_label(read):
    rows, found = read(b"valence,arousal\n0.5,0.5\n\xff\xfe,0.5\n0.25,0\n", "va")
    assert found == [("encoding", 1), ("number", 3)]
    np.testing.assert_array_equal(rows["s"].va_where, [True, False, True])


def test_thousands_of_bad_lines_become_a_short_report(tmp_path):
    path = tmp_path / "s.txt"
    path.write_text("valence,arousal\n" + "bad,0\n" * 5000)
    findings = Findings(tmp_path)
    read_annotation(path, "va", findings)
    anomalies = findings.anomalies()
    assert len(anomalies) == 21
    assert str(anomalies[0]) == "s.txt:2: valence is 'bad', not a number; left out"
    assert str(anomalies[-1]) == "s.txt: 4980 more of this kind"


def test_any_bytes_are_survived(read):
    rng = np.random.default_rng(7)
    whole = f"{MTL_HEADER}\na/1.jpg,0,0,0{',1' * 12}\n".encode() * 3
    for _ in range(300):
        data = np.frombuffer(whole, np.uint8).copy()
        places = rng.integers(0, len(data), rng.integers(1, 30))
        data[places] = rng.integers(0, 256, len(places))
        rows, _ = read(data.tobytes()[: rng.integers(1, len(data))], "mtl")
        for table in rows.values():
            assert np.isfinite(table.va).all() and (np.abs(table.va) <= 1).all()
            assert ((table.expr >= 0) & (table.expr < 8)).all()


def test_header_that_is_unknown_is_quoted():
    with pytest.raises(ValueError, match=r"first line 'joy,anger' is no header"):
        parse_header("joy,anger")


def test_memory_of_a_long_annotation_is_a_few_hundred_bytes_a_line(tmp_path):
    count, path = 20_000, tmp_path / "x.txt"
    path.write_text("valence,arousal\n" + "0.25,-0.5\n" * count)
    tracemalloc.start()
    read_annotation(path, "va", Findings(tmp_path))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 600 * count
