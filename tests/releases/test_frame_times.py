"""Times of frames against a search through all of them."""

import numpy as np
import pytest

from abaw_jax.releases.frame_times import FrameTimes, from_time_stamps

UNEVEN = np.concatenate([np.arange(20) / 10, 2 + np.arange(60) / 30])
"""Twenty frames at 10 a second, then sixty at 30; frame 51 shows at 3 s."""


def test_a_variable_rate_keeps_every_time():
    times = from_time_stamps(UNEVEN + 7, 20.0)
    assert not times.constant
    assert times.seconds(51) == pytest.approx(3)
    np.testing.assert_allclose(times.seconds(np.arange(1, 81)), UNEVEN)


def test_frames_beyond_the_ends_follow_the_mean_rate():
    times = FrameTimes(20.0, UNEVEN)
    np.testing.assert_allclose(times.seconds([-1, 0, 1]), [-0.1, -0.05, 0])
    np.testing.assert_allclose(times.seconds([82]), UNEVEN[-1] + 0.1)
    assert times.nearest([-0.1, -0.01, UNEVEN[-1] + 0.1]).tolist() == [-1, 1, 82]


def test_the_nearest_frame_is_found_and_of_two_the_earlier():
    times = FrameTimes(20.0, UNEVEN)
    wanted = np.linspace(0, UNEVEN[-1], 1001)
    found = times.nearest(wanted)
    expected = [1 + int(np.argmin(np.abs(UNEVEN - t))) for t in wanted]
    off = np.abs(UNEVEN[found - 1] - wanted) - np.abs(
        UNEVEN[np.array(expected) - 1] - wanted
    )
    np.testing.assert_allclose(off, 0, atol=1e-12)
    assert FrameTimes(1.0, np.array([0.0, 1.0, 4.0])).nearest(0.5) == 1


@pytest.mark.parametrize("clock", [1e-3, 1 / 90_000])
def test_a_coarse_clock_is_no_variable_rate(clock):
    stamps = np.round(np.arange(1000) / 29.97 / clock) * clock
    assert from_time_stamps(stamps, 29.97).constant


def test_a_constant_rate_is_arithmetic_on_numbers():
    times = FrameTimes(25.0)
    assert times.seconds([1, 26]).tolist() == [0, 1]
    assert times.nearest([0, 1, -0.4]).tolist() == [1, 26, -9]


def test_one_dropped_frame_counts():
    stamps = np.delete(np.arange(100) / 30, 50)
    times = from_time_stamps(stamps, 30.0)
    assert times.seconds(51) == pytest.approx(51 / 30)
