"""Folders of every edition, found by pattern."""

import os
from unicodedata import normalize

import pytest

from abaw_jax.releases.aff_wild2 import scan_release, video_name
from abaw_jax.releases.crops import ReleaseError, list_crops
from abaw_jax.releases.findings import Findings
from abaw_jax.store.writer import inspect
from tests.support.tiny_release import (
    COUNTS,
    EXPR,
    EXPR_HEADER,
    SIZE,
    VA,
    write_crops,
    write_lines,
    write_release,
    write_video,
)


@pytest.fixture
def scan(tmp_path):
    """Scans ``tmp_path``; gives the release and the kinds of findings."""

    def scan():
        findings = Findings(tmp_path)
        return scan_release(tmp_path, findings), [a.kind for a in findings.anomalies()]

    return scan


@pytest.mark.parametrize(
    ("file", "key"),
    [
        ("VA_Set/Training_Set/x.txt", ("va", "train")),
        ("annotations/EXPR_Set/Validation_Set/x.txt", ("expr", "validation")),
        ("AU_Set/Train_Set/x_left.txt", ("au", "train")),
        (
            "Third ABAW Annotations/VA_Estimation_Challenge/Train_Set/x.txt",
            ("va", "train"),
        ),
        ("3rd/EXPR_Classification_Challenge/Train_Set/x.txt", ("expr", "train")),
        ("6th/EXPR_Recognition_Challenge/Validation_Set/x.txt", ("expr", "validation")),
        ("6th/6th/AU_Detection_Challenge/Validation_Set/x.txt", ("au", "validation")),
        ("3rd/MTL_Challenge/train_set.txt", ("mtl", "train")),
        ("3rd/MTL_Challenge/validation_set.txt", ("mtl", "validation")),
        ("training_set_annotations.txt", ("mtl", "train")),
        ("ABAW7/validation_set_annotations.txt", ("mtl", "validation")),
        ("Multi-Task-Learning/validation_set.txt", ("mtl", "validation")),
    ],
)
def test_annotations_are_found_by_pattern(tmp_path, scan, file, key):
    write_crops(tmp_path / "cropped_aligned/x", [1])
    write_lines(tmp_path / file, ["text"])
    for other in (
        "names/Valence_Arousal_Estimation_Challenge_test_set_release.txt",
        "names/MTL_Challenge_test_set_release.txt",
        "VA_Set/Test_Set/x.txt",
        "readme.txt",
        "Audio/train/x.txt",
        "VA_Set/Train_Set/._x.txt",
    ):
        write_lines(tmp_path / other, ["text"])
    release, found = scan()
    assert release.annotations == {key: (tmp_path / file,)}
    assert found == ["no_video"]


def test_subjects_of_one_video_are_joined(tmp_path, scan):
    write_release(tmp_path)
    release, found = scan()
    names = {v.name: [s.name for s in v.subjects] for v in release.videos}
    assert names == {
        "alpha": ["alpha"],
        "beta": ["beta_left", "beta_right"],
        "gamma10_1": ["gamma10_1"],
    }
    assert [v.path.name for v in release.videos] == [
        "alpha.mp4",
        "beta.avi",
        "gamma10_1.mp4",
    ]
    assert found == []


@pytest.mark.parametrize(
    ("subject", "video"),
    [
        ("30-30-1920x1080_left", "30-30-1920x1080"),
        ("10-60-1280x720", "10-60-1280x720"),
        ("10-60-1280x720_right", "10-60-1280x720"),
        ("video10_1", "video10_1"),
        ("video10_1_left", "video10_1"),
        ("video59_right", "video59"),
        ("_left_right", "_left"),
        ("left", "left"),
        ("video_leftover", "video_leftover"),
    ],
)
def test_only_a_trailing_side_is_a_suffix(subject, video):
    assert video_name(subject) == video
    assert video_name(subject, [subject]) == subject


def test_aligned_crops_come_first(tmp_path, scan):
    write_release(tmp_path)
    write_crops(tmp_path / "cropped/alpha", [1])
    write_crops(tmp_path / "cropped/delta", [1])
    write_crops(tmp_path / "cropped_aligned_new_50_vids/epsilon", [1])
    write_crops(tmp_path / "cropped_aligned_new_50_vids/cropped_aligned/zeta", [1])
    release, found = scan()
    folders = {s.name: s.folder for v in release.videos for s in v.subjects}
    assert folders["alpha"] == tmp_path / "cropped_aligned/alpha"
    assert folders["delta"] == tmp_path / "cropped/delta"
    assert sorted(folders)[-3:] == ["epsilon", "gamma10_1", "zeta"]
    assert sorted(found) == ["no_video"] * 3 + ["unaligned"]


def test_the_same_name_twice_is_reported(tmp_path, scan):
    write_release(tmp_path)
    write_crops(tmp_path / "cropped_aligned_new/alpha", [1])
    (tmp_path / "batch2/alpha.avi").write_bytes(b"")
    release, found = scan()
    assert sorted(found) == ["duplicate_subject", "duplicate_video"]
    assert release.videos[0].path == tmp_path / "batch1/alpha.mp4"


