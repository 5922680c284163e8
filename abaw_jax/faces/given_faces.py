"""Cuts the faces that somebody gives: by boxes of a table, or as crops in a folder.

What is given and cannot be used is noted, so that no face is missing without a word.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from abaw_jax.faces.box_columns import UNNUMBERED
from abaw_jax.faces.boxes import GivenBox, Observation
from abaw_jax.faces.tracking import FaceTracker, shared_area
from abaw_jax.faces.video_frames import VideoFrame, Wanted
from abaw_jax.releases.crops import Crop
from abaw_jax.releases.findings import Findings
from abaw_jax.releases.images import Box, MediaError, crop_box, read_image
from abaw_jax.releases.media import Recording

_SEEN = 0.1
"""A box of which a smaller share lies in the picture is none of a face in it."""


def cut_boxes(
    frames: Iterable[VideoFrame],
    boxes: Mapping[int, Sequence[GivenBox]],
    size: int,
    num_frames: int,
    table: Path,
    findings: Findings,
) -> Iterator[Observation]:
    """Yields the faces in the boxes of a table.

    Args:
      frames: in their order.
      boxes: by the number of their frame.
      size: side of the crops in pixels.
      num_frames: of the whole video.
      table: that the boxes are from.
      findings: takes boxes that show nothing; at the end, those beyond the last frame.

    Raises:
      MediaError: if the frames do.
    """
    last, boxes = num_frames, _numbered(boxes)
    for frame in frames:
        last = max(last, frame.number)
        seen: list[Observation] = []
        for each in boxes.get(frame.number, ()):
            try:
                pixels = _cut(frame.pixels, each.box, size)
            except MediaError as error:
                findings.add("box_place", table, f"{error}; left out", each.line)
                continue
            found = each.face, each.box, each.confidence, pixels
            seen.append(Observation(frame.number, frame.time, *found))
        yield from seen or [Observation(frame.number, frame.time)]
    for number in sorted(boxes):
        for each in boxes[number] if number > last else ():
            text = f"frame {number} is beyond the last one, {last}; left out"
            findings.add("beyond", table, text, each.line)


def _numbered(
    boxes: Mapping[int, Sequence[GivenBox]],
) -> Mapping[int, Sequence[GivenBox]]:
    """The boxes with a number for each person, if the table does not number.

    All boxes are followed, whichever frames are read: with ``--every`` a person would
    be lost from one frame to the next.
    """
    tracker, found = FaceTracker(), {}
    for frame in sorted(boxes):
        faces = boxes[frame]
        if faces[0].face != UNNUMBERED:
            return boxes
        numbers = tracker.number(frame, [each.box for each in faces])
        pairs = zip(faces, numbers, strict=True)
        found[frame] = [each._replace(face=number) for each, number in pairs]
    return found


def _cut(pixels: np.ndarray, box: Box, size: int) -> np.ndarray:
    """The crop of a box.

    Raises:
      MediaError: if there is too little of it in the picture.
    """
    height, width = pixels.shape[:2]
    inside = shared_area(box, Box(0, 0, width, height))
    if inside < _SEEN * box.width * box.height:
        place = ", ".join(f"{value:g}" for value in box)
        raise MediaError(
            f"less than a tenth of the face box (left, top, width, height) of {place} "
            f"is in the picture of {width}x{height}"
        )
    part = Image.fromarray(pixels).crop(crop_box(box, width, height))
    return np.asarray(part.resize((size, size), Image.Resampling.BILINEAR))


def read_crops(
    crops: Sequence[Crop],
    size: int,
    recording: Recording,
    wanted: Wanted,
    findings: Findings,
) -> Iterator[Observation]:
    """Yields crops at the times of their frames; missing numbers have no face.

    Args:
      crops: named by their frames.
      size: side of the crops in pixels.
      recording: of the video.
      wanted: says by number which frames to read.
      findings: takes crops that cannot be decoded or are beyond the last frame.
    """
    last, by_number = recording.num_frames, {crop.number: crop for crop in crops}
    for crop in crops:
        if crop.number > last:
            text = f"is beyond the last frame, {last}; left out"
            findings.add("beyond", crop.path, text)
    for number in filter(wanted, range(1, last + 1)):
        pixels = None
        if number in by_number:
            try:
                pixels = read_image(by_number[number].path, size).pixels
            except MediaError as error:
                findings.add("image", by_number[number].path, f"{error}; left out")
        time = float(recording.frame_times.seconds(number))
        yield Observation(number, time, pixels=pixels)
