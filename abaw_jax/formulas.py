"""Formulas of the measures, for arrays of NumPy and of JAX."""

from typing import Any


def concordance(covariance: Any, variances: Any, bias: Any, *, eps: float = 0.0) -> Any:
    r"""The coefficient from population moments, the only place that has its formula.

    .. math::
      \frac{2 \operatorname{cov}(y, \hat y) + \epsilon}
        {\sigma_y^2 + \sigma_{\hat y}^2 + (\mu_y - \mu_{\hat y})^2 + \epsilon}

    Args:
      covariance: of predictions and labels, arrays of NumPy or JAX of any shape.
      variances: sum of both variances.
      bias: difference of the means.
      eps: 0 for a measure, which has no scale; above 0 for a loss, whose gradient at
        constant columns is then finite.

    Returns:
      The coefficient, of the same kind and shape; 1 for identical constants.
    """
    xp = covariance.__array_namespace__()
    spread = variances + bias * bias + eps
    varies = spread != 0  # NaN stays NaN
    safe = xp.where(varies, spread, xp.ones_like(spread))
    return xp.where(varies, (2 * covariance + eps) / safe, xp.ones_like(spread))


def f1_of_counts(
    both: Any, predicted: Any, actual: Any, *, zero_division: float = 0.0
) -> Any:
    """F1 from counts, the only place that has its formula.

    Args:
      both: rows both predicted and actual, arrays of NumPy or JAX of any shape.
      predicted: rows predicted.
      actual: rows actual.
      zero_division: the value of a class neither predicted nor actual.

    Returns:
      F1 of each class, of the same kind and shape.
    """
    # Halved first, which turns counts to floats: their sum may exceed int32.
    marked = predicted / 2 + actual / 2
    xp = marked.__array_namespace__()
    found = both / xp.where(marked > 0, marked, 1.0)
    return xp.where(marked > 0, found, zero_division)
