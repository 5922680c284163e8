"""Decodes the frames of a video one by one, upright and with their times."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from av.error import FFmpegError

from abaw_jax.releases.containers import cut_off, open_container, picture_stream
from abaw_jax.releases.images import MediaError

Wanted = Callable[[int], bool]


class VideoFrame(NamedTuple):
    """One frame of a video.

    Attributes:
      number: of the frame, from 1.
      time: seconds since the first frame, by the time stamps of the file.
      pixels: uint8 ``[H, W, 3]``, RGB, turned as the file says.
    """

    number: int
    time: float
    pixels: np.ndarray


def _every_frame(number: int) -> bool:
    return number > 0


def read_frames(path: Path, wanted: Wanted = _every_frame) -> Iterator[VideoFrame]:
    """Yields the frames that are shown, one after the other.

    Args:
      path: of the video.
      wanted: says by number which frames to yield; the others are not converted.

    Raises:
      MediaError: if the file cannot be opened as a video, or breaks off; the frames
        before the damage have been yielded.
    """
    number, time, start = 0, 0.0, None
    try:
        with open_container(path) as container:
            stream = picture_stream(container)
            if stream is None:
                raise MediaError("holds no pictures")
            stream.thread_type = "AUTO"
            for frame in container.decode(stream):
                time = frame.time if frame.time is not None else float(number)
                start = time if start is None else start
                number += 1
                if wanted(number):
                    pixels = frame.to_ndarray(format="rgb24")
                    pixels = _upright(pixels, frame.rotation)
                    yield VideoFrame(number, time - start, pixels)
            if missing := cut_off(stream, time):
                raise MediaError(f"breaks off after frame {number} ({missing})")
    except (FFmpegError, OSError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        if number:
            raise MediaError(f"breaks off after frame {number} ({reason})") from None
        raise MediaError(f"cannot be opened as a video ({reason})") from None


def _upright(pixels: np.ndarray, rotation: int) -> np.ndarray:
    """Turns by a multiple of 90 degrees, counter-clockwise."""
    return np.rot90(pixels, round(rotation / 90) % 4)
