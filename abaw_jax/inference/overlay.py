"""Writes a video again with the values of its table drawn on every frame.

Frames are decoded, drawn and encoded one by one; the sound is copied packet by packet.
"""

import heapq
import os
from collections.abc import Callable, Iterator
from fractions import Fraction
from operator import itemgetter
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer, OutputContainer
from av.error import FFmpegError

from abaw_jax.faces.video_frames import VideoFrame, read_frames
from abaw_jax.inference.overlay_drawing import draw_faces
from abaw_jax.inference.prediction_table import read_frames_of_table
from abaw_jax.releases.containers import open_container
from abaw_jax.releases.images import MediaError
from abaw_jax.releases.media import SAMPLE_RATE, Recording
from abaw_jax.releases.sound_file import SoundFile

# Of the time stamps: exact for 24 to 60 frames a second, NTSC's rates and milliseconds,
# and not above the 65535 that MPEG-4 allows.
_CLOCK = 60_000
# Kinds of sound that players know in MP4. Uncompressed sound they do not, and FFmpeg
# ends the process when it is copied: the size of a sample is lost on the way.
_COPIED = frozenset({"aac", "mp3", "ac3", "eac3", "opus", "flac", "alac"})
_SOUND_BLOCK = 1024  # samples of a frame of AAC

_Packets = Iterator[tuple[float, av.Packet]]  # with seconds from the first frame


def write_overlay(
    video: Path,
    table: Path,
    path: Path,
    recording: Recording,
    update: Callable[[int], None],
) -> None:
    """Writes an MP4 with the boxes and values of a table, and the video's sound.

    Args:
      video: that was predicted. If it breaks off, so does the overlay.
      table: its CSV; a frame without rows has the values of the one before.
      path: of the MP4.
      recording: of the video.
      update: called with the number of each frame that is written.

    Raises:
      ValueError: if the pictures cannot be encoded.
    """
    partial = path.with_name(f"{path.name}.partial")
    try:
        with (
            open_container(video) as source,
            av.open(str(partial.absolute()), "w", format="mp4") as output,
        ):
            # Each adds its stream with its first packet: before one is written.
            drawn = _draw(video, table)
            pictures = _encode_pictures(output, drawn, recording.fps, update)
            sound = _copy_sound(output, source, recording)
            for _, packet in heapq.merge(pictures, sound, key=itemgetter(0)):
                output.mux(packet)
        os.replace(partial, path)
    except FFmpegError as error:
        if isinstance(error, OSError):  # a full disk
            raise
        raise ValueError(f"{path} cannot be encoded ({error.strerror}).") from None
    finally:
        partial.unlink(missing_ok=True)


def _draw(video: Path, table: Path) -> Iterator[VideoFrame]:
    """The frames with the values that the table has for them, or had last."""
    rows = read_frames_of_table(table)
    number, faces = next(rows, (0, []))
    shown = []
    try:
        for frame in read_frames(video):
            if number == frame.number:
                shown = faces
                number, faces = next(rows, (0, []))
            yield frame._replace(pixels=draw_faces(frame.pixels, shown))
    except MediaError:
        return  # reported when the table was made


def _encode_pictures(
    output: OutputContainer,
    frames: Iterator[VideoFrame],
    fps: float,
    update: Callable[[int], None],
) -> _Packets:
    stream, time, last = None, 0.0, -1
    for number, time, pixels in frames:
        stream = stream or _add_pictures(output, pixels, fps)
        picture = av.VideoFrame.from_ndarray(pixels, format="rgb24")
        picture.pts = last = max(round(time * _CLOCK), last + 1)
        picture.time_base = Fraction(1, _CLOCK)
        yield from ((time, packet) for packet in stream.encode(picture))
        update(number)
    if stream is not None:
        yield from ((time, packet) for packet in stream.encode())


def _add_pictures(
    output: OutputContainer, pixels: np.ndarray, fps: float
) -> av.VideoStream:
    """H.264, or MPEG-4 where FFmpeg was built without it."""
    rate = Fraction(fps).limit_denominator(1001)
    height, width = pixels.shape[:2]
    if "libx264" in av.codecs_available:
        stream = output.add_stream("libx264", rate=rate)
        stream.options = {"preset": "veryfast", "crf": "20"}
    else:
        stream = output.add_stream("mpeg4", rate=rate)
        stream.bit_rate = round(0.2 * width * height * fps)
    stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
    stream.codec_context.time_base = Fraction(1, _CLOCK)
    return stream


def _copy_sound(
    output: OutputContainer, source: InputContainer, recording: Recording
) -> _Packets:
    """The first track as it is; as AAC, what was read of it where it must not be."""
    track = source.streams.audio[0] if source.streams.audio else None
    if track is None or not len(recording.track):
        return
    if track.codec_context.codec.canonical_name not in _COPIED:
        yield from _encode_sound(output, recording.track)
        return
    stream, unit = output.add_stream_from_template(track), track.time_base
    assert unit is not None
    for packet in source.demux(track):
        time = packet.pts
        if time is None or packet.dts is None:
            continue
        shift = round(recording.start / unit)
        packet.pts, packet.dts, packet.stream = time - shift, packet.dts - shift, stream
        yield float(packet.pts * unit), packet


def _encode_sound(output: OutputContainer, track: SoundFile) -> _Packets:
    stream = output.add_stream("aac", rate=SAMPLE_RATE, layout="mono")
    for start in range(0, len(track), _SOUND_BLOCK):
        samples = track[start : start + _SOUND_BLOCK][None]
        block = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
        block.sample_rate, block.pts = SAMPLE_RATE, start
        block.time_base = Fraction(1, SAMPLE_RATE)
        for packet in stream.encode(block):
            yield start / SAMPLE_RATE, packet
    for packet in stream.encode():
        yield len(track) / SAMPLE_RATE, packet
