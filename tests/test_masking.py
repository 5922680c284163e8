"""What every loss and metric checks at its door."""

import jax.numpy as jnp
import numpy as np
import pytest

from abaw_jax.masking import expand_where, require_same_shape


def test_no_mask_uses_everything():
    np.testing.assert_array_equal(expand_where(None, (2, 3)), np.ones((2, 3), bool))


def test_a_mask_of_rows_spreads_over_the_other_axes():
    spread = expand_where(np.array([True, False]), (2, 3, 4))
    assert spread.shape == (2, 3, 4)
    np.testing.assert_array_equal(spread[0], np.ones((3, 4), bool))
    np.testing.assert_array_equal(spread[1], np.zeros((3, 4), bool))


def test_a_square_mask_is_not_taken_for_rows():
    where = np.array([[True, False], [False, False]])
    np.testing.assert_array_equal(expand_where(where, (2, 2)), where)


@pytest.mark.parametrize("shape", [(), (1,), (3,), (1, 3), (2, 1), (2, 3, 1)])
def test_a_mask_of_another_shape_is_refused(shape):
    with pytest.raises(ValueError, match="must have shape") as refusal:
        expand_where(np.ones(shape, bool), (2, 3))
    for part in (str(shape), "(2,)", "(2, 3)"):
        assert part in str(refusal.value)


@pytest.mark.parametrize("dtype", [np.int32, np.float32, np.uint8])
def test_a_mask_that_is_not_boolean_is_refused(dtype):
    with pytest.raises(ValueError, match=f"boolean .* got {np.dtype(dtype)}"):
        expand_where(np.ones(2, dtype), (2, 3))


def test_shapes_that_disagree_are_both_named():
    three, one = jnp.ones((4, 3)), jnp.ones((4, 1))
    require_same_shape(2, left=three, right=three)
    with pytest.raises(ValueError, match=r"left has .*\(4, 3\).* right has .*\(4, 1\)"):
        require_same_shape(2, left=three, right=one)


def test_too_few_axes_are_refused():
    with pytest.raises(ValueError, match=r"left has shape \(4,\); it needs 2 axes"):
        require_same_shape(2, left=jnp.ones(4), right=jnp.ones(4))
