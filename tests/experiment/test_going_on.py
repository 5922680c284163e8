"""A run goes on under raised limits and free settings, and under no others."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from abaw_jax.experiment.artefact import Artefact, MismatchError
from abaw_jax.experiment.going_on import FREE, RAISED, UNRECORDED, first_limit
from abaw_jax.training.curriculum import LossSettings
from abaw_jax.training.job import Limits
from abaw_jax.training.loop import fit
from tests.support import tiny
from tests.training.test_loop import assert_same, ignore

PAGE = Path(__file__).parents[2] / "docs" / "pages" / "reliability.md"


def made_from(epochs=4, patience=5, seconds=600.0, rate=1e-3, **others):
    train = {"epochs": epochs, "patience": patience, "learning_rate": rate}
    return {"train": train | {"checkpoint_seconds": seconds}, **others}


def stage(directory, *, used_by=None, finished=True, **settings):
    """A stage with a checkpoint and a network, as training leaves it."""
    artefact = Artefact(directory, made_from(**settings), used_by)
    artefact.begin()
    for name in ("checkpoints/4/record", "networks/0/data"):
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_text("")
    if finished:
        artefact.finish()
    return artefact


@pytest.mark.parametrize("finished", [True, False])
@pytest.mark.parametrize("limit", [{"epochs": 8}, {"patience": 9}])
def test_raised_limits_go_on_and_both_are_recorded(tmp_path, finished, limit):
    stage(tmp_path, finished=finished)
    raised = Artefact(tmp_path, made_from(**limit))
    assert not raised.begin()
    assert not (tmp_path / "done.json").exists()
    assert not (tmp_path / "networks").exists()  # they are of the former limit
    assert (tmp_path / "checkpoints" / "4" / "record").exists()
    record = json.loads((tmp_path / "config.json").read_text())
    assert record["train"] == made_from(**limit)["train"]
    assert record["raised_from"] == [{"train.epochs": 4, "train.patience": 5}]
    assert first_limit(raised.made_from, "train.epochs") == 4
    # Killed here, and called again: the same stage, until it has ended.
    assert not Artefact(tmp_path, made_from(**limit)).begin()
    raised.finish()
    again = Artefact(tmp_path, made_from(**limit))
    assert again.begin()
    assert again.fingerprint == raised.fingerprint
    more = Artefact(tmp_path, made_from(**limit | {"epochs": 16}))
    assert not more.begin()
    assert len(more.made_from["raised_from"]) == 2
    assert first_limit(more.made_from, "train.epochs") == 4


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rate": 1e-2, "epochs": 8}, "train.learning_rate was 0.001, now 0.01"),
        ({"epochs": 3}, "train.epochs was 4, now 3"),
        ({"epochs": 8, "patience": 4}, "train.patience was 5, now 4"),
        ({"epochs": 8, "seed": 1}, "seed was None, now 1"),
    ],
)
def test_what_changes_the_mathematics_is_refused(tmp_path, changes, message):
    stage(tmp_path)
    with pytest.raises(MismatchError, match=message):
        Artefact(tmp_path, made_from(**changes)).begin()
    assert (tmp_path / "networks").exists() and (tmp_path / "done.json").exists()


def test_a_limit_that_was_raised_is_not_lowered_again(tmp_path):
    stage(tmp_path)
    Artefact(tmp_path, made_from(epochs=8)).begin()
    reason = r"other settings: train\.epochs was 8, now 4\. Choose"
    with pytest.raises(MismatchError, match=reason):
        Artefact(tmp_path, made_from(seconds=1.0)).begin()


def test_what_has_no_effect_may_change(tmp_path):
    former = stage(tmp_path)
    other = Artefact(tmp_path, made_from(seconds=1.0))
    assert other.begin()
    assert other.fingerprint == former.fingerprint


def test_a_stage_that_was_used_stays_and_the_last_one_goes_on(tmp_path):
    teacher, student = tmp_path / "teacher", tmp_path / "student"
    used = stage(teacher, used_by=student)
    stage(student, teacher=used.fingerprint)
    again = Artefact(teacher, made_from(epochs=8), student)
    assert again.begin()
    assert again.fingerprint == used.fingerprint
    assert not Artefact(student, made_from(8, teacher=used.fingerprint)).begin()


def test_other_features_are_told_in_words_and_raised_limits_are_no_reason(tmp_path):
    stage(tmp_path, features="1a4b51f5")
    with pytest.raises(MismatchError, match="the features have changed since") as told:
        Artefact(tmp_path, made_from(epochs=8, features="3f88bd08")).begin()
    assert "epochs" not in str(told.value) and "1a4b51f5" not in str(told.value)


def test_without_checkpoints_nothing_goes_on(tmp_path):
    stage(tmp_path)
    (tmp_path / "checkpoints" / "4" / "record").unlink()
    (tmp_path / "checkpoints" / "4").rmdir()
    with pytest.raises(MismatchError, match=r"train\.epochs was 4, now 8"):
        Artefact(tmp_path, made_from(epochs=8)).begin()


def test_a_stage_without_results_begins_with_the_new_limits(tmp_path):
    Artefact(tmp_path, made_from()).begin()
    fresh = Artefact(tmp_path, made_from(epochs=8))
    assert not fresh.begin()
    assert first_limit(fresh.made_from, "train.epochs") == 8


def test_the_documentation_has_the_table():
    listed = re.findall(r"^\| `([a-z_.0-9]+)` \| (.+) \|$", PAGE.read_text(), re.M)
    assert dict(listed) == {**RAISED, **FREE, **UNRECORDED}


CONSTANT = (LossSettings(discriminator=(0.5, 0.5)),)


@pytest.mark.slow
def test_raised_epochs_end_with_the_bits_of_one_run(tmp_path):
    fit(tiny.make_state(), tiny.make_job(losses=CONSTANT), tmp_path / "two", ignore)
    whole = tiny.make_job(epochs=6, losses=CONSTANT)
    fit(tiny.make_state(), whole, tmp_path / "one", ignore)
    more = replace(whole, limits=Limits(6, 9, planned_epochs=4))
    fitted = fit(tiny.make_state(), more, tmp_path / "two", ignore)
    assert fitted.outcomes[0].epochs == 6
    assert_same(tmp_path / "one", tmp_path / "two")


@pytest.mark.slow
def test_a_run_that_lost_patience_goes_on_with_more(tmp_path):
    impatient = tiny.make_job(losses=CONSTANT, limits=Limits(4, 1))
    ended = fit(tiny.make_state(), impatient, tmp_path / "two", ignore).outcomes[0]
    assert ended.ended == "patience" and ended.epochs < 4
    job = tiny.make_job(losses=CONSTANT)
    fit(tiny.make_state(), job, tmp_path / "two", ignore)
    fit(tiny.make_state(), job, tmp_path / "one", ignore)
    assert_same(tmp_path / "one", tmp_path / "two")


@pytest.mark.slow
def test_delta_keeps_the_way_that_it_began(tmp_path):
    """Three epochs planned: the fourth has delta at its end, as of the third's end."""
    deltas = []
    job = tiny.make_job(limits=Limits(4, 9, planned_epochs=3))

    def step(state, teacher, table, chunk, weights, keys, active):
        deltas.extend(weights.discriminator[:, 0].tolist())
        return tiny.make_step()(state, teacher, table, chunk, weights, keys, active)

    fit(tiny.make_state(), replace(job, step=step), tmp_path, ignore)
    rounds = 3 * tiny.make_schedule().rounds_per_epoch
    assert deltas[:rounds] == pytest.approx([k / rounds for k in range(rounds)])
    assert deltas[rounds:] == [1.0] * (len(deltas) - rounds)
    assert len(deltas) > rounds
