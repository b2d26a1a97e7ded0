"""Intervals of shares (accuracies) from bootstrap draws, which still cover where nearly all or nearly none are right.

Where 20 of 20 examples are classified correctly, every bootstrap sample has accuracy 1, and the percentile interval
[1, 1] claims a certainty that 20 examples cannot give.  Near such a boundary it is too short as well: of 300 examples
at a true accuracy of 0.999 it covers 26 % of the time.  One rule mends this: where fewer than ``FEW`` independent
examples are right, or fewer than ``FEW`` are wrong, the interval is joined with Clopper and Pearson's exact one.
Elsewhere it is the bootstrap's.

Copies of one image are right or wrong together, so what counts is the number of independent images: Kish's effective
number of clusters, (sum of sizes)^2 / (sum of squared sizes), which is the number of clusters where all are of one
size.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from trilemma.statistics.bootstrap import percentile_interval
from trilemma.statistics.intervals import LEVEL, binomial_interval

Array = NDArray[np.float64]
Ends = tuple[float, float]

FEW = 15
"""With fewer right or fewer wrong ones, the percentile bootstrap alone covers clearly less often than its level."""


def effective_count(clusters: NDArray[np.int64]) -> float:
    """Kish's effective number of clusters, from the cluster of each row (n,); 0 without rows.

    >>> effective_count(np.array([3, 3, 5, 5])), effective_count(np.array([1, 1, 1, 2]))
    (2.0, 1.6)
    """
    sizes = np.unique(clusters, return_counts=True)[1].astype(np.float64)
    return float(sizes.sum() ** 2 / np.square(sizes).sum()) if len(sizes) else 0.0


def near_boundary(share: float, count: float) -> bool:
    """Whether fewer than ``FEW`` of ``count`` independent examples are right, or fewer than ``FEW`` are wrong."""
    return bool(min(share, 1 - share) * count < FEW - 1e-9)


def share_interval(share: float, count: float, draws: Array, level: float = LEVEL) -> Ends:
    """The interval of a share by the rule of this module.

    Args:
      share: in [0, 1].
      count: the effective number of independent examples, at least 0.
      draws: float (R,), the share in each bootstrap sample; NaN in one without examples.
      level: the confidence level, in (0, 1).

    >>> low, high = share_interval(1.0, 20, np.ones(1000))
    >>> round(low, 3), high
    (0.832, 1.0)
    """
    drawn = draws[~np.isnan(draws)]
    # A group of one or two examples may be missing from nearly every sample.
    low, high = percentile_interval(drawn, level) if len(drawn) > 1 else (share, share)
    if near_boundary(share, count):
        exact = binomial_interval(share, count, level)
        return min(low, exact[0]), max(high, exact[1])
    return low, high


def share_intervals(shares: Array, counts: Array, draws: Array, level: float = LEVEL) -> Array:
    """:func:`share_interval` of several shares (G,), from their counts (G,) and draws (R, G): float64 (G, 2)."""
    columns = zip(shares, counts, draws.T, strict=True)
    return np.array([share_interval(float(share), float(count), column, level) for share, count, column in columns])


def smallest_interval(shares: Array, counts: Array, draws: Array, level: float = LEVEL) -> Ends:
    """The interval of the smallest of several true shares.

    The low end is the lower quantile of the samples' smallest shares, or the low end of a share near a boundary where
    that is lower.  (The smallest true share lies below the latter only if it lies below its own low end.)  The high end
    is that of the share that is smallest in the data, since the samples' smallest is biased downward.

    Args:
      shares: float (G,).
      counts: float (G,), the effective number of independent examples of each.
      draws: float (R, G), as for :func:`share_interval`.
      level: the confidence level, in (0, 1).

    >>> low, high = smallest_interval(np.ones(2), np.array([10, 500]), np.ones((100, 2)))
    >>> round(low, 3), high
    (0.692, 1.0)
    """
    ends = share_intervals(shares, counts, draws, level)
    low, _ = percentile_interval(np.nanmin(draws, axis=1), level)
    low = float(min([low, shares.min(), *ends[_near(shares, counts), 0]]))
    return low, float(max(ends[shares.argmin(), 1], shares.min()))


def spread_interval(shares: Array, counts: Array, draws: Array, level: float = LEVEL) -> Ends:
    """The interval of the largest of several true shares less the smallest.

    The largest and smallest share are picked in the data, so their difference is biased upward: that of ten equal
    groups is nearly always above zero.  The low end is therefore the largest of lower bounds that hold for all pairs of
    groups at once (:func:`_lower_bounds`).  The high end comes from the samples' own largest and smallest, which are
    biased outward.  With a share near a boundary both are joined with the interval of a difference (Newcombe 1998, his
    method 10), which takes those of the two shares.

    The arguments are those of :func:`smallest_interval`.

    >>> low, high = spread_interval(np.ones(2), np.array([10, 500]), np.ones((100, 2)))
    >>> low, round(high, 3)
    (0.0, 0.308)
    """
    near = _near(shares, counts)
    joined = near[:, None] | near
    spread = float(shares.max() - shares.min())
    _, high = percentile_interval(np.nanmax(draws, axis=1) - np.nanmin(draws, axis=1), level)
    bounds = _lower_bounds(shares, draws, level)
    # Bonferroni's level, since the pair that bounds the spread is picked in the data.
    pairs = max(1, len(shares) * (len(shares) - 1) // 2)
    bounds[joined] = np.minimum(bounds, _newcombe(shares, counts, draws, 1 - (1 - level) / pairs)[0])[joined]
    high = max([high, spread, *_newcombe(shares, counts, draws, level)[1][joined]])
    return float(min(max(0.0, bounds.max()), spread)), min(1.0, float(high))


def _lower_bounds(shares: Array, draws: Array, level: float) -> Array:
    """Lower bounds float64 (G, G) on each share less each other, which hold together with (1 + level) / 2.

    The errors of the samples' differences, in standard errors, have a largest one over all pairs; its quantile is the
    number of standard errors that every pair gives up (the studentized range, as in Tukey's test, with bootstrap
    draws).
    """
    # A share that a sample lacks has so few examples that it is near a boundary, where Newcombe's interval counts too.
    errors = np.nan_to_num(draws - shares)
    standard_errors, largest = np.zeros((len(shares), len(shares))), np.zeros(len(errors))
    for group, own in enumerate(errors.T):
        differences = errors - own[:, None]
        standard_errors[group] = differences.std(axis=0)
        scaled = np.abs(differences) / np.where(standard_errors[group] > 0, standard_errors[group], np.inf)
        largest = np.maximum(largest, scaled.max(axis=1))
    return shares[:, None] - shares - np.quantile(largest, (1 + level) / 2) * standard_errors


def _newcombe(shares: Array, counts: Array, draws: Array, level: float) -> tuple[Array, Array]:
    """Ends float64 (G, G) of Newcombe's intervals of each share less each other."""
    below, above = np.abs(share_intervals(shares, counts, draws, level) - shares[:, None]).T
    differences = shares[:, None] - shares
    return differences - np.hypot(below[:, None], above), differences + np.hypot(above[:, None], below)


def _near(shares: Array, counts: Array) -> NDArray[np.bool_]:
    return np.array([near_boundary(float(share), float(count)) for share, count in zip(shares, counts, strict=True)])