def test_names_join_whatever_the_encoding_of_their_accents(tmp_path):
    """Crops from a Mac, a video and labels from elsewhere, and the reverse."""
    write_release(tmp_path)
    composed, decomposed = (normalize(form, "Renée 1") for form in ("NFC", "NFD"))
    write_crops(tmp_path / "cropped_aligned" / decomposed, range(1, 13))
    write_video(tmp_path / "batch1" / f"{composed}.mp4")
    valence = ["valence,arousal", *["0.1,0.2"] * 12]
    write_lines(tmp_path / VA / f"Train_Set/{composed}.txt", valence)
    classes = [EXPR_HEADER, *["1"] * 12]
    write_lines(tmp_path / EXPR / f"Train_Set/{decomposed}.txt", classes)
    write_lines(tmp_path / "VA_test_set.txt", [decomposed])
    report = inspect(tmp_path, image_size=SIZE, workers=2)
    assert [a.kind for a in report.anomalies] == ["no_sound"]  # of gamma10_1
    assert report.sets["va"]["train"].frames == COUNTS["va train"][1] + 12
    assert report.sets["expr"]["train"].frames == COUNTS["expr train"][1] + 12
    assert report.tests["va"].frames == 12


@pytest.mark.parametrize(
    "folder", ["cropped_aligned/{}/", "batch1/{}.mp4", f"{VA}/Train_Set/{{}}.txt"]
)
def test_two_names_that_are_one_are_refused(tmp_path, scan, folder):
    write_release(tmp_path)
    for form in ("NFC", "NFD"):
        path = tmp_path / folder.format(normalize(form, "é"))
        if folder.endswith("/"):
            write_crops(path, [1])
        else:
            path.write_bytes(b"valence,arousal")
    with pytest.raises(ReleaseError, match="encoding of its accents"):
        scan()


def test_a_link_to_a_parent_ends(tmp_path, scan):
    write_release(tmp_path)
    os.symlink(tmp_path, tmp_path / "batch1/up")
    assert len(scan()[0].videos) == 3


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda root: root.rmdir(), "is not a folder; give the folder that holds"),
        (lambda root: None, "holds no crops: expected"),
        (lambda root: write_crops(root / "cropped/a", [1]), "holds no annotation"),
        (lambda root: write_lines(root / "VA_Set/Train_Set/a.txt", "x"), "no crops"),
    ],
)
def test_a_wrong_folder_is_reported_in_a_sentence(tmp_path, make, text):
    root = tmp_path / "release"
    root.mkdir()
    make(root)
    with pytest.raises((FileNotFoundError, ReleaseError), match=text):
        scan_release(root, Findings(root))


def test_two_editions_at_once_are_refused(tmp_path, scan):
    write_release(tmp_path)
    write_lines(tmp_path / "5th/VA_Estimation_Challenge/Train_Set/alpha.txt", ["x"])
    with pytest.raises(
        ReleaseError, match=r"two annotations of va train: .*5th.* keep"
    ):
        scan()


def test_two_lists_of_one_split_are_refused(tmp_path, scan):
    write_release(tmp_path)
    write_lines(tmp_path / "training_set_annotations.txt", ["x"])
    with pytest.raises(ReleaseError, match="two annotations of mtl train"):
        scan()


@pytest.mark.parametrize("name", ["00000.jpg", "0.png"])
def test_crops_from_zero_are_refused(tmp_path, name):
    """They were left out, and every label was one frame off."""
    write_crops(tmp_path, [1, 2])
    (tmp_path / name).write_bytes(b"x")
    with pytest.raises(ReleaseError, match=rf"numbered from 0 \({name}\).*Rename them"):
        list_crops(tmp_path, Findings(tmp_path))


def test_annotations_may_be_csv_and_what_is_neither_is_named(tmp_path, scan):
    write_release(tmp_path)
    folder = next(tmp_path.rglob("alpha.txt")).parent
    before = len(scan()[0].annotations["va", "train"])
    (folder / "new.csv").write_text("valence,arousal\n0,0\n")
    (folder / "alpha.csv").write_text("valence,arousal\n0,0\n")
    (folder / "new.xlsx").write_bytes(b"x")
    release, kinds = scan()
    key = next(k for k, v in release.annotations.items() if folder / "new.csv" in v)
    assert folder / "alpha.csv" not in release.annotations[key]
    assert {"left_out", "duplicate_annotation"} <= set(kinds)
    assert len(release.annotations["va", "train"]) in (before, before + 1)


@pytest.mark.parametrize("suffix", [".m4v", ".wmv", ".MPG", ".3gp", ".mts", ".flv"])
def test_videos_of_other_containers_are_found(tmp_path, scan, suffix):
    write_release(tmp_path)
    video = next(tmp_path.rglob("alpha.mp4"))
    video.rename(video.with_suffix(suffix))
    found = {each.name: each.path for each in scan()[0].videos}
    assert found["alpha"] == video.with_suffix(suffix)


def test_crops_are_listed_by_frame_and_once(tmp_path):
    write_crops(tmp_path, [10, 2, 1])
    names = ("1.jpg", "7.JPEG", "frame3.jpg", "²3.jpg", "99999999.jpg")
    for name in (*names, ".00004.jpg", "notes.txt"):
        (tmp_path / name).write_bytes(b"x")
    findings = Findings(tmp_path)
    crops = list_crops(tmp_path, findings)
    assert [(c.number, c.path.name) for c in crops] == [
        (1, "00001.jpg"),
        (2, "00002.jpg"),
        (7, "7.JPEG"),
        (10, "00010.jpg"),
    ]
    assert [(a.kind, a.file) for a in findings.anomalies()] == [
        ("duplicate_image", "1.jpg"),
        ("name", "99999999.jpg"),
        ("name", "frame3.jpg"),
        ("name", "²3.jpg"),
    ]
