"""What changes while a network trains, as one pytree."""

from typing import Any

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
import optax

Variables = dict[str, Any]


@flax.struct.dataclass
class TrainState:
    """A plain pytree: no functions, no random key.

    Attributes:
      step: int32 scalar, rounds done so far.
      params: trained parameters.
      batch_stats: running statistics of batch normalisation.
      opt_state: moments of the optimizer.
    """

    step: jax.Array
    params: Any
    batch_stats: Any
    opt_state: optax.OptState

    @property
    def variables(self) -> Variables:
        """What `apply` takes, and what a teacher is handed over as."""
        return {"params": self.params, "batch_stats": self.batch_stats}


def create_state(
    variables: Variables, optimizer: optax.GradientTransformation
) -> TrainState:
    """The state before the first round.

    The step is an array: a Python int would be weakly typed and retrace the first round
    after a restored checkpoint.
    """
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=variables["params"],
        batch_stats=variables.get("batch_stats", {}),
        opt_state=optimizer.init(variables["params"]),
    )


def init_variables(
    model: nn.Module, key: jax.Array, *inputs: jax.ShapeDtypeStruct
) -> Variables:
    """Fresh variables of ``model`` for inputs of these shapes."""
    zeros = [jnp.zeros(each.shape, each.dtype) for each in inputs]
    variables = jax.jit(model.init, static_argnames="train")(key, *zeros)
    return {"batch_stats": {}, **variables}
