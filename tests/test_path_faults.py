"""What is at a path that cannot be used, in one sentence with a remedy."""

import pytest

from abaw_jax.path_faults import file_fault, folder_fault


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
        assert folder_fault(path) == f"{path} is not there: name an existing folder"
        assert file_fault(path) == f"{path} is not there: name an existing file"
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
