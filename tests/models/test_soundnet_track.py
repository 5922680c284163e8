"""Windows of a track against the network on each window by itself."""

import jax
import numpy as np
import pytest

from abaw_jax.models.soundnet import MINIMUM_SAMPLES, SoundNet, scale_waveform
from abaw_jax.models.soundnet_track import (
    AFTER,
    BEFORE,
    encode_windows,
    shared_layers,
    window_outputs,
)

NET = SoundNet(widths=(3, 4, 5, 4, 3, 4, 5), objects=6, scenes=2)
STARTS = np.array([0, 1, 2, 15, 16, 255, 256, 257, 735, 1500], np.int32) + BEFORE


@pytest.fixture(scope="module")
def variables():
    """Weights and statistics as of a trained network; some scales are negative."""
    rng = np.random.default_rng(0)
    shapes = jax.eval_shape(
        NET.init, jax.random.key(0), np.zeros((1, MINIMUM_SAMPLES), np.float32)
    )

    def draw(path, leaf):
        values = np.float32(rng.standard_normal(leaf.shape))
        if path[-1].key == "var":
            return np.exp(values / 2)
        return values / np.sqrt(np.prod(leaf.shape[:-1]))

    return jax.tree_util.tree_map_with_path(draw, shapes)


def make_samples(length):
    rng = np.random.default_rng(1)
    size = BEFORE + 1500 + length + AFTER
    sound = rng.integers(-20_000, 20_000, size).astype(np.int16)
    return np.asarray(scale_waveform(sound[None]))[0]


@pytest.mark.parametrize("length", [220_500, 220_501, MINIMUM_SAMPLES, 216_000])
def test_every_window_has_the_logits_that_it_has_alone(variables, length):
    samples = make_samples(length)
    shared = shared_layers(NET, variables, samples)
    assert shared.shape[0] == 256
    found = encode_windows(NET, variables, samples, shared, STARTS, length)
    alone = np.stack([samples[start : start + length] for start in STARTS])
    expected, _ = NET.apply(variables, alone)
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max())


def test_only_the_ends_of_a_window_differ_from_what_is_shared(variables):
    """So the ends must be computed for each window; they matter to the logits."""
    samples = make_samples(220_500)
    shared = shared_layers(NET, variables, samples)
    logits, _ = NET.apply(
        variables, window_outputs(shared, STARTS, 861), from_pool2=True
    )
    found = encode_windows(NET, variables, samples, shared, STARTS, 220_500)
    assert np.abs(logits - found).max() > 1e-4 * np.abs(found).max()
