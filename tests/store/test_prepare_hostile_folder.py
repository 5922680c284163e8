"""Pipes, loops of links and names that are no text cost a release nothing else."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from abaw_jax.faces import own_videos
from abaw_jax.releases.crops import ReleaseError, list_entries
from abaw_jax.releases.findings import Findings
from abaw_jax.report.release_report import write_page
from abaw_jax.store.reader import check, open_store
from abaw_jax.store.writer import prepare
from tests.support.tiny_release import (
    COUNTS,
    IMAGES,
    SIZE,
    VA,
    counts_of,
    write_crops,
    write_lines,
    write_release,
    write_video,
)

pytestmark = [
    pytest.mark.timeout(60),  # who opens a pipe waits for ever
    pytest.mark.skipif(sys.platform != "linux", reason="names are bytes on Linux only"),
]
ESCAPES = "\x1b]0;owned\x07\n<script>alert(1)</script>"


@pytest.fixture
def release(tmp_path):
    return write_release(tmp_path / "release")


def pack(release):
    """Prepares; gives the report, the store and anomalies by file."""
    store = release.with_name("store")
    report = prepare(release, store, image_size=SIZE)
    write_page(store, report, str(release))
    check(store)
    found = {each.file: each for each in report.anomalies}
    return report, open_store(store), found


def shown_by_command(release):
    """What the terminal is sent by the command, in a process of its own."""
    command = [sys.executable, "-m", "abaw_jax.prepare", f"--release={release}"]
    command += ["--store", release.with_name("store"), f"--image_size={SIZE}"]
    done = subprocess.run(
        command, cwd=Path(__file__).parents[2], capture_output=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, b"")
    return done.stdout.decode()


PIPES = (
    "cropped_aligned/alpha/00005.jpg",
    "cropped_aligned/pipe",
    "batch1/pipe.mp4",
    f"{VA}/Train_Set/pipe.txt",
    "annotations/MTL_Challenge/train_set_2.txt",
    "annotations/VA_test_set.txt",
)


def test_what_is_no_file_is_named_and_left_out(release):
    others = [f"cropped_aligned/alpha/{k}.jpg" for k in (20, 21, 22)]
    for place in PIPES:
        os.mkfifo(release / place)
    broken, loop, socket = (release / place for place in others)
    broken.symlink_to("nowhere")
    loop.symlink_to(loop.name)
    os.mknod(socket, 0o140600)
    report, _, found = pack(release)
    assert (counts_of(report), report.images) == (COUNTS, IMAGES)
    text = "is no file: a pipe, a device or a link to nothing; left out"
    for place in (*PIPES, *others):
        assert (found[place].kind, found[place].text) == ("left_out", text)


def test_links_back_up_end(release):
    (release / "batch1/up").symlink_to("..")
    (release / "cropped_aligned/alpha/up").symlink_to("../..")
    (release / "annotations/root").symlink_to(release)
    report, *_ = pack(release)
    assert (counts_of(report), report.images) == (COUNTS, IMAGES)


def test_a_folder_of_crops_that_is_no_utf8_is_named_and_left_out(release):
    """So are its labels; before, everything was packed and then nothing finished."""
    name = b"caf\xe9"
    crops = os.fsdecode(os.fsencode(release / "cropped_aligned/") + b"/" + name)
    write_crops(Path(crops), [1, 2])
    labels = os.fsdecode(os.fsencode(release / VA) + b"/Train_Set/" + name + b".txt")
    write_lines(Path(labels), ["valence,arousal", "0,0", "0,0"])
    report, store, found = pack(release)
    assert (counts_of(report), report.images) == (COUNTS, IMAGES)
    assert len(store.subjects) == 4
    for place in (r"cropped_aligned/caf\udce9", rf"{VA}/Train_Set/caf\udce9.txt"):
        assert found[place].text == "the name is no UTF-8, rename it; left out"
    assert r"caf\udce9" in (store.path / "report.html").read_text()
    assert r"cropped_aligned/caf\udce9: the name is no UTF-8" in shown_by_command(
        release
    )


def test_a_release_whose_path_is_no_utf8_is_packed(tmp_path):
    root = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9"))
    report, store, _ = pack(write_release(root / "release"))
    assert counts_of(report) == COUNTS
    assert r"caf\udce9/release" in (store.path / "report.html").read_text()


def test_names_are_shown_and_not_obeyed(release):
    name = ESCAPES.replace("/", "")
    write_crops(release / "cropped_aligned" / name, [1])
    write_lines(release / VA / "Train_Set" / f"{name}.txt", ["valence,arousal", "9,9"])
    report, store, _ = pack(release)
    assert name in [subject.name for subject in store.subjects]
    page = (store.path / "report.html").read_text()
    listed = [str(each) for each in report.anomalies if "owned" in each.file]
    assert listed
    for shown in (shown_by_command(release), page, *listed):
        assert r"\x1b]0;owned\x07\n" in shown
        assert "\x1b" not in shown and "\x07" not in shown and "owned\n" not in shown
    assert "<script" not in page and "&lt;script&gt;" in page
    texts = json.loads((store.path / "report.json").read_text())["anomalies"]
    assert not any("\x1b" in text for each in texts for text in map(str, each.values()))


def test_a_folder_deeper_than_python_recurses_is_refused(tmp_path):
    deep = tmp_path / Path(*["d"] * 400)
    deep.mkdir(parents=True)
    write_crops(tmp_path / "cropped/a", [1])
    with pytest.raises(ReleaseError, match="is more than 100 folders deep; move it up"):
        prepare(tmp_path, tmp_path / "store")
    with pytest.raises(ReleaseError, match="100 folders deep"):
        own_videos._find_videos(tmp_path, Findings(tmp_path))


def test_own_videos_leave_out_what_is_none(tmp_path):
    write_video(tmp_path / "more/a.mp4")
    os.mkfifo(tmp_path / "b.mp4")
    (tmp_path / "more/loop").symlink_to("..")
    (tmp_path / "c.mp4").symlink_to("c.mp4")
    findings = Findings(tmp_path)
    found = own_videos._find_videos(tmp_path, findings)
    assert found == {"a": tmp_path / "more/a.mp4"}
    assert [each.file for each in findings.anomalies()] == ["b.mp4", "c.mp4"]


def test_entries_are_in_order_and_hidden_ones_pass_in_silence(tmp_path):
    for name in ("b", "a.txt", ".hidden", "__MACOSX", "._a.txt"):
        (tmp_path / name).mkdir()
    os.mkfifo(tmp_path / ".pipe")
    findings = Findings(tmp_path)
    entries = list_entries(tmp_path, findings)
    assert entries == [tmp_path / "a.txt", tmp_path / "b"]
    assert findings.anomalies() == []
