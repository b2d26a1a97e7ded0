"""Student's t intervals of means of repeated measurements."""

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
