"""A lower bound on epsilon, computed in another way than the accountant's upper bound, to check it with.

If the number that is printed as an upper bound is below this one, the accounting is broken.  Nothing is shared with
:mod:`trilemma.privacy.loss_distribution` or with dp-accounting but the definition of the mechanism: one update releases
x from P = (1 - q) N(0, sigma^2) + q N(1, sigma^2) with the example, and from Q = N(0, sigma^2) without it.

1. **Rounding x loses information.**  Telling only in which of some bins x fell is post-processing, which can only lower
   delta.  Bin i has the probabilities P_i and Q_i and the loss l_i = log P_i/Q_i, to be drawn from P (the example is
   removed) or, with the other sign, from Q (it is added).
2. **Composition is an integral.**  With M(z) = E[exp(z l)], the delta of T updates at epsilon is, for every c > 0,

       delta(epsilon) = 1 / (2 pi) * integral over t of M(z)^T exp(-z epsilon) / (z (z + 1)), z = c + i t,

   as E[(1 - exp(epsilon - S))+] has the Laplace transform M(z)^T / (z (z + 1)).
3. **The integral is a sum** over multiples of 2 pi / W up to some t, with three errors that are bounded and
   subtracted.  The sum is that of exp(c m W) delta(epsilon + m W) over all whole m: below zero it adds at most
   exp(-c W), above it what Chernoff's inequality allows.  What lies beyond the last t is at most
   M(c)^T exp(-c epsilon) / (pi t).  Where that is too much (an example that is hardly ever drawn), delta is replaced by
   a mean of it over somewhat larger epsilons, which is smaller because delta decreases: a B-spline of a small width w
   and order k, whose transform ((1 - exp(-z w / k)) / (z w / k))^k makes the integrand small beyond t.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_ndtr, ndtri_exp

from trilemma.privacy.accounting import Event, check_delta

_BINS = 1_000
_SIDE = 320  # the sum has the square of that many terms
_SMALL = math.log(1e-4)  # of delta, which an approximation may cost
_SPLINE = 4
_WIDTHS = (0.0, 1e-3, 1e-2)  # in shares of epsilon
_POINTS = np.exp(np.arange(-16.0, 28.0, 0.1))  # for c


def second_opinion(event: Event, delta: float) -> tuple[float, float]:
    """(a lower, an upper bound) on the epsilon of ``event`` at ``delta``, by other routes than the one reported.

    The upper one is Renyi accounting, the lower one :func:`epsilon_at_least`.
    """
    return epsilon_at_least(event, delta), event.epsilon(delta, accountant="rdp")


@functools.lru_cache(maxsize=1024)  # the trials of a study ask for the same ones
def epsilon_at_least(event: Event, delta: float) -> float:
    """Lower bound on the smallest epsilon of ``event`` at ``delta``, in about a second.

    It is tight to about a thousandth unless an example is hardly ever drawn.

    Raises:
      InputError: ``delta`` outside (0, 1).
    """
    check_delta(delta)
    if event.updates == 0:
        return 0.0
    ratio, without = _bins(event, delta)
    return max(
        _one_direction(ratio, without + ratio, event.updates, delta),
        _one_direction(-ratio, without, event.updates, delta),
    )


def _bins(event: Event, delta: float) -> tuple[NDArray[Any], NDArray[Any]]:
    """log P_i/Q_i and log Q_i of each bin; the former is far smaller than what log P_i is rounded to, if q is small."""
    q, sigma = event.sampling_probability, event.noise_multiplier
    reach = -sigma * float(ndtri_exp(math.log(delta) - math.log(event.updates) - 5))
    edges = np.concatenate([[-np.inf], np.linspace(-reach, reach + 1, _BINS - 1), [np.inf]])

    def log_masses(mean: float) -> NDArray[Any]:
        z = (edges - mean) / sigma
        # On the side where the tail is small, so that a difference of two of them is precise.
        upper = z[:-1] > 0
        near = np.where(upper, log_ndtr(-z[:-1]), log_ndtr(z[1:]))
        far = np.where(upper, log_ndtr(-z[1:]), log_ndtr(z[:-1]))
        with np.errstate(divide="ignore"):
            return np.asarray(near + np.log(-np.expm1(np.minimum(far - near, 0.0))))

    without, drawn = log_masses(0.0), log_masses(1.0)
    if q == 1:
        return drawn - without, without
    # log(1 - q + q exp(drawn - without)), precise where it is near zero.
    gap = drawn - without
    with np.errstate(over="ignore"):
        far = math.log(q) + gap + np.log1p((1 / q - 1) * np.exp(-gap))
        ratio = np.where(gap < 30, np.log1p(q * np.expm1(gap)), far)
    return ratio, without


def _one_direction(losses: NDArray[Any], log_masses: NDArray[Any], updates: int, delta: float) -> float:
    log_delta = math.log(delta)
    # Leaving out losses lowers delta.  The largest ones may be too rare to matter and yet rule all exponentials.
    order = np.argsort(losses)[::-1]
    retained = np.sort(order[np.logaddexp.accumulate(log_masses[order]) > log_delta + _SMALL - math.log(updates)])
    losses, log_masses = losses[retained], log_masses[retained]
    if updates == 1:

        def enough_at_once(epsilon: float) -> bool:
            above = losses > epsilon
            return float(-np.expm1(epsilon - losses[above]) @ np.exp(log_masses[above])) >= delta

        return _largest(enough_at_once, 0.0, float(losses.max())) if enough_at_once(0.0) else 0.0
    moments = updates * np.array([_log_sum(point * losses + log_masses) for point in _POINTS])
    # Chernoff's bound, from above (Canonne et al. 2020): where to look, and for which c.
    chernoff = (moments - log_delta - np.log1p(_POINTS)) / _POINTS - np.log1p(1 / _POINTS)
    best = int(np.argmin(chernoff))
    c, moment, largest = float(_POINTS[best]), float(moments[best]), float(chernoff[best])
    if largest <= 0 or best == len(_POINTS) - 1:
        return 0.0  # less than exp(-27)
    later, log_tilted = c < _POINTS, c * losses + log_masses - moment / updates
    span = max(
        (-_SMALL - log_delta) / c,
        float(np.min((moments[later] - _POINTS[later] * 0.8 * largest - _SMALL - log_delta) / (_POINTS[later] - c))),
    )
    t = np.arange(_SIDE**2) * (2 * math.pi / span)
    middle = float(np.exp(log_tilted) @ losses)
    std = math.sqrt(updates * float(np.exp(log_tilted) @ (losses - middle) ** 2))
    terms = _transform(losses - middle, log_tilted, t) ** updates / ((c + 1j * t) * (c + 1 + 1j * t))
    terms[0] /= 2

    def log_bound(epsilon: float, width: float) -> float:
        """Logarithm of a lower bound on the mean of delta over epsilon to epsilon + width, hence on delta there."""
        smooth = terms
        if width > 0:
            part = (c + 1j * t) * width / _SPLINE
            passed = (1 - math.exp(-c * width / _SPLINE) * _waves(t, width / _SPLINE)) / part
            smooth = terms * math.prod([passed] * _SPLINE)
        total = 2 * float((smooth * _waves(t, epsilon - updates * middle)).sum().real) / span
        last = float(t[-1])
        decay = (2 * _SPLINE / (width * last)) ** _SPLINE / (_SPLINE + 1) if width > 0 else 1.0
        total -= min(decay, 1.0) / (math.pi * last)
        scale = moment - c * epsilon
        above = float(np.min(moments[later] - _POINTS[later] * (epsilon + span))) + c * span
        total -= math.exp(min(-c * span - scale, 700.0)) + math.exp(min(above - scale, 700.0))
        return scale + math.log(total) if total > 0 else -math.inf

    candidates = np.concatenate([largest - std * np.linspace(0, 12, 30), largest * np.geomspace(1, 1e-3, 30)])
    candidates = np.sort(candidates[candidates > 0])[::-1]
    answer = 0.0
    for share in _WIDTHS:

        def enough(epsilon: float, share: float = share) -> bool:
            return log_bound(epsilon, share * epsilon) >= log_delta

        start = next((float(e) for e in candidates if e <= answer or enough(float(e))), answer)
        if start > answer:
            answer = _largest(enough, start, largest)
    return answer


def _log_sum(exponents: NDArray[Any]) -> float:
    peak = exponents.max()
    return float(peak + math.log(np.exp(exponents - peak).sum()))


def _largest(holds: Callable[[float], bool], low: float, high: float) -> float:
    """A point where the condition holds, close to where it no longer does; found by bisection."""
    while high - low > 1e-6 * high:
        middle = (low + high) / 2
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low


def _waves(t: NDArray[Any], place: float) -> NDArray[Any]:
    """exp(-i t place) for equally spaced t from 0: those of `_SIDE` blocks, times those in a block."""
    return np.outer(np.exp(-1j * t[::_SIDE] * place), np.exp(-1j * t[:_SIDE] * place)).ravel()


def _transform(losses: NDArray[Any], log_weights: NDArray[Any], t: NDArray[Any]) -> NDArray[Any]:
    """Sum of exp(log_weights + i t losses), for equally spaced t: those of `_SIDE` blocks, times those in a block."""
    inner = np.exp(1j * np.outer(t[:_SIDE], losses))
    outer = np.exp(1j * np.outer(t[::_SIDE], losses) + log_weights)
    return np.asarray((outer @ inner.T).ravel())
