"""Many runs as one program: each is what it would be alone, and rests when done."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from abaw_jax.objectives import student_objective, teacher_objective
from abaw_jax.pipeline.items import gather_features
from abaw_jax.training.curriculum import LossSettings
from abaw_jax.training.distillation import online_teacher
from abaw_jax.training.job import Limits, Validation
from abaw_jax.training.loop import fit
from abaw_jax.training.metrics_log import mean_records, read_metrics
from abaw_jax.training.networks import load_fitted
from abaw_jax.training.nonfinite import NonFinite
from abaw_jax.training.sharding import over_all_devices
from abaw_jax.training.state import (
    count_members,
    create_state,
    init_variables,
    stack_members,
    take_member,
)
from abaw_jax.training.steps import make_chunk_step
from tests.support import tiny

pytestmark = pytest.mark.slow

SEEDS = (3, 4, 5, 6, 7, 8, 9, 10)
SETTINGS = [
    LossSettings(),
    LossSettings(supervised=3.0),
    LossSettings(cross_task=0.2),
    LossSettings(discriminator=(0.5, 0.5)),
    LossSettings(discriminator=(0.0, 0.0)),
    LossSettings(temperature=1.0),
    LossSettings(gamma_rule="log2"),
    LossSettings(reversal=True),
]


def ignore(*_):
    pass


def make_job(members, shardings=tiny.SHARDINGS, **changes):
    """A student's job of these members (indices), each with a teacher of its own."""
    teachers = [tiny.make_variables(20 + k) for k in members]
    values = {
        "step": tiny.make_step(True, shardings, tiny.PLAIN),
        "teacher": jax.tree.map(lambda *leaves: np.stack(leaves), *teachers),
        "table": jax.device_put(tiny.make_table(), shardings.replicated),
        "chunks": tiny.make_chunks(seeds=[SEEDS[k] for k in members]),
        "losses": [SETTINGS[k] for k in members],
        "keys": jax.device_put(
            jnp.stack([jax.random.key(SEEDS[k]) for k in members]), shardings.members
        ),
        "shardings": shardings,
        **changes,
    }
    return tiny.make_job(**values)


def make_state(members):
    return tiny.make_state(*[SEEDS[k] for k in members], optimizer=tiny.PLAIN)


def leaves(tree):
    return [np.asarray(leaf) for leaf in jax.tree.leaves(tree)]


@pytest.fixture(scope="module")
def together(tmp_path_factory):
    directory = tmp_path_factory.mktemp("population")
    members = range(len(SEEDS))
    job = make_job(members, over_all_devices(len(members)))
    return directory, fit(make_state(members), job, directory, ignore).variables


@pytest.mark.parametrize("member", range(len(SEEDS)))
def test_a_member_is_its_single_run(together, tmp_path, member):
    """Sixteen rounds of four updates each."""
    _, population = together
    alone = fit(make_state([member]), make_job([member]), tmp_path, ignore).variables
    for a, b in zip(
        leaves(take_member(population, member)), leaves(alone), strict=True
    ):
        np.testing.assert_allclose(a, b[0], atol=1e-5)


def test_members_differ_and_are_logged_by_number(together):
    directory, population = together
    kernel = population["params"]["va"]["output"]["kernel"]
    assert len({np.asarray(each).tobytes() for each in kernel}) == len(SEEDS)
    lines = (directory / "metrics.jsonl").read_text().splitlines()
    epochs = [r for r in map(json.loads, lines) if "chunk" not in r]
    assert [r["member"] for r in epochs] == [*range(len(SEEDS))] * 4


def test_a_member_is_restored_alone(together):
    directory, population = together
    like = take_member(tiny.make_variables(), 0)
    for k in (0, 5):
        path = directory / "networks" / str(k)
        alone = directory / f"only{k}" / "networks"
        alone.mkdir(parents=True)
        (alone / "0").symlink_to(path)
        found = load_fitted(alone.parent, like, 1, tiny.SHARDINGS)
        for a, b in zip(leaves(found), leaves(population), strict=True):
            np.testing.assert_array_equal(a[0], b[k])


def scripted(*scores):
    """Each member's score by epoch."""
    epochs = iter(zip(*scores, strict=True))

    def validate(variables):
        now = next(epochs)
        assert count_members(variables) == len(now)
        return [Validation(score, {"va": score}, {"mtl": score}) for score in now]

    return validate


