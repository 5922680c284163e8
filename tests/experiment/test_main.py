"""The command as a user calls it: the whole paper on a tiny release; its errors."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

import abaw_jax
from abaw_jax import main
from abaw_jax.faces.observations import observe
from abaw_jax.inference import formats, scoring
from abaw_jax.inference.list_predictions import predict_lists
from abaw_jax.inference.prediction import UNIT_NAMES, predict
from abaw_jax.inference.run_export import export
from abaw_jax.releases.media import read_recording
from abaw_jax.tasks import AFFECT, EXPRESSIONS
from configs import base

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
TINY = (
    "--config=configs/quickstart.py",
    "--config.windows.sound_pad=drop",
    "--config.data.drawing.train_subjects=10",
    "--config.data.drawing.validation_subjects=4",
    "--config.data.drawing.seconds=13.0",
    "--config.data.drawing.fps=10",
    "--config.data.image_size=32",
    "--config.image_encoder.size=32",
    "--config.image_encoder.stage_sizes=(1,1)",
    "--config.image_encoder.widths=(16,32)",
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


def run(
    *arguments: str, command: str = "main", under: Sequence[str] = ()
) -> subprocess.CompletedProcess:
    """Calls a command of the package, as an argument of the program ``under``."""
    return subprocess.run(
        [*under, sys.executable, "-m", f"abaw_jax.{command}", *arguments],
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


def test_the_paper_runs_from_nothing_to_a_table(finished):
    workdir, shown = finished
    result = json.loads((workdir / "result.json").read_text())
    for row in ("teacher", "student", "linear_probe", "chance"):
        scores = result[row]
        assert scores["va"] == pytest.approx(
            (scores["valence"] + scores["arousal"]) / 2
        )
        assert 0 <= scores["expr"] <= 1 and 0 <= scores["au"] <= 1
        if row in ("teacher", "student"):
            for key, (score, low, high) in result["intervals"][row].items():
                assert score == pytest.approx(scores[key], abs=2e-4)
                assert low is high is None  # of two videos
    assert "settings" in result and "student - teacher" in result["intervals"]
    for word in (
        "corpus",
        "encoder",
        "features",
        "teacher",
        "student",
        "chance",
        "probe",
    ):
        assert word in shown
    pictures = {path.name for path in (workdir / "plots").iterdir()}
    assert {"curves.png", "summary.png", "expressions.png"} <= pictures
    for role in ("teacher", "student"):
        assert list((workdir / role / "events").iterdir())
        assert (workdir / role / "metrics.jsonl").stat().st_size


def tables(shown):
    """What is printed last, from the head of the first table on."""
    lines = shown.splitlines()
    heads = [
        k for k, line in enumerate(lines) if line.split()[:3] == ["EXPR", "AU", "VA"]
    ]
    assert len(lines) > heads[0] + 5
    return lines[heads[0] :]


def test_a_second_call_finds_everything_done(finished):
    workdir, _ = finished
    watched = [*workdir.rglob("metrics.jsonl"), workdir / "result.json"]
    before = {path: path.stat().st_mtime_ns for path in watched}
    again = run(*TINY, f"--workdir={workdir}")
    assert again.returncode == 0, again.stderr
    assert again.stdout.count("ready") == 7
    assert tables(again.stdout) == tables(finished[1])
    assert "\nplan  " in finished[1]
    assert "\ndata  " not in again.stdout and "\nplan  " not in again.stdout
    assert {path: path.stat().st_mtime_ns for path in watched} == before


def test_the_network_is_exported_and_scores_as_in_its_run(finished, tmp_path):
    workdir, _ = finished
    model, out = tmp_path / "model", tmp_path / "out"
    exported = run(
        f"--workdir={workdir}",
        f"--model={model}",
        "--formats=stablehlo,onnx",
        command="export",
    )
    assert exported.returncode == 0, exported.stderr
    assert exported.stderr == ""
    assert exported.stdout.count("largest difference") == 6
    assert len([*model.glob("*.onnx"), *model.glob("*.stablehlo")]) == 6
    again = run(
        f"--model={model}",
        f"--store={workdir / 'corpus/store'}",
        f"--out={out}",
        command="evaluate",
    )
    assert again.returncode == 0, again.stderr
    there, here = (
        json.loads((folder / "result.json").read_text()) for folder in (workdir, out)
    )
    for key, score in here["student"].items():
        assert score == pytest.approx(there["student"][key], abs=1e-6)
    assert set(here["classes"]["expressions"]) >= {"Neutral", "Other"}
    check_report(workdir, out, again.stdout)
    mean = np.mean([*here["classes"]["action units"].values()])
    assert mean == pytest.approx(here["student"]["au"], abs=1e-6)
    for name in ("va", "mtl"):
        ours, theirs = (
            np.load(folder / "predictions" / f"{name}.npz") for folder in (out, workdir)
        )
        assert sorted(ours.files) == sorted(theirs.files)
        np.testing.assert_array_equal(ours["frame"], theirs["frame"])
        for key in ("va", "expr", "au"):
            np.testing.assert_allclose(ours[key], theirs[key], atol=1e-6)
    check_test_lists(model, workdir, out)
    release = workdir / "corpus/release"
    check_rows_of_a_video(model, release, theirs["subject"][0], theirs)


def check_report(workdir, out, shown):
    """The page is named last; a run's curves are drawn where its folder is named."""
    assert shown.splitlines()[-1] == str(out / "report.html")
    page = (out / "report.html").read_text()
    for part in ("scores", "affect", "expressions", "units", "videos", "settings"):
        assert f"<h2 id={part}>" in page
    assert "<h2 id=training>" not in page
    curves = scoring.curves_of(workdir)
    assert list(curves["records"]) == ["teacher", "student"]
    assert curves["levels"].keys() == {"chance", "linear_probe"}
    assert scoring.curves_of(out) is None


