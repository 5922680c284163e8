"""The concordance correlation coefficient (CCC) as a mergeable state.

`abaw_jax.losses` minimises what `abaw_jax.metrics` reports: both take it from here, the
loss over one batch, the measure over everything merged.
"""

import dataclasses
from typing import NamedTuple, Self

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from abaw_jax.formulas import concordance
from abaw_jax.masking import expand_where, require_same_shape


class Accumulator(NamedTuple):
    """A number held as the unevaluated sum of two float32, about 48 bits in all.

    Attributes:
      high: the rounded number.
      low: what rounding left out.
    """

    high: Array
    low: Array

    @classmethod
    def of(cls, value: Array) -> Self:
        """Wraps a float32 number.

        Args:
          value: any shape.

        Returns:
          The accumulator whose low part is 0, in a separate buffer.
        """
        return cls(value, jnp.zeros_like(value))

    def add(self, *values: Array) -> Self:
        """Adds float32 numbers one after the other and keeps the rounding errors.

        Args:
          *values: each of the accumulator's shape.

        Returns:
          The sum.
        """
        high, low = self
        for value in values:
            high, error = _two_sum(high, value)
            high, low = _two_sum(high, low + error)
        return type(self)(high, low)

    def minus(self, other: Self) -> Array:
        """The difference to another accumulator, accurate even where both are close.

        Args:
          other: of the same shape.

        Returns:
          The difference, rounded to float32.
        """
        return (self.high - other.high) + (self.low - other.low)


def _two_sum(a: Array, b: Array) -> tuple[Array, Array]:
    """Knuth's exact addition: the rounded sum and its rounding error."""
    total = a + b
    b_seen = total - a
    return total, (a - (total - b_seen)) + (b - b_seen)


def add_counts(first: Array, second: Array) -> Array:
    """The sum of two counts; where it has no room, the largest number instead.

    Args:
      first: uint32, any shape.
      second: likewise.

    Returns:
      uint32; a sum beyond :math:`2^{32} - 1` does not start from 0 again.
    """
    total = first + second
    return jnp.where(total < first, ~jnp.zeros_like(total), total)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Concordance:
    r"""Concordance correlation coefficient per column, over everything merged.

    .. math::
      \mathrm{CCC} = \frac{2 \operatorname{cov}(y, \hat y)}
        {\sigma_y^2 + \sigma_{\hat y}^2 + (\mu_y - \mu_{\hat y})^2}

    with population moments. Central moments are merged by the rule of Chan and others,
    each in two float32: of 300,000 rows merged one by one, plain float32 left the
    coefficient 5.4e-5 off, this form 5e-8.

    Attributes:
      count: uint32 ``[C]``, valid rows; float32 would not count beyond
        :math:`2^{24}`.
      prediction_mean: of ``[C]``.
      label_mean: of ``[C]``.
      prediction_squares: of ``[C]``, sum of squared deviations of the predictions.
      label_squares: of ``[C]``, the same of the labels.
      products: of ``[C]``, sum of products of the two deviations.

    Examples:
      >>> import jax.numpy as jnp
      >>> from abaw_jax.metrics import Concordance
      >>> labels = jnp.array([[-1.0], [1.0]])
      >>> first = Concordance.from_batch(labels[:1] / 2, labels[:1])
      >>> second = Concordance.from_batch(labels[1:] / 2, labels[1:])
      >>> print(first.merge(second).compute())
      [0.8]

    References:
      Lin, *A concordance correlation coefficient to evaluate reproducibility*, 1989.
      Chan, Golub and LeVeque, *Updating formulae and a pairwise algorithm for computing
      sample variances*, 1979.
    """

    count: Array
    prediction_mean: Accumulator
    label_mean: Accumulator
    prediction_squares: Accumulator
    label_squares: Accumulator
    products: Accumulator

    @classmethod
    def empty(cls, columns: int) -> Self:
        """The state that has seen nothing, the neutral element of `merge`.

        Args:
          columns: number of columns C, 2 for valence and arousal.

        Returns:
          The state; every leaf is a separate buffer, so it may be donated.
        """
        zeros = (Accumulator.of(jnp.zeros(columns, jnp.float32)) for _ in range(5))
        return cls(jnp.zeros(columns, jnp.uint32), *zeros)

    @classmethod
    def from_batch(
        cls,
        predictions: ArrayLike,
        labels: ArrayLike,
        *,
        where: ArrayLike | None = None,
    ) -> Self:
        """Moments of one batch, in float32 whatever the input's type.

        Args:
          predictions: real ``[B, C]``.
          labels: real ``[B, C]``, in the unit of the predictions.
          where: bool ``[B]`` or ``[B, C]``, True at valid entries; whatever is
            under False, NaN included, changes neither value nor gradient.

        Returns:
          The state of this batch.

        Raises:
          ValueError: if the shapes disagree.
        """
        predictions = jnp.asarray(predictions, jnp.float32)
        labels = jnp.asarray(labels, jnp.float32)
        require_same_shape(2, predictions=predictions, labels=labels)
        where = expand_where(where, predictions.shape)
        count = where.sum(0, dtype=jnp.uint32)
        prediction_mean, predictions = _centre(predictions, where, count)
        label_mean, labels = _centre(labels, where, count)
        return cls(
            count,
            Accumulator.of(prediction_mean),
            Accumulator.of(label_mean),
            Accumulator.of((predictions * predictions).sum(0)),
            Accumulator.of((labels * labels).sum(0)),
            Accumulator.of((predictions * labels).sum(0)),
        )

    def merge(self, other: Self) -> Self:
        """The state of both data sets together.

        Args:
          other: a state with as many columns.

        Returns:
          The merged state; neither operand changes.

        Raises:
          ValueError: if the numbers of columns differ.
        """
        require_same_shape(
            self.count.ndim, **{"this state": self.count, "the other": other.count}
        )
        count = add_counts(self.count, other.count)
        share = other.count / jnp.maximum(count, 1)
        moved = other.prediction_mean.minus(self.prediction_mean)
        label_moved = other.label_mean.minus(self.label_mean)
        weighted = self.count * share * moved
        label_weighted = self.count * share * label_moved
        return type(self)(
            count,
            self.prediction_mean.add(share * moved),
            self.label_mean.add(share * label_moved),
            self.prediction_squares.add(*other.prediction_squares, weighted * moved),
            self.label_squares.add(*other.label_squares, label_weighted * label_moved),
            self.products.add(*other.products, weighted * label_moved),
        )

    def compute(self, *, eps: float = 0.0) -> Array:
        """The coefficient of everything merged.

        Args:
          eps: added to numerator and denominator; a loss needs one to have a gradient
            at constant columns, the measure has none and so no scale.

        Returns:
          float32 ``[C]`` in ``[-1, 1]``; 0 where one side is constant, 1 for identical
          constants, 0 for a column with fewer than two valid rows.
        """
        enough = self.count >= 2
        count = jnp.maximum(self.count, 1)
        bias = self.prediction_mean.minus(self.label_mean)
        variances = (self.prediction_squares.high + self.label_squares.high) / count
        covariance = self.products.high / count
        found = concordance(covariance, variances, bias, eps=eps)
        return jnp.where(enough, found, 0.0)


def _centre(values: Array, where: Array, count: Array) -> tuple[Array, Array]:
    """The mean of each column and the deviations from it, 0 where not valid."""
    values = jnp.where(where, values, 0.0)
    mean = values.sum(0) / jnp.maximum(count, 1)
    return mean, jnp.where(where, values - mean[None], 0.0)
