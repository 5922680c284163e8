"""The stage `backbone`: each encoder learns from the store that it should."""

import json
from dataclasses import fields, replace
from pathlib import Path

import jax
import numpy as np
import pytest

from abaw_jax.experiment import encoders, stream_training
from abaw_jax.experiment.artefact import MismatchError
from abaw_jax.experiment.run import Run
from abaw_jax.releases.affectnet import open_affectnet
from abaw_jax.store.reader import open_store
from abaw_jax.store.writer import prepare
from abaw_jax.training.sharding import over_all_devices
from configs import quickstart
from tests.support.tiny_affectnet import SIZE, write_lists
from tests.support.tiny_release import write_release


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    """The tiny release, and AffectNet as JPEG with crops of another size."""
    folder = tmp_path_factory.mktemp("stores")
    prepare(write_release(folder / "release"), folder / "own", image_size=SIZE)
    prepare(
        write_lists(folder / "affectnet"),
        folder / "other",
        image_size=24,
        images="jpeg",
        read=open_affectnet,
    )
    return folder


def make_run(stores, workdir, other=None):
    config = quickstart.get_config()
    config.image_encoder.size = 32
    config.image_encoder.widths = (8, 8, 8, 8)
    config.backbone.batch_size = 4
    config.backbone.epochs = 1
    config.backbone.store = other and str(other)
    return Run(config, workdir, workdir, open_store(stores / "own"), over_all_devices())


def made_from(run, name):
    return json.loads((run.workdir / f"backbone/{name}/config.json").read_text())


@pytest.mark.slow
def test_the_image_encoder_learns_from_another_store(stores, tmp_path, monkeypatch):
    drawn = []
    vary = stream_training.augment_frames

    def watched(item, rng):
        drawn.append(item["frames"][:, 0, 12, 12, 0])
        return vary(item, rng)

    monkeypatch.setattr(stream_training, "augment_frames", watched)
    run = make_run(stores, tmp_path / "run", stores / "other")
    encoder = encoders.image_encoder(run)
    other = open_store(stores / "other")
    facts = made_from(run, "image")
    assert facts["store"] == other.fingerprint != run.store.fingerprint
    assert "store" not in facts["backbone"]
    # Those of AffectNet's training faces that have valence and arousal, by their red.
    reds = np.unique(np.concatenate(drawn).astype(int).round(-1))
    np.testing.assert_array_equal(reds, [20, 40, 80, 120])
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(encoder.variables))
    copy = Path(tmp_path / "moved")
    (stores / "other").rename(copy)
    again = encoders.image_encoder(make_run(stores, tmp_path / "run", copy))
    copy.rename(stores / "other")
    assert again.fingerprint == encoder.fingerprint
    with pytest.raises(MismatchError, match="the data have changed since"):
        encoders.image_encoder(make_run(stores, tmp_path / "run"))


def test_the_sound_encoder_keeps_the_runs_own_store(stores, tmp_path, monkeypatch):
    def stop(run, each, directory):
        raise InterruptedError(each.store.fingerprint)

    monkeypatch.setattr(encoders, "_fit", stop)
    for other in (None, stores / "other"):
        run = make_run(stores, tmp_path / "run", other)
        with pytest.raises(InterruptedError, match=run.store.fingerprint):
            encoders.sound_encoder(run)
    assert made_from(run, "sound")["store"] == run.store.fingerprint


def keep_sets(run, monkeypatch, *kept):
    """Leaves the store without labels of other sets."""
    labels = run.store.labels

    def without(set_name, split):
        found = labels(set_name, split)
        nothing = {
            field.name: getattr(found, field.name)[:0] for field in fields(found)
        }
        return found if set_name in kept else replace(found, **nothing)

    monkeypatch.setattr(run.store, "labels", without)


@pytest.mark.parametrize("name", ["image", "sound"])
def test_a_store_without_labels_is_reported(stores, tmp_path, monkeypatch, name):
    run = make_run(stores, tmp_path / "run")
    keep_sets(run, monkeypatch)
    with pytest.raises(ValueError, match=rf"no labels of one set.*{name}_encoder.weig"):
        getattr(encoders, f"{name}_encoder")(run)
    assert not (tmp_path / "run/backbone" / name).exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("source", "task"), [("expr", "expr"), ("au", "au"), ("mtl", "va")]
)
def test_an_encoder_trains_on_the_labels_there_are(
    stores, tmp_path, monkeypatch, source, task
):
    run = make_run(stores, tmp_path / "run")
    run.config.image_encoder.stage_sizes = (1,)
    run.config.image_encoder.widths = (8,)
    keep_sets(run, monkeypatch, source)
    encoder = encoders.image_encoder(run)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(encoder.variables))
    folder = tmp_path / "run/backbone/image"
    records = [*map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())]
    shown = {"va": {"va", "valence", "arousal"}}.get(task, {task})
    assert shown <= records[-1].keys() and f"{source}/loss" in records[0]
    assert not {"va", "expr", "au"} - {task} & records[-1].keys()


def test_windows_that_no_frame_has_are_reported(stores, tmp_path):
    run = make_run(stores, tmp_path / "run")
    run.config.windows.sound_seconds = 500.0
    run.config.windows.sound_pad = "drop"
    with pytest.raises(
        ValueError, match=r"of the 11 training.*sound_encoder.weights=FILE"
    ):
        encoders.sound_encoder(run)


def test_a_store_without_validation_is_reported(stores, tmp_path):
    write_lists(tmp_path / "data")
    next((tmp_path / "data").rglob("validation.csv")).unlink()
    prepare(tmp_path / "data", tmp_path / "store", image_size=16, read=open_affectnet)
    run = make_run(stores, tmp_path / "run", tmp_path / "store")
    with pytest.raises(ValueError, match=r"Store .*store has no labels of one set"):
        encoders.image_encoder(run)
