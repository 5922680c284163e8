"""Every switch of `Equations` and every label weight, against float64 and by hand.

The oracle is the table of the authors' losses: in which order each term of each batch
takes its arguments. Keras clips in float32, which float64 alone would not reproduce.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from abaw_jax import swapped
from abaw_jax.objectives import Equations, student_objective, teacher_objective
from abaw_jax.tasks import SETS, TASKS
from tests.test_objectives import (
    ALPHA,
    BETA,
    DELTA,
    GAMMA,
    TEMPERATURE,
    log_softmax,
    make_case,
    make_weights,
    on_device,
    one_minus_ccc,
    oracle_distilled,
    oracle_supervised,
    sigmoid,
)

AUTHORS = Equations(swapped=True, softened_supervision=True)
EVERY = np.ones(12, bool)


def softmax(logits):
    return np.exp(log_softmax(logits))


def clip(values):
    low, high = np.float32(1e-7), np.float32(1) - np.float32(1e-7)
    return np.clip(np.float32(values), low, high)


def cross_entropy(truth, prediction):
    """H(truth, prediction) as Keras computes it, mean over rows."""
    logs = np.log(np.float64(clip(prediction)))
    return float(-(truth * logs).sum(-1).mean())


def binary_cross_entropy(truth, prediction):
    clipped, epsilon = clip(prediction), np.float32(1e-7)
    on = np.log(np.float64(clipped + epsilon))
    off = np.log(np.float64(np.float32(1) - clipped + epsilon))
    return float(-(truth * on + (1 - truth) * off).mean())


def authors_student(name, outputs, soft, batch):
    """The row of one batch in the table of the authors' losses, fully labelled."""
    p, q = softmax(outputs["expr"] / TEMPERATURE), softmax(soft["expr"] / TEMPERATURE)
    a, b = sigmoid(outputs["au"]), sigmoid(soft["au"])
    one_hot, units = np.eye(8)[batch["expr"]], batch["au"]
    concordance = one_minus_ccc(outputs["va"], soft["va"])
    g = GAMMA
    labelled = {
        "va": one_minus_ccc(outputs["va"], batch["va"]),
        "expr": cross_entropy(p, one_hot),
        "au": binary_cross_entropy(a, units),
    }
    if name == "mtl":
        return sum(g[task] * value for task, value in labelled.items())
    own, cross = {
        "va": (
            concordance,
            g["expr"] * cross_entropy(q, p) + g["au"] * binary_cross_entropy(b, a),
        ),
        "expr": (
            cross_entropy(p, q),
            g["va"] * concordance + g["au"] * binary_cross_entropy(b, a),
        ),
        "au": (
            binary_cross_entropy(a, b),
            g["va"] * concordance + g["expr"] * cross_entropy(p, q),
        ),
    }[name]
    domain = np.eye(3)[batch["task"]]
    total = g[name] * (ALPHA * labelled[name] + own) + BETA * cross
    return total + DELTA * cross_entropy(softmax(outputs["task"]), domain)


def fully_labelled(case):
    outputs, soft, batch = case
    masks = {key: np.ones_like(batch[key]) for key in batch if key.endswith("where")}
    return outputs, soft, batch | masks


@pytest.mark.parametrize("name", SETS)
def test_a_students_batch_is_that_of_the_authors_code(name):
    outputs, soft, batch = fully_labelled(make_case((name,)))
    loss, _ = student_objective(
        *on_device((outputs, soft, batch)), make_weights(), equations=AUTHORS
    )
    expected = authors_student(name, outputs, soft, batch)
    np.testing.assert_allclose(loss, expected, rtol=2e-5)


@pytest.mark.parametrize("name", SETS)
def test_a_teachers_batch_is_that_of_the_authors_code(name):
    outputs, _, batch = fully_labelled(make_case((name,)))
    loss, _ = teacher_objective(
        *on_device((outputs, None, batch)), make_weights(), equations=AUTHORS
    )
    labelled = {
        "va": one_minus_ccc(outputs["va"], batch["va"]),
        "expr": cross_entropy(softmax(outputs["expr"]), np.eye(8)[batch["expr"]]),
        "au": binary_cross_entropy(sigmoid(outputs["au"]), batch["au"]),
    }
    expected = sum(labelled.values()) if name == "mtl" else labelled[name]
    if name != "mtl":
        domain = np.eye(3)[batch["task"]]
        expected += DELTA * cross_entropy(softmax(outputs["task"]), domain)
    np.testing.assert_allclose(loss, expected, rtol=2e-5)


