"""Finds the columns of a table of boxes by its header, and reads its lines by them.

Known are plain tables, those of py-feat, and OpenFace's landmarks.
"""

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from abaw_jax.releases.annotations import MAX_FRAME, quote
from abaw_jax.releases.images import Box

UNNUMBERED = -1
"""Number of a face in a table that says not whose it is; followed by its box."""

MAX_FACE = 999_999
"""Largest number of a face in a table."""

_NOTHING = ("", "nan", "na")  # cells without a value, in lower case
WANTED = (
    "frame and x, y, width, height (or x1, y1, x2, y2; py-feat's FaceRectX, …; "
    "OpenFace's x_0, …, y_0, …)"
)
"""Columns of a table, as messages name them."""


class BoxLine(NamedTuple):
    """What a line of a table says.

    Attributes:
      frame: number as the table counts; from 1 where that is known.
      face: number of the person in the video, or `UNNUMBERED`.
      box: of the face, as it is written; None if there is no face.
      confidence: of the detector, if it gave one.
    """

    frame: int
    face: int = UNNUMBERED
    box: Box | None = None
    confidence: float | None = None


def _rectangle(values: Sequence[float]) -> Box:
    return Box(*values)


def _corners(values: Sequence[float]) -> Box:
    left, top, right, bottom = values
    return Box(left, top, right - left, bottom - top)


def _bounds(values: Sequence[float]) -> Box:
    """Bounding box of landmarks: all x, then all y."""
    x, y = np.reshape(values, (2, -1))
    return Box(*map(float, (x.min(), y.min(), np.ptp(x), np.ptp(y))))


_PY_FEAT = ("FaceRectX", "FaceRectY", "FaceRectWidth", "FaceRectHeight")
_SIDES = (
    (_PY_FEAT, _rectangle),
    (("x", "y", "width", "height"), _rectangle),
    (("x1", "y1", "x2", "y2"), _corners),
)


@dataclass(frozen=True)
class BoxColumns:
    """The columns of a table, by their places in a line.

    Attributes:
      names: of all columns.
      sides: places of the numbers that ``to_box`` makes a box of.
      places: of ``frame``, and of ``confidence``, ``face`` and ``success`` if they are
        there.
      face: number of a face without one.
      from_zero: True if frames are known to count from 0, as of py-feat.
    """

    names: Sequence[str]
    sides: Sequence[int]
    to_box: Callable[[Sequence[float]], Box]
    places: dict[str, int]
    face: int = UNNUMBERED
    from_zero: bool = False

    def read(self, row: Sequence[str]) -> BoxLine:
        """What a line says, of which ``row`` are the cells.

        Raises:
          ValueError: if it has other cells than the header, or one is no number.
        """
        if len(row) < len(self.names) or any(row[len(self.names) :]):
            raise ValueError(f"has {len(row)} cells, and the header {len(self.names)}")
        frame = self._whole(row, self.places["frame"], MAX_FRAME) + self.from_zero
        success, face = self._cell(row, "success"), self._cell(row, "face")
        failed = success and not self._number(row, self.places["success"])
        if failed or all(_is_empty(row[place]) for place in self.sides):
            return BoxLine(frame)
        return BoxLine(
            frame,
            self._whole(row, self.places["face"], MAX_FACE) if face else self.face,
            self.to_box([self._number(row, place) for place in self.sides]),
            self._number(row, self.places["confidence"])
            if self._cell(row, "confidence")
            else None,
        )

    def _cell(self, row: Sequence[str], column: str) -> str:
        """Text of a column; "" if there is no such column or no value."""
        text = row[self.places[column]] if column in self.places else ""
        return "" if _is_empty(text) else text

    def _number(self, row: Sequence[str], place: int) -> float:
        try:
            value = float(row[place])
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            raise ValueError(
                f"{self.names[place]} is {quote(row[place])}, not a number such as 12.5"
            )
        return value

    def _whole(self, row: Sequence[str], place: int, largest: int) -> int:
        try:
            value = self._number(row, place)
        except ValueError:
            value = math.nan
        if not value.is_integer() or not 0 <= value <= largest:
            raise ValueError(
                f"{self.names[place]} is {quote(row[place])}, not a whole number from "
                f"0 to {largest:,}"
            )
        return int(value)


def find_columns(header: Sequence[str]) -> BoxColumns:
    """Finds the columns by their names, in any case.

    Raises:
      ValueError: if there are none of a box or of its frame.
    """
    names = [name.strip() for name in header]
    lower = {name.lower(): place for place, name in reversed([*enumerate(names)])}
    places = _find(lower, frame=("frame",), face=("face", "face_id"))
    places |= _find(lower, confidence=("confidence", "FaceScore"))
    if "frame" in places:
        for sides, to_box in _SIDES:
            if all(side.lower() in lower for side in sides):
                given = [lower[side.lower()] for side in sides]
                from_zero = sides == _PY_FEAT
                return BoxColumns(names, given, to_box, places, from_zero=from_zero)
        # By their case: OpenFace's X_0 is the same point in millimetres.
        x, y = (_landmarks(names, axis) for axis in "xy")
        if len(x) == len(y) > 0:
            places |= _find(lower, success=("success",))
            return BoxColumns(names, x + y, _bounds, places, face=0)
    there = quote(", ".join(names)) if names else "nothing"
    raise ValueError(f"the header needs the columns {WANTED}; it has {there}")


def _find(lower: dict[str, int], **wanted: Sequence[str]) -> dict[str, int]:
    """Place of each column, by the first of its names that the header has."""
    return {
        column: lower[name.lower()]
        for column, names in wanted.items()
        for name in reversed(names)
        if name.lower() in lower
    }


def _landmarks(names: Sequence[str], axis: str) -> list[int]:
    return [k for k, name in enumerate(names) if re.fullmatch(rf"{axis}_[0-9]+", name)]


def _is_empty(text: str) -> bool:
    return text.strip().lower() in _NOTHING
