"""Opens video files: whatever their names, and where they were cut off."""

from pathlib import Path
from typing import Any

import av
from av.container import InputContainer
from av.stream import Disposition

from abaw_jax.releases.images import require_file

_CUT = 1.0  # seconds; tracks end so much before their length where frames are dropped


def open_container(path: Path) -> InputContainer:
    """Opens a video file whatever its name and the encoding of its titles.

    Raises:
      MediaError: if it is no regular file.
    """
    require_file(path)
    name = str(path.absolute())  # FFmpeg takes "a:b.mp4" for a protocol "a"
    try:
        return av.open(name)
    except UnicodeDecodeError:
        # Titles are not always UTF-8. PyAV 19 does not mind and has no such argument.
        before_19: Any = {"metadata_encoding": "latin-1"}
        return av.open(name, **before_19)


def picture_stream(container: InputContainer) -> av.VideoStream | None:
    """The first stream of pictures that is no cover."""
    for stream in container.streams.video:
        if not stream.disposition & Disposition.attached_pic:
            return stream
    return None


def cut_off(stream: av.VideoStream, end: float) -> str | None:
    """Says how much is missing of a file that ends before its header says.

    Of a Matroska or AVI file that was cut off, FFmpeg reports the end and no error.

    Args:
      stream: of pictures.
      end: time of the last frame, in seconds by the file's clock.
    """
    length = _noted_length(stream)
    if length is None or length - end <= _CUT:
        return None
    return f"{length:.1f} s by the header, the last frame at {end:.1f} s"


def _noted_length(stream: av.VideoStream) -> float | None:
    """Seconds of the pictures alone, where a container notes them."""
    if stream.container.format.name == "avi" and stream.average_rate:
        return float(stream.frames / stream.average_rate)
    noted = stream.metadata.get("DURATION", "").split(":")  # Matroska's tag, 0:00:09.5
    try:
        hours, minutes, seconds = map(float, noted)
    except ValueError:
        return None
    return 3600 * hours + 60 * minutes + seconds
