"""Compiled rounds: they learn, in order, without touching the teacher or retracing."""

import math
import re
from collections import Counter
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import AxisType

from abaw_jax.metrics import Concordance
from abaw_jax.objectives import student_objective, teacher_objective
from abaw_jax.pipeline.batches import evaluation_chunks
from abaw_jax.pipeline.items import feature_items, gather_features
from abaw_jax.tasks import SETS, TASKS
from abaw_jax.training.curriculum import LossSettings, Progress, chunk_weights
from abaw_jax.training.distillation import online_teacher
from abaw_jax.training.sharding import Shardings
from abaw_jax.training.state import stack_members, take_member
from abaw_jax.training.steps import empty_scores, make_chunk_step, make_predict_chunk
from tests.support import tiny

pytestmark = pytest.mark.slow


def weights(rounds=2, **changes):
    """Weights ``[R, 1, ...]`` of one member."""
    found = chunk_weights(
        LossSettings(**changes),
        Progress(),
        first_round=4,
        rounds=rounds,
        rounds_per_epoch=5,
        epochs=2,
    )
    return jax.tree.map(lambda leaf: leaf[:, None], found)


ON = np.array([True])


def on_one_device():
    axes = (AxisType.Auto, AxisType.Auto)
    names, one = ("members", "data"), jax.devices()[:1]
    return Shardings(jax.make_mesh((1, 1), names, axis_types=axes, devices=one))


PLAIN = tiny.PLAIN


def run(
    step,
    *,
    teacher=None,
    chunks=4,
    shardings=tiny.SHARDINGS,
    optimizer=tiny.OPTIMIZER,
):
    """Final state and the logged terms of the first ``chunks`` chunks."""
    replicated = shardings.replicated
    state, teacher, table = jax.device_put(
        (tiny.make_state(optimizer=optimizer), teacher, tiny.make_table()), replicated
    )
    keys, logged = jax.random.key(0)[None], []
    for _, chunk in zip(range(chunks), tiny.make_chunks(), strict=False):
        state, terms = step(state, teacher, table, chunk, weights(), keys, ON)
        logged.append(terms)
    return state, logged


def leaves(tree):
    return [np.asarray(leaf) for leaf in jax.tree.leaves(tree)]


@pytest.mark.parametrize("student", [False, True])
def test_the_loss_falls_on_a_repeated_chunk(student):
    step, state = tiny.make_step(student), tiny.make_state()
    teacher = tiny.make_teacher(7) if student else None
    chunk, keys = next(iter(tiny.make_chunks())), jax.random.key(0)[None]
    losses = []
    for _ in range(30):
        args = (teacher, tiny.make_table(), chunk, weights(), keys, ON)
        state, terms = step(state, *args)
        losses.append(sum(float(v.mean()) for k, v in terms.items() if "/loss" in k))
    assert losses[-1] < 0.8 * losses[0]
    assert state.step.tolist() == [60]


def test_the_teacher_is_frozen_and_the_student_depends_on_it():
    teacher = tiny.make_teacher(7)
    before = leaves(teacher)
    state, _ = run(tiny.make_step(student=True), teacher=teacher)
    for old, new in zip(before, leaves(teacher), strict=True):
        np.testing.assert_array_equal(old, new)
    other, _ = run(tiny.make_step(student=True), teacher=tiny.make_teacher(8))
    assert any(
        (a != b).any()
        for a, b in zip(leaves(state.params), leaves(other.params), strict=True)
    )


def test_new_weights_do_not_retrace():
    traces = []

    def counting(outputs, soft, batch, loss_weights):
        traces.append(None)
        return teacher_objective(outputs, soft, batch, loss_weights)

    step = make_chunk_step(
        tiny.MODEL,
        tiny.OPTIMIZER,
        counting,
        make_batch=gather_features,
        inputs=tiny.inputs,
        shardings=tiny.SHARDINGS,
    )
    state, iterator = tiny.make_state(), tiny.make_chunks()
    keys = jax.random.key(0)[None]
    counts = []
    for alpha, chunk in zip((1.0, 5.0, 7.0), iterator, strict=False):
        state, _ = step(
            *(state, None, tiny.make_table(), chunk),
            *(weights(supervised=alpha), keys, ON),
        )
        counts.append(len(traces))
    assert counts[0] >= 2 and counts == [counts[0]] * 3


def test_four_devices_compute_what_one_does():
    one = on_one_device()
    step = tiny.make_step(shardings=one, optimizer=PLAIN)
    single, first = run(step, chunks=1, shardings=one, optimizer=PLAIN)
    step = tiny.make_step(optimizer=PLAIN)
    several, terms = run(step, chunks=1, optimizer=PLAIN)
    assert jax.device_count() == 4
    for name in first[0]:
        np.testing.assert_allclose(first[0][name], terms[0][name], rtol=2e-5, atol=1e-6)
    for a, b in zip(leaves(single.params), leaves(several.params), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)


def test_the_gradients_of_an_update_are_summed_over_the_devices_once():
    """As one vector; what else crosses devices are statistics of a few numbers."""
    state, table = tiny.make_state(optimizer=PLAIN), tiny.make_table()
    chunk = next(iter(tiny.make_chunks()))
    assert all(len(item["expr"][0, 0]) % 4 == 0 for item in chunk.values())
    step = tiny.make_step(student=True, optimizer=PLAIN)
    keys = jax.random.key(0)[None]
    arguments = (state, tiny.make_teacher(7), table, chunk, weights(), keys, ON)
    program = step.lower(*arguments).compile().as_text()
    crossing = re.findall(
        r" = (.*) (all-[\w-]+|reduce-scatter|collective-\w+)\(", program
    )
    sizes = Counter(
        math.prod(map(int, filter(None, shape.split(","))))
        for shapes, _ in crossing
        for shape in re.findall(r"\[([\d,]*)\]", shapes)
    )
    assert {kind for _, kind in crossing} == {"all-reduce"}
    parameters = sum(leaf.size for leaf in jax.tree.leaves(state.params))
    programs = ("va", "expr"), ("au",), ("mtl",)
    assert sizes.pop(parameters) == len(programs)
    widest = max(*tiny.MODEL.extractor_sizes, *tiny.MODEL.head_sizes)
    assert max(sizes) <= 2 * widest < parameters / 40


