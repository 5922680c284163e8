"""Dense networks, several of them computed side by side.

A GPU starts a kernel for each layer, normalisation and activation of a network; those
of small networks last no longer than their start. Side by side, a layer of all networks
is one matrix product, one normalisation and one activation. The variables of each stay
its own, under the names that `flax.linen.Dense` and `flax.linen.BatchNorm` give them.
"""

from collections.abc import Sequence
from itertools import accumulate, groupby, pairwise
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import Array, lax
from jax.typing import DTypeLike

from abaw_jax.kernels.batch_norm import batch_statistics, moving_average, normalise
from abaw_jax.kernels.cross_device import drop, mean_over_devices

EPSILON = 1e-3
"""Of batch normalisation, Keras's."""
_MOMENTUM = 0.99
# In one block-diagonal matrix: 256 rows take a GPU a microsecond or less.
_MOST_ZEROS = 2**19

Features = Array | tuple[Array, ...]
"""Inputs ``[B, D]`` of a network: an array, or arrays that are concatenated."""


class Dense(nn.Module):
    """Variables of a dense layer: ``kernel [D, F]`` and ``bias [F]``."""

    depth: int
    features: int

    def setup(self) -> None:
        """Declares them."""
        glorot, zeros = nn.initializers.glorot_uniform(), nn.initializers.zeros_init()
        shape = (self.depth, self.features)
        self.kernel = self.param("kernel", glorot, shape, jnp.float32)
        self.bias = self.param("bias", zeros, shape[1:], jnp.float32)


class BatchNorm(nn.Module):
    """Variables of a batch normalisation, ``[F]`` each."""

    features: int

    def setup(self) -> None:
        """Declares them."""
        kind = ((self.features,), jnp.float32)
        self.scale = self.param("scale", nn.initializers.ones_init(), *kind)
        self.bias = self.param("bias", nn.initializers.zeros_init(), *kind)
        self.mean = self.variable("batch_stats", "mean", jnp.zeros, *kind)
        self.var = self.variable("batch_stats", "var", jnp.ones, *kind)

    def average(self, mean: Array, var: Array) -> None:
        """Takes the statistics of a batch into the running ones."""
        if not self.is_initializing():
            self.mean.value = moving_average(self.mean.value, mean, _MOMENTUM)
            self.var.value = moving_average(self.var.value, var, _MOMENTUM)


class Block(nn.Module):
    """Dense, batch normalisation, swish, dropout."""

    depth: int
    features: int
    dropout_rate: float

    def setup(self) -> None:
        """Declares the three."""
        self.dense = Dense(self.depth, self.features)
        self.norm = BatchNorm(self.features)
        # By this name the random numbers are those of a module `flax.linen.Dropout`.
        self.dropout = nn.Dropout(
            self.dropout_rate, deterministic=False, name="Dropout_0"
        )


class DenseNetwork(nn.Module):
    """Variables of a network: blocks, then, if asked for, a linear float32 layer.

    The order within a block is that of the authors' code; the text of the paper has
    swish before the normalisation.

    Attributes:
      depth: of the inputs.
      sizes: units of the blocks.
      outputs: units of the last layer; None leaves it out.
      dropout_rate: after every block, share of the units set to 0 in training.
    """

    depth: int
    sizes: Sequence[int]
    outputs: int | None = None
    dropout_rate: float = 0.0

    def setup(self) -> None:
        """Declares the layers."""
        depths = (self.depth, *self.sizes)
        self.blocks = [
            Block(depth, size, self.dropout_rate, name=f"block{number}")
            for number, (depth, size) in enumerate(pairwise(depths), start=1)
        ]
        if self.outputs is not None:
            self.output = Dense(depths[-1], self.outputs)


def side_by_side(
    networks: Sequence[DenseNetwork],
    inputs: Sequence[Features],
    *,
    train: bool,
    dtype: DTypeLike,
) -> list[Array]:
    """Computes networks, those of equally many blocks side by side.

    Args:
      networks: bound; all have a linear layer, or none has.
      inputs: ``[B, D]`` of each. Neighbours that share an array share its product.
      train: normalise by this batch, and average its statistics; dropout.
      dtype: of the blocks.

    Returns:
      ``[B, sizes[-1]]`` of each, or ``[B, outputs]`` float32.
    """
    results: list[Any] = [*inputs]
    for depth in sorted({len(network.sizes) for network in networks}):
        chosen = [i for i, each in enumerate(networks) if len(each.sizes) == depth]
        found = _equally_deep(
            [networks[i] for i in chosen], [inputs[i] for i in chosen], train, dtype
        )
        for i, result in zip(chosen, found, strict=True):
            results[i] = result
    return results


def _equally_deep(
    networks: Sequence[DenseNetwork],
    inputs: Sequence[Features],
    train: bool,
    dtype: DTypeLike,
) -> Sequence[Array]:
    x: Sequence[Features] = inputs
    for blocks in zip(*(network.blocks for network in networks), strict=True):
        kernels = [block.dense.kernel.astype(dtype) for block in blocks]
        x = _activate(_multiply(x, kernels), blocks, train)
    if networks[0].outputs is None:
        return [_join(_parts(each, dtype)) for each in x]
    dense = [network.output for network in networks]
    logits = _multiply(x, [layer.kernel for layer in dense])
    return _split(logits + _join([layer.bias for layer in dense])[None], dense)


