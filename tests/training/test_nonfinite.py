"""Updates that are not finite: skipped, rolled back, counted, named, or the end."""

import re
from dataclasses import replace

import jax
import numpy as np
import pytest

from abaw_jax.pipeline.batches import training_chunks
from abaw_jax.pipeline.items import feature_items
from abaw_jax.training.curriculum import Progress
from abaw_jax.training.loop import fit
from abaw_jax.training.metrics_log import read_metrics
from abaw_jax.training.nonfinite import (
    NonFinite,
    Skips,
    mean_of_finite,
    number_rows,
    sum_of_finite,
)
from tests.support import tiny
from tests.training.test_loop import assert_same, ignore
from tests.training.test_steps import ON, weights


def skips(*rounds):
    """Of one member and two sets, a pair for each round."""
    flags = np.array(rounds, bool)
    losses = np.where(flags, np.nan, 1.0)
    values = {"va/loss": losses[:, :1], "expr/loss": losses[:, 1:]}
    values |= {"va/skipped": flags[:, :1], "expr/skipped": flags[:, 1:]}
    return Skips.of(values)


def test_updates_in_a_row_are_counted_over_chunks():
    first, longest = skips((0, 1), (1, 0), (0, 1)).count(0, Progress())
    assert (first.skipped, first.in_a_row, longest) == (3, 1, 2)
    second, longest = skips((1, 1), (0, 0)).count(0, first)
    assert (second.skipped, second.in_a_row, longest) == (5, 0, 3)


def test_set_term_and_rows_are_named():
    rows = {
        "va": np.arange(24).reshape(2, 1, 12),
        "expr": np.arange(4).reshape(2, 1, 2),
    }
    found = [*skips((0, 0), (1, 1)).describe(0, rows, number_rows)]
    assert found == [
        "va/loss is not finite in round 2 of the chunk, on rows 12, 13, 14, 15, 16, "
        "17, 18, 19 and 4 more",
        "expr/loss is not finite in round 2 of the chunk, on rows 2, 3",
    ]
    one = Skips({"va": np.ones((1, 1), bool)}, {"va/loss": np.ones((1, 1))})
    [reason] = one.describe(0, {"va": rows["va"]}, number_rows)
    assert reason.startswith("the gradient of va/loss is not finite in round 1")


def test_means_and_sums_are_of_the_rounds_that_are_finite():
    values = np.array([1.0, np.nan, 3.0, np.inf])
    assert mean_of_finite(values) == 2.0 and sum_of_finite(values) == 8.0
    assert np.isnan(mean_of_finite(values[1:2])) and sum_of_finite(values[1:2]) == 0.0


@pytest.mark.parametrize(
    ("policy", "skipped", "rollbacks", "ends"),
    [
        ("stop", 1, 0, True),
        ("skip", 3, 0, False),
        ("skip", 4, 0, True),
        ("rollback", 9, 2, False),
        ("rollback", 1, 3, True),
    ],
)
def test_the_limit_ends_a_member(policy, skipped, rollbacks, ends):
    assert NonFinite(policy, 3).ends(skipped, rollbacks) is ends


def poisoned_job(policy, limit=10, *, rounds=(3,), order=0, **changes):
    """The tiny job whose labels of ``va`` are not finite in these rounds.

    Of one order of the batches: another has none.
    """
    samples = tiny.make_samples()
    fill = feature_items(np.arange(tiny.ROWS, dtype=np.int32))
    schedule = tiny.make_schedule()
    clean = training_chunks(samples, fill, schedule, epochs=4, seeds=(3,))
    job = tiny.make_job(chunks=clean, nonfinite=NonFinite(policy, limit), **changes)
    seen = []

    def step(state, teacher, table, chunk, weights, keys, active):
        first = int(np.asarray(state.step)[0])
        bad = [r - first for r in rounds if 0 <= r - first < schedule.rounds_per_chunk]
        if bad and len(seen) <= order:
            seen.append(first)
            va = np.array(chunk["va"]["va"])
            va[bad] = np.nan
            chunk = {**chunk, "va": {**chunk["va"], "va": va}}
        compiled = tiny.make_step(skip=policy != "stop")
        return compiled(state, teacher, table, chunk, weights, keys, active)

    return replace(job, step=step)


