"""Draws boxes and values of faces on a frame."""

from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from abaw_jax.faces.tracking import shared_area
from abaw_jax.inference.prediction_table import UNIT_NAMES
from abaw_jax.releases.images import Box

_COLOURS = ("#E69F00", "#56B4E9", "#009E73", "#F0E442", "#CC79A7", "#D55E00")
"""Of people, in turns; Okabe and Ito's that are bright enough on a dark ground."""
_GROUND = (16, 16, 16, 190)  # of the text: all but black
_LEAST_SIDE = 360  # pixels; smaller frames are enlarged so that text can be read
_UNITS = 3  # strongest ones that are written
_WIDEST = "  ".join(["AU00 0.00"] * _UNITS)


def draw_faces(pixels: np.ndarray, rows: Sequence[Mapping[str, str]]) -> np.ndarray:
    """Draws the rows of one frame.

    Args:
      pixels: frame uint8 ``[H, W, 3]``, RGB.
      rows: of a CSV table, one per face; without a box, values are in the corner.

    Returns:
      uint8 ``[H', W', 3]``: frames below 360 pixels are enlarged by a whole number, and
      sides are even, as video codecs want.
    """
    scale = -(-_LEAST_SIDE // min(pixels.shape[:2]))
    height, width = (max(2, scale * side // 2 * 2) for side in pixels.shape[:2])
    image = Image.fromarray(pixels)
    if scale > 1:
        size = scale * image.width, scale * image.height
        image = image.resize(size, Image.Resampling.BICUBIC)
    image = image.crop((0, 0, width, height))
    draw = ImageDraw.Draw(image, "RGBA")
    boxes = [_box(row, scale) for row in rows]
    taken = [box for box in boxes if box is not None]
    for row, box in zip(rows, boxes, strict=True):
        taken.append(_draw_face(draw, row, box, taken))
    return np.asarray(image)


def _box(row: Mapping[str, str], scale: int) -> Box | None:
    if not row["x"]:
        return None
    return Box(*(scale * float(row[side]) for side in ("x", "y", "width", "height")))


def _draw_face(
    draw: ImageDraw.ImageDraw,
    row: Mapping[str, str],
    box: Box | None,
    taken: Sequence[Box],
) -> Box:
    """Draws a box and the panel with its values; gives where the panel is."""
    short = min(draw.im.size)
    colour = _COLOURS[int(row["face"]) % len(_COLOURS)]
    if box is not None:
        corners = box.left, box.top, box.left + box.width, box.top + box.height
        draw.rectangle(corners, outline=colour, width=max(2, short // 240))
    size = 10 + short / 50  # of the letters: 17 pixels at 360p, 32 at 1080p
    font = ImageFont.load_default(size)
    lines = _lines(row)
    step, margin = round(1.3 * size), round(0.5 * size)
    # As wide in one frame as in the next, or the panel would jump between places.
    width = max(map(font.getlength, (*lines, _WIDEST))) + 2 * margin
    panel = _place(draw.im.size, box, width, step * len(lines) + margin, taken)
    left, top = panel.left, panel.top
    draw.rectangle((left, top, left + panel.width, top + panel.height), fill=_GROUND)
    draw.rectangle((left, top, left + margin // 3, top + panel.height), fill=colour)
    for line in lines:
        draw.text((left + margin, top + margin / 2), line, font=font, fill="white")
        top += step
    return panel


def _lines(row: Mapping[str, str]) -> tuple[str, str, str]:
    units = sorted(UNIT_NAMES, key=lambda name: -float(row[name]))[:_UNITS]
    expression = row["expression"]
    return (
        f"#{row['face']}  {expression} {float(row[expression]):.2f}",
        f"valence {float(row['valence']):+.2f}  arousal {float(row['arousal']):+.2f}",
        "  ".join(f"{name} {float(row[name]):.2f}" for name in units),
    )


def _place(
    size: tuple[int, int],
    box: Box | None,
    width: float,
    height: float,
    taken: Sequence[Box],
) -> Box:
    """Below, above or beside a face, wherever it hides least; else in the corner."""
    if box is None:
        return Box(0, 0, width, height)
    beside = [
        (box.left, box.top + box.height),
        (box.left, box.top - height),
        (box.left + box.width, box.top),
        (box.left - width, box.top),
    ]
    places = [
        Box(
            min(max(left, 0), max(size[0] - width, 0)),
            min(max(top, 0), max(size[1] - height, 0)),
            width,
            height,
        )
        for left, top in beside
    ]
    return min(places, key=lambda place: sum(shared_area(place, e) for e in taken))
