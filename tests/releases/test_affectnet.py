"""AffectNet to a store, in both layouts, and every way in which it can be wrong."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from abaw_jax.releases import affectnet
from abaw_jax.releases.affectnet import open_affectnet
from abaw_jax.releases.crops import ReleaseError
from abaw_jax.store.reader import check, open_store
from abaw_jax.store.writer import inspect, prepare
from abaw_jax.tasks import EXPRESSIONS
from tests.support.tiny_affectnet import (
    COUNTS,
    HEADER,
    IMAGES,
    LANDMARKS,
    SIZE,
    place,
    write_lists,
    write_sets,
)
from tests.support.tiny_release import contents, counts_of, write_lines

ROOT = Path(__file__).parents[2]
TRAINING = "Manually_Annotated_file_lists/training.csv"
BOTH = pytest.mark.parametrize("write", [write_lists, write_sets])


def pack(root, store, **options):
    options = {"image_size": SIZE, "read": open_affectnet, **options}
    return prepare(root, store, **options)


def look(root):
    return inspect(root, image_size=SIZE, read=open_affectnet)


def known_counts(report):
    return {k: v for k, v in counts_of(report).items() if k in COUNTS}


@pytest.mark.parametrize("images", ["pixels", "jpeg"])
@BOTH
def test_tiny_affectnet_is_packed_as_it_is_known(tmp_path, write, images):
    report = pack(write(tmp_path / "data"), tmp_path / "store", images=images)
    assert known_counts(report) == COUNTS
    others = {k: v for k, v in counts_of(report).items() if k not in COUNTS}
    assert set(others.values()) == {(0, 0, 0, 0)} and len(others) == 4
    assert (report.subjects, report.images) == (2, IMAGES)
    assert report.resized == (IMAGES if write is write_lists else 0)
    assert report.anomalies == [] and report.overlap == {}
    check(tmp_path / "store")
    store = open_store(tmp_path / "store")
    assert [s.name for s in store.subjects] == ["train-00000", "validation-00000"]
    assert len(store.sound(0)) == len(store.sound(1)) == 0
    names = []
    for split, index, first in (("train", 0, 1), ("validation", 1, 8)):
        va, expr = store.labels("va", split), store.labels("expr", split)
        # A face is red by its number, valence is a tenth of it.
        number = va.frame + first - 1
        np.testing.assert_allclose(va.va[:, 0], number / 10, rtol=1e-6)
        np.testing.assert_allclose(va.va[:, 1], -number / 10, rtol=1e-6)
        assert va.va_where.all() and not va.expr_where.any()
        assert expr.expr_where.all() and not expr.va_where.any()
        assert not va.au_where.any() and set(va.subject) == set(expr.subject) == {index}
        frames, numbers = store.frames(index)[:], store.numbers(index)
        red = frames[:, 8, 8, 0].astype(int)
        assert np.abs(red - 20 * (numbers + first - 1)).max() <= 3
        assert (store.row_of(va.subject, va.frame) >= 0).all()
        frame = expr.frame + first - 1
        names += [(n, EXPRESSIONS[e]) for n, e in zip(frame, expr.expr, strict=True)]
    assert names == [
        (1, "Neutral"),
        (2, "Happiness"),
        (5, "Anger"),
        (8, "Fear"),
        (9, "Disgust"),
        (10, "Surprise"),
    ]


def test_nothing_but_the_face_is_in_a_crop(tmp_path):
    pack(write_lists(tmp_path / "data"), tmp_path / "store")
    store = open_store(tmp_path / "store")
    first = store.frames(0)[0].astype(int)
    # The surround is grey; JPEG rings into the outermost pixels of a face.
    assert np.abs(first[2:-2, 2:-2] - (20, 100, 235)).max() <= 6


@BOTH
def test_shards_are_packed_once_and_each_by_itself(tmp_path, write, monkeypatch):
    monkeypatch.setattr(affectnet, "SHARD_SIZE", 3)
    root, store = write(tmp_path / "data"), tmp_path / "store"
    report = pack(root, store)
    shards = {path.name: path for path in store.glob("subjects/*")}
    assert sorted(shards) == [
        "train-00000",
        "train-00001",
        "train-00002",
        "validation-00000",
    ]
    assert known_counts(report)["va train"] == (3, *COUNTS["va train"][1:])
    va = open_store(store).labels("va", "train")
    np.testing.assert_array_equal(va.subject, [0, 0, 1, 1])
    np.testing.assert_array_equal(va.frame, [1, 2, 1, 3])
    times = {n: (p / "frames.npy").stat().st_mtime_ns for n, p in shards.items()}
    changed = next(p for p in root.rglob("*.jpg") if p.stem in ("00000002", "2"))
    os.utime(changed, ns=(1, 1))
    assert pack(root, store) == report
    again = {
        n
        for n, p in shards.items()
        if (p / "frames.npy").stat().st_mtime_ns != times[n]
    }
    assert again == {"train-00000"}
    pack(root, tmp_path / "fresh")
    assert contents(store) == contents(tmp_path / "fresh")


def test_a_moved_face_box_is_packed_again(tmp_path):
    root, store = write_lists(tmp_path / "data"), tmp_path / "store"
    pack(root, store)
    old = open_store(store).fingerprint
    edit(root / TRAINING, 2, f"{place(1)},0,0,20,24,{LANDMARKS},0,0.1,-0.1")
    pack(root, store)
    assert open_store(store).fingerprint != old
    assert np.abs(open_store(store).frames(0)[0][:8, :8].astype(int) - 128).max() < 9


def edit(path, number, text):
    lines = path.read_text().splitlines()
    lines[number - 1] = text
    write_lines(path, lines)


def row(where="101/00000001.jpg", box="30,10,20,24", labels="0,0.1,-0.1"):
    return f"{where},{box},{LANDMARKS},{labels}"


# Text of the first row; kind and text of the anomaly; counts of va and expr train.
WRONG_ROWS = {
    "absolute": (
        row("/etc/1.jpg"),
        "path",
        "'/etc/1.jpg' is no path",
        (3, 1, 2),
        (2, 1, 3),
    ),
    "upwards": (row("101/../../1.jpg"), "path", "refused", (3, 1, 2), (2, 1, 3)),
    "drive": (row("C:/1.jpg"), "path", "refused", (3, 1, 2), (2, 1, 3)),
    "backslash": (row("..\\1.jpg"), "path", "refused", (3, 1, 2), (2, 1, 3)),
    "no path": (row(""), "path", "refused", (3, 1, 2), (2, 1, 3)),
    "fields": ("101/00000001.jpg,1,2", "fields", "fewer values", (3, 1, 3), (2, 1, 4)),
    "valence": (row(labels="0,x,0"), "number", "valence is 'x'", (3, 1, 3), (3, 1, 3)),
    "nothing": (row(labels="0,,0"), "number", "valence is ''", (3, 1, 3), (3, 1, 3)),
    "nan": (row(labels="nan,1,0"), "number", "expression is", (4, 1, 2), (2, 1, 4)),
    "range": (row(labels="0,0,1.5"), "range", "arousal is '1.5'", (3, 1, 3), (3, 1, 3)),
    "class": (row(labels="11,0,0"), "range", "0 to 10", (4, 1, 2), (2, 1, 4)),
    "half": (row(labels="0.5,0,0"), "range", "whole number", (4, 1, 2), (2, 1, 4)),
    "box text": (row(box="a,1,2,3"), "number", "box 'a,1,2,3'", (3, 1, 3), (2, 1, 4)),
    "box inf": (row(box="inf,1,9,9"), "number", "box 'inf", (3, 1, 3), (2, 1, 4)),
    "box empty": (row(box="5,5,0,9"), "unreadable", "face box", (3, 2, 2), (2, 2, 3)),
    "box off": (
        row(box="90,5,9,9"),
        "unreadable",
        "of its 80x60",
        (3, 2, 2),
        (2, 2, 3),
    ),
    "twice": (row("102/00000002.jpg"), "duplicate", "twice", (3, 1, 2), (2, 1, 3)),
    "held out": (row("102/00000008.jpg"), "duplicate", "twice", (3, 1, 2), (2, 1, 3)),
    "no image": (row("101/ff.jpg"), "", "", (3, 2, 2), (2, 2, 3)),
}


@pytest.mark.parametrize("case", WRONG_ROWS)
def test_a_wrong_row_is_reported_and_costs_only_itself(tmp_path, case):
    text, kind, message, va, expr = WRONG_ROWS[case]
    root = write_lists(tmp_path / "data")
    edit(root / TRAINING, 2, text)
    report = look(root)
    assert [anomaly.kind for anomaly in report.anomalies] == ([kind] if kind else [])
    assert all(message in anomaly.text for anomaly in report.anomalies)
    counts = known_counts(report)
    assert (counts["va train"][1:], counts["expr train"][1:]) == (va, expr)
    assert counts["va validation"] == COUNTS["va validation"]


def spoil_set(name, array):
    return lambda root: np.save(root / f"train_set/annotations/{name}.npy", array)


WRONG_FILES = {
    "missing": (
        lambda root: (root / "train_set/annotations/1_val.npy").unlink(),
        "1_val.npy of image 1 missing",
        "va",
    ),
    "no header": (
        lambda root: (root / "train_set/annotations/1_exp.npy").write_bytes(b"0.1"),
        "cannot be read",
        "expr",
    ),
    "pickled": (
        spoil_set("1_exp", np.array({"a": 1}, dtype=object)),
        "Object arrays cannot be loaded when allow_pickle=False",
        "expr",
    ),
    "two values": (spoil_set("1_aro", np.zeros(2)), "holds 2 values", "va"),
    "no number": (spoil_set("1_aro", np.array("x")), "arousal is 'x', not a", "va"),
    "out of range": (spoil_set("1_val", np.array("-3")), "valence is '-3'", "va"),
}


@pytest.mark.parametrize("case", WRONG_FILES)
def test_a_wrong_annotation_file_costs_its_label(tmp_path, case):
    damage, message, lost = WRONG_FILES[case]
    root = write_sets(tmp_path / "data")
    damage(root)
    report = look(root)
    assert len(report.anomalies) == 1 and message in report.anomalies[0].text
    assert "train_set/annotations/1_" in report.anomalies[0].file
    for name in ("va", "expr"):
        _, frames, absent, invalid = COUNTS[f"{name} train"]
        off = name == lost
        expected = (1, frames - off, absent, invalid + off)
        assert known_counts(report)[f"{name} train"] == expected


@BOTH
def test_an_image_that_does_not_decode_is_named(tmp_path, write):
    root = write(tmp_path / "data")
    broken = next(path for path in root.rglob("*.jpg") if int(path.stem, 16) == 2)
    broken.write_bytes(broken.read_bytes()[:100])
    report = look(root)
    assert [(a.kind, a.file) for a in report.anomalies] == [
        ("unreadable", broken.relative_to(root).as_posix())
    ]
    assert known_counts(report)["va train"] == (1, 3, 2, 2)


def both_layouts(root):
    write_sets(write_lists(root))


def two_lists(root):
    shutil.copy(write_lists(root) / TRAINING, root / "automatically_annotated.csv")


def spoiled(text):
    def damage(root):
        (write_lists(root) / TRAINING).write_bytes(text)

    return damage


def without_images(root):
    shutil.rmtree(write_lists(root) / "Manually_Annotated_Images")


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda root: root.mkdir(), "neither training.csv or validation.csv nor"),
        (both_layouts, r"holds both layouts, .*csv and .*train_set; give the folder"),
        (two_lists, r"two parts of AffectNet for train: .* and .*; keep one"),
        (spoiled(b"a,b\n"), "training.csv has no column subDirectory_filePath, face_x"),
        (spoiled(b""), "training.csv has no column"),
        (
            spoiled(HEADER.replace("arousal", "x").encode()),
            "training.csv has no column arousal in its first line",
        ),
        (
            spoiled(HEADER.encode() + b"\n\xff\xfe\n"),
            "training.csv is no text in UTF-8",
        ),
        (
            spoiled(HEADER.encode() + b'\n"' + (b"x" * 60_000 + b"\n") * 4),
            r"training.csv is damaged at line \d+ \(field larger",
        ),
        (
            spoiled(HEADER.encode() + b"\n" + b"x" * 70_000),
            r"training.csv has more than 65,536 characters in line 2",
        ),
        (without_images, r"no image of the first \d+ rows of .*csv was found; unpack"),
    ],
)
def test_an_unreadable_folder_is_reported_in_one_sentence(tmp_path, write, message):
    write(tmp_path / "data")
    with pytest.raises(ReleaseError, match=message):
        look(tmp_path / "data")


def test_a_folder_that_is_none_is_reported(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"AffectNet .* is not a folder"):
        look(tmp_path / "data")


def test_lists_by_other_names_and_linked_images_are_found(tmp_path):
    root = write_lists(tmp_path / "data")
    (root / TRAINING).rename(root / "automatically_annotated.csv")
    images = root / "Manually_Annotated_Images"
    images.rename(tmp_path / "elsewhere")
    images.symlink_to(tmp_path / "elsewhere")
    (root / "loop").symlink_to(root)
    assert known_counts(look(root)) == COUNTS


def test_the_command_packs_and_checks(tmp_path):
    root, store = write_lists(tmp_path / "data"), tmp_path / "store"
    command = [sys.executable, "-m", "abaw_jax.prepare", f"--affectnet={root}"]

    def run(*flags):
        return subprocess.run(
            [*command, *flags], capture_output=True, text=True, cwd=ROOT
        )

    looked = run("--check")
    assert looked.returncode == 0 and not store.exists(), looked.stderr
    assert f"2 subjects, {IMAGES} images" in looked.stdout
    packed = run(f"--store={store}", "--images=jpeg", "--image_size=16")
    assert packed.returncode == 0, packed.stderr
    assert open_store(store).images == "jpeg"
    checked = run(f"--store={store}", "--check", "--image_size=16")
    assert "as it was written" in checked.stdout
    two = run("--release=x", f"--store={store}")
    assert two.returncode == 1 and "Name one of --release=DIR and" in two.stderr
