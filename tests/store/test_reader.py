"""The packed store against plain arrays and loops."""

import dataclasses
import json
import os
import pickle
import shutil

import numpy as np
import pytest

from abaw_jax.releases.labels import Labels
from abaw_jax.store import reader
from abaw_jax.store.file_limit import raise_descriptor_limit
from abaw_jax.store.files import describe_file, json_bytes, label_file, replacing
from abaw_jax.store.frames import DigestError, write_frames
from abaw_jax.store.reader import (
    STORE_VERSION,
    StoreError,
    check,
    open_store,
)
from abaw_jax.tasks import SETS, SPLITS

SIZE = 8


def write_store(path, faces, *, labels=0):
    """A store of the given frame numbers, pixels telling subject and number."""
    files, subjects = [], []
    for index, (name, numbers) in enumerate(faces.items()):
        folder = path / "subjects" / name
        with replacing(folder / "frames.npy") as file:
            frames = (np.full((SIZE, SIZE, 3), (index, n % 256, 7)) for n in numbers)
            assert write_frames(file, frames, SIZE) == len(numbers)
        with replacing(folder / "numbers.npy") as file:
            np.save(file, np.array(numbers, np.int32))
        with replacing(path / f"sound/{name}.npy") as file:
            np.save(file, np.arange(index * 100, dtype=np.int16))
        files += [f"subjects/{name}/frames.npy", f"subjects/{name}/numbers.npy"]
        files += [f"sound/{name}.npy"]
        last = max(numbers, default=0)
        subjects.append(
            {
                "name": name,
                "video": name,
                "fps": 30.0,
                "num_frames": last,
                "num_images": len(numbers),
            }
        )
    for set_name in SETS:
        for split in SPLITS:
            for field in dataclasses.fields(Labels):
                files.append(label_file(set_name, split, field.name))
                with replacing(path / files[-1]) as file:
                    np.save(file, np.zeros(labels, np.int32))
    manifest = {
        "version": STORE_VERSION,
        "image_size": SIZE,
        "images": "pixels",
        "tests": [],
        "sample_rate": 22050,
        "subjects": subjects,
        "files": {name: describe_file(path / name) for name in files},
    }
    (path / "manifest.json").write_bytes(json_bytes(manifest))
    return manifest


@pytest.fixture
def path(tmp_path):
    faces = {"a": [1, 2, 5], "b": [], "c": [3], "d": list(range(10, 300, 3))}
    write_store(tmp_path / "store", faces)
    return tmp_path / "store"


def test_arrays_are_those_written(path):
    store = open_store(path)
    assert [s.first_row for s in store.subjects] == [0, 3, 3, 4]
    assert store.num_images == 4 + 97
    assert store.image_size == SIZE and store.sample_rate == 22050
    for index, subject in enumerate(store.subjects):
        frames, numbers = store.frames(index), store.numbers(index)
        assert frames.shape == (subject.num_images, SIZE, SIZE, 3)
        assert frames.dtype == np.uint8 and numbers.dtype == np.int32
        np.testing.assert_array_equal(frames[:, 0, 0, 0], index)
        np.testing.assert_array_equal(frames[:, 3, 4, 1], numbers % 256)
        np.testing.assert_array_equal(store.sound(index), np.arange(index * 100))
        assert not frames.flags.writeable
    assert len(store.labels("au", "validation")) == 0


def test_frames_read_as_numpy_writes_them(path, tmp_path):
    frames = np.random.default_rng(0).integers(0, 256, (5, SIZE, SIZE, 3), np.uint8)
    with replacing(tmp_path / "ours.npy") as file:
        write_frames(file, iter(frames), SIZE)
    np.save(tmp_path / "numpy.npy", frames)
    assert (tmp_path / "ours.npy").read_bytes() == (tmp_path / "numpy.npy").read_bytes()


