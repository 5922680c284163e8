"""The LSTM over the images of a window, with Keras's layout and initialisation."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import Array, lax
from jax.typing import DTypeLike

Activation = Callable[[Array], Array]


def _unit_forget_bias(key: Array, shape: tuple[int], dtype: DTypeLike = jnp.float32):
    del key
    hidden = shape[0] // 4
    return jnp.zeros(shape, dtype).at[hidden : 2 * hidden].set(1)


def _update(activation: Activation, z: Array, cell: Array) -> tuple[Array, Array]:
    """State and cell after one step, from its gates before they are squashed."""
    write, keep, value, read = jnp.split(z.astype(jnp.float32), 4, axis=-1)
    cell = nn.sigmoid(keep) * cell + nn.sigmoid(write) * activation(value)
    return (nn.sigmoid(read) * activation(cell)).astype(z.dtype), cell


def _scan(step: Callable, carry: Any, inputs: Any, *, reverse: bool = False) -> Any:
    # Long sequences, unrolled, would compile slowly.
    unroll = len(jax.tree.leaves(inputs)[0]) < 8
    return lax.scan(step, carry, inputs, reverse=reverse, unroll=unroll)


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def last_state(activation: Activation, projected: Array, recurrent: Array) -> Array:
    """The recurrence of `LSTM`, with a custom backward pass.

    The gradient with respect to the recurrent kernel is one product for all steps, as
    in cuDNN, instead of a sum of one a step: a student's round on two cores takes 2 to
    4 % less. JAX cannot differentiate it forward (`jax.jvp`).

    Args:
      activation: of the cell input and output.
      projected: ``[T, B, 4H]``, what the inputs alone give to the gates, with bias.
      recurrent: ``[H, 4H]``.

    Returns:
      ``[B, H]``.
    """
    return _forward(activation, projected, recurrent)[0]


def _forward(
    activation: Activation, projected: Array, recurrent: Array
) -> tuple[Array, Any]:
    def step(state: tuple[Array, Array], z: Array) -> tuple[Any, Any]:
        hidden, cell = state
        z = z + hidden @ recurrent
        return _update(activation, z, cell), (z, cell, hidden)

    # The first step has no state to multiply.
    first, batch = projected[0], projected.shape[1]
    none = jnp.zeros((batch, len(recurrent)), jnp.float32)
    start = _update(activation, first, none)
    (hidden, _), seen = _scan(step, start, projected[1:])
    return hidden, (first, seen, recurrent)


def _backward(
    activation: Activation, saved: Any, of_hidden: Array
) -> tuple[Array, Array]:
    first, (gates, cells, states), recurrent = saved

    def pull(z: Array, cell: Array, of_state: tuple[Array, Array]) -> Any:
        return jax.vjp(partial(_update, activation), z, cell)[1](of_state)

    def step(of_state: tuple[Array, Array], seen: tuple[Array, Array]) -> Any:
        of_z, of_cell = pull(*seen, of_state)
        return (of_z @ recurrent.T, of_cell), of_z

    nothing = jnp.zeros_like(of_hidden, jnp.float32)
    of_start, of_later = _scan(step, (of_hidden, nothing), (gates, cells), reverse=True)
    of_first, _ = pull(first, jnp.zeros_like(nothing), of_start)
    of_recurrent = jnp.einsum("tbh,tbg->hg", states, of_later)
    return jnp.concatenate([of_first[None], of_later]), of_recurrent


last_state.defvjp(_forward, _backward)


class LSTM(nn.Module):
    """One layer, last state out.

    Gates stand in Keras's order input, forget, cell, output along the last axis of
    ``input_kernel [D, 4H]``, ``recurrent_kernel [H, 4H]`` and ``bias [4H]``, so its
    weights load as they are; one bias per gate. The cell state is float32 in any
    ``dtype``.

    Attributes:
      features: ``H``.
      activation: of the cell input and output; tanh, or relu as in the authors' code.
        Gates are always sigmoid.
      dtype: of the matrix products; parameters are float32.

    References:
      Hochreiter and Schmidhuber, *Long short-term memory*, 1997; Jozefowicz et al., *An
      empirical exploration of recurrent network architectures*, 2015 (forget bias 1).
    """

    features: int
    activation: Activation = jnp.tanh
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Maps ``[B, T, D]`` to the state after the last step, ``[B, H]``."""
        batch, gates = x.shape[0], 4 * self.features
        glorot, orthogonal = (
            nn.initializers.glorot_uniform(),
            nn.initializers.orthogonal(),
        )
        kernel = self.param("input_kernel", glorot, (x.shape[-1], gates))
        recurrent = self.param("recurrent_kernel", orthogonal, (self.features, gates))
        bias = self.param("bias", _unit_forget_bias, (gates,))
        x, kernel, recurrent, bias = (
            jnp.asarray(a, self.dtype) for a in (x, kernel, recurrent, bias)
        )
        # What depends on the inputs alone is one product for all T steps, of two axes:
        # with three, its gradient with respect to the kernel is twice as slow on CPU.
        steps = x.swapaxes(0, 1).reshape(-1, x.shape[-1])
        projected = (steps @ kernel + bias.reshape(1, -1)).reshape(-1, batch, gates)
        return last_state(self.activation, projected, recurrent)
