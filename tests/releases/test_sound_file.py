"""A track in a file reads and is saved as the array that it stands for."""

import io
import tempfile

import numpy as np
import pytest

from abaw_jax.releases.sound_file import SoundFile

SAMPLES = np.random.default_rng(0).integers(-1000, 1000, 5000).astype(np.int16)


@pytest.fixture(params=["memory", "disk"])
def track(request):
    with tempfile.TemporaryFile() as file:
        found = SoundFile(file if request.param == "disk" else None)
        for start in range(0, len(SAMPLES), 777):
            found.append(SAMPLES[start : start + 777])
        yield found


@pytest.mark.parametrize(
    "picked",
    [slice(0, 10), slice(4990, 6000), slice(9, 3), slice(None)],
)
def test_a_slice_is_that_of_the_array(track, picked):
    np.testing.assert_array_equal(track[picked], SAMPLES[picked])
    assert len(track) == len(SAMPLES) and not track.silent


def test_it_is_saved_byte_for_byte_as_the_array(track):
    expected, saved = io.BytesIO(), io.BytesIO()
    np.save(expected, SAMPLES)
    track.save(saved)
    assert saved.getvalue() == expected.getvalue()


def test_a_cleared_track_is_empty_and_silent(track):
    track.clear()
    assert len(track) == 0 and track.silent and len(track[:]) == 0
    track.append(np.zeros(5, np.int16))
    assert len(track) == 5 and track.silent
