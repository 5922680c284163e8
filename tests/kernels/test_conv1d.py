"""Convolution and pool over time are those of XLA, value and gradient."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from jax import lax

from abaw_jax.kernels import conv1d
from tests.support import networks64
from tests.support.forms import assert_same, random, value_and_gradients


@pytest.mark.parametrize(("length", "size"), [(16, 8), (19, 4), (9, 2), (9, 1)])
def test_pools_over_time_agree(length, size):
    x = random(2, length, 3) - 3
    expected = np.float64(x)[:, : length // size * size]
    expected = expected.reshape(2, -1, size, 3).max(2)
    ours = value_and_gradients(partial(conv1d.max_pool1d, size=size), x)
    np.testing.assert_array_equal(ours[0], expected.astype(np.float32))
    primitive = value_and_gradients(lambda x: nn.max_pool(x, (size,), (size,)), x)
    assert_same(ours, primitive)


def test_samples_that_share_a_maximum_share_its_gradient():
    """Silence is constant behind a convolution."""
    x = jnp.array([[1.0, 3.0, 2.0, 3.0], [2.0, 2.0, 2.0, 2.0]])[:, :, None]
    pull = jax.vjp(partial(conv1d.max_pool1d, size=4), x)[1]
    (gradient,) = pull(jnp.array([6.0, 8.0]).reshape(2, 1, 1))
    np.testing.assert_array_equal(gradient[..., 0], [[0, 3, 0, 3], [2, 2, 2, 2]])


@pytest.mark.parametrize("length", [40, 41])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("taps", "padding"), [(8, 4), (4, 1), (8, 0)])
def test_pairs_give_a_convolution_of_stride_two(length, channels, taps, padding):
    x, kernel = random(2, length, channels), random(taps, channels, 5)

    def plain(x, kernel):
        layout = ("NWC", "WIO", "NWC")
        return lax.conv_general_dilated(
            x, kernel, (2,), [(padding, padding)], dimension_numbers=layout
        )

    def by_pairs(x, kernel):
        return conv1d.strided_conv1d(x, kernel, padding=padding)

    actual = value_and_gradients(by_pairs, x, kernel)
    assert_same(actual, value_and_gradients(plain, x, kernel))
    expected = networks64.convolution_1d(np.float64(x), np.float64(kernel), padding)
    assert_same(actual[:1], [expected])


def test_windows_in_turn_are_windows_together():
    x, kernel = random(3, 40, 1), random(8, 1, 4)

    def layer(x):
        y = conv1d.strided_conv1d(x, kernel, padding=4)
        return conv1d.max_pool1d(y, size=4)

    in_turn = jax.jit(lambda x: conv1d.map_batch_on_cpu(layer, x))(x)
    np.testing.assert_allclose(in_turn, layer(x), rtol=1e-6)


def test_strided_convolution_refuses_an_odd_kernel():
    with pytest.raises(ValueError, match="kernel length 5 must be even"):
        conv1d.strided_conv1d(random(1, 9, 1), random(5, 1, 1), padding=2)


@pytest.mark.parametrize("platform", ["tpu", "cuda"])
def test_a_gpu_scatters_no_gradient(platform):
    """It adds what is scattered in any order: not the same bits after a restart."""

    def loss(x):
        return jnp.sum(conv1d.max_pool1d(x, size=8) ** 2)

    traced = jax.jit(jax.grad(loss)).trace(jnp.ones((2, 64, 3)))
    text = traced.lower(lowering_platforms=(platform,)).as_text()
    assert ("select_and_scatter" in text) == (platform == "tpu")
