"""Shares packed by many processes: divided, locked apart, merged to one store."""

import itertools
import json
import os
import random
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from abaw_jax.releases.affectnet import open_affectnet
from abaw_jax.releases.crops import Video
from abaw_jax.releases.findings import Findings
from abaw_jax.releases.labels import open_release
from abaw_jax.store.reader import StoreError, check, open_store
from abaw_jax.store.shares import (
    Share,
    divide,
    number_of_shares,
    writing_share,
    writing_whole,
)
from abaw_jax.store.sole_writer import LOCK, InUseError
from abaw_jax.store.writer import merge, prepare, prepare_share
from tests.support.tiny_affectnet import write_lists
from tests.support.tiny_release import SIZE, contents, write_release

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def release(tmp_path_factory):
    return write_release(tmp_path_factory.mktemp("tiny") / "release")


@pytest.fixture(scope="module")
def whole(release, tmp_path_factory):
    """Every file of the store that one call writes, by name."""
    store = tmp_path_factory.mktemp("whole") / "store"
    prepare(release, store, image_size=SIZE)
    return contents(store)


pack = partial(prepare_share, image_size=SIZE)
finish = partial(merge, image_size=SIZE)


class _Group:
    def __init__(self, folder):
        self.folder = folder


def test_shares_hold_every_video_once_and_about_as_many_crops(tmp_path):
    rng, videos = random.Random(3), []
    for name in map(str, range(40)):
        (tmp_path / name).mkdir()
        for k in range(rng.randint(1, 60)):
            (tmp_path / name / f"{k}.jpg").touch()
        videos.append(Video(name, None, (_Group(tmp_path / name),)))
    sizes = {v.name: len(os.listdir(tmp_path / v.name)) + 1 for v in videos}
    for count in (1, 3, 7, 40, 50):
        shares = divide(videos, count)
        assert len(shares) == count
        assert sorted(v.name for s in shares for v in s) == sorted(sizes)
        totals = [sum(sizes[v.name] for v in share) for share in shares]
        if count <= 7:  # the bound of this rule: no more than the smallest video apart
            assert max(totals) - min(totals) <= max(sizes.values())
            assert max(totals) <= 1.05 * sum(totals) / count
        assert divide(videos[::-1], count)[0] == tuple(reversed(shares[0]))


@pytest.mark.parametrize("order", [*itertools.permutations(range(3))])
def test_in_any_order_the_bytes_are_those_of_one_call(release, whole, tmp_path, order):
    store = tmp_path / "store"
    for index in order:
        pack(release, store, Share(index, 3))
        with pytest.raises(StoreError, match="unfinished"):
            open_store(store)
    before = {p: p.stat().st_ino for p in store.rglob("*.npy")}
    pack(release, store, Share(order[0], 3))
    report = finish(release, store)
    assert contents(store) == whole
    assert sorted(p.name for p in store.iterdir()) == sorted(
        {name.split("/")[0] for name in whole}
    )
    assert all(p.stat().st_ino == inode for p, inode in before.items())
    assert json.loads(whole["report.json"]) == report.as_json()
    check(store)


def test_images_as_jpeg_and_affectnet_are_divided_too(tmp_path):
    folder = write_lists(tmp_path / "affectnet")
    options = {"read": open_affectnet, "images": "jpeg", "image_size": SIZE}
    prepare(folder, tmp_path / "whole", **options)
    for index in range(2):
        prepare_share(folder, tmp_path / "store", Share(index, 2), **options)
    merge(folder, tmp_path / "store", **options)
    assert contents(tmp_path / "store") == contents(tmp_path / "whole")


def test_without_a_merge_one_call_packs_what_is_missing(release, whole, tmp_path):
    store = tmp_path / "store"
    pack(release, store, Share(1, 3))
    kept = {p: p.stat().st_ino for p in store.rglob("*.npy")}
    assert kept
    prepare(release, store, image_size=SIZE)
    assert contents(store) == whole and not (store / ".shards").exists()
    assert all(p.stat().st_ino == inode for p, inode in kept.items())


def test_a_merge_names_what_is_missing_and_packs_nothing(release, whole, tmp_path):
    store = tmp_path / "store"
    pack(release, store, Share(0, 3))
    before = contents(store)
    shares = divide(open_release(release, Findings(release)).videos, 3)
    missing = [s.name for share in shares[1:] for v in share for s in v.subjects]
    said = f"lacks {len(missing)} of 4 subjects .*: {', '.join(sorted(missing))}; run "
    with pytest.raises(
        StoreError, match=said + "--shards=3 again with each of --shard=1,2"
    ):
        finish(release, store)
    assert contents(store) == before
    pack(release, store, Share(2, 3))
    with pytest.raises(StoreError, match="--shards=3 again with --shard=1, then"):
        finish(release, store)
    (store / "sound/beta.npy").unlink(missing_ok=True)
    with pytest.raises(StoreError, match="beta_left, beta_right"):
        finish(release, store, shares=2)
    for index in range(3):
        pack(release, store, Share(index, 3))
    finish(release, store)
    assert contents(store) == whole


def test_a_merge_with_other_options_or_of_another_release_is_refused(release, tmp_path):
    store = tmp_path / "store"
    pack(release, store, Share(0, 1))
    for options in ({"image_size": 2 * SIZE}, {"image_size": SIZE, "images": "jpeg"}):
        with pytest.raises(StoreError, match="packed with other options: image"):
            merge(release, store, **options)
    before = contents(store)
    with pytest.raises(StoreError, match="image_size was 16, now 112"):
        prepare_share(release, store, Share(1, 2))
    assert contents(store) == before
    (store / "options.json").unlink()  # as if an earlier version had begun it
    with pytest.raises(StoreError, match=r"lacks 4 of 4 .*release or with other opt"):
        merge(release, store, images="jpeg", image_size=SIZE)
    pack(release, store, Share(0, 1))
    other = Path(shutil.copytree(release, tmp_path / "other"))
    (other / "cropped_aligned/alpha/00003.jpg").unlink()
    with pytest.raises(
        StoreError, match=r"lacks 1 of 4 .*another release\): alpha; run"
    ):
        finish(other, store)
    finish(release, store)


