"""The image encoder is the published network, in count and in value."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from abaw_jax.models import image_encoder
from abaw_jax.models.image_encoder import ImageEncoder, _enlarge, scale_frames
from tests.support import networks64

SMALL = {"stage_sizes": (1, 2, 1), "widths": (8, 16, 24), "cardinality": 4}


def shapes(module, size=32):
    images = jax.ShapeDtypeStruct((1, size, size, 3), jnp.float32)
    return jax.eval_shape(module.init, jax.random.key(0), images)


def images(n, h, w):
    pixels = np.random.default_rng(n).uniform(size=(n, h, w, 3))
    return jnp.asarray(pixels, jnp.float32)


def assert_equals_reference(actual, expected):
    np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-4)


def test_has_the_published_number_of_values():
    leaves = jax.tree.leaves(shapes(ImageEncoder(), 112))
    assert sum(leaf.size for leaf in leaves) == 11_014_080
    assert {leaf.dtype for leaf in leaves} == {jnp.dtype(jnp.float32)}


@pytest.mark.parametrize("size", [(33, 47), (64, 64)])
def test_small_encoder_equals_the_reference(size):
    module = ImageEncoder(**SMALL)
    variables = networks64.random_variables(shapes(module))
    x = images(2, *size)
    expected = networks64.image_encoder(
        variables, x, stage_sizes=SMALL["stage_sizes"], cardinality=4
    )
    assert np.std(expected) > 0.1
    assert_equals_reference(jax.jit(module.apply)(variables, x), expected)


@pytest.mark.slow
def test_full_encoder_equals_the_reference():
    module = ImageEncoder()
    variables = networks64.random_variables(shapes(module), gain=0.3)
    x = images(1, 33, 32)
    expected = networks64.image_encoder(
        variables, x, stage_sizes=(3, 4, 6, 3), cardinality=32
    )
    assert expected.shape == (1, 512)
    assert np.std(expected) > 0.1
    assert_equals_reference(jax.jit(module.apply)(variables, x), expected)


def test_training_normalises_by_the_batch_and_averages_with_0_9():
    module = ImageEncoder(**SMALL)
    variables = networks64.random_variables(shapes(module))
    x = images(3, 32, 32)
    apply = jax.jit(partial(module.apply, train=True, mutable=["batch_stats"]))
    actual, updates = apply(variables, x)
    expected = networks64.image_encoder(
        variables, x, stage_sizes=SMALL["stage_sizes"], cardinality=4, train=True
    )
    assert_equals_reference(actual, expected)

    w = networks64.Weights(variables)
    stem = networks64.convolution(np.float64(x), w("stem_conv/kernel"), 2)
    mean = (stem + w("stem_conv/bias")).mean((0, 1, 2))
    average = 0.9 * w("stem_norm/mean", "batch_stats") + 0.1 * mean
    np.testing.assert_allclose(
        updates["batch_stats"]["stem_norm"]["mean"], average, atol=1e-5
    )


def test_frozen_statistics_are_part_of_the_kernels(monkeypatch):
    """With the gradients that normalising after the convolution has."""
    module = ImageEncoder(**SMALL)
    variables = networks64.random_variables(shapes(module))
    x, weights = images(2, 32, 32), images(1, 2, 24)[0, :, :, 0]

    def loss(params):
        return jnp.sum(weights * module.apply(variables | {"params": params}, x))

    folded = jax.jit(jax.grad(loss))(variables["params"])
    monkeypatch.setattr(
        image_encoder, "convolve_and_normalise", lambda conv, norm, x: norm(conv(x))
    )
    expected = jax.jit(jax.grad(loss))(variables["params"])
    scale = max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(expected))
    for a, b in zip(*map(jax.tree.leaves, (folded, expected)), strict=True):
        bound = 1e-4 * np.abs(b).max() + 1e-6 * scale
        np.testing.assert_allclose(a, b, rtol=0, atol=bound)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_inference_variables_give_the_same_bits(dtype):
    """At this size; larger, XLA fuses folding and sums on a CPU, and rounds less often.

    At full size features differ by 2e-7 of the largest, in bfloat16 by .5 %; not at all
    in bfloat16 with ``xla_allow_excess_precision`` off.
    """

    def optimised(function, *arguments):  # as outside the tests, see conftest
        options = {"xla_backend_optimization_level": 3}
        lowered = jax.jit(function).lower(*arguments)
        return lowered.compile(compiler_options=options)(*arguments)

    module = ImageEncoder(**SMALL, dtype=dtype)
    variables, x = networks64.random_variables(shapes(module)), images(2, 32, 32)
    weights = optimised(module.inference_variables, variables)
    assert {leaf.dtype for leaf in jax.tree.leaves(weights)} == {jnp.dtype(dtype)}
    expected = optimised(module.apply, variables, x)
    np.testing.assert_array_equal(optimised(module.apply, weights, x), expected)


def test_a_call_with_inference_variables_computes_nothing_of_them():
    module = ImageEncoder(**SMALL, dtype=jnp.bfloat16)
    variables, x = shapes(module), images(2, 32, 32)
    weights = jax.eval_shape(module.inference_variables, variables)
    one, other = (
        jax.jit(module.apply).lower(each, x).as_text() for each in (variables, weights)
    )
    assert "rsqrt" in one and "rsqrt" not in other
    width = "3x3x16x16xf32"  # of a kernel before it is cast
    assert width in one and width not in other


def test_a_convolution_without_its_normalisation_is_refused():
    module = ImageEncoder(**SMALL)
    variables = networks64.random_variables(shapes(module))
    del variables["params"]["stage1_block1"]["norm2"]
    with pytest.raises(KeyError, match="norm2"):
        module.inference_variables(variables)


def test_bfloat16_computes_close_and_returns_float32():
    module = ImageEncoder(stage_sizes=(1,), widths=(8,), cardinality=4)
    variables = networks64.random_variables(shapes(module))
    x = images(2, 32, 32)
    exact = jax.jit(module.apply)(variables, x)
    half = jax.jit(module.clone(dtype=jnp.bfloat16).apply)(variables, x)
    assert half.dtype == jnp.float32
    # Eight bits of mantissa through five layers.
    np.testing.assert_allclose(half, exact, atol=0.03 * np.abs(exact).max())
    assert not np.array_equal(half, exact)


@pytest.mark.parametrize(
    ("settings", "shape", "dtype", "message"),
    [
        ({}, (1, 32, 32, 3), "uint8", "scale_frames"),
        ({}, (1, 32, 32, 1), "float32", r"\[N, H, W, 3\]"),
        ({}, (32, 32, 3), "float32", r"\[N, H, W, 3\]"),
        ({"cardinality": 5}, (1, 32, 32, 3), "float32", "multiples of the cardinality"),
        ({"widths": (8, 16)}, (1, 32, 32, 3), "float32", "3 stage_sizes and 2 widths"),
    ],
)
def test_wrong_input_is_named(settings, shape, dtype, message):
    module = ImageEncoder(**{**SMALL, **settings})
    with pytest.raises(ValueError, match=message):
        jax.eval_shape(
            module.init, jax.random.key(0), jax.ShapeDtypeStruct(shape, dtype)
        )


def bilinear(image, size):
    """Half-pixel centres, edges repeated: what TensorFlow's resize does."""
    h, w, _ = image.shape
    y = np.clip((np.arange(size) + 0.5) * h / size - 0.5, 0, h - 1)
    x = np.clip((np.arange(size) + 0.5) * w / size - 0.5, 0, w - 1)
    top, left = np.floor(y).astype(int), np.floor(x).astype(int)
    bottom, right = np.minimum(top + 1, h - 1), np.minimum(left + 1, w - 1)
    fy, fx = (y - top)[:, None, None], (x - left)[None, :, None]
    upper = image[top][:, left] * (1 - fx) + image[top][:, right] * fx
    lower = image[bottom][:, left] * (1 - fx) + image[bottom][:, right] * fx
    return upper * (1 - fy) + lower * fy


