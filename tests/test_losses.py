"""Losses against float64 oracles, and what they promise about masks and bad input.

Oracles: SciPy for everything with a logarithm, Lin's definition through the Pearson
correlation (NumPy) for CCC. One table of cases carries the promises that all share.
"""

import functools
import math
import re
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import scipy.stats
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from jax.test_util import check_grads

from abaw_jax import losses, swapped

ROWS = 24


def lin(predictions, labels):
    """CCC by its original definition, through the correlation rho."""
    p, y = np.float64(predictions), np.float64(labels)
    rho = np.array([np.corrcoef(p[:, d], y[:, d])[0, 1] for d in range(p.shape[1])])
    spread = p.std(0) * y.std(0)
    return 2 * rho * spread / (p.var(0) + y.var(0) + (p.mean(0) - y.mean(0)) ** 2)


def binary_cross_entropy(logits, targets):
    z, y = np.float64(logits), np.float64(targets)
    return -y * scipy.special.log_expit(z) - (1 - y) * scipy.special.log_expit(-z)


def draw_affect(rng):
    labels = rng.uniform(-1, 1, (ROWS, 2))
    return 0.4 * labels + rng.normal(0.1, 0.3, (ROWS, 2)), labels


def draw_logits(rng, columns):
    return rng.normal(0, 2, (2, ROWS, columns))


class Case(NamedTuple):
    """A loss, how to draw its two arguments, and its float64 oracle."""

    loss: Callable
    draw: Callable
    oracle: Callable
    of_columns: bool = False


def soft(loss, temperature):
    return functools.partial(loss, temperature=temperature)


def draw_classes(rng):
    return rng.normal(0, 2, (ROWS, 8)), rng.integers(0, 8, ROWS)


def draw_probabilities(rng):
    logits, other = draw_logits(rng, 5)
    return logits, scipy.special.softmax(other, axis=1)


def draw_units(rng):
    return rng.normal(0, 2, (ROWS, 12)), rng.integers(0, 2, (ROWS, 12))


def class_oracle(logits, classes):
    return -scipy.special.log_softmax(logits, axis=1)[np.arange(len(classes)), classes]


def soft_class_oracle(temperature, logits, teacher):
    p = scipy.special.softmax(logits / temperature, axis=1)
    q = scipy.special.softmax(teacher / temperature, axis=1)
    return scipy.stats.entropy(q, axis=1) + scipy.stats.entropy(q, p, axis=1)


def soft_unit_oracle(temperature, logits, teacher):
    return binary_cross_entropy(
        logits / temperature, scipy.special.expit(teacher / temperature)
    )


CASES = {
    "ccc": Case(losses.ccc, draw_affect, lin, True),
    "ccc_loss": Case(losses.ccc_loss, draw_affect, lambda p, y: 1 - lin(p, y), True),
    "classes": Case(losses.expression_loss, draw_classes, class_oracle),
    "probabilities": Case(
        losses.expression_loss,
        draw_probabilities,
        lambda z, y: (
            scipy.stats.entropy(y, axis=1)
            + scipy.stats.entropy(y, scipy.special.softmax(z, axis=1), axis=1)
        ),
    ),
    "units": Case(losses.action_unit_loss, draw_units, binary_cross_entropy),
    "soft classes": Case(
        soft(losses.soft_expression_loss, 2.5),
        functools.partial(draw_logits, columns=8),
        functools.partial(soft_class_oracle, 2.5),
    ),
    "soft units": Case(
        soft(losses.soft_action_unit_loss, 1.5),
        functools.partial(draw_logits, columns=12),
        functools.partial(soft_unit_oracle, 1.5),
    ),
}

every_loss = pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
column_losses = pytest.mark.parametrize(
    "case", [c for c in CASES.values() if c.of_columns]
)


@pytest.fixture
def rng():
    return np.random.default_rng(7)


@pytest.fixture(params=[False, True], ids=["eager", "jit"])
def maybe_jit(request):
    return jax.jit if request.param else lambda function: function


def to_float32(*arrays):
    return [a.astype(np.float32) if a.dtype == np.float64 else a for a in arrays]


