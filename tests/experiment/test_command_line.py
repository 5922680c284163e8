"""What every command makes of its arguments before it begins."""

import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from abaw_jax import command_line
from abaw_jax.experiment.checks import check
from configs import base

ROOT = Path(__file__).parents[2]


def call(module, *arguments, cwd, home=None):
    return subprocess.run(
        [sys.executable, "-m", module, *arguments],
        cwd=cwd,
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "JAX_PLATFORMS": "cpu",
            "HOME": str(home or os.environ.get("HOME", "")),
        },
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("field", "message"),
    [
        ("train.lr=1", "no field train.lr; there are train.average_decay, "),
        ("train.lr=1", "train.learning_rate"),
        ("trian.epochs=1", "did you mean train.epochs?"),
        ("train.learning-rate=1", "learning-rate; did you mean train.learning_rate?"),
        ("train.epoch=3", "did you mean train.epochs?"),
        ("temperature=3", "did you mean loss.temperature?"),
        ("heads.dropout=0", "there is no field heads.dropout"),
    ],
)
def test_a_misspelt_field_is_named_with_the_nearest(field, message):
    with pytest.raises(ValueError, match="there is no field") as raised:
        command_line._prepare(["main", "--config=student", f"--config.{field}"])
    assert message in str(raised.value)


def test_the_last_sentence_of_a_command_shows_what_it_quotes(tmp_path):
    done = call(
        "abaw_jax.prepare", "--release=no\x1b[2J\nsuch", "--check", cwd=tmp_path
    )
    assert done.returncode == 1
    assert done.stderr.startswith(r"abaw_jax.prepare: release no\x1b[2J\nsuch is not")
    assert done.stderr.count("\n") == 1 and "\x1b" not in done.stderr


@pytest.mark.parametrize(
    ("former", "new"),
    [
        ("reading.swapped", "equations.swapped"),
        ("kd.bank", "kd.cache_soft_labels"),
    ],
)
def test_a_renamed_field_is_named_with_its_new_name(former, new):
    with pytest.raises(ValueError, match=f"{former} is called {new} now"):
        command_line._prepare(["main", "--config=student", f"--config.{former}=1"])


def test_a_field_is_set_to_none():
    arguments = ["--config=configs/student.py", "--config.loss.gamma_cap=None"]
    kept, nothing = command_line._prepare(["main", *arguments])
    assert nothing == ["loss.gamma_cap"] and len(kept) == 2