def test_row_of_is_a_search_through_all_frames(path):
    store = open_store(path)
    rows, row = {}, 0
    for index in range(len(store.subjects)):
        for number in store.numbers(index):
            rows[index, int(number)] = row
            row += 1
    rng = np.random.default_rng(0)
    subject = rng.integers(0, 4, (50, 60))
    frame = rng.integers(-20, 320, (50, 60))
    expected = [rows.get(key, -1) for key in zip(subject.flat, frame.flat, strict=True)]
    found = store.row_of(subject, frame)
    assert found.dtype == np.int32
    np.testing.assert_array_equal(found.ravel(), expected)
    assert store.row_of(0, 5) == 2 and store.row_of(1, 1) == -1
    extremes = np.array([2**31 - 1, -(2**31), 2**62, 0])
    np.testing.assert_array_equal(store.row_of(3, extremes), -1)
    np.testing.assert_array_equal(store.row_of([0, 3], [[1], [10]]), [[0, -1], [-1, 4]])


@pytest.mark.parametrize("subject", [-1, 4, [0, 9]])
def test_row_of_an_unknown_subject_is_an_error(path, subject):
    with pytest.raises(ValueError, match="subject index outside 0 to 3: "):
        open_store(path).row_of(subject, 1)


def test_a_store_travels_to_a_worker_as_its_path(path):
    store = open_store(path)
    store.row_of(0, 1)
    data = pickle.dumps(store)
    assert len(data) < 500
    again = pickle.loads(data)
    assert again.fingerprint == store.fingerprint
    assert again.row_of(3, 10) == 4


def test_fingerprint_tells_any_change(path, tmp_path):
    before = open_store(path).fingerprint
    assert open_store(path).fingerprint == before
    write_store(tmp_path / "other", {"a": [1, 2, 6]})
    assert open_store(tmp_path / "other").fingerprint != before


def test_damage_is_found_and_named(path):
    check(path)
    rng = np.random.default_rng(0)
    names = sorted(json.loads((path / "manifest.json").read_text())["files"])
    for name in rng.choice(names, 12, replace=False):
        whole = (path / name).read_bytes()
        data = bytearray(whole)
        data[rng.integers(len(data))] ^= 1 << rng.integers(8)
        (path / name).write_bytes(data)
        with pytest.raises(StoreError, match=f"is damaged: {name}; delete"):
            check(path)
        (path / name).write_bytes(whole)
    check(path)
    (path / "subjects/a/frames.npy").unlink()
    (path / "sound/a.npy").write_bytes(b"")
    with pytest.raises(StoreError) as error:
        check(path)
    for name in ("subjects/a/frames.npy", "sound/a.npy"):
        assert name in str(error.value)


def test_a_damaged_file_is_named_when_it_is_used(path):
    (path / "subjects/a/frames.npy").write_bytes(b"\x93NUMPY\x01\x00 cut")
    (path / "sound/d.npy").unlink()
    store = open_store(path, "never")
    with pytest.raises(StoreError, match=r"subjects/a/frames\.npy cannot be read"):
        store.frames(0)
    with pytest.raises(StoreError, match=r"sound/d\.npy cannot be read"):
        store.sound(3)
    assert len(store.frames(3)) == 97


READS = {
    "subjects/d/frames.npy": lambda store: store.frames(3),
    "subjects/d/numbers.npy": lambda store: store.numbers(3),
    "sound/d.npy": lambda store: store.sound(3),
    "labels/va_train/va.npy": lambda store: store.labels("va", "train"),
}


@pytest.mark.parametrize("name", READS)
def test_a_file_is_compared_with_its_checksum_when_it_is_first_used(tmp_path, name):
    path = tmp_path
    write_store(path, {"a": [1], "b": [], "c": [3], "d": [2, 3]}, labels=2)
    data = bytearray((path / name).read_bytes())
    data[-1] ^= 1
    (path / name).write_bytes(data)
    with pytest.raises(StoreError, match=f"is damaged: {name}; delete"):
        open_store(path, "always")
    store = open_store(path)
    for other, read in READS.items():
        if other != name:
            read(store)
    for _ in range(2):
        with pytest.raises(DigestError, match=f"damaged: {name}; delete .*abaw_jax.pr"):
            READS[name](store)
    with pytest.raises(DigestError):
        READS[name](pickle.loads(pickle.dumps(store)))
    READS[name](open_store(path, "never"))
    (path / name).unlink()
    with pytest.raises(DigestError, match=name):
        READS[name](store)


