"""A trained network from a model folder, as a function of frames and sound."""

import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax.errors import FlaxError
from flax.typing import VariableDict
from jax import Array

from abaw_jax.experiment import model_factory
from abaw_jax.experiment.run_record import as_config
from abaw_jax.inference.model_folder import CONTRACT, Contract, read_model
from abaw_jax.models import (
    ImageEncoder,
    SoundNet,
    scale_frames,
    scale_waveform,
    sound_feature,
)
from abaw_jax.path_faults import as_path
from abaw_jax.training.state import Variables

if TYPE_CHECKING:
    from abaw_jax.inference.prediction_table import PredictionTable


class Predictions(NamedTuple):
    """What a model says of B frames; the mean over the networks of an ensemble.

    Attributes:
      valence_arousal: float32 ``[B, 2]`` in ``[-1, 1]``.
      expressions: float32 ``[B, 8]``, probabilities that sum to 1.
      action_units: float32 ``[B, 12]``, probabilities.
      spread: standard deviations of these over the networks; None of one network.
    """

    valence_arousal: Array
    expressions: Array
    action_units: Array
    spread: "Predictions | None" = None


class Model:
    """A trained network with the weights of its encoders; also usable under ``jit``.

    Attributes:
      num_networks: of the ensemble, 1 if it is none.
      contract: what ``model.json`` of its folder holds: inputs, outputs, scores.
      config: settings of the run that trained it.
      networks: weights by name, as saved; those of the heads with a leading axis, one
        entry a network of an ensemble. Of the encoders' a copy is used that was made
        for prediction at the start.
    """

    def __init__(self, contract: Contract, networks: dict[str, Variables]) -> None:
        """Builds the network that the contract describes.

        Args:
          contract: of a model folder.
          networks: weights by name, of `read_model`.
        """
        self.contract, self.config = contract, as_config(contract["config"])
        self.networks = networks
        self._image_encoder = model_factory.image_encoder(self.config)
        self._sound_encoder = model_factory.sound_encoder(self.config)
        self._heads = model_factory.heads(self.config)
        self.num_networks = len(jax.tree.leaves(networks["heads"])[0])
        encoders = {
            "image_encoder": self._image_encoder,
            "sound_encoder": self._sound_encoder,
        }
        self._frozen = {
            name: _inference_variables(name, encoders[name], variables)
            for name, variables in networks.items()
            if name in encoders
        }
        self._encode_images = jax.jit(self._apply_image_encoder)
        self._encode_sound = jax.jit(self._apply_sound_encoder)
        self._predict = jax.jit(self._apply_heads)

    def __call__(
        self, frames: Array | np.ndarray | None, waveform: Array | np.ndarray | None
    ) -> Predictions:
        """Predicts B frames.

        Args:
          frames: uint8 ``[B, T, H, W, 3]``, crops of one face each, RGB, the predicted
            frame last; None if the model does not read images.
          waveform: int16 ``[B, S]``, the sound before the frame; None if it does not
            read sound.

        Raises:
          TypeError: if one is no array.
          ValueError: if the shapes are not those of the contract, or B is 0.
        """
        self._check("frames", frames, jnp.uint8, ignored=(0, 2, 3))
        self._check("waveform", waveform, jnp.int16, ignored=(0,))
        images = sound = None
        if self.reads("frames"):
            assert frames is not None
            flat = self.encode_images(frames.reshape(-1, *frames.shape[2:]))
            images = flat.reshape(*frames.shape[:2], -1)
        if self.reads("waveform"):
            sound = self.encode_sound(waveform)
        return self.predict_features(images, sound)

    def reads(self, name: str) -> bool:
        """True if the network reads "frames", or "waveform"."""
        return name in self.contract["inputs"]

    def encode_images(self, crops: Array | np.ndarray) -> Array:
        """Maps crops uint8 ``[N, H, W, 3]`` to features float32 ``[N, D]``."""
        weights = self._weights_of("image_encoder")
        with _explained("image_encoder"):
            return self._encode_images(weights, crops)

    def encode_sound(self, waveform: Array | np.ndarray | None) -> Array:
        """Maps windows of sound int16 ``[N, S]`` to features float32 ``[N, K]``."""
        weights = self._weights_of("sound_encoder")
        with _explained("sound_encoder"):
            return self._encode_sound(weights, waveform)

    def _weights_of(self, encoder: str) -> VariableDict:
        if encoder not in self._frozen:
            raise ValueError(f"this model has no {encoder.replace('_', ' ')}.")
        return self._frozen[encoder]

    def predict(
        self,
        video: str | PathLike[str],
        *,
        faces: str | PathLike[str] = "detect",
        every: int = 1,
    ) -> "PredictionTable":
        """Predicts a video file, a row per frame and face.

        Args:
          video: the file.
          faces: "detect" (extra ``faces``), "whole", a CSV file with boxes or a folder
            of crops, as ``--faces`` of ``python -m abaw_jax.predict``.
          every: predict every n-th frame only.

        Raises:
          TypeError: if the video or the faces are no path.
          ValueError: if they cannot be read, or ``every`` is no count; says why.
        """
        # What reads videos is loaded only here.
        from abaw_jax.inference.video_prediction import predict_video

        wanted = "that of a video file; arrays go to model(frames, waveform)"
        path = as_path(video, "video", wanted)
        _require_no_other_input(path)
        given = "detect, whole, or that of boxes or crops"
        seen = as_path(faces, "faces", given)
        if faces == "":
            raise ValueError(f"faces is an empty path: give {given}.")
        return predict_video(self, path, str(seen), every)

    def predict_features(
        self, images: Array | np.ndarray | None, sound: Array | np.ndarray | None
    ) -> Predictions:
        """Predicts from features of images ``[B, T, D]`` and of sound ``[B, K]``."""
        with _explained("heads"):
            return self._predict(self.networks["heads"], images, sound)

    def _apply_image_encoder(self, variables: Variables, crops: Array) -> Array:
        images = scale_frames(crops, size=self.config.image_encoder.size)
        return jnp.asarray(self._image_encoder.apply(variables, images))

    def _apply_sound_encoder(self, variables: Variables, waveform: Array) -> Array:
        settings = self.config.sound_encoder
        scaled = scale_waveform(waveform, scale=settings.scale)
        objects, _ = self._sound_encoder.apply(variables, scaled)
        return sound_feature(objects, softmax=settings.softmax)

    def _apply_heads(
        self, variables: Variables, images: Array | None, sound: Array | None
    ) -> Predictions:
        def of_one(variables: Variables) -> Any:
            return self._heads.apply(variables, images, sound)

        outputs = jax.vmap(of_one)(variables)
        va, units = outputs["va"], jax.nn.sigmoid(outputs["au"])
        expressions, spread = jax.nn.softmax(outputs["expr"]), None
        if self.num_networks > 1:
            spread = Predictions(va.std(0), expressions.std(0), units.std(0))
        return Predictions(va.mean(0), expressions.mean(0), units.mean(0), spread)

    def _check(
        self,
        name: str,
        values: Array | np.ndarray | None,
        dtype: Any,
        ignored: tuple[int, ...],
    ) -> None:
        if not self.reads(name):
            return
        wanted = self.contract["inputs"][name]
        shape = wanted["shape"]
        described = f"{wanted['dtype']} [{', '.join(map(str, shape))}]"
        if not isinstance(values, Array | np.ndarray | None):
            kind = type(values).__name__
            raise TypeError(f"{name} is of type {kind} and no array: give {described}.")
        if (
            values is None
            or values.dtype != dtype
            or values.ndim != len(shape)
            or any(
                side != values.shape[axis]
                for axis, side in enumerate(shape)
                if axis not in ignored
            )
        ):
            given = None if values is None else f"{values.dtype} {values.shape}"
            raise ValueError(f"{name} must be {described}, got {given}.")
        if not len(values):
            raise ValueError(f"{name} is empty: give {described}, B of 1 or more.")


