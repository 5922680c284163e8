"""The command `predict`: what it is given, what it leaves."""

import csv
import os
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
from absl import app, flags
from absl.testing import flagsaver
from PIL import Image

import abaw_jax
from abaw_jax import predict
from tests.inference.test_prediction import Echo
from tests.support import tiny_release

if not flags.FLAGS.is_parsed():
    flags.FLAGS([sys.argv[0]])


def run(**values):
    with flagsaver.flagsaver(**{"every": 1, "plot": False} | values):
        predict.main(["predict"])


@pytest.fixture
def folders(tmp_path, monkeypatch):
    monkeypatch.setattr(abaw_jax, "load", lambda path: make_model())
    monkeypatch.setattr(predict, "enable_compilation_cache", lambda: None)
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
        for path in sorted(folder.iterdir())
    }


def test_a_video_a_folder_and_every_second_frame(folders):
    given = {"model": folders, "out": folders / "out"}
    run(**given, video=folders / "videos" / "a.mp4", faces="whole")
    count = tiny_release.FRAMES
    assert tables(folders / "out") == {"a.csv": count}
    run(**given, video=folders / "videos", faces=str(folders / "crops"), every=2)
    # The first is complete and stays as it is.
    assert tables(folders / "out") == {"a.csv": count, "b.csv": -(-count // 2)}


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
        ({"video": "videos", "faces": "videos"}, r"has neither a\.csv nor a/"),
        ({"faces": "missing"}, "is neither detect nor whole, nor a folder"),
        ({"video": "text.mp4"}, r"text\.mp4 cannot be opened as a video"),
        ({"video": "sound.wav"}, r"sound\.wav holds no pictures"),
        ({"video": "sound.wav", "faces": "crops/a"}, "holds no pictures"),
        ({"out": "text.mp4"}, "exists"),
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


def test_all_four_flags_are_needed(folders):
    with pytest.raises(app.UsageError, match="--model, --video, --faces and --out"):
        run(model=folders, video=None, faces=None, out=None)


def test_a_video_that_breaks_off_keeps_its_rows(folders, monkeypatch):
    """A decoder that fails after four frames."""
    read = predict.observe

    def broken(*given, **options):
        for each in read(*given, **options):
            if each.frame == 5:
                raise predict.MediaError("breaks off after frame 4 (damaged)")
            yield each

    warned = []
    monkeypatch.setattr(predict, "observe", broken)
    monkeypatch.setattr(
        predict,
        "console",
        SimpleNamespace(**vars(predict.console) | {"warn": warned.append}),
    )
    run(
        model=folders,
        video=folders / "videos" / "a.mp4",
        faces="whole",
        out=folders / "out",
    )
    assert len(warned) == 1 and "breaks off after frame 4" in warned[0]
    assert tables(folders / "out")["a.csv"] == 4