def test_a_file_is_read_once_to_compare_it(path, monkeypatch):
    calls = []
    monkeypatch.setattr(reader, "describe_file", lambda p: calls.append(p) or found(p))
    found, store = describe_file, open_store(path)
    monkeypatch.setattr(store, "_map", store._open)  # as with many more files
    for _ in range(3):
        store.frames(3)
    assert calls == [path / "subjects/d/frames.npy"]


def test_a_file_that_cannot_be_read_for_a_moment_is_no_damage(path, monkeypatch):
    def refused(name):
        raise PermissionError(13, "Permission denied")

    store = open_store(path)
    with monkeypatch.context() as patched:
        patched.setattr(reader, "describe_file", refused)
        # Not a StoreError, for which rows would be masked.
        with pytest.raises(OSError, match=r"Permission denied: .* let this user read"):
            store.sound(3)
    assert len(store.sound(3)) == 300


def test_the_length_of_sound_is_known_from_the_size_of_its_file(path):
    store = open_store(path)
    assert [store.sound_length(k) for k in range(4)] == [0, 100, 200, 300]
    np.save(path / "sound/d.npy", np.zeros(299, np.int16))
    with pytest.raises(DigestError, match=r"sound/d\.npy"):
        store.sound_length(3)


def test_nothing_is_unpickled(path, tmp_path):
    class Trap:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "executed"),)

    np.save(path / "sound/a.npy", np.array([Trap()], object), allow_pickle=True)
    with pytest.raises(StoreError, match="Python objects"):
        open_store(path, "never").sound(0)
    assert not (tmp_path / "executed").exists()


def edit_manifest(path, **changes):
    manifest = json.loads((path / "manifest.json").read_text())
    (path / "manifest.json").write_bytes(json_bytes(manifest | changes))


def empty(path):
    """Leaves a folder with a file that is of no store."""
    shutil.rmtree(path)
    path.mkdir()
    (path / "notes.txt").touch()


@pytest.mark.parametrize(
    ("damage", "error", "text"),
    [
        (lambda p: os.rename(p, p.parent / "x"), FileNotFoundError, "no store at"),
        (empty, FileNotFoundError, "no store at .*; make one with python -m abaw_jax"),
        (lambda p: (p / "manifest.json").unlink(), StoreError, "is unfinished"),
        (lambda p: (p / "manifest.json").write_text("{"), StoreError, "is damaged"),
        (
            lambda p: (p / "manifest.json").write_text("[" * 100_000),
            StoreError,
            "is damaged",
        ),
        (lambda p: (p / "manifest.json").write_text("[]"), StoreError, "version None"),
        (lambda p: (p / "manifest.json").write_text("{}"), StoreError, "version None"),
        (lambda p: edit_manifest(p, version=0), StoreError, "has version 0, this"),
        (lambda p: edit_manifest(p, files={"../x": {}}), StoreError, "place outside"),
        (lambda p: edit_manifest(p, files={"/x": {}}), StoreError, "place outside"),
        (lambda p: edit_manifest(p, subjects=7), StoreError, "is damaged"),
    ],
)
def test_what_is_no_store_is_reported_in_a_sentence(path, damage, error, text):
    damage(path)
    with pytest.raises(error, match=text):
        open_store(path)


def test_unknown_labels_are_an_error(path):
    with pytest.raises(ValueError, match="no labels 'va', 'test'; sets are"):
        open_store(path).labels("va", "test")


def test_a_file_takes_its_name_when_it_is_complete(tmp_path):
    (tmp_path / "x").write_bytes(b"old")
    with pytest.raises(KeyError), replacing(tmp_path / "x") as file:
        file.write(b"half")
        raise KeyError
    assert [p.name for p in tmp_path.iterdir()] == ["x"]
    assert (tmp_path / "x").read_bytes() == b"old"


def test_opening_a_store_leaves_the_limit_of_the_process_alone(path):
    """A library has no say in it; programs call `raise_descriptor_limit`."""
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, before[1]))
        assert len(open_store(path).frames(0)) == 3
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == 256
        raise_descriptor_limit()
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] > 256
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
