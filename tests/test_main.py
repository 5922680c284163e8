"""The command as a user calls it: the whole paper on a tiny release; its errors."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
TINY = (
    "--config=configs/quickstart.py",
    "--config.data.drawing.train_subjects=10",
    "--config.data.drawing.validation_subjects=4",
    "--config.data.drawing.seconds=13.0",
    "--config.data.drawing.fps=10",
    "--config.data.image_size=32",
    "--config.image_encoder.size=32",
    "--config.backbone.epochs=1",
    "--config.backbone.image_samples=64",
    "--config.backbone.sound_samples=32",
    "--config.backbone.batch_size=16",
    "--config.heads.extractor_sizes=(16,)",
    "--config.heads.head_sizes=(8,)",
    "--config.heads.discriminator_sizes=(8,)",
    "--config.heads.lstm_size=8",
    "--config.train.epochs=2",
)


def run(*arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "abaw_jax.main", *arguments],
        cwd=ROOT,
        env={**os.environ, "JAX_PLATFORMS": "cpu", "COLUMNS": "120"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("runs") / "tiny"
    first = run(*TINY, f"--workdir={workdir}")
    assert first.returncode == 0, first.stdout + first.stderr
    return workdir, first.stdout


@pytest.mark.slow
def test_the_paper_runs_from_nothing_to_a_table(finished):
    workdir, shown = finished
    result = json.loads((workdir / "result.json").read_text())
    for row in ("teacher", "student", "chance"):
        scores = result[row]
        assert scores["va"] == pytest.approx(
            (scores["valence"] + scores["arousal"]) / 2
        )
        assert 0 <= scores["expr"] <= 1 and 0 <= scores["au"] <= 1
    assert "settings" in result
    for word in ("corpus", "encoder", "features", "teacher", "student", "chance"):
        assert word in shown
    pictures = {path.name for path in (workdir / "plots").iterdir()}
    assert {"curves.png", "summary.png", "expressions.png"} <= pictures
    for role in ("teacher", "student"):
        assert list((workdir / role / "events").iterdir())
        assert (workdir / role / "metrics.jsonl").stat().st_size


@pytest.mark.slow
def test_a_second_call_finds_everything_done(finished):
    workdir, _ = finished
    watched = [*workdir.rglob("metrics.jsonl"), workdir / "result.json"]
    before = {path: path.stat().st_mtime_ns for path in watched}
    again = run(*TINY, f"--workdir={workdir}")
    assert again.returncode == 0, again.stderr
    assert again.stdout.count("ready") == 6
    assert {path: path.stat().st_mtime_ns for path in watched} == before


@pytest.mark.slow
def test_other_settings_are_refused_by_name(finished):
    workdir, _ = finished
    other = run(*TINY, f"--workdir={workdir}", "--config.loss.temperature=1.0")
    assert other.returncode == 1
    assert "loss.temperature was 2.5, now 1.0" in other.stderr
    assert "Traceback" not in other.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["--config=configs/student.py"], 1, "configs/quickstart.py"),
        (["--config=configs/teacher.py"], 1, "--config.data.release=DIR"),
        (["--config=configs/teacher.py", "--config.train.epoch=3"], 2, '"epochs"'),
        (["--config=configs/teacher.py", "--config.train.epochs=x"], 1, "epochs=x"),
        (["--config=configs/none.py"], 1, "configs/none.py"),
        (
            ["--config=configs/teacher.py", "--config.data.release=/none"],
            1,
            "/none",
        ),
        ([], 1, "--config=configs/quickstart.py"),
    ],
)
def test_wrong_input_is_told_in_one_sentence(tmp_path, arguments, code, told):
    failed = run(*arguments, f"--workdir={tmp_path}")
    assert (failed.returncode, "Traceback" in failed.stderr) == (code, False)
    assert told in failed.stdout + failed.stderr
