"""The command `predict`: what it is given, what it leaves."""

import csv
import os
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
from absl import app, flags
from absl.testing import flagsaver
from PIL import Image

import abaw_jax
from abaw_jax import predict
from abaw_jax.faces.video_frames import read_frames
from abaw_jax.inference import video_prediction, video_tables
from abaw_jax.inference.verification import verify
from abaw_jax.inference.video_prediction import predict_video
from abaw_jax.releases.images import MediaError
from abaw_jax.store.sole_writer import sole_writer
from abaw_jax.training import jax_settings
from tests.inference.test_prediction import Echo
from tests.support import tiny_release
from tests.support.fake_camera import FakeCamera

if not flags.FLAGS.is_parsed():
    flags.FLAGS([sys.argv[0]])


NOTHING = {
    **dict.fromkeys(("model", "video", "faces", "detector", "out", "seconds")),
    **{"every": 1, "parquet": False, "plot": False, "overlay": False},
}


def run(**values):
    with flagsaver.flagsaver(**NOTHING | values):
        predict.main(["predict"])


@pytest.fixture
def folders(tmp_path, monkeypatch):
    monkeypatch.setattr(abaw_jax, "load", lambda path: make_model())
    monkeypatch.setattr(jax_settings, "set_up_jax", lambda: None)
    (tmp_path / "videos").mkdir()
    for name in ("a", "b"):
        tiny_release.write_video(tmp_path / "videos" / f"{name}.mp4")
    for name in ("a", "b"):
        tiny_release.write_crops(tmp_path / "crops" / name, [1, 2, 3])
    return tmp_path


def make_model():
    model = Echo()
    model.contract["inputs"]["frames"]["shape"] = ["B", 3, 8, 8, 3]
    return model


def tables(folder):
    return {
        path.name: len(path.read_text().splitlines()) - 1
        for path in sorted(folder.glob("*.csv"))
    }


def test_a_video_then_a_folder(folders, capsys):
    given = {"model": folders, "out": folders / "out", "faces": "whole"}
    run(**given, video=folders / "videos" / "a.mp4")
    count = tiny_release.FRAMES
    assert tables(folders / "out") == {"a.csv": count}
    run(**given, video=folders / "videos")
    assert tables(folders / "out") == {"a.csv": count, "b.csv": count}
    assert capsys.readouterr().out.count("  ready") == 1