def test_frames_are_enlarged_bilinearly():
    frames = np.random.default_rng(0).integers(0, 256, (2, 3, 7, 7, 3), np.uint8)
    for size in (14, 9):
        actual = scale_frames(jnp.asarray(frames), size=size)
        of_gpu = _enlarge(jnp.asarray(frames / 255, jnp.float32), size=size)
        assert actual.shape == of_gpu.shape == (2, 3, size, size, 3)
        for index in np.ndindex(2, 3):
            expected = bilinear(frames[index] / 255, size)
            np.testing.assert_allclose(actual[index], expected, atol=1e-6)
            np.testing.assert_allclose(of_gpu[index], expected, atol=1e-6)


def test_frames_are_made_smaller_as_means_on_every_platform():
    frames = np.zeros((1, 8, 4, 3), np.uint8)
    frames[:, ::2] = 255
    assert "platform" not in str(jax.make_jaxpr(partial(scale_frames, size=4))(frames))
    assert "platform" in str(jax.make_jaxpr(partial(scale_frames, size=8))(frames))
    np.testing.assert_allclose(scale_frames(frames, size=4)[:, 1:3], 0.5, atol=1e-6)


def test_frames_of_the_right_size_are_only_scaled():
    frames = jnp.arange(256, dtype=jnp.uint8)[:192].reshape(1, 8, 8, 3)
    for size in (None, 8):
        np.testing.assert_allclose(
            scale_frames(frames, size=size), np.asarray(frames) / 255, rtol=1e-6
        )


def test_frames_must_be_bytes():
    with pytest.raises(ValueError, match="uint8"):
        scale_frames(jnp.zeros((1, 8, 8, 3)))
