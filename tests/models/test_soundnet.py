"""SoundNet is the published network, in count, in time steps and in value."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from abaw_jax.models.soundnet import (
    MINIMUM_SAMPLES,
    SoundNet,
    scale_waveform,
    sound_feature,
)
from tests.support import networks64

SMALL = {"widths": (2, 3, 4, 4, 5, 6, 8), "objects": 7, "scenes": 5}


def shapes(module, samples=MINIMUM_SAMPLES):
    waveform = jax.ShapeDtypeStruct((1, samples), jnp.float32)
    return jax.eval_shape(module.init, jax.random.key(0), waveform)


def waveform(n, samples):
    sound = np.random.default_rng(n).standard_normal((n, samples))
    return jnp.asarray(sound, jnp.float32)


def test_has_the_published_number_of_values():
    leaves = jax.tree.leaves(shapes(SoundNet()))
    assert sum(leaf.size for leaf in leaves) == 14_356_777
    assert {leaf.dtype for leaf in leaves} == {jnp.dtype(jnp.float32)}


@pytest.mark.parametrize(
    ("samples", "steps"),
    [
        (209_374, 1),
        (220_500, 1),
        (274_909, 1),
        (274_910, 2),
        (340_445, 2),
        (340_446, 3),
        (441_000, 4),
    ],
)
def test_steps_come_as_published(samples, steps):
    module = SoundNet(**SMALL)
    sound = jax.ShapeDtypeStruct((3, samples), jnp.float32)
    variables = shapes(module)
    objects, scenes = jax.eval_shape(module.apply, variables, sound)
    assert objects.shape == (3, steps, 7)
    assert scenes.shape == (3, steps, 5)


def test_shorter_sound_is_refused():
    with pytest.raises(ValueError, match="S >= 209374"):
        shapes(SoundNet(**SMALL), MINIMUM_SAMPLES - 1)


def test_seven_widths_are_needed():
    with pytest.raises(ValueError, match="needs 7 widths"):
        shapes(SoundNet(widths=(2, 2)))


# Odd lengths take the other branch of the halving convolutions.
@pytest.mark.parametrize("samples", [209_375, 274_912])
def test_small_network_equals_the_reference(samples):
    module = SoundNet(**SMALL)
    variables = networks64.random_variables(shapes(module))
    x = waveform(2, samples)
    expected = networks64.soundnet(variables, x)
    actual = jax.jit(module.apply)(variables, x)
    for a, b in zip(actual, expected, strict=True):
        assert np.std(b) > 0.1
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)


def test_training_normalises_by_the_batch():
    module = SoundNet(**SMALL)
    variables = networks64.random_variables(shapes(module))
    x = waveform(2, MINIMUM_SAMPLES)
    apply = jax.jit(partial(module.apply, train=True, mutable=["batch_stats"]))
    actual, updates = apply(variables, x)
    expected = networks64.soundnet(variables, x, train=True)
    for a, b in zip(actual, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)
    before, after = variables["batch_stats"], updates["batch_stats"]
    assert not np.allclose(before["norm7"]["mean"], after["norm7"]["mean"])


def test_inference_variables_give_the_same_bits():
    module = SoundNet(**SMALL, dtype=jnp.bfloat16)
    variables = networks64.random_variables(shapes(module))
    weights = jax.jit(module.inference_variables)(variables)
    assert weights["params"]["conv2"]["kernel"].dtype == jnp.bfloat16
    call, sound = jax.jit(module.apply), waveform(2, MINIMUM_SAMPLES)
    expected = call(variables, sound)
    for found, wanted in zip(call(weights, sound), expected, strict=True):
        np.testing.assert_array_equal(found, wanted)


def test_int16_is_scaled_to_the_range_of_the_weights():
    sound = jnp.asarray([[-32768, -16384, 0, 128, 32767]], jnp.int16)
    np.testing.assert_array_equal(
        scale_waveform(sound), [[-256, -128, 0, 1, 255.9921875]]
    )
    np.testing.assert_allclose(
        scale_waveform(sound, scale=255.0)[0, :2], [-255, -127.5]
    )


def test_floating_point_sound_is_clipped():
    sound = jnp.asarray([[-2.0, 0.5, 1.5]])
    np.testing.assert_array_equal(scale_waveform(sound), [[-256, 128, 256]])


def test_other_sound_is_refused():
    with pytest.raises(ValueError, match="int32"):
        scale_waveform(jnp.zeros((1, 4), jnp.int32))


def test_feature_averages_the_probabilities_of_the_steps():
    logits = np.random.default_rng(0).standard_normal((2, 3, 5)) * 4
    expected = networks64.softmax(logits).mean(1)
    actual = sound_feature(jnp.asarray(logits, jnp.float32))
    np.testing.assert_allclose(actual, expected, atol=1e-6)
    np.testing.assert_allclose(actual.sum(-1), 1, atol=1e-6)
    np.testing.assert_allclose(
        sound_feature(jnp.asarray(logits, jnp.float32), softmax=False),
        logits.mean(1),
        atol=1e-6,
    )
