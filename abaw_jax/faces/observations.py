"""Crops of faces from a video: detected, whole frames, boxes of a table, or a folder.

All four give an `Observation` per frame and face, in the order of the frames; a frame
without a face is one observation without pixels.
"""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from abaw_jax.faces.boxes import UNNUMBERED, Observation, read_boxes
from abaw_jax.faces.detection import Detection, FaceDetector, align
from abaw_jax.faces.tracking import FaceTracker
from abaw_jax.faces.video_frames import VideoFrame, Wanted, read_frames
from abaw_jax.releases.images import (
    IMAGE_SUFFIXES,
    Box,
    MediaError,
    crop_box,
    read_image,
)
from abaw_jax.releases.media import Recording
from abaw_jax.releases.names import find_file


def observe(
    video: Path,
    faces: str,
    size: int,
    recording: Recording,
    wanted: Wanted,
    *,
    detector: Path | None = None,
) -> Iterator[Observation]:
    """Yields the faces of a video.

    Args:
      video: the file.
      faces: "detect" finds and aligns them, "whole" takes each frame as one face; else
        a CSV file with boxes or a folder of crops named by frame number.
      size: side of the crops in pixels.
      recording: of the video; gives the time of crops, and where the video ends.
      wanted: says by number which frames to read.
      detector: weights of a YuNet; None is the packaged one.

    Raises:
      ValueError: if the faces are neither, or the table is none.
      MediaError: if the video cannot be read to its end.
    """
    path = Path(faces).expanduser()
    if faces not in ("detect", "whole") and path.is_dir():
        return _read_crops(path, size, recording, wanted)
    return observe_frames(read_frames(video, wanted), faces, size, detector=detector)


def observe_frames(
    frames: Iterable[VideoFrame],
    faces: str,
    size: int,
    *,
    detector: Path | None = None,
) -> Iterator[Observation]:
    """Yields the faces of frames, of a file or of a camera.

    Args:
      frames: in their order.
      faces: as of `observe`, but for a folder of crops.
      size: side of the crops in pixels.
      detector: weights of a YuNet; None is the packaged one.

    Raises:
      ValueError: if the faces are neither, or the table is none.
      MediaError: if the frames do.
    """
    if faces == "detect":
        return _detect(frames, FaceDetector(detector), size)
    if faces == "whole":
        return (_whole(frame, size) for frame in frames)
    path = Path(faces).expanduser()
    if path.is_file():
        return _cut_boxes(frames, read_boxes(path), size)
    raise ValueError(
        f"--faces={faces} is neither detect nor whole, nor a folder of crops, nor a "
        "CSV file with boxes."
    )


def faces_of(video: Path, faces: str) -> str:
    """What `observe` takes for one video of a folder.

    Args:
      video: the file, NAME.mp4 or of another suffix.
      faces: "detect", "whole", or a folder that holds NAME.csv or the folder NAME.

    Raises:
      ValueError: if it holds neither.
    """
    if faces in ("detect", "whole"):
        return faces
    folder = Path(faces).expanduser()
    for name in (f"{video.stem}.csv", video.stem):
        if (path := find_file(folder, name)).exists():
            return str(path)
    raise ValueError(f"{folder} has neither {video.stem}.csv nor {video.stem}/.")


def _whole(frame: VideoFrame, size: int) -> Observation:
    height, width = frame.pixels.shape[:2]
    box = Box(0, 0, width, height)
    pixels = _cut(frame.pixels, box, size)
    return Observation(frame.number, frame.time, 0, box, None, pixels)


def _detect(
    frames: Iterable[VideoFrame], detector: FaceDetector, size: int
) -> Iterator[Observation]:
    tracker = FaceTracker()
    for frame in frames:
        found = detector(frame.pixels)
        numbers = tracker.number(frame.number, [each.box for each in found])
        if not found:
            yield Observation(frame.number, frame.time)
        for number, each in sorted(zip(numbers, found, strict=True), key=_number):
            pixels = align(frame.pixels, each.landmarks, size)
            seen = number, each.box, each.confidence, pixels
            yield Observation(frame.number, frame.time, *seen)


def _number(pair: tuple[int, Detection]) -> int:
    return pair[0]


def _cut_boxes(
    frames: Iterable[VideoFrame], boxes: Mapping[int, list[Observation]], size: int
) -> Iterator[Observation]:
    tracker = FaceTracker()
    for frame in frames:
        found = [
            each._replace(time=frame.time, pixels=_cut(frame.pixels, each.box, size))
            for each in boxes.get(frame.number, [])
        ]
        seen = [each for each in found if each.pixels is not None]
        if any(each.face == UNNUMBERED for each in seen):
            numbers = tracker.number(frame.number, [e.box for e in seen if e.box])
            pairs = zip(seen, numbers, strict=True)
            seen = [each._replace(face=number) for each, number in pairs]
        yield from seen or [Observation(frame.number, frame.time)]


def _cut(pixels: np.ndarray, box: Box | None, size: int) -> np.ndarray | None:
    """The crop of a box; None if the frame has nothing of it."""
    assert box is not None
    height, width = pixels.shape[:2]
    try:
        part = Image.fromarray(pixels).crop(crop_box(box, width, height))
    except MediaError:
        return None
    return np.asarray(part.resize((size, size), Image.Resampling.BILINEAR))


def _read_crops(
    folder: Path, size: int, recording: Recording, wanted: Wanted
) -> Iterator[Observation]:
    """Crops as of a release: 00001.jpg is frame 1; missing numbers have no face."""
    files = {
        int(path.stem): path
        for path in folder.iterdir()
        if path.suffix.lower() in IMAGE_SUFFIXES and path.stem.isdecimal()
    }
    if not files:
        raise ValueError(
            f"{folder} has no crops that are named by frame, as 00001.jpg."
        )
    last = max(recording.num_frames, *files)
    for number in filter(wanted, range(1, last + 1)):
        pixels = None
        if number in files:
            try:
                pixels = read_image(files[number], size).pixels
            except MediaError:
                pass  # a row without values
        time = float(recording.frame_times.seconds(number))
        yield Observation(number, time, pixels=pixels)
