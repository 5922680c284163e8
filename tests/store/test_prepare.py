"""From a release to a store: contents, overlap, repetition, options, the command."""

import json
import os
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from abaw_jax import synthetic
from abaw_jax.store.reader import StoreError, check, open_store
from abaw_jax.store.shares import Share
from abaw_jax.store.writer import inspect, merge, prepare, prepare_share
from tests.support.tiny_release import (
    AU,
    AU_HEADER,
    COUNTS,
    IMAGES,
    SIZE,
    VA,
    contents,
    counts_of,
    write_crops,
    write_lines,
    write_release,
)

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def pristine(tmp_path_factory):
    """The tiny release, not to be changed."""
    return write_release(tmp_path_factory.mktemp("tiny") / "release")


@pytest.fixture
def release(pristine, tmp_path):
    """A copy of the tiny release."""
    return Path(shutil.copytree(pristine, tmp_path / "release"))


def test_tiny_release_is_packed_as_it_is_known(pristine, tmp_path):
    report = prepare(pristine, tmp_path / "store", image_size=SIZE)
    assert counts_of(report) == COUNTS
    assert (report.subjects, report.images, report.resized) == (4, IMAGES, 0)
    assert report.overlap == {} and report.removed == {}
    assert [(a.kind, a.file) for a in report.anomalies] == [
        ("no_sound", "batch2/gamma10_1.mp4")
    ]
    assert json.loads((tmp_path / "store/report.json").read_bytes()) == report.as_json()
    check(tmp_path / "store")
    store = open_store(tmp_path / "store")
    alpha, left, right, gamma = store.subjects
    assert (alpha.name, alpha.video, alpha.fps) == ("alpha", "alpha", 10)
    assert (alpha.num_frames, alpha.num_images, alpha.first_row) == (12, 11, 0)
    assert (left.name, left.video, right.video) == ("beta_left", "beta", "beta")
    assert (gamma.name, gamma.video) == ("gamma10_1", "gamma10_1")
    assert list(store.numbers(0)) == [1, 2, 3, 4, 6, 7, 8, 9, 10, 11, 12]
    for index in range(4):
        # Crops are of one colour: red is 20 times the frame; JPEG errs a little.
        red = store.frames(index)[:, 8, 8, 0].astype(int)
        assert np.abs(red - 20 * store.numbers(index)).max() <= 2
    assert len(store.sound(0)) > 26_000 and len(store.sound(3)) == 0
    assert np.array_equal(store.sound(1), store.sound(2))


def test_tiny_labels_are_packed_as_they_are_known(pristine, tmp_path):
    prepare(pristine, tmp_path / "store", image_size=SIZE)
    store = open_store(tmp_path / "store")
    va = store.labels("va", "train")
    assert set(va.subject) == {0} and 5 not in va.frame and max(va.frame) == 12
    np.testing.assert_allclose(va.va[:, 0], (va.frame - 1) / 20, atol=1e-7)
    assert va.va_where.all() and not va.expr_where.any() and not va.au_where.any()
    expr = store.labels("expr", "train")
    np.testing.assert_array_equal(expr.frame, np.arange(2, 13))
    np.testing.assert_array_equal(expr.expr, (expr.frame - 1) % 8)
    au = store.labels("au", "train")
    np.testing.assert_array_equal(au.frame, np.arange(2, 13))
    np.testing.assert_array_equal(au.au_where[0], np.arange(12) == 0)
    assert au.au_where[1:].all()
    mtl = store.labels("mtl", "train")
    np.testing.assert_array_equal(mtl.subject, [0, 0, 1])
    np.testing.assert_array_equal(mtl.frame, [1, 2, 1])
    np.testing.assert_array_equal(mtl.va_where, [True, False, True])
    np.testing.assert_array_equal(mtl.expr_where, [True, False, False])
    np.testing.assert_array_equal(mtl.au_where.all(axis=1), [True, True, False])
    np.testing.assert_array_equal(mtl.expr, [3, 0, 0])
    rows = store.row_of(mtl.subject, mtl.frame)
    np.testing.assert_array_equal(rows, [0, 1, 11])


