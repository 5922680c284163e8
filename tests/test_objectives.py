"""Equations 12 and 13 against a float64 NumPy oracle written from the paper."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from abaw_jax.objectives import LossWeights, student_objective, teacher_objective
from abaw_jax.tasks import SETS, TASKS

ALPHA, BETA, DELTA, TEMPERATURE = 10.0, 0.9, 0.3, 2.5
GAMMA = {"va": 1.7, "expr": 0.6, "au": 2.2}


def make_weights(**changes):
    values = {
        "supervised": ALPHA,
        "distilled": 1.0,
        "cross_task": BETA,
        "joint": 1.0,
        "discriminator": DELTA,
        "reversal": 1.0,
        "per_task": dict(GAMMA),
        "temperature": TEMPERATURE,
        "expressions": np.ones(8),
        "action_units": np.ones(12),
        **changes,
    }
    return jax.tree.map(jnp.float32, LossWeights(**values))


def make_case(sets, rows=12, seed=0):
    """Outputs, teacher's outputs and a batch with every label partly missing."""
    rng = np.random.default_rng(seed)

    def outputs():
        return {
            "va": np.tanh(rng.normal(size=(rows, 2))),
            "expr": rng.normal(size=(rows, 8)) * 2,
            "au": rng.normal(size=(rows, 12)) * 2,
            "task": rng.normal(size=(rows, 3)),
        }

    batch = {
        "task": rng.choice([SETS.index(name) for name in sets], rows),
        "va": rng.uniform(-1, 1, (rows, 2)),
        "va_where": rng.random(rows) < 0.8,
        "expr": rng.integers(0, 8, rows),
        "expr_where": rng.random(rows) < 0.8,
        "au": rng.integers(0, 2, (rows, 12)),
        "au_where": rng.random((rows, 12)) < 0.8,
    }
    return outputs(), outputs(), batch


def on_device(tree):
    def convert(leaf):
        return jnp.asarray(leaf, jnp.float32 if leaf.dtype == np.float64 else None)

    return jax.tree.map(convert, tree)


def log_softmax(logits):
    shifted = logits - logits.max(-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))


def sigmoid(logits):
    return 1 / (1 + np.exp(-logits))


def one_minus_ccc(x, y):
    if len(x) < 2:
        return 0.0
    covariance = ((x - x.mean(0)) * (y - y.mean(0))).mean(0)
    spread = x.var(0) + y.var(0) + (x.mean(0) - y.mean(0)) ** 2
    return float((1 - 2 * covariance / spread).mean())


def mean(values):
    return float(values.mean()) if values.size else 0.0


def cross_entropy_bits(p, target):
    return -(target * np.log(p) + (1 - target) * np.log(1 - p))


def oracle_supervised(task, outputs, batch, rows):
    if task == "va":
        use = rows & batch["va_where"]
        return one_minus_ccc(outputs["va"][use], batch["va"][use])
    if task == "expr":
        use = np.flatnonzero(rows & batch["expr_where"])
        return mean(-log_softmax(outputs["expr"])[use, batch["expr"][use]])
    use = rows[:, None] & batch["au_where"]
    return mean(cross_entropy_bits(sigmoid(outputs["au"]), batch["au"])[use])


def oracle_distilled(task, outputs, soft, rows):
    if task == "va":
        return one_minus_ccc(outputs["va"][rows], soft["va"][rows])
    if task == "expr":
        target = np.exp(log_softmax(soft["expr"] / TEMPERATURE))
        per_row = -(target * log_softmax(outputs["expr"] / TEMPERATURE)).sum(-1)
        return mean(per_row[rows])
    return mean(cross_entropy_bits(sigmoid(outputs["au"]), sigmoid(soft["au"]))[rows])


def oracle_domain(outputs, batch, rows):
    use = np.flatnonzero(rows)
    return mean(-log_softmax(outputs["task"])[use, batch["task"][use]])


def oracle(outputs, soft, batch, *, student):
    total = 0.0
    for i, task in enumerate(TASKS):
        rows = batch["task"] == i
        supervised = oracle_supervised(task, outputs, batch, rows)
        if student:
            own = ALPHA * supervised
            own += oracle_distilled(task, outputs, soft, rows)
            total += GAMMA[task] * own
            for other in TASKS:
                if other != task:
                    cross = oracle_distilled(other, outputs, soft, rows)
                    total += BETA * GAMMA[other] * cross
        else:
            total += supervised
        total += DELTA * oracle_domain(outputs, batch, rows)
    joint = batch["task"] == SETS.index("mtl")
    for task in TASKS:
        weight = GAMMA[task] if student else 1.0
        total += weight * oracle_supervised(task, outputs, batch, joint)
    return total


BATCHES = [("va",), ("expr",), ("au",), ("mtl",), SETS]


@pytest.mark.parametrize("sets", BATCHES)
@pytest.mark.parametrize("student", [False, True])
def test_objective_is_its_equation(sets, student):
    outputs, soft, batch = make_case(sets)
    objective = student_objective if student else teacher_objective
    loss, _ = objective(*on_device((outputs, soft, batch)), make_weights())
    expected = oracle(outputs, soft, batch, student=student)
    np.testing.assert_allclose(loss, expected, rtol=1e-5)


