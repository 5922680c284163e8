"""What is shown before the first stage: data, warnings, plan; and when it is not."""

import io
import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from rich.console import Console

from abaw_jax.evaluation.validation import validation_samples
from abaw_jax.experiment import data_overview, encoding_rates, preview, rows, run_plan
from abaw_jax.experiment.run import Run
from abaw_jax.experiment.run_record import read_record
from abaw_jax.report import overview_tables
from abaw_jax.store.reader import open_store
from abaw_jax.store.writer import prepare
from abaw_jax.training.sharding import over_all_devices
from configs import quickstart
from tests.support.tiny_release import COUNTS, FRAMES, IMAGES, SIZE, write_release

ROOT = Path(__file__).parents[2]
SMALL = (
    f"--config.data.image_size={SIZE}",
    "--config.image_encoder.size=32",
    "--config.image_encoder.stage_sizes=(1,1)",
    "--config.image_encoder.widths=(16,32)",
    "--config.image_encoder.cardinality=8",
    "--config.sound_encoder.widths=(4,16,32,32,64,64,128)",
    "--config.sound_encoder.objects=16",
    "--config.sound_encoder.scenes=1",
    "--config.backbone.epochs=2",
    "--config.heads.lstm_size=8",
    "--config.heads.extractor_sizes=(16,)",
    "--config.heads.head_sizes=(8,)",
    "--config.heads.discriminator_sizes=(8,)",
    "--config.train.epochs=2",
)


@pytest.fixture(scope="module")
def release(tmp_path_factory):
    return write_release(tmp_path_factory.mktemp("data") / "release")


@pytest.fixture(scope="module")
def store(release):
    prepare(release, release.parent / "store", image_size=SIZE)
    return release.parent / "store"


@pytest.fixture
def run(store, tmp_path):
    config = quickstart.get_config()
    return Run(config, tmp_path, tmp_path, open_store(store), over_all_devices())


@pytest.fixture
def fixed_rates(monkeypatch):
    """A machine whose networks take a round number of seconds."""
    for name, seconds in (("image", 1.0), ("sound", 10.0), ("window", 100.0)):
        monkeypatch.setattr(
            encoding_rates, f"_seconds_of_{name}", lambda run, seconds=seconds: seconds
        )


def samples_of(run):
    return rows.training_samples(run), validation_samples(run.store, run.windows)


def test_videos_people_and_frames_are_counted(run):
    found = {
        f"{each.set_name} {each.split}": each
        for each in data_overview.counts(run, *samples_of(run))
    }
    assert list(found) == list(COUNTS)
    for name, each in found.items():
        people, labelled, *_ = COUNTS[name]
        # Each has a video of its own where a single set is looked at.
        assert (each.videos, each.people) == (people, people)
        assert each.labelled == each.used == labelled


def test_two_people_of_one_video_are_one_video(run, monkeypatch):
    """beta_left and beta_right."""
    expr, au = (run.store.labels(name, "train") for name in ("expr", "au"))
    both = replace(
        expr,
        **{k: np.concatenate([getattr(s, k) for s in (expr, au)]) for k in vars(au)},
    )
    monkeypatch.setattr(run.store, "labels", lambda name, split: both)
    counted = data_overview.counts(run, {"va": both}, {"va": both})[0]
    assert (counted.videos, counted.people, counted.labelled) == (1, 2, 22)


def warned(run, training=None, validation=None):
    usual = samples_of(run)
    return [
        *data_overview.warnings(
            run,
            usual[0] | (training or {}),
            usual[1] if validation is None else validation,
        )
    ]


def test_the_tiny_release_has_one_validation_person_and_few_rows(run):
    assert warned(run) == [
        "gamma10_1 is the only person in the validation part: scores say nothing about "
        "other people.",
        "va, expr, au, mtl: all that trains are fewer than 16 rows, too few for a "
        "steady concordance.",
    ]


