"""The stage `features`: batches of one shape, whatever the number and the state."""

import errno
import hashlib
import os
import re
import signal
from functools import partial
from types import SimpleNamespace

import jax
import numpy as np
import pytest

from abaw_jax.experiment import (
    encoding,
    extraction,
    feature_files,
    features,
    model_factory,
)
from abaw_jax.experiment.encoders import Encoder
from abaw_jax.experiment.encoding import Media
from abaw_jax.json_files import write_json
from abaw_jax.models import scale_frames
from abaw_jax.pipeline.read_errors import ReadErrorLog
from abaw_jax.store.frames import StoreError
from abaw_jax.training.stopping import Stopped, watch_signals
from configs import quickstart
from tests.support import networks64
from tests.test_disk_space import leave


def make_media(values, broken=()):
    """One subject whose items ``broken`` cannot be read."""

    def read(index, picked):
        rows = np.arange(len(values))[picked]
        if bad := sorted(set(broken) & set(rows.tolist())):
            raise StoreError(f"item {bad[0]} is damaged")
        return values[picked]

    blank = np.zeros(values.shape[1:], values.dtype)
    return Media(lambda index: len(values), read, blank)


def encode(values, broken=(), *, messages=None):
    """Features, numbers of the media that are lost, shapes of the batches."""
    shapes = []

    @jax.jit
    def apply(batch):
        shapes.append(batch.shape)
        return batch.sum(axis=(1, 2)).astype(np.float32)[:, None] * np.ones((1, 3))

    unreadable = ReadErrorLog([].append if messages is None else messages.append)
    media = make_media(values, broken)
    return *encoding.encode(apply, media, 4, 0, unreadable), shapes


@pytest.mark.parametrize("count", [0, 1, 4, 8, 9])
def test_every_medium_is_encoded_once_in_batches_of_one_shape(count):
    media = np.random.default_rng(0).integers(0, 9, (count, 2, 2))
    encoded, lost, shapes = encode(media)
    assert not lost
    np.testing.assert_array_equal(encoded, media.sum((1, 2))[:, None] * np.ones((1, 3)))
    assert encoded.shape == (count, 3) and shapes == [(4, 2, 2)]


@pytest.mark.parametrize("broken", [(2,), (0, 8), tuple(range(9))])
def test_what_cannot_be_read_is_marked_and_its_neighbours_are_as_ever(broken):
    media = np.random.default_rng(0).integers(0, 9, (9, 2, 2))
    whole, *_ = encode(media)
    messages = []
    encoded, lost, shapes = encode(media, broken, messages=messages)
    assert lost == [*broken]
    intact = np.setdiff1d(np.arange(9), broken)
    np.testing.assert_array_equal(encoded[intact], whole[intact])
    assert np.isnan(encoded[list(broken)]).all() and shapes == [(4, 2, 2)]
    assert len(messages) == min(len(broken), 5)
    assert messages[0] == f"item {broken[0]} is damaged; until then its rows are masked"


def test_an_encoder_that_gives_no_numbers_is_no_damage_of_the_store():
    media = make_media(np.ones((3, 2, 2)))
    with pytest.raises(FloatingPointError, match="look at the weights"):
        encoding.encode(
            lambda batch: np.full((4, 3), np.nan), media, 4, 0, ReadErrorLog(print)
        )


SUBJECTS = [SimpleNamespace(name="a", num_images=3), SimpleNamespace(name="b")]
RUN = SimpleNamespace(
    store=SimpleNamespace(subjects=SUBJECTS), config=quickstart.get_config()
)


class Encoding:
    """A stage of two subjects with three items each that counts its batches.

    Item 1 of the first can be broken.
    """

    def __init__(self):
        self.broken, self.calls = set(), 0
        media = Media(lambda index: 3, self.read, np.zeros(2, np.float32))
        encode = partial(encoding.encode, self.apply, media, 16)
        self.stage = extraction.Stage("image features", media.count, lambda: encode)

    def read(self, index, picked):
        rows = np.arange(3)[picked]
        if index == 0 and self.broken & set(rows.tolist()):
            raise StoreError("item 1 is damaged")
        return np.full((len(rows), 2), index + 1, np.float32)

    def apply(self, batch):
        self.calls += 1
        return batch

    def run(self, folder, *, complete=False):
        """Features of all subjects, and how many batches were encoded for them."""
        before = self.calls
        found = {}
        given = RUN, folder, self.stage, found.__setitem__
        extraction.every_subject(*given, complete=complete)
        for index, path in enumerate([folder / "a.npy", folder / "b.npy"]):
            np.testing.assert_array_equal(np.load(path), found[index])
        return found, self.calls - before


def test_what_could_not_be_read_is_tried_again_at_the_next_call(tmp_path):
    """One subject's crop is damaged, then mended; the other is encoded once."""
    encoding = Encoding()
    encoding.broken.add(1)
    for lost, batches in ((1, 2), (1, 1), (0, 1), (0, 0)):
        if batches == 1 and lost == 0:
            encoding.broken.clear()
        found, encoded = encoding.run(tmp_path)
        assert np.isnan(found[0]).any(axis=1).sum() == lost
        assert encoded == batches
        assert bool(extraction.incomplete(tmp_path)) == bool(lost)