def test_check_reports_what_packing_reports_and_writes_nothing(release, tmp_path):
    (release / "cropped_aligned/alpha/00003.jpg").write_bytes(b"hello")
    before = contents(release)
    report = inspect(release, image_size=SIZE)
    assert contents(release) == before
    assert os.listdir(tmp_path) == ["release"]
    assert prepare(release, tmp_path / "store", image_size=SIZE) == report


def test_overlap_is_compared_by_video(release, tmp_path):
    for name in ("beta_left", "gamma10_1"):
        write_lines(
            release / VA / f"Validation_Set/{name}.txt", ["valence,arousal", "0,0"]
        )
    write_lines(
        release / AU / "Train_Set/gamma10_1.txt", [AU_HEADER, ",".join("1" * 12)]
    )
    kept = prepare(release, tmp_path / "kept", image_size=SIZE, overlap="keep")
    report = prepare(release, tmp_path / "removed", image_size=SIZE)
    gamma = ["gamma10_1"]
    assert report.overlap == {
        "expr": {"va": ["beta_left"]},
        "au": {"va": ["beta_right", *gamma], "expr": gamma, "au": gamma, "mtl": gamma},
        "mtl": {"va": ["beta_left"]},
    }
    assert report.removed == {"expr": 11, "au": 12, "mtl": 1}
    assert kept.overlap == report.overlap and kept.removed == {}
    assert counts_of(kept) == counts_of(report)  # both before anything is removed
    kept, removed = open_store(tmp_path / "kept"), open_store(tmp_path / "removed")
    assert kept.fingerprint != removed.fingerprint
    for name, frames in (("va", 11), ("expr", 0), ("au", 0), ("mtl", 2)):
        assert len(removed.labels(name, "train")) == frames
    assert len(kept.labels("au", "train")) == 12
    for name in ("va", "expr", "au", "mtl"):
        rows = removed.labels(name, "validation"), kept.labels(name, "validation")
        assert len(rows[0]) == len(rows[1]) > 0


FIELDS = ("frame", "va", "va_where", "expr", "expr_where", "au", "au_where")


def add_crops_of_other_sizes(release, known):
    """``cropped`` beside ``cropped_aligned``; one subject has only the former."""
    aligned = release / "cropped_aligned"
    (release / "cropped").mkdir()
    alone, *both = sorted(known.images)[:4]
    (aligned / alone).rename(release / "cropped" / alone)
    for name in both:
        (release / "cropped" / name).mkdir()
        image = Image.new("RGB", (31, 47), (255, 0, 0))
        image.save(release / "cropped" / name / "00001.jpg")
        image.save(release / "cropped" / name / "99999.jpg")


def mask_single_units(release, known):
    """One unit of one frame of everybody who trains AU; in the truth as well."""
    labels = known.labels["au", "train"]
    folder = next(release.rglob("AU_Detection_Challenge")) / "Train_Set"
    for number, name in enumerate(labels.subjects):
        usable = np.flatnonzero((labels.subject == name) & labels.au_where.all(1))
        row, unit = usable[number], number % 12
        text = (folder / f"{name}.txt").read_bytes().decode()
        end = "\r\n" if "\r\n" in text else "\n"
        lines = text.split(end)
        values = lines[labels.frame[row]].split(",")
        values[unit] = "-1"
        lines[labels.frame[row]] = ",".join(values)
        (folder / f"{name}.txt").write_bytes(end.join(lines).encode())
        labels.au_where[row, unit], labels.au[row, unit] = False, 0


