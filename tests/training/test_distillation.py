"""Soft labels: of one teacher and of many, live and cached."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from abaw_jax.objectives import student_objective
from abaw_jax.pipeline.batches import evaluation_chunks
from abaw_jax.pipeline.items import feature_items, gather_features
from abaw_jax.tasks import TASKS
from abaw_jax.training.distillation import (
    lookup_teacher,
    mean_outputs,
    online_teacher,
    precompute_soft_labels,
    vmap_members,
)
from abaw_jax.training.loop import fit
from abaw_jax.training.state import stack_members, take_member
from abaw_jax.training.steps import empty_scores, make_chunk_step, make_predict_chunk
from tests.support import tiny

pytestmark = pytest.mark.slow


def random_outputs(members, rows=5):
    rng = np.random.default_rng(members)
    sizes = {"va": 2, "expr": 8, "au": 12, "task": 3}
    return {
        key: jnp.asarray(3 * rng.normal(size=(members, rows, size)), jnp.float32)
        for key, size in sizes.items()
    }


def test_together_is_the_mean_of_values_and_probabilities():
    outputs = random_outputs(4)
    found = mean_outputs(outputs)
    expr = np.exp(np.float64(outputs["expr"]))
    expr = (expr / expr.sum(-1, keepdims=True)).mean(0)
    au = (1 / (1 + np.exp(-np.float64(outputs["au"])))).mean(0)
    np.testing.assert_allclose(jax.nn.softmax(found["expr"]), expr, rtol=1e-5)
    np.testing.assert_allclose(jax.nn.sigmoid(found["au"]), au, rtol=1e-5)
    np.testing.assert_allclose(found["va"], outputs["va"].mean(0), rtol=1e-5, atol=1e-6)


def test_certain_networks_that_contradict_each_other_stay_finite():
    sure = jnp.array([[[200.0, -200.0]], [[-200.0, 200.0]]])
    outputs = random_outputs(2, rows=1) | {"au": sure, "expr": jnp.tile(sure, 4)}
    found = mean_outputs(outputs)
    np.testing.assert_allclose(jax.nn.sigmoid(found["au"]), [[0.5, 0.5]], rtol=1e-6)
    assert np.isfinite(found["expr"]).all()


def test_one_network_alone_is_taken_at_its_word():
    outputs = random_outputs(1)
    found = mean_outputs(outputs)
    for task in TASKS:
        np.testing.assert_array_equal(found[task], outputs[task][0])


@pytest.mark.parametrize("members", [1, 3])
def test_each_member_is_mapped(members):
    values = jnp.arange(2.0 * members).reshape(members, 2)
    found = vmap_members(lambda x, y: {"sum": x.sum() + y})(values, jnp.ones(members))
    np.testing.assert_array_equal(found["sum"], values.sum(1) + 1)


def test_no_gradient_reaches_a_live_teacher():
    soft_labels = online_teacher(tiny.MODEL, tiny.inputs, tiny.SHARDINGS)
    table = tiny.make_table()
    batch = {"image": table["image"][:8].reshape(4, 2, 6), "sound": table["sound"][:4]}

    def loss(teacher):
        soft = soft_labels(None, teacher, "va", batch)
        return sum(each.sum() for each in soft.values())

    gradients = jax.grad(loss)(tiny.make_variables(7))
    assert all((leaf == 0).all() for leaf in jax.tree.leaves(gradients))


def cache_soft_labels(teachers, groups):
    """Soft labels of the tiny samples by teachers with variables ``[K, ...]``."""
    predict = make_predict_chunk(
        tiny.MODEL,
        make_batch=gather_features,
        inputs=tiny.inputs,
        shardings=tiny.SHARDINGS,
    )
    fill = feature_items(np.arange(tiny.ROWS, dtype=np.int32))
    samples = tiny.make_samples()
    chunks = {
        name: evaluation_chunks(samples[name], fill, batch_size=20, batches_per_chunk=2)
        for name in TASKS
    }
    none = stack_members([empty_scores(TASKS)] * len(jax.tree.leaves(teachers)[0]))
    return precompute_soft_labels(
        lambda chunk: predict(teachers, tiny.make_table(), chunk, none)[1],
        chunks,
        groups,
        {name: len(samples[name]) for name in TASKS},
    )


def test_the_cache_holds_each_groups_mean_for_every_row_in_order():
    teachers = tiny.make_variables(7, 8, 9)
    cached = cache_soft_labels(teachers, [[0, 2], [1, 1]])
    table, samples = tiny.make_table(), tiny.make_samples()["expr"]
    rows = samples.image_rows
    each = [
        tiny.MODEL.apply(
            take_member(teachers, k), table["image"][rows], table["sound"][rows[:, -1]]
        )
        for k in range(3)
    ]
    for group, members in enumerate([(0, 2), (1, 1)]):
        expected = mean_outputs(stack_members([each[k] for k in members]))
        for task in TASKS:
            columns = {"va": slice(0, 2), "expr": slice(2, 10), "au": slice(10, 22)}
            assert cached["expr"].shape == (2, len(samples), 22)
            found = cached["expr"][group][:, columns[task]]
            np.testing.assert_allclose(found, expected[task], atol=1e-5)


@pytest.mark.parametrize("teachers", [(7,), (7, 8, 9)])
def test_cached_and_live_teachers_make_the_same_student(tmp_path, teachers):
    variables = tiny.make_variables(*teachers)
    cached = cache_soft_labels(variables, [list(range(len(teachers)))])
    from_cache = make_chunk_step(
        tiny.MODEL,
        tiny.PLAIN,
        student_objective,
        make_batch=gather_features,
        inputs=tiny.inputs,
        shardings=tiny.SHARDINGS,
        soft_labels=lookup_teacher,
    )
    looked_up = fit(
        tiny.make_state(optimizer=tiny.PLAIN),
        tiny.make_job(
            step=from_cache,
            teacher=jnp.zeros(1, jnp.int32),
            table=tiny.make_table() | {"soft_labels": cached},
        ),
        tmp_path / "cached",
        lambda *_: None,
    ).variables
    live = fit(
        tiny.make_state(optimizer=tiny.PLAIN),
        tiny.make_job(
            step=tiny.make_step(student=True, optimizer=tiny.PLAIN),
            teacher=tiny.make_teacher(*teachers),
        ),
        tmp_path / "live",
        lambda *_: None,
    ).variables
    for a, b in zip(jax.tree.leaves(looked_up), jax.tree.leaves(live), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)
