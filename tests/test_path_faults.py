"""What is at a path that cannot be used, in one sentence with a remedy."""

import errno
import os
import tempfile
from pathlib import Path

import pytest

from abaw_jax.path_faults import (
    as_path,
    file_fault,
    folder_fault,
    require_writable,
    without_number,
    writing,
)


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    for name, target in (
        ("loop", "loop"),
        ("one", "two"),
        ("two", "one"),
        ("nowhere", "gone"),
        ("good", "folder"),
    ):
        (tmp_path / name).symlink_to(target)
    return tmp_path


@pytest.mark.parametrize("made", [False, True])
@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("file", "file is a file: name a folder"),
        (
            "loop",
            "loop is a symbolic link that leads back to itself: delete the link, ",
        ),
        ("one", "one is a symbolic link that leads back to itself: delete the link"),
        ("loop/below", "leads back to itself"),
        ("nowhere", "nowhere is a symbolic link to gone, where nothing is: delete"),
        ("nowhere/x", "nowhere/x cannot be there: nowhere is a symbolic link to gone"),
        ("file/x", "file/x cannot be there: file is a file: name a folder"),
        ("file/x/y", "file/x/y cannot be there: file is a file: name a folder"),
        ("x" * 300, "cannot be looked at (File name too long): name a folder"),
        ("a\0b", "'a\\x00b' cannot be looked at (embedded null byte): name a folder"),
    ],
)
def test_what_is_no_folder_is_described(here, path, message, made):
    assert message in folder_fault(path, made=made)


def test_what_is_not_there_may_be_made(here):
    for path in ("new", "new/below", "folder/new", "good/new"):
        assert folder_fault(path, made=True) is None
        assert folder_fault(path) == f"{path} does not exist: name an existing folder"
        assert file_fault(path) == f"{path} does not exist: name an existing file"
    for path in (".", "folder", "good", here / "folder"):
        assert folder_fault(path) is folder_fault(path, made=True) is None


def test_files_are_judged_likewise(here):
    assert file_fault("file") is file_fault("/dev/null") is None
    assert file_fault("folder") == "folder is a folder: name a file"
    assert file_fault("loop").endswith("delete the link, or name a file")


def test_a_folder_that_may_not_be_entered_is_named(here, monkeypatch):
    def refuse(path, **_):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("pathlib.Path.stat", refuse)
    assert "'folder' cannot be looked at (Permission denied)" in folder_fault("folder")


@pytest.mark.parametrize("given", [None, 3, b"a", [1]])
def test_what_is_no_path_is_named(given):
    kind = type(given).__name__
    with pytest.raises(TypeError, match=f"video is of type {kind} and no path: give a"):
        as_path(given, "video", "a file")
    assert as_path("a", "video", "a file") == as_path(Path("a"), "video", "a file")


def test_trying_a_folder_leaves_nothing(here):
    before = sorted(here.rglob("*"))
    for path in ("folder", "good", "new", "folder/new/below"):
        require_writable(Path(path))
    assert sorted(here.rglob("*")) == before
    with pytest.raises(OSError, match=r"^file is a file: name a folder\.$"):
        require_writable(Path("file"))
    with pytest.raises(OSError, match=r"file/x cannot be there: file is a file"):
        require_writable(Path("file/x"))


@pytest.mark.parametrize(
    ("path", "refused"),
    [("folder", (tempfile, "TemporaryFile")), ("new", (os, "mkdir"))],
)
def test_a_system_that_takes_no_file_is_told(here, monkeypatch, path, refused):
    """As of /proc, where root has the right to write."""

    def refuse(*_, **__):
        name = Path(path) / "x" if path == "folder" else path
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(name))

    monkeypatch.setattr(*refused, refuse)
    sentence = f"^{path} cannot be written: the system makes no file there"
    with pytest.raises(FileNotFoundError, match=sentence):
        require_writable(Path(path))
    assert not Path("new").exists()


def test_rights_are_no_matter_of_the_path(here, monkeypatch):
    def refuse(dir):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(dir / "x"))

    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    with pytest.raises(PermissionError, match=r"^folder cannot be written: Perm.*d\.$"):
        require_writable(Path("folder"))


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("gone/a.csv", "gone does not exist: name an existing folder"),
        ("file/a.csv", "file is a file: name a folder"),
        ("folder", os.strerror(errno.EISDIR)),
    ],
)
def test_a_file_that_cannot_be_written_is_told(here, path, reason):
    with pytest.raises(OSError) as caught, writing(Path(path)):
        Path(path).write_text("")
    assert str(caught.value) == f"{path} cannot be written: {reason}."
    assert type(caught.value) is type(caught.value.__cause__)
    assert caught.value.__cause__.errno


def test_an_error_is_told_without_its_number():
    missing = FileNotFoundError(errno.ENOENT, "No such file or directory", "a")
    said = "a cannot be read or written: No such file or directory"
    assert without_number(missing) == said
    moved = FileNotFoundError(errno.ENOENT, "No such file or directory", "b", None, "a")
    assert without_number(moved) == said
    folder = OSError(errno.EISDIR, "Is a directory", "result.json")
    assert without_number(folder).startswith("result.json is a folder where a file")
    assert without_number(OSError(errno.EMFILE, "Too many")) == "Too many"
    assert without_number(OSError("a sentence.")) == "a sentence."
