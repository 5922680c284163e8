"""Every form of a convolution is the same function, and each platform gets its own."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from abaw_jax.kernels import conv2d, grouped_conv2d
from abaw_jax.kernels.winograd import winograd_conv3x3
from abaw_jax.models.image_encoder import Conv
from tests.support import networks64
from tests.support.forms import assert_same, random, value_and_gradients


@pytest.mark.parametrize(
    ("size", "channels", "features", "groups", "taps"),
    [
        ((7, 6), 8, 8, 4, 3),
        ((4, 5), 6, 12, 3, 3),
        ((3, 3), 4, 4, 1, 3),
        ((5, 4), 12, 24, 2, 3),
        ((4, 3), 16, 16, 4, 3),
    ],
)
def test_grouped_forms_agree(size, channels, features, groups, taps):
    x = random(2, *size, channels)
    kernel = random(taps, taps, channels // groups, features)
    expected = networks64.convolution(np.float64(x), np.float64(kernel), groups=groups)
    results = []
    forms = []
    if features == channels:
        forms.append(grouped_conv2d.grouped_conv2d_shifted_sum)
    for form in (
        *forms,
        grouped_conv2d.grouped_conv2d_blocked,
        grouped_conv2d.grouped_conv2d_xla,
        grouped_conv2d.grouped_conv2d,
    ):
        function = partial(form, groups=groups)
        results.append(value_and_gradients(function, x, kernel))
        assert_same(results[-1][:1], [expected])
    for each in results[1:]:
        assert_same(each, results[0])


@pytest.mark.parametrize("strides", [1, 2])
@pytest.mark.parametrize(("size", "taps"), [((6, 5), 3), ((7, 4), 3), ((5, 5), 2)])
@pytest.mark.parametrize("channels", [3, 9])
def test_dense_forms_agree(size, taps, strides, channels):
    x, kernel = random(2, *size, channels), random(taps, taps, channels, 5)
    plain = partial(conv2d.conv2d_xla, strides=strides)
    expected = value_and_gradients(plain, x, kernel)
    if taps == 3:
        reference = networks64.convolution(np.float64(x), np.float64(kernel), strides)
        assert_same(expected[:1], [reference])
    for form in (
        lambda x, k: conv2d.conv2d_matmul_kernel_gradient(x, k, strides),
        lambda x, k: conv2d.conv2d(x, k, strides=strides),
    ):
        assert_same(value_and_gradients(form, x, kernel), expected)


@pytest.mark.slow
@pytest.mark.parametrize("size", [(6, 5), (1, 1), (2, 9), (8, 8), (4, 13)])
@pytest.mark.parametrize(
    ("form", "features", "tolerance"),
    [
        (conv2d.conv2d_im2col, 5, 1e-5),
        (conv2d.conv2d_single_pixel, 1, 1e-5),
        # Its sums cancel: 40 times as coarse.
        (winograd_conv3x3, 5, 1e-4),
    ],
)
def test_forms_of_stride_1_agree(form, features, tolerance, size):
    x, kernel = random(2, *size, 3), random(3, 3, 3, features)
    plain = partial(conv2d.conv2d_xla, strides=1)
    expected = value_and_gradients(plain, x, kernel)
    assert_same(value_and_gradients(form, x, kernel), expected, tolerance)


@pytest.mark.parametrize("strides", [1, 2])
def test_a_kernel_of_one_pixel_is_a_product(strides):
    x, kernel = random(2, 5, 4, 3), random(1, 1, 3, 6)
    plain = partial(conv2d.conv2d_xla, strides=strides)
    form = partial(conv2d.conv2d_1x1, strides=strides)
    expected = value_and_gradients(plain, x, kernel)
    assert_same(value_and_gradients(form, x, kernel), expected)


@pytest.mark.parametrize(
    ("size", "channels", "features", "side", "strides", "form"),
    [
        (28, 64, 64, 3, 1, "winograd_conv3x3"),
        (14, 128, 128, 3, 1, "conv2d_matmul_kernel_gradient"),
        (16, 16, 16, 3, 1, "conv2d_matmul_kernel_gradient"),
        (7, 256, 256, 3, 1, "conv2d_im2col"),
        (28, 64, 128, 3, 2, "conv2d_im2col_strided"),
        (28, 64, 128, 1, 2, "conv2d_1x1"),
        (28, 64, 1, 3, 1, "conv2d_single_pixel"),
        (112, 3, 64, 7, 2, "conv2d_matmul_kernel_gradient"),
    ],
)
def test_sizes_of_the_encoder_get_the_form_that_was_measured_to_be_fastest(
    monkeypatch, size, channels, features, side, strides, form
):
    class Taken(Exception):
        pass

    def take(*_):
        raise Taken

    x = jax.ShapeDtypeStruct((1, size, size, channels), jnp.float32)
    kernel = jax.ShapeDtypeStruct((side, side, channels, features), jnp.float32)
    monkeypatch.setattr(conv2d, form, take)
    with pytest.raises(Taken):
        jax.eval_shape(lambda x, k: conv2d.conv2d_cpu(x, k, strides), x, kernel)


def test_half_precision_is_not_tiled():
    x, kernel = random(1, 28, 28, 32), random(3, 3, 32, 32)
    half = [jnp.asarray(each, jnp.bfloat16) for each in (x, kernel)]
    y = conv2d.conv2d(*half)
    assert y.dtype == jnp.bfloat16
    expected = conv2d.conv2d_xla(*half, strides=1)
    np.testing.assert_array_equal(np.float32(y), np.float32(expected))


def test_grouped_convolutions_have_no_stride():
    module = Conv(4, groups=2, strides=2)
    with pytest.raises(ValueError, match="stride 1"):
        jax.eval_shape(module.init, jax.random.key(0), random(1, 4, 4, 4))


def test_grouped_kernels_have_odd_sides():
    with pytest.raises(ValueError, match="kernel 2x3 has an even side"):
        grouped_conv2d.grouped_conv2d(random(1, 4, 4, 4), random(2, 3, 2, 4), groups=2)


@pytest.mark.parametrize("size", [(8, 8), (7, 9), (1, 2)])
def test_max_pool_forms_agree(size):
    x = random(2, *size, 3) - 3  # all negative: padding must not win
    expected = networks64.max_pool(np.float64(x))
    results = []
    for form in (
        conv2d.max_pool2d_shifted,
        conv2d.max_pool2d_xla,
        conv2d.max_pool2d,
    ):
        results.append(value_and_gradients(form, x))
        np.testing.assert_array_equal(results[-1][0], expected.astype(np.float32))
    assert_same(results[0], results[1])
    assert_same(results[2], results[1])


def lowered(platform, depth=2):
    """The gradient of a grouped convolution and a pool, as ``platform`` gets it."""

    def loss(x, kernel):
        y = grouped_conv2d.grouped_conv2d(x, kernel, groups=4)
        return jnp.sum(conv2d.max_pool2d(y) ** 2)

    traced = jax.jit(jax.grad(loss, argnums=(0, 1))).trace(
        random(2, 8, 8, 4 * depth), random(3, 3, depth, 4 * depth)
    )
    return traced.lower(lowering_platforms=(platform,))


@pytest.mark.parametrize("platform", ["tpu", "cuda"])
def test_accelerators_get_the_primitives(platform):
    text = lowered(platform).as_text()
    assert "feature_group_count = 4" in text
    assert "batch_group_count = 4" in text
    # A GPU adds what is scattered in any order: not the same bits after a restart.
    assert ("select_and_scatter" in text) == (platform == "tpu")


@pytest.mark.parametrize("depth", [2, 16])
def test_cpu_gets_what_it_is_fast_at_and_no_branch(depth):
    program = lowered("cpu", depth)
    text = program.as_text()
    assert "stablehlo.convolution" not in text
    assert ("stablehlo.dot_general" in text) == (depth == 16)
    assert "group_count = 4" not in text
    assert "select_and_scatter" not in text
    assert " conditional(" not in program.compile().as_text()


def test_grouped_kernels_start_as_keras_starts_each_group():
    module = Conv(64, groups=8)
    shape = (1, 4, 4, 64)
    variables = jax.jit(module.init)(jax.random.key(0), random(*shape))
    kernel = variables["params"]["kernel"]
    # Glorot-uniform of one 3x3 convolution of 8 to 8 channels.
    limit = np.sqrt(6 / (9 * 8 + 9 * 8))
    assert kernel.shape == (3, 3, 8, 64)
    assert 0.99 * limit < np.abs(kernel).max() <= limit
    np.testing.assert_allclose(np.std(kernel), limit / np.sqrt(3), rtol=0.03)
