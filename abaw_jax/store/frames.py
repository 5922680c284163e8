"""The two formats of a subject's crops in a store: pixels and JPEG.

As pixels they are one array ``[F, H, W, 3]`` and cost no decoding. As JPEG they are all
their bytes in a row, with the end of each, and are decoded when they are asked for: an
eighth of the disk (4.9 instead of 37.6 kB a drawn face of 112 pixels), at 100
microseconds a crop. A crop that already is a JPEG of the right size keeps its very
bytes, so its pixels are the same either way.
"""

import io
from array import array
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, Literal

import numpy as np
from PIL import Image

Images = Literal["pixels", "jpeg"]

FRAME_FILES: dict[Images, tuple[str, ...]] = {
    "pixels": ("frames.npy",),
    "jpeg": ("jpegs.npy", "ends.npy"),
}
"""Files that hold a subject's crops, by kind of store."""


def crop_bytes(image_size: int, images: Images) -> int:
    """Bytes of a stored crop; of a JPEG about an eighth of its pixels."""
    pixels = image_size**2 * 3
    return pixels if images == "pixels" else pixels // 8


class StoreError(ValueError):
    """A store that is missing, unfinished, damaged, or of another version."""


class DigestError(ValueError):
    """A file of a store that is not as it was written; no row is masked for it."""


def why_damaged(store: Path, files: str) -> str:
    """One sentence: which files of a store are damaged, and what mends them."""
    return (
        f"store {store} is damaged: {files}; delete what is named and run "
        "abaw_jax.prepare again, with the options that it was prepared with: it redoes "
        "only that"
    )


class JpegFrames:
    """Crops of one subject that are decoded when they are asked for.

    Indexed by a slice or an array of integers; gives uint8 ``[n, H, W, 3]``.
    """

    def __init__(
        self,
        subject: str,
        jpegs: np.ndarray,
        ends: np.ndarray,
        numbers: np.ndarray,
        size: int,
    ) -> None:
        self._subject = subject
        self._jpegs = jpegs
        self._ends = ends
        self._numbers = numbers
        self._size = size

    def __len__(self) -> int:
        return len(self._ends)

    def __getitem__(self, picked: slice | np.ndarray) -> np.ndarray:
        rows = np.arange(len(self))[picked]
        frames = np.empty((len(rows), self._size, self._size, 3), np.uint8)
        for frame, row in zip(frames, rows, strict=True):
            frame[:] = self._decode(row)
        return frames

    def _decode(self, row: int) -> np.ndarray:
        start = self._ends[row - 1] if row else 0
        data = self._jpegs[start : self._ends[row]].tobytes()
        try:
            with Image.open(io.BytesIO(data), formats=("JPEG",)) as image:
                if image.size == (self._size, self._size) and image.mode == "RGB":
                    return np.asarray(image)
                reason = f"{image.width}x{image.height} pixels of {image.mode}"
        except (
            Exception
        ) as error:  # whatever the damage leads to, see images.read_image
            reason = type(error).__name__
        raise StoreError(
            f"the store is damaged: frame {self._numbers[row]} of {self._subject} no "
            f"longer decodes ({reason}); delete subjects/{self._subject} there and run "
            "abaw_jax.prepare again, it redoes only that"
        )


def write_frames(file: BinaryIO, frames: Iterator[np.ndarray], size: int) -> int:
    """Writes crops as one ``.npy`` array while they are being decoded.

    A mapped file would be shorter code, but on a full disk it kills the process; and
    the number of frames is known only at the end, since some cannot be decoded.

    Args:
      file: an empty file.
      frames: uint8 ``[size, size, 3]`` each.
      size: side of a frame in pixels.

    Returns:
      The number of frames written.
    """
    _write_header(file, (0, size, size, 3))
    count = 0
    for frame in frames:
        file.write(np.ascontiguousarray(frame, np.uint8).data)
        count += 1
    file.seek(0)
    _write_header(file, (count, size, size, 3))  # numpy pads it, so it keeps its length
    return count


def write_jpegs(file: BinaryIO, jpegs: Iterable[bytes]) -> np.ndarray:
    """Writes JPEG files one after the other as one ``.npy`` array of bytes.

    Args:
      file: an empty file.
      jpegs: bytes of each; only one at a time is held.

    Returns:
      Where each ends, int64 ``[F]``.
    """
    _write_header(file, (0,))
    ends, end = array("q"), 0
    for jpeg in jpegs:
        file.write(jpeg)
        end += len(jpeg)
        ends.append(end)
    file.seek(0)
    _write_header(file, (end,))
    return np.array(ends, np.int64)


def encode_jpeg(pixels: np.ndarray) -> bytes:
    """A JPEG of uint8 ``[H, W, 3]``, its colours as fine as its brightness.

    Quality 95 without subsampling: a crop of 112 pixels has few pixels to a mouth, and
    half the resolution of its colours saves a sixth of the bytes (5.0 instead of 5.9 kB
    a drawn face) for half as much error again (1.6 instead of 1.1 a value, on average).
    """
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=95, subsampling=0)
    return file.getvalue()


def _write_header(file: BinaryIO, shape: tuple[int, ...]) -> None:
    header = {"descr": "|u1", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, header)