def test_a_table_of_other_input_is_made_again(folders, capsys, monkeypatch):
    video, out = folders / "videos" / "a.mp4", folders / "out"
    given = {"model": folders, "out": out, "video": video, "faces": "whole"}

    def remade(**changes):
        capsys.readouterr()
        run(**given | changes)
        shown = " ".join(capsys.readouterr().out.split())
        run(**given | changes)
        assert capsys.readouterr().out.count("  ready") == 1
        return shown

    run(**given)
    assert "other every" in remade(every=2)
    assert tables(out) == {"a.csv": -(-tiny_release.FRAMES // 2)}
    crops = folders / "crops" / "a"
    assert "other faces, every" in remade(faces=str(crops))
    (crops / "00003.jpg").unlink()
    assert "other faces" in remade(faces=str(crops))
    tiny_release.write_video(video, frames=8)
    assert "other video" in remade(faces=str(crops))
    assert tables(out) == {"a.csv": 8}
    other = make_model()
    other.contract["files"] = {"heads.safetensors": "another digest"}
    monkeypatch.setattr(abaw_jax, "load", lambda path: other)
    assert "other model" in remade(faces=str(crops))
    tiny_release.write_crops(folders / "crops" / "b", [1, 2, 3])
    run(**given | {"faces": str(folders / "crops")})  # the folder a/ in it
    (crops / "00002.jpg").unlink()
    assert "other faces" in remade(faces=str(folders / "crops"))


def test_what_was_made_of_a_former_table_goes_with_it(folders):
    video, out = folders / "videos" / "a.mp4", folders / "out"
    given = {"model": folders, "out": out, "video": video, "faces": "whole"}
    run(**given, plot=True, overlay=True)
    run(**given, every=2)
    assert {path.name for path in out.iterdir()} == {"a.csv", "a.csv.json"}


@pytest.mark.parametrize(
    ("name", "flag"),
    [("a.csv", "plot"), ("a.csv.json", "plot"), ("a.png", "plot")]
    + [("a.overlay.mp4", "overlay"), ("a.parquet", "parquet")],
)
def test_files_of_the_user_are_not_replaced(folders, name, flag):
    pytest.importorskip("pyarrow")
    videos = folders / "videos"
    given = {"model": folders, "video": videos / "a.mp4", "faces": "whole"}
    (videos / name).write_text("{}")
    with pytest.raises(SystemExit, match=rf"{name} is there, and there is no record"):
        run(**given, out=videos, **{flag: True})
    assert (videos / name).read_text() == "{}"
    assert {path.name for path in videos.iterdir()} == {"a.mp4", "b.mp4", name}


@pytest.mark.parametrize("killed_after", [1, 2, 3, 4])
def test_after_a_kill_predict_knows_its_own_files(folders, monkeypatch, killed_after):
    """Killed before the n-th time that a file gets its name."""
    given = {"model": folders, "out": folders / "out", "plot": True, "overlay": True}
    given |= {"video": folders / "videos" / "a.mp4", "faces": "whole"}
    count, replace = 0, os.replace

    def killed(*names):
        nonlocal count
        count += 1
        if count == killed_after:
            raise KeyboardInterrupt
        replace(*names)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", killed)
        with pytest.raises(SystemExit):
            run(**given)
    run(**given)
    assert [wrong for _, wrong in verify(folders / "out")] == [""] * 4


def test_a_table_of_another_video_or_one_that_was_changed_is_kept(folders):
    videos, out = folders / "videos", folders / "out"
    given = {"model": folders, "out": out, "faces": "whole"}
    run(**given, video=videos / "a.mp4")
    tiny_release.write_video(folders / "a.mkv")
    with pytest.raises(SystemExit, match=r"a\.csv is of a\.mp4: choose another"):
        run(**given, video=folders / "a.mkv")
    assert [each for each in verify(out) if each[1]] == []
    table = (out / "a.csv").read_text()
    (out / "a.csv").write_text(table[:-100])
    assert [each.name for each, wrong in verify(out) if wrong] == ["a.csv"]
    for every in (1, 2):
        with pytest.raises(SystemExit, match=r"a\.csv was changed since"):
            run(**given, video=videos / "a.mp4", every=every, plot=True)
    assert (out / "a.csv").read_text() == table[:-100]


def test_a_name_that_is_too_long_is_told_first(folders):
    video = folders / f"{'a' * 240}.mp4"
    tiny_release.write_video(video)
    with pytest.raises(SystemExit, match="is too long for its table"):
        run(model=folders, out=folders / "out", video=video, faces="whole")
    assert not list(folders.glob("out/*.csv"))


def test_one_table_of_boxes_for_many_videos_is_refused_first(folders, monkeypatch):
    monkeypatch.setattr(abaw_jax, "load", pytest.fail)
    (folders / "boxes.csv").write_text("frame,x,y,width,height\n1,9,9,20,20\n")
    given = {"video": folders / "videos", "faces": str(folders / "boxes.csv")}
    with pytest.raises(SystemExit, match="is one table: for a folder of videos"):
        run(model=folders, out=folders / "out", **given)


def test_people_of_a_table_keep_their_numbers_with_every(folders):
    """Two that cross, by 4 pixels a frame, in a table that does not number."""
    lines = ["frame,x,y,width,height"]
    for frame in range(1, 13):
        lines += [f"{frame},{x},9,10,10" for x in (2 * frame - 2, 24 - 2 * frame)]
    boxes = folders / "boxes.csv"
    boxes.write_text("\n".join(lines))
    given = make_model(), folders / "videos/a.mp4", str(boxes)
    every = predict_video(*given, 1)
    some = predict_video(*given, 10)
    of_some = np.isin(every["frame"], some["frame"])
    for column in ("frame", "face", "x", "valence"):
        np.testing.assert_array_equal(some[column], every[column][of_some])


def test_a_table_stays_until_the_next_is_complete(folders):
    video, out = folders / "videos" / "a.mp4", folders / "out"
    run(model=folders, out=out, video=video, faces="whole")
    video.write_text("damaged")
    with pytest.raises(SystemExit, match="cannot be opened"):
        run(model=folders, out=out, video=video, faces="whole")
    assert tables(out) == {"a.csv": tiny_release.FRAMES}


def test_a_folder_with_a_video_that_cannot_be_read(folders, capsys):
    videos = folders / "videos"
    (videos / "a.mp4").write_text("damaged")
    (videos / "more").mkdir()
    with pytest.raises(SystemExit, match=r"1 of 2 videos have no table.*: a\.mp4"):
        run(model=folders, out=folders / "out", video=videos, faces="whole")
    assert not list((folders / "out").glob("*.partial"))
    assert tables(folders / "out") == {"b.csv": tiny_release.FRAMES}
    shown = " ".join(capsys.readouterr().out.split())
    assert "a.mp4 cannot be opened" in shown and "are not read: more." in shown


def test_a_plot_of_the_face(folders):
    out = folders / "out"
    video = folders / "videos" / "a.mp4"
    run(model=folders, out=out, video=video, faces="whole", plot=True)
    with Image.open(out / "a.png") as picture:
        assert picture.size == (1200, 700)
        colours = {colour for _, colour in picture.convert("RGB").getcolors(1 << 20)}
    assert (0, 0x72, 0xB2) in colours  # valence
    (out / "a.png").unlink()
    # Of a table that is ready, too.
    run(model=folders, out=out, video=video, faces="whole", plot=True)
    assert (out / "a.png").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"video": "missing.mp4"}, "there is no video"),
        ({"video": "crops"}, "holds no videos"),
        ({"video": "videos", "faces": "videos"}, r"2 of 2 videos have no table"),
        ({"faces": "missing"}, "is neither detect nor whole, nor a folder"),
        ({"video": "text.mp4"}, r"text\.mp4 cannot be opened as a video"),
        ({"video": "sound.wav"}, r"sound\.wav holds no pictures"),
        ({"video": "sound.wav", "faces": "crops/a"}, "holds no pictures"),
        ({"out": "text.mp4"}, "is a file"),
    ],
)
def test_wrong_input_is_one_sentence(folders, changes, message):
    (folders / "text.mp4").write_text("text")
    soundfile.write(folders / "sound.wav", np.zeros(2000), 8000)
    given = {"video": "videos/a.mp4", "faces": "whole", "out": "out"} | changes
    values = {
        name: value if value == "whole" else folders / value
        for name, value in given.items()
    }
    values["faces"] = str(values["faces"])
    with pytest.raises(SystemExit, match=message) as caught:
        run(model=folders, **values)
    assert str(caught.value).startswith("abaw_jax.predict: ")


