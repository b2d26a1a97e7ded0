"""Intervals: Student's t for means of repeated measurements, Clopper and Pearson's for shares."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

LEVEL = 0.95
"""The confidence level of every interval, unless stated otherwise."""

_REPEATED = 1e-4  # fraction of the values: seeds whose values differ by less than this repeat one training


def half_width(standard_error: float, df: int, level: float = LEVEL) -> float:
    """Half the width of Student's t interval.

    Args:
      standard_error: the standard error of the estimate, in the same unit.
      df: the degrees of freedom of the standard error, at least 1.
      level: the confidence level, in (0, 1).

    >>> round(half_width(1.0, df=2), 3), round(half_width(1.0, df=10**6), 3)
    (4.303, 1.96)
    """
    from scipy.special import stdtrit  # imported here, so that a caller who needs only LEVEL does not wait for scipy

    return float(stdtrit(df, 0.5 + level / 2)) * standard_error


def mean_interval(values: NDArray[np.float64], level: float = LEVEL) -> tuple[float, float]:
    """Student's t interval of the mean, mean +- t(n - 1) sd / sqrt(n).

    Args:
      values: float (n,), n >= 2, independent and approximately normal.
      level: the confidence level, in (0, 1).
    """
    half = half_width(float(values.std(ddof=1)) / math.sqrt(len(values)), len(values) - 1, level)
    return float(values.mean()) - half, float(values.mean()) + half


def mean_within(values: NDArray[np.float64], target: float, margin: float, alpha: float = 1 - LEVEL) -> bool:
    """Whether the mean is shown to lie within ``target`` +- ``margin``: two one-sided tests (TOST, Schuirmann 1987).

    Args:
      values: float (n,), independent and approximately normal; fewer than two show nothing.
      alpha: the level of each of the two tests, in (0, 0.5).

    >>> mean_within(np.array([0.50, 0.51, 0.49]), 0.5, 0.02), mean_within(np.array([0.50, 0.58, 0.42]), 0.5, 0.02)
    (True, False)
    """
    if len(values) < 2:
        return False
    low, high = mean_interval(values, 1 - 2 * alpha)
    return target - margin < low and high < target + margin


def paired_p(differences: NDArray[np.float64]) -> float:
    """The two-sided p-value of a paired t-test from its differences; 1 where there are fewer than two.

    Args:
      differences: float (n,).

    >>> round(paired_p(np.array([0.1, 0.2, 0.3])), 3), paired_p(np.array([0.1]))
    (0.074, 1.0)
    """
    from scipy.special import stdtr

    if len(differences) < 2:
        return 1.0
    mean, error = float(differences.mean()), float(differences.std(ddof=1)) / math.sqrt(len(differences))
    if error == 0:
        return float(mean == 0)
    return float(2 * stdtr(len(differences) - 1, -abs(mean) / error))


def prediction_interval(values: NDArray[np.float64], level: float = LEVEL) -> tuple[float, float]:
    """The interval of one further value of the same kind, mean +- t(n - 1) sd sqrt(1 + 1/n).

    The arguments are those of :func:`mean_interval`.
    """
    half = half_width(float(values.std(ddof=1)) * math.sqrt(1 + 1 / len(values)), len(values) - 1, level)
    return float(values.mean()) - half, float(values.mean()) + half


def repeated(values: NDArray[np.float64]) -> bool:
    """Whether the values of several seeds are so close that the seeds repeat one training, up to an example or two."""
    return bool(np.ptp(values) <= _REPEATED * np.abs(values).max())


def binomial_interval(share: float, count: float, level: float = LEVEL) -> tuple[float, float]:
    """Clopper-Pearson's interval for a share of ``count`` independent examples; (0, 1) where there are none.

    Neither the number of examples nor that of hits has to be whole: see :mod:`trilemma.statistics.shares`.

    >>> low, high = binomial_interval(0.0, 100)
    >>> low, round(high, 4)
    (0.0, 0.0362)
    """
    from scipy.stats import beta

    if count == 0:
        return 0.0, 1.0
    hits, tail = share * count, (1 - level) / 2
    low = 0.0 if hits <= 1e-9 else float(beta.ppf(tail, hits, count - hits + 1))
    high = 1.0 if hits >= count - 1e-9 else float(beta.ppf(1 - tail, hits + 1, count - hits))
    return low, high


def smallest_share_interval(
    shares: NDArray[np.float64], counts: NDArray[np.int64], level: float = LEVEL
) -> tuple[float, float, int]:
    """An interval for the smallest of several true shares, and the index of the one that its low end belongs to.

    The low end is the smallest of the low ends of Clopper and Pearson's intervals, each at ``level``: the smallest true
    share lies below it only if it lies below its own low end, so nothing has to be corrected for the choice.  The high
    end is the smallest of their high ends, each at Bonferroni's level, since every one of them bounds the smallest.

    Args:
      shares: float (K,); those without examples are not looked at.
      counts: int (K,), the independent examples of each share; without any, nothing is known and the low end is 0.
      level: the confidence level, in (0, 1).

    >>> low, high, index = smallest_share_interval(np.array([0.9, 0.4, 1.0]), np.array([50, 50, 2]))
    >>> round(low, 3), round(high, 3), index
    (0.158, 0.578, 2)
    """
    each = 1 - (1 - level) / max(1, int(np.count_nonzero(counts)))
    pairs = [(float(share), int(count)) for share, count in zip(shares, counts, strict=True)]
    lows = [binomial_interval(share, count, level)[0] for share, count in pairs]
    high = min(binomial_interval(share, count, each)[1] for share, count in pairs)
    index = int(np.argmin(lows))
    return lows[index], high, index