def check_test_lists(model, workdir, out):
    """Frames of the test lists have the values that the run predicted."""
    config = base.get_config()
    config.data.store = str(workdir / "corpus/store")
    track = predict_lists(model, config, out, {}, edition=8)["va"]
    there = np.load(workdir / "predictions" / "test_va.npz")
    frames = zip(there["subject"], there["frame"], strict=True)
    wanted = dict(zip(frames, there["va"], strict=True))
    assert 0 <= track.carried == len(track.frames) - len(wanted)
    for frame, va in zip(track.frames, track.va, strict=True):
        np.testing.assert_allclose(va, wanted.get(frame, va), atol=1e-6)


def check_rows_of_a_video(model, release, subject, scored):
    """Rows from a video and its crops are the predictions of the evaluation."""
    (video,) = (
        path
        for path in release.glob("batch*/*")
        if subject.removesuffix("_left").removesuffix("_right") == path.stem
    )
    recording = read_recording(video)
    crops = release / "cropped_aligned" / subject
    seen = observe(video, str(crops), 32, recording, lambda number: True)
    loaded = abaw_jax.load(model)
    rows = list(predict(loaded, seen, recording))
    assert [row["frame"] for row in rows] == [*range(1, len(rows) + 1)]
    here = scored["subject"] == subject
    chosen = [rows[frame - 1] for frame in scored["frame"][here]]
    assert chosen
    for key, names in (
        ("va", AFFECT),
        ("expr", EXPRESSIONS),
        ("au", UNIT_NAMES),
    ):
        found = [[row[name] for name in names] for row in chosen]
        np.testing.assert_allclose(found, scored[key][here], atol=1e-5)


