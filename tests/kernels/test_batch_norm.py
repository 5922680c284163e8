"""Batch normalisation is Flax's, in values, gradients and running statistics."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from abaw_jax.kernels.batch_norm import batch_statistics, moving_average, normalise
from tests.support.forms import assert_same, random, value_and_gradients

FEATURES, EPSILON = 6, 1e-3


def ours(x, scale, bias):
    return normalise(x, *batch_statistics(x), scale, bias, epsilon=EPSILON)


def theirs(x, scale, bias):
    norm = nn.BatchNorm(use_running_average=False, epsilon=EPSILON, dtype=x.dtype)
    stats = {"mean": jnp.zeros(FEATURES), "var": jnp.ones(FEATURES)}
    variables = {"params": {"scale": scale, "bias": bias}, "batch_stats": stats}
    return norm.apply(variables, x, mutable=["batch_stats"])[0]


@pytest.mark.parametrize("rows", [(64,), (9, 7)])
def test_values_and_gradients_are_those_of_flax_in_float64(rows):
    # Means of three deviations: what cancels shows.
    x, scale, bias = random(*rows, FEATURES) + 3, random(FEATURES), random(FEATURES)
    found = value_and_gradients(ours, x, scale, bias)
    with jax.enable_x64(True):
        exact = [each.astype(jnp.float64) for each in (x, scale, bias)]
        expected = value_and_gradients(theirs, *exact)
    assert_same(found, expected)


def test_statistics_of_half_precision_are_float32():
    x = random(512, FEATURES).astype(jnp.bfloat16)
    mean, var = batch_statistics(x)
    assert mean.dtype == var.dtype == jnp.float32
    exact = np.asarray(x, np.float64)
    np.testing.assert_allclose(mean, exact.mean(0), atol=1e-6)
    np.testing.assert_allclose(var, exact.var(0), rtol=1e-5)


def test_the_running_statistics_keep_their_share():
    running, own = jnp.array([1.0, 4.0]), jnp.array([3.0, 0.0])
    np.testing.assert_allclose(moving_average(running, own, 0.75), [1.5, 3.0])