@every_loss
def test_equals_the_float64_oracle(case, rng, maybe_jit):
    predictions, labels = to_float32(*case.draw(rng))
    got = maybe_jit(case.loss)(predictions, labels)
    assert got.dtype == jnp.float32
    expected = case.oracle(predictions, labels)
    np.testing.assert_allclose(got, expected, rtol=1e-6, atol=1e-6)


@every_loss
def test_where_equals_the_subset(case, rng, maybe_jit):
    predictions, labels = to_float32(*case.draw(rng))
    where = rng.random(ROWS) < 0.6
    got = maybe_jit(case.loss)(predictions, labels, where=where)
    expected = case.oracle(predictions[where], labels[where])
    if case.of_columns:
        np.testing.assert_allclose(got, expected, rtol=1e-6, atol=1e-6)
    else:
        np.testing.assert_allclose(got[where], expected, rtol=1e-6, atol=1e-6)
        np.testing.assert_array_equal(got[~where], np.zeros_like(got[~where]))


@every_loss
def test_order_of_rows_does_not_matter(case, rng):
    predictions, labels = to_float32(*case.draw(rng))
    where, order = rng.random(ROWS) < 0.6, rng.permutation(ROWS)
    got = case.loss(predictions, labels, where=where)
    moved = case.loss(predictions[order], labels[order], where=where[order])
    expected = got if case.of_columns else got[order]
    np.testing.assert_allclose(moved, expected, rtol=1e-6, atol=1e-6)


@functools.partial(jax.jit, static_argnums=0)
def value_and_gradients(loss, predictions, labels, where):
    """Sum of the loss and its gradient by every real argument."""
    arguments = (predictions, labels)
    real = tuple(i for i, a in enumerate(arguments) if a.dtype == jnp.float32)

    def total(predictions, labels):
        return loss(predictions, labels, where=where).sum()

    return jax.value_and_grad(total, argnums=real)(*arguments)


@every_loss
def test_what_stands_under_false_changes_nothing(case, rng):
    clean = to_float32(*case.draw(rng))
    where = rng.random(ROWS) < 0.6
    value, gradients = value_and_gradients(case.loss, *clean, where)
    assert math.isfinite(value)
    for gradient in gradients:
        assert np.isfinite(gradient).all()
        assert gradient[where].any()
        assert not gradient[~where].any()
    for garbage in (np.nan, np.inf, -np.inf, -5.0, 3e38):
        dirty = [array.copy() for array in clean]
        for array in dirty:
            array[~where] = garbage if array.dtype == np.float32 else -1
        got, dirty_gradients = value_and_gradients(case.loss, *dirty, where)
        assert got == value
        for expected, gradient in zip(gradients, dirty_gradients, strict=True):
            np.testing.assert_array_equal(gradient, expected)


@every_loss
def test_nothing_masked_trips_the_nan_debugger(case, rng):
    predictions, labels = to_float32(*case.draw(rng))
    where = rng.random(ROWS) < 0.6
    predictions[~where] = np.nan
    labels[~where] = np.nan if labels.dtype == np.float32 else -1
    arrays = tuple(map(jnp.asarray, (predictions, labels, where)))
    with jax.debug_nans(True):
        case.loss(*arrays[:2], where=arrays[2])


@every_loss
def test_no_valid_row_gives_zero_and_no_gradient(case, rng):
    predictions, labels = to_float32(*case.draw(rng))
    nowhere = np.zeros(ROWS, bool)
    value, gradients = value_and_gradients(case.loss, predictions, labels, nowhere)
    assert value == 0
    for gradient in gradients:
        np.testing.assert_array_equal(gradient, np.zeros_like(gradient))


