"""Frames of a camera: numbered by its clock; one that is absent is a sentence."""

import sys

import numpy as np
import pytest

from abaw_jax.faces.camera import Camera
from abaw_jax.releases.images import MediaError
from tests.support.fake_camera import FakeCamera

RED = np.full((4, 6, 3), (255, 0, 0), np.uint8)


def everything(number):
    return number > 0


def test_frames_have_the_time_since_the_first_and_red_stays_red(monkeypatch):
    fake = FakeCamera(RED, frames=99).install(monkeypatch)
    found = list(Camera(0).frames(everything, 0.45))
    assert [frame.number for frame in found] == [1, 2, 3, 4, 5]
    np.testing.assert_allclose([frame.time for frame in found], np.arange(5) / 10)
    assert (found[0].pixels == RED).all()
    assert fake.released


def test_frames_that_were_missed_have_numbers(monkeypatch):
    FakeCamera(RED, frames=99, slow=(3,)).install(monkeypatch)
    found = list(Camera(0).frames(everything, 0.8))
    assert [frame.number for frame in found] == [1, 2, 6, 7, 8]
    FakeCamera(RED, frames=99, slow=(3,)).install(monkeypatch)
    found = list(Camera(0).frames(lambda number: number % 4 == 1, 1.0))
    # Number 5 was missed, the frame at 0.55 s takes its place.
    assert [(f.number, round(f.time, 2)) for f in found] == [
        *((1, 0.0), (5, 0.55), (9, 0.85))
    ]


def test_a_camera_that_ends_or_is_interrupted_is_closed(monkeypatch):
    fake = FakeCamera(RED, frames=3).install(monkeypatch)
    seen = []
    with pytest.raises(MediaError, match="gives no more pictures"):
        seen.extend(Camera(0).frames(everything))
    assert fake.released
    fake = FakeCamera(RED, frames=9).install(monkeypatch)
    fake.interrupt_at = 4
    with pytest.raises(KeyboardInterrupt):
        list(Camera(0).frames(everything))
    assert fake.released


def test_what_is_missing_is_one_sentence(monkeypatch, capfd):
    with pytest.raises(ValueError, match="there is no camera 97, or another program"):
        Camera(97)
    assert capfd.readouterr() == ("", "")
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(ValueError, match="a camera needs OpenCV: pip install"):
        Camera(0)
