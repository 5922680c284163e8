"""Gradient reversal: identity forward, minus scale times the cotangent backward.

`check_grads` has no place here: the layer lies about its derivative on purpose.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from abaw_jax.reversal import gradient_reversal


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16, jnp.float16])
def test_forward_is_the_identity_bit_for_bit(key, dtype):
    x = jax.random.normal(key, (3, 5), dtype)
    y = jax.jit(gradient_reversal)(x, 0.3)
    assert y.dtype == dtype
    np.testing.assert_array_equal(np.asarray(y), np.asarray(x))


@pytest.mark.parametrize("scale", [0.0, 0.5, 1.0, 3.0, 2])
def test_backward_is_minus_scale_times_the_cotangent(key, scale):
    x, cotangent = jax.random.normal(key, (2, 3, 5))
    _, pull_back = jax.vjp(lambda x: gradient_reversal(x, scale), x)
    np.testing.assert_array_equal(pull_back(cotangent)[0], -scale * cotangent)


def test_scale_is_one_by_default():
    assert jax.grad(lambda x: gradient_reversal(x) ** 2)(3.0) == -6.0


def test_twice_is_the_plain_gradient():
    def twice(x):
        return gradient_reversal(gradient_reversal(x)) ** 2

    assert jax.grad(twice)(3.0) == 6.0


def test_second_derivatives_are_reversed_again():
    """R(x)^3 at 2 with scale s: the gradient is -s 3 R(x)^2, its own s^2 6 x.

    PyTorch 2.13 gives -6 and 3 for s = 0.5, by a function whose backward is -s g.
    """

    def cube(x):
        return gradient_reversal(x, 0.5) ** 3

    assert jax.grad(cube)(2.0) == -6.0
    assert jax.grad(jax.grad(cube))(2.0) == 3.0
    assert jax.jit(jax.grad(jax.grad(cube)))(2.0) == 3.0

    def penalty(x):  # of a gradient penalty: (d cube / dx)^2
        return jax.grad(cube)(x) ** 2

    assert jax.grad(penalty)(2.0) == 2 * -6.0 * 3.0


@pytest.mark.parametrize("cotangent", [jnp.inf, -jnp.inf, jnp.nan])
def test_scale_zero_stops_any_gradient(cotangent):
    _, pull_back = jax.vjp(lambda x: gradient_reversal(x, 0.0), jnp.ones(2))
    np.testing.assert_array_equal(pull_back(jnp.full(2, cotangent))[0], 0.0)


def test_bfloat16_cotangent_rounds_once(key):
    x, cotangent = jax.random.normal(key, (2, 64), jnp.bfloat16)
    _, pull_back = jax.vjp(lambda x: gradient_reversal(x, 0.3), x)
    exact = -np.float32(0.3) * np.asarray(cotangent, np.float32)
    expected = jnp.asarray(exact).astype(jnp.bfloat16)
    (got,) = pull_back(cotangent)
    assert got.dtype == jnp.bfloat16
    np.testing.assert_array_equal(np.asarray(got), np.asarray(expected))


def test_a_new_scale_does_not_trace_again():
    traces = 0

    @jax.jit
    def gradient(x, scale):
        nonlocal traces
        traces += 1
        return jax.grad(lambda x: (gradient_reversal(x, scale) ** 2).sum())(x)

    x = jnp.array([1.0, 2.0])
    np.testing.assert_array_equal(gradient(x, 1.0), [-2.0, -4.0])
    np.testing.assert_array_equal(gradient(x, 0.25), [-0.5, -1.0])
    assert traces == 1


def test_scale_is_a_vmap_axis_and_has_no_gradient():
    def loss(x, scale):
        return gradient_reversal(x, scale) ** 2

    x, scales = jnp.array([1.0, 2.0, 3.0]), jnp.array([0.0, 0.5, 1.0])
    gradients = jax.vmap(jax.grad(loss, argnums=(0, 1)))(x, scales)
    np.testing.assert_array_equal(gradients[0], [0.0, -2.0, -6.0])
    np.testing.assert_array_equal(gradients[1], [0.0, 0.0, 0.0])


def test_forward_mode_is_refused():
    for transformed in (
        lambda f: jax.jvp(f, (1.0,), (1.0,)),
        lambda f: jax.jacfwd(f)(1.0),
        lambda f: jax.jacfwd(jax.jit(f))(1.0),
        lambda f: jax.jit(jax.jacfwd(f))(1.0),
    ):
        with pytest.raises(TypeError):
            transformed(gradient_reversal)


def test_wrong_arguments_are_named():
    with pytest.raises(ValueError, match="x must be floating point, got int32"):
        gradient_reversal(jnp.arange(3))
    with pytest.raises(ValueError, match=r"scale must be a scalar, got shape \(3,\)"):
        gradient_reversal(jnp.ones(3), jnp.ones(3))
    with pytest.raises((TypeError, ValueError)):
        gradient_reversal({"x": jnp.ones(3)})