def test_a_member_that_stopped_stays_as_it_is_while_others_train(tmp_path):
    """Patience 1: member 0 stops after epoch 2, member 1 after epoch 4."""
    seen = []
    validate = scripted([0.5, 0.1, 0.9, 0.9], [0.1, 0.2, 0.3, 0.1])

    def watching(variables):
        seen.append(jax.tree.map(np.asarray, variables))
        return validate(variables)

    shardings = over_all_devices(2)
    job = make_job(
        [0, 1], shardings, validate=watching, limits=Limits(6, 1), keep="last"
    )
    last = fit(make_state([0, 1]), job, tmp_path, ignore).variables
    assert len(seen) == 4
    for first, second in ((seen[1], seen[3]), (seen[1], last)):
        for a, b in zip(leaves(first), leaves(second), strict=True):
            np.testing.assert_array_equal(a[0], b[0])
    assert any(
        (a[1] != b[1]).any() for a, b in zip(leaves(seen[1]), leaves(last), strict=True)
    )


def test_every_member_hands_on_its_own_best_epoch(tmp_path):
    seen = []
    validate = scripted([0.5, 0.1, 0.2], [0.1, 0.2, 0.3])

    def watching(variables):
        seen.append(jax.tree.map(np.asarray, variables))
        return validate(variables)

    job = make_job([0, 1], over_all_devices(2), validate=watching, limits=Limits(3, 9))
    best = fit(make_state([0, 1]), job, tmp_path, ignore).variables
    for a, first, last in zip(*map(leaves, (best, seen[0], seen[2])), strict=True):
        np.testing.assert_array_equal(a[0], first[0])
        np.testing.assert_array_equal(a[1], last[1])


def test_a_member_whose_loss_explodes_rests_and_the_others_are_unharmed(
    tmp_path, caplog
):
    settings = [SETTINGS[0], LossSettings(supervised=float("inf"))]
    shardings = over_all_devices(2)
    stop = NonFinite("stop")
    job = make_job([0, 1], shardings, losses=settings, nonfinite=stop)
    broken = fit(make_state([0, 1]), job, tmp_path / "broken", ignore).variables
    assert "Member 1 stops: in epoch 1 va/loss is not finite in round 1" in caplog.text
    assert "Its untrained network is kept" in caplog.text
    sound = fit(
        make_state([0, 1]), make_job([0, 1], shardings), tmp_path / "sound", ignore
    ).variables
    for a, b in zip(leaves(broken), leaves(sound), strict=True):
        np.testing.assert_array_equal(a[0], b[0])
        assert np.isfinite(a[1]).all()


NAN = float("nan")


def test_a_member_whose_score_is_not_finite_stops_and_the_others_go_on(
    tmp_path, caplog
):
    scores = [NAN, NAN, NAN], [0.1, 0.2, 0.3]
    job = make_job(
        [0, 1], over_all_devices(2), validate=scripted(*scores), limits=Limits(3, 9)
    )
    fitted = fit(make_state([0, 1]), job, tmp_path, ignore)
    assert "Member 0 stops: in epoch 1 a validation score is not fin" in caplog.text
    assert [(o.chosen_epoch, o.epochs, o.ended) for o in fitted.outcomes] == [
        (0, 0, "not finite"),
        (3, 3, "epochs"),
    ]
    alone = make_job([0], validate=scripted([0.5, NAN]), limits=Limits(3, 9))
    with pytest.raises(FloatingPointError, match="In epoch 2 a validation score"):
        fit(make_state([0]), alone, tmp_path / "alone", ignore)


def test_a_member_that_fails_hands_on_its_last_finite_network(tmp_path, caplog):
    """Also where the last epoch's network was asked for, as the authors do."""
    seen = []
    validate = scripted([0.5, 0.4, NAN, NAN], [0.1, 0.2, 0.3, 0.4])

    def watching(variables):
        seen.append(jax.tree.map(np.asarray, variables))
        return validate(variables)

    shardings, limits = over_all_devices(2), Limits(4, 9)
    job = make_job([0, 1], shardings, validate=watching, limits=limits, keep="last")
    last = fit(make_state([0, 1]), job, tmp_path, ignore)
    assert "Its network of epoch 2 is kept" in caplog.text
    assert [each.chosen_epoch for each in last.outcomes] == [2, 4]
    for a, second, fourth in zip(
        *map(leaves, (last.variables, seen[1], seen[3])), strict=True
    ):
        np.testing.assert_array_equal(a[0], second[0])
        np.testing.assert_array_equal(a[1], fourth[1])


