"""Cuts the faces out of videos into folders of crops, as a release has them.

Crops are JPEG files named by frame, so they can be looked at and corrected. A folder
that is complete is kept; one that was made otherwise is made again.
"""

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

from abaw_jax.faces.boxes import Observation
from abaw_jax.faces.detection import FaceDetector
from abaw_jax.faces.observations import Remark, observe
from abaw_jax.releases.images import MediaError
from abaw_jax.releases.media import Recording
from abaw_jax.store.files import json_bytes, replacing
from abaw_jax.store.frames import encode_jpeg

RECORD = "faces.json"
"""File of a folder of crops that says what it was made from."""
_VERSION = 3  # grows when the same video gives other crops


class CropRule(NamedTuple):
    """Where faces come from and how they are cut.

    Attributes:
      faces: as of `observe`.
      size: side of the crops in pixels.
      detector: weights of a YuNet; None is the packaged one.
    """

    faces: str
    size: int
    detector: Path | None = None


def cut_video(
    video: Path,
    rule: CropRule,
    folder: Path,
    recording: Recording,
    advance: Callable[[int], None],
) -> list[str]:
    """Cuts the largest face of every frame of a video.

    Args:
      video: the file.
      rule: where the faces are and how they are cut.
      folder: for the crops, ``00001.jpg`` of frame 1; it appears when it is complete.
      recording: of the video.
      advance: called with the number of frames done since the last call.

    Returns:
      What is wrong with the video and with the faces that were given.
    """
    source = _sign(video, rule)
    record = _read_record(folder)
    if record.get("source") == source and record["complete"]:
        advance(recording.num_frames)
        return record["remarks"]
    partial = folder.with_name(f"{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    remarks: list[str] = []
    complete = True
    try:
        for crop in _largest(_observe(video, rule, recording, remarks.append)):
            advance(1)
            if crop.pixels is not None:
                path = partial / f"{crop.frame:05d}.jpg"
                path.write_bytes(encode_jpeg(crop.pixels))
    except MediaError as error:
        remarks.append(f"{error}; crops end there")
        complete = False
    record = {"source": source, "complete": complete, "remarks": remarks}
    with replacing(partial / RECORD) as file:
        file.write(json_bytes(record))
    shutil.rmtree(folder, ignore_errors=True)
    partial.rename(folder)
    return remarks


def _observe(
    video: Path, rule: CropRule, recording: Recording, remark: Remark
) -> Iterator[Observation]:
    def every_frame(number: int) -> bool:
        return number > 0

    faces, size, detector = rule
    given = video, faces, size, recording, every_frame
    return observe(*given, detector=detector, remark=remark)


def _largest(observations: Iterator[Observation]) -> Iterator[Observation]:
    for _, faces in groupby(observations, key=lambda each: each.frame):
        yield max(faces, key=_area)


def _area(face: Observation) -> float:
    return face.box.width * face.box.height if face.box is not None else 0.0


def _sign(video: Path, rule: CropRule) -> str:
    """Hash over everything that the crops depend on."""
    status = video.stat()
    parts = [str(_VERSION), video.name, str(status.st_size), str(status.st_mtime_ns)]
    parts += [rule.faces, str(rule.size)]
    if rule.faces == "detect":
        parts.append(FaceDetector(rule.detector).describe())
    elif rule.faces != "whole":
        table = Path(rule.faces).stat()
        parts += [str(table.st_size), str(table.st_mtime_ns)]
    return hashlib.sha256("\n".join(parts).encode(errors="surrogateescape")).hexdigest()


def _read_record(folder: Path) -> dict[str, Any]:
    try:
        found = json.loads((folder / RECORD).read_bytes())
    except (OSError, ValueError):
        return {}
    fields = {"source", "complete", "remarks"}
    return found if isinstance(found, dict) and fields <= found.keys() else {}
