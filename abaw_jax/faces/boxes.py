"""Reads boxes of faces from tables of other tools.

A table that cannot be meant as it stands is refused; a line that is of no use is noted
and left out.
"""

import codecs
import csv
import math
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import numpy as np

from abaw_jax.faces.box_columns import UNNUMBERED, WANTED, BoxLine, find_columns
from abaw_jax.releases.findings import Findings
from abaw_jax.releases.images import Box
from abaw_jax.releases.text_lines import TextLimitError, open_text


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


class GivenBox(NamedTuple):
    """One face in one frame, as a table has it.

    Attributes:
      line: of the file.
      face: number of the person in the video, or `UNNUMBERED`.
      box: of the face in the upright frame, its sides above 0.
      confidence: of the detector, if it gave one.
    """

    line: int
    face: int
    box: Box
    confidence: float | None


_SEPARATORS = ",;\t"
_LOOKED_AT = 4096  # bytes that tell whether a file is text


def read_boxes(path: Path, findings: Findings) -> dict[int, list[GivenBox]]:
    """Reads boxes by the number of their frame, from 1, from a CSV file.

    Headers of py-feat (``frame, FaceRectX, …``), plain ones (``frame, x, y, width,
    height`` or ``frame, x1, y1, x2, y2``, optionally ``confidence`` and ``face``) and
    OpenFace's landmarks (``frame, x_0, …, y_0, …``, of which the box is the bounding
    box) are known. A line whose box is empty says that there is no face. Frames count
    from 0 in tables of py-feat, and in others whose smallest frame is 0.

    Args:
      path: of a table separated by commas, semicolons or tabs.
      findings: takes lines that are of no use, and a count from 0.

    Raises:
      ValueError: if it is no text, the header is none of them, a cell is no number, or
        the boxes are no pixels; names the line.
      OSError: if it cannot be read.
    """
    boxes, smallest = _Boxes(path, findings), math.inf
    for number, line in _lines(path):
        smallest = min(smallest, line.frame)
        if line.box is not None:
            boxes.add(
                line.frame, GivenBox(number, line.face, line.box, line.confidence)
            )
    if smallest == math.inf:
        raise ValueError(f"{path} holds no box of a face.")
    found = boxes.by_frame()
    if smallest > 0:
        return found
    text = "frames count from 0: frame 0 is taken for the first of the video"
    findings.add("frame_zero", path, text)
    return {number + 1: faces for number, faces in found.items()}


def _lines(path: Path) -> Iterator[tuple[int, BoxLine]]:
    """Lines of a table after its header, with their numbers."""
    _require_text(path)
    try:
        file, _ = open_text(path)
    except TextLimitError as error:
        raise ValueError(f"{path} {error}.") from None
    with file:
        start = next(file, "")
        lines = csv.reader(
            chain([start], file),
            delimiter=max(_SEPARATORS, key=start.count),
            skipinitialspace=True,
        )
        rows = (row for row in lines if row)
        try:
            columns = find_columns(next(rows, []))
            for row in rows:
                yield lines.line_num, columns.read(row)
        except (csv.Error, ValueError) as error:
            raise ValueError(f"{path}, line {lines.line_num}: {error}.") from None


def _require_text(path: Path) -> None:
    """Refuses a video, a picture or another file that is no text."""
    with path.open("rb") as file:
        start = file.read(_LOOKED_AT)
    utf16 = start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    if b"\0" in start and not utf16:
        raise ValueError(
            f"{path} is no table of boxes, for it is no text: name a CSV file with the "
            f"columns {WANTED}."
        )


class _Boxes:
    """Boxes of a table that are of use; notes the others."""

    def __init__(self, path: Path, findings: Findings) -> None:
        self._path, self._findings = path, findings
        self._found: dict[int, list[GivenBox]] = {}
        self._largest = 0.0
        self._unnumbered: bool | None = None

    def add(self, frame: int, each: GivenBox) -> None:
        """Takes a box."""
        unnumbered = each.face == UNNUMBERED
        if self._unnumbered not in (None, unnumbered):
            raise ValueError(
                f"{self._path}, line {each.line}: some lines have a face number and "
                "others have none."
            )
        self._unnumbered = unnumbered
        if min(each.box[2:]) <= 0:
            self._note("box_size", each, "width or height is 0 or less")
            return
        self._largest = max(self._largest, *map(abs, each.box))
        self._found.setdefault(frame, []).append(each)

    def by_frame(self) -> dict[int, list[GivenBox]]:
        """All boxes, each face of a frame once."""
        if self._found and self._largest < 2:
            raise ValueError(
                f"{self._path}: the boxes look like fractions of the picture, as no "
                "value reaches 2: give pixels."
            )
        return {frame: self._once(faces) for frame, faces in self._found.items()}

    def _once(self, faces: list[GivenBox]) -> list[GivenBox]:
        kept: dict[int | Box, GivenBox] = {}
        for each in faces:
            key = each.box if each.face == UNNUMBERED else each.face
            first = kept.setdefault(key, each)
            if first is not each:
                self._note("same_face", each, f"the same face as in line {first.line}")
        return [*kept.values()]

    def _note(self, kind: str, each: GivenBox, text: str) -> None:
        self._findings.add(kind, self._path, f"{text}; left out", each.line)