def load(path: str | PathLike[str]) -> Model:
    """Loads a model folder, as ``python -m abaw_jax.export`` writes it.

    Raises:
      TypeError: if it is no path.
      ValueError: if it is no model folder, of a later version, or damaged; says
        what to do.
    """
    folder = as_path(path, "path", "that of a model folder")
    contract, networks = read_model(folder)
    try:
        return Model(contract, networks)
    except (KeyError, AttributeError, TypeError) as error:
        raise ValueError(
            f"{folder / CONTRACT} describes no network ({error}): export the model "
            "again."
        ) from None


def _require_no_other_input(video: Path) -> None:
    """Refuses what only the command predicts.

    Raises:
      ValueError: if the video is a camera or a folder.
    """
    command = f"python -m abaw_jax.predict --video={shlex.quote(str(video))}"
    if video.name.startswith("camera:") and not video.exists():
        raise ValueError(f"{video} is no file: a camera is predicted by {command}.")
    if video.is_dir():
        raise ValueError(
            f"{video} is a folder: name a video file; all its videos are predicted by "
            f"{command}."
        )


def _inference_variables(
    name: str, encoder: ImageEncoder | SoundNet, variables: Variables
) -> VariableDict:
    """The weights of an encoder as predictions use them, on the device."""
    with _explained(name, KeyError, TypeError):
        return jax.jit(encoder.inference_variables)(variables)


@contextmanager
def _explained(network: str, *errors: type[Exception]) -> Iterator[None]:
    """Says in one sentence that weights do not fit the network.

    Raises:
      ValueError: instead of flax's errors, and of the others.
    """
    try:
        yield
    except (FlaxError, *errors) as error:
        raise ValueError(
            f"{network}.safetensors holds other weights than {CONTRACT} describes: "
            f"export the model again. ({str(error).splitlines()[0]})"
        ) from None
