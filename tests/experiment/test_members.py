"""Who trains together, from a configuration."""

import pytest

from abaw_jax.experiment.population import (
    count_runs,
    group_teachers,
    plan_members,
    root_keys,
)
from abaw_jax.training.curriculum import LossSettings
from configs import base


def make_config(*population, **changes):
    config = base.get_config()
    config.population = population
    for name, value in changes.items():
        setattr(config, name, value)
    return config.lock()


def test_no_population_is_one_run_as_configured():
    config = make_config(seed=4)
    (member,) = plan_members(config)
    assert count_runs(config) == 1
    assert (member.seed, member.changes) == (4, {})
    assert member.losses == LossSettings(**config.loss.to_dict())


def test_every_run_changes_what_it_lists_and_nothing_else():
    config = make_config({"seed": 7}, {"loss.supervised": 2.0, "loss.ramp": "ganin"})
    first, second = plan_members(config)
    assert (first.seed, first.losses.supervised) == (7, 10.0)
    assert (second.seed, second.losses.supervised) == (0, 2.0)
    assert second.losses.ramp == "ganin" and first.losses.ramp == "round"
    assert config.loss.supervised == 10.0


def test_copies_differ_in_seed_and_learn_from_their_own_run():
    config = make_config({"seed": 1}, {"seed": 2})
    teachers, students = plan_members(config), plan_members(config, copies=3)
    assert len({member.seed for member in students}) == 6
    assert students[0].seed == teachers[0].seed  # the first copy is the plain run
    assert group_teachers(students, teachers) == [[0]] * 3 + [[1]] * 3
    assert group_teachers(students, students) == [[0, 1, 2]] * 3 + [[3, 4, 5]] * 3


def test_no_copy_has_the_seed_of_another_run():
    runs = [{"seed": seed} for seed in (0, 1, 2, 1000, 2000, 1001)]
    copies = plan_members(make_config(*runs), copies=3)
    assert len({member.seed for member in copies}) == len(copies) == 18
    root_keys(copies, 0)  # every seed fits into a key
    assert copies == plan_members(make_config(*runs), copies=3)


def test_generations_start_from_different_randomness():
    members = plan_members(make_config({"seed": 1}, {"seed": 2}))
    keys = {str(key) for g in range(3) for key in root_keys(members, g)}
    assert len(keys) == 6


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"train.epochs": 3}, "'train.epochs'.*may differ in seed and in fields"),
        ({"heads.lstm_size": 3}, "run it alone"),
        ({"loss.alpha": 1.0}, "population: .*alpha"),
        ({"loss.supervised": "much"}, "population: .*supervised"),
        ({"loss.ramp": "steep"}, "loss.ramp is 'steep'; choose round"),
    ],
)
def test_what_a_population_cannot_change_is_reported(changes, message):
    with pytest.raises(ValueError, match=message):
        plan_members(make_config(changes))
