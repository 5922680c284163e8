"""Runs without the rows that they need are refused with the switches that help."""

import ast
import re
from dataclasses import fields, replace

import pytest

from abaw_jax import command_line
from abaw_jax.experiment import advice, rows
from abaw_jax.experiment.run import Run
from abaw_jax.store.reader import open_store
from abaw_jax.store.writer import prepare
from abaw_jax.training.sharding import over_all_devices
from configs import student
from tests.support.tiny_release import SIZE, write_release, write_video


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    """The tiny release, whose clips last 1.2 s; and the same without sound."""
    folder = tmp_path_factory.mktemp("stores")
    prepare(write_release(folder / "release"), folder / "clips", image_size=SIZE)
    for video in folder.glob("release/batch*/*"):
        write_video(video, rate=None)
    prepare(folder / "release", folder / "silent", image_size=SIZE)
    return folder


def make_run(store, workdir, **changes):
    config = student.get_config()
    config.update_from_flattened_dict(changes)
    return Run(config, workdir, workdir, open_store(store), over_all_devices())


def change_labels(monkeypatch, run, change):
    """Lets ``change(labels, set, split)`` replace what the store holds."""
    labels = run.store.labels
    monkeypatch.setattr(
        run.store,
        "labels",
        lambda name, split: change(labels(name, split), name, split),
    )


def without_rows(labels):
    nothing = {field.name: getattr(labels, field.name)[:0] for field in fields(labels)}
    return replace(labels, **nothing)


def follow(run, switches):
    """The run with the switches, read as the command reads them."""
    kept, nothing, _ = command_line._prepare(["main", "--config=student", *switches])
    assert not nothing
    read = dict(
        re.fullmatch(r"--config\.(.*)=(.*)", each).groups() for each in kept[2:]
    )
    for name, value in read.items():
        if re.fullmatch(r"[a-z]+", value) is None:
            read[name] = ast.literal_eval(value)
    return advice.changed(run, read)


HOLD, PAD = "--config.windows.missing=hold", "--config.windows.sound_pad=zero"


@pytest.mark.parametrize(
    ("store", "changes", "reason", "wanted", "frames"),
    [
        ("clips", {}, r"6 images 10 frames apart, 10 s of sound", [PAD, HOLD], 36),
        # Two frames of alpha, whose frame 5 has no crop, and seven of each other one.
        ("clips", {"windows.stride": 1.0}, "1 frame apart", [PAD], 16),
        ("clips", {"windows.images": 1}, r"\(10 s of sound before it\)", [PAD], 36),
        ("clips", {"windows.sound_pad": "tile"}, r"frames apart\)", [HOLD], 36),
        ("clips", {"streams": ("image",)}, r"frames apart\)", [HOLD], 36),
        (
            "silent",
            {},
            "and none has sound",
            ["--config.streams=image", HOLD],
            36,
        ),
        (
            "clips",
            {
                "windows.missing": "hold",
                "windows.sound_pad": "zero",
                "train.batch_size": 1,
            },
            "mtl has 3 samples, too few for 11 rounds",
            ["--config.train.proportional=False"],
            36,
        ),
    ],
)
def test_the_switches_that_help_are_named_and_help(
    stores, tmp_path, store, changes, reason, wanted, frames
):
    run = make_run(stores / store, tmp_path, **changes)
    with pytest.raises(ValueError, match=reason) as refused:
        advice.require_rows(run)
    sentence = str(refused.value)
    switches = re.findall(r"--config\.\S+", sentence)
    assert switches == wanted
    assert sentence.endswith(f"to train on {frames} frames.")
    helped = follow(run, switches)
    advice.require_rows(helped)
    trained = rows.training_samples(helped)
    assert sum(map(len, trained.values())) == frames


def test_the_sentence_tells_how_long_the_videos_are(stores, tmp_path):
    with pytest.raises(ValueError, match="36 labelled training frames") as refused:
        advice.require_rows(make_run(stores / "clips", tmp_path))
    assert "the longest of their 2 videos lasts 1.2 s." in str(refused.value)


def test_rows_with_every_label_are_asked_for_only_where_there_are_some(
    stores, tmp_path, monkeypatch
):
    run = make_run(
        stores / "clips",
        tmp_path,
        **{
            "windows.missing": "hold",
            "windows.sound_pad": "zero",
            "train.complete_rows": True,
        },
    )

    def incomplete(labels, name, split):
        if split == "validation" or name == "mtl":
            return labels
        return without_rows(labels)

    change_labels(monkeypatch, run, incomplete)
    advice.require_rows(run)  # one row of the multi-task set has all of them

    def all_incomplete(labels, name, split):
        labels = incomplete(labels, name, split)
        return replace(labels, au_where=labels.au_where & False)

    change_labels(monkeypatch, run, all_incomplete)
    with pytest.raises(
        ValueError, match=r"every label.*complete_rows=False to train o"
    ):
        advice.require_rows(run)


@pytest.mark.parametrize(
    ("split", "message"),
    [
        ("train", r"clips holds no labelled training frame: prepare"),
        ("validation", r"clips holds no labelled validation frame with an image, by"),
    ],
)
def test_what_no_switch_mends_is_said_without_one(
    stores, tmp_path, monkeypatch, split, message
):
    run = make_run(
        stores / "clips",
        tmp_path,
        **{"windows.missing": "hold", "windows.sound_pad": "zero"},
    )
    change_labels(
        monkeypatch,
        run,
        lambda labels, _, each: without_rows(labels) if each == split else labels,
    )
    with pytest.raises(ValueError, match=message) as refused:
        advice.require_rows(run)
    assert "--config" not in str(refused.value)


def test_an_encoder_needs_windows_of_its_own_set(stores, tmp_path):
    """Features alone need no rows of the networks; the sound encoder needs sound."""
    images = {"until": "features", "streams": ("image",)}
    advice.require_rows(make_run(stores / "clips", tmp_path, **images))
    sound = {"until": "features", "streams": ("sound",)}
    with pytest.raises(
        ValueError, match=r"sound encoder has nothing to train on.*"
    ) as e:
        advice.require_rows(make_run(stores / "clips", tmp_path, **sound))
    assert str(e.value).endswith(f"weights=FILE). Add {PAD}.")
    given = sound | {"sound_encoder.weights": "sound8.npy"}
    advice.require_rows(make_run(stores / "clips", tmp_path, **given))
