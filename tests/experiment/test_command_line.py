"""What every command makes of its arguments before it begins."""

import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from abaw_jax import command_line

ROOT = Path(__file__).parents[2]


def call(module, *arguments, cwd, home=None, **environment):
    return subprocess.run(
        [sys.executable, "-m", module, *arguments],
        cwd=cwd,
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "JAX_PLATFORMS": "cpu",
            "HOME": str(home or os.environ.get("HOME", "")),
            **environment,
        },
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("field", "message"),
    [
        ("train.lr=1", "no field config.train.lr; there are train.init, "),
        ("train.lr=1", "train.learning_rate"),
        ("trian.epochs=1", "did you mean config.train.epochs?"),
        (
            "train.learning-rate=1",
            "learning-rate; did you mean config.train.learning_rate?",
        ),
        ("train.epoch=3", "did you mean config.train.epochs?"),
        ("temperature=3", "did you mean config.loss.temperature?"),
        ("heads.dropout=0", "there is no field config.heads.dropout"),
    ],
)
def test_a_misspelt_field_is_named_with_the_nearest(field, message):
    arguments = ["main", "--config=student", f"--config.{field}"]
    kept, _, (fault,) = command_line._prepare(arguments)
    assert fault.startswith("there is no field config.") and message in fault
    assert len(kept) == 2


def test_the_last_sentence_of_a_command_shows_what_it_quotes(tmp_path):
    done = call(
        "abaw_jax.prepare", "--release=no\x1b[2J\nsuch", "--check", cwd=tmp_path
    )
    assert done.returncode == 1
    assert done.stderr.startswith(r"abaw_jax.prepare: release no\x1b[2J\nsuch is not")
    assert done.stderr.count("\n") == 1 and "\x1b" not in done.stderr


@pytest.mark.parametrize(
    ("command", "name", "value", "message"),
    [
        ("verify", "JAX_DEFAULT_MATMUL_PRECISION", "no", "set it to highest, high or"),
        ("profile", "JAX_ENABLE_X64", "maybe", "set it to true or false"),
        ("profile", "JAX_PLATFORMS", "nonsense", "finds no such device on this mach"),
        ("main", "JAX_PLATFORMS", "cuda", "finds no such device on this machine: u"),
    ],
)
def test_a_wrong_setting_of_jax_is_told(tmp_path, command, name, value, message):
    arguments = ["."] if command == "verify" else ["--config=quickstart"]
    environment = {"CUDA_VISIBLE_DEVICES": "-1", name: value}
    done = call(f"abaw_jax.{command}", *arguments, cwd=tmp_path, **environment)
    *_, sentence = done.stderr.splitlines()
    assert done.returncode == 1 and "Traceback" not in done.stderr
    start = f"abaw_jax: the environment variable {name} is {value!r}, "
    assert sentence.startswith(start) and message in sentence


@pytest.mark.parametrize(
    ("former", "new"),
    [
        ("reading.swapped", "equations.swapped"),
        ("kd.bank", "kd.cache_soft_labels"),
    ],
)
def test_a_renamed_field_is_named_with_its_new_name(former, new):
    arguments = ["main", "--config=student", f"--config.{former}=1"]
    _, _, faults = command_line._prepare(arguments)
    assert faults == [f"config.{former} is called config.{new} now"]


def test_a_field_is_set_to_none():
    arguments = ["--config=configs/student.py", "--config.loss.gamma_cap=None"]
    kept, nothing, _ = command_line._prepare(["main", *arguments])
    assert nothing == ["loss.gamma_cap"] and len(kept) == 2


def test_a_path_in_a_field_may_begin_at_home(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    arguments = ["main", "--config=student", "--config.data.store=~/store"]
    kept, _, _ = command_line._prepare(arguments)
    assert kept[-1] == "--config.data.store=/home/me/store"


def test_one_name_is_a_list_of_names():
    arguments = ["main", "--config=student", "--config.streams=image"]
    kept, _, _ = command_line._prepare(arguments)
    assert kept[-1] == "--config.streams=('image',)"


@pytest.mark.parametrize("value", ["va,au,expr,mtl", "('va', 'au', 'expr', 'mtl')"])
def test_names_may_be_listed_with_commas(value):
    arguments = ["main", "--config=student", f"--config.train.order={value}"]
    kept, _, _ = command_line._prepare(arguments)
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
        ("profile", {"config", "step", "topology", "trace", "json", "table", "plot"}),
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
        (["train", "--config=student", "--config.train.lr=1"], "no field config.train"),
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


def test_fields_of_another_kind_are_told_with_all_others(tmp_path):
    """By one command, before anything is written; test_checks has the rest."""
    (tmp_path / "file").touch()
    wrong = {
        "train.epochs=many": "config.train.epochs is 'many': give an int32, 1 or more",
        "train.proportional=maybe": "is 'maybe': give True or False",
        "tarin.patience=3": "no field config.tarin.patience; did you mean config",
        "heads.dropout_rate=1.5": "dropout_rate is 1.5: give a float32, 0 or more",
        "loss.temperature=0": "loss.temperature is 0.0: give a float32, more than 0",
        "kd.ensemble=None": "config.kd.ensemble is None: give an int32, 1 or more",
    }
    flags = [f"--config.{field}" for field in wrong]
    flags += ["--workdir=file", "--inputs=none"]
    wrong["workdir"] = "  --workdir: file is a file: name a folder"
    wrong["inputs"] = "  --inputs: none does not exist: name an existing folder, as the"
    done = call("abaw_jax", "train", "--config=quickstart", *flags, cwd=tmp_path)
    first, *lines = done.stderr.splitlines()
    assert first == f"abaw_jax: {len(wrong)} settings are wrong:"
    for line, message in zip(lines, wrong.values(), strict=True):
        assert message in line
    assert done.returncode == 1 and not done.stdout
    assert [*tmp_path.iterdir()] == [tmp_path / "file"]


def test_a_field_that_a_file_of_ones_own_lacks_is_told(tmp_path):
    file = tmp_path / "own.py"
    file.write_text(
        "from configs import student\n"
        "def get_config():\n"
        "    config = student.get_config()\n"
        "    del config.kd.ensemble\n"
        "    config.train.epoch = 3\n"
        "    return config\n"
    )
    flags = "--config=own.py", "--config.kd.ensemble=2"
    done = call("abaw_jax", "train", *flags, cwd=tmp_path)
    assert "config.kd.ensemble is missing: give an int32, 1 or more" in done.stderr
    assert "config.train.epoch; did you mean config.train.epochs?" in done.stderr
    assert done.returncode == 1 and "Traceback" not in done.stderr


def test_a_path_at_the_home_of_nobody_is_refused(monkeypatch):
    parse = command_line._PathParser().parse
    with pytest.raises(ValueError, match=r"~nobody-here/x: this user has no home"):
        parse("~nobody-here/x")


def test_folders_and_files_are_not_taken_for_each_other(tmp_path):
    file = tmp_path / "file"
    file.touch()
    folders = command_line._PathParser(command_line.folder_fault)
    files = command_line._PathParser(command_line.file_fault)
    assert folders.parse(str(tmp_path / "new")) == tmp_path / "new"
    assert folders.parse(str(tmp_path)) == tmp_path and files.parse(str(file)) == file
    with pytest.raises(ValueError, match="file is a file: name a folder"):
        folders.parse(str(file))
    with pytest.raises(ValueError, match="is a folder: name a file"):
        files.parse(str(tmp_path))