@pytest.mark.timeout(60)
@pytest.mark.skipif(sys.platform == "win32", reason="there are no such pipes")
def test_pipes_in_a_folder_are_named_and_not_waited_for(folders, capsys):
    os.mkfifo(folders / "videos/\x1bc.mp4")
    (folders / "crops/a/00002.jpg").unlink()
    os.mkfifo(folders / "crops/a/00002.jpg")
    given = {"video": folders / "videos", "faces": str(folders / "crops")}
    run(model=folders, out=folders / "out", **given)
    assert tables(folders / "out") == dict.fromkeys(("a.csv", "b.csv"), 12)
    with (folders / "out/a.csv").open() as file:
        faces = [row["face"] for row in csv.DictReader(file)]
    assert faces[:4] == ["0", "", "0", ""]
    shown = " ".join(capsys.readouterr().out.split())
    assert r"videos: \x1bc.mp4: is no file: a pipe," in shown


def test_videos_of_one_table_and_two_calls_into_a_folder_are_refused(folders):
    given = {"model": folders, "video": folders / "videos", "faces": "whole"}
    with (
        sole_writer(folders / "out"),
        pytest.raises(SystemExit, match="is in use by process"),
    ):
        run(out=folders / "out", **given)
    tiny_release.write_video(folders / "videos" / "a.mkv")
    with pytest.raises(SystemExit, match=r"holds a\.mkv and a\.mp4, whose tables"):
        run(out=folders / "out", **given)
    assert not (folders / "out").exists()


