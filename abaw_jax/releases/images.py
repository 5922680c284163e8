"""Decodes face crops with Pillow."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp")
"""Suffixes of image files, in lower case."""


MAX_PIXELS = 4096 * 4096
"""A larger crop is refused: no face is that size, and decoding it may fill memory."""


MIN_FACE = 8
"""Pixels a side of the smallest box that is taken for a face."""


class MediaError(ValueError):
    """A file cannot be decoded; the message has the reason, its caller the path."""


class Picture(NamedTuple):
    """A decoded crop: uint8 ``[size, size, 3]``, and how the file had it.

    ``plain`` tells that the file is an RGB baseline JPEG of just these pixels.
    """

    pixels: np.ndarray
    width: int
    height: int
    mode: str
    plain: bool


class Box(NamedTuple):
    """Box of the face in an image, in pixels; may reach over the edges."""

    left: float
    top: float
    width: float
    height: float


def read_image(path: Path, size: int, box: Box | None = None) -> Picture:
    """Decodes one crop to RGB.

    Args:
      path: a JPEG or PNG file.
      size: side of the result in pixels; another size is resampled (bilinear with
        antialiasing).
      box: the part to take; None takes all.

    Raises:
      MediaError: if it is no image, is damaged, or is far too large, or if there is
        nothing to see in the box.
    """
    try:
        with Image.open(path) as image:
            width, height, mode = image.width, image.height, image.mode
            if width * height > MAX_PIXELS:
                raise MediaError(f"is {width}x{height}, too large for a crop")
            if box is None:
                image.draft("RGB", (size, size))
            part = image if box is None else image.crop(crop_box(box, width, height))
            if box is not None:
                width, height = part.size
            rgb = part if part.mode == "RGB" else part.convert("RGB")
            whole = box is None and (width, height) == (size, size)
            plain = whole and mode == "RGB" and _is_baseline(image)
            if rgb.size != (size, size):
                rgb = rgb.resize((size, size), Image.Resampling.BILINEAR)
            return Picture(np.asarray(rgb), width, height, mode, plain)
    except MediaError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise MediaError("is far too large for a crop") from None
    except Exception as error:
        # Pillow's decoders raise whatever the damage leads to: OSError, SyntaxError,
        # ValueError, struct.error and more. One crop must not end the work.
        reason = str(error).replace(str(path), "file") or type(error).__name__
        raise MediaError(f"cannot be decoded ({reason})") from None


def crop_box(box: Box, width: int, height: int) -> tuple[int, int, int, int]:
    """The part of a box that is inside the image: left, top, right, bottom.

    Raises:
      MediaError: if less than `MIN_FACE` pixels a side are left.
    """
    left, right = (_within(box.left + s * box.width, width) for s in (0, 1))
    top, bottom = (_within(box.top + s * box.height, height) for s in (0, 1))
    if right - left < MIN_FACE or bottom - top < MIN_FACE:
        place = ", ".join(f"{value:g}" for value in box)
        raise MediaError(
            f"has a face box (left, top, width, height) of {place}, which leaves less "
            f"than {MIN_FACE} pixels of its {width}x{height}"
        )
    return left, top, right, bottom


def _within(position: float, length: int) -> int:
    return round(min(max(position, 0), length))


def _is_baseline(image: Image.Image) -> bool:
    """True for a JPEG to be kept; a progressive one takes longer to decode."""
    return image.format == "JPEG" and not image.info.get("progressive")
