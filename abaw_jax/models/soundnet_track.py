"""SoundNet over many windows of one track: what they share is computed once.

Two windows of ten seconds that end one frame apart share all but .3 % of their samples.
What conv1 to pool2 make of a sample depends on where in the track it is, and not on the
window, but for the first two and the last outputs of a window, which see the zeros at
its ends. These are computed for each window, the others once, at all 256 offsets that a
window may have: of 601 million multiplications of a window 177 are left.
"""

import jax.numpy as jnp
from flax import linen as nn
from flax.typing import VariableDict
from jax import Array, lax, vmap

from abaw_jax.kernels.batch_norm_max_pool import BatchNormMaxPool
from abaw_jax.kernels.conv1d import StridedConv1d
from abaw_jax.models.soundnet import LAYERS, SoundNet

STRIDE = 256
"""Samples from one output of pool2 to the next."""
BEFORE = 288
"""Samples before the first window, which the zeros at its front stand for."""
AFTER = 512
"""Samples after the last window, at least."""
_EDGE = 2  # first outputs of a window that see the zeros in front of it


def shared_layers(net: SoundNet, variables: VariableDict, samples: Array) -> Array:
    """What conv1 to pool2 give at every offset.

    Args:
      net: the network.
      variables: its own.
      samples: ``[L]`` of a track, scaled as the network reads them.

    Returns:
      ``[256, about L / 256, C]``; by offset, in an order of `window_outputs`.
    """
    x = samples[None, :, None]
    for layer in (1, 2):
        x = _apply(net, variables, layer, _at_offsets(x, 2), sliding=True)
        x = _split_offsets(x, LAYERS[layer - 1][2])
    return x


def _apply(
    net: SoundNet, variables: VariableDict, layer: int, x: Array, *, sliding: bool
) -> Array:
    """A layer; sliding, its pool is at every step and its input has no zeros around."""
    taps, padding, pool = LAYERS[layer - 1]
    padding = 0 if sliding else padding
    conv = StridedConv1d(net.widths[layer - 1], taps, padding, net.dtype)
    norm = BatchNormMaxPool(pool, True, dtype=net.dtype, sliding=sliding)
    parameters, statistics = variables["params"], variables["batch_stats"]
    x = jnp.asarray(conv.apply({"params": parameters[f"conv{layer}"]}, x))
    name = f"norm{layer}"
    own = {"params": parameters[name], "batch_stats": statistics[name]}
    return nn.relu(jnp.asarray(norm.apply(own, x)))


def _at_offsets(x: Array, stride: int) -> Array:
    """``[N, S, C]`` without its first 0, 1, … samples: ``[N * stride, …, C]``."""
    n, length, channels = x.shape
    shifted = [x[:, k : length - stride + 1 + k] for k in range(stride)]
    return jnp.stack(shifted, axis=1).reshape(n * stride, -1, channels)


def _split_offsets(x: Array, stride: int) -> Array:
    """Every ``stride``-th step, from each offset: ``[N * stride, S / stride, C]``."""
    n, length, channels = x.shape
    steps = length // stride
    x = x[:, : steps * stride].reshape(n, steps, stride, channels)
    return x.swapaxes(1, 2).reshape(n * stride, steps, channels)


def encode_windows(
    net: SoundNet,
    variables: VariableDict,
    samples: Array,
    shared: Array,
    starts: Array,
    length: int,
) -> Array:
    """Object logits of windows of a track.

    Args:
      net: the network.
      variables: its own.
      samples: ``[L]`` as of `shared_layers`.
      shared: what it gave.
      starts: int32 ``[B]``, first sample of each window, at least `BEFORE` and at most
        ``L - length - AFTER``.
      length: samples of a window.

    Returns:
      Float32 ``[B, T, objects]``.
    """
    count, right = _outputs(length)
    first = STRIDE * (right - _EDGE)
    outputs = window_outputs(shared, starts, count)
    left = _edges(net, variables, samples, starts, 4 * STRIDE)[:, :_EDGE]
    outputs = outputs.at[:, :_EDGE].set(left)
    if right < count:
        behind = _edges(net, variables, samples, starts + first, length - first)
        outputs = outputs.at[:, right:].set(behind[:, _EDGE:])
    objects, _ = net.apply(variables, outputs, from_pool2=True)
    return objects


def window_outputs(shared: Array, starts: Array, count: int) -> Array:
    """The outputs of pool2 that belong to windows ``[B, count, C]``, edges included."""
    place = starts - BEFORE
    # The offset in mixed radix: 2 and 8 were split off by layer 1, 2 and 8 by layer 2.
    bases = (1, 2), (2, 8), (16, 2), (32, 8)
    digits = [place // unit % base for unit, base in bases]
    row = ((digits[0] * 8 + digits[1]) * 2 + digits[2]) * 8 + digits[3]

    def slice_of(row: Array, step: Array) -> Array:
        sizes = 1, count, shared.shape[-1]
        return lax.dynamic_slice(shared, (row, step, 0), sizes)[0]

    return vmap(slice_of)(row, place // STRIDE)


def _edges(
    net: SoundNet, variables: VariableDict, samples: Array, starts: Array, length: int
) -> Array:
    """Outputs of pool2 for pieces of the track between zeros ``[B, …, C]``."""
    pieces = vmap(lambda start: lax.dynamic_slice(samples, (start,), (length,)))(starts)
    x = pieces[:, :, None]
    for layer in (1, 2):
        x = _apply(net, variables, layer, x, sliding=False)
    return x


def _outputs(length: int) -> tuple[int, int]:
    """Outputs of pool2 for so many samples; the first that sees the zeros behind."""
    count, seen = length, length  # seen: first place that is no sample any more
    for taps, padding, pool in LAYERS[:2]:
        count = ((count + 2 * padding - taps) // 2 + 1) // pool
        reach = taps - padding - 1  # places after an output's own that it reads
        seen = -(-(seen - reach) // 2) // pool
    return count, seen