def test_a_swapped_loss_is_nearly_the_probability_missed():
    """The two slopes that are read off the authors' code."""
    logits = jnp.log(jnp.array([[0.25, 0.75]]))
    loss = swapped.expression_loss(logits, jnp.array([[1.0, 0.0]]))
    np.testing.assert_allclose(loss, 16.118 * 0.75, rtol=1e-4)
    logits = jnp.log(jnp.array([[0.2 / 0.8, 0.2 / 0.8]]))
    loss = swapped.action_unit_loss(logits, jnp.array([[1, 0]]))
    np.testing.assert_allclose(loss, [[15.33 * 0.8, 15.42 * 0.2]], rtol=1e-3)


@pytest.mark.parametrize("loss", [swapped.expression_loss, swapped.action_unit_loss])
def test_swapped_losses_know_masks(loss):
    logits = jnp.array([[0.3, -0.2], [jnp.nan, jnp.inf]])
    targets, where = jnp.array([[1.0, 0.0], [jnp.nan, 9.0]]), jnp.array([True, False])
    value, gradient = jax.value_and_grad(lambda z: loss(z, targets, where=where).sum())(
        logits
    )
    np.testing.assert_array_equal(value, loss(logits[:1], targets[:1]).sum())
    assert np.isfinite(gradient).all() and (gradient[1] == 0).all()
    with pytest.raises(ValueError, match=r"\(2, 2\).*\(1, 2\)"):
        loss(logits, targets[:1])


def one_switch(name, equations, weights=None):
    outputs, soft, batch = make_case((name,))
    case = on_device((outputs, soft, batch))
    weights = weights or make_weights()
    loss, _ = student_objective(*case, weights, equations=Equations(**equations))
    plain, _ = student_objective(*case, make_weights())
    return outputs, soft, batch, float(loss), float(plain)


def test_softened_supervision_divides_the_supervised_logits_only():
    outputs, _, batch, loss, plain = one_switch("expr", {"softened_supervision": True})
    cooler = outputs | {"expr": outputs["expr"] / TEMPERATURE}
    change = oracle_supervised("expr", cooler, batch, EVERY)
    change -= oracle_supervised("expr", outputs, batch, EVERY)
    expected = plain + GAMMA["expr"] * ALPHA * change
    np.testing.assert_allclose(loss, expected, rtol=1e-5)


def test_softened_units_divide_both_sides_of_their_distillation():
    outputs, soft, _, loss, plain = one_switch("va", {"softened_units": True})
    cooler = [each | {"au": each["au"] / TEMPERATURE} for each in (outputs, soft)]
    change = oracle_distilled("au", *cooler, EVERY)
    change -= oracle_distilled("au", outputs, soft, EVERY)
    np.testing.assert_allclose(loss, plain + BETA * GAMMA["au"] * change, rtol=1e-5)


def test_the_squared_temperature_scales_softened_terms_only():
    outputs, soft, _, loss, plain = one_switch("va", {"squared_temperature": True})
    expressions = oracle_distilled("expr", outputs, soft, EVERY)
    expected = plain + (TEMPERATURE**2 - 1) * BETA * GAMMA["expr"] * expressions
    np.testing.assert_allclose(loss, expected, rtol=1e-5)


def test_distilled_joint_rows_learn_all_tasks_from_the_teacher():
    outputs, soft, _, loss, plain = one_switch(
        "mtl", {"distilled_joint": True}, make_weights(distilled=2.0)
    )
    distilled = sum(
        GAMMA[task] * oracle_distilled(task, outputs, soft, EVERY) for task in TASKS
    )
    np.testing.assert_allclose(loss, plain + 2 * distilled, rtol=1e-5)