@every_loss
def test_bfloat16_input_is_computed_in_float32(case, rng):
    predictions, labels = to_float32(*case.draw(rng))
    narrow = jnp.asarray(predictions, jnp.bfloat16)
    got = case.loss(narrow, labels)
    assert got.dtype == jnp.float32
    np.testing.assert_allclose(
        got, case.loss(predictions, labels), rtol=1e-2, atol=1e-2
    )
    # Exact but for the rounding of the input: the sums themselves are float32.
    rounded = np.asarray(narrow.astype(jnp.float32))
    expected = case.oracle(rounded, labels)
    np.testing.assert_allclose(got, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.slow
@every_loss
def test_gradients_agree_with_differences(case, rng):
    predictions, labels = to_float32(*case.draw(rng))
    where = rng.random(ROWS) < 0.6
    # float32 differences: a step of 1e-2 balances rounding and curvature at 1e-2.
    check_grads(
        lambda p: case.loss(p, labels, where=where),
        (predictions,),
        order=1,
        eps=1e-2,
        atol=1e-2,
        rtol=1e-2,
    )


@every_loss
def test_shapes_that_disagree_are_refused(case, rng):
    predictions, labels = to_float32(*case.draw(rng))
    for wrong in (labels[:1], labels[:-1], labels[..., None]):
        with pytest.raises(ValueError) as refusal:
            case.loss(predictions, wrong)
        assert str(predictions.shape) in str(refusal.value)
        assert str(wrong.shape) in str(refusal.value)
    with pytest.raises(ValueError, match="where has shape"):
        case.loss(predictions, labels, where=np.ones(ROWS - 1, bool))
    with pytest.raises(ValueError, match="where must be boolean"):
        case.loss(predictions, labels, where=np.ones(ROWS, np.float32))


@every_loss
def test_a_batch_over_four_devices_is_one_batch(case, rng):
    predictions, labels = to_float32(*case.draw(rng))
    where = rng.random(ROWS) < 0.6
    mesh = jax.make_mesh((4,), ("batch",), axis_types=(AxisType.Auto,))
    sharding = NamedSharding(mesh, PartitionSpec("batch"))
    spread = jax.device_put((predictions, labels, where), sharding)
    got = jax.jit(lambda p, y, w: case.loss(p, y, where=w))(*spread)
    expected = case.loss(predictions, labels, where=where)
    np.testing.assert_allclose(got, expected, rtol=1e-6, atol=1e-6)


@column_losses
def test_where_per_entry_is_where_per_column(case, rng):
    predictions, labels = to_float32(*case.draw(rng))
    where = rng.random((ROWS, 2)) < 0.6
    got = case.loss(predictions, labels, where=where)
    for d in range(2):
        rows = where[:, d]
        expected = case.oracle(predictions[rows, d : d + 1], labels[rows, d : d + 1])
        np.testing.assert_allclose(got[d], expected[0], rtol=1e-6, atol=1e-6)


def test_ccc_by_hand():
    # Means 2 and 3, variances 2/3 and 8/3, covariance 4/3: 2 * 4/3 / (10/3 + 1) = 8/13.
    # Second column: opposite order about the same mean, covariance -2/3: CCC -1.
    predictions = jnp.array([[1.0, 1.0], [2.0, 2.0], [3.0, 3.0]])
    labels = jnp.array([[1.0, 3.0], [3.0, 2.0], [5.0, 1.0]])
    got = losses.ccc(predictions, labels)
    np.testing.assert_allclose(got, [8 / 13, -1.0], rtol=1e-6)
    np.testing.assert_allclose(
        losses.ccc_loss(predictions, labels), [5 / 13, 2.0], rtol=1e-6
    )


def test_identical_columns_have_no_loss(rng):
    labels = rng.uniform(-1, 1, (ROWS, 2)).astype(np.float32)
    np.testing.assert_array_equal(losses.ccc_loss(labels, labels), [0.0, 0.0])
    constant = jnp.full((ROWS, 2), 0.3)
    np.testing.assert_array_equal(losses.ccc_loss(constant, constant), [0.0, 0.0])


@pytest.mark.parametrize("constant", [0.0, 0.1, -1.0])
def test_constant_predictions_lose_everything_but_the_gradient(rng, constant):
    labels = rng.uniform(-1, 1, (ROWS, 2)).astype(np.float32)
    predictions = np.full_like(labels, constant)
    got = losses.ccc_loss(predictions, labels)
    np.testing.assert_allclose(got, [1.0, 1.0], atol=1e-6)
    gradient = jax.grad(lambda p: losses.ccc_loss(p, labels).sum())(predictions)
    assert np.isfinite(gradient).all()
    assert np.abs(gradient).max() > 1e-3


@pytest.mark.parametrize("eps", [1e-8, 0.0])
def test_one_valid_row_is_no_evidence(rng, eps):
    predictions, labels = to_float32(*draw_affect(rng))
    where = np.arange(ROWS) == 3
    loss = functools.partial(losses.ccc_loss, eps=eps)
    value, gradients = value_and_gradients(loss, predictions, labels, where)
    assert value == 0
    for gradient in gradients:
        np.testing.assert_array_equal(gradient, np.zeros_like(gradient))
    got = losses.ccc(predictions, labels, where=where, eps=eps)
    np.testing.assert_array_equal(got, [0.0, 0.0])


def test_no_evidence_stays_finite_without_eps():
    same, one = np.full((4, 2), 0.3, np.float32), np.arange(4) == 1
    loss = functools.partial(losses.ccc_loss, eps=0.0)
    value, gradients = value_and_gradients(loss, same, same, one)
    assert value == 0
    for gradient in gradients:
        np.testing.assert_array_equal(gradient, np.zeros_like(gradient))


def test_two_valid_rows_are(rng):
    predictions, labels = to_float32(*draw_affect(rng))
    where = np.arange(ROWS) < 2
    expected = 1 - lin(predictions[:2], labels[:2])
    got = losses.ccc_loss(predictions, labels, where=where)
    np.testing.assert_allclose(got, expected, rtol=1e-6, atol=1e-6)


def test_eps_enters_numerator_and_denominator():
    predictions = jnp.array([[1.0], [1.0]])
    got = losses.ccc(predictions, predictions + 2.0, eps=0.5)
    np.testing.assert_allclose(got, [0.5 / 4.5], rtol=1e-6)


def test_a_valid_nan_is_not_hidden(rng):
    predictions, labels = to_float32(*draw_affect(rng))
    predictions[0, 0] = np.nan
    np.testing.assert_array_equal(
        np.isnan(losses.ccc_loss(predictions, labels)), [True, False]
    )


def test_expression_gradient_is_softmax_minus_one_hot(rng):
    logits, classes = to_float32(*draw_classes(rng))
    got = jax.grad(lambda z: losses.expression_loss(z, classes).sum())(logits)
    expected = scipy.special.softmax(np.float64(logits), axis=1) - np.eye(8)[classes]
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int64])
def test_classes_may_be_any_integer_and_any_number(rng, dtype):
    logits = rng.normal(size=(ROWS, 3)).astype(np.float32)
    classes = rng.integers(0, 3, ROWS).astype(dtype)
    got = losses.expression_loss(logits, classes)
    expected = class_oracle(logits, classes.astype(int))
    np.testing.assert_allclose(got, expected, rtol=1e-6, atol=1e-6)


