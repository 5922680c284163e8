"""The training state, a pytree whose leaves have an axis of members.

A member is one run: a network with its optimizer. Runs that differ only in traced
values (seed, loss weights, teacher) train as one program over a leading axis K of
members; a single run is a population of one. Whole trees are handled by one program
each: leaf by leaf, a hundred small ones would be compiled before the first round.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import optax

Variables = dict[str, Any]


@flax.struct.dataclass
class TrainState:
    """A plain pytree, every leaf ``[K, ...]``: no functions, no random key.

    Attributes:
      step: int32 ``[K]``, rounds that each member has trained.
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
        """Variables that training goes on from."""
        return {"params": self.params, "batch_stats": self.batch_stats}

    @property
    def evaluated(self) -> Variables:
        """Variables that are scored and teach: averaged, if the optimizer averages."""
        params = optax.tree.get(self.opt_state, "average", self.params)
        return {"params": params, "batch_stats": self.batch_stats}


class AverageState(NamedTuple):
    """State of `average_parameters`."""

    average: Any


def average_parameters(decay: float) -> optax.GradientTransformation:
    """Keeps an exponential moving average of the parameters; the last of a chain.

    Updates pass through unchanged. The average begins at the initial parameters.

    Args:
      decay: share of the former average in the new one, per update.
    """

    def update(updates: Any, state: Any, params: Any = None) -> Any:
        new = optax.apply_updates(params, updates)
        average = optax.incremental_update(new, state.average, 1 - decay)
        return updates, AverageState(average)

    def init(params: Any) -> AverageState:
        return AverageState(jax.tree.map(jnp.copy, params))

    return optax.GradientTransformation(init, update)


def create_state(
    variables: Variables, optimizer: optax.GradientTransformation
) -> TrainState:
    """The state before the first round.

    The step is an array: a Python int would be weakly typed and retrace the first round
    after a restored checkpoint.

    Args:
      variables: ``[K, ...]`` per leaf.
      optimizer: of each member's parameters.
    """
    return TrainState(
        step=jnp.zeros(count_members(variables), jnp.int32),
        params=variables["params"],
        batch_stats=variables.get("batch_stats", {}),
        opt_state=jax.jit(jax.vmap(optimizer.init))(variables["params"]),
    )


def init_variables(
    model: nn.Module, key: jax.Array, *inputs: jax.ShapeDtypeStruct
) -> Variables:
    """Fresh variables of one ``model`` for inputs of these shapes."""
    zeros = [jnp.zeros(each.shape, each.dtype) for each in inputs]
    return {"batch_stats": {}, **_init(model, key, *zeros)}


# Traced once for equal models: a run asks for the same shapes several times, and
# tracing takes .6 s.
@partial(jax.jit, static_argnums=0)
def _init(model: nn.Module, key: jax.Array, *inputs: jax.Array) -> Any:
    return model.init(key, *inputs)


def variable_shapes(model: nn.Module, *inputs: jax.ShapeDtypeStruct) -> Variables:
    """Shapes of the variables of one ``model``; nothing is compiled."""
    key = jax.random.key(0)
    return jax.eval_shape(lambda: init_variables(model, key, *inputs))


@jax.jit
def stack_members(trees: Sequence[Any]) -> Any:
    """One tree ``[K, ...]`` out of K trees of one shape."""
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)


@jax.jit
def take_member(tree: Any, index: int) -> Any:
    """The member at ``index``, without the axis."""
    return jax.tree.map(lambda leaf: leaf[index], tree)


def take_members(tree: Any, indices: Sequence[Any]) -> Any:
    """Selects members by indices, whose shape replaces the member axis."""
    return take_member(tree, np.array(indices))


def count_members(tree: Any) -> int:
    """K of a tree whose leaves are ``[K, ...]``."""
    return np.shape(jax.tree.leaves(tree)[0])[0]
