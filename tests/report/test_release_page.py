"""The page of a release: what the report says, faces as stored, nothing executable."""

import base64
import io
import json
import re

import numpy as np
import pytest
from PIL import Image

from abaw_jax.report.html_page import escape, html_page
from abaw_jax.report.release_page import Face, release_page
from abaw_jax.report.release_report import describe, pick_faces, write_page
from abaw_jax.store.reader import open_store
from abaw_jax.store.writer import prepare
from abaw_jax.tasks import EXPRESSIONS
from tests.support.tiny_release import COUNTS, SIZE, write_release


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    root = tmp_path_factory.mktemp("prepared")
    report = prepare(write_release(root / "release"), root / "store", image_size=SIZE)
    write_page(root / "store", report, "tiny & <b>small</b>")
    return open_store(root / "store"), report


def read_page(store):
    return (store.path / "report.html").read_text()


def test_every_count_stands_in_the_table(prepared):
    store, _ = prepared
    rows = re.findall(r"<tr><th>(\w+ \w+)((?:<td[^>]*>[^<]*)+)", read_page(store))
    found = {
        name: tuple(int(n) for n in re.findall(r"<td>([\d,]+)", cells))
        for name, cells in rows
    }
    assert found == COUNTS


def test_counts_of_classes_units_and_levels(prepared):
    store, report = prepared
    for name, splits in report.sets.items():
        for split, counts in splits.items():
            labels = store.labels(name, split)  # nothing overlaps in this release
            classes = labels.expr[labels.expr_where]
            assert counts.expressions == np.bincount(classes, minlength=8).tolist()
            known = labels.au_where
            assert counts.units_known == known.sum(0).tolist()
            assert counts.units_present == (labels.au * known).sum(0).tolist()
            for column, bins in enumerate((counts.valence, counts.arousal)):
                values = labels.va[labels.va_where, column]
                expected = [
                    sum(-1 + k / 10 <= v < -1 + (k + 1) / 10 for v in values.round(5))
                    for k in range(20)
                ]
                assert sum(bins) == len(values) == sum(expected)
    found = json.loads((store.path / "report.json").read_text())
    assert len(found["sets"]["au"]["train"]["units_present"]) == 12


def test_a_release_prepared_again_writes_the_same_page(prepared, tmp_path):
    store, report = prepared
    before = read_page(store)
    write_page(store.path, report, "tiny & <b>small</b>")
    assert read_page(store) == before


def test_the_page_is_alone_and_runs_nothing(prepared):
    store, _ = prepared
    page = read_page(store)
    assert "<script" not in page and "http" not in page
    assert "tiny &amp; &lt;b&gt;small" in page
    assert "prefers-color-scheme: dark" in page


def test_what_a_release_calls_its_files_is_harmless():
    evil = "<script>alert(1)</script>"
    report = {
        "subjects": 1,
        "images": 1,
        "resized": 0,
        "sets": {},
        "overlap": {"va": {"mtl": [evil]}},
        "removed": {},
        "anomalies": [{"kind": evil, "file": evil, "line": 3, "text": evil}] * 300,
    }
    face = Face(np.zeros((4, 4, 3), np.uint8), evil, 1, evil, evil)
    page = release_page(report, [face], evil)
    assert "<script" not in page
    assert page.count("<li><code>") == 200 and "100 more, all in report.json" in page


def test_faces_are_those_of_the_store_with_their_labels(prepared):
    store, _ = prepared
    faces = pick_faces(store, each=3)
    origins = [face.origin for face in faces]
    assert {o: origins.count(o) for o in origins} == {
        name: min(3, frames) for name, (_, frames, _, _) in COUNTS.items()
    }
    names = [subject.name for subject in store.subjects]
    for face in faces:
        index = names.index(face.subject)
        place = np.flatnonzero(store.numbers(index) == face.frame)
        np.testing.assert_array_equal(face.pixels, store.frames(index)[place][0])
    page = release_page(prepared[1].as_json(), faces, "x")
    pictures = re.findall(r"base64,([^']+)'", page)
    assert len(pictures) == len(faces)
    with Image.open(io.BytesIO(base64.b64decode(pictures[0]))) as image:
        colour = np.asarray(image).reshape(-1, 3).mean(0)
    np.testing.assert_allclose(colour, faces[0].pixels.reshape(-1, 3).mean(0), atol=4)


def test_labels_are_reported_in_a_few_words(prepared):
    labels = prepared[0].labels("mtl", "train")
    message = [describe(labels, row) for row in range(len(labels))]
    units = "AU1 AU2 AU4 AU6 AU7 AU10 AU12 AU15 AU23 AU24 AU25 AU26"
    assert message == [
        f"{EXPRESSIONS[3].lower()}, v +0.10 a +0.20, {units}",
        units,
        "v -0.50 a +0.50",
    ]


def test_text_for_a_page_can_always_be_written():
    assert escape("<a href='x'>\x1b\n\udcff é &") == (
        r"&lt;a href=&#x27;x&#x27;&gt;\x1b\n\udcff é &amp;"
    )
    page = html_page("\udcff</title><script>", [])
    assert (
        page.encode() and r"<title>\udcff&lt;/title&gt;&lt;script&gt;</title>" in page
    )