def test_an_epoch_shows_the_members_that_trained_in_it(tmp_path):
    """Patience 1: member 0 stops after epoch 2 and counts no more as a loss of 0."""
    shown = {}

    def watch(position, ended):
        if ended:
            shown[position.epoch] = ended

    validate = scripted([0.5, 0.1, 0.9], [0.1, 0.2, 0.3])
    job = make_job([0, 1], over_all_devices(2), validate=validate, limits=Limits(3, 1))
    fitted = fit(make_state([0, 1]), job, tmp_path, watch)
    assert [[*ended] for ended in shown.values()] == [[0, 1], [0, 1], [1]]
    outcomes = [(o.chosen_epoch, o.epochs, o.ended) for o in fitted.outcomes]
    assert outcomes == [(1, 2, "patience"), (3, 3, "epochs")]
    records = mean_records(read_metrics(tmp_path / "metrics.jsonl"))
    losses = [r["loss"] for r in records if "chunk" not in r]
    expected = [np.mean([e.loss for e in shown[n].values()]) for n in (1, 2, 3)]
    np.testing.assert_allclose(losses, expected)
    assert losses[2] == shown[3][1].loss > 0


class Killed(Exception):
    pass


def test_an_interrupted_population_ends_with_the_same_bits(together, tmp_path):
    directory, population = together
    members, calls = range(len(SEEDS)), iter(range(100))

    def stop(*_):
        if next(calls) == 4:
            raise Killed

    shardings = over_all_devices(len(SEEDS))
    often = make_job(members, shardings, limits=Limits(4, 9, checkpoint_seconds=0.0))
    with pytest.raises(Killed):
        fit(make_state(members), often, tmp_path, stop)
    again = fit(
        make_state(members), make_job(members, shardings), tmp_path, ignore
    ).variables
    for a, b in zip(leaves(population), leaves(again), strict=True):
        np.testing.assert_array_equal(a, b)
    assert (tmp_path / "metrics.jsonl").read_bytes() == (
        directory / "metrics.jsonl"
    ).read_bytes()


def test_changing_every_traced_value_never_retraces():
    """Weights, schedules, seeds, teachers and resting members: one program for all."""
    traces = []

    def counting(*arguments, **options):
        traces.append(None)
        return student_objective(*arguments, **options)

    step = make_chunk_step(
        tiny.MODEL,
        tiny.PLAIN,
        counting,
        make_batch=gather_features,
        inputs=tiny.inputs,
        shardings=tiny.SHARDINGS,
        soft_labels=online_teacher(tiny.MODEL, tiny.inputs, tiny.SHARDINGS),
    )
    counts = []
    for first, settings in enumerate(SETTINGS):
        job = make_job(
            [first, (first + 1) % 8],
            step=step,
            losses=[settings, SETTINGS[-1]],
            limits=Limits(1, 9),
        )
        run = tiny.first_chunk(make_state([0, 1]), job)
        counts.append(len(traces))
        assert all(np.isfinite(leaf).all() for leaf in leaves(run))
    assert counts[0] > 0 and counts == [counts[0]] * len(counts)


def test_delta_zero_is_the_network_without_discriminator(tmp_path):
    """So the column "-" of Table 1 may share its program with the others."""
    bare = tiny.MODEL.clone(discriminator_sizes=None)
    step = make_chunk_step(
        bare,
        tiny.PLAIN,
        teacher_objective,
        make_batch=gather_features,
        inputs=tiny.inputs,
        shardings=tiny.SHARDINGS,
    )
    shapes = [jax.ShapeDtypeStruct((2, *each), jnp.float32) for each in ((2, 6), (5,))]
    fresh = init_variables(bare, jax.random.key(0), *shapes)
    state = create_state(stack_members([fresh]), tiny.PLAIN)
    without = fit(
        state, tiny.make_job(step=step), tmp_path / "without", ignore
    ).variables
    settings = (LossSettings(discriminator=(0.0, 0.0)),)
    job = tiny.make_job(losses=settings, step=tiny.make_step(optimizer=tiny.PLAIN))
    zero = fit(
        tiny.make_state(0, optimizer=tiny.PLAIN), job, tmp_path / "zero", ignore
    ).variables
    for collection in ("params", "batch_stats"):
        assert zero[collection].pop("discriminator")
    for a, b in zip(leaves(zero), leaves(without), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)
