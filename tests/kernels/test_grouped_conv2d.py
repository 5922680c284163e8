"""Every form of a grouped convolution is the same function, one for each platform."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from abaw_jax.kernels import grouped_conv2d
from tests.support import networks64
from tests.support.forms import assert_same, random, value_and_gradients


@pytest.mark.parametrize(
    ("size", "channels", "features", "groups"),
    [
        ((7, 6), 8, 8, 4),
        ((4, 5), 6, 12, 3),
        ((3, 3), 4, 4, 1),
        ((5, 4), 12, 24, 2),
        ((4, 3), 16, 16, 4),
        ((4, 3), 16, 16, 2),
    ],
)
def test_forms_agree(size, channels, features, groups):
    x = random(2, *size, channels)
    kernel = random(3, 3, channels // groups, features)
    expected = networks64.convolution(np.float64(x), np.float64(kernel), groups=groups)
    forms = [
        partial(form, groups=groups)
        for form in (
            grouped_conv2d.grouped_conv2d_blocked,
            grouped_conv2d.grouped_conv2d_xla,
            grouped_conv2d.grouped_conv2d,
        )
    ]
    if features == channels:
        forms.append(grouped_conv2d.grouped_conv2d_shifted_sum)
    results = [value_and_gradients(form, x, kernel) for form in forms]
    for each in results:
        assert_same(each[:1], [expected])
        assert_same(each, results[0])


def test_a_kernel_has_odd_sides():
    with pytest.raises(ValueError, match="kernel 2x3 has an even side"):
        grouped_conv2d.grouped_conv2d(random(1, 4, 4, 4), random(2, 3, 2, 4), groups=2)


def lowered(platform, depth=2):
    """The gradient of a grouped convolution, as ``platform`` gets it."""

    def loss(x, kernel):
        return jnp.sum(grouped_conv2d.grouped_conv2d(x, kernel, groups=4) ** 2)

    traced = jax.jit(jax.grad(loss, argnums=(0, 1))).trace(
        random(2, 8, 8, 4 * depth), random(3, 3, depth, 4 * depth)
    )
    return traced.lower(lowering_platforms=(platform,))


@pytest.mark.parametrize("platform", ["tpu", "cuda"])
def test_accelerators_get_the_primitive(platform):
    text = lowered(platform).as_text()
    assert "feature_group_count = 4" in text
    assert "batch_group_count = 4" in text


@pytest.mark.parametrize("depth", [2, 16])
def test_cpu_gets_what_it_is_fast_at_and_no_branch(depth):
    program = lowered("cpu", depth)
    text = program.as_text()
    assert "group_count = 4" not in text
    assert " conditional(" not in program.compile().as_text()


def test_kernels_start_as_keras_starts_each_group():
    module = grouped_conv2d.GroupedConv2d(8)
    variables = jax.jit(module.init)(jax.random.key(0), random(1, 4, 4, 64))
    kernel = variables["params"]["kernel"]
    # Glorot-uniform of one 3x3 convolution of 8 to 8 channels.
    limit = np.sqrt(6 / (9 * 8 + 9 * 8))
    assert kernel.shape == (3, 3, 8, 64)
    assert 0.99 * limit < np.abs(kernel).max() <= limit
    np.testing.assert_allclose(np.std(kernel), limit / np.sqrt(3), rtol=0.03)