def test_classes_that_no_training_frame_shows_are_named(run, monkeypatch):
    training, _ = samples_of(run)
    expr, au, mtl = (training[name] for name in ("expr", "au", "mtl"))
    # Among the multi-task rows Fear and every unit occur.
    without = {
        "expr": replace(expr, expr=np.where(expr.expr > 4, 0, expr.expr)),
        "au": replace(au, au=au.au * (np.arange(12) != 3)),
        "mtl": mtl.take(np.zeros(len(mtl), bool)),
    }
    lines = [line for line in warned(run, without) if "cannot be learnt" in line]
    assert [re.findall("shows (.*):", line)[0] for line in lines] == [
        "Sadness, Surprise, Other",
        "AU6",
    ]
    unlabelled = {
        name: replace(each, expr_where=each.expr_where & False)
        for name, each in training.items()
    }
    lines = [line for line in warned(run, unlabelled) if "cannot be learnt" in line]
    assert not lines  # nor is the task trained
    assert rows.tasks_without_labels(run) == []
    monkeypatch.setattr(rows, "training_samples", lambda run: unlabelled)
    assert rows.tasks_without_labels(run) == ["expr"]


def test_a_set_that_vanishes_is_named_with_the_switch_that_brings_it_back(run):
    run.config.windows.stride = 1.0
    run.config.windows.missing = "drop"
    lines = warned(run)
    assert lines[0] == (
        "mtl: none of 3 labelled frames trains: add --config.windows.missing=hold."
    )
    (row,) = (
        each
        for each in data_overview.counts(run, *samples_of(run))
        if each[:2] == ("mtl", "train")
    )
    assert (row.labelled, row.used) == (3, 0)


def test_sets_that_no_validation_frame_scores_are_named(run):
    _, validation = samples_of(run)
    only_va = {"va": validation["va"]}
    lines = [
        line for line in warned(run, validation=only_va) if "validation frame" in line
    ]
    assert [line.split()[0] for line in lines] == ["expr", "au", "mtl"]
    joint = {name: validation[name] for name in ("va", "mtl")}
    assert not any("tell how well" in line for line in warned(run, validation=joint))


def test_a_student_that_nothing_is_distilled_into_is_named_with_the_switch(run):
    def lines(training):
        return [line for line in warned(run, training) if "distil" in line]

    training, _ = samples_of(run)
    nothing = np.zeros(0, int)
    joint = {
        name: each if name == "mtl" else each.take(nothing)
        for name, each in training.items()
    }
    assert not lines(training)
    (line,) = lines(joint)
    assert line.startswith("only mtl trains")
    switch = "--config.equations.distilled_joint=True"
    assert line.endswith(f"Add {switch}.")
    run.config.update_from_flattened_dict({"equations.distilled_joint": True})
    assert not lines(joint)
    run.config.update_from_flattened_dict(
        {"equations.distilled_joint": False, "until": "teacher"}
    )
    assert not lines(joint)


def test_videos_that_train_and_validate_are_named(run, monkeypatch):
    labels = run.store.labels
    monkeypatch.setattr(
        run.store,
        "labels",
        lambda name, split: (
            labels("expr", "train") if name == "au" else labels(name, split)
        ),
    )
    assert any("share 1 video (beta): scores flatter" in line for line in warned(run))


def test_a_person_who_trains_and_validates_alone_is_named_for_all_of_it(
    run, monkeypatch
):
    alone = run.store.labels("va", "train")
    monkeypatch.setattr(run.store, "labels", lambda name, split: alone)
    assert [line.split(":")[0] for line in warned(run)][:3] == [
        "alpha is the only person in the train part",
        "alpha is the only person in the validation part",
        "training and validation share 1 video (alpha)",
    ]


