"""Batch normalisation with max-pooling over time, in the cheaper order.

To normalise is monotone in every channel, so the largest of a window of normalised
samples is the normalised largest sample; or the smallest, where the scale is negative.
Pooled first, an eighth of SoundNet's samples are normalised, and the backward pass
reads what conv1 gave once instead of five times.
"""

import jax.numpy as jnp
from flax import linen as nn
from jax import Array, lax
from jax.typing import DTypeLike

from abaw_jax.kernels.batch_norm import batch_statistics, moving_average
from abaw_jax.kernels.conv1d import max_pool1d, sliding_max1d


class BatchNormMaxPool(nn.Module):
    """`flax.linen.BatchNorm`, with its variables, then `max_pool1d`.

    Attributes:
      size: of the windows of the pool; 1 pools nothing.
      sliding: windows begin at every step, not side by side.
      use_running_average: normalise by the statistics of other batches.
      momentum: of these statistics.
      epsilon: added to the variance.
      dtype: of the result; statistics are float32.
    """

    size: int
    use_running_average: bool
    momentum: float = 0.9
    epsilon: float = 1e-5
    dtype: DTypeLike = jnp.float32
    sliding: bool = False

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Maps ``[N, S, C]`` to ``[N, floor(S / size), C]``, or slides over it."""
        shape = x.shape[-1:]
        scale = self.param("scale", nn.initializers.ones_init(), shape)
        bias = self.param("bias", nn.initializers.zeros_init(), shape)
        mean, var = self._statistics(x)
        of_channels = (mean, scale * lax.rsqrt(var + self.epsilon), bias)
        mean, factor, bias = (each.reshape(1, 1, -1) for each in of_channels)
        sign = jnp.where(factor < 0, -1, 1).astype(x.dtype)
        pool = sliding_max1d if self.sliding else max_pool1d
        extreme = sign * pool(sign * x, size=self.size)
        return ((extreme - mean) * factor + bias).astype(self.dtype)

    def _statistics(self, x: Array) -> tuple[Array, Array]:
        """Mean and variance by which to normalise; those of this batch are averaged."""
        shape = x.shape[-1:]
        means = self.variable("batch_stats", "mean", jnp.zeros, shape)
        variances = self.variable("batch_stats", "var", jnp.ones, shape)
        if self.use_running_average:
            return means.value, variances.value
        mean, var = batch_statistics(x)
        if not self.is_initializing():
            for running, own in ((means, mean), (variances, var)):
                running.value = moving_average(running.value, own, self.momentum)
        return mean, var
