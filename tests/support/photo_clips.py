"""Videos of a real photograph: one person or two, turned, of any rate and sound."""

from fractions import Fraction
from pathlib import Path

import av
import matplotlib
import numpy as np
from PIL import Image

RATE = 16_000  # samples a second of the sound
_CLOCK = 1000  # of the time stamps


def photograph(scale=1.0):
    """Grace Hopper, 600 x 512, which ships with Matplotlib."""
    path = Path(matplotlib.get_data_path()) / "sample_data" / "grace_hopper.jpg"
    image = Image.open(path).convert("RGB")
    size = round(scale * image.width), round(scale * image.height)
    return np.asarray(image.resize(size))


def write_clip(
    path,
    pictures,
    *,
    fps=10,
    times=None,
    sound=None,
    sound_start=0.0,
    sound_codec="aac",
):
    """Writes uint8 pictures ``[H, W, 3]`` as MPEG-4, and sound ``[n]`` in [-1, 1].

    Frames show at ``times`` in seconds, by default ``fps`` a second; the sound begins
    at ``sound_start``.
    """
    pictures = list(pictures)
    height, width = (side // 2 * 2 for side in pictures[0].shape[:2])
    times = np.arange(len(pictures)) / fps if times is None else times
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=fps)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.bit_rate = 8_000_000
        stream.codec_context.time_base = Fraction(1, _CLOCK)
        track = None
        if sound is not None:
            track = container.add_stream(sound_codec, rate=RATE, layout="mono")
        for pixels, time in zip(pictures, times, strict=True):
            frame = av.VideoFrame.from_ndarray(
                np.ascontiguousarray(pixels[:height, :width]), format="rgb24"
            )
            frame.pts, frame.time_base = round(time * _CLOCK), Fraction(1, _CLOCK)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
        if track is not None:
            block = av.AudioFrame.from_ndarray(
                np.float32(sound)[None], format="fltp", layout="mono"
            )
            block.sample_rate, block.pts = RATE, round(sound_start * RATE)
            container.mux(track.encode(block))
            container.mux(track.encode())
    return path


def tone(seconds, hertz=440.0):
    return 0.3 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * RATE)) / RATE)
