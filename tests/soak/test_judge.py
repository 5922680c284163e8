"""The judge of the soak: what is wrong is called so, and a few rounds are played."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.soak.end_state import differences
from tests.soak.ended_call import Ended
from tests.soak.judge import (
    HUNG,
    IDENTICAL,
    LOST,
    REFUSED,
    TRACEBACK,
    WRONG,
    first_epochs,
    judge_call,
    judge_end,
    saved_epochs,
)

REFERENCE = {
    "result.json": "a",
    "teacher/networks/0": "b",
    "teacher/metrics.jsonl": "c",
}
SENTENCE = "abaw_jax: store /s is damaged: labels/a.npy; delete what is named"


def ended(code, shown=""):
    return Ended(code, shown, 0.0, 3.0)


@pytest.mark.parametrize(
    ("found", "why"),
    [
        (REFERENCE | {"result.json": "z"}, "result.json differs"),
        (REFERENCE | {"teacher/networks/0": "z"}, "teacher/networks/0 differs"),
        (REFERENCE | {"a.partial": "z"}, "a.partial is left over"),
        ({"result.json": "a", "teacher/networks/0": "b"}, "metrics.jsonl is missing"),
    ],
)
def test_another_end_state_is_wrong(found, why):
    outcome, said = judge_end(found, REFERENCE, set(), [])
    assert outcome == WRONG and said.endswith(why)
    name = next(name for name, _ in differences(found, REFERENCE))
    assert judge_end(found, REFERENCE, {name}, []) == (IDENTICAL, "")


def test_the_same_end_state_is_identical_or_was_refused_before():
    assert judge_end(REFERENCE, REFERENCE, set(), []) == (IDENTICAL, "")
    assert judge_end(REFERENCE, REFERENCE, set(), [SENTENCE]) == (REFUSED, SENTENCE)


EPOCHS = "teacher  2/3  loss 1.0\nteacher  3/3  loss 0.9\nimage encoder 1/2  loss 2\n"


@pytest.mark.parametrize(
    ("call", "outcome"),
    [
        (ended(None), HUNG),
        (ended(1, "Traceback (most recent call last):\n  f\nKeyError: 1"), TRACEBACK),
        (ended(-11, "abaw_jax: /a"), WRONG),
        (ended(1, "something went wrong"), WRONG),
        (ended(1, "abaw_jax: something went wrong"), WRONG),
        (ended(0, EPOCHS), LOST),
        (ended(0, EPOCHS.replace("teacher  2/3  loss 1.0\n", "")), None),
        (ended(1, SENTENCE), None),
    ],
)
def test_a_call_is_judged_by_what_it_printed(call, outcome):
    verdict = judge_call(call, {"teacher": 2})
    assert (verdict and verdict[0]) == outcome


def test_epochs_are_counted_from_what_is_printed_and_saved(tmp_path):
    assert first_epochs(EPOCHS) == {"teacher": 2, "backbone/image": 1}
    for step, epoch in ((2, 1), (5, 2)):
        record = tmp_path / "teacher" / "checkpoints" / str(step) / "record"
        record.mkdir(parents=True)
        position = {"position": {"epoch": epoch, "chunk": 1}}
        (record / "metadata").write_text(json.dumps(position))
    assert saved_epochs(tmp_path, [])["teacher"] == 2
    assert saved_epochs(tmp_path, [record / "metadata"])["teacher"] == 1
    (tmp_path / "teacher" / "done.json").touch()
    assert saved_epochs(tmp_path, [])["teacher"] == 3


@pytest.mark.slow
def test_two_minutes_of_rounds_end_as_the_undisturbed_run_or_in_a_sentence(tmp_path):
    out = tmp_path / "rounds.json"
    done = subprocess.run(
        [sys.executable, "-m", "tests.soak", "--short", "--rounds=99", "--minutes=2"]
        + ["--seed=29", f"--work={tmp_path / 'work'}", f"--out={out}"],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    rounds = json.loads(out.read_text())["rounds"]
    assert [each["number"] for each in rounds] == [*range(len(rounds))] != []