def test_a_path_in_a_field_may_begin_at_home(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    arguments = ["main", "--config=student", "--config.data.store=~/store"]
    kept, _ = command_line._prepare(arguments)
    assert kept[-1] == "--config.data.store=/home/me/store"


@pytest.mark.parametrize("value", ["va,au,expr,mtl", "('va', 'au', 'expr', 'mtl')"])
def test_names_may_be_listed_with_commas(value):
    arguments = ["main", "--config=student", f"--config.train.order={value}"]
    kept, _ = command_line._prepare(arguments)
    assert kept[-1] == "--config.train.order=('va', 'au', 'expr', 'mtl')"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("configs/student.py:small", "student.py has no variants"),
        ("configs/table1.py:large", "table1.py:large is not known; choose small"),
        ("configs/nothing.py", "no configuration configs/nothing.py; shipped are auth"),
        ("~/quickstart.py", "no configuration ~/quickstart.py"),
    ],
)
def test_a_missing_configuration_is_reported(name, message, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(ValueError, match=re.escape(message)):
        command_line.load_config(name)


def test_shipped_configurations_are_found_from_anywhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("quickstart", "configs/quickstart.py", "quickstart.py"):
        assert command_line.find_config(name) == ROOT / "configs" / "quickstart.py"
    (tmp_path / "quickstart.py").write_text("own")
    assert command_line.find_config("quickstart.py") == Path("quickstart.py")
    with pytest.raises(ValueError, match="there is no configuration elsewhere/quick"):
        command_line.find_config("elsewhere/quickstart.py")


def unraisable(of, text):
    return SimpleNamespace(object=of, exc_value=RuntimeError(text))


def test_only_later_reads_of_orbax_fail_silently(monkeypatch):
    """What Python reports of other objects, and of other coroutines, is shown."""
    shown = []
    monkeypatch.setattr(sys, "__unraisablehook__", shown.append)
    source = "async def read(): pass"
    for file in ("/env/orbax/checkpoint/serialization.py", "/mine/orbax.py"):
        space = {}
        exec(compile(source, file, "exec"), space)
        coroutine = space["read"]()
        command_line._report_unraisable(unraisable(coroutine, "damaged"))
        coroutine.close()
    command_line._report_unraisable(unraisable(None, "Event loop is closed"))
    command_line._report_unraisable(unraisable(object(), "damaged"))
    assert len(shown) == 2 and shown[0].object is coroutine


@pytest.mark.slow
@pytest.mark.parametrize(
    ("module", "names"),
    [
        ("main", {"config", "workdir", "inputs", "join"}),
        ("prepare", {"release", "affectnet", "store", "json", "check"}),
        ("profile", {"config", "step", "topology", "trace", "json", "plot"}),
    ],
)
def test_help_lists_every_flag_of_a_command(module, names):
    shown = subprocess.run(
        [sys.executable, "-m", f"abaw_jax.{module}", "--help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    ).stdout
    assert names <= set(re.findall(r"^  --(?:\[no\])?([a-z_]+):", shown, re.MULTILINE))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "--config=student"], "No data is configured"),
        (["train", "--config=student", "--workdir="], "names no path"),
        (["train", "--config=student:small"], "has no variants"),
        (["train", "--config=student", "--config.train.lr=1"], "no field train.lr"),
        (["training"], "usage: abaw-jax COMMAND"),
    ],
)
def test_the_console_command_works_in_any_folder(tmp_path, arguments, message):
    done = call("abaw_jax", *arguments, cwd=tmp_path)
    shown = done.stdout + done.stderr
    assert message in shown and done.returncode != 0 and "Traceback" not in shown
    assert not list(tmp_path.iterdir())


def test_a_tilde_is_the_home_folder(tmp_path):
    arguments = "--store=~/store", "--check"
    done = call("abaw_jax.prepare", *arguments, cwd=tmp_path, home=tmp_path)
    assert f"{tmp_path}/store" in done.stderr and not (tmp_path / "~").exists()


@pytest.mark.parametrize(
    ("field", "value", "right"),
    [
        ("train.epochs", 0, "1 or more"),
        ("train.epochs", None, "1 or more"),
        ("train.learning_rate", float("nan"), "more than 0"),
        ("train.order", ("va", "expr", "au"), "each of va, expr, au, mtl once"),
        ("train.order", (1, "va", "expr", "au"), "each of va, expr, au, mtl once"),
        ("streams", ([],), "one or more of image, sound"),
        ("streams", ("video",), "one or more of image, sound"),
        ("streams", (), "one or more of image, sound"),
        ("kd.teacher_epoch", "first", "best or last"),
        ("kd.generations", 0, "1 or more"),
        ("heads.domains", 5, "3 or 4"),
        ("heads.dropout_rate", 1.5, "0 or more, less than 1"),
        ("loss.gamma_cap", -1, "0 or more, or None"),
        ("loss.temperature", 0.0, "more than 0"),
        ("evaluation.held_out", 1.0, "0 or more, less than 1"),
        ("heads.stream_dropout", 0.3, "config.heads.fusion=sum, or 0"),
        ("evaluation.selection", "held_out", "config.evaluation.held_out"),
    ],
)
def test_settings_are_checked_before_the_first_stage(field, value, right):
    config = base.get_config()
    check(config)
    with config.ignore_type():
        config.update_from_flattened_dict({field: value})
    with pytest.raises(ValueError, match=f"config.{field} is .*: give {right}"):
        check(config)


def test_all_wrong_settings_are_named_at_once():
    config = base.get_config()
    config.train.epochs, config.kd.ensemble = -1, 0
    with pytest.raises(ValueError, match=r"train\.epochs is -1: .*; config\.kd\.ens"):
        check(config)
