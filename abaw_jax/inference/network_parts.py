"""The parts of a network that are exported: two encoders and the heads, as functions.

Each reads and returns arrays by name. What prepares the input is inside: an encoder
reads crops as they are stored, or a window of sound.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, ShapeDtypeStruct

from abaw_jax.experiment import model_factory
from abaw_jax.inference.model import Model
from abaw_jax.inference.model_folder import Contract
from abaw_jax.training.state import Variables

BATCH = "B"
"""How ``model.json`` writes the axis of the rows, of which there may be any number."""


class Part(NamedTuple):
    """One part of a network.

    Attributes:
      name: of `abaw_jax.inference.model_folder.NETWORKS`.
      model: whose part it is.
      function: from arrays by name to arrays by name, with a leading axis of rows.
      inputs: shapes and types of one row by name.
    """

    name: str
    model: Model
    function: Callable[..., dict[str, Array]]
    inputs: dict[str, ShapeDtypeStruct]

    def batch(self, rows: Any) -> dict[str, ShapeDtypeStruct]:
        """The inputs with an axis of so many rows; may be symbolic."""
        return {
            name: ShapeDtypeStruct((rows, *row.shape), row.dtype)
            for name, row in self.inputs.items()
        }

    def outputs(self) -> dict[str, ShapeDtypeStruct]:
        """Shapes and types of one row of the results by name."""
        found = jax.eval_shape(self.function, **self.batch(1))
        return {name: _row(each) for name, each in found.items()}

    def describe(self) -> dict[str, Any]:
        """What ``model.json`` holds of the inputs and outputs."""
        return {"inputs": _plain(self.inputs), "outputs": _plain(self.outputs())}


def _plain(arrays: Mapping[str, ShapeDtypeStruct]) -> dict[str, Any]:
    return {
        name: {"shape": [BATCH, *row.shape], "dtype": row.dtype.name}
        for name, row in arrays.items()
    }


def float32_model(contract: Contract, networks: dict[str, Variables]) -> Model:
    """The network with products in float32, whatever it was trained with.

    So a file does not depend on the machine that it was written on.
    """
    config = {**contract["config"], "dtype": "float32"}
    return Model({**contract, "config": config}, networks)


def parts(model: Model) -> list[Part]:
    """The parts that a model has, encoders first."""
    inputs, found = model.contract["inputs"], []
    images, sound = model_factory.feature_shapes(model.config)
    features = {}
    if model.reads("frames"):

        def encode_images(frames: Array) -> dict[str, Array]:
            return {"image_features": model.encode_images(frames)}

        crop = ShapeDtypeStruct(tuple(inputs["frames"]["shape"][2:]), jnp.uint8)
        found.append(Part("image_encoder", model, encode_images, {"frames": crop}))
        features["image_features"] = _row(images)
    if model.reads("waveform"):

        def encode_sound(waveform: Array) -> dict[str, Array]:
            return {"sound_features": model.encode_sound(waveform)}

        window = ShapeDtypeStruct(tuple(inputs["waveform"]["shape"][1:]), jnp.int16)
        found.append(Part("sound_encoder", model, encode_sound, {"waveform": window}))
        features["sound_features"] = _row(sound)

    def predict(
        image_features: Array | None = None, sound_features: Array | None = None
    ) -> dict[str, Array]:
        found = model.predict_features(image_features, sound_features)._asdict()
        found.pop("spread")  # a file has the means
        return found

    return [*found, Part("heads", model, predict, features)]


def _row(batch: ShapeDtypeStruct) -> ShapeDtypeStruct:
    return ShapeDtypeStruct(batch.shape[1:], batch.dtype)
