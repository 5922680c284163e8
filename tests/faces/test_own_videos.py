"""Own videos and a table become a store, with the crops that predict would see."""

import shutil

import numpy as np
import pytest

from abaw_jax.faces import crop_folders
from abaw_jax.faces.boxes import Observation
from abaw_jax.faces.crop_folders import CropRule
from abaw_jax.faces.observations import observe
from abaw_jax.faces.own_videos import open_videos
from abaw_jax.releases.crops import ReleaseError
from abaw_jax.releases.images import Box, MediaError
from abaw_jax.releases.media import read_pictures
from abaw_jax.store.reader import open_store
from abaw_jax.store.writer import prepare
from tests.support.tiny_release import FRAMES, write_crops, write_lines, write_video

SIZE = 16


@pytest.fixture
def folder(tmp_path):
    """Three videos, one in a folder of its own, and a table of two."""
    for place in ("a.mp4", "b.avi", "more/c.mp4"):
        write_video(tmp_path / "videos" / place)
    lines = [f"a,{k},0.{k},0,train" for k in range(1, 6)] + ["c.mp4,3,0,0.5,validation"]
    write_lines(tmp_path / "labels.csv", ["video,frame,valence,arousal,split", *lines])
    return tmp_path


def make(folder, faces="whole", **options):
    """Prepares; gives the report and how many frames were shown as done."""
    shown = []

    def read(root, findings):
        return open_videos(
            root,
            findings,
            table=folder / "labels.csv",
            rule=CropRule(faces, SIZE),
            crops=folder / "store" / "crops",
            progress=lambda done, total: shown.append((done, total)),
        )

    store = folder / "store"
    report = prepare(folder / "videos", store, image_size=SIZE, read=read, **options)
    return report, shown


def test_videos_become_subjects_and_lines_labels(folder):
    report, shown = make(folder)
    assert shown[-1] == (3 * FRAMES, 3 * FRAMES)
    assert [anomaly.kind for anomaly in report.anomalies] == []
    store = open_store(folder / "store")
    assert [(s.name, s.num_images) for s in store.subjects] == [
        (name, FRAMES) for name in "abc"
    ]
    labels = store.labels("va", "train")
    assert labels.frame.tolist() == [1, 2, 3, 4, 5]
    np.testing.assert_allclose(labels.va[:, 0], [0.1, 0.2, 0.3, 0.4, 0.5])
    assert store.labels("va", "validation").va.tolist() == [[0, 0.5]]


def test_crops_are_those_that_predict_sees(folder):
    make(folder)
    store = open_store(folder / "store")
    video = folder / "videos/a.mp4"
    recording = read_pictures(video)
    seen = observe(video, "whole", SIZE, recording, lambda number: number > 0)
    expected = np.stack([each.pixels for each in seen]).astype(int)
    off = np.abs(np.asarray(store.frames(0)).astype(int) - expected)
    assert off.max() <= 3  # JPEG


def test_a_second_call_cuts_nothing_again(folder):
    make(folder)
    crop = folder / "store/crops/a/00001.jpg"
    before = crop.stat()
    make(folder)
    assert crop.stat() == before
    write_video(folder / "videos/a.mp4", frames=5)
    report, _ = make(folder)
    assert len([*crop.parent.glob("*.jpg")]) == 5 and report.images == 5 + 2 * FRAMES


def test_boxes_of_a_folder_of_tables_and_crops_as_they_are(folder):
    faces = folder / "faces"
    for name in "ab":
        lines = ["frame,x,y,width,height", "2,0,0,16,16", "2,0,0,32,32", "3,0,0,16,16"]
        write_lines(faces / f"{name}.csv", lines)
    write_crops(faces / "c", [1, 2, 3])
    report, shown = make(folder, faces=str(faces))
    assert shown[-1] == (2 * FRAMES, 2 * FRAMES)
    store = open_store(folder / "store")
    assert [store.numbers(k).tolist() for k in range(3)] == [[2, 3], [2, 3], [1, 2, 3]]
    assert report.sets["va"]["train"].labels_without_image == 3
    assert not (folder / "store/crops/c").exists()


def test_boxes_of_no_use_are_reported_by_every_call(folder):
    lines = ["frame,x,y,width,height", "1,0,0,16,16", "99,0,0,16,16"]
    for name in "abc":
        write_lines(folder / "faces" / f"{name}.csv", lines)
    text = f"a.csv:3: frame 99 is beyond the last one, {FRAMES}; left out"
    for _ in range(2):
        report, _ = make(folder, faces=str(folder / "faces"))
        assert ("a.mp4", text) in [(each.file, each.text) for each in report.anomalies]


def test_the_largest_face_of_a_frame_is_cut():
    small, large = Box(0, 0, 10, 10), Box(5, 5, 10, 11)
    seen = [Observation(1, 0.0, 0, small), Observation(1, 0.0, 1, large)]
    seen += [Observation(2, 0.1), Observation(3, 0.2, 0, small)]
    found = [(each.frame, each.box) for each in crop_folders._largest(iter(seen))]
    assert found == [(1, large), (2, None), (3, small)]


def test_a_video_that_breaks_off_keeps_its_crops_and_the_others(folder):
    path = folder / "videos/b.avi"
    content = path.read_bytes()
    path.write_bytes(b"no video")
    report, _ = make(folder)
    kinds = [(a.kind, a.file) for a in report.anomalies]
    assert ("video", "b.avi") in kinds and report.images == 2 * FRAMES
    path.write_bytes(content)
    assert make(folder)[0].images == 3 * FRAMES


def test_crops_that_end_early_are_cut_again(folder, monkeypatch):
    def broken(*args, **options):
        yield Observation(1, 0.0)
        raise MediaError("breaks off")

    with monkeypatch.context() as patch:
        patch.setattr(crop_folders, "observe", broken)
        report, _ = make(folder)
    assert "breaks off; crops end there" in [each.text for each in report.anomalies]
    assert make(folder)[0].images == 3 * FRAMES


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: shutil.rmtree(f / "videos/more"), None),
        (lambda f: shutil.copy(f / "videos/a.mp4", f / "videos/more"), "have one name"),
        (lambda f: shutil.rmtree(f / "videos"), "not a folder"),
        (lambda f: [p.unlink() for p in f.rglob("*.*i")], None),
        (lambda f: [p.unlink() for p in f.glob("videos/**/*.*")], "holds no videos"),
        (
            lambda f: write_lines(
                f / "labels.csv", ["video,frame,valence,arousal", "z,1,0,0"]
            ),
            "labels none of the 3 videos",
        ),
    ],
)
def test_what_is_missing_is_said(folder, change, message):
    change(folder)
    if message is None:
        make(folder)
    else:
        with pytest.raises((ReleaseError, FileNotFoundError), match=message):
            make(folder)


def test_faces_that_are_not_there_are_said(folder):
    (folder / "faces").mkdir()
    with pytest.raises(ValueError, match=r"neither a\.csv nor a/"):
        make(folder, faces=str(folder / "faces"))
