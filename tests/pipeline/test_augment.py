"""Varied frames: what was done to each is read from the pixels that came out."""

import numpy as np
import pytest

from abaw_jax.pipeline.augment import augment_frames

SIZE, WINDOWS, IMAGES, STEP, RED = 32, 64, 3, 6, 200


@pytest.fixture
def frames():
    """Green tells the row of a pixel, blue its column, red how light it is."""
    image = np.full((SIZE, SIZE, 3), RED, np.uint8)
    image[..., 1] = STEP * np.arange(SIZE)[:, None]
    image[..., 2] = STEP * np.arange(SIZE)
    return np.broadcast_to(image, (WINDOWS, IMAGES, SIZE, SIZE, 3)).copy()


def vary(frames, seed=0):
    return augment_frames({"frames": frames}, np.random.default_rng(seed))["frames"]


def read(varied):
    """Light, and the rows and columns that were read, of every window."""
    light = varied[:, 0, 0, 0, 0] / RED
    places = varied[:, 0] / light[:, None, None, None] / STEP
    return light, places[:, :, 0, 1].round(), places[:, 0, :, 2].round()


def test_a_window_is_mirrored_shifted_and_lightened_as_one(frames):
    varied = vary(frames)
    assert varied.dtype == np.uint8
    for image in range(1, IMAGES):
        np.testing.assert_array_equal(varied[:, image], varied[:, 0])
    light, rows, columns = read(varied)
    assert light.min() == pytest.approx(0.8, abs=0.05) and light.min() > 0.79
    assert light.max() == pytest.approx(1.25, abs=0.05)
    mirrored = columns[:, 0] > columns[:, -1]
    assert 0.25 < mirrored.mean() < 0.75
    columns[mirrored] = columns[mirrored, ::-1]
    for read_there in (rows, columns):
        by = read_there[:, SIZE // 2] - SIZE // 2
        assert set(by) == {-3, -2, -1, 0, 1, 2, 3}
        expected = (np.arange(SIZE) + by[:, None]).clip(0, SIZE - 1)
        np.testing.assert_array_equal(read_there, expected)


def test_what_is_too_light_stays_white(frames):
    frames[:] = 255
    varied = vary(frames)
    assert varied.max() == 255
    assert varied.min() >= 203


def test_nothing_but_frames_changes_and_the_seed_decides(frames):
    before = frames.copy()
    item = {"frames": frames, "row": np.arange(WINDOWS)}
    varied = augment_frames(item, np.random.default_rng(1))
    np.testing.assert_array_equal(frames, before)
    assert varied["row"] is item["row"]
    np.testing.assert_array_equal(varied["frames"], vary(frames, seed=1))
    assert (varied["frames"] != vary(frames, seed=2)).any()
