"""Decodes face crops with Pillow."""

import stat
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import ExifTags, Image, ImageOps

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp")
"""Suffixes of image files, in lower case."""


MAX_PIXELS = 4096 * 4096
"""A larger crop is refused: no face is that size, and decoding it may fill memory."""


MAX_BYTES = 3 * MAX_PIXELS
"""A larger file is refused: it has more than its pixels."""

_FORMATS = ("JPEG", "PNG", "BMP", "TIFF", "GIF", "WEBP")
"""Of crops, by content; Pillow knows dozens, and starts a program for some of them."""


MIN_FACE = 8
"""Pixels a side of the smallest box that is taken for a face."""


DECODING = 2
"""Grows when the same file gives other pixels than before."""


class MediaError(ValueError):
    """A file cannot be decoded; the message has the reason, its caller the path."""


class Picture(NamedTuple):
    """A decoded crop, and how the file had it.

    Attributes:
      pixels: uint8 ``[size, size, 3]``.
      width, height: of the upright picture or of its box, in pixels.
      mode: of its colours, as Pillow names it.
      plain: True if the file is an RGB baseline JPEG of just these pixels.
      turned: True if its EXIF orientation asked for a turn or a reflection.
      transparent: True if parts of it are; they are on black.
    """

    pixels: np.ndarray
    width: int
    height: int
    mode: str
    plain: bool
    turned: bool = False
    transparent: bool = False


class Box(NamedTuple):
    """Box of the face in an image, in pixels; may reach over the edges."""

    left: float
    top: float
    width: float
    height: float


def read_image(path: Path, size: int, box: Box | None = None) -> Picture:
    """Decodes one crop to RGB, upright, 8 bit, transparent parts on black.

    Args:
      path: a JPEG or PNG file.
      size: side of the result in pixels; another size is resampled (bilinear with
        antialiasing).
      box: the part of the upright picture to take; None takes all.

    Raises:
      MediaError: if it is no image, is damaged, or is far too large, or if there is
        nothing to see in the box.
    """
    try:
        if (length := require_file(path)) > MAX_BYTES:
            raise MediaError(f"has {length:,} bytes, too many for a crop")
        with Image.open(path, formats=_FORMATS) as image:
            width, height, mode = image.width, image.height, image.mode
            if width * height > MAX_PIXELS:
                raise MediaError(f"is {width}x{height}, too large for a crop")
            orientation = _orientation(image)
            if orientation >= _LYING:
                width, height = height, width
            if box is None:
                image.draft("RGB", (size, size))
            turned = orientation != _UPRIGHT
            part = ImageOps.exif_transpose(image) if turned else image
            if box is not None:
                part = part.crop(crop_box(box, width, height))
                width, height = part.size
            rgb, transparent = _to_rgb(part)
            whole = box is None and (width, height) == (size, size)
            plain = whole and mode == "RGB" and not turned and _is_baseline(image)
            if rgb.size != (size, size):
                rgb = rgb.resize((size, size), Image.Resampling.BILINEAR)
            pixels = np.asarray(rgb)
            return Picture(pixels, width, height, mode, plain, turned, transparent)
    except MediaError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise MediaError("is far too large for a crop") from None
    except Exception as error:
        # Pillow's decoders raise whatever the damage leads to: OSError, SyntaxError,
        # ValueError, struct.error and more. One crop must not end the work.
        reason = str(error).replace(str(path), "file") or type(error).__name__
        raise MediaError(f"cannot be decoded ({reason})") from None


def require_file(path: Path) -> int:
    """Size of a regular file; opening a pipe or a device might wait for ever.

    Raises:
      MediaError: if it is none.
    """
    try:
        status = path.stat()
    except OSError as error:
        raise MediaError(f"cannot be opened ({error.strerror})") from None
    if not stat.S_ISREG(status.st_mode):
        raise MediaError("is no regular file")
    return status.st_size


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


def _orientation(image: Image.Image) -> int:
    """EXIF orientation, 1 to 8; 1, upright, where there is none that can be read."""
    try:
        found = image.getexif().get(ExifTags.Base.Orientation, _UPRIGHT)
    except Exception:  # whatever damaged metadata lead to; the picture may be whole
        return _UPRIGHT
    return found if found in range(1, 9) else _UPRIGHT


_UPRIGHT, _LYING = 1, 5  # from 5 on, rows of the file are columns of the picture


def _to_rgb(image: Image.Image) -> tuple[Image.Image, bool]:
    """The image in 8-bit RGB, and whether parts of it are transparent."""
    if image.mode == "RGB" and not image.has_transparency_data:
        return image, False
    if image.mode.startswith("I"):  # 16 bit; Pillow would cut them off at 255
        values = np.asarray(image).clip(0, 65535) / 257
        return Image.fromarray(values.round().astype(np.uint8)).convert("RGB"), False
    if not image.has_transparency_data:
        return image.convert("RGB"), False
    layers = image.convert("RGBA")
    opaque, _ = layers.getchannel("A").getextrema()
    black = Image.new("RGBA", image.size, "black")
    return Image.alpha_composite(black, layers).convert("RGB"), opaque != 255


def _within(position: float, length: int) -> int:
    return round(min(max(position, 0), length))


def _is_baseline(image: Image.Image) -> bool:
    """True for a JPEG to be kept; a progressive one takes longer to decode."""
    return image.format == "JPEG" and not image.info.get("progressive")
