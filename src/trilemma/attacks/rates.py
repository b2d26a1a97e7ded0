"""True-positive rates at low false-positive rates, with intervals that include the threshold's own uncertainty.

"What share of the members does the attack find when it accuses one non-member in a hundred?"  The threshold at which
it does so is not known: it is estimated from the same non-members whose scores were measured, and at a rate of 0.1 %
only a handful of them lie above it.  A Clopper-Pearson interval at that threshold ignores this and covers the true
value far less often than its nominal level (49 to 91 % instead of 95), and so does a percentile bootstrap (28 to 91 %).

**Method.**  Sort the m non-members from the highest score.  The true false-positive rate at the k-th of them is a
random number with distribution Beta(k, m - k + 1), whatever the distribution of the scores (the probability integral
transform of an order statistic).  Hence the probability that the rate f is reached by the k-th score is known exactly,
which gives, for every step of the empirical ROC curve, the probability that the true threshold lies on it.  On each
step, the members found, x of n, give the Clopper-Pearson limits Beta(x, n - x + 1) and Beta(x + 1, n - x).  The ends of
the interval are quantiles of the mixture of these over the steps.  (This is the generalized fiducial distribution,
Hannig 2009, with the discreteness rounded to the conservative side on both axes.)  If the threshold is known, the
interval reduces to Clopper-Pearson.

**Weights.**  Where rows count with weights w, or come in clusters (two copies of one image), m and n are effective
numbers: (sum w)^2 / sum w^2, and at most the number of clusters.  Counts become shares of these numbers, since the
beta distribution is defined for real parameters.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from trilemma.errors import InputError
from trilemma.statistics.intervals import LEVEL

Array = NDArray[np.float64]

FALSE_POSITIVES = 10
"""A rate f is reported only if f times the number of non-members is at least this; below, nothing is measured."""


@dataclass(frozen=True)
class Rate:
    """The share of members that an attack finds at one false-positive rate.

    Attributes:
      fpr: the false-positive rate f that the attacker allows.
      value: the largest true-positive rate at a threshold whose false-positive rate is at most f; None where there
        are too few non-members for f.
      interval: (low, high) for the true-positive rate at the true threshold, or None with ``value``.
      reason: why there is no value, such as "needs 10,000 non-members, has 500"; else None.
    """

    fpr: float
    value: float | None
    interval: tuple[float, float] | None
    reason: str | None = None

    def widened(self, factor: float) -> Rate:
        """The same value with an interval whose ends are ``factor`` times as far from it, within [0, 1]."""
        if self.value is None or self.interval is None:
            return self
        low, high = (self.value + factor * (end - self.value) for end in self.interval)
        return replace(self, interval=(max(0.0, low), min(1.0, high)))


def effective_count(weights: Array | None, rows: int, clusters: NDArray[np.int64] | None = None) -> float:
    """The number of equally weighted, independent rows with as much information: (sum w)^2 / sum w^2.

    It is at most the number of clusters.

    >>> effective_count(None, 40), effective_count(np.array([1.0, 1.0, 0.0]), 3)
    (40.0, 2.0)

    Args:
      weights: float (rows,), >= 0, or None for equal weights.
      rows: how many rows there are.
      clusters: int (rows,), equal where rows belong together, or None.
    """
    if weights is None:
        return float(rows if clusters is None else len(np.unique(clusters)))
    total = float(weights.sum())
    count = total * total / float(np.square(weights).sum()) if total > 0 else 0.0
    return count if clusters is None else min(count, float(len(np.unique(clusters[weights > 0]))))


def enough(fpr: float, nonmembers: float, rows: int | None = None) -> str | None:
    """None if ``nonmembers`` (an effective number) suffice for a rate of ``fpr``, otherwise what is missing, in words.

    >>> enough(0.01, 1000), enough(0.001, 500), enough(0.01, 499.2, 500)
    (None, 'needs 10,000 non-members, has 500', 'needs 1,000 non-members, has 500 that are worth 499')

    Args:
      fpr: the rate.
      nonmembers: how many there are, or what they are worth (:func:`effective_count`).
      rows: how many there are, where that is another number.
    """
    needed = math.ceil(FALSE_POSITIVES / fpr - 1e-9)
    if nonmembers >= needed * (1 - 1e-9):
        return None
    return f"needs {needed:,} non-members, has {counted_and_worth(nonmembers, rows)}"


def counted_and_worth(nonmembers: float, rows: int | None = None) -> str:
    """How many there are and, where weights or copies make that another number, what they are worth.

    >>> counted_and_worth(500.0, 500), counted_and_worth(499.9, 500)
    ('500', '500 that are worth 499')
    """
    worth = math.floor(nonmembers * (1 + 1e-9))
    return f"{worth:,}" if rows is None or rows == worth else f"{rows:,} that are worth {worth:,}"


def rate_at(
    scores: Array,
    member: NDArray[np.bool_],
    fpr: float,
    *,
    weights: Array | None = None,
    clusters: NDArray[np.int64] | None = None,
    level: float = LEVEL,
) -> Rate:
    """The true-positive rate at ``fpr`` with its interval (see the module's docstring for the method).

    >>> rng = np.random.default_rng(0)
    >>> scores, member = np.r_[rng.normal(1, 1, 2000), rng.normal(0, 1, 2000)], np.arange(4000) < 2000
    >>> rate = rate_at(scores, member, 0.01)
    >>> rate.interval[0] < 0.092 < rate.interval[1]  # 1 - Phi(Phi^-1(0.99) - 1) = 0.0924
    True

    Args:
      scores: float (N,), higher meaning member.
      member: bool (N,).
      fpr: in (0, 1).
      weights: float (N,), >= 0, or None for equal weights.
      clusters: int (N,); rows of one side that share a value count as one for the interval.  None: every row counts by
        itself.
      level: the confidence level of the interval.

    Raises:
      InputError: lengths differ, a score is NaN, a rate or level is outside (0, 1), or a side has no weight.
    """
    if not 0 < fpr < 1 or not 0 < level < 1:
        raise InputError(f"a rate and a level must lie between 0 and 1, not {fpr} and {level}")
    if scores.shape != member.shape or scores.ndim != 1 or (weights is not None and weights.shape != scores.shape):
        raise InputError("scores, member, and weights must be (N,) of equal length")
    if np.isnan(scores).any():
        raise InputError("a score is NaN: an attack must score every example")
    sides = []
    for rows in (np.flatnonzero(member), np.flatnonzero(~member)):
        own = None if weights is None else weights[rows]
        counted = rows if own is None else rows[own > 0]
        if len(counted) == 0:
            raise InputError("a rate needs members and non-members with a weight above 0")
        own = np.ones(len(counted)) if weights is None else weights[counted]
        sides.append(
            (scores[counted], own, effective_count(own, len(counted), None if clusters is None else clusters[counted]))
        )
    (inside, inside_weights, n), (outside, outside_weights, m) = sides
    reason = enough(fpr, m, len(outside))
    if reason:
        return Rate(fpr, None, None, reason)
    # Every step of the curve to the right ends at one of these, where equal scores form one step; those far beyond f
    # have no weight.
    corners = np.unique(outside)[::-1]
    false = _share(outside, outside_weights, corners, "left")
    corners = corners[: 1 + int(np.searchsorted(false, fpr + 12 * math.sqrt(fpr / m) + 60 / m))]
    false = false[: len(corners)]
    true = _share(inside, inside_weights, corners, "left")  # at the corner or above it
    above = _share(inside, inside_weights, corners, "right")  # above it: as many as are found just before it
    allowed = int(np.searchsorted(false, fpr * (1 + 1e-12), side="right"))
    value = above[allowed] if allowed < len(corners) else 1.0
    steps, lower, upper = _steps(fpr, m, false, m / len(outside), true, above)
    tail = (1 - level) / 2
    low = _mixture_quantile(tail, steps, n * lower, n * (1 - lower) + 1)
    high = _mixture_quantile(1 - tail, steps, n * upper + 1, n * (1 - upper))
    return Rate(fpr, float(value), (min(low, float(value)), max(high, float(value))))


def _steps(fpr: float, m: float, false: Array, row: float, true: Array, above: Array) -> tuple[Array, Array, Array]:
    """Where the true threshold may lie: probabilities, and the smallest and the largest share of members found there.

    Each corner has two steps.  In the *gap* above it, between the next higher score and its own, no fewer members are
    found than at the higher score and no more than lie above its own.  *Among* equal scores, no threshold can be set,
    and the rate is that of the members above them.  A last step covers everything below all corners.

    Args:
      fpr, m: the rate and the effective number of non-members.
      false: (K,), the share of non-members at or above each corner.
      row: what one non-member counts in m.
      true, above: (K,), the share of members at or above each corner, and above it.
    """
    from scipy.stats import beta

    before = np.r_[0.0, false[:-1]]
    first = np.minimum(m * before + row, m * false)
    # The probability that the true rate at the first score of each corner, and at its last, is at least f.
    reached = np.stack([beta.sf(fpr, k, np.maximum(m - k, 0) + 1) for k in (first, m * false)], axis=1).ravel()
    return (
        np.diff(np.r_[0.0, reached, 1.0]),
        np.r_[np.stack([np.r_[0.0, true[:-1]], above], axis=1).ravel(), true[-1]],
        np.r_[np.repeat(above, 2), 1.0],
    )


def _share(values: Array, weights: Array, corners: Array, side: Literal["left", "right"]) -> Array:
    """The weighted share of values that lie at or above each corner ("left"), or above it ("right")."""
    order = np.argsort(values, kind="stable")
    below = np.r_[0.0, np.cumsum(weights[order])]
    share: Array = 1 - below[np.searchsorted(values[order], corners, side=side)] / below[-1]
    return np.clip(share, 0.0, 1.0)


def _mixture_quantile(probability: float, weights: Array, a: Array, b: Array) -> float:
    """A quantile of a mixture of Beta(a, b), where a = 0 stands for the point 0 and b = 0 for the point 1."""
    from scipy.optimize import brentq
    from scipy.stats import beta

    counted = weights > 1e-12 * weights.max()
    weights, a, b = weights[counted] / weights[counted].sum(), a[counted], b[counted]
    at_zero, at_one = a <= 1e-9, b <= 1e-9
    inner = ~(at_zero | at_one)
    mass_zero = float(weights[at_zero].sum())
    if probability <= mass_zero:
        return 0.0
    if probability >= 1 - float(weights[at_one].sum()):
        return 1.0

    def excess(x: float) -> float:
        return mass_zero + float(weights[inner] @ beta.cdf(x, a[inner], b[inner])) - probability

    return float(brentq(excess, 0.0, 1.0, xtol=1e-9))