def test_space_for_all_features_is_there_before_the_first_is_written(
    tmp_path, monkeypatch
):
    """Two subjects of three rows of two float32 numbers."""
    encoding = Encoding()
    leave(monkeypatch, 40)
    said = "has 40 bytes left, and a folder of image features needs 48 bytes: nothing"
    with pytest.raises(OSError, match=said):
        encoding.run(tmp_path)
    assert encoding.calls == 1 and not [*tmp_path.glob("*.npy*")]
    leave(monkeypatch, 48)
    assert encoding.run(tmp_path)[1] == 2


def test_a_disk_that_gets_full_is_told_and_what_is_finished_stays(
    tmp_path, monkeypatch
):
    encoding, save = Encoding(), feature_files.save

    def full(path, found):
        if path.name == "b.npy":
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        save(path, found)

    monkeypatch.setattr(feature_files, "save", full)
    with pytest.raises(OSError, match="is full, and a folder of image features needs"):
        encoding.run(tmp_path)
    monkeypatch.undo()
    assert encoding.run(tmp_path)[1] == 1


def test_a_signal_ends_extraction_and_keeps_what_is_finished(tmp_path, monkeypatch):
    apply = Encoding.apply

    def stopped(self, batch):
        if self.calls == 1:
            os.kill(os.getpid(), signal.SIGTERM)
        return apply(self, batch)

    monkeypatch.setattr(Encoding, "apply", stopped)
    encoding = Encoding()
    with watch_signals(), pytest.raises(Stopped) as stop:
        encoding.run(tmp_path)
    assert stop.value.exit_code == 143
    left = sorted(path.name for path in tmp_path.iterdir())
    assert left == ["a.npy", "a.sha256", "dtype.json"]
    monkeypatch.undo()
    again = Encoding()
    assert again.run(tmp_path)[1] == 1
    undisturbed = Encoding()
    undisturbed.run(tmp_path / "undisturbed")
    for name in ("a.npy", "b.npy", "a.sha256", "b.sha256"):
        disturbed = (tmp_path / name).read_bytes()
        assert disturbed == (tmp_path / "undisturbed" / name).read_bytes()


def flip(path):
    data = bytearray(path.read_bytes())
    data[-5] ^= 1
    path.write_bytes(data)


def shorten(path):
    """To a whole array of fewer rows, as earlier versions would have read."""
    np.save(path, np.load(path)[:-1])
    path.with_suffix(".sha256").unlink()


def halve(path):
    path.write_bytes(path.read_bytes()[:70])


def halve_without_a_digest(path):
    halve(path)
    path.with_suffix(".sha256").unlink()


def lose_the_digest(path):
    """Of a stage of this version, whose end has one."""
    path.with_suffix(".sha256").unlink()
    write_json(path.with_name("done.json"), {})


DAMAGES = {
    flip: "is not as it was written",
    shorten: r"is \[2, 2\], not of 3 rows",
    halve: "is not as it was written",
    halve_without_a_digest: "is damaged",
    lambda path: path.write_bytes(b""): "is not as it was written",
    lambda path: path.unlink(): "is missing",
    lambda path: flip(path.with_suffix(".sha256")): "is not as it was written",
    lose_the_digest: r"has lost its b\.sha256",
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_features_are_made_again_after_one_sentence(tmp_path, capsys, damage):
    encoding = Encoding()
    before, _ = encoding.run(tmp_path)
    damage(tmp_path / "b.npy")
    after, encoded = encoding.run(tmp_path, complete=True)
    assert encoded == 1
    for ours, theirs in zip(after, before, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    said = " ".join(capsys.readouterr().out.split())
    assert re.search(f"b.npy {DAMAGES[damage]}.*made again", said)
    assert encoding.run(tmp_path, complete=True)[1] == 0
    assert not capsys.readouterr().out


def test_features_without_digests_are_read_as_before(tmp_path):
    encoding = Encoding()
    encoding.run(tmp_path)
    for path in tmp_path.glob("*.sha256"):
        path.unlink()
    assert encoding.run(tmp_path, complete=True)[1] == 0


def test_digests_are_in_the_format_of_sha256sum(tmp_path):
    Encoding().run(tmp_path)
    line = (tmp_path / "a.sha256").read_text()
    digest = hashlib.sha256((tmp_path / "a.npy").read_bytes()).hexdigest()
    assert line == f"{digest}  a.npy\n"


def test_images_are_encoded_with_weights_that_are_folded_before_the_calls():
    config = quickstart.get_config()
    config.image_encoder.stage_sizes, config.image_encoder.widths = (1,), (8,)
    module, size = model_factory.image_encoder(config), config.image_encoder.size
    frames = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3), np.uint8)
    images = scale_frames(frames, size=size)
    shapes = jax.eval_shape(module.init, jax.random.key(0), images)
    encoder = Encoder(module, networks64.random_variables(shapes), "")
    encode = features.on_images(SimpleNamespace(config=config), encoder)
    found, expected = encode(frames), jax.jit(module.apply)(encoder.variables, images)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
    assert "batch_stats" in encoder.variables  # which are saved
    assert "rsqrt" not in str(jax.make_jaxpr(encode)(frames))