@pytest.mark.skipif(sys.platform != "linux", reason="there is no /proc")
def test_a_folder_that_takes_no_files_is_refused_before_the_model_is_read(
    folders, monkeypatch
):
    monkeypatch.setattr(abaw_jax, "load", pytest.fail)
    with pytest.raises(SystemExit, match="/proc/x cannot be written"):
        run(model=folders, video=folders, faces="whole", out=Path("/proc/x"))


@pytest.mark.parametrize("every", [0, -1, 1.5, "10"])
def test_every_is_a_count(folders, every):
    with pytest.raises(ValueError, match="every n-th frame"):
        predict_video(make_model(), folders / "videos/a.mp4", "whole", every)


def test_boxes_of_no_use_are_a_warning_in_python(folders):
    boxes = folders / "boxes.csv"
    boxes.write_text("frame,x,y,width,height\n1,9,9,20,20\n99,9,9,20,20\n")
    with pytest.warns(UserWarning, match="frame 99 is beyond the last one"):
        table = predict_video(make_model(), folders / "videos/a.mp4", str(boxes), 1)
    assert len(table) == tiny_release.FRAMES


def test_all_four_flags_are_needed(folders):
    with pytest.raises(app.UsageError, match="--model, --video, --faces and --out"):
        run(model=folders, video=None, faces=None, out=None)


def test_a_video_that_breaks_off_keeps_its_rows(folders, monkeypatch):
    """A decoder that fails after four frames."""
    read = video_prediction.observe

    def broken(*given, **options):
        for each in read(*given, **options):
            if each.frame == 5:
                raise MediaError("breaks off after frame 4 (damaged)")
            yield each

    warned = []
    monkeypatch.setattr(video_prediction, "observe", broken)
    console = vars(video_tables.console) | {"warn": warned.append}
    monkeypatch.setattr(video_tables, "console", SimpleNamespace(**console))
    run(
        model=folders,
        video=folders / "videos" / "a.mp4",
        faces="whole",
        out=folders / "out",
    )
    assert len(warned) == 1 and "breaks off after frame 4" in warned[0]
    assert tables(folders / "out")["a.csv"] == 4
    video = folders / "videos" / "a.mp4"
    run(model=folders, video=video, faces="whole", out=folders / "out")
    assert warned[1:] == warned[:1]  # of a table that is ready, too


def test_an_overlay_is_made_once_and_again_if_its_table_is(folders, capsys):
    given = {"model": folders, "out": folders / "out", "overlay": True}
    given |= {"video": folders / "videos" / "a.mp4", "faces": "whole"}
    overlay, table = (folders / "out" / f"a.{end}" for end in ("overlay.mp4", "csv"))
    run(**given)
    assert len(list(read_frames(overlay))) == tiny_release.FRAMES
    made = overlay.stat().st_mtime_ns
    run(**given)
    assert overlay.stat().st_mtime_ns == made
    assert capsys.readouterr().out.count("  ready") == 2
    table.unlink()
    run(**given)
    assert overlay.stat().st_mtime_ns > made
    overlay.unlink()
    run(**given)  # of a table that is ready
    assert overlay.exists()
    assert not [*(folders / "out").glob("*.partial")]


