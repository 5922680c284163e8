"""Faces that somebody gives: what is cut, and that nothing is left out unsaid."""

import shutil

import numpy as np
import pytest

from abaw_jax.faces.observations import faces_of, observe
from abaw_jax.releases.media import read_pictures
from tests.support.photo_clips import write_clip
from tests.support.tiny_release import write_crops, write_lines

FRAMES = 6


@pytest.fixture
def video(tmp_path):
    """Six frames of 32 x 48 pixels whose left upper quarter is white."""
    picture = np.zeros((48, 32, 3), np.uint8)
    picture[:24, :16] = 255
    write_clip(tmp_path / "a.mp4", [picture] * FRAMES)
    return tmp_path / "a.mp4"


def observe_all(video, faces):
    """Observations of all frames, and the remarks on them."""
    remarks = []
    seen = observe(
        video,
        str(faces),
        8,
        read_pictures(video),
        lambda number: True,
        remark=remarks.append,
    )
    return list(seen), remarks


def cut(video, *lines, header="frame,x,y,width,height"):
    write_lines(video.with_name("boxes.csv"), [header, *lines])
    return observe_all(video, video.with_name("boxes.csv"))


def shown(found):
    """Frames with a face."""
    return [each.frame for each in found if each.pixels is not None]


def test_boxes_are_cut_from_their_frames(video):
    lines = ["1,0,0,16,24,0", "1,16,24,16,24,1", "4,-8,-12,24,36,0"]
    found, remarks = cut(video, *lines, header="frame,x,y,width,height,face")
    assert [each.frame for each in found] == [1, 1, 2, 3, 4, 5, 6]
    assert found[0].pixels.mean() > 230 and found[1].pixels.mean() < 25
    assert shown(found) == [1, 1, 4] and not remarks
    assert found[4].pixels.mean() > 200  # a box is cut at the edges


def test_boxes_without_numbers_are_followed(video):
    """Two boxes a frame, the second frame in the other order."""
    lines = ["1,0,0,10,10", "1,20,20,10,10", "2,21,20,10,10", "2,1,0,10,10"]
    found, _ = cut(video, *lines)
    assert [(each.frame, each.face) for each in found[:4]] == [
        *((1, 0), (1, 1), (2, 1), (2, 0))
    ]


def test_a_table_from_0_begins_with_the_first_frame(video):
    found, remarks = cut(video, *(f"{k},0,0,16,16" for k in range(FRAMES)))
    assert shown(found) == [1, 2, 3, 4, 5, 6]
    assert len(remarks) == 1 and "frames count from 0" in remarks[0]


def test_boxes_that_show_nothing_are_counted_by_their_kind(video):
    found, remarks = cut(
        video,
        "1,0,0,16,16",
        "2,500,500,10,10",
        "3,0,0,1000000,1000000",
        "4,0,0,4,4",
        "5,1e308,0,1e308,1e308",
        "7,0,0,16,16",
        "500,0,0,16,16",
    )
    assert [each.frame for each in found] == [1, 2, 3, 4, 5, 6] and shown(found) == [1]
    outside, beyond = remarks
    assert outside.startswith("boxes.csv:3: less than a tenth of the face box")
    assert outside.endswith("32x48; left out (3 more of this kind)")
    text = "boxes.csv:7: frame 7 is beyond the last one, 6; left out"
    assert beyond == f"{text} (1 more of this kind)"


def test_without_a_place_for_remarks_they_are_shown(video, capsys):
    write_lines(video.with_name("b.csv"), ["frame,x,y,width,height", "9,0,0,16,16"])
    path, recording = video.with_name("b.csv"), read_pictures(video)
    list(observe(video, str(path), 8, recording, lambda number: True))
    text = "Warning: b.csv:2: frame 9 is beyond the last one, 6; left out"
    assert capsys.readouterr().out == f"{text}\n"


def test_crops_are_frames_by_their_name_and_the_others_have_no_face(video, tmp_path):
    write_crops(tmp_path / "crops", [1, 2, 4])
    found, remarks = observe_all(video, tmp_path / "crops")
    times = [(each.frame, round(each.time, 3)) for each in found]
    assert times == [(k + 1, k / 10) for k in range(FRAMES)]
    assert shown(found) == [1, 2, 4] and not remarks


def test_crops_that_cannot_be_used_are_counted_by_their_kind(video, tmp_path):
    folder = tmp_path / "crops"
    write_crops(folder, [1, 2, 4, 5, 7, 500])
    for name in ("00004.jpg", "00005.jpg"):
        (folder / name).write_bytes(b"damaged")
    shutil.copy(folder / "00001.jpg", folder / "00001.png")
    shutil.copy(folder / "00001.jpg", folder / "face.jpg")
    found, remarks = observe_all(video, folder)
    assert [each.frame for each in found] == [1, 2, 3, 4, 5, 6]
    assert shown(found) == [1, 2]
    assert [each.partition(":")[0] for each in remarks] == [
        f"crops/{name}" for name in ("00001.png", "face.jpg", "00007.jpg", "00004.jpg")
    ]
    same, name, beyond, damaged = remarks
    assert same.endswith("00001.jpg is the same frame and is used")
    assert "is no frame number" in name
    assert beyond.endswith("the last frame, 6; left out (1 more of this kind)")
    assert damaged.endswith("; left out (1 more of this kind)")


def test_crops_from_0_are_refused(video, tmp_path):
    write_crops(tmp_path / "crops", [0, 1])
    with pytest.raises(ValueError, match=r"numbered from 0 \(00000\.jpg\)"):
        observe_all(video, tmp_path / "crops")


def test_a_folder_of_several_videos_serves_one(video, tmp_path):
    faces = tmp_path / "faces"
    write_crops(faces / "a", [1, 3])
    assert shown(observe_all(video, faces)[0]) == [1, 3]
    write_lines(faces / "a.csv", ["frame,x,y,width,height", "2,0,0,16,16"])
    assert shown(observe_all(video, faces)[0]) == [2]
    with pytest.raises(ValueError, match=r"as 00001\.jpg, and neither b\.csv nor b/"):
        observe_all(shutil.copy(video, tmp_path / "b.mp4"), faces)


def test_one_table_does_not_serve_several_videos(video, tmp_path):
    write_lines(tmp_path / "boxes.csv", ["frame,x,y,width,height"])
    for name, what in (("boxes.csv", "one table"), ("missing", "no folder")):
        with pytest.raises(ValueError, match=rf"{name} is {what}: .* with NAME"):
            faces_of(video, str(tmp_path / name))