def test_the_plan_counts_what_the_stages_do(run, fixed_rates):
    stages = {each.name: each for each in run_plan.plan_stages(run, *samples_of(run))}
    assert list(stages) == [
        *("image encoder", "sound encoder", "image features", "sound features"),
        *("teacher", "student"),
    ]
    image, sound = stages["image encoder"], stages["sound encoder"]
    # 11 frames with valence in one batch of 20 epochs, and as many are scored.
    assert (image.work, image.epochs, image.updates) == ("11 images", 20, 20)
    assert image.seconds == 20 * (3 * 11 + 11) * 1.0
    assert sound.seconds == 20 * (3 * 11 + 11) * 10.0
    features = stages["image features"]
    # Of each of four people one batch of sixteen.
    assert features.work == f"{IMAGES} images" and features.seconds == 4 * 16
    assert features.disk == IMAGES * run.config.image_encoder.widths[-1] * 4
    # Every twelfth image has a window of sound: one for each of four people.
    assert -(-FRAMES // 12) == 1 and stages["sound features"].work == "4 windows"
    teacher = stages["teacher"]
    assert teacher.work == "36 rows" and teacher.updates == 20 * 4
    assert teacher.seconds == 20 * (3 * 36 + 11 + 12 + 12 + 2) * 100.0
    assert stages["student"][1:] == teacher[1:]


def test_features_that_are_there_take_no_disk_and_no_time(run, fixed_rates):
    """As of a killed extraction, or of shards, which fill the disk before the run."""
    folder = run.inputs / "features" / "image"
    folder.mkdir(parents=True)
    for name in ("beta_left", "gamma10_1"):
        (folder / f"{name}.npy").touch()
    stages = {each.name: each for each in run_plan.plan_stages(run, *samples_of(run))}
    features, left = stages["image features"], IMAGES - 2 * FRAMES
    assert features.work == f"{left} images" and features.seconds == 2 * 16
    assert features.disk == left * run.config.image_encoder.widths[-1] * 4
    assert stages["sound features"].work == "4 windows" and not features.ready
    for each in run.store.subjects:
        (folder / f"{each.name}.npy").touch()
    stages = {each.name: each for each in run_plan.plan_stages(run, *samples_of(run))}
    assert stages["image features"].ready and not stages["sound features"].ready


def test_until_encoders_nothing_else_is_planned(run, fixed_rates):
    run.config.until = "encoders"
    stages = run_plan.plan_stages(run, *samples_of(run))
    assert [each.name for each in stages] == ["image encoder", "sound encoder"]
    assert not run_plan.is_finished(run)
    finish(run.inputs / "backbone" / "image")
    assert not run_plan.is_finished(run)
    finish(run.inputs / "backbone" / "sound")
    assert run_plan.is_finished(run)


def test_features_of_other_encoders_are_not_counted(run, fixed_rates):
    run.config.features.sound = "wav2vec"
    run.config.image_encoder.onnx = "dino.onnx"
    stages = run_plan.plan_stages(run, *samples_of(run))
    assert [each.name for each in stages] == ["image features", "teacher", "student"]
    assert stages[0].seconds is None  # the file's own
    assert {each.disk for each in stages} == {None}  # widths that only the files know
    screen = Console(width=80, file=io.StringIO())
    screen.print(overview_tables.plan_table(stages))
    assert screen.file.getvalue().count("?") == 4


def test_a_population_multiplies_the_networks(run, fixed_rates):
    one = run_plan.plan_stages(run, *samples_of(run))
    run.config.population = ({"seed": 0}, {"seed": 1})
    run.config.kd.ensemble = 3
    run.config.kd.generations = 2
    many = run_plan.plan_stages(run, *samples_of(run))
    assert [each.name for each in many[-3:]] == ["teacher", "student", "student2"]
    for each, times in zip(many[-3:], (2, 6, 6), strict=True):
        assert each.work == f"{times} x 36 rows"
        assert each.seconds == times * one[-1].seconds
        assert each.disk == times * one[-1].disk


def test_encoders_that_train_end_to_end_take_their_time(run, fixed_rates):
    frozen = run_plan.plan_stages(run, *samples_of(run))[-1]
    run.config.regime = "end_to_end"
    stages = run_plan.plan_stages(run, *samples_of(run))
    assert not any("features" in each.name for each in stages)
    assert stages[-1].seconds == pytest.approx(frozen.seconds * (100 + 6 + 10) / 100)
    assert stages[-1].disk > 2 * frozen.disk


def finish(folder):
    folder.mkdir(parents=True)
    (folder / "done.json").write_text("{}")


def test_stages_that_are_ready_are_neither_measured_nor_counted(
    run, monkeypatch, capsys
):
    def fail(run):
        raise AssertionError("measured")

    for name in ("image", "sound"):
        finish(run.inputs / "backbone" / name)
        finish(run.inputs / "features" / name)
        monkeypatch.setattr(encoding_rates, f"_seconds_of_{name}", fail)
    monkeypatch.setattr(encoding_rates, "_seconds_of_window", lambda run: 0.001)
    preview.show(run)
    shown = capsys.readouterr().out
    assert shown.count("ready") == 4 and "student" in shown
    finish(run.workdir / "student")
    preview.show(run)
    assert capsys.readouterr().out == ""
    run.config.until = "features"
    preview.show(run)
    assert capsys.readouterr().out == ""


def test_too_small_a_disk_is_refused(run, fixed_rates, monkeypatch):
    stages = run_plan.plan_stages(run, *samples_of(run))
    usage = SimpleNamespace(free=sum(each.disk for each in stages))
    monkeypatch.setattr(run_plan.shutil, "disk_usage", lambda folder: usage)
    assert run_plan.require_room(run, stages) == usage.free
    usage.free -= 1
    with pytest.raises(
        ValueError, match=r"needs 2[0-9]\.\d MB of disk, and .* free some"
    ):
        run_plan.require_room(run, stages)
    ready = [each._replace(ready=True) for each in stages[:1]]
    run_plan.require_room(run, ready + stages[1:])


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "?"),
        (0.2, "1 s"),
        (99.4, "99 s"),
        (100, "2 min"),
        (5999, "100 min"),
        (7000, "2 h"),
        (172_800, "2 days"),
    ],
)
def test_times_are_as_exact_as_estimates(seconds, text):
    assert overview_tables.rough_time(seconds) == text