_WRITTEN = (".csv", ".csv.json", ".mp4", ".overlay.mp4")


def test_overlays_among_the_videos_are_no_videos(folders):
    videos = folders / "videos"
    given = {"model": folders, "video": videos, "out": videos, "faces": "whole"}
    run(**given, overlay=True)
    run(**given, overlay=True)
    names = [f"{n}{end}" for n in "ab" for end in _WRITTEN]
    assert sorted(path.name for path in videos.iterdir()) == names


def test_parquet_beside_the_table(folders):
    parquet = pytest.importorskip("pyarrow.parquet")
    video = folders / "videos" / "a.mp4"
    run(model=folders, out=folders / "out", video=video, faces="whole", parquet=True)
    found = parquet.read_table(folders / "out" / "a.parquet")
    assert found.num_rows == tiny_release.FRAMES
    assert found["frame"].to_pylist() == [*range(1, tiny_release.FRAMES + 1)]


def test_a_video_without_a_face_is_told_and_does_not_end_the_others(folders, capsys):
    for path in (folders / "crops" / "a").iterdir():
        path.write_bytes(b"damaged")
    given = {"video": folders / "videos", "faces": str(folders / "crops")}
    run(model=folders, out=folders / "out", plot=True, **given)
    made = {path.name for path in (folders / "out").iterdir()}
    assert made == {"a.csv", "a.csv.json", "b.csv", "b.csv.json", "b.png"}
    shown = capsys.readouterr().out.replace("\n", " ")
    assert shown.count("no face was found in") == 1
    assert "3 with a face" in shown and "has no face to draw" in shown


GREY = np.full((48, 64, 3), 128, np.uint8)


def camera(folders, **values):
    run(model=folders, out=folders / "out", video="camera:0", faces="whole", **values)


def read(folder):
    (path,) = folder.glob("*.csv")
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_camera_is_predicted_for_some_seconds(folders, monkeypatch, capsys):
    FakeCamera(GREY, frames=99).install(monkeypatch)
    camera(folders, seconds=0.65, plot=True)
    rows = read(folders / "out")
    assert [float(row["time"]) for row in rows] == [0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6]
    assert all(row["valence"] and row["AU01"] == "0" for row in rows)
    assert capsys.readouterr().out.count("reads silence") == 1
    (picture,) = (folders / "out").glob("camera0-*.png")
    assert picture.stat().st_size > 1000


def test_an_interrupted_camera_leaves_its_rows(folders, monkeypatch, capsys):
    fake = FakeCamera(GREY, frames=99).install(monkeypatch)
    fake.interrupt_at = 5
    with pytest.raises(SystemExit) as caught:
        camera(folders, every=2)
    assert caught.value.code == 130
    assert capsys.readouterr().err.count("\n") == 1
    assert [row["frame"] for row in read(folders / "out")] == ["1", "3"]


def test_a_camera_that_fails_keeps_its_rows(folders, monkeypatch, capsys):
    FakeCamera(GREY, frames=3).install(monkeypatch)
    camera(folders)
    assert len(read(folders / "out")) == 3
    assert "camera:0 gives no more pictures" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"video": "camera:97"}, "there is no camera 97"),
        ({"video": "camera:0", "overlay": True}, "--overlay needs a video file"),
        ({"video": "camera:0", "faces": "boxes.csv"}, "faces of a camera are"),
        ({"seconds": 3.0}, "--seconds is for a camera"),
        ({"parquet": True}, r"--parquet needs pyarrow: pip install 'abaw_jax\[parq"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_sentence(
    folders, monkeypatch, changes, message
):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    given = {"video": folders / "videos" / "a.mp4", "faces": "whole"} | changes
    with pytest.raises(SystemExit, match=f"^abaw_jax.predict: .*{message}"):
        run(model=folders, out=folders / "out", **given)