def _multiply(inputs: Sequence[Features], kernels: Sequence[Array]) -> Array:
    """Products side by side; neighbours that share an input are one product anyway."""
    pairs = zip(inputs, kernels, strict=True)
    groups = [[*group] for _, group in groupby(pairs, lambda pair: id(pair[0]))]
    kernels = [_join([kernel for _, kernel in group]) for group in groups]
    parts = [_parts(group[0][0], kernels[0].dtype) for group in groups]
    if len(groups) == 1:
        return _multiply_parts(parts[0], kernels[0])
    inputs = [_join(each) for each in parts]
    return lax.platform_dependent(
        *(inputs, kernels), cpu=_one_by_one, tpu=_one_by_one, default=_in_blocks
    )


def _parts(x: Features, dtype: DTypeLike) -> list[Array]:
    return [part.astype(dtype) for part in (x if isinstance(x, tuple) else (x,))]


@jax.custom_vjp
def _multiply_parts(parts: Sequence[Array], kernel: Array) -> Array:
    """Product of the concatenated parts; in the gradient a product for each part.

    XLA leaves out the product of a part whose gradient is not used. Sound features of
    a feature table are two thirds of the input of the heads' extractor.
    """
    return _join(parts) @ kernel


def _multiply_forward(parts: Sequence[Array], kernel: Array) -> tuple[Array, Any]:
    return _multiply_parts(parts, kernel), (parts, kernel)


def _multiply_backward(kept: Any, cotangent: Array) -> tuple[list[Array], Array]:
    parts, kernel = kept
    ends = list(accumulate(part.shape[-1] for part in parts))
    rows = jnp.split(kernel, ends[:-1])
    return [cotangent @ each.T for each in rows], _join(parts).T @ cotangent


_multiply_parts.defvjp(_multiply_forward, _multiply_backward)


def _one_by_one(inputs: Sequence[Array], kernels: Sequence[Array]) -> Array:
    return _join([x @ kernel for x, kernel in zip(inputs, kernels, strict=True)])


def _in_blocks(inputs: Sequence[Array], kernels: Sequence[Array]) -> Array:
    """Products with block-diagonal matrices.

    A GPU multiplies a few zeros in less time than it starts the kernels of a product.
    """
    first, joined, blocks = 0, [], []
    for end in range(1, len(kernels) + 1):
        if end == len(kernels) or _zeros(kernels[first : end + 1]) > _MOST_ZEROS:
            joined.append(_join(inputs[first:end]))
            blocks.append(jax.scipy.linalg.block_diag(*kernels[first:end]))
            first = end
    return _one_by_one(joined, blocks)


def _zeros(kernels: Sequence[Array]) -> int:
    """Zeros in the block-diagonal matrix of kernels."""
    depths, features = zip(*(kernel.shape for kernel in kernels), strict=True)
    return sum(depths) * sum(features) - sum(kernel.size for kernel in kernels)


def _activate(x: Array, blocks: Sequence[Block], train: bool) -> list[Array]:
    """Bias, batch normalisation, swish and dropout; the outputs of each block."""
    norms = [block.norm for block in blocks]
    mean, var = _train_statistics(x, blocks) if train else _statistics(blocks)
    scale, bias = (_join([getattr(n, k) for n in norms]) for k in ("scale", "bias"))
    y = normalise(x, mean, var, scale, bias, epsilon=EPSILON)
    parts = _split(nn.swish(y.astype(x.dtype)), norms)
    if not train:
        return parts
    return [
        drop(block.dropout, part) if block.dropout_rate else part
        for block, part in zip(blocks, parts, strict=True)
    ]


def _train_statistics(x: Array, blocks: Sequence[Block]) -> tuple[Array, Array]:
    """Mean and variance of this batch, which are averaged.

    A bias of a dense layer is subtracted again with the mean, and only moves the
    running one. Added to ``x`` it would have the gradient 0 but for rounding, out of
    which Adam makes full steps.
    """
    mean, var = batch_statistics(x)
    norms = [block.norm for block in blocks]
    each = zip(blocks, _split(mean, norms), _split(var, norms), strict=True)
    for block, own_mean, own_var in each:
        bias = mean_over_devices(block.dense.bias)
        block.norm.average(own_mean + bias, own_var)
    return mean, var


def _statistics(blocks: Sequence[Block]) -> tuple[Array, Array]:
    """Running mean, before the bias of the dense layer, and variance."""
    means = [block.norm.mean.value - block.dense.bias for block in blocks]
    return _join(means), _join([block.norm.var.value for block in blocks])


def _join(arrays: Sequence[Array]) -> Array:
    return arrays[0] if len(arrays) == 1 else jnp.concatenate(arrays, axis=-1)


def _split(x: Array, layers: Sequence[Dense | BatchNorm]) -> list[Array]:
    """The features of each layer."""
    ends = accumulate(layer.features for layer in layers)
    return jnp.split(x, list(ends)[:-1], axis=-1)
