"""Every form of a convolution or pool over time is the same function."""

from functools import partial

import networks64
import numpy as np
import pytest
from flax import linen as nn
from forms import assert_same, random, value_and_gradients
from jax import lax

from abaw_jax.models import halving


@pytest.mark.parametrize(("length", "size"), [(16, 8), (19, 4), (9, 2)])
def test_pools_over_time_agree(length, size):
    x = random(2, length, 3) - 3
    expected = np.float64(x)[:, : length // size * size]
    expected = expected.reshape(2, -1, size, 3).max(2)
    results = [
        value_and_gradients(partial(form, size=size), x)
        for form in (halving.max_pool_by_halves, halving.max_pool_over_time)
    ]
    plain = value_and_gradients(lambda x: nn.max_pool(x, (size,), (size,)), x)
    for each in results:
        np.testing.assert_array_equal(each[0], expected.astype(np.float32))
        assert_same(each, plain)


@pytest.mark.parametrize("length", [40, 41])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("taps", "padding"), [(8, 4), (4, 1), (8, 0)])
def test_halving_is_a_convolution_of_stride_two(length, channels, taps, padding):
    x, kernel = random(2, length, channels), random(taps, channels, 5)

    def plain(x, kernel):
        layout = ("NWC", "WIO", "NWC")
        return lax.conv_general_dilated(
            x, kernel, (2,), [(padding, padding)], dimension_numbers=layout
        )

    def by_halves(x, kernel):
        return halving.halving_convolution(x, kernel, padding=padding)

    actual = value_and_gradients(by_halves, x, kernel)
    assert_same(actual, value_and_gradients(plain, x, kernel))
    expected = networks64.convolution_1d(np.float64(x), np.float64(kernel), padding)
    assert_same(actual[:1], [expected])


def test_halving_refuses_an_odd_kernel():
    with pytest.raises(ValueError, match="kernel length 5 must be even"):
        halving.halving_convolution(random(1, 9, 1), random(5, 1, 1), padding=2)
