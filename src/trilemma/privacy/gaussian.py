"""The Gaussian mechanism in closed form: releasing N(0, 1) or N(mu, 1), which is called mu-GDP.

It is what T full-batch updates come to (mu = sqrt(T) / sigma), and a one-number summary of any other (epsilon, delta).
Balle and Wang (2018, arXiv 1805.06530), Theorem 8; Dong, Roth and Su (2019, arXiv 1905.02383), Corollary 2.13.
"""

from __future__ import annotations

import math

from scipy.optimize import brentq
from scipy.special import erfcx, log_ndtr, ndtr


def log_delta(mu: float, epsilon: float) -> float:
    """Natural logarithm of the smallest delta at ``epsilon`` >= 0 for mu > 0."""
    a, b = -epsilon / mu + mu / 2, -epsilon / mu - mu / 2
    if a > 0:  # ndtr(a) is not small, so there is no cancellation
        return math.log(max(float(ndtr(a)) - math.exp(min(epsilon + float(log_ndtr(b)), 0.0)), 5e-324))
    # exp(epsilon) times the density at b is the density at a, which leaves a difference of Mills ratios.
    difference = max(float(erfcx(-a / math.sqrt(2)) - erfcx(-b / math.sqrt(2))), 5e-324)
    return -(a**2) / 2 - math.log(2) + math.log(difference)


def epsilon(mu: float, delta: float) -> float:
    """The smallest epsilon >= 0 at ``delta`` in (0, 1) for mu > 0."""
    target = math.log(delta)
    if log_delta(mu, 0.0) <= target:
        return 0.0
    high = mu
    while log_delta(mu, high) > target:
        high *= 2
    return float(brentq(lambda value: log_delta(mu, value) - target, 0.0, high, xtol=1e-14 * high, rtol=1e-14))


def mu(epsilon: float, delta: float) -> float:
    """The mu whose (epsilon, delta) this is; epsilon >= 0, ``delta`` in (0, 1)."""
    target = math.log(delta)

    def excess(log_mu: float) -> float:
        return log_delta(math.exp(log_mu), epsilon) - target

    low = high = math.log(max(epsilon, delta))
    while excess(low) > 0:
        low -= 1
    while excess(high) < 0:
        high += 1
    return math.exp(float(brentq(excess, low, high, xtol=1e-13)))
