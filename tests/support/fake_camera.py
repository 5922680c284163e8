"""A camera for OpenCV that gives pictures at once, on a clock of its own."""

from types import SimpleNamespace

import numpy as np


class FakeCamera:
    """Stands for ``cv2.VideoCapture``; frames are ``1 / fps`` seconds apart.

    Attributes:
      released: True once it was closed.
    """

    def __init__(self, picture, *, frames, fps=10.0, slow=()):
        """Gives the RGB picture so often; before the frames in ``slow`` 0.45 s pass."""
        self._bgr, self._frames, self._fps = picture[..., ::-1], frames, fps
        self._slow, self._read, self._now = slow, 0, 100.0
        self.released, self.interrupt_at = False, None

    def isOpened(self):
        return self._frames > 0

    def get(self, _):
        return self._fps

    def set(self, *_):
        return True

    def grab(self):
        self._read += 1
        if self._read == self.interrupt_at:
            raise KeyboardInterrupt
        self._now += 0.45 if self._read in self._slow else 1 / self._fps
        return self._read <= self._frames

    def retrieve(self):
        return True, np.ascontiguousarray(self._bgr)

    def release(self):
        self.released = True

    def monotonic(self):
        return self._now

    def install(self, monkeypatch):
        import cv2

        from abaw_jax.faces import camera

        monkeypatch.setattr(cv2, "VideoCapture", lambda index: self)
        clock = SimpleNamespace(monotonic=self.monotonic)
        monkeypatch.setattr(camera, "time", clock)
        return self