@pytest.mark.slow
def test_the_step_leaves_the_state_as_it_is():
    job = poisoned_job("skip", rounds=(0, 1))
    state = tiny.make_state()
    before = jax.tree.map(np.asarray, state)
    chunk = {"va": next(iter(job.chunks))["va"]}
    chunk["va"]["va"] = np.full_like(chunk["va"]["va"], np.nan)
    after, terms = tiny.make_step(skip=True)(
        state, None, job.table, chunk, weights(), job.keys, ON
    )
    assert np.asarray(terms["va/skipped"]).all()
    assert np.asarray(after.step).tolist() == [2]
    for a, b in zip(
        jax.tree.leaves((before.variables, before.opt_state)),
        jax.tree.leaves((after.variables, after.opt_state)),
        strict=True,
    ):
        np.testing.assert_array_equal(a, b)


@pytest.mark.slow
def test_a_bad_batch_is_skipped_logged_and_counted(tmp_path, caplog):
    fitted = fit(tiny.make_state(), poisoned_job("skip"), tmp_path, ignore)
    assert fitted.outcomes[0].skipped == 1 and fitted.outcomes[0].epochs == 4
    assert re.search(r"In epoch 1, chunk 2 va/.* in round 2 .*, on rows", caplog.text)
    assert "the update was skipped" in caplog.text
    records = read_metrics(tmp_path / "metrics.jsonl")
    assert [r["skipped"] for r in records if "skipped" in r] == [1]
    assert all(v is not None for r in records for v in r.values())
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(fitted.variables))


@pytest.mark.slow
def test_too_many_in_a_row_end_the_run(tmp_path):
    table = tiny.make_table()
    job = tiny.make_job(
        table={**table, "sound": table["sound"] * np.nan},
        nonfinite=NonFinite("skip", 5),
    )
    with pytest.raises(FloatingPointError, match=r"va/.* not finite in round 1"):
        fit(tiny.make_state(), job, tmp_path, ignore)


@pytest.mark.slow
def test_stop_ends_with_the_first(tmp_path):
    with pytest.raises(FloatingPointError, match=r"epoch 1 va/.* in round 2 of the"):
        fit(tiny.make_state(), poisoned_job("stop"), tmp_path, ignore)


@pytest.mark.slow
def test_a_rollback_takes_another_order_and_goes_on_from_the_checkpoint(
    tmp_path, caplog
):
    limit = replace(tiny.make_job().limits, checkpoint_seconds=0.0)
    job = poisoned_job("rollback", rounds=(5,), limits=limit)
    fitted = fit(tiny.make_state(), job, tmp_path / "one", ignore)
    assert "on with order 1 of the batches" in caplog.text
    assert fitted.outcomes[0].epochs == 4 and fitted.outcomes[0].skipped == 0
    records = read_metrics(tmp_path / "one" / "metrics.jsonl")
    numbers = [(r["epoch"], r.get("chunk")) for r in records]
    assert len(set(numbers)) == len(numbers)  # what was rolled back is not logged

    # The other order is recorded: killed and called again, the same bits.
    def kill(position, ended):
        if (position.epoch, position.chunk) == (3, 1):
            raise KeyboardInterrupt

    again = poisoned_job("rollback", rounds=(5,), limits=limit)
    with pytest.raises(KeyboardInterrupt):
        fit(tiny.make_state(), again, tmp_path / "two", kill)
    clean = tiny.make_job(step=tiny.make_step(skip=True))
    fit(tiny.make_state(), clean, tmp_path / "two", ignore)
    assert_same(tmp_path / "one", tmp_path / "two")


def test_another_order_has_the_same_rows_in_other_batches():
    chunks = tiny.make_chunks(epochs=1)
    rows = [
        [chunk["va"]["row"].ravel() for chunk in iterator]
        for iterator in (iter(chunks), chunks.in_order(0), chunks.in_order(1))
    ]
    first, same, other = map(np.concatenate, rows)
    np.testing.assert_array_equal(first, same)
    assert (first != other).any()
    np.testing.assert_array_equal(np.sort(first), np.sort(other))
