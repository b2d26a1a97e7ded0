"""Student's t intervals of means over repeated measurements."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

LEVEL = 0.95
"""The level of every interval, unless stated otherwise."""

_REPEATED = 1e-4  # of the values: seeds that lie closer together than this repeat one training


def half_width(standard_error: float, df: int, level: float = LEVEL) -> float:
    """Half the width of Student's t interval.

    Args:
      standard_error: of the estimate, in its unit.
      df: degrees of freedom of the standard error, at least 1.
      level: in (0, 1).

    >>> round(half_width(1.0, df=2), 3), round(half_width(1.0, df=10**6), 3)
    (4.303, 1.96)
    """
    from scipy.special import stdtrit  # here, since those who only need LEVEL should not wait for it

    return float(stdtrit(df, 0.5 + level / 2)) * standard_error


def mean_interval(values: NDArray[np.float64], level: float = LEVEL) -> tuple[float, float]:
    """Student's t interval of the mean, mean +- t(n - 1) sd / sqrt(n).

    Args:
      values: float (n,), n >= 2, independent and about normal.
      level: in (0, 1).
    """
    half = half_width(float(values.std(ddof=1)) / math.sqrt(len(values)), len(values) - 1, level)
    return float(values.mean()) - half, float(values.mean()) + half


def prediction_interval(values: NDArray[np.float64], level: float = LEVEL) -> tuple[float, float]:
    """Where one further value of the same kind lies: mean +- t(n - 1) sd sqrt(1 + 1/n).  Arguments as above."""
    half = half_width(float(values.std(ddof=1)) * math.sqrt(1 + 1 / len(values)), len(values) - 1, level)
    return float(values.mean()) - half, float(values.mean()) + half


def repeated(values: NDArray[np.float64]) -> bool:
    """Whether the values of several seeds are so close that they repeat one training, but for an example or two."""
    return bool(np.ptp(values) <= _REPEATED * np.abs(values).max())
