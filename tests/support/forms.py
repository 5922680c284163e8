"""Comparing several forms of one function: values and gradients."""

import jax
import jax.numpy as jnp
import numpy as np


def value_and_gradients(function, *arguments):
    """The value and the gradients under one fixed, uneven cotangent."""
    result = jax.eval_shape(function, *arguments)

    @jax.jit
    def both(weights, *arguments):
        value, pull = jax.vjp(function, *arguments)
        return value, *pull(weights)

    weights = np.random.default_rng(9).standard_normal(result.shape)
    return both(jnp.asarray(weights, result.dtype), *arguments)


def assert_same(actual, expected, tolerance=1e-5):
    for a, b in zip(actual, expected, strict=True):
        scale = np.abs(b).max()
        np.testing.assert_allclose(a, b, atol=tolerance * scale, rtol=0)


def random(*shape):
    values = np.random.default_rng(sum(shape)).standard_normal(shape)
    return jnp.asarray(values, jnp.float32)
