"""Windows that share a piece of their track have the features that each has alone."""

import numpy as np
import pytest

from abaw_jax.experiment import sound_windows
from abaw_jax.experiment.sound_windows import WindowEncoder
from tests.models.test_soundnet_track import NET, variables  # noqa: F401

RATE, LENGTH = 22_050, 220_500
TRACK = np.random.default_rng(2).integers(-9_000, 9_000, 15 * RATE).astype(np.int16)


@pytest.fixture
def encode(variables):  # noqa: F811
    def make(**options):
        rule = {"scale": 256.0, "softmax": False, "length": LENGTH, "rate": RATE}
        return WindowEncoder(NET, variables, **(rule | {"batch": 4} | options))

    return make


def one_by_one(encoder, track, ends):
    return sound_windows._gather(encoder._one_by_one(track, ends), encoder.columns)


@pytest.mark.parametrize(
    "ends",
    [
        np.array([0, 100, 5_000, LENGTH - 1, LENGTH]),
        np.array([LENGTH + 5, LENGTH + 740, len(TRACK), len(TRACK) + 3_000]),
        np.array([7, 2 * RATE, 13 * RATE, 29 * RATE, 30 * RATE]),
    ],
    ids=["before the track", "after the track", "in several pieces"],
)
def test_shared_windows_are_those_one_by_one(encode, ends):
    encoder = encode()
    found = sound_windows._gather(encoder._shared(TRACK, ends), encoder.columns)
    expected = one_by_one(encoder, TRACK, ends)
    assert found.shape == (len(ends), NET.objects) and found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize(
    ("count", "tiled", "shares"),
    [(61, False, True), (59, False, False), (61, True, False)],
)
def test_dense_windows_share_and_few_do_not(encode, monkeypatch, count, tiled, shares):
    used = []

    def watch(name):
        def batches(self, track, ends):
            used.append(name)
            yield np.zeros((len(ends), NET.objects), np.float32), len(ends)

        monkeypatch.setattr(WindowEncoder, name, batches)

    watch("_shared")
    watch("_one_by_one")
    ends = np.linspace(0, 20 * RATE, count).astype(np.int64)
    assert len(encode(tiled=tiled)(TRACK, ends)) == count
    assert used == ["_shared" if shares else "_one_by_one"]


def test_no_window_is_no_row(encode):
    assert encode()(TRACK, np.zeros(0, np.int64)).shape == (0, NET.objects)
