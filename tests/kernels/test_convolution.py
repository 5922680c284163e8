"""The CPU's forms of a convolution are XLA's in value and gradient, and fast."""

import re
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from abaw_jax.kernels import convolution_cpu
from abaw_jax.kernels.convolution import Conv2d, convolve
from abaw_jax.kernels.convolution_cpu import convolve_cpu
from tests.support import networks64
from tests.support.forms import assert_same, random, value_and_gradients


def xla(x, kernel, *, strides, padding):
    spatial = "W" if x.ndim == 3 else "HW"
    names = f"N{spatial}C", f"{spatial}IO", f"N{spatial}C"
    return lax.conv_general_dilated(
        x, kernel, strides, padding, dimension_numbers=names
    )


@pytest.mark.parametrize(
    ("shape", "kernel", "strides", "padding"),
    [
        ((2, 7, 6, 3), (3, 3, 3, 4), (1, 1), "SAME"),
        ((2, 7, 6, 3), (3, 3, 3, 4), (2, 2), "SAME"),
        ((2, 8, 9, 3), (1, 1, 3, 4), (2, 2), "SAME"),  # reads a quarter of the pixels
        ((2, 11, 8, 3), (7, 7, 3, 2), (2, 2), "SAME"),
        ((2, 6, 9, 3), (2, 4, 3, 2), (2, 3), ((0, 2), (3, 1))),
        ((2, 9, 3), (4, 3, 5), (1,), "VALID"),
        ((2, 7, 6, 9), (3, 3, 9, 1), (1, 1), "SAME"),  # fewer outputs than inputs
        ((2, 7, 6, 40), (2, 4, 40, 3), (1, 1), ((0, 2), (3, 1))),
        ((2, 9, 16), (4, 16, 2), (1,), "VALID"),
        ((2, 10, 3), (4, 3, 5), (3,), ((1, 0),)),
        ((2, 77, 3), (32, 3, 5), (1,), ((4, 3),)),  # few outputs of many steps
        ((1, 71, 2), (35, 2, 16), (1,), "VALID"),
    ],
)
def test_values_and_gradients_are_xlas(shape, kernel, strides, padding):
    arrays = random(*shape), random(*kernel)
    ours, theirs = (
        value_and_gradients(partial(f, strides=strides, padding=padding), *arrays)
        for f in (convolve, xla)
    )
    assert_same(ours, theirs)


@pytest.mark.parametrize(
    ("shape", "kernel", "strides", "padding"),
    [
        ((16, 7, 6, 3), (3, 3, 3, 4), (1, 1), "SAME"),
        ((3, 11, 8, 3), (7, 7, 3, 2), (2, 2), "SAME"),
        ((2, 8, 9, 3), (1, 1, 3, 4), (2, 2), "SAME"),
        ((16, 13, 3), (4, 3, 5), (3,), ((1, 0),)),
    ],
)
@pytest.mark.parametrize("rows", [1, 2, 3])
def test_a_kernels_gradient_is_the_sum_of_those_of_parts(
    monkeypatch, shape, kernel, strides, padding, rows
):
    """Of eight images at most, and of some of their rows."""
    arguments = {"strides": strides, "padding": padding}
    arrays = random(*shape), random(*kernel)
    y = xla(*arrays, **arguments)
    images = min(8, shape[0])
    part = images * rows * y[0, 0].nbytes
    monkeypatch.setattr(convolution_cpu, "_PART_BYTES", part)
    assert convolution_cpu._parts(y)[0] == images
    assert 0 < convolution_cpu._parts(y)[1] <= rows < y.shape[1]
    ours, theirs = (
        value_and_gradients(partial(form, **arguments), *arrays)
        for form in (convolve, xla)
    )
    assert_same(ours, theirs)


def test_an_image_is_convolved_as_in_float64():
    x = random(2, 6, 5, 3)
    layer = Conv2d(4, (3, 3))
    variables = layer.init(jax.random.key(0), x)
    kernel = np.float64(variables["params"]["kernel"])
    expected = networks64.convolution(np.float64(x), kernel, groups=1)
    assert_same([layer.apply(variables, x)], [expected])


@pytest.mark.parametrize("form", [xla, convolve])
def test_in_a_loop_all_convolutions_have_the_order_of_the_fast_kernels(form):
    """Of XLA's own gradients two have not, which shows that the test can tell."""

    def loss(kernel, x):
        y = form(x, kernel, strides=(1, 1), padding="SAME")
        return jnp.sum(form(y, kernel, strides=(1, 1), padding="SAME") ** 2)

    def train(kernel, images):
        def step(kernel, x):
            return kernel - jax.grad(loss)(kernel, x), None

        return lax.scan(step, kernel, images)[0]

    arrays = random(3, 3, 4, 4), random(5, 2, 8, 8, 4)
    text = jax.jit(train).lower(*arrays).compile().as_text()
    orders = re.findall(r" convolution\(.*dim_labels=(\S+?)[,\s]", text)
    assert len(orders) == 5  # forward twice, one gradient of y, two of the kernel
    assert (set(orders) == {"b01f_01io->b01f"}) == (form is convolve)


def test_other_platforms_take_xlas_gradients():
    """Of a GPU's program cuDNN's kernels are found by the order of its dimensions."""

    def loss(x, kernel):
        return jnp.sum(convolve(x, kernel, strides=(2, 2), padding="SAME") ** 2)

    arrays = random(2, 8, 8, 4), random(3, 3, 4, 4)
    traced = jax.jit(jax.grad(loss, argnums=(0, 1))).trace(*arrays)
    texts = {
        platform: traced.lower(lowering_platforms=(platform,)).as_text()
        for platform in ("cpu", "cuda", "tpu")
    }
    assert "stablehlo.reverse" in texts["cpu"]
    moved = {platform: "transpose" in text for platform, text in texts.items()}
    assert moved["cpu"] and texts["cuda"] == texts["tpu"] != texts["cpu"]


def test_members_of_a_population_are_convolved_one_by_one():
    x, kernel = random(3, 2, 6, 5, 3), random(3, 3, 3, 3, 4)
    form = partial(convolve_cpu, strides=(1, 1), pads=((1, 1), (1, 1)))
    mapped = jax.vmap(lambda x, k: convolve_cpu(x, k, (1, 1), ((1, 1), (1, 1))))
    one_by_one = [form(*each) for each in zip(x, kernel, strict=True)]
    assert_same([mapped(x, kernel)], [jnp.stack(one_by_one)])


@pytest.mark.parametrize(
    ("x", "kernel", "inside"),
    [
        ((2, 800, 2), (32, 2, 16), "f32[5,16,128]"),  # SoundNet's first layer
        ((2, 8, 8, 64), (3, 3, 64, 1), "f32[64,9]"),  # of the image encoder's attention
    ],
)
def test_few_outputs_are_computed_together(x, kernel, inside):
    pads = ((0, 0),) * (len(x) - 2)
    form = partial(convolve_cpu, strides=(1,) * len(pads), pads=pads)
    assert inside in str(jax.make_jaxpr(form)(jnp.ones(x), jnp.ones(kernel)))
