"""Test lists of all editions, from the file to the store."""

import numpy as np
import pytest

from abaw_jax.releases.aff_wild2 import scan_release
from abaw_jax.releases.findings import Findings
from abaw_jax.releases.test_lists import read_test_lists
from abaw_jax.store.reader import open_store
from abaw_jax.store.writer import prepare
from tests.support.tiny_release import MTL_HEADER, SIZE, write_lines, write_release

LENGTHS = {"alpha": 12, "beta_left": 4}


def read(tmp_path, *texts, name="va"):
    paths = []
    for number, lines in enumerate(texts):
        paths.append(tmp_path / f"{number}.txt")
        write_lines(paths[-1], lines)
    findings = Findings(tmp_path)
    return read_test_lists({name: paths}, LENGTHS, findings)[name], findings.anomalies()


def test_a_name_asks_for_every_frame_of_its_video(tmp_path):
    found, anomalies = read(tmp_path, ["beta_left", "alpha.txt", ""])
    assert {name: each.tolist() for name, each in found.items()} == {
        "beta_left": [1, 2, 3, 4],
        "alpha": list(range(1, 13)),
    }
    assert not anomalies


@pytest.mark.parametrize("header", [MTL_HEADER, "image_location,valence,arousal"])
def test_rows_of_images_ask_for_those_frames_once(tmp_path, header):
    rows = ["alpha/00007.jpg,0,0", "alpha/00003.jpg", "alpha/00007.jpg"]
    found, anomalies = read(tmp_path, [header, *rows])
    assert found["alpha"].tolist() == [3, 7] and found["alpha"].dtype == np.int32
    assert not anomalies


@pytest.mark.parametrize(
    ("line", "kind", "text"),
    [
        ("omega", "unknown_subject", "no crops of 'omega'"),
        ("omega/00001.jpg", "unknown_subject", "no crops of 'omega'"),
        ("../alpha/00001.jpg", "path", "refused"),
        ("/alpha", "path", "names neither a subject nor an image"),
        ("..", "path", "refused"),
        ("alpha/0.jpg", "path", "frame numbers run from 1"),
    ],
)
def test_a_line_of_no_use_is_reported_and_costs_no_other(tmp_path, line, kind, text):
    found, (anomaly,) = read(tmp_path, ["alpha", line])
    assert list(found) == ["alpha"]
    assert (anomaly.kind, anomaly.line) == (kind, 2) and text in anomaly.text


def test_lists_that_agree_are_fine_and_others_are_reported(tmp_path):
    _, anomalies = read(tmp_path, ["alpha"], ["image_location,x", "alpha/00001.jpg"])
    assert not anomalies
    found, (anomaly,) = read(tmp_path, ["alpha"], ["beta_left"])
    assert list(found) == ["alpha"] and "names other subjects" in anomaly.text


LISTS = {
    "names/Valence_Arousal_Estimation_Challenge_test_set_release.txt": "va",
    "names/Expression_Classification_Challenge_test_set_release.txt": "expr",
    "names/Action_Unit_Detection_Challenge_test_set_release.txt": "au",
    "Multi_Task_Learning_Challenge_test_set_release.txt": "mtl",
    "MTL_Challenge_test_set_release.txt": "mtl",
    "prediction_files_format/CVPR_5th_ABAW_VA_test_set_sample.txt": "va",
    "CVPR_5th_ABAW_AU_test_set_example.txt": "au",
    "ICCV_9th_ABAW_Expr_test_set_sample.txt": "expr",
    "annotations/VA_Estimation_Challenge/test_set.txt": "va",
}


@pytest.mark.parametrize("file", LISTS)
def test_lists_of_every_edition_are_found(tmp_path, file):
    root = write_release(tmp_path / "release")
    write_lines(root / file, ["alpha"])
    found = scan_release(root, Findings(root))
    assert found.tests == {LISTS[file]: (root / file,)}
    assert found.annotations.keys() == {
        (name, split)
        for name in ("va", "expr", "au", "mtl")
        for split in ("train", "validation")
    }


def test_a_store_knows_what_to_predict(tmp_path):
    root = write_release(tmp_path / "release")
    rows = ["alpha/00002.jpg,,", "gamma10_1/00001.jpg,,", "alpha/00005.jpg,,"]
    write_lines(root / "MTL_Challenge_test_set_release.txt", [MTL_HEADER, *rows])
    write_lines(root / "AU_test_set.txt", ["beta_left", "alpha"])
    report = prepare(root, tmp_path / "store", image_size=SIZE)
    counted = {name: vars(each) for name, each in report.tests.items()}
    assert counted == {
        "mtl": {"subjects": 2, "frames": 2, "frames_without_image": 1},
        "au": {"subjects": 2, "frames": 23, "frames_without_image": 1},
    }
    assert "au test" in report.summary()
    store = open_store(tmp_path / "store")
    names = [subject.name for subject in store.subjects]
    subject, frame = store.test_frames("mtl")
    asked = [(names[s], int(f)) for s, f in zip(subject, frame, strict=True)]
    assert asked == [("alpha", 2), ("alpha", 5), ("gamma10_1", 1)]
    assert len(store.test_frames("au")[0]) == 24
    assert [len(each) for each in store.test_frames("va")] == [0, 0]
