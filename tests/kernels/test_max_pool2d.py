"""Both forms of the pool of images are the same function; a GPU scatters nothing."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from abaw_jax.kernels.max_pool2d import max_pool2d
from tests.support import networks64
from tests.support.forms import assert_same, random, value_and_gradients


@pytest.mark.parametrize("size", [(8, 8), (7, 9), (1, 2)])
def test_values_and_gradients_are_those_of_flax(size):
    x = random(2, *size, 3) - 3  # all negative: padding must not win
    expected = networks64.max_pool(np.float64(x))
    ours = value_and_gradients(max_pool2d, x)
    np.testing.assert_array_equal(ours[0], expected.astype(np.float32))
    primitive = value_and_gradients(lambda x: nn.max_pool(x, (3, 3), (2, 2), "SAME"), x)
    assert_same(ours, primitive)


@pytest.mark.parametrize("platform", ["tpu", "cuda", "cpu"])
def test_only_a_tpu_scatters_a_gradient(platform):
    """A GPU adds what is scattered in any order: other bits after a restart."""
    traced = jax.jit(jax.grad(lambda x: jnp.sum(max_pool2d(x) ** 2))).trace(
        jnp.ones((2, 8, 8, 3))
    )
    text = traced.lower(lowering_platforms=(platform,)).as_text()
    assert ("select_and_scatter" in text) == (platform == "tpu")
