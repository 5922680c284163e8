"""Stages are skipped when they match and never overwrite what does not."""

import json
from pathlib import Path

import pytest

from abaw_jax.stages.artefact import Artefact, MismatchError, write_json

SETTINGS = {"train": {"epochs": 20, "sizes": (3, 4)}, "store": "abc"}


def test_a_stage_is_complete_only_after_finish(tmp_path):
    artefact = Artefact(tmp_path / "teacher", SETTINGS)
    assert not artefact.begin()
    assert not artefact.begin()  # a killed stage goes on
    artefact.finish({"score": 1.5})
    assert Artefact(tmp_path / "teacher", SETTINGS).begin()
    done = json.loads((tmp_path / "teacher" / "done.json").read_text())
    assert done == {"fingerprint": artefact.fingerprint, "score": 1.5}


@pytest.mark.parametrize("finished", [True, False])
def test_another_setting_is_named_with_both_values(tmp_path, finished):
    artefact = Artefact(tmp_path / "teacher", SETTINGS)
    artefact.begin()
    if finished:
        artefact.finish()
    changed = {"train": {"epochs": 10, "sizes": (3, 4)}, "store": "abc"}
    with pytest.raises(MismatchError, match=r"train\.epochs was 20, now 10\. .*delete"):
        Artefact(tmp_path / "teacher", changed).begin()


def test_a_long_list_is_told_by_what_differs_in_it(tmp_path):
    members = [{"loss.discriminator": [0.0, 1.0], "seed": seed} for seed in range(9)]
    Artefact(tmp_path, {"members": members}).begin()
    longer = Artefact(tmp_path, {"members": [*members, {"seed": 9}]})
    with pytest.raises(MismatchError, match=r"members was a list of 9, now a list of"):
        longer.begin()
    members[3] = {**members[3], "seed": 30}
    with pytest.raises(
        MismatchError, match=r"settings: members\.3\.seed was 3, now 30"
    ):
        Artefact(tmp_path, {"members": members}).begin()


def test_a_setting_that_came_or_went_is_a_difference(tmp_path):
    Artefact(tmp_path, SETTINGS).begin()
    with pytest.raises(MismatchError, match="store was abc, now None"):
        Artefact(tmp_path, {"train": SETTINGS["train"]}).begin()


def test_fingerprints_follow_the_content_not_the_order():
    same = {"store": "abc", "train": {"sizes": [3, 4], "epochs": 20}}
    one = Artefact(Path("a"), SETTINGS).fingerprint
    assert Artefact(Path("b"), same).fingerprint == one
    assert Artefact(Path("a"), {**SETTINGS, "store": "abd"}).fingerprint != one


def test_a_broken_record_is_named(tmp_path):
    artefact = Artefact(tmp_path, SETTINGS)
    artefact.begin()
    (tmp_path / "config.json").write_text('{"train": ')
    with pytest.raises(ValueError, match=r"config\.json cannot be read .*delete"):
        artefact.begin()


def test_json_is_replaced_whole(tmp_path):
    path = tmp_path / "result.json"
    write_json(path, {"a": 1})
    with pytest.raises(TypeError):
        write_json(path, {"a": object()})
    assert json.loads(path.read_text()) == {"a": 1}
    write_json(path, {"a": 2})
    assert [p.name for p in tmp_path.iterdir()] == ["result.json"]