@pytest.mark.parametrize("order", [SETS, ("mtl", "va", "expr", "au")])
def test_updates_follow_the_order(order):
    """Each set's update starts from the parameters that the one before it left."""
    step = make_chunk_step(
        tiny.MODEL,
        PLAIN,
        teacher_objective,
        make_batch=gather_features,
        inputs=tiny.inputs,
        shardings=tiny.SHARDINGS,
        order=order,
    )
    chunk = next(iter(tiny.make_chunks()))
    first = {name: {k: v[:1] for k, v in item.items()} for name, item in chunk.items()}
    state, _ = step(
        tiny.make_state(optimizer=PLAIN),
        None,
        tiny.make_table(),
        first,
        weights(1),
        jax.random.key(0)[None],
        ON,
    )
    expected = by_hand(first, order)
    for a, b in zip(leaves(state.params), leaves(expected), strict=True):
        np.testing.assert_allclose(a[0], b, atol=1e-6)


@pytest.mark.parametrize("student", [False, True])
def test_sets_of_one_shape_take_turns_in_one_program(student, monkeypatch):
    """The same updates as written out one after the other, of fewer traces."""
    chunk, traces = next(iter(tiny.make_chunks())), []
    rows = min(len(item["expr"][0, 0]) for item in chunk.values())
    chunk = {n: {k: v[:, :, :rows] for k, v in i.items()} for n, i in chunk.items()}

    def counted(outputs, *rest):
        traces.append(None)
        return (student_objective if student else teacher_objective)(outputs, *rest)

    def train(platform):
        monkeypatch.setattr(Shardings, "platform", platform)
        step = make_chunk_step(
            tiny.MODEL,
            PLAIN,
            counted,
            make_batch=gather_features,
            inputs=tiny.inputs,
            shardings=tiny.SHARDINGS,
            distilled=TASKS,
            soft_labels=online_teacher(tiny.MODEL, tiny.inputs, tiny.SHARDINGS)
            if student
            else None,
        )
        teacher = tiny.make_teacher(7) if student else None
        args = teacher, tiny.make_table(), chunk, weights(), jax.random.key(0)[None], ON
        del traces[:]
        state, terms = step(tiny.make_state(optimizer=PLAIN), *args)
        return leaves(state.params), terms, len(traces)

    (written, terms, each), (looped, found, shared) = train("gpu"), train("cpu")
    assert found.keys() == terms.keys() and shared < each
    for name, values in terms.items():
        np.testing.assert_allclose(found[name], values, atol=1e-5, err_msg=name)
    for a, b in zip(looped, written, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)


def by_hand(chunk, order):
    """One round of four updates written out with optax."""
    state = take_member(tiny.make_state(optimizer=PLAIN), 0)
    params, stats, opt_state = state.params, state.batch_stats, state.opt_state
    keys = jax.random.split(jax.random.fold_in(jax.random.key(0), 0), 4)
    scalars = jax.tree.map(lambda leaf: leaf[0, 0], weights(1))
    for name, key in zip(order, keys, strict=True):
        item = {k: v[0, 0] for k, v in chunk[name].items()}
        rows = jnp.full(len(item["expr"]), SETS.index(name))
        batch = gather_features(tiny.make_table(), item) | {"task": rows}
        gradients, stats = gradients_by_hand(params, stats, batch, key, scalars)
        updates, opt_state = PLAIN.update(gradients, opt_state, params)
        params = optax.apply_updates(params, updates)
    return params


@jax.jit  # 800 operations compile one by one in 40 s, together in 5
@partial(jax.grad, has_aux=True)
def gradients_by_hand(params, stats, batch, key, scalars):
    outputs, changed = tiny.MODEL.apply(
        {"params": params, "batch_stats": stats},
        batch["image"],
        batch["sound"],
        train=True,
        rngs={"dropout": key},
        mutable=["batch_stats"],
    )
    value, _ = teacher_objective(outputs, None, batch, scalars)
    return value, changed["batch_stats"]


def test_predictions_and_scores_are_those_of_single_batches():
    predict = make_predict_chunk(
        tiny.MODEL,
        make_batch=gather_features,
        inputs=tiny.inputs,
        shardings=tiny.SHARDINGS,
    )
    samples = tiny.make_samples()["mtl"]
    fill = feature_items(np.arange(tiny.ROWS, dtype=np.int32))
    variables, table = tiny.make_variables(), tiny.make_table()
    states, outputs = stack_members([empty_scores(TASKS)]), []
    for chunk in evaluation_chunks(samples, fill, batch_size=12, batches_per_chunk=2):
        states, part = predict(variables, table, chunk, states)
        outputs.append(np.asarray(part["va"]).reshape(-1, 2))
    rows = samples.image_rows
    direct = tiny.MODEL.apply(
        take_member(variables, 0), table["image"][rows], table["sound"][rows[:, -1]]
    )
    np.testing.assert_allclose(
        np.concatenate(outputs)[: len(samples)], direct["va"], atol=1e-5
    )
    expected = Concordance.from_batch(direct["va"], samples.va).compute()
    states = take_member(states, 0)
    np.testing.assert_allclose(states["va"].compute(), expected, atol=1e-5)
    assert states["au"].actual.sum() == samples.au.sum()
