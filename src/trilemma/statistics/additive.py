"""The additive model value = row + column + noise, the paired differences it tests, and Holm's correction.

The randomized block design (Fisher; Montgomery, Design and Analysis of Experiments, ch. 4): its residual variance has
(k - 1)(n - 1) degrees of freedom for k rows and n columns.  With two rows it is the paired t-test.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtr

from trilemma.statistics.intervals import half_width, repeated

# Residuals below this fraction of the values are rounding errors.
_ROUNDING = 1e-10


def additive_variance(values: NDArray[np.float64]) -> tuple[float, int]:
    """The residual variance of the model value = row + column, and its degrees of freedom (k - 1)(n - 1).

    Args:
      values: float (k, n), k conditions at the same n seeds; both at least 2.

    >>> additive_variance(np.array([[1.0, 2.0, 3.0], [2.0, 3.0, 4.0]]))
    (0.0, 2)
    """
    rows, columns = values.shape
    residuals = values - values.mean(axis=1, keepdims=True) - values.mean(axis=0) + values.mean()
    df = (rows - 1) * (columns - 1)
    return float((residuals**2).sum() / df), df


@dataclass(frozen=True)
class PairedDifference:
    """The mean difference of two rows, with its interval, standard errors and p-values.

    Attributes:
      difference: the mean of the first row minus the mean of the second.
      low, high: the 95 % interval of the difference; NaN if the size of the noise is unknown.
      standard_error: the larger of the two standard errors below; 0 if the size of the noise is unknown.
      pooled_error: the standard error from the residual variance of all rows.
      own_error: the standard error from the differences of the two rows alone.
      df: the degrees of freedom of ``pooled_error``.
      p: the two-sided p-value from ``standard_error`` and ``df``.
      own_p: the p-value of the ordinary paired t-test.
    """

    difference: float
    low: float
    high: float
    standard_error: float
    pooled_error: float
    own_error: float
    df: int
    p: float
    own_p: float


def paired_difference(table: NDArray[np.float64], first: int, second: int) -> PairedDifference:
    """Compare two rows of a table column by column, with the noise estimated from all rows.

    Args:
      table: float (k, n), k conditions at the same n seeds; both at least 2.
      first, second: indices of the rows to compare.
    """
    differences = table[first] - table[second]
    difference, n = float(differences.mean()), len(differences)
    rounding = _ROUNDING * float(np.abs(table).max())
    variance, df = additive_variance(table)
    own = float(differences.std(ddof=1)) / math.sqrt(n)
    own = own if own > rounding else 0.0
    pooled = math.sqrt(2 * variance / n)
    pooled = pooled if pooled > rounding else 0.0
    error = max(own, pooled)
    equal = abs(difference) <= rounding
    # If neither row depends on the seed (trainings whose only randomness is the order of their sums), the seeds repeat
    # one trial, which cannot distinguish a difference from noise, however noisy the other rows are.
    one_training = repeated(table[first]) and repeated(table[second])
    if error == 0 or one_training:
        # The size of the noise is unknown.  If the seed affects both rows equally, the sign test remains: n differences
        # have the same sign by chance with probability 2 / 2^n.
        p = 1.0 if equal or one_training else 2.0 ** (1 - n)
        difference = 0.0 if equal else difference
        return PairedDifference(difference, math.nan, math.nan, 0.0, pooled, own, df, p, p)
    p = float(2 * stdtr(df, -abs(difference) / error))
    own_p = float(2 * stdtr(n - 1, -abs(difference) / own)) if own > 0 else float(equal)
    half = half_width(error, df)
    return PairedDifference(difference, difference - half, difference + half, error, pooled, own, df, p, own_p)


def holm(p: Sequence[float]) -> list[float]:
    """P-values after Holm's correction (1979), which bounds the probability of any false alarm under any dependence.

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    adjusted, least = [0.0] * len(p), 0.0
    for rank, index in enumerate(sorted(range(len(p)), key=lambda index: p[index])):
        least = max(least, min(1.0, (len(p) - rank) * p[index]))
        adjusted[index] = least
    return adjusted
