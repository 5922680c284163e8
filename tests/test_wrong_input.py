"""Wrong input to the commands of trained networks: one sentence, and no traceback."""

import csv
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from abaw_jax.experiment.run_record import write_record
from abaw_jax.inference.model_folder import write_model
from abaw_jax.json_files import read_json, write_json
from abaw_jax.store.writer import prepare
from configs import base
from tests.support import tiny_model, tiny_release
from tests.support.tiny_release import write_lines, write_video

ROOT = Path(__file__).parents[1]
MODEL, STORE, OUT = "--model=model", "--store=store", "--out=out"
CLIP, WHOLE = "--video=clip.mp4", "--faces=whole"
BOXES = ["frame,x,y,width,height", "1,0,0,16,16"]
OWN = ("--videos=videos", "--table=labels.csv", WHOLE, "--store=own")
PACK = ("--release=release", "--store=new")
SHARD = ("--shards=3", "--shard=0")

CASES = {
    "export": [
        ((), "usage: Name both, --workdir"),
        (("--workdir=nowhere", MODEL), "nowhere does not exist: name an existing fol"),
        (("--workdir=run", "--model=videos"), "videos is no model folder and not em"),
        (("--workdir=empty", MODEL), r"has no readable run\.json"),
        (
            ("--workdir=empty", MODEL, "--formats=tflite"),
            "tflite is unknown; there",
        ),
        (("--workdir=clip.mp4", MODEL), r"clip\.mp4"),
    ],
    "evaluate": [
        ((MODEL,), "Name the data: --store=STORE or --release=DIR"),
        ((MODEL, "--workdir=empty"), "usage: Name one of --model=MODEL and --workdir"),
        (
            (MODEL, STORE, "--release=release"),
            "Name one of --store=STORE and",
        ),
        (("--model=nowhere", STORE), "nowhere does not exist: name an existing folder"),
        (("--model=empty", STORE), r"no model folder, for it has no model\.json"),
        (("--model=run", STORE), "run is the folder of a run: export its network"),
        (("--workdir=run",), "run has no finished student"),
        (
            ("--workdir=run", STORE, "--release=release"),
            "Name one of --store=STORE and",
        ),
        (("--model=damaged", STORE), r"image_encoder\.safetensors is not as it was"),
        (("--model=incomplete", STORE), r"heads\.safetensors is missing: export"),
        (("--model=newer", STORE), "has the format 99, this version reads 1: update"),
        (("--model=truncated", STORE), r"model\.json is damaged: export the model"),
        (("--model=empty_contract", STORE), r"model\.json is damaged"),
        (("--model=other_labels", STORE), "predicts other expressions than this"),
        ((MODEL, "--store=nowhere"), "nowhere does not exist: name an existing"),
        ((MODEL, "--store=unfinished"), r"is unfinished \(no manifest"),
        ((MODEL, "--store=empty"), "no store at .*empty; make one with python -m"),
        ((MODEL, "--release=nowhere"), "nowhere is no folder; name"),
        ((MODEL, "--store=unlabelled"), "validation"),
        ((MODEL, STORE, "--out=clip.mp4"), r"clip\.mp4"),
    ],
    "submit": [
        ((MODEL, STORE, OUT), "usage: Name --model, --store, --edition and --out"),
        ((MODEL, STORE, OUT, "--edition=12"), "usage: .*edition"),
        ((MODEL, STORE, OUT, "--edition=8"), "has no test list: name --template=FILE"),
        (
            (MODEL, STORE, OUT, "--edition=8", "--template=labels.csv"),
            "is the header of no template",
        ),
        (
            (MODEL, STORE, OUT, "--edition=8", "--template=unknown.txt"),
            "no frame of the test list of va has an image in store .*, as nobody/00001",
        ),
        (
            (MODEL, STORE, OUT, "--edition=8", *2 * ("--template=template.txt",)),
            "is a second template of va: name one",
        ),
        (
            (MODEL, STORE, OUT, "--edition=4", "--template=template.txt"),
            "edition 4 asks for joint files",
        ),
        (
            (MODEL, STORE, OUT, "--edition=8", "--template=nowhere.txt"),
            "does not exist",
        ),
    ],
    "predict": [
        ((MODEL, CLIP, OUT), "usage: Name --model, --video, --faces and --out"),
        (("--model=damaged", CLIP, OUT, WHOLE), "is not as it was written"),
        ((MODEL, "--video=nowhere.mp4", OUT, WHOLE), r"there is no video nowhere\.mp4"),
        ((MODEL, "--video=text.mp4", OUT, WHOLE), "cannot be opened as a video"),
        ((MODEL, "--video=empty", OUT, WHOLE), "empty holds no videos"),
        ((MODEL, CLIP, OUT, "--faces=nobody"), "is neither detect nor whole"),
        ((MODEL, CLIP, OUT, "--faces=labels.csv"), "needs the columns frame and x, y"),
        (
            (MODEL, CLIP, OUT, "--faces=numberless.csv"),
            "numberless.csv, line 3: y is 'x'",
        ),
        ((MODEL, CLIP, OUT, "--faces=empty"), "has no crops that are named by frame"),
        (
            (MODEL, CLIP, "--out=text.mp4", WHOLE),
            r"(exists.*)?text\.mp4",
        ),
        ((MODEL, CLIP, "--out=loop", WHOLE), "loop is a symbolic link that leads back"),
        ((MODEL, CLIP, OUT, WHOLE, "--every=0"), "usage: .*every"),
        ((MODEL, "--video=camera:99", OUT, WHOLE), "camera"),
        ((MODEL, "--video=camera:x", OUT, WHOLE), "camera"),
        ((MODEL, "--video=camera:0", OUT, "--faces=boxes.csv"), "camera"),
        ((MODEL, CLIP, OUT, WHOLE, "--seconds=5"), "seconds"),
        (
            (MODEL, CLIP, OUT, "--faces=detect", "--detector=text.mp4"),
            "(cannot be read as a face detector|needs OpenCV|needs the detector)",
        ),
    ],
    "prepare": [
        (("--store=new",), "usage: Name both, --release=DIR"),
        (OWN[:2], "With --videos=DIR name --table, --faces and --store"),
        ((*OWN, "--check"), "--videos goes with"),
        ((*PACK, "--affectnet=empty"), "Name one of --release=DIR and"),
        ((*PACK, "--shards=3"), "Name --shards=N with --shard=I"),
        ((*PACK, "--shards=3", "--shard=3"), "Name --shards=N with --shard=I"),
        ((*PACK, "--shard=0", "--merge"), "Name --shards=N with --shard=I"),
        ((*OWN, "--merge"), "--shards, --shard and --merge go with"),
        ((*PACK, "--engine=ray", "--check"), "--engine=ray goes with"),
        ((*PACK, "--ray_address=foo:1"), "--ray_address goes with --engine=ray"),
        ((*PACK, "--faces=whole"), "--faces goes with --videos"),
        ((*PACK, *SHARD, "--json=new"), "--json goes with a whole release, for sh"),
        ((*PACK, *SHARD, "--overlap=keep"), "--overlap goes with a whole release"),
        (("--store=store", "--check", "--json=new"), "--json goes with a whole rel"),
        (("--release=release", "--store=loop"), "loop is a symbolic link that leads "),
        (("--release=loop", "--store=new"), "loop is a symbolic link that leads back"),
        ((*OWN[:3], "--store=videos"), "videos is the folder of the release itself"),
        (("--release=release", "--store=text.mp4"), r"text\.mp4 is a file: name a fol"),
        (("--videos=nowhere", *OWN[1:]), "nowhere is not a folder"),
        (("--videos=empty", *OWN[1:]), "empty holds no videos"),
        ((*OWN, "--table=nowhere.csv"), r"nowhere\.csv cannot be read"),
        ((*OWN, "--table=template.txt"), "needs the columns video and frame"),
        ((*OWN, "--faces=empty"), r"has neither clip\.csv nor clip/"),
    ],
}
HARMLESS = {
    "predict": [
        ((MODEL, CLIP, "--out=outside", "--faces=outside.csv"), 12, 0),
        ((MODEL, CLIP, "--out=few", "--faces=boxes.csv"), 12, 1),
    ]
}
"""Calls that end well: rows of the table, and how many of them have values."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Everything that the calls name, good and bad."""
    root = tmp_path_factory.mktemp("wrong")
    config = tiny_model.make_config()
    networks = tiny_model.make_networks(config)
    write_model(root / "model", tiny_model.make_contract(config), networks)
    spoil_models(root)
    release = tiny_release.write_release(root / "release")
    prepare(release, root / "store", image_size=16)
    unlabelled = Path(shutil.copytree(release, root / "without_validation"))
    for path in unlabelled.rglob("Validation_Set"):
        shutil.rmtree(path)
    next(unlabelled.rglob("validation_set.txt")).unlink()
    prepare(unlabelled, root / "unlabelled", image_size=16)
    (root / "unfinished" / "subjects").mkdir(parents=True)
    (root / "empty").mkdir()
    write_record(base.get_config(), root / "run", root / "run")
    write_video(root / "clip.mp4")
    write_video(root / "videos" / "clip.mp4")
    (root / "text.mp4").write_text("text")
    (root / "loop").symlink_to("loop")
    write_lines(root / "labels.csv", ["video,frame,valence,arousal", "clip,1,0,0"])
    write_lines(root / "boxes.csv", BOXES)
    write_lines(root / "numberless.csv", [*BOXES, "2,0,x,1,1"])
    write_lines(root / "outside.csv", [BOXES[0], "1,400,400,50,50"])
    header = "image_location,valence,arousal"
    write_lines(root / "template.txt", [header, "alpha/00001.jpg,0,0"])
    write_lines(root / "unknown.txt", [header, "nobody/00001.jpg,0,0"])
    return root


