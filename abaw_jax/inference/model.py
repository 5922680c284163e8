"""A trained network from a model folder, as a function of frames and sound."""

from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from abaw_jax.experiment import model_factory
from abaw_jax.experiment.run_record import as_config
from abaw_jax.inference.model_folder import Contract, read_model
from abaw_jax.models import AffectModel
from abaw_jax.training.state import Variables


class Predictions(NamedTuple):
    """What a model says of B frames; the mean over the networks of an ensemble.

    Attributes:
      valence_arousal: float32 ``[B, 2]`` in ``[-1, 1]``.
      expressions: float32 ``[B, 8]``, probabilities that sum to 1.
      action_units: float32 ``[B, 12]``, probabilities.
    """

    valence_arousal: Array
    expressions: Array
    action_units: Array


class Model:
    """A trained network with the weights of its encoders; also usable under ``jit``.

    Attributes:
      contract: what ``model.json`` of its folder holds: inputs, outputs, scores.
    """

    def __init__(self, contract: Contract, networks: dict[str, Variables]) -> None:
        """Builds the network that the contract describes.

        Args:
          contract: of a model folder.
          networks: weights by name, of `read_model`.
        """
        self.contract = contract
        config = as_config(contract["config"])
        self._network = AffectModel(
            image_encoder=model_factory.image_encoder(config),
            sound_encoder=model_factory.sound_encoder(config),
            heads=model_factory.heads(config),
            image_size=config.image_encoder.size,
            softmax=config.sound_encoder.softmax,
            sound_scale=config.sound_encoder.scale,
        )
        self._encoders = {name: networks[name] for name in networks if name != "heads"}
        self._heads = networks["heads"]
        self._apply = jax.jit(self._predict)

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
          ValueError: if the shapes are not those of the contract.
        """
        self._check("frames", frames, jnp.uint8, ignored=(0, 2, 3))
        self._check("waveform", waveform, jnp.int16, ignored=(0,))
        return self._apply(self._encoders, self._heads, frames, waveform)

    def _check(
        self,
        name: str,
        values: Array | np.ndarray | None,
        dtype: jnp.dtype,
        ignored: tuple[int, ...],
    ) -> None:
        wanted = self.contract["inputs"].get(name)
        if wanted is None:
            return
        shape = wanted["shape"]
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
            raise ValueError(
                f"{name} must be {wanted['dtype']} [{', '.join(map(str, shape))}], got "
                f"{given}."
            )

    def _predict(
        self,
        encoders: dict[str, Variables],
        heads: Variables,
        frames: Array | None,
        waveform: Array | None,
    ) -> Predictions:
        def of_one(heads: Variables) -> Any:
            parts = encoders | {"heads": heads}
            variables = {
                collection: {
                    name: tree[collection]
                    for name, tree in parts.items()
                    if collection in tree
                }
                for collection in ("params", "batch_stats")
            }
            return self._network.apply(variables, frames, waveform)

        # Encoders are not mapped over: they run once, whatever the number of heads.
        outputs = jax.vmap(of_one)(heads)
        return Predictions(
            outputs["va"].mean(0),
            jax.nn.softmax(outputs["expr"]).mean(0),
            jax.nn.sigmoid(outputs["au"]).mean(0),
        )


def load(path: str | PathLike[str]) -> Model:
    """Loads a model folder, as ``python -m abaw_jax.export`` writes it.

    Raises:
      ValueError: if it is none, of a later version, or damaged; says what to do.
    """
    return Model(*read_model(Path(path)))