@pytest.mark.slow
def test_synthetic_release_is_packed_as_its_generator_says(tmp_path):
    """Every quirk at once: those that the generator draws, and two more."""
    settings = synthetic.SyntheticSettings(
        train_subjects=10, validation_subjects=5, seconds=4.0, crop_size=24
    )
    synthetic.write_release(tmp_path / "release", settings, seed=5, workers=1)
    known = synthetic.truth(settings, seed=5)
    add_crops_of_other_sizes(tmp_path / "release", known)
    mask_single_units(tmp_path / "release", known)
    report = prepare(
        tmp_path / "release", tmp_path / "store", image_size=24, overlap="keep"
    )
    store = open_store(tmp_path / "store")
    names = [subject.name for subject in store.subjects]
    assert names == sorted(known.images)
    videos = {video.name: video for video in known.videos}
    for index, subject in enumerate(store.subjects):
        video = videos[subject.video]
        assert subject.name in [person.name for person in video.people]
        assert (subject.fps, subject.num_frames) == (video.fps, video.num_frames)
        np.testing.assert_array_equal(store.numbers(index), known.images[subject.name])
        seconds = len(store.sound(index)) / store.sample_rate
        assert abs(seconds - video.num_frames / video.fps) < 0.1
    for (name, split), expected in known.labels.items():
        labels = store.labels(name, split)
        subjects = np.array(names)[labels.subject]
        np.testing.assert_array_equal(subjects, expected.subject)
        for field in FIELDS:
            found = getattr(labels, field)
            assert found.dtype == getattr(expected, field).dtype
            np.testing.assert_array_equal(found, getattr(expected, field))
        counts = report.sets[name][split]
        assert counts.subjects == len(expected.subjects)
        assert counts.frames == len(expected.frame)
        assert counts.labels_without_image == expected.labels_without_image
        assert counts.invalid_labels == expected.invalid_labels
    assert sum(c.frames for s in report.sets.values() for c in s.values()) > 1000
    assert report.overlap
    kinds = {anomaly.kind for anomaly in report.anomalies}
    assert {"unaligned", "duplicate"} <= kinds
    written = json.loads((tmp_path / "store" / "report.json").read_text())
    assert written["sets"]["va"]["train"]["frames"] == report.sets["va"]["train"].frames


def test_a_second_run_touches_nothing(release, tmp_path):
    first = prepare(release, tmp_path / "store", image_size=SIZE)
    times = {
        p: (p.stat().st_ino, p.stat().st_mtime_ns)
        for p in (tmp_path / "store").rglob("*.npy")
    }
    calls = []
    again = prepare(
        release,
        tmp_path / "store",
        image_size=SIZE,
        progress=lambda done, total: calls.append((done, total)),
    )
    assert again == first
    assert calls[-1] == (IMAGES, IMAGES) and calls == sorted(calls)
    assert {total for _, total in calls} == {IMAGES} and calls[0][0] < IMAGES
    for p, known in times.items():
        assert (p.stat().st_ino, p.stat().st_mtime_ns) == known


def test_only_what_changed_is_packed_again(release, tmp_path):
    store = tmp_path / "store"
    prepare(release, store, image_size=SIZE)
    old = open_store(store).fingerprint
    times = {
        p.name: (p / "frames.npy").stat().st_mtime_ns for p in store.glob("subjects/*")
    }
    write_crops(release / "cropped_aligned/alpha", [5])
    (store / "subjects/beta_left/frames.npy").write_bytes(b"short")
    report = prepare(release, store, image_size=SIZE)
    assert report.images == IMAGES + 1
    check(store)
    assert open_store(store).fingerprint != old
    for name in ("alpha", "beta_left", "beta_right", "gamma10_1"):
        again = (store / f"subjects/{name}/frames.npy").stat().st_mtime_ns != times[
            name
        ]
        assert again == (name in ("alpha", "beta_left"))
    prepare(release, tmp_path / "fresh", image_size=SIZE)
    assert contents(store) == contents(tmp_path / "fresh")