def test_sets_known_to_be_absent_are_left_out():
    """A NumPy ``task`` gives the same loss, and asks for no label of another set."""
    outputs, soft, batch = on_device(make_case(("expr",)))
    few = {key: batch[key] for key in ("expr", "expr_where")}
    few["task"] = np.asarray(batch["task"])
    weights = make_weights()
    np.testing.assert_allclose(
        student_objective(outputs, soft, few, weights)[0],
        student_objective(outputs, soft, batch, weights)[0],
        rtol=1e-6,
    )


def test_terms_are_the_unweighted_parts():
    outputs, soft, batch = make_case(("expr",))
    _, terms = student_objective(*on_device((outputs, soft, batch)), make_weights())
    rows = np.ones(12, bool)
    supervised = oracle_supervised("expr", outputs, batch, rows)
    distilled = sum(oracle_distilled(t, outputs, soft, rows) for t in TASKS)
    np.testing.assert_allclose(terms["supervised"], supervised, rtol=1e-5)
    np.testing.assert_allclose(terms["distilled"], distilled, rtol=1e-5)
    np.testing.assert_allclose(
        terms["discriminator"], oracle_domain(outputs, batch, rows), rtol=1e-5
    )


SINGLE = ["supervised", "distilled", "cross_task", "discriminator"]


@pytest.mark.parametrize("name", SINGLE)
def test_a_term_alone_is_its_weight_times_the_term(name):
    """With every other weight 0 only this term is left; with its own 0, nothing."""
    outputs, soft, batch = make_case(("au",))
    everything_off = dict.fromkeys(SINGLE, 0.0)
    rows = np.ones(12, bool)
    terms = {
        "supervised": GAMMA["au"] * oracle_supervised("au", outputs, batch, rows),
        "distilled": GAMMA["au"] * oracle_distilled("au", outputs, soft, rows),
        "cross_task": sum(
            GAMMA[task] * oracle_distilled(task, outputs, soft, rows)
            for task in ("va", "expr")
        ),
        "discriminator": oracle_domain(outputs, batch, rows),
    }
    case = on_device((outputs, soft, batch))
    only, _ = student_objective(*case, make_weights(**everything_off | {name: 2.0}))
    none, _ = student_objective(*case, make_weights(**everything_off))
    np.testing.assert_allclose(only, 2 * terms[name], rtol=1e-5)
    assert none == 0


def test_joint_supervision_alone_weighs_multitask_rows():
    outputs, soft, batch = make_case(("mtl",))
    rows = np.ones(12, bool)
    expected = sum(
        GAMMA[task] * oracle_supervised(task, outputs, batch, rows) for task in TASKS
    )
    case = on_device((outputs, soft, batch))
    loss, _ = student_objective(*case, make_weights(joint=3.0))
    none, _ = student_objective(*case, make_weights(joint=0.0))
    np.testing.assert_allclose(loss, 3 * expected, rtol=1e-5)
    assert none == 0


def test_multitask_rows_know_neither_teacher_nor_discriminator():
    outputs, soft, batch = on_device(make_case(("mtl",)))
    weights = make_weights()
    loss, _ = student_objective(outputs, None, batch, weights)
    with_soft, _ = student_objective(outputs, soft, batch, weights)
    strong, _ = student_objective(
        outputs, None, batch, make_weights(discriminator=50.0, supervised=99.0)
    )
    np.testing.assert_allclose(loss, with_soft, rtol=1e-6)
    np.testing.assert_allclose(loss, strong, rtol=1e-6)


def test_a_network_without_discriminator_has_no_such_term():
    outputs, _, batch = on_device(make_case(SETS))
    del outputs["task"]
    loss, terms = teacher_objective(outputs, None, batch, make_weights())
    plain, _ = teacher_objective(outputs, None, batch, make_weights(discriminator=0.0))
    assert terms["discriminator"] == 0
    assert loss == plain


def test_an_encoder_with_one_head_is_trained_on_it_alone():
    outputs, _, batch = make_case(("va",))
    few = {key: batch[key] for key in ("task", "va", "va_where")}
    loss, _ = teacher_objective(
        on_device({"va": outputs["va"]}), None, on_device(few), make_weights()
    )
    expected = oracle_supervised("va", outputs, batch, np.ones(12, bool))
    np.testing.assert_allclose(loss, expected, rtol=1e-5)


def test_gradients_are_finite_when_a_batch_has_no_label():
    outputs, soft, batch = on_device(make_case(SETS))
    batch |= {f"{t}_where": jnp.zeros_like(batch[f"{t}_where"]) for t in TASKS}
    batch |= {"va": jnp.full_like(batch["va"], jnp.nan)}

    def loss(outputs):
        return student_objective(outputs, soft, batch, make_weights())[0]

    gradients = jax.grad(loss)(outputs)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradients))


def test_weights_are_traced():
    outputs, soft, batch = on_device(make_case(SETS))
    traces = []

    @jax.jit
    def loss(weights):
        traces.append(None)
        return student_objective(outputs, soft, batch, weights)[0]

    assert loss(make_weights()) != loss(make_weights(temperature=1.0))
    assert len(traces) == 1
