"""Crops of faces from a video: detected, whole frames, boxes of a table, or a folder.

All four give an `Observation` per frame and face, in the order of the frames; a frame
without a face is one observation without pixels.
"""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from abaw_jax.faces.boxes import Observation, read_boxes
from abaw_jax.faces.detection import Detection, FaceDetector, align
from abaw_jax.faces.given_faces import cut_boxes, read_crops
from abaw_jax.faces.tracking import FaceTracker
from abaw_jax.faces.video_frames import VideoFrame, Wanted, read_frames
from abaw_jax.releases.crops import list_crops
from abaw_jax.releases.findings import Findings
from abaw_jax.releases.images import Box
from abaw_jax.releases.media import Recording
from abaw_jax.releases.names import find_file
from abaw_jax.report import console

Remark = Callable[[str], None]
"""Called with a sentence on given faces that cannot be used."""


def observe(
    video: Path,
    faces: str,
    size: int,
    recording: Recording,
    wanted: Wanted,
    *,
    detector: Path | None = None,
    remark: Remark = console.warn,
) -> Iterator[Observation]:
    """Yields the faces of a video.

    Args:
      video: the file, NAME.mp4 or of another suffix.
      faces: "detect" finds and aligns them, "whole" takes each frame as one face; else
        a CSV file with boxes or a folder of crops named by frame number, or a folder
        that holds either as NAME.csv or NAME.
      size: side of the crops in pixels.
      recording: of the video; gives the time of crops, and where the video ends.
      wanted: says by number which frames to read.
      detector: weights of a YuNet; None is the packaged one.
      remark: called after the last frame, once for each kind of given faces that cannot
        be used.

    Raises:
      ValueError: if the faces are neither, or the table is none.
      MediaError: if the video cannot be read to its end.
    """
    path = resolve_faces(video, faces)
    if path is None:
        frames = read_frames(video, wanted)
        return observe_frames(frames, faces, size, detector=detector)
    findings = Findings(path.parent)
    if path.is_dir():
        crops = list_crops(path, findings)
        seen = read_crops(crops, size, recording, wanted, findings)
    else:
        boxes, frames = read_boxes(path, findings), read_frames(video, wanted)
        seen = cut_boxes(frames, boxes, size, recording.num_frames, path, findings)
    return _remarked(seen, findings, remark)


def resolve_faces(video: Path, faces: str) -> Path | None:
    """The table or the folder of crops that `observe` reads, of whichever folder.

    Returns:
      Its path; None if faces are detected, or frames are whole.

    Raises:
      ValueError: if there is neither.
    """
    if faces in ("detect", "whole"):
        return None
    path = Path(faces).expanduser()
    if not (path.is_file() or path.is_dir()):
        raise ValueError(
            f"--faces={faces} is neither detect nor whole, nor a folder of crops, nor "
            "a CSV file with boxes."
        )
    while path.is_dir() and not list_crops(path, Findings(path)):
        inside = _find_faces(video, path)
        if inside is None:
            raise ValueError(
                f"{path} has no crops that are named by frame, as 00001.jpg, and "
                f"neither {video.stem}.csv nor {video.stem}/."
            )
        path = inside
    return path


def _remarked(
    seen: Iterator[Observation], findings: Findings, remark: Remark
) -> Iterator[Observation]:
    try:
        yield from seen
    finally:  # also of a video that breaks off
        for sentence in findings.sentences():
            remark(sentence)


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
      faces: "detect" or "whole", as of `observe`.
      size: side of the crops in pixels.
      detector: weights of a YuNet; None is the packaged one.

    Raises:
      ValueError: if the faces are neither.
      MediaError: if the frames do.
    """
    if faces == "detect":
        return _detect(frames, FaceDetector(detector), size)
    if faces == "whole":
        return (_whole(frame, size) for frame in frames)
    raise ValueError(f"--faces={faces} is neither detect nor whole.")


def faces_of(video: Path, faces: str) -> str:
    """What `observe` takes for one video of a folder.

    Args:
      video: the file, NAME.mp4 or of another suffix.
      faces: "detect", "whole", or a folder that holds NAME.csv or the folder NAME.

    Raises:
      ValueError: if it holds neither, or is no folder.
    """
    require_faces_of_many(faces)
    if faces in ("detect", "whole"):
        return faces
    folder = Path(faces).expanduser()
    if (path := _find_faces(video, folder)) is None:
        raise ValueError(f"{folder} has neither {video.stem}.csv nor {video.stem}/.")
    return str(path)


def require_faces_of_many(faces: str) -> None:
    """Checks that faces may be those of several videos.

    Raises:
      ValueError: if they are not.
    """
    folder = Path(faces).expanduser()
    if faces not in ("detect", "whole") and not folder.is_dir():
        what = "one table" if folder.is_file() else "no folder"
        raise ValueError(
            f"--faces={faces} is {what}: for a folder of videos give detect, whole, or "
            "a folder with NAME.csv or NAME/ for each video."
        )


def _find_faces(video: Path, folder: Path) -> Path | None:
    """The table or the folder of a video in a folder."""
    table, crops = (find_file(folder, video.stem + end) for end in (".csv", ""))
    if table.is_file():
        return table
    return crops if crops.is_dir() else None


def _whole(frame: VideoFrame, size: int) -> Observation:
    height, width = frame.pixels.shape[:2]
    box = Box(0, 0, width, height)
    image = Image.fromarray(frame.pixels)
    pixels = np.asarray(image.resize((size, size), Image.Resampling.BILINEAR))
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