def spoil_models(root):
    def copy(name):
        return Path(shutil.copytree(root / "model", root / name))

    def change(name, **values):
        path = copy(name) / "model.json"
        write_json(path, (read_json(path) or {}) | values)

    weights = copy("damaged") / "image_encoder.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    (copy("incomplete") / "heads.safetensors").unlink()
    path = copy("truncated") / "model.json"
    path.write_bytes(path.read_bytes()[:100])
    (copy("empty_contract") / "model.json").write_text('{"format": 1}')
    change("newer", format=99)
    change("other_labels", outputs={"expressions": ["Joy"], "action_units": []})


def call(command, calls, folder):
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.refused_calls", command],
        input=json.dumps([list(each) for each in calls]),
        cwd=folder,
        env={**os.environ, "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def outcomes(folder):
    """How every call ended, by command."""
    return {
        command: call(command, [arguments for arguments, _ in cases], folder)
        for command, cases in CASES.items()
    }


@pytest.mark.parametrize(
    ("command", "index"),
    [(command, k) for command, cases in CASES.items() for k in range(len(cases))],
)
def test_it_is_refused_in_one_sentence(outcomes, command, index):
    arguments, message = CASES[command][index]
    ended, shown = outcomes[command][index]
    own = message
    if not message.startswith("usage"):
        own = rf"(abaw_jax\.{command}: |usage: flag --).*{message}"
    assert re.match(own, ended), (arguments, ended, shown)
    assert "Traceback" not in shown and "\n" not in ended.strip()


def test_what_is_refused_is_so_before_features_are_computed(outcomes, folder):
    assert outcomes.keys() >= {"evaluate", "submit"}
    assert [*folder.rglob("features")] == []


def test_there_are_many():
    assert sum(map(len, CASES.values())) >= 40


def test_boxes_outside_the_picture_and_missing_frames_are_rows_without_values(folder):
    cases = HARMLESS["predict"]
    found = call("predict", [arguments for arguments, *_ in cases], folder)
    for (arguments, rows, filled), (ended, shown) in zip(cases, found, strict=True):
        assert ended == "finished", (arguments, ended, shown)
        table = folder / arguments[2].removeprefix("--out=") / "clip.csv"
        with table.open(newline="") as file:
            found_rows = [row["valence"] for row in csv.DictReader(file)]
        assert len(found_rows) == rows and sum(map(bool, found_rows)) == filled