@pytest.mark.parametrize("recorded", [True, False])
@pytest.mark.parametrize(
    ("option", "said"),
    [
        ({"image_size": 24}, "image_size was 16, now 24; give the former values,"),
        ({"images": "jpeg"}, "images was pixels, now jpeg; give the former values,"),
    ],
)
def test_a_forgotten_option_replaces_no_store(
    pristine, tmp_path, option, said, recorded
):
    """Every piece was made again without a word, and the former ones were lost."""
    store, options = tmp_path / "store", {"image_size": SIZE, **option}
    prepare(pristine, store, image_size=SIZE)
    if not recorded:  # earlier versions left no such file
        (store / "options.json").unlink()
    before = contents(store)
    calls = prepare, merge, partial(prepare_share, share=Share(0, 2))
    for call in calls:
        with pytest.raises(StoreError, match=f"with other options: {said} .* delete"):
            call(pristine, store, read=pytest.fail, **options)
    assert contents(store) == before
    prepare(pristine, store, image_size=SIZE)
    assert json.loads((store / "options.json").read_bytes())["image_size"] == SIZE


def test_a_store_in_the_folder_of_the_release_is_refused(pristine, tmp_path):
    before = contents(pristine)
    (tmp_path / "link").symlink_to(pristine)
    for store in (pristine, tmp_path / "link", pristine / "batch1" / ".."):
        for call in (prepare, merge, partial(prepare_share, share=Share(0, 3))):
            with pytest.raises(StoreError, match="is the folder of the release itself"):
                call(pristine, store, image_size=SIZE)
    assert contents(pristine) == before


def test_a_jpeg_store_keeps_the_bytes_of_a_crop_that_needs_nothing(release, tmp_path):
    crops = release / "cropped_aligned/alpha"
    rng = np.random.default_rng(0)
    noise = Image.fromarray(rng.integers(0, 256, (SIZE, SIZE, 3), np.uint8))
    noise.save(crops / "00001.jpg", quality=30)
    noise.save(crops / "00002.jpg", progressive=True)
    noise.resize((2 * SIZE, 2 * SIZE)).save(crops / "00003.jpg")
    noise.convert("L").save(crops / "00004.jpg")
    (crops / "00006.jpg").write_bytes((crops / "00007.jpg").read_bytes()[:300])
    pixels, jpeg = (tmp_path / images for images in ("pixels", "jpeg"))
    reports = [
        prepare(release, path, image_size=SIZE, images=path.name)
        for path in (pixels, jpeg)
    ]
    assert reports[0] == reports[1]
    assert [a.kind for a in reports[1].anomalies].count("unreadable") == 1
    check(jpeg)
    assert not list(jpeg.rglob("frames.npy")) and not list(pixels.rglob("ends.npy"))
    pixels, jpeg = open_store(pixels), open_store(jpeg)
    assert (pixels.images, jpeg.images) == ("pixels", "jpeg")
    for index in range(4):
        np.testing.assert_array_equal(jpeg.numbers(index), pixels.numbers(index))
        assert len(jpeg.frames(index)) == len(pixels.frames(index))
        kept = slice(4, None) if index == 0 else slice(None)
        np.testing.assert_array_equal(
            jpeg.frames(index)[kept], pixels.frames(index)[kept]
        )
    first = jpeg.frames(0)[:4].astype(int), pixels.frames(0)[:4].astype(int)
    np.testing.assert_array_equal(first[0][0], first[1][0])
    # Coded again at quality 95: each value is off by a few at most, on average by two.
    assert 0 < np.abs(first[0][1:] - first[1][1:]).mean() < 3
    jpegs, ends = (
        np.load(jpeg.path / f"subjects/alpha/{name}.npy") for name in ("jpegs", "ends")
    )
    assert ends.dtype == np.int64 and ends[-1] == len(jpegs)
    assert jpegs[: ends[0]].tobytes() == (crops / "00001.jpg").read_bytes()
    assert jpegs[ends[-2] :].tobytes() == (crops / "00012.jpg").read_bytes()


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"image_size": 4}, "image_size must be 8 to 1024 pixels, not 4"),
        ({"images": "png"}, "images must be 'pixels' or 'jpeg', not 'png'"),
        ({"overlap": "drop"}, "overlap must be 'remove' or 'keep', not 'drop'"),
    ],
)
def test_options_out_of_range_are_reported(pristine, tmp_path, options, text):
    with pytest.raises(ValueError, match=text):
        prepare(pristine, tmp_path, **options)
    assert not list(tmp_path.iterdir())


