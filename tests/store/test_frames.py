"""Crops stored as JPEG: indexed as an array would be, and damage named."""

import io

import numpy as np
import pytest
from PIL import Image

from abaw_jax.store.frames import JpegFrames, StoreError, encode_jpeg, write_jpegs

SIZE = 16
NUMBERS = np.array([3, 4, 9, 10, 12], np.int32)


def make_jpegs():
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (len(NUMBERS), 1, 1, 3), np.uint8)
    return [encode_jpeg(np.tile(each, (SIZE, SIZE, 1))) for each in pixels]


def make_frames(jpegs):
    data = np.frombuffer(b"".join(jpegs), np.uint8)
    ends = np.cumsum([len(jpeg) for jpeg in jpegs])
    return JpegFrames("alpha", data, ends, NUMBERS, SIZE)


@pytest.mark.parametrize(
    "picked",
    [
        slice(None),
        slice(1, 3),
        slice(4, 99),
        slice(5, 9),
        slice(None, None, -2),
        np.array([4, 0, 0, 2]),
        np.array([-1, 1, -5], np.int32),
        np.array([True, False, True, True, False]),
        np.zeros(0, int),
    ],
)
def test_indexing_is_that_of_an_array_of_decoded_crops(picked):
    jpegs = make_jpegs()
    every = np.stack([np.asarray(Image.open(io.BytesIO(jpeg))) for jpeg in jpegs])
    frames = make_frames(jpegs)
    assert len(frames) == len(NUMBERS)
    assert frames[picked].dtype == np.uint8
    np.testing.assert_array_equal(frames[picked], every[picked])


def test_an_index_too_large_is_an_error():
    with pytest.raises(IndexError, match="out of bounds"):
        make_frames(make_jpegs())[np.array([5])]


def coded(mode="RGB", size=SIZE, kind="JPEG"):
    file = io.BytesIO()
    Image.new(mode, (size, size)).save(file, kind)
    return file.getvalue()


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "UnidentifiedImageError"),
        (coded()[:200], "OSError"),
        (coded(kind="PNG"), "UnidentifiedImageError"),
        (coded(size=20), "20x20 pixels of RGB"),
        (coded("L"), "16x16 pixels of L"),
    ],
    ids=["empty", "cut", "png", "size", "grey"],
)
def test_a_crop_that_no_longer_decodes_is_named(data, reason):
    jpegs = make_jpegs()
    jpegs[2] = data
    frames = make_frames(jpegs)
    frames[np.array([0, 1, 3, 4])]
    with pytest.raises(StoreError, match=rf"frame 9 of alpha .*\({reason}\)"):
        frames[:]


def test_files_are_written_as_numpy_would(tmp_path):
    pieces = [b"abc", b"", b"defgh"]
    with open(tmp_path / "ours.npy", "wb") as file:
        ends = write_jpegs(file, iter(pieces))
    np.save(tmp_path / "numpy.npy", np.frombuffer(b"abcdefgh", np.uint8))
    assert (tmp_path / "ours.npy").read_bytes() == (tmp_path / "numpy.npy").read_bytes()
    np.testing.assert_array_equal(ends, [3, 3, 8])
    assert ends.dtype == np.int64


def test_colours_keep_their_resolution():
    stripes = np.zeros((SIZE, SIZE, 3), np.uint8)
    stripes[:, ::2, 0] = stripes[:, 1::2, 2] = 255  # red and blue, a pixel each
    decoded = np.asarray(Image.open(io.BytesIO(encode_jpeg(stripes)))).astype(int)
    assert np.abs(decoded - stripes).mean() < 10