def test_one_hot_labels_are_classes(rng):
    logits, classes = to_float32(*draw_classes(rng))
    one_hot = np.eye(8, dtype=np.uint8)[classes]
    got = losses.expression_loss(logits, one_hot)
    expected = losses.expression_loss(logits, classes)
    np.testing.assert_allclose(got, expected, rtol=1e-6, atol=1e-6)


def test_an_illegal_traced_class_is_nan_where_valid_and_zero_where_not():
    logits, classes = jnp.zeros((4, 8)), jnp.array([-1, 8, 7, 0])
    got = jax.jit(losses.expression_loss)(logits, classes)
    np.testing.assert_array_equal(np.isnan(got), [True, True, False, False])
    got = losses.expression_loss(logits, classes, where=classes == 7)
    np.testing.assert_allclose(got, [0, 0, math.log(8), 0], rtol=1e-6)


def test_class_indices_must_be_integers():
    with pytest.raises(ValueError, match="class indices, got float32"):
        losses.expression_loss(jnp.zeros((4, 8)), jnp.zeros(4))


def test_far_logits_stay_finite():
    logits = jnp.array([[1e4, -1e4]])
    np.testing.assert_allclose(
        losses.expression_loss(logits, jnp.array([1])), [2e4], rtol=1e-6
    )
    got = losses.action_unit_loss(logits, jnp.array([[0, 1]]))
    np.testing.assert_allclose(got, [[1e4, 1e4]], rtol=1e-6)
    for loss in (losses.soft_expression_loss, losses.soft_action_unit_loss):
        got, gradients = value_and_gradients(loss, logits, -logits, jnp.array([True]))
        assert math.isfinite(got)
        assert all(np.isfinite(gradient).all() for gradient in gradients)


