"""Training starts from another run's network; what does not fit is fresh and named."""

import jax
import numpy as np
import pytest

from abaw_jax.experiment.checks import check
from abaw_jax.experiment.initial_network import InitialNetwork
from abaw_jax.training.networks import save_networks
from abaw_jax.training.state import take_member
from abaw_jax.weights.loading import save_variables
from configs import quickstart
from tests.support import tiny


@pytest.fixture(scope="module")
def stage(tmp_path_factory):
    """A stage with two networks, as training leaves it."""
    folder = tmp_path_factory.mktemp("run") / "teacher"
    save_networks(folder / "networks", tiny.make_variables(1, 2))
    return folder


def network(seed):
    return take_member(tiny.make_variables(seed), 0)


def assert_equal(one, other):
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        np.testing.assert_array_equal(a, b)
        assert a.dtype == b.dtype


def test_the_first_network_of_a_stage_is_taken(stage):
    found = InitialNetwork.read(str(stage)).start(network(7))
    assert_equal(found, network(1))
    assert jax.tree.structure(found) == jax.tree.structure(network(7))


def test_an_exported_model_is_taken(tmp_path):
    save_variables(tmp_path / "heads.safetensors", tiny.make_variables(1))
    assert_equal(InitialNetwork.read(str(tmp_path)).start(network(7)), network(1))


def test_other_sizes_start_fresh_and_are_named(stage, capsys):
    fresh = network(7)
    name = next(each for each in fresh["params"] if "au" in each)
    head = fresh["params"][name]
    fresh["params"][name] = jax.tree.map(
        lambda leaf: np.zeros((3, *leaf.shape), leaf.dtype), head
    )
    initial = InitialNetwork.read(str(stage))
    started = initial.start(fresh)
    assert_equal(started["params"][name], fresh["params"][name])
    others = {k: v for k, v in network(1)["params"].items() if k != name}
    assert_equal({k: started["params"][k] for k in others}, others)
    initial.say("teacher", fresh)
    said = " ".join(capsys.readouterr().out.split())
    assert f"starts from {stage}" in said and name in said and "starts fresh" in said


def test_the_record_follows_the_network_and_not_its_path(stage, tmp_path):
    moved = tmp_path / "moved"
    stage.rename(moved)
    try:
        first = InitialNetwork.read(str(moved)).made_from
    finally:
        moved.rename(stage)
    assert first == InitialNetwork.read(str(stage)).made_from
    save_networks(tmp_path / "networks", tiny.make_variables(5))
    assert InitialNetwork.read(str(tmp_path)).made_from != first
    assert InitialNetwork.read(None).made_from == {}


def test_nothing_in_common_is_refused(tmp_path):
    save_variables(
        tmp_path / "heads.safetensors", {"params": {"another": np.zeros((1, 2))}}
    )
    with pytest.raises(ValueError, match=r"nothing in .* has the name and shape"):
        InitialNetwork.read(str(tmp_path)).start(network(7))


def test_a_folder_without_a_network_is_refused_before_anything(tmp_path):
    config = quickstart.get_config()
    config.train.init = str(tmp_path)
    with pytest.raises(ValueError, match=r"config\.train\.init: .* holds no network"):
        check(config)
