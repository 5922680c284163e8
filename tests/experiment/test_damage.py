"""One byte of a finished run is flipped: mended, refused by name, or harmless."""

import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from abaw_jax.experiment import sequence
from abaw_jax.inference.verification import verify
from abaw_jax.json_files import read_json
from configs import quickstart
from tests.test_disk_space import leave

# Orbax goes on reading other arrays after the first that failed.
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


def make_config():
    config = quickstart.get_config()
    drawing = config.data.drawing
    drawing.train_subjects, drawing.validation_subjects = 6, 3
    drawing.seconds, drawing.fps = 6.0, 5
    config.data.image_size = config.image_encoder.size = 16
    config.image_encoder.stage_sizes, config.image_encoder.widths = (1,), (8,)
    config.image_encoder.cardinality = 4
    config.sound_encoder.widths, config.sound_encoder.objects = (2,) * 7, 5
    config.backbone.epochs = 1
    config.backbone.image_samples = config.backbone.sound_samples = 32
    config.backbone.batch_size = 16
    config.heads.lstm_size = 8
    config.heads.extractor_sizes = config.heads.head_sizes = (8,)
    config.heads.discriminator_sizes = (8,)
    config.train.epochs, config.until = 2, "teacher"
    return config


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("finished") / "run"
    sequence.run(make_config(), workdir, workdir)
    return workdir


KINDS = {
    "crops": "corpus/store/subjects/*/frames.npy",
    "frame numbers": "corpus/store/subjects/*/numbers.npy",
    "sound": "corpus/store/sound/*.npy",
    "labels": "corpus/store/labels/*/*.npy",
    "manifest": "corpus/store/manifest.json",
    "records of pieces": "corpus/store/s*/**/*.json",
    "settings": "*/**/config.json",
    "ends of stages": "*/**/done.json",
    "features": "features/*/*.npy",
    "digests of features": "features/*/*.sha256",
    "digests of networks": "*/**/networks/0.json",
    "arrays of networks": "*/**/networks/0/**/d/*",
    "metadata of networks": "*/**/networks/0/**/*[!0-9a-f]",
    "checkpoints": "*/**/checkpoints/*/**/*",
    "logs": "*/**/metrics.jsonl",
    "pictures": "plots/*",
    "predictions": "predictions/*",
    "result": "result.json",
    "record": "run.json",
}


HAS_UNREAD_BYTES = ("arrays of networks", "metadata of networks", "checkpoints")
"""Orbax restores the same arrays whatever some of its files hold."""


def state(run: Path):
    """Everything of a finished run that must be right."""
    arrays = {path: path.read_bytes() for path in sorted(run.glob("features/*/*.npy"))}
    digests = [read_json(path) for path in sorted(run.glob("**/networks/0.json"))]
    result = read_json(run / "result.json")
    assert result is not None and None not in digests
    files = result.pop("files")
    return [*arrays.values()], digests, result, sorted(files)


def flip(path: Path, rng: np.random.Generator) -> None:
    data = bytearray(path.read_bytes())
    data[rng.integers(len(data))] ^= 1 << int(rng.integers(8))
    path.write_bytes(data)


@pytest.mark.parametrize("kind", KINDS)
def test_a_flipped_byte_is_mended_or_refused_by_name_or_harmless(
    finished, tmp_path, kind
):
    rng = np.random.default_rng(list(kind.encode()))
    run = Path(shutil.copytree(finished, tmp_path / "run"))
    files = [path for path in sorted(run.glob(KINDS[kind])) if path.stat().st_size]
    files = [path for path in files if path.is_file()]
    path = files[rng.integers(len(files))]
    flip(path, rng)
    found = {str(each) for each, reason in verify_all(run) if reason}
    assert found or kind in HAS_UNREAD_BYTES, path
    try:
        sequence.run(make_config(), run, run)
    except ValueError as error:
        named = re.sub(r"\W+", " ", str(error))
        assert path.name in str(error) or path.parent.name in named
        assert kind in ("crops", "frame numbers", "sound", "labels", "manifest")
        assert found or kind == "manifest"
        return
    assert state(run) == state(finished)


def test_a_result_is_not_begun_without_space(finished, tmp_path, monkeypatch):
    run = Path(shutil.copytree(finished, tmp_path / "run"))
    shutil.rmtree(run / "plots")
    leave(monkeypatch, 10**6)
    with pytest.raises(OSError, match=r"has 1\.0 MB left, and a result needs 1\..* MB"):
        sequence.run(make_config(), run, run)
    assert not (run / "plots").exists()
    leave(monkeypatch, 10**7)
    sequence.run(make_config(), run, run)
    assert state(run) == state(finished)


def verify_all(run: Path):
    try:
        yield from verify(run)
    except ValueError as error:
        yield run, str(error)