def test_units_are_masked_one_by_one(rng):
    logits, labels = to_float32(*draw_units(rng))
    where = rng.random(labels.shape) < 0.5
    labels[~where] = -1
    got = losses.action_unit_loss(logits, labels, where=where)
    expected = np.where(where, binary_cross_entropy(logits, np.maximum(labels, 0)), 0)
    np.testing.assert_allclose(got, expected, rtol=1e-6, atol=1e-6)
    teacher = np.where(where, 1.0, np.nan).astype(np.float32)
    got = losses.soft_action_unit_loss(logits, teacher, where=where)
    expected = np.where(where, soft_unit_oracle(1.0, logits, np.ones(where.shape)), 0)
    np.testing.assert_allclose(got, expected, rtol=1e-6, atol=1e-6)


soft_losses = pytest.mark.parametrize(
    "loss", [losses.soft_expression_loss, losses.soft_action_unit_loss]
)


@soft_losses
def test_temperature_is_one_by_default(loss, rng):
    student, teacher = to_float32(*draw_logits(rng, 8))
    got = loss(student, teacher)
    np.testing.assert_array_equal(got, loss(student, teacher, temperature=1.0))
    assert not np.array_equal(got, loss(student, teacher, temperature=2.0))


@soft_losses
def test_temperature_may_be_traced(loss, rng):
    student, teacher = to_float32(*draw_logits(rng, 8))
    traces = 0

    @jax.jit
    def traced(temperature):
        nonlocal traces
        traces += 1
        return loss(student, teacher, temperature=temperature)

    for temperature in (1.0, 2.5):
        expected = loss(student, teacher, temperature=temperature)
        np.testing.assert_allclose(traced(temperature), expected, rtol=1e-6)
    assert traces == 1
    many = jax.vmap(lambda t: loss(student, teacher, temperature=t))
    got = many(jnp.array([1.0, 2.5]))
    np.testing.assert_allclose(got[1], expected, rtol=1e-6)


@soft_losses
def test_masked_nan_does_not_reach_the_gradient_of_temperature(loss):
    student = jnp.array([[1.0, 2.0], [jnp.nan, jnp.nan]])
    teacher = jnp.array([[2.0, -1.0], [jnp.inf, jnp.nan]])
    where = jnp.array([True, False])

    def total(temperature):
        return loss(student, teacher, temperature=temperature, where=where).sum()

    assert math.isfinite(jax.grad(total)(2.0))


@soft_losses
def test_wrong_temperatures_are_refused(loss):
    logits = jnp.zeros((2, 3))
    for temperature in (0, -1.0):
        with pytest.raises(ValueError, match="must be positive"):
            loss(logits, logits, temperature=temperature)
    with pytest.raises(ValueError, match=r"scalar, got \(2,\)"):
        loss(logits, logits, temperature=jnp.ones(2))


@pytest.mark.parametrize("temperature", [1.0, 2.5])
def test_soft_gradient_has_no_squared_temperature(rng, temperature):
    student, teacher = to_float32(*draw_logits(rng, 8))
    loss = soft(losses.soft_expression_loss, temperature)
    got = jax.grad(lambda z: loss(z, teacher).sum())(student)
    p, q = (
        scipy.special.softmax(np.float64(z) / temperature, axis=1)
        for z in (student, teacher)
    )
    np.testing.assert_allclose(got, (p - q) / temperature, rtol=1e-5, atol=1e-6)


@soft_losses
def test_the_best_student_is_the_teacher(loss, rng):
    _, teacher = to_float32(*draw_logits(rng, 8))
    gradient = jax.grad(lambda z: loss(z, teacher, temperature=2.5).sum())(teacher)
    np.testing.assert_allclose(gradient, np.zeros_like(teacher), atol=1e-6)