DIES = """
import sys
from abaw_jax.store import writer
from abaw_jax.store.shares import Share
from tests.support.sudden_end import SuddenEnd
release, store, share, calls = sys.argv[1:]
SuddenEnd(int(calls))
writer.prepare_share(release, store, Share(int(share), 2), image_size=16, workers=2)
"""


@pytest.mark.parametrize("calls", [1, 4, 9])
def test_a_killed_shard_goes_on_and_leaves_nothing(release, whole, tmp_path, calls):
    store = tmp_path / "store"
    program = [sys.executable, "-c", DIES, release, store, "0", str(calls)]
    killed = subprocess.run(program, cwd=ROOT, capture_output=True, text=True)
    assert killed.returncode == -9, killed.stderr
    assert [*store.rglob(LOCK)]  # stale: its process is dead
    assert [*store.rglob("*.partial")] or calls % 2 == 0
    pack(release, store, Share(1, 2))
    with pytest.raises(StoreError, match="--shards=2 again with --shard=0, then"):
        finish(release, store)
    pack(release, store, Share(0, 2))
    finish(release, store)
    assert contents(store) == whole
    assert not [*store.rglob("*.partial")]


def test_what_runs_at_the_same_time_is_refused_and_named(release, tmp_path):
    store, tried = tmp_path / "store", []
    by = f"is in use by process {os.getpid()} on "

    def while_a_shard_runs(done, total):
        if tried:
            return
        tried.append(None)
        for call in (
            lambda: pack(release, store, Share(0, 2)),
            lambda: pack(release, store, Share(2, 3)),
            lambda: finish(release, store),
            lambda: prepare(release, store, image_size=SIZE),
        ):
            with pytest.raises(StoreError, match=f".shards/0-of-2 {by}"):
                call()
        pack(release, store, Share(1, 2))

    pack(release, store, Share(0, 2), progress=while_a_shard_runs)
    assert tried
    tried.clear()

    def while_a_merge_runs(done, total):
        if tried:
            return
        tried.append(None)
        for call in (
            lambda: finish(release, store),
            lambda: prepare(release, store, image_size=SIZE),
        ):
            with pytest.raises(StoreError, match=f"store {by}"):
                call()
        for share in (Share(0, 2), Share(1, 2), Share(0, 5)):
            with pytest.raises(StoreError, match=f"store {by}"):
                pack(release, store, share)

    finish(release, store, progress=while_a_merge_runs)
    assert tried
    check(store)


def test_who_writes_the_whole_holds_the_locks_of_killed_shards(tmp_path):
    share = Share(0, 2)
    with writing_share(tmp_path, share):
        lock = share.folder(tmp_path) / LOCK
        owner = json.loads(lock.read_text())
    lock.write_text(json.dumps(owner | {"pid": 2**22, "started": "0"}))
    with writing_whole(tmp_path):
        assert json.loads(lock.read_text())["pid"] == os.getpid()
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize(
    "name", ["5-of-0", "3-of-3", "1-of-99999999", "0-of-1000001", "00-of-3"]
)
def test_odd_names_among_the_shares_are_left_out(tmp_path, name):
    """One ended in an IndexError, another took 22 GB."""
    (tmp_path / ".shards" / name).mkdir(parents=True)
    assert number_of_shares(tmp_path) is None
    Share(2, 3).folder(tmp_path).mkdir()
    os.utime(Share(2, 3).folder(tmp_path), (0, 0))
    assert number_of_shares(tmp_path) == 3


def test_a_file_in_place_of_the_folder_of_shares_is_named(release, tmp_path):
    (tmp_path / ".shards").touch()
    for call in (finish, pack):
        share = {"share": Share(0, 3)} if call is pack else {}
        with pytest.raises(StoreError, match=r"^\S+\.shards is a file .*: remove it$"):
            call(release, tmp_path, **share)


def test_a_share_that_was_refused_may_be_written_later(tmp_path):
    with writing_whole(tmp_path):
        with (
            pytest.raises(InUseError, match="in use"),
            writing_share(tmp_path, Share(0, 2)),
        ):
            pytest.fail("both write")
    with writing_share(tmp_path, Share(0, 2)):
        pass


def test_the_command_packs_shares_and_merges_them(release, whole, tmp_path):
    def run(*flags):
        program = [sys.executable, "-m", "abaw_jax.prepare", f"--release={release}"]
        program += [f"--store={tmp_path / 'store'}", f"--image_size={SIZE}", *flags]
        return subprocess.run(program, cwd=ROOT, capture_output=True, text=True)

    wrong = run("--shards=2", "--shard=2")
    assert "Name --shards=N with --shard=I" in wrong.stdout + wrong.stderr
    assert "shard 1 of 2 is packed" in run("--shards=2", "--shard=1").stdout
    unfinished = run("--merge", "--shards=2")
    assert unfinished.returncode == 1 and len(unfinished.stderr.splitlines()) == 1
    assert unfinished.stderr.endswith("again with --shard=0, then --merge\n")
    run("--shards=2", "--shard=0")
    assert run("--merge").returncode == 0
    (tmp_path / "store/report.html").unlink()
    assert contents(tmp_path / "store") == whole
