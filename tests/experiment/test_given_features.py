"""Features from the user's own folders: rows of images, and what is refused."""

import math
import os
from types import SimpleNamespace

import numpy as np
import pytest

from abaw_jax.experiment import features
from abaw_jax.experiment.checks import check
from abaw_jax.experiment.given_features import read_images, read_sounds
from abaw_jax.releases.frame_times import FrameTimes
from configs import base, quickstart

NUMBERS = {"a": [1, 2, 5], "b": [3, 4], "none": []}
FPS, RATE, SECONDS = 10, 1000, 2.0


def make_store():
    """Three subjects; the crops of frames 3 and 4 of "a" are missing."""
    subjects = [
        SimpleNamespace(name=name, num_images=len(numbers), fps=FPS)
        for name, numbers in NUMBERS.items()
    ]
    return SimpleNamespace(
        subjects=subjects,
        sample_rate=RATE,
        frame_times=lambda _: FrameTimes(FPS),
        sound_length=lambda _: int(SECONDS * RATE),
        numbers=lambda index: np.array([*NUMBERS.values()][index], np.int32),
        sound=lambda index: np.zeros(int(SECONDS * RATE), np.int16),
    )


def write(folder, **lengths):
    """A file for each subject, whose values name subject and row."""
    for k, (name, length) in enumerate(lengths.items()):
        values = 100 * k + np.arange(length)[:, None] + np.zeros((1, 4))
        np.save(folder / f"{name}.npy", values)
    return str(folder)


def by_image(given):
    """First column of every image's features."""
    each = [given.read(index)[rows, 0] for index, rows in enumerate(given.rows)]
    return np.concatenate(each)


@pytest.mark.parametrize(
    ("lengths", "expected"),
    [
        ({"a": 3, "b": 2, "none": 0}, [0, 1, 2, 100, 101]),  # stored images
        ({"a": 5, "b": 4, "none": 7}, [0, 1, 4, 102, 103]),  # frames
        ({"a": 20, "b": 2, "none": 0}, [0, 1, 4, 100, 101]),  # a longer video
    ],
)
def test_a_row_belongs_to_an_image_or_to_a_frame(tmp_path, lengths, expected):
    for read in (read_images, read_sounds):
        given = read(make_store(), write(tmp_path, **lengths))
        np.testing.assert_array_equal(by_image(given), expected)
        assert given.lengths == [*lengths.values()]


def test_sound_may_have_steps_of_its_own(tmp_path):
    """Fifty a second for two seconds; four a second, fewer than there are images."""
    folder = write(tmp_path, a=100, b=1, none=0)
    given = read_sounds(make_store(), folder)
    np.testing.assert_array_equal(by_image(given), [0, 5, 20, 100, 100])


def claim(path, shape, dtype="<f4"):
    """A header of that shape, and 32 bytes."""
    with path.open("wb") as file:
        header = {"descr": dtype, "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        file.write(bytes(32))


def fill(path, shape):
    """A file as long as its header says: a hole, which takes no space."""
    claim(path, shape)
    os.truncate(path, 128 + 4 * math.prod(shape))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda path: path.unlink(), "1 of 3 subjects have no features; .*b.npy"),
        (
            lambda path: np.save(path, np.zeros((1, 4))),
            "1 rows: .* 2 stored images",
        ),
        (lambda path: np.save(path, np.zeros((2, 5))), "5 columns, .*a.npy has 4"),
        (lambda path: np.save(path, np.zeros(2)), r"float64 \(2,\); give floats"),
        (lambda path: np.save(path, np.zeros((2, 4), int)), "holds int64"),
        (lambda path: np.save(path, np.full((2, 4), np.nan)), "not finite in row 0"),
        (lambda path: path.write_bytes(b"no array"), "cannot be read"),
        (lambda path: path.write_bytes(b""), "cannot be read"),
        (lambda path: claim(path, (10**11, 4)), "cannot be read .*greater than file"),
        (lambda path: claim(path, (2, 10**30)), "cannot be read"),
        (lambda path: claim(path, (-1, 4)), "cannot be read"),
        (lambda path: claim(path, (2, 4), "|V1000"), "holds void|cannot be read"),
        (lambda path: fill(path, (10**9, 4)), "1000000000 rows: give one for each"),
        (
            lambda path: np.save(path, np.array([[None]]), allow_pickle=True),
            "cannot be read",
        ),
    ],
)
def test_what_does_not_fit_is_named(tmp_path, spoil, message):
    folder = write(tmp_path, a=3, b=2, none=0)
    spoil(tmp_path / "b.npy")
    with pytest.raises(ValueError, match=message):
        by_image(read_images(make_store(), folder))


def test_more_steps_than_samples_are_refused_unread(tmp_path):
    folder = write(tmp_path, a=100, b=1, none=0)
    fill(tmp_path / "a.npy", (10**9, 100))
    with pytest.raises(ValueError, match="1000000000 rows: give one"):
        read_sounds(make_store(), folder)


def test_they_take_the_place_of_both_encoders(tmp_path):
    config = quickstart.get_config()
    config.features.image = write(tmp_path, a=3, b=2, none=0)
    config.features.sound = config.features.image
    run = SimpleNamespace(store=make_store(), config=config)
    table = features.extract(run, None, None)
    np.testing.assert_array_equal(table.image[:, 0], [0, 1, 2, 100, 101])
    np.testing.assert_array_equal(table.sound[table.sound_rows], table.image)
    assert not table.lost.any()


def test_given_features_are_known_by_their_content(tmp_path):
    config = quickstart.get_config()
    config.features.image = write(tmp_path, a=3, b=2, none=0)
    config.features.sound = config.features.image
    run = SimpleNamespace(store=make_store(), config=config)

    def fingerprint():
        return features.extract(run, None, None).fingerprint

    before, path = fingerprint(), tmp_path / "b.npy"
    os.utime(path, (1, 1))  # as of a copy
    assert fingerprint() == before
    data = path.read_bytes()
    path.write_bytes(data[:-3] + bytes([data[-3] ^ 1]) + data[-2:])
    os.utime(path, (1, 1))
    assert fingerprint() != before
    np.save(path, np.zeros((4, 4)))
    assert fingerprint() != before


def test_trained_encoders_take_no_features():
    config = base.get_config()
    config.features.sound, config.regime = "folder", "end_to_end"
    with pytest.raises(ValueError, match=r"features\.sound is given, but regime"):
        check(config)
