"""Pooling first and normalising then is normalising first and pooling then."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from abaw_jax.kernels.batch_norm_max_pool import BatchNormMaxPool
from tests.support.forms import assert_same, random

CHANNELS = 5


class NormThenPool(nn.Module):
    """As Flax has them."""

    size: int
    use_running_average: bool

    @nn.compact
    def __call__(self, x):
        norm = nn.BatchNorm(self.use_running_average, momentum=0.9, epsilon=1e-5)
        nn.share_scope(self, norm)
        return nn.max_pool(norm(x), (self.size,), (self.size,))


def variables():
    rng = np.random.default_rng(0)

    def draw(low, high):
        return jnp.asarray(rng.uniform(low, high, CHANNELS), jnp.float32)

    scale = draw(0.5, 2) * jnp.array([1, -1, 1, -1, 1])
    return {
        "params": {"scale": scale, "bias": draw(-1, 1)},
        "batch_stats": {"mean": draw(-1, 1), "var": draw(0.5, 2)},
    }


@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize("size", [1, 4])
def test_values_gradients_and_statistics_are_those_of_flax(size, train):
    x, weights = 2 + random(3, 17, CHANNELS), random(4, 17 // size, CHANNELS)[1:]

    def run(module):
        def loss(params, x):
            y, changed = module(size, not train).apply(
                {**variables(), "params": params}, x, mutable=["batch_stats"]
            )
            return jnp.sum(weights * y), (y, changed)

        return jax.jit(jax.grad(loss, argnums=(0, 1), has_aux=True))(
            variables()["params"], x
        )

    assert_same(*map(jax.tree.leaves, map(run, (BatchNormMaxPool, NormThenPool))))


def test_a_channel_without_scale_is_its_bias():
    tree = variables()
    tree["params"]["scale"] = jnp.zeros(CHANNELS)
    y = BatchNormMaxPool(4, use_running_average=True).apply(
        tree, random(2, 16, CHANNELS)
    )
    expected = jnp.broadcast_to(tree["params"]["bias"], (2, 4, CHANNELS))
    np.testing.assert_array_equal(y, expected)
