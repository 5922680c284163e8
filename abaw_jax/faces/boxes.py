"""Reads boxes of faces from tables of other tools."""

import csv
import math
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from abaw_jax.releases.images import Box
from abaw_jax.releases.text_lines import TextLimitError, bounded_lines


class Observation(NamedTuple):
    """One face in one frame, or a frame without one.

    Attributes:
      frame: number, from 1.
      time: seconds since the first frame.
      face: number of the person in the video, 0 where there is one only.
      box: of the face in the upright frame; None for crops from elsewhere.
      confidence: of the detector, if it gave one.
      pixels: uint8 ``[S, S, 3]``; None where no face was found.
    """

    frame: int
    time: float
    face: int = 0
    box: Box | None = None
    confidence: float | None = None
    pixels: np.ndarray | None = None


UNNUMBERED = -1
"""Number of a face in a table that says not whose it is; followed by its box."""
_TABLES = (
    # frame, left, top, width, height, confidence, face; number of the first frame
    ("frame", "FaceRectX", "FaceRectY", "FaceRectWidth", "FaceRectHeight",
     "FaceScore", "", 0),
    ("frame", "x", "y", "width", "height", "confidence", "face", 1),
)  # fmt: skip
"""Columns of py-feat, whose frames count from 0, and of a plain table."""


def read_boxes(path: Path) -> dict[int, list[Observation]]:
    """Reads boxes by frame number from a CSV file.

    Headers of py-feat (``frame, FaceRectX, …``), plain ones (``frame, x, y, width,
    height`` and optionally ``confidence`` and ``face``) and OpenFace's landmarks
    (``frame, x_0, …, y_0, …``, of which the box is the bounding box) are known.

    Raises:
      ValueError: if the header is none of them or a line holds no numbers; names the
        line.
    """
    found: dict[int, list[Observation]] = {}
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(bounded_lines(file), skipinitialspace=True)
        try:
            header = [name.strip() for name in reader.fieldnames or ()]
            for row in reader:
                each = _observation({k.strip(): v for k, v in row.items() if k}, header)
                if each is not None:
                    found.setdefault(each.frame, []).append(each)
        except TextLimitError as error:
            raise ValueError(f"{path} {error}.") from None
        except (csv.Error, OverflowError, TypeError, ValueError) as error:
            raise ValueError(f"{path}, line {reader.line_num}: {error}.") from None
    if not found:
        raise ValueError(f"{path} holds no box of a face.")
    return found


def _observation(row: Mapping[str, str], header: list[str]) -> Observation | None:
    """The box of a line; None where the line says that there was no face."""
    for frame, *sides, confidence, face, first in _TABLES:
        if {frame, *sides} <= {*header}:
            box = [float(row[side] or "nan") for side in sides]
            score = row.get(confidence, "")
            number = int(float(row[frame])) + 1 - first
            who = int(float(row.get(face) or UNNUMBERED))
            break
    else:
        if not {"frame", "x_0", "y_0"} <= {*header}:
            raise ValueError(
                "has no columns frame, x, y, width, height, nor those of py-feat "
                "(FaceRectX, …) or OpenFace (x_0, …, y_0, …)"
            )
        box, score = _bounds(row), row.get("confidence", "")
        number, who = int(float(row["frame"])), int(float(row.get("face_id") or 0))
    if not all(map(math.isfinite, box)) or min(box[2:]) <= 0:
        return None
    return Observation(
        number, 0.0, who, Box(*box), float(score) if score else None, None
    )


def _bounds(row: Mapping[str, str]) -> list[float]:
    """Bounding box of OpenFace's landmarks; none where it failed."""
    x, y = (
        [float(v) for k, v in row.items() if k[:2] == f"{axis}_" and k[2:].isdecimal()]
        for axis in "xy"
    )
    if (row.get("success") or "1").strip() == "0":
        return [math.nan] * 4
    return [min(x), min(y), max(x) - min(x), max(y) - min(y)]
