"""A second run in one folder is refused before it changes anything."""

import json
import os

import pytest

from abaw_jax.experiment import corpus, sequence
from abaw_jax.store.sole_writer import LOCK, InUseError, sole_writer
from configs import quickstart


@pytest.fixture
def config():
    config = quickstart.get_config()
    config.data.drawing.train_subjects = config.data.drawing.validation_subjects = 2
    return config


def test_of_two_runs_in_one_workdir_the_second_is_refused(config, tmp_path):
    with sole_writer(tmp_path):
        with pytest.raises(InUseError, match=f"in use by process {os.getpid()} on "):
            sequence.run(config, tmp_path, tmp_path)
        assert [path.name for path in tmp_path.iterdir()] == [LOCK]


def test_the_lock_is_released_by_a_run_that_fails(config, tmp_path):
    (tmp_path / "corpus").mkdir()
    (tmp_path / "corpus" / "store").write_text("")
    (tmp_path / "corpus" / "config.json").write_text(json.dumps({"of": "another"}))
    with pytest.raises(ValueError, match="made with other settings"):
        sequence.run(config, tmp_path, tmp_path)
    assert not (tmp_path / LOCK).exists()


def test_a_stage_of_shared_inputs_is_made_by_one_run(config, tmp_path):
    with sole_writer(tmp_path / "corpus"):
        with pytest.raises(InUseError, match="corpus is in use by process"):
            corpus.build(config, tmp_path)
        assert not (tmp_path / "corpus" / "store").exists()
