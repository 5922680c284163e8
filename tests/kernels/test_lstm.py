"""The LSTM is Keras's, gate by gate."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from abaw_jax.kernels import lstm
from abaw_jax.kernels.lstm import LSTM
from tests.support import networks64
from tests.support.forms import random, value_and_gradients


def inputs(batch=3, steps=6, features=5):
    x = np.random.default_rng(0).standard_normal((batch, steps, features))
    return jnp.asarray(x, jnp.float32)


def weights(variables):
    params = variables["params"]
    return [params[n] for n in ("input_kernel", "recurrent_kernel", "bias")]


# Nine steps take the loop, six are unrolled.
@pytest.mark.parametrize("steps", [1, 6, 9])
@pytest.mark.parametrize("activation", [np.tanh, networks64.relu])
def test_last_state_equals_the_reference(steps, activation):
    ours = {np.tanh: jnp.tanh, networks64.relu: jax.nn.relu}[activation]
    module, x = LSTM(4, activation=ours), inputs(steps=steps)
    shapes = jax.eval_shape(module.init, jax.random.key(0), x)
    variables = networks64.random_variables(shapes)
    expected = networks64.lstm(weights(variables), np.float64(x), activation)
    np.testing.assert_allclose(
        jax.jit(module.apply)(variables, x), expected, rtol=1e-4, atol=1e-5
    )


def step_by_step(kernel, recurrent, bias, x):
    """The last state, differentiated through every product of every step."""
    state = cell = jnp.zeros((len(x), len(recurrent)), x.dtype)
    for step in x.swapaxes(0, 1):
        gates = step @ kernel + state @ recurrent + bias[None]
        write, keep, value, read = jnp.split(gates, 4, axis=-1)
        cell = jax.nn.sigmoid(keep) * cell + jax.nn.sigmoid(write) * jnp.tanh(value)
        state = jax.nn.sigmoid(read) * jnp.tanh(cell)
    return state


@pytest.mark.parametrize("steps", [1, 6, 9])
def test_gradients_are_those_of_every_step_in_float64(steps):
    module, x = LSTM(4), inputs(steps=steps)
    shapes = jax.eval_shape(module.init, jax.random.key(0), x)
    arrays = [jnp.asarray(a) for a in weights(networks64.random_variables(shapes))]

    def ours(kernel, recurrent, bias, x):
        names = ("input_kernel", "recurrent_kernel", "bias")
        params = dict(zip(names, (kernel, recurrent, bias), strict=True))
        return module.apply({"params": params}, x)

    found = value_and_gradients(ours, *arrays, x)
    with jax.enable_x64(True):
        exact = [each.astype(jnp.float64) for each in (*arrays, x)]
        expected = value_and_gradients(step_by_step, *exact)
    if steps == 1:
        assert not np.any(found[2])  # there is no state before it
    assert_close(found, expected)


def assert_close(found, expected):
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=2e-6 * max(np.abs(b).max(), 1))


def test_starts_as_keras_starts(key):
    kernel, recurrent, bias = weights(jax.jit(LSTM(8).init)(key, inputs(features=24)))
    assert sum(a.size for a in (kernel, recurrent, bias)) == 4 * 8 * (8 + 24 + 1)
    np.testing.assert_array_equal(bias, [0] * 8 + [1] * 8 + [0] * 16)
    np.testing.assert_allclose(recurrent @ recurrent.T, np.eye(8), atol=1e-5)
    limit = np.sqrt(6 / (24 + 32))  # Glorot-uniform over all four gates together
    assert 0.98 * limit < np.abs(kernel).max() <= limit


def test_bfloat16_keeps_the_dtype_and_stays_close(key):
    x = inputs()
    exact, variables = jax.jit(LSTM(4).init_with_output)(key, x)
    half = jax.jit(LSTM(4, dtype=jnp.bfloat16).apply)(variables, x)
    assert half.dtype == jnp.bfloat16
    # Eight bits of mantissa.
    np.testing.assert_allclose(half.astype(jnp.float32), exact, atol=0.02)


def test_both_forms_of_the_recurrent_kernels_gradient_are_one_function():
    states, gates = random(6, 3, 4), random(6, 3, 16)
    expected = np.einsum("tbh,tbg->hg", *map(np.float64, (states[:-1], gates[1:])))
    for form in (lstm._without_first_step, lstm._with_first_step):
        np.testing.assert_allclose(form(states, gates), expected, atol=1e-5)
