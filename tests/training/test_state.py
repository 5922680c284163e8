"""Averaged parameters against a plain loop in float64; initial variables."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from abaw_jax.training.state import (
    average_parameters,
    create_state,
    init_variables,
)

traced = []


class Noted(nn.Module):
    """A network that notes when it is traced."""

    width: int

    @nn.compact
    def __call__(self, x):
        traced.append(self.width)
        return nn.Dense(self.width)(x)


def test_initial_variables_of_equal_models_are_traced_once():
    shape = jax.ShapeDtypeStruct((2, 3), jnp.float32)
    traced.clear()
    first, second, _ = (
        init_variables(Noted(width), jax.random.key(seed), shape)
        for width, seed in ((4, 0), (4, 1), (5, 0))
    )
    assert traced == [4, 5]
    kernels = [each["params"]["Dense_0"]["kernel"] for each in (first, second)]
    assert np.abs(kernels[0] - kernels[1]).max() > 0.01


def test_the_average_is_that_of_the_parameters_after_each_update():
    rng = np.random.default_rng(0)
    start = {"w": rng.normal(size=(3, 4)), "b": rng.normal(size=3)}
    optimizer = optax.chain(optax.sgd(0.1), average_parameters(0.9))
    params = jax.tree.map(jnp.float32, start)
    state, expected = optimizer.init(params), {k: v.copy() for k, v in start.items()}
    exact = {k: v.copy() for k, v in start.items()}
    for _ in range(20):
        gradients = {k: rng.normal(size=v.shape) for k, v in start.items()}
        updates, state = optimizer.update(
            jax.tree.map(jnp.float32, gradients), state, params
        )
        params = optax.apply_updates(params, updates)
        for k, gradient in gradients.items():
            exact[k] -= 0.1 * gradient
            expected[k] = 0.9 * expected[k] + 0.1 * exact[k]
    average = optax.tree.get(state, "average")
    for k, values in expected.items():
        np.testing.assert_allclose(average[k], values, atol=1e-6)
        assert np.abs(average[k] - params[k]).max() > 0.01


def test_a_state_is_scored_by_its_average_if_it_has_one():
    variables = {"params": {"w": jnp.ones((2, 3))}, "batch_stats": {"m": jnp.ones(2)}}
    plain = create_state(variables, optax.adam(1e-3))
    assert plain.evaluated["params"] is plain.params
    averaged = create_state(
        variables, optax.chain(optax.adam(1e-3), average_parameters(0.5))
    )
    moved = averaged.replace(params={"w": jnp.zeros((2, 3))})
    np.testing.assert_array_equal(moved.evaluated["params"]["w"], np.ones((2, 3)))
    assert moved.evaluated["batch_stats"] is moved.batch_stats
