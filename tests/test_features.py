"""The stage `features`: batches of one shape, whatever the number and the state."""

import jax
import numpy as np
import pytest

from abaw_jax.data.frames import StoreError
from abaw_jax.data.unreadable import Unreadable
from abaw_jax.stages import features


def make_media(values, broken=()):
    """One subject whose items ``broken`` cannot be read."""

    def read(index, picked):
        rows = np.arange(len(values))[picked]
        if bad := sorted(set(broken) & set(rows.tolist())):
            raise StoreError(f"item {bad[0]} is damaged")
        return values[picked]

    blank = np.zeros(values.shape[1:], values.dtype)
    return features._Media(lambda index: len(values), read, blank)


def encode(values, broken=(), *, told=None):
    shapes = []

    @jax.jit
    def apply(batch):
        shapes.append(batch.shape)
        return batch.sum(axis=(1, 2)).astype(np.float32)[:, None] * np.ones((1, 3))

    unreadable = Unreadable([].append if told is None else told.append)
    media = make_media(values, broken)
    return features._encode(apply, media, 0, 4, unreadable), shapes


@pytest.mark.parametrize("count", [0, 1, 4, 8, 9])
def test_every_medium_is_encoded_once_in_batches_of_one_shape(count):
    media = np.random.default_rng(0).integers(0, 9, (count, 2, 2))
    encoded, shapes = encode(media)
    np.testing.assert_array_equal(encoded, media.sum((1, 2))[:, None] * np.ones((1, 3)))
    assert encoded.shape == (count, 3) and shapes == [(4, 2, 2)]


@pytest.mark.parametrize("broken", [(2,), (0, 8), tuple(range(9))])
def test_what_cannot_be_read_is_marked_and_its_neighbours_are_as_ever(broken):
    media = np.random.default_rng(0).integers(0, 9, (9, 2, 2))
    whole, _ = encode(media)
    told = []
    encoded, shapes = encode(media, broken, told=told)
    intact = np.setdiff1d(np.arange(9), broken)
    np.testing.assert_array_equal(encoded[intact], whole[intact])
    assert np.isnan(encoded[list(broken)]).all() and shapes == [(4, 2, 2)]
    assert len(told) == min(len(broken), 5)
    assert told[0] == f"item {broken[0]} is damaged; until then its rows are masked"


def test_an_encoder_that_gives_no_numbers_is_no_damage_of_the_store():
    media = make_media(np.ones((3, 2, 2)))
    with pytest.raises(FloatingPointError, match="look at the weights"):
        features._encode(
            lambda batch: np.full((4, 3), np.nan), media, 0, 4, Unreadable(print)
        )
