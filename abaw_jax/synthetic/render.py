"""Renders the videos of a synthetic release: crops, pictures and sound."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.video.stream import VideoStream
from numpy.typing import NDArray
from PIL import Image

from abaw_jax.synthetic import voice
from abaw_jax.synthetic.face import render
from abaw_jax.synthetic.plan import SyntheticSettings, Video, stream
from abaw_jax.synthetic.simulate import Scene, play

_QUALITY = 90  # of the crops' JPEG


def render_video(
    video: Video, settings: SyntheticSettings, directory: Path, *, seed: int
) -> None:
    """Writes one video and the crops of its people.

    Args:
      video: what to film.
      settings: of the release.
      directory: empty; gets the video file and a folder of crops per person.
      seed: of the release.
    """
    scenes = [play(video, person, settings, seed=seed) for person in video.people]
    for scene in scenes:
        (directory / scene.person.name).mkdir()
    rng = stream(seed, video.name, "camera")
    sound = _sound(video, scenes, rng)
    faces = [
        render(s.looks, s.performance.motion, size=settings.crop_size, rng=rng)
        for s in scenes
    ]
    path = directory / (video.name + video.extension)
    with av.open(str(path), "w", options={"fflags": "+bitexact"}) as container:
        pictures = _picture_stream(container, video, settings.video_size)
        track = _sound_stream(container, video)
        for frame, images in enumerate(zip(*faces, strict=True)):
            crops = [Image.fromarray(image) for image in images]
            for scene, crop in zip(scenes, crops, strict=True):
                if scene.present[frame]:
                    name = f"{scene.person.name}/{frame + 1:05d}.jpg"
                    crop.save(directory / name, quality=_QUALITY)
            picture = av.VideoFrame.from_image(_stage(crops, settings.video_size))
            picture.pts = frame
            container.mux(pictures.encode(picture))
            # Sound follows its picture: players and readers want them interleaved.
            first, end = (
                (frame + step) * video.sample_rate // video.fps for step in (0, 1)
            )
            container.mux(track.encode(_heard(sound[:, first:end], first, track)))
        container.mux(pictures.encode(None))
        container.mux(track.encode(None))


def _picture_stream(
    container: OutputContainer, video: Video, size: tuple[int, int]
) -> VideoStream:
    pictures = container.add_stream("mpeg4", rate=video.fps)
    pictures.width, pictures.height = size
    pictures.pix_fmt = "yuv420p"
    pictures.codec_context.thread_count = 1  # more threads, other bytes
    return pictures


def _sound_stream(container: OutputContainer, video: Video) -> AudioStream:
    layout = "stereo" if video.channels == 2 else "mono"
    if video.extension == ".avi":
        return container.add_stream("pcm_s16le", rate=video.sample_rate, layout=layout)
    return container.add_stream(
        "aac", rate=video.sample_rate, layout=layout, options={"aac_coder": "fast"}
    )


def _heard(sound: NDArray[np.float32], first: int, track: AudioStream) -> av.AudioFrame:
    """Samples from the ``first`` on as a frame of the kind that the codec takes."""
    layout = track.layout.name
    if track.format.is_planar:
        frame = av.AudioFrame.from_ndarray(sound, format="fltp", layout=layout)
    else:
        words = (sound.T.reshape(1, -1) * 32767).astype(np.int16)
        frame = av.AudioFrame.from_ndarray(words, format="s16", layout=layout)
    frame.sample_rate = track.rate
    frame.pts = first
    frame.time_base = Fraction(1, track.rate)
    return frame


def _stage(crops: Sequence[Image.Image], size: tuple[int, int]) -> Image.Image:
    """A picture of the whole room: the people side by side before a wall."""
    width, height = size
    side = min(height, width // len(crops))
    stage = Image.new("RGB", size, crops[0].getpixel((0, 0)))
    gap = (width - side * len(crops)) // (len(crops) + 1)
    for place, crop in enumerate(crops):
        spot = (gap + place * (side + gap), (height - side) // 2)
        stage.paste(crop.resize((side, side), Image.Resampling.BILINEAR), spot)
    return stage


def _sound(
    video: Video, scenes: Sequence[Scene], rng: np.random.Generator
) -> NDArray[np.float32]:
    """All voices, ``[channels, samples]``; two people come from two sides."""
    seconds = video.num_frames / video.fps
    sides = np.linspace(-0.6, 0.6, len(scenes)) if len(scenes) > 1 else np.zeros(1)
    mixed = np.zeros((video.channels, round(seconds * video.sample_rate)), np.float32)
    for side, scene in zip(sides, scenes, strict=True):
        spoken = voice.synthesize(
            scene.voice,
            scene.performance.speech,
            seconds=seconds,
            sample_rate=video.sample_rate,
            rng=rng,
        )
        gains = [1 - side, 1 + side] if video.channels == 2 else [1.0]
        mixed += np.array(gains, np.float32)[:, None] * spoken
    return np.clip(mixed, -1, 1)