def test_soft_labels_only_never_look_at_a_label():
    """The students of Deng et al.: no weight on any label, every row distilled."""
    outputs, soft, batch = on_device(make_case(SETS))
    weights = make_weights(supervised=0.0, joint=0.0, discriminator=0.0)

    def loss(**labels):
        case = outputs, soft, batch | labels
        equations = Equations(distilled_joint=True)
        return student_objective(*case, weights, equations=equations)[0]

    changed = loss(va=-batch["va"], expr=7 - batch["expr"], au=1 - batch["au"])
    assert loss() == changed > 0


def test_a_fourth_domain_asks_multitask_rows_too():
    outputs, _, batch = make_case(SETS)
    outputs["task"] = np.random.default_rng(5).normal(size=(12, 4))
    _, terms = teacher_objective(*on_device((outputs, None, batch)), make_weights())
    per_row = -log_softmax(outputs["task"])[np.arange(12), batch["task"]]
    expected = sum(per_row[batch["task"] == k].mean() for k in range(4))
    np.testing.assert_allclose(terms["discriminator"], expected, rtol=1e-5)


def test_class_weights_make_a_weighted_mean_as_in_other_libraries():
    outputs, _, batch = make_case(("expr",))
    classes = np.linspace(0.2, 3, 8)
    loss, _ = teacher_objective(
        *on_device((outputs, None, batch)),
        make_weights(expressions=classes, discriminator=0.0),
    )
    use = np.flatnonzero(batch["expr_where"])
    per_row = -log_softmax(outputs["expr"])[use, batch["expr"][use]]
    expected = np.average(per_row, weights=classes[batch["expr"][use]])
    np.testing.assert_allclose(loss, expected, rtol=1e-5)


def test_unit_weights_scale_positive_labels():
    outputs, _, batch = make_case(("au",))
    units = np.linspace(0.5, 9, 12)
    loss, _ = teacher_objective(
        *on_device((outputs, None, batch)),
        make_weights(action_units=units, discriminator=0.0),
    )
    p, y = sigmoid(outputs["au"]), batch["au"]
    per_unit = -(units * y * np.log(p) + (1 - y) * np.log(1 - p))
    np.testing.assert_allclose(loss, per_unit[batch["au_where"]].mean(), rtol=1e-5)


def two_rows(**changes):
    """Two rows whose losses are known without a computer."""
    batch = {
        "task": jnp.array([1, 1]),
        "expr": jnp.array([0, 3]),
        "expr_where": jnp.array([True, False]),
        "au": jnp.zeros((2, 12), jnp.int32),
        "au_where": jnp.zeros((2, 12), bool),
        "va": jnp.zeros((2, 2)),
        "va_where": jnp.zeros(2, bool),
    }
    return batch | changes


FLAT = {
    "va": jnp.zeros((2, 2)),
    "expr": jnp.zeros((2, 8)),
    "au": jnp.zeros((2, 12)),
    "task": jnp.zeros((2, 3)),
}


def test_equation_12_by_hand():
    """One labelled row: log 8 for its class; both rows: log 3 for their set."""
    loss, _ = teacher_objective(FLAT, None, two_rows(), make_weights())
    np.testing.assert_allclose(loss, np.log(8) + DELTA * np.log(3), rtol=1e-6)
    unlabelled = two_rows(expr_where=jnp.zeros(2, bool))
    loss, _ = teacher_objective(FLAT, None, unlabelled, make_weights())
    np.testing.assert_allclose(loss, DELTA * np.log(3), rtol=1e-6)


def test_equation_13_by_hand():
    """The teacher is as undecided in classes and units, and has 1 - CCC = 1 in VA."""
    soft = FLAT | {"va": jnp.array([[0.5, 0.5], [-0.5, -0.5]])}
    loss, _ = student_objective(FLAT, soft, two_rows(), make_weights())
    own = GAMMA["expr"] * (ALPHA * np.log(8) + np.log(8))
    cross = BETA * (GAMMA["va"] * 1 + GAMMA["au"] * np.log(2))
    np.testing.assert_allclose(loss, own + cross + DELTA * np.log(3), rtol=1e-6)