@pytest.mark.parametrize(
    ("below", "role", "message"),
    [
        ("", "other", "has no finished other; it has student, teacher"),
        ("student", "student", r"student has no readable run\.json"),
    ],
)
def test_only_a_finished_network_is_exported(finished, tmp_path, below, role, message):
    with pytest.raises(ValueError, match=message):
        export(finished[0] / below, role, tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_files_that_differ_from_the_network_leave_no_folder(
    finished, tmp_path, monkeypatch
):
    monkeypatch.setattr(formats, "BOUND", -1.0)
    with pytest.raises(ValueError, match="nothing was written"):
        export(finished[0], "student", tmp_path / "model", ["onnx"])
    assert not [*tmp_path.iterdir()]


def test_what_was_deleted_of_the_results_is_made_again(finished):
    workdir, shown = finished
    result = json.loads((workdir / "result.json").read_text())
    made = [workdir / name for name in result["files"]]
    assert {path.parent.name for path in made} == {"plots", "predictions"}
    pictures = {path: path.read_bytes() for path in made if path.suffix == ".png"}
    for path in made:
        path.unlink()
    (workdir / "teacher" / "config.json").write_bytes(b"")
    again = run(*TINY, f"--workdir={workdir}")
    assert again.returncode == 0, again.stderr
    assert tables(again.stdout) == tables(shown)
    assert {path: path.read_bytes() for path in pictures} == pictures
    for damaged in ("{", "{}"):
        (workdir / "result.json").write_text(damaged)
        again = run(*TINY, f"--workdir={workdir}")
        assert again.returncode == 0 and "delete" not in again.stdout + again.stderr
        assert "teacher: " not in again.stdout  # nothing is trained again
        assert json.loads((workdir / "result.json").read_text()) == result


def test_predictions_name_their_columns_and_hold_the_labels(finished):
    """Also of the test list, whose frames have none."""
    workdir, _ = finished
    with np.load(workdir / "predictions" / "va.npz") as found:
        assert [*found["va_columns"]] == ["valence", "arousal"]
        assert len(found["expr_columns"]) == found["expr"].shape[1] == 8
        assert found["va_where"].all() and np.abs(found["va_label"]).max() <= 1
    tests = sorted((workdir / "predictions").glob("test_*.npz"))
    assert tests
    for path in tests:
        with np.load(path) as found:
            assert len(found["frame"]) == len(found["va"]) > 0
            assert not found["va_where"].any() and not found["au_where"].any()


def test_rows_that_train_and_chosen_epochs_are_shown_and_kept(finished):
    workdir, shown = finished
    training = json.loads((workdir / "result.json").read_text())["training"]
    for role in ("teacher", "student"):
        (member,) = training[role]["members"]
        assert 1 <= member["chosen_epoch"] <= member["epochs"] == 2
        assert member["ended"] == "epochs"
        assert f"seed 0: epoch {member['chosen_epoch']} of 2" in shown
    rows = training["student"]["rows"]
    assert rows["va"]["trained"] < rows["va"]["labelled"]
    line = next(line.split() for line in shown.splitlines() if " va " in line)
    wanted = [f"{rows['va'][key]:,}" for key in ("labelled", "trained")]
    assert line[:2] == ["va", "train"] and line[4:6] == wanted
    assert "its 10 s of sound (config.windows.sound_pad)" in shown


@pytest.mark.parametrize(
    ("task", "stream", "head"),
    [("VA", "image", ["VA", "V", "A"]), ("EXPR", "sound", ["EXPR"])],
)
def test_a_release_of_one_task_trains_and_is_scored(
    finished, tmp_path, task, stream, head
):
    """From one stream alone: nothing else is asked for, made or shown."""
    release = tmp_path / "release"
    shutil.copytree(finished[0] / "corpus" / "release", release)
    for folder in next(release.glob("*Annotations")).iterdir():
        if task not in folder.name:
            shutil.rmtree(folder)
    workdir = tmp_path / "run"
    done = run(
        *TINY,
        f"--config.data.release={release}",
        f"--workdir={workdir}",
        f"--config.streams=('{stream}',)",
    )
    assert done.returncode == 0, done.stdout + done.stderr
    result = json.loads((workdir / "result.json").read_text())
    scored = {"VA": {"va", "valence", "arousal"}, "EXPR": {"expr"}}[task]
    everything = {"va", "valence", "arousal", "expr", "au", "mtl", "discriminator"}
    assert everything & result["student"].keys() == scored
    lines = [line.split() for line in done.stdout.splitlines()]
    assert head in lines
    assert "MTL" not in done.stdout and "synthetic" not in done.stdout
    for stage in ("backbone", "features"):
        assert [path.name for path in (workdir / stage).iterdir()] == [stream]
    pictures = {path.name for path in (workdir / "plots").iterdir()}
    shown = {"VA": "valence_arousal.png", "EXPR": "expressions.png"}[task]
    assert pictures == {"curves.png", shown}


def test_other_settings_are_refused_by_name(finished):
    workdir, _ = finished
    other = run(*TINY, f"--workdir={workdir}", "--config.loss.temperature=1.0")
    assert other.returncode == 1
    assert "loss.temperature was 2.5, now 1.0" in other.stderr
    assert "Traceback" not in other.stderr


def with_the_same_encoders(inputs, workdir):
    """A run of its own that need not train encoders again."""
    return f"--inputs={inputs}", f"--workdir={workdir}"


@pytest.mark.parametrize(
    ("config", "folder"),
    [
        ("configs/student.py", "runs/student"),
        ("configs/table1.py:small", "runs/table1-small"),
        ("/mine/a.b.py:x/y", "runs/a.b-x-y"),
    ],
)
def test_variants_of_a_configuration_have_folders_of_their_own(config, folder):
    assert main.default_workdir(config) == Path(folder)


def test_encoders_train_end_to_end_in_microbatches(finished, tmp_path):
    target = with_the_same_encoders(finished[0], tmp_path / "run")
    end_to_end = (
        *(*TINY, *target, "--config.regime=end_to_end", "--config.until=teacher"),
        *("--config.streams=('image',)", "--config.train.batch_size=16"),
        *("--config.train.epochs=1", "--config.end_to_end.microbatches=2"),
    )
    refused = run(*end_to_end)
    assert refused.returncode == 1
    assert "set config.end_to_end.statistics=running" in refused.stderr
    done = run(*end_to_end, "--config.end_to_end.statistics=running")
    assert done.returncode == 0, done.stdout + done.stderr
    lines = (tmp_path / "run/teacher/metrics.jsonl").read_text().splitlines()
    rounds = [each for each in map(json.loads, lines) if "va/loss" in each]
    assert rounds and np.isfinite([each["va/loss"] for each in rounds]).all()
    check_scores_of_encoders_and_heads(tmp_path, finished[0], json.loads(lines[-1]))


def check_scores_of_encoders_and_heads(folder, corpus, validated):
    """Taken apart and evaluated from features, the network scores as it did whole."""
    export(folder / "run", "teacher", folder / "model")
    config = base.get_config()
    config.data.store = str(corpus / "corpus/store")
    found = scoring.evaluate(folder / "model", config, folder / "out")
    for key in ("valence", "arousal", "expr", "au"):
        assert found["teacher"][key] == pytest.approx(validated[key], abs=1e-4)


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)]
)
def test_a_signal_ends_training_with_a_checkpoint(finished, tmp_path, number, code):
    target = with_the_same_encoders(finished[0], tmp_path / "run")
    endless = "--config.train.epochs=5000", "--config.train.patience=5000"
    process = subprocess.Popen(
        [sys.executable, "-m", "abaw_jax.main", *TINY, *target, *endless],
        cwd=ROOT,
        env={**os.environ, "JAX_PLATFORMS": "cpu", "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    with process:
        assert process.stdout is not None
        next(line for line in process.stdout if re.match(r"teacher +2/5000 ", line))
        process.send_signal(number)
        shown, _ = process.communicate(timeout=20)
    assert process.returncode == code
    name = signal.Signals(number).name
    said = rf"abaw_jax: stopped by {name}; all is saved up to .*; the same command"
    assert re.search(said, shown.splitlines()[-1])
    steps = [path.name for path in (tmp_path / "run/teacher/checkpoints").iterdir()]
    assert steps and all(map(str.isdigit, steps))


def copy_of_networks(finished, tmp_path):
    """Arguments for a run with networks, but without results; and its folder."""
    workdir = tmp_path / "run"
    for role in ("teacher", "student"):
        shutil.copytree(finished[0] / role, workdir / role)
    return *TINY, *with_the_same_encoders(finished[0], workdir), workdir


def test_raised_epochs_go_on_from_what_is_finished(finished, tmp_path):
    """The student does; the teacher that it learned from stays as it is."""
    *same, workdir = copy_of_networks(finished, tmp_path)
    before = (workdir / "student" / "metrics.jsonl").read_text()
    teacher = (workdir / "teacher" / "metrics.jsonl").read_bytes()
    done = run(*same, "--config.train.epochs=3")
    assert done.returncode == 0, done.stderr
    assert (workdir / "teacher" / "metrics.jsonl").read_bytes() == teacher
    after = (workdir / "student" / "metrics.jsonl").read_text()
    assert after.startswith(before)
    lines = after.removeprefix(before).splitlines()
    assert {json.loads(line)["epoch"] for line in lines} == {3}
    limits = [
        json.loads((workdir / role / "config.json").read_text())
        for role in ("teacher", "student")
    ]
    assert [each["train"]["epochs"] for each in limits] == [2, 3]
    assert limits[1]["raised_from"][0]["train.epochs"] == 2
    assert "raised_from" not in limits[0]


def test_training_starts_from_the_network_of_another_run(finished, tmp_path):
    """What has other sizes starts fresh and is named; damage is refused."""
    teacher = Path(shutil.copytree(finished[0] / "teacher", tmp_path / "teacher"))
    target = with_the_same_encoders(finished[0], tmp_path / "run")
    tuned = *TINY, *target, "--config.until=teacher", f"--config.train.init={teacher}"
    done = run(*tuned, "--config.heads.head_sizes=(4,)")
    assert done.returncode == 0, done.stderr
    said = next(line for line in done.stdout.splitlines() if "starts from" in line)
    assert str(teacher) in said and said.endswith("starts fresh")
    assert "image_au/block2/dense" in said and "block1" not in said
    record = json.loads((tmp_path / "run" / "teacher" / "config.json").read_text())
    assert re.fullmatch("[0-9a-f]{16}", record["init"])
    for path in teacher.glob("networks/0/d/*"):
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
    damaged = run(*tuned, f"--workdir={tmp_path / 'damaged'}")
    assert damaged.returncode == 1 and "Traceback" not in damaged.stderr
    assert f"{teacher}/networks/0" in " ".join(damaged.stderr.split())


def test_a_user_without_a_name_and_a_home_runs_the_command(finished, tmp_path):
    """As in a container: the results are made and the pictures drawn."""
    tmp_path.chmod(0o777)
    keep = "+dac_override,+dac_read_search"  # root's right to enter all folders
    under = [
        *("env", "--unset=HOME", "--unset=XDG_CACHE_HOME", "--unset=MPLCONFIGDIR"),
        *("--unset=JAX_COMPILATION_CACHE_DIR", f"TMPDIR={tmp_path}", "setpriv"),
        *("--reuid=54321", "--regid=54321", "--clear-groups"),
        *(f"--inh-caps={keep}", f"--ambient-caps={keep}"),
    ]
    if shutil.which("setpriv") is None or subprocess.run([*under, "true"]).returncode:
        pytest.skip("this user may not become another one")
    *same, workdir = copy_of_networks(finished, tmp_path)
    done = run(*same, under=under)
    assert done.returncode == 0, done.stderr
    # Matplotlib says where its list of fonts is.
    assert all("matplotlib" in line for line in done.stderr.splitlines())
    assert (workdir / "plots" / "summary.png").stat().st_uid == 54321
    assert (tmp_path / "abaw_jax-54321" / "programs").is_dir()


def test_generations_of_ensembles_learn_from_each_other(finished, tmp_path):
    """Two generations of two students; one more run tunes, and drops the labels."""
    target = with_the_same_encoders(finished[0], tmp_path / "run")
    shutil.copytree(finished[0] / "teacher", tmp_path / "run" / "teacher")
    done = run(
        *(*TINY, *target, "--config.kd.generations=2", "--config.kd.ensemble=2"),
        "--config.evaluation.batch_mean=True",
    )
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert len(result["members"]["student2"]) == 2
    assert "student2 - teacher" in result["intervals"]
    assert "NOT the official measures" in done.stdout and "batch_mean" in result
    lineage = [
        json.loads((tmp_path / "run" / role / name).read_text())
        for role in ("student", "student2")
        for name in ("done.json", "config.json")
    ]
    assert lineage[3]["teacher"] == lineage[0]["fingerprint"]
    assert (lineage[1]["generation"], lineage[3]["generation"]) == (1, 2)
    seeds = [m["seed"] for m in lineage[3]["members"]]
    assert seeds[0] == 0 and len(set(seeds)) == 2
    with np.load(tmp_path / "run" / "predictions" / "mtl.npz") as found:
        assert found["expr"].shape == (len(found["frame"]), 8)
        np.testing.assert_allclose(found["expr"].sum(1), 1, rtol=1e-5)
        assert (found["va_spread"] > 0).any() and (
            found["expr_disagreement"] >= 0
        ).all()
        assert (found["expr_entropy"] <= np.log(8) + 1e-6).all()


def test_thresholds_are_tuned_on_videos_that_do_not_train(finished, tmp_path):
    target = with_the_same_encoders(finished[0], tmp_path / "run")
    tuned = run(
        *(
            *TINY,
            *target,
            "--config.evaluation.held_out=0.3",
            "--config.evaluation.selection=held_out",
            "--config.kd.cache_soft_labels=0",
        )
    )
    assert tuned.returncode == 0, tuned.stderr
    # Corpus, encoders and features stay where they were made.
    folders = {path.name for path in (tmp_path / "run").iterdir() if path.is_dir()}
    assert folders == {"teacher", "student", "linear_probe", "plots", "predictions"}
    assert "trained per frame" not in tuned.stdout
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert set(result["tuned"]) == {"teacher", "student"}
    assert len(result["tuned"]["student"]["thresholds"]) == 12
    assert "with thresholds tuned on held-out videos" in tuned.stdout
    # They choose the epoch too: the validation sets were scored once, at the end.
    assert "The epoch was chosen by these" in finished[1]
    assert "The epoch was chosen by these" not in tuned.stdout
    last = json.loads(
        (tmp_path / "run" / "teacher" / "metrics.jsonl").read_text().splitlines()[-1]
    )
    # Among the held-out people none has valence; every validation set's score has.
    assert "mtl" in result["teacher"] and "valence" not in last


POPULATION = """
from configs import quickstart

def get_config():
    config = quickstart.get_config()
    config.population = tuple(
        {"loss.discriminator": delta, "seed": seed}
        for delta in ((0.0, 0.0), (0.0, 1.0)) for seed in (0, 1)
    )
    return config
"""


def test_a_population_ends_in_a_table_with_intervals(finished, tmp_path):
    target = with_the_same_encoders(finished[0], tmp_path / "run")
    config = tmp_path / "population.py"
    config.write_text(POPULATION)
    done = run(f"--config={config}", *TINY[1:], *target)
    assert done.returncode == 0, done.stderr
    table = json.loads((tmp_path / "run" / "table1.json").read_text())
    assert len(table["rows"]) == 2 * 2 * 2 and len(table["summary"]) == 4
    assert {row["delta"] for row in table["rows"]} == {"-", "0->1"}
    for suffix in ("md", "tex"):
        assert "0->1" in (tmp_path / "run" / f"table1.{suffix}").read_text()
    assert (tmp_path / "run" / "plots" / "table1.png").stat().st_size > 10_000
    assert "paired by seed" in " ".join(done.stdout.split())


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--config=configs/student.py"], 1, "configs/quickstart.py"),
        (["--config=configs/teacher.py"], 1, "--config.data.release=DIR"),
        (
            ["--config=configs/teacher.py", "--config.train.epoch=3"],
            1,
            "did you mean config.train.epochs?",
        ),
        (
            ["--config=configs/teacher.py", "--config.train.epochs=x"],
            1,
            "epochs is 'x': give",
        ),
        (["--config=configs/none.py"], 1, "configs/none.py"),
        (
            ["--config=configs/teacher.py", f"--shards={10**20}", "--shard=3"],
            1,
            "--shards",
        ),
        (
            ["--config=configs/teacher.py", "--config.data.release=/none"],
            1,
            "/none",
        ),
        ([], 1, "--config=configs/quickstart.py"),
    ],
)
def test_wrong_input_is_reported_in_one_sentence(tmp_path, arguments, code, message):
    failed = run(*arguments, f"--workdir={tmp_path}")
    assert (failed.returncode, "Traceback" in failed.stderr) == (code, False)
    assert message in failed.stdout + failed.stderr
