"""An image encoder from an ONNX file, run by onnxruntime, in place of the paper's.

Its input is a batch of float32 images, ``(pixel / 255 - mean) / std``. What the file
says about its shape is compared with the settings before the first image is read.
"""

import hashlib
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from abaw_jax.models.image_encoder import scale_frames
from abaw_jax.report import console

_LUMA = np.array(
    [[[[0.299, 0.587, 0.114]]]], np.float32
)  # of ITU-R BT.601, as Pillow and OpenCV
_LARGEST_BATCH = 1024
_CHANNELS = {"rgb": 3, "bgr": 3, "grey": 1}


class OnnxEncoder:
    """Maps crops to features.

    Attributes:
      fingerprint: of the file and of how its input is made.

    Raises:
      ValueError: if onnxruntime is missing, or the file cannot be read or reads and
        gives other arrays than the settings say.
    """

    def __init__(self, settings: ConfigDict) -> None:
        """Opens the file.

        Args:
          settings: ``config.image_encoder``.
        """
        self._path, self._input = Path(settings.onnx), settings.onnx_input
        self._size = settings.size
        self._session = _open(self._path)
        self._batch = self._check_input()
        self._output = self._choose_output()
        contract = repr(sorted(self._input.to_dict().items())).encode()
        digest = hashlib.sha256(self._path.read_bytes() + contract)
        self.fingerprint = digest.hexdigest()[:16]
        self._prepare = jax.jit(self._scaled)
        console.stage_header("image encoder", self._describe())

    def __call__(self, frames: np.ndarray) -> np.ndarray:
        """Maps crops ``[N, H, W, 3]`` uint8 to features ``[N, D]`` float32."""
        images, name = np.asarray(self._prepare(frames)), self._session.get_inputs()[0]
        size = self._batch or len(images)
        padded = np.pad(images, [(0, -len(images) % size), (0, 0), (0, 0), (0, 0)])
        try:
            found = [
                self._session.run([self._output], {name.name: part})[0]
                for part in np.split(padded, len(padded) // size)
            ]
        except Exception as error:  # as in _open
            raise ValueError(f"{self._path} fails: {_reason(error)}") from None
        features = np.concatenate(found)[: len(images)]
        return features.reshape(len(images), -1).astype(np.float32)

    def _scaled(self, frames: jax.Array) -> jax.Array:
        images = scale_frames(frames, size=self._size)
        if self._input.colours == "grey":
            images = jnp.sum(images * _LUMA, axis=-1, keepdims=True)
        elif self._input.colours == "bgr":
            images = images[..., ::-1]
        mean, std = (
            np.float32(self._input[name]).reshape(1, 1, 1, -1)
            for name in ("mean", "std")
        )
        images = (images - mean) / std
        return images.transpose(0, 3, 1, 2) if self._input.layout == "nchw" else images

    def _check_input(self) -> int | None:
        """The batch size of the file; None where it takes any."""
        inputs = self._session.get_inputs()
        channels, side = _CHANNELS[self._input.colours], self._size
        image = {"nchw": [channels, side, side], "nhwc": [side, side, channels]}
        wanted = image[self._input.layout]
        known = inputs[0].shape
        batch = known[0] if known and isinstance(known[0], int) else 1
        fits = (
            len(known) == 4
            and batch <= _LARGEST_BATCH
            and all(
                not isinstance(has, int) or has == needs
                for has, needs in zip(known[1:], wanted, strict=True)
            )
        )
        if len(inputs) != 1 or inputs[0].type != "tensor(float)" or not fits:
            raise ValueError(
                f"{self._path} reads {_show(inputs)}; the settings give it one float "
                f"array of [N, {', '.join(map(str, wanted))}]. Set config.image_encoder"
                ".size, .onnx_input.layout and .onnx_input.colours to what it reads."
            )
        return known[0] if isinstance(known[0], int) else None

    def _choose_output(self) -> str:
        outputs = {each.name: each for each in self._session.get_outputs()}
        name = self._input.output or next(iter(outputs))
        if name not in outputs:
            raise ValueError(
                f"{self._path} has no output {name!r}, only {_show(outputs.values())}: "
                "set config.image_encoder.onnx_input.output to one of them."
            )
        if any(side != 1 for side in outputs[name].shape[2:]):
            raise ValueError(
                f"{self._path} gives {_show([outputs[name]])}; a feature is [N, D]. "
                "Name another output with config.image_encoder.onnx_input.output."
            )
        return name

    def _describe(self) -> str:
        how = self._input
        return (
            f"{self._path.name}: {self._size}x{self._size} {how.colours}, "
            f"(pixel / 255 - {_numbers(how.mean)}) / {_numbers(how.std)}, "
            f"{how.layout}; output {self._output}"
        )


def _open(path: Path) -> Any:
    try:
        import onnxruntime
    except ImportError:
        raise ValueError(
            "config.image_encoder.onnx needs onnxruntime: pip install 'abaw_jax[onnx]'."
        ) from None
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors; they are raised, too
    try:
        return onnxruntime.InferenceSession(
            path.read_bytes(), options, onnxruntime.get_available_providers()
        )
    except Exception as error:  # onnxruntime has a class for each of a dozen codes
        raise ValueError(
            f"{path} cannot be read as an ONNX network: {_reason(error)}"
        ) from None


def _reason(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _show(arrays: Any) -> str:
    return ", ".join(f"{each.name} {each.type} {each.shape}" for each in arrays)


def _numbers(values: tuple[float, ...]) -> str:
    unique = values[:1] if len(set(values)) == 1 else values
    return ", ".join(f"{value:g}" for value in unique)
