"""Reads the frames of a camera by OpenCV, with the time since the first."""

import time
from collections.abc import Iterator
from typing import Any

import numpy as np

from abaw_jax.faces.video_frames import VideoFrame, Wanted
from abaw_jax.releases.images import MediaError

_USUAL_RATE = 30.0  # frames a second, where a camera names none


class Camera:
    """An open camera.

    Attributes:
      fps: frames a second by the camera; frames are numbered by this clock.
    """

    def __init__(self, index: int) -> None:
        """Opens the camera.

        Raises:
          ValueError: if OpenCV is missing, or there is no such camera.
        """
        self._capture = _open(index)
        import cv2

        self.fps = float(self._capture.get(cv2.CAP_PROP_FPS)) or _USUAL_RATE
        # What waits while a frame is predicted is old when its turn comes.
        self._capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)

    def frames(
        self, wanted: Wanted, seconds: float | None = None
    ) -> Iterator[VideoFrame]:
        """Yields frames as they come; the camera is closed after them.

        A frame has the number that the clock shows, so that frames that were missed
        have numbers too; if one that is wanted was missed, the next takes its place.

        Args:
          wanted: says by number which frames to yield.
          seconds: from the first frame to the end; None is until it is interrupted.

        Raises:
          MediaError: if the camera gives no more pictures.
        """
        start, last = None, 0
        try:
            while True:
                if not self._capture.grab():
                    raise MediaError("gives no more pictures")
                now = time.monotonic()
                start = now if start is None else start
                if seconds is not None and now - start >= seconds:
                    return
                shown = max(round((now - start) * self.fps) + 1, last + 1)
                number = next(filter(wanted, range(shown, last, -1)), None)
                if number is not None:
                    yield VideoFrame(number, now - start, self._retrieve())
                    last = number
        finally:
            self._capture.release()

    def _retrieve(self) -> np.ndarray:
        complete, pixels = self._capture.retrieve()
        if not complete:
            raise MediaError("gives no more pictures")
        return np.ascontiguousarray(pixels[..., ::-1])  # OpenCV has blue first


def _open(index: int) -> Any:
    try:
        import cv2
    except ImportError:
        raise ValueError(
            "a camera needs OpenCV: pip install 'abaw_jax[faces]'."
        ) from None
    # OpenCV's own warnings about a missing camera say less than our message.
    level = cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    try:
        capture = cv2.VideoCapture(index)
    finally:
        cv2.utils.logging.setLogLevel(level)
    if not capture.isOpened():
        raise ValueError(
            f"there is no camera {index}, or another program uses it: name one by its "
            "number, --video=camera:1."
        )
    return capture
