"""The stage `features`: batches of one shape, whatever the number and the state."""

from functools import partial
from types import SimpleNamespace

import jax
import numpy as np
import pytest

from abaw_jax.experiment import features
from abaw_jax.pipeline.read_errors import ReadErrorLog
from abaw_jax.store.frames import StoreError
from configs import quickstart


def make_media(values, broken=()):
    """One subject whose items ``broken`` cannot be read."""

    def read(index, picked):
        rows = np.arange(len(values))[picked]
        if bad := sorted(set(broken) & set(rows.tolist())):
            raise StoreError(f"item {bad[0]} is damaged")
        return values[picked]

    blank = np.zeros(values.shape[1:], values.dtype)
    return features._Media(lambda index: len(values), read, blank)


def encode(values, broken=(), *, messages=None):
    """Features, numbers of the media that are lost, shapes of the batches."""
    shapes = []

    @jax.jit
    def apply(batch):
        shapes.append(batch.shape)
        return batch.sum(axis=(1, 2)).astype(np.float32)[:, None] * np.ones((1, 3))

    unreadable = ReadErrorLog([].append if messages is None else messages.append)
    media = make_media(values, broken)
    return *features._encode(apply, media, 4, 0, unreadable), shapes


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
        features._encode(
            lambda batch: np.full((4, 3), np.nan), media, 4, 0, ReadErrorLog(print)
        )


def test_what_could_not_be_read_is_tried_again_at_the_next_call(tmp_path):
    """One subject's crop is damaged, then mended; the other is encoded once."""
    subjects = [SimpleNamespace(name="a", num_images=3), SimpleNamespace(name="b")]
    run = SimpleNamespace(
        store=SimpleNamespace(subjects=subjects), config=quickstart.get_config()
    )
    broken, calls = {1}, []

    def read(index, picked):
        rows = np.arange(3)[picked]
        if index == 0 and broken & set(rows.tolist()):
            raise StoreError("item 1 is damaged")
        return np.ones((len(rows), 2), np.float32)

    def apply(batch):
        calls.append(None)
        return batch

    media = features._Media(lambda index: 3, read, np.zeros(2, np.float32))
    encode = partial(features._encode, apply, media, 16)
    for lost in (1, 1, 0, 0):
        before = len(calls)
        features._each_subject(run, "", tmp_path, encode)
        found = np.load(tmp_path / "a.npy")
        assert np.isnan(found).any(axis=1).sum() == lost
        assert len(calls) - before == {0: 2, 2: 1, 3: 1, 4: 0}[before]
        assert bool(features._incomplete(tmp_path)) == bool(lost)
        if before:
            broken.clear()
