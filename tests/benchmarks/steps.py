"""A network with its compiled inference and training step, as benchmarks time them."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from abaw_jax.models import ImageEncoder, SoundNet
from abaw_jax.training.state import Variables, init_variables

LEARNING_RATE = 1e-4


Encoder = ImageEncoder | SoundNet


class Ours:
    """A module with its compiled inference and training step."""

    def __init__(self, module: Encoder, variables: Variables, x: np.ndarray) -> None:
        self._x, self._optimizer = jnp.asarray(x), optax.adam(LEARNING_RATE)
        variables = jax.tree.map(jnp.copy, variables)
        self.state = variables, self._optimizer.init(variables["params"])
        self._frozen = jax.jit(module.inference_variables)(variables)
        self._infer = jax.jit(lambda variables, x: _first(module.apply(variables, x)))
        self._step = jax.jit(
            partial(_step, module, self._optimizer), donate_argnums=(0, 1)
        )

    def features(self) -> np.ndarray:
        """``[N, D]``, by the weights that it began with."""
        return np.asarray(self._infer(self._frozen, self._x))

    def restart(self, state: Any) -> None:
        """Goes on from ``state``."""
        self.state = jax.device_put(state)

    def loss(self) -> float:
        """Trains a step and returns what it minimised."""
        *state, loss = self._step(*self.state, self._x)
        self.state = tuple(state)
        return float(loss)

    def infer(self) -> int:
        """One batch."""
        return bool(self.features().size)

    def train(self) -> int:
        """One step."""
        self.loss()
        return 1


def _step(
    module: Encoder,
    optimizer: optax.GradientTransformation,
    variables: Variables,
    moments: Any,
    x: jax.Array,
) -> tuple[Variables, Any, jax.Array]:
    def loss(params: Any) -> tuple[jax.Array, Any]:
        outputs, changed = module.apply(
            {**variables, "params": params}, x, train=True, mutable=["batch_stats"]
        )
        return (_first(outputs) ** 2).mean(), changed

    (value, changed), gradients = jax.value_and_grad(loss, has_aux=True)(
        variables["params"]
    )
    updates, moments = optimizer.update(gradients, moments)
    params = optax.apply_updates(variables["params"], updates)
    return {"params": params, **changed}, moments, value


def _first(outputs: Any) -> jax.Array:
    """The features, or of SoundNet the object logits of its one step."""
    first = outputs[0][:, 0] if isinstance(outputs, tuple) else outputs
    return first.astype(jnp.float32)


def initialise(module: Encoder, x: np.ndarray) -> Variables:
    """Variables for inputs of the shape of ``x``."""
    shape = jax.ShapeDtypeStruct((1, *x.shape[1:]), jnp.float32)
    return init_variables(module, jax.random.key(0), shape)