def test_a_store_that_cannot_be_written_is_reported(pristine, tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StoreError, match=r"stopped at .*file: File exists"):
        prepare(pristine, tmp_path / "file")


def test_a_store_of_another_version_is_left_alone(pristine, tmp_path):
    (tmp_path / "manifest.json").write_text('{"version": 99}')
    with pytest.raises(StoreError, match="version 99, this program reads 2; prepare"):
        prepare(pristine, tmp_path)
    assert (tmp_path / "manifest.json").read_text() == '{"version": 99}'


def run_command(*flags):
    program = [sys.executable, "-m", "abaw_jax.prepare", *map(str, flags)]
    return subprocess.run(program, capture_output=True, text=True, cwd=ROOT)


def test_the_command_packs_and_checks(pristine, tmp_path):
    store = tmp_path / "store"
    flags = (f"--release={pristine}", f"--store={store}", "--image_size=16")
    packed = run_command(*flags)
    assert packed.returncode == 0, packed.stderr
    assert "4 subjects, 47 images" in packed.stdout
    assert "batch2/gamma10_1.mp4: the file has no sound track" in packed.stdout
    checked = run_command(*flags, "--check")
    assert checked.returncode == 0 and "as it was written" in checked.stdout
    jpeg = run_command(*flags[::2], f"--store={tmp_path / 'jpeg'}", "--images=jpeg")
    assert jpeg.returncode == 0 and open_store(tmp_path / "jpeg").images == "jpeg"
    data = bytearray((store / "sound/alpha.npy").read_bytes())
    data[2000] ^= 1
    (store / "sound/alpha.npy").write_bytes(data)
    checked = run_command(f"--store={store}", "--check")
    assert checked.returncode == 1 and "is damaged: sound/alpha.npy" in checked.stderr


def test_a_check_names_every_file_once_and_keeps_all_findings(pristine, tmp_path):
    release = tmp_path / "release"
    shutil.copytree(pristine, release)
    path = next(path for path in release.rglob("alpha.txt") if "VA" in str(path))
    path.write_text(path.read_text() + "not,a,number\n" * 30)
    target = tmp_path / "findings.json"
    flags = f"--release={release}", "--check", "--image_size=16", f"--json={target}"
    checked = run_command(*flags)
    assert checked.returncode == 0, checked.stderr
    (line,) = [line for line in checked.stdout.splitlines() if "alpha.txt" in line]
    assert "more of this kind)" in line
    found = json.loads(target.read_text())["anomalies"]
    assert sum("alpha.txt" in each["file"] for each in found) > 2
    target.unlink()
    packed = run_command(flags[0], f"--store={tmp_path / 'store'}", *flags[2:])
    assert packed.returncode == 0, packed.stderr
    assert json.loads(target.read_text())["anomalies"] == found


@pytest.mark.parametrize(
    ("flags", "text"),
    [
        (
            ["--store=x"],
            "Name both, --release=DIR (or --affectnet=DIR) and --store=DIR.",
        ),
        (["--release=nowhere", "--store=x"], "release nowhere is not a folder"),
        (["--store=nowhere", "--check"], "no store at nowhere"),
        (["--release=x", "--store=x", "more"], "more is not a flag"),
    ],
)
def test_the_command_says_what_is_wrong(flags, text):
    result = run_command(*flags)
    assert result.returncode == 1
    assert text in result.stdout + result.stderr
    assert "Traceback" not in result.stderr


def test_rows_that_cannot_be_one_a_frame_are_reported(tmp_path):
    """A label every fifth frame is no label of the first fifth of the frames."""
    release = write_release(tmp_path / "release")
    path = next(path for path in release.rglob("alpha.txt") if "VA" in str(path))
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines, *["0,0"] * 60]) + "\n")
    message = [
        a for a in inspect(release, image_size=SIZE).anomalies if a.kind == "rows"
    ]
    assert (
        len(message) == 1 and "of alpha; row n is taken for frame n" in message[0].text
    )
