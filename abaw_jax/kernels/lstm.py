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


def _states(activation: Activation, projected: Array, recurrent: Array) -> Array:
    """State after each step, ``[T, B, H]``."""

    def step(state: tuple[Array, Array], z: Array) -> tuple[tuple[Array, Array], Array]:
        hidden, cell = _update(activation, z + state[0] @ recurrent, state[1])
        return (hidden, cell), hidden

    # The first step has no state to multiply.
    cell = jnp.zeros((projected.shape[1], len(recurrent)), jnp.float32)
    start = _update(activation, projected[0], cell)
    # Long sequences, unrolled, would compile slowly.
    _, others = lax.scan(step, start, projected[1:], unroll=len(projected) < 9)
    return jnp.concatenate([start[0][None], others])


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _last_state(activation: Activation, projected: Array, recurrent: Array) -> Array:
    """State after the last step, ``[B, H]``.

    Args:
      activation: of the cell input and output.
      projected: ``[T, B, 4H]``, what the inputs alone give to the gates, with bias.
      recurrent: ``[H, 4H]``.
    """
    return _states(activation, projected, recurrent)[-1]


def _forward(
    activation: Activation, projected: Array, recurrent: Array
) -> tuple[Array, Any]:
    def last(projected: Array) -> tuple[Array, Array]:
        states = _states(activation, projected, recurrent)
        return states[-1], states

    found, to_projected, states = jax.vjp(last, projected, has_aux=True)
    return found, (to_projected, states)


def _backward(
    activation: Activation, kept: Any, cotangent: Array
) -> tuple[Array, Array]:
    """One product for the recurrent kernel, where XLA has one and a sum for each step.

    A step multiplies the state before it; what it gives to the gates is added to what
    the inputs give, and so has the same gradient.
    """
    to_projected, states = kept
    (gates,) = to_projected(cotangent)
    product = lax.platform_dependent(
        states, gates, cpu=_without_first_step, default=_with_first_step
    )
    return gates, product


def _without_first_step(states: Array, gates: Array) -> Array:
    """A sixth less to multiply for six steps: the first has no state before it.

    A GPU, which multiplies faster than it copies the other gates, moves 3 % more bytes
    in a round of heads.
    """
    return _rows(states[:-1]).T @ _rows(gates[1:])


def _with_first_step(states: Array, gates: Array) -> Array:
    before = jnp.pad(states[:-1], ((1, 0), (0, 0), (0, 0)))
    return _rows(before).T @ _rows(gates)


def _rows(steps: Array) -> Array:
    """``[T, B, F]`` as ``[T B, F]``.

    With three axes the gradient of a kernel is a product twice as slow on a CPU.
    """
    return steps.reshape(-1, steps.shape[-1])


_last_state.defvjp(_forward, _backward)


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
        # What depends on the inputs alone is one product for all T steps.
        projected = _rows(x.swapaxes(0, 1)) @ kernel + bias.reshape(1, -1)
        projected = projected.reshape(-1, batch, gates)
        return _last_state(self.activation, projected, recurrent)
