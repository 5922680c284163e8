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
      pixels: uint8 ``[H, W, 3]``, RGB, turned and mirrored as the file says.
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
    matrices: dict[int, bytes | None] = {}
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
                    # Once for each rotation: a frame that is asked for its matrix is
                    # kept until the garbage collector runs (PyAV 18 and 19).
                    if frame.rotation not in matrices:
                        found = frame.side_data.get("DISPLAYMATRIX")
                        matrices[frame.rotation] = found and bytes(found)
                    pixels = frame.to_ndarray(format="rgb24")
                    pixels = _upright(pixels, matrices[frame.rotation])
                    yield VideoFrame(number, time - start, pixels)
            if missing := cut_off(stream, time):
                raise MediaError(f"breaks off after frame {number} ({missing})")
    except (FFmpegError, OSError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        if number:
            raise MediaError(f"breaks off after frame {number} ({reason})") from None
        raise MediaError(f"cannot be opened as a video ({reason})") from None


def _upright(pixels: np.ndarray, matrix: bytes | None) -> np.ndarray:
    """The picture as its display matrix shows it, by steps of 90 degrees.

    The rotation that PyAV tells leaves out whether the picture is mirrored as well.
    """
    if matrix is None:
        return pixels
    # Stored x and y are shown at a x + c y and b x + d y.
    (a, b), (c, d) = np.frombuffer(matrix, np.int32).reshape(3, 3)[:2, :2]
    right, down = a, d
    if abs(int(b)) > abs(int(a)):
        pixels, right, down = pixels.swapaxes(0, 1), c, b
    return pixels[:: -1 if down < 0 else 1, :: -1 if right < 0 else 1]
