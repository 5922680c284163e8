"""The stage `features`: batches of one shape, whatever the number of media."""

import jax
import numpy as np
import pytest

from abaw_jax.stages import features


@pytest.mark.parametrize("count", [0, 1, 4, 8, 9])
def test_every_medium_is_encoded_once_in_batches_of_one_shape(count):
    shapes = []

    @jax.jit
    def apply(batch):
        shapes.append(batch.shape)
        return batch.sum(axis=(1, 2)).astype(np.float32)[:, None] * np.ones((1, 3))

    media = np.random.default_rng(0).integers(0, 9, (count, 2, 2))
    encoded = features._in_batches(apply, media, 4)
    np.testing.assert_array_equal(encoded, media.sum((1, 2))[:, None] * np.ones((1, 3)))
    assert encoded.shape == (count, 3) and shapes == [(4, 2, 2)]


@pytest.mark.parametrize("ends", [[], [2, 5]])
def test_windows_of_sound_end_where_they_should(ends):
    sound = np.arange(1, 7, dtype=np.int16)
    windows = features._Windows(sound, np.array(ends, int), 3)[0:4]
    expected = [[0, 1, 2], [3, 4, 5]][: len(ends)]
    np.testing.assert_array_equal(windows, np.reshape(expected, (-1, 3)))
    assert windows.dtype == np.int16
