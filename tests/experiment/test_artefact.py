"""Stages are skipped when they match and never overwrite what does not."""

import json
from pathlib import Path

import pytest

from abaw_jax.experiment.artefact import Artefact, MismatchError
from abaw_jax.json_files import read_json, write_json

SETTINGS = {"train": {"epochs": 20, "sizes": (3, 4)}, "store": "abc"}


def test_a_stage_is_complete_only_after_finish(tmp_path):
    artefact = Artefact(tmp_path / "teacher", SETTINGS)
    assert not artefact.begin()
    assert not artefact.begin()  # a killed stage goes on
    artefact.finish({"score": 1.5})
    assert Artefact(tmp_path / "teacher", SETTINGS).begin()
    done = read_json(tmp_path / "teacher" / "done.json")
    assert done == {"fingerprint": artefact.fingerprint, "score": 1.5}


def result(directory):
    (directory / "networks").mkdir(parents=True)
    (directory / "networks" / "0").write_text("weights")


@pytest.mark.parametrize("finished", [True, False])
def test_another_setting_is_named_with_both_values(tmp_path, finished):
    artefact = Artefact(tmp_path / "teacher", SETTINGS)
    artefact.begin()
    result(artefact.directory)
    if finished:
        artefact.finish()
    changed = {"train": {"epochs": 10, "sizes": (3, 4)}, "store": "abc"}
    with pytest.raises(MismatchError, match=r"train\.epochs was 20, now 10\. .*delete"):
        Artefact(tmp_path / "teacher", changed).begin()


def test_a_call_without_a_result_keeps_no_other_out(tmp_path):
    """A typing error, then the right setting, in the same folder."""
    Artefact(tmp_path, SETTINGS).begin()
    left = ("metrics.jsonl", "events/events.out.tfevents.1", "store/.lock")
    for name in (*left, "checkpoints/4.orbax-checkpoint-tmp/model/d/1"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    right = Artefact(tmp_path, {**SETTINGS, "store": "right"})
    assert not right.begin()
    right.finish()
    assert right.begin()
    with pytest.raises(MismatchError, match="the data have changed since"):
        Artefact(tmp_path, SETTINGS).begin()


def test_a_finished_stage_is_known_by_its_fingerprint_alone(tmp_path):
    artefact = Artefact(tmp_path, SETTINGS)
    artefact.begin()
    result(tmp_path)
    artefact.finish()
    for damage in ("", "{", None):
        (tmp_path / "config.json").unlink()
        if damage is not None:
            (tmp_path / "config.json").write_text(damage)
        with pytest.raises(MismatchError, match=r"config\.json is missing or damaged"):
            Artefact(tmp_path, {**SETTINGS, "store": "other"}).begin()
        assert artefact.begin()
        assert json.loads((tmp_path / "config.json").read_text())["store"] == "abc"


def test_results_of_unknown_settings_are_not_continued(tmp_path):
    result(tmp_path)
    with pytest.raises(MismatchError, match=r"config\.json is missing or damaged"):
        Artefact(tmp_path, SETTINGS).begin()


def test_a_stage_whose_end_is_damaged_is_ended_again(tmp_path):
    artefact = Artefact(tmp_path, SETTINGS)
    artefact.begin()
    result(tmp_path)
    artefact.finish()
    (tmp_path / "done.json").write_bytes(b"")
    assert not artefact.begin()
    artefact.finish()
    assert artefact.begin()


def test_an_end_of_other_settings_is_no_end(tmp_path):
    artefact = Artefact(tmp_path, SETTINGS)
    artefact.begin()
    artefact.finish()
    (tmp_path / "config.json").write_text('{"store": "other"}')
    with pytest.raises(MismatchError, match=r"so says its done\.json"):
        Artefact(tmp_path, {"store": "other"}).begin()


def test_a_long_list_is_reported_by_what_differs_in_it(tmp_path):
    members = [{"loss.discriminator": [0.0, 1.0], "seed": seed} for seed in range(9)]
    Artefact(tmp_path, {"members": members}).begin()
    result(tmp_path)
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
    result(tmp_path)
    with pytest.raises(MismatchError, match=r"train was .*, now None"):
        Artefact(tmp_path, {"store": SETTINGS["store"]}).begin()


def test_a_release_that_changed_is_told_without_its_digests(tmp_path):
    release = {"release": "/r", "content": {"files": 7, "digest": "12ab"}}
    Artefact(tmp_path, release).begin()
    result(tmp_path)
    changed = release | {"content": {"files": 8, "digest": "34cd"}}
    said = "files of the release were added, removed or changed since"
    with pytest.raises(MismatchError, match=rf"other settings: {said}\. Choose"):
        Artefact(tmp_path, changed).begin()


def test_fingerprints_follow_the_content_not_the_order():
    same = {"store": "abc", "train": {"sizes": [3, 4], "epochs": 20}}
    one = Artefact(Path("a"), SETTINGS).fingerprint
    assert Artefact(Path("b"), same).fingerprint == one
    assert Artefact(Path("a"), {**SETTINGS, "store": "abd"}).fingerprint != one


def test_json_is_replaced_whole(tmp_path):
    path = tmp_path / "result.json"
    write_json(path, {"a": 1})
    with pytest.raises(TypeError):
        write_json(path, {"a": object()})
    assert read_json(path) == {"a": 1}
    write_json(path, {"a": 2})
    assert [p.name for p in tmp_path.iterdir()] == ["result.json"]


def test_any_changed_byte_of_json_is_noticed_or_harmless(tmp_path):
    path, values = tmp_path / "result.json", {"a": [1.25, None], "sha": {"b": "c"}}
    write_json(path, values)
    whole, noticed = path.read_bytes(), 0
    for place in range(len(whole)):
        for bit in range(8):
            data = bytearray(whole)
            data[place] ^= 1 << bit
            path.write_bytes(data)
            found = read_json(path)
            assert found in (None, values)
            noticed += found is None
    assert noticed > 0.7 * 8 * len(whole)


def test_json_without_a_digest_is_read_as_before(tmp_path):
    (tmp_path / "a.json").write_text('{"store": "abc"}')
    assert read_json(tmp_path / "a.json") == {"store": "abc"}
