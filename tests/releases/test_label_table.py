"""Labels of one's own videos: every form of a column, and what is refused."""

import numpy as np
import pytest

from abaw_jax.releases.crops import ReleaseError
from abaw_jax.releases.findings import Findings
from abaw_jax.releases.frame_times import FrameTimes
from abaw_jax.releases.label_table import label_sets, read_table
from abaw_jax.tasks import ACTION_UNITS

NUMBERS = {name: np.arange(1, 11, dtype=np.int32) for name in ("a", "b", "é")}


@pytest.fixture
def read(tmp_path):
    """Reads a table from its lines; gives the labels and the kinds of findings."""

    def read(*lines, times=None):
        times = times or FrameTimes(10.0)
        path, findings = tmp_path / "labels.csv", Findings(tmp_path)
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        table = read_table(path, findings)
        labels = label_sets(table, NUMBERS, lambda _: times, findings)
        kept = {key: part.rows for key, part in labels.items() if part.rows}
        return kept, [anomaly.kind for anomaly in findings.anomalies()]

    return read


def test_labels_of_several_tasks_are_the_multi_task_set(read):
    labels, kinds = read(
        "video,frame,valence,arousal,expression,AU01,AU12,split",
        "a,1,0.5,-0.25,Happiness,1,0,train",
        "a.mp4,2,,,3,,1,train",
        "some/folder/b.mkv,4,1,1,,,,val",
    )
    assert kinds == [] and sorted(labels) == [("mtl", "train"), ("mtl", "validation")]
    rows = labels["mtl", "train"]["a"]
    assert rows.frame.tolist() == [1, 2]
    assert rows.va[0].tolist() == [0.5, -0.25] and rows.va_where.tolist() == [1, 0]
    assert rows.expr.tolist() == [4, 3] and rows.expr_where.all()
    one, twelve = (ACTION_UNITS.index(name) for name in ("AU1", "AU12"))
    assert rows.au[0, [one, twelve]].tolist() == [1, 0]
    assert rows.au_where.sum(1).tolist() == [2, 1]
    assert labels["mtl", "validation"]["b"].frame.tolist() == [4]


@pytest.mark.parametrize(
    ("columns", "values", "name"),
    [
        ("valence,arousal", "0,0", "va"),
        ("expression", "sadness", "expr"),
        ("AU06_c", "1", "au"),
        ("au_6,valence", "1,", "au"),
    ],
)
def test_labels_of_one_task_are_its_set(read, columns, values, name):
    labels, kinds = read(f"video,frame,split,{columns}", f"a,1,train,{values}")
    assert [*labels] == [(name, "train")] and kinds == []


def test_times_are_the_nearest_frames(read):
    lines = [f"a,{time},0,0,train" for time in (0, 0.26, 0.9)]
    header = "video,time,valence,arousal,split"
    labels, _ = read(header, *lines)
    assert labels["va", "train"]["a"].frame.tolist() == [1, 4, 10]
    uneven = FrameTimes(5.0, np.array([0, 0.2, 0.25, 0.3, 1.0]))
    labels, _ = read(header, *lines, times=uneven)
    assert labels["va", "train"]["a"].frame.tolist() == [1, 3, 5]


def test_without_splits_every_fifth_video_validates(tmp_path):
    names = [f"v{k:02d}" for k in range(12)]
    lines = [f"{name},1,0,0" for name in names]
    (tmp_path / "a.csv").write_text("\n".join(["video,frame,valence,arousal", *lines]))
    findings = Findings(tmp_path)
    table = read_table(tmp_path / "a.csv", findings)
    held_out = [video for video, split in table.lines if split == "validation"]
    assert held_out == ["v04", "v09"]
    assert "2 of 12 videos validate" in findings.anomalies()[0].text


def test_accents_and_marks_of_order_do_not_matter(read):
    labels, _ = read("\ufeffvideo,frame,valence,arousal,split", "e\u0301.mp4,1,0,0,dev")
    assert [*labels["va", "validation"]] == ["é"]


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        ("a,1,2,0,0,0,train", "range"),
        ("a,1,x,0,0,0,train", "range"),
        ("a,1,0,0,Joy,0,train", "range"),
        ("a,1,0,0,8,0,train", "range"),
        ("a,1,0,0,0,0.5,train", "range"),
        ("a,one,0,0,0,0,train", "number"),
        ("a,1.5,0,0,0,0,train", "number"),
        ("a,1,0,0,0,0,test", "split"),
        ("omega,1,0,0,0,0,train", "unknown_subject"),
        ("a,2,0,0,0,0,train", "duplicate"),
    ],
)
def test_what_cannot_be_used_is_reported_and_the_rest_kept(read, line, kind):
    header = "video,frame,valence,arousal,expression,AU4,split"
    labels, kinds = read(header, "a,2,0.5,0.5,1,1,train", line)
    assert kinds == [kind]
    rows = labels["mtl", "train"]["a"]
    assert rows.va[rows.frame == 2].tolist() == [[0.5, 0.5]]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([], "no header"),
        (["video,valence", "a,0"], "needs the columns video and frame"),
        (["video,frame,mood", "a,1,3"], "has no column of labels"),
        (["video,frame,valence,arousal"], "labels nothing"),
        (["video,frame,valence,arousal", "a,0,0,0"], "line 2: frames count from 1"),
    ],
)
def test_a_table_that_is_none_is_refused(read, lines, message):
    with pytest.raises(ReleaseError, match=message):
        read(*lines)


def test_a_table_that_is_no_text_is_refused(tmp_path):
    (tmp_path / "a.csv").write_bytes(b"\xff\xfe\x00video")
    for name in ("a.csv", "missing.csv"):
        with pytest.raises(ReleaseError, match="cannot be read"):
            read_table(tmp_path / name, Findings(tmp_path))
