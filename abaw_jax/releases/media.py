"""Reads videos and their sound with PyAV.

Sound becomes mono, 22.05 kHz, 16 bit, once and here: resampling is what makes loading
ten seconds of sound slow, and nothing later needs another rate. Sample 0 is the time of
the video's first frame, so frame ``k`` of a video of constant rate shows at sample
``(k - 1) / fps * 22050``.
"""

import contextlib
import dataclasses
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import av
import numpy as np
import soxr
from av.container import InputContainer
from av.error import FFmpegError

from abaw_jax.releases.containers import cut_off, open_container, picture_stream
from abaw_jax.releases.frame_times import FrameTimes, from_time_stamps
from abaw_jax.releases.images import MediaError
from abaw_jax.releases.sound_file import SoundFile

SAMPLE_RATE = 22_050
"""Samples a second of all stored sound, the rate of the public SoundNet weights."""

READING = 3
"""Grows when the same file gives other times, counts or sound than before."""

VIDEO_SUFFIXES = (
    *(".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".wmv", ".mpg", ".mpeg"),
    *(".3gp", ".ts", ".mts", ".m2ts", ".flv", ".ogv", ".gif"),
)
"""Suffixes of video files, in lower case."""


_SYNC = 0.05  # seconds; sound off by less is not corrected (a codec frame is 0.02-0.05)
_LONGEST = 24 * 3600.0  # seconds; a time beyond it is damaged and no hole before it
_PIECE = 1 << 20  # samples of silence at a time
_JUMP = 1.0  # seconds; a time that goes back further is damaged, not early


@dataclasses.dataclass(frozen=True)
class Recording:
    """Facts of a video file beside its pictures.

    Attributes:
      frame_times: of the frames; at 0 frames a second if the file has no pictures.
      num_frames: frames in the file.
      track: int16 at ``SAMPLE_RATE``, full scale 32768; empty without sound.
      remarks: kind and text of everything odd.
      start: time of the first frame by the clock of the file, in seconds.
    """

    frame_times: FrameTimes
    num_frames: int
    track: SoundFile = dataclasses.field(default_factory=SoundFile)
    remarks: tuple[tuple[str, str], ...] = ()
    start: float = 0.0

    @property
    def sound(self) -> np.ndarray:
        """All samples of the track, int16 ``[n]``."""
        return self.track[:]

    @property
    def fps(self) -> float:
        """Frames a second; the mean where the rate varies."""
        return self.frame_times.fps


def read_recording(path: Path, file: BinaryIO | None = None) -> Recording:
    """Reads the times of the frames and the sound of a video file.

    Args:
      path: of the video.
      file: for the sound, 2.6 MB a minute; by default it is in memory.

    Raises:
      MediaError: if it is no video file or is damaged beyond reading.
      OSError: if there is no space for its sound.
    """
    remarks: list[tuple[str, str]] = []
    track = SoundFile(file)
    with _explained():
        frame_times, num_frames, start = _describe_pictures(path, remarks)
        if not num_frames:
            remarks.append(("no_frames", "the file holds no pictures"))
        longest = num_frames / frame_times.fps if num_frames else None
        _read_sound(path, track, start, longest, remarks)
    if len(track):
        _judge_sound(track, longest, remarks)
    return Recording(frame_times, num_frames, track, tuple(remarks), float(start))


def read_pictures(path: Path) -> Recording:
    """Reads the times of the frames of a video file, and not its sound.

    Raises:
      MediaError: if it is no video file or is damaged beyond reading.
    """
    remarks: list[tuple[str, str]] = []
    with _explained():
        frame_times, num_frames, _ = _describe_pictures(path, remarks)
    return Recording(frame_times, num_frames, remarks=tuple(remarks))


@contextlib.contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except (FFmpegError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise MediaError(f"cannot be opened as a video ({reason})") from None


def _describe_pictures(
    path: Path, remarks: list[tuple[str, str]]
) -> tuple[FrameTimes, int, float]:
    """Times of the frames, their number, and the file's time of the first in seconds.

    Counted from the packets, without decoding: a header may claim frames that were
    dropped or that an edit list hides, and a rate that is the tick of its clock.
    """
    with open_container(path) as container:
        stream = picture_stream(container)
        if stream is None:
            return FrameTimes(0.0), 0, 0.0
        claimed = float(stream.average_rate or stream.guessed_rate or 0)
        times, count = _picture_times(container, stream)
        frames, unit = stream.frames, float(stream.time_base or 0)
        seconds = times * unit
        missing = cut_off(stream, seconds.max(initial=0.0))
    start = seconds.min() if len(times) else 0.0
    fps = _frame_rate(seconds, claimed)
    if missing:
        remarks.append(("cut_off", f"cut off: {missing}"))
    if frames and frames != count:
        text = f"the header claims {frames} frames; {count} are shown"
        remarks.append(("frame_count", text))
    if claimed and fps != claimed:
        text = f"{claimed:g} frames a second by the header, {fps:.2f} by their times"
        remarks.append(("frame_rate", text))
    if not fps:
        return FrameTimes(0.0), 0, start
    if len(times) != count:
        return FrameTimes(fps), count, start
    shown = from_time_stamps(seconds, fps)
    if not shown.constant:
        text = (
            f"the frame rate varies around {fps:.2f} a second; each frame has its time"
        )
        remarks.append(("variable_rate", text))
    return shown, count, start


def _picture_times(
    container: InputContainer, stream: av.VideoStream
) -> tuple[np.ndarray, int]:
    """Times of the frames that are shown, in units of the stream, and their number.

    Empty packets stand for dropped frames; those before an edit list are discarded.
    """
    times, count = array("q"), 0
    for packet in container.demux(stream):
        if packet.size and not packet.is_discard:
            count += 1
            time = packet.dts if packet.pts is None else packet.pts
            if time is not None:
                times.append(time)
    return np.frombuffer(times, np.int64), count


def _frame_rate(seconds: np.ndarray, claimed: float) -> float:
    """The claimed rate if the times follow it, else the mean rate of the times."""
    if len(seconds) < 2 or not (span := np.ptp(seconds)) > 0:
        return claimed
    intervals = len(seconds) - 1
    # Within two frames, or a thousandth: the clocks of containers are coarse.
    if abs(span * claimed - intervals) <= max(2, intervals / 1000):
        return claimed
    return float(intervals / span)


def _read_sound(
    path: Path,
    track: SoundFile,
    start: float,
    longest: float | None,
    remarks: list[tuple[str, str]],
) -> None:
    """Writes the sound of the first track that has any; silence if none has."""
    with open_container(path) as container:
        tracks = len(container.streams.audio)
    if not tracks:
        remarks.append(("no_sound", "the file has no sound track"))
        return
    for index in range(tracks):
        found: list[tuple[str, str]] = []
        track.clear()
        with open_container(path) as container:
            stream = container.streams.audio[index]
            for samples in _decode_sound(container, stream, start, longest, found):
                track.append(samples)
        if not track.silent:
            if index:
                text = f"the first {index} sound tracks are silent; the next is taken"
                remarks.append(("sound_track", text))
            break
    remarks += found


def _decode_sound(
    container: InputContainer,
    stream: av.AudioStream,
    start: float,
    longest: float | None,
    remarks: list[tuple[str, str]],
) -> Iterator[np.ndarray]:
    """Yields mono sound from ``start`` on, at the times of the track.

    Silence where it has holes; where its samples outrun its times, some are left out.
    """
    rate = getattr(stream, "rate", 0)  # PyAV has none for a codec it does not know
    if not rate:
        remarks.append(("no_sound", "the sound track is of an unknown kind; left out"))
        return
    resample = soxr.ResampleStream(rate, SAMPLE_RATE, 1, dtype="float32")
    longest = _LONGEST if longest is None else min(longest, _LONGEST)
    position, filled, cut = 0, 0.0, 0.0
    for time, block in _mono_blocks(container, stream, remarks):
        late = 0.0 if time is None else time - start - position / rate
        if late < -_SYNC and (position == 0 or late > -_JUMP):
            cut += -late if position else 0.0
            block = block[round(-late * rate) :]
        elif late > _SYNC and position / rate + late <= longest:
            filled += late
            hole = round(late * rate)
            position += hole
            for start in range(0, hole, _PIECE):
                silence = np.zeros(min(_PIECE, hole - start), np.float32)
                yield _quantise(resample.resample_chunk(silence))
        position += len(block)
        yield _quantise(resample.resample_chunk(block))
    yield _quantise(resample.resample_chunk(np.zeros(0, np.float32), last=True))
    if filled:
        remarks.append(
            ("sound_gap", f"{filled:.2f} s without sound filled with silence")
        )
    if cut:
        text = f"{cut:.2f} s of samples left out where they outrun their times"
        remarks.append(("sound_overlap", text))
    if position == 0:
        remarks.append(("no_sound", "the sound track is empty"))


def _mono_blocks(
    container: InputContainer,
    stream: av.AudioStream,
    remarks: list[tuple[str, str]],
) -> Iterator[tuple[float | None, np.ndarray]]:
    """Time in seconds (None if unknown) and float32 ``[n]`` of every decoded block."""
    # More than two channels are mixed to two by FFmpeg's matrix, that of ITU-R BS.775:
    # a voice in the centre is not one of six equals.
    surround = stream.codec_context.channels > 2
    planar = av.AudioResampler(format="fltp", layout="stereo" if surround else None)
    rate, damaged, loudest, heard = stream.rate, 0, 0.0, 0.0
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets, None)
            frames = packet.decode() if packet is not None else []
        except FFmpegError:
            damaged += 1
            if damaged > 1000:  # nothing but noise follows
                break
            continue
        if packet is None:
            break
        for frame in frames:
            if frame.sample_rate != rate:
                text = (
                    f"changes its rate from {rate} to {frame.sample_rate} Hz; cut there"
                )
                remarks.append(("sound_rate", text))
                return
            for block in planar.resample(frame):
                channels = block.to_ndarray()
                mono = channels.mean(axis=0, dtype=np.float32)
                loudest = max(loudest, np.abs(channels).max(initial=0.0))
                heard = max(heard, np.abs(mono).max(initial=0.0))
                yield frame.time, mono
    if loudest > 0 and heard < loudest / 100:
        text = "the channels cancel each other (opposite phase): silent as mono"
        remarks.append(("sound_phase", text))
    if damaged:
        text = f"{damaged} damaged pieces of the sound track are silent or missing"
        remarks.append(("sound_damaged", text))


def _quantise(sound: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(sound * 32768), -32768, 32767).astype(np.int16)


def _judge_sound(
    track: SoundFile, longest: float | None, remarks: list[tuple[str, str]]
) -> None:
    if track.silent and "sound_phase" not in dict(remarks):
        remarks.append(("silent", "the sound track is silent throughout"))
    seconds = len(track) / SAMPLE_RATE
    if longest is not None and abs(seconds - longest) > 1:
        text = f"the sound lasts {seconds:.1f} s and the pictures {longest:.1f} s"
        remarks.append(("sound_length", text))
