"""The maximum is JAX's; its gradient does not ask which operand equals it."""

import jax
import jax.numpy as jnp
import numpy as np

from abaw_jax.kernels.maximum import maximum
from tests.support.forms import assert_same, random, value_and_gradients


def test_values_and_gradients_are_those_of_jax():
    a, b = random(2, 50)  # one call: equal shapes are drawn equal
    b = b.at[:10].set(a[:10])  # equal ones share the gradient
    assert_same(*(value_and_gradients(f, a, b) for f in (maximum, jnp.maximum)))


def test_what_is_not_a_number_is_the_maximum():
    a, b = jnp.array([jnp.nan, 1.0, -jnp.inf]), jnp.array([1.0, jnp.nan, 2.0])
    np.testing.assert_array_equal(maximum(a, b), jnp.array([jnp.nan, jnp.nan, 2.0]))


def test_no_gradient_depends_on_equality_to_the_bit():
    """An operand computed twice may be rounded twice, and equal nothing then."""
    text = str(jax.make_jaxpr(jax.grad(lambda a: maximum(a, a**2)))(0.5))
    assert " gt " in text
    assert " eq " not in text