def test_tables_fit_a_terminal_of_80_columns():
    counts = overview_tables.SplitCounts(
        "expr", "validation", 1000, 1000, 1_555_919, 1_555_919
    )
    stage = overview_tables.StagePlan(
        "image encoder", "40 x 1,555,919 rows", 20, 123_123, 4e5, 10**9, False
    )
    for table in (
        overview_tables.data_table([counts]),
        overview_tables.plan_table([stage]),
    ):
        screen = Console(width=80, file=io.StringIO())
        screen.print(table)
        shown = screen.file.getvalue()
        assert max(map(len, shown.splitlines())) <= 80
        assert "1,555,919" in shown and "…" not in shown


def call(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "abaw_jax.main", *arguments],
        cwd=ROOT,
        env={**os.environ, "JAX_PLATFORMS": "cpu", "COLUMNS": "80"},
        capture_output=True,
        text=True,
        check=False,
    )


def size_of(folder):
    files = (path for path in folder.rglob("*") if path.is_file())
    return sum(path.stat().st_size for path in files)


@pytest.mark.slow
def test_clips_of_a_second_are_refused_and_train_with_the_switches(release, tmp_path):
    """As a new user meets it: the paper's settings, four people, 1.2 s each."""
    student = ("--config=configs/student.py", f"--config.data.release={release}")
    target = f"--workdir={tmp_path}"
    refused = call(*student, *SMALL, target)
    assert refused.returncode == 1 and "Traceback" not in refused.stderr
    assert "image encoder" not in refused.stdout
    assert {path.name for path in tmp_path.iterdir()} == {"corpus", "run.json"}
    switches = re.findall(r"--config\.\S+", refused.stderr)
    assert len(switches) == 2
    done = call(*student, *SMALL, target, *switches)
    assert done.returncode == 0, done.stdout + done.stderr
    begin = done.stdout.index("image encoder  trained per frame")
    assert done.stdout.index("\ndata  ") < done.stdout.index("\nplan  ") < begin
    assert " va     train             1        1" in done.stdout
    check_plan(tmp_path)


def check_plan(workdir):
    """What was planned is what the finished stages did and left."""
    config, inputs = read_record(workdir)
    store = open_store(workdir / "corpus/store")
    run = Run(config, workdir, inputs, store, over_all_devices())
    stages = run_plan.plan_stages(run, *samples_of(run))
    for each in stages:
        first, *second = each.name.split()
        folder = {"encoder": "backbone", "features": "features"}
        place = workdir.joinpath(*(folder[part] for part in second), first)
        assert each.ready
        if second == ["features"]:
            arrays = [np.load(path) for path in place.glob("*.npy")]
            assert sum(array.nbytes for array in arrays) == each.disk
            continue
        left = size_of(place / "checkpoints") + size_of(place / "networks")
        # Checkpoints are compressed.
        assert 0.75 * each.disk < left < 1.25 * each.disk, each.name
        lines = map(json.loads, (place / "metrics.jsonl").read_text().splitlines())
        losses = [key for line in lines for key in line if key.endswith("/loss")]
        assert len(losses) == each.updates