@soft_losses
def test_the_teacher_gets_a_gradient_unless_the_caller_stops_it(loss, rng):
    student, teacher = to_float32(*draw_logits(rng, 8))
    flowing = jax.grad(lambda t: loss(student, t).sum())(teacher)
    assert np.abs(flowing).max() > 1e-3
    stopped = jax.grad(lambda t: loss(student, jax.lax.stop_gradient(t)).sum())(teacher)
    np.testing.assert_array_equal(stopped, np.zeros_like(teacher))


def test_masked_sum_and_count(rng, maybe_jit):
    values = rng.normal(size=(ROWS, 12)).astype(np.float32)
    where = rng.random((ROWS, 12)) < 0.5
    values[~where] = np.nan
    total, count = maybe_jit(losses.masked_sum_and_count)(values, where)
    assert total.dtype == jnp.float32
    assert count.dtype == jnp.int32
    np.testing.assert_allclose(total, np.float64(values[where]).sum(), rtol=1e-5)
    assert count == where.sum()


def test_masked_mean_counts_entries_of_masked_rows(rng):
    values = rng.normal(size=(ROWS, 12)).astype(np.float32)
    rows = rng.random(ROWS) < 0.5
    got = losses.masked_mean(values, rows)
    np.testing.assert_allclose(got, np.float64(values[rows]).mean(), rtol=1e-5)
    np.testing.assert_allclose(losses.masked_mean(values), values.mean(), rtol=1e-5)
    assert losses.masked_mean(3.0) == 3.0


def test_masked_mean_of_nothing_is_zero_without_gradient():
    values, nowhere = jnp.array([jnp.nan, 1.0]), jnp.zeros(2, bool)
    value, gradient = jax.value_and_grad(losses.masked_mean)(values, nowhere)
    assert value == 0
    np.testing.assert_array_equal(gradient, [0.0, 0.0])


def test_masked_mean_sums_bfloat16_in_float32():
    # In bfloat16 a running sum of ones stops at 256.
    total, count = losses.masked_sum_and_count(jnp.ones(5000, jnp.bfloat16))
    assert (float(total), int(count)) == (5000, 5000)


def test_losses_are_vmapped_over_runs(rng):
    draws = [draw_classes(rng) for _ in range(3)]
    logits, classes = (jnp.stack(each) for each in zip(*draws, strict=True))
    got = jax.vmap(losses.expression_loss)(logits, classes)
    for k in range(3):
        expected = losses.expression_loss(logits[k], classes[k])
        np.testing.assert_allclose(got[k], expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: losses.action_unit_loss(ONE, -ONE), "labels holds -1; it must lie"),
        (lambda: losses.action_unit_loss(ONE, ONE * 1.5), "labels holds 1.5"),
        (lambda: swapped.action_unit_loss(ONE, -ONE), "targets holds -1"),
        (lambda: losses.expression_loss(ONE, np.array([12])), "labels holds 12"),
        (lambda: losses.expression_loss(ONE, np.array([-1])), "between 0 and 11"),
        (lambda: losses.expression_loss(ONE, ONE * np.nan), "labels holds nan"),
        (lambda: softened(np.float32(0)), "temperature must be positive"),
        (lambda: softened(np.float64(-1)), "temperature must be positive"),
        (lambda: softened(jnp.float32(-1)), "temperature must be positive"),
        (lambda: softened("2"), "temperature must be positive"),
        (lambda: softened(float("nan")), "temperature must be positive"),
    ],
)
def test_known_values_out_of_range_are_refused(call, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        call()


ONE = np.ones((1, 12), np.float32)


def softened(temperature):
    return losses.soft_expression_loss(ONE, ONE, temperature=temperature)


def test_values_out_of_range_may_be_masked_or_traced():
    labels = np.stack([ONE[0], -ONE[0]])
    masked = losses.action_unit_loss(labels, labels, where=labels >= 0)
    traced = jax.jit(losses.action_unit_loss)(labels, labels)
    np.testing.assert_array_equal(masked[0], traced[0])
    assert (masked[1] == 0).all() and np.isfinite(traced).all()
    assert np.isnan(jax.jit(losses.expression_loss)(ONE, np.array([-1]))).all()
