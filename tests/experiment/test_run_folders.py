"""Folders of a run are checked with its settings, before anything is written."""

from pathlib import Path

import pytest

from abaw_jax.experiment import sequence
from abaw_jax.experiment.checks import check_run
from configs import base, quickstart


@pytest.fixture
def folders(tmp_path, monkeypatch):
    """A file, a link to itself, and no stage that could begin."""
    monkeypatch.setattr(sequence.corpus, "build", lambda *_: pytest.fail("has begun"))
    (tmp_path / "file").touch()
    (tmp_path / "loop").symlink_to("loop")
    return tmp_path


def test_folders_are_told_with_the_settings(folders):
    config = base.get_config()
    config.heads.dropout_rate = 1.5
    config.data.release = str(folders / "none")
    before = sorted(folders.rglob("*"))
    with pytest.raises(ValueError, match="4 settings are wrong") as raised:
        sequence.run(config, folders / "file", folders / "other")
    _, rate, workdir, inputs, release = str(raised.value).splitlines()
    assert "heads.dropout_rate" in rate
    assert workdir.strip() == f"--workdir: {folders}/file is a file: name a folder"
    assert (
        "other does not exist: name an existing folder, as the workdir of an" in inputs
    )
    assert release.strip().startswith("config.data.release: ")
    assert "none does not exist" in release
    assert sorted(folders.rglob("*")) == before


@pytest.mark.parametrize(
    ("workdir", "inputs", "message"),
    [
        ("loop", "loop", "^--workdir: .*loop is a symbolic link that leads back"),
        ("new", "loop", "^--inputs: .*loop is a symbolic link that leads back"),
        ("new", "file", "^--inputs: .*file is a file: name a folder, as the workdir"),
        ("file/new", "file/new", "^--workdir: .*new cannot be there: .*file is a file"),
    ],
)
def test_folders_that_cannot_be_used_are_refused(folders, workdir, inputs, message):
    with pytest.raises(ValueError, match=message):
        check_run(quickstart.get_config(), folders / workdir, folders / inputs)


def test_folders_that_can_be_used_are_not(folders):
    (folders / "run" / "corpus").mkdir(parents=True)
    run, config = folders / "run", quickstart.get_config()
    for workdir, inputs in ((run, run), (folders / "new",) * 2, (folders / "new", run)):
        check_run(config, Path(workdir), inputs)
    # A release may be removed once it is packed.
    config.data.release = str(folders / "gone")
    with pytest.raises(ValueError, match="gone does not exist"):
        check_run(config, run, run)
    (run / "corpus" / "done.json").touch()
    check_run(config, folders / "new", run)
