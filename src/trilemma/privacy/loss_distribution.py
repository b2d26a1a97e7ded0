"""The privacy loss of Poisson-subsampled Gaussian updates as a distribution: an upper bound on delta that composes.

**One update**, of an example that is drawn with probability q < 1, with noise of standard deviation sigma (in units of
the clipping norm).  With the example the released coordinate follows P = (1 - q) N(0, sigma^2) + q N(1, sigma^2),
without it Q = N(0, sigma^2); no other pair of neighbors is easier to tell apart (Zhu et al. 2022, arXiv 2106.08567).
The loss is L(x) = log P(x)/Q(x) = log(1 - q + q exp((2x - 1) / (2 sigma^2))).  *Removing* the example draws x from P
and loses L(x); *adding* it draws x from Q and loses -L(x).  The delta of T updates at epsilon is
E[(1 - exp(epsilon - S))+] for the sum S of T independent losses.  Both directions are computed; the larger one counts.

**Discretization** ("connect the dots", Doroshenko et al. 2022, arXiv 2207.04380).  A loss between two neighboring
points a < b of a grid is split between them such that its probabilities under both hypotheses are kept.  The curve of
delta over exp(epsilon) is convex; that of the discrete pair interpolates it between the grid's points, so that it lies
above it, and a pair that lies above stays above when both are composed.  The grid's points are multiples of one cell,
but only some of them: far from zero they are as far apart as `_SPACING` times the loss.

**The cell** follows the spread of one update's loss.  Splitting multiplies E[exp(tilt L)] by about
1 + tilt (1 + tilt) E[(b - L)(L - a)] / 2, and thereby raises epsilon by about T (1 + tilt) E[(b - L)(L - a)] / 2 (for
the tilt see below).  The cell keeps this below `_TOLERANCE` of epsilon.

**Composition** is a power of a discrete Fourier transform, whose rounding errors would drown a small delta.  The losses
are therefore tilted first, p(l) exp(tilt l) / M(tilt), with about Chernoff's exponent for T and delta as the tilt.  The
sum of tilted losses has its bulk where the true sum has the tail that makes up delta, so that the errors (about T times
the machine precision) are relative to delta.  The same is called saddle point by Alghamdi et al. (2023, arXiv
2208.09595).

**What is cut counts against the guarantee.**  The largest losses, whose probability in all T updates is below `_CUT`
times delta, count as infinite.  The smallest are rounded up to the grid's lowest point.  What lies above the Fourier
transform's window is bounded by Chernoff's inequality, and counts as infinite too; what lies below it or above it also
comes out at the other end, which only adds to delta.  The Fourier transform's rounding errors are added, and so is
`_ROUNDING` times delta for those of all other sums.  Every delta and epsilon here is thus an upper bound.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.fft import irfft, next_fast_len, rfft
from scipy.signal import lfilter
from scipy.special import ndtri_exp
from scipy.stats import norm

from trilemma.errors import PrivacyError

Array = NDArray[np.float64]
Direction = Literal["remove", "add"]
DIRECTIONS: tuple[Direction, ...] = ("remove", "add")

_CUT = 1e-5
_ROUNDING = 1e-6
_PRECISION = 1e-15  # of one update's part in the Fourier transform, in shares of all tilted probability
_TOLERANCE = 2e-5
_SPACING = 0.01
_FARTHEST = 1e10  # place of a loss, in cells
_COARSEST = 0.2  # of cells, in shares of 1 / (1 + tilt)
# Tilted probability that may lie below the window and above it.  It comes out at the other end: what was above weighs
# more there, what was below less.
_BELOW, _ABOVE = 1e-6, 1e-12
_MOST_CELLS = 2**21  # of a window; where these do not suffice, wider cells raise the bound
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(8)
_POSITIVE = np.exp(np.arange(-16.0, 30.0, 0.2))
_TILTS = np.concatenate([-_POSITIVE[::-1], [0.0], _POSITIVE])


@dataclass(frozen=True)
class _Update:
    """One update, seen from one direction.

    Attributes:
      direction: see the module's text.
      q: in (0, 1).
      sigma: standard deviation of the noise.
      log_tail: natural logarithm of the probability that is cut at either end.
    """

    direction: Direction
    q: float
    sigma: float
    log_tail: float

    @property
    def ends(self) -> tuple[float, float]:
        """The part of the real line outside of which x is cut; no more than exp(log_tail) lies beyond either end."""
        low = float(self.sigma * ndtri_exp(self.log_tail))
        if self.direction == "add":
            return low, -low
        half = self.log_tail - math.log(2)
        undrawn = -self.sigma * float(ndtri_exp(half))
        drawn = 1 - self.sigma * float(ndtri_exp(min(half - math.log(self.q), math.log(0.5))))
        return low, max(undrawn, drawn)

    def loss(self, x: Array) -> Array:
        """The value, with full relative precision near zero."""
        exponent = (2 * x - 1) / (2 * self.sigma**2)
        near = np.log1p(self.q * np.expm1(np.minimum(exponent, 30.0)))
        far = np.logaddexp(math.log(self.q) + exponent, math.log1p(-self.q))
        ratio = np.where(exponent < 30.0, near, far)
        return ratio if self.direction == "remove" else -ratio

    def where(self, loss: Array) -> Array:
        """The x at which the loss has these values; infinite where it never does."""
        log_ratio = loss if self.direction == "remove" else -loss
        with np.errstate(divide="ignore", over="ignore"):
            near = np.log1p(np.maximum(np.expm1(np.minimum(log_ratio, 30.0)) / self.q, -1.0))
            exponent = np.where(log_ratio < 30.0, near, log_ratio - math.log(self.q))
        return np.asarray(0.5 + self.sigma**2 * exponent)

    def nodes(self, edges: Array, most: int) -> tuple[Array, Array]:
        """Losses and their probabilities at Gauss-Legendre nodes on small pieces (up to ``most``), and on what
        ``edges`` make of these."""
        low, high = self.ends
        pieces = math.ceil(8 * (high - low) / min(self.sigma, self.sigma**2))
        breaks = np.linspace(low, high, min(pieces, most) + 1)
        breaks = np.union1d(breaks, edges[(edges > low) & (edges < high)])
        middles, halves = (breaks[1:] + breaks[:-1]) / 2, np.diff(breaks) / 2
        x = (middles[:, None] + halves[:, None] * _NODES).ravel()
        density = norm.pdf(x, 0, self.sigma)
        if self.direction == "remove":
            density = (1 - self.q) * density + self.q * norm.pdf(x, 1, self.sigma)
        return self.loss(x), (halves[:, None] * _WEIGHTS).ravel() * density


@dataclass(frozen=True)
class _Discrete:
    """A distribution of losses on ``places`` (ascending whole numbers) times ``cell``, and at infinity."""

    cell: float
    places: NDArray[np.int64]
    masses: Array
    log_infinite: float

    @property
    def losses(self) -> Array:
        return np.asarray(self.places * self.cell, dtype=np.float64)


def _log_moments(losses: Array, masses: Array, tilts: Array) -> Array:
    """log E[exp(tilt loss)] for each tilt."""
    losses, log_masses = losses[masses > 0], np.log(masses[masses > 0])
    results = []
    for tilt in tilts:  # an outer product would take hundreds of megabytes
        exponents = tilt * losses + log_masses
        peak = exponents.max()
        results.append(peak + math.log(np.exp(exponents - peak).sum()))
    return np.array(results)


def _discretize(update: _Update, cell: float) -> _Discrete:
    """One update's loss on multiples of ``cell``, by connecting the dots."""
    low, high = update.ends
    least, largest = sorted(float(loss) for loss in update.loss(np.array([low, high])))
    cell = max(cell, largest / _FARTHEST)  # places must be exact as floating-point numbers
    places = _places(math.floor(max(least / cell, -_FARTHEST)), math.ceil(largest / cell) + 1)
    points = np.asarray(places * cell, dtype=np.float64)
    losses, weights = update.nodes(update.where(points), 20_000)
    left = np.clip(np.searchsorted(points, losses, side="right") - 1, 0, len(points) - 2)
    share = np.clip(
        np.expm1(np.minimum(points[left] - losses, 0.0)) / np.expm1(points[left] - points[left + 1]), 0.0, 1.0
    )
    lower, upper = weights * (1 - share), weights * share
    masses: Array = np.bincount(np.append(left, left + 1), np.append(lower, upper), len(points)).astype(np.float64)
    tail, total = math.exp(update.log_tail), float(masses.sum())
    if not -2 * tail - 1e-11 < total - 1 < 1e-11:
        raise PrivacyError(f"the privacy losses of one update do not add up ({total!r}): they cannot be accounted for")
    masses[0] += tail  # at most: both ends together may now make a little more than 1, which only adds to delta
    return _Discrete(cell, places, masses, update.log_tail)


def _places(least: int, largest: int) -> NDArray[np.int64]:
    """Whole numbers from ``least`` to ``largest``: all near zero, then as far apart as `_SPACING` says."""
    every = round(1 / _SPACING)
    steps = math.ceil(math.log(max(-least, largest, every) / every) / math.log1p(_SPACING)) + 1
    far = np.floor(every * np.exp(np.arange(steps) * math.log1p(_SPACING))).astype(np.int64)
    positive = np.concatenate([np.arange(1, every), far])
    places = np.concatenate([-positive, [0], positive])
    return np.unique(np.concatenate([places[(places > least) & (places < largest)], [least, largest]]))


@dataclass(frozen=True)
class Composition:
    """Upper bound on delta over epsilon, for all updates and one direction.

    Attributes:
      losses: ascending, one cell apart; nothing is known about epsilons below the first.
      log_deltas: natural logarithm of the bound at each of them.
    """

    losses: Array
    log_deltas: Array

    def epsilon(self, log_delta: float) -> float | None:
        """The smallest epsilon >= 0 at which delta is small enough; None if it is below the first loss.

        The bound is linear in exp(epsilon) between two losses.
        """
        after = int(np.searchsorted(-self.log_deltas, -log_delta))  # the first loss with a small enough delta
        if after == len(self.losses):
            return math.inf
        if after == 0:
            return 0.0 if self.losses[0] <= 0 else None
        low, high = np.exp(self.log_deltas[[after - 1, after]] - log_delta)
        left, right = self.losses[[after - 1, after]]
        return max(0.0, float(left + math.log1p((low - 1) / (low - high) * math.expm1(right - left))))


class _Bulk:
    """The losses of one update by quadrature, and what T of them look like: for choosing cell and tilt.

    ``moments`` are T log E[exp(t L)] for each t in `_TILTS`.
    """

    def __init__(self, update: _Update, updates: int) -> None:
        self.losses, self.weights = update.nodes(np.empty(0), 1_000)
        self.updates = updates
        self.moments = updates * _log_moments(self.losses, self.weights, _TILTS)

    def chernoff(self, log_delta: float) -> tuple[float, float]:
        """An upper bound on epsilon by Renyi divergences (Canonne et al. 2020, Proposition 12), and its tilt."""
        tilts = _TILTS[_TILTS > 0]
        factors = tilts * np.log(tilts) - (1 + tilts) * np.log1p(tilts)
        epsilons = (self.moments[_TILTS > 0] - log_delta + factors) / tilts
        # The smallest tilt that does: where a loss is nearly certain, the best one has no end.
        least = float(epsilons.min())
        best = int(np.argmax(epsilons <= least + 1e-3 * abs(least)))
        return float(epsilons[best]), float(tilts[best])

    def saddle(self, epsilon: float) -> float:
        """The tilt that has the sum's bulk where delta of this epsilon is made up."""
        tried = (_TILTS > 0) & (_TILTS * epsilon < 1e4)
        tilts = _TILTS[tried]
        return float(tilts[np.argmin(self.moments[tried] - tilts * epsilon - np.log(tilts) - np.log1p(tilts))])

    def cell(self, tilt: float, epsilon: float) -> float:
        """See the module's text."""
        exponents = tilt * self.losses
        tilted = self.weights * np.exp(exponents - exponents.max())
        tilted /= tilted.sum()
        cells = np.geomspace(1e-12 * epsilon, _COARSEST / (1 + tilt), 400)
        added = np.array([tilted @ np.minimum(cell**2 / 6, np.abs(self.losses) * cell / 2) for cell in cells])
        fits = np.flatnonzero(self.updates * (1 + tilt) / 2 * added <= _TOLERANCE * epsilon)
        return float(cells[fits[-1]] if len(fits) else cells[0])


def _window(
    moments: Array, updates: int, log_delta: float, epsilon: float, saddle: float
) -> tuple[float, float, float, float]:
    """The tilt with the narrowest window, among those up to the saddle point's that are precise enough.

    Args:
      moments: T log E[exp(t L)] of the discrete losses for each t in `_TILTS`.
      updates: T.
      log_delta: natural logarithm of the delta in question.
      epsilon: near or above the one in question.
      saddle: the saddle point's tilt.

    Returns:
      The tilt, both ends of the window, and the tilt whose Chernoff bound holds for what lies above.
    """
    tilts, log_cut = _TILTS, log_delta + math.log(_CUT)
    positive = np.flatnonzero(tilts > 0)
    bound = positive[np.argmin((moments[positive] - log_cut) / tilts[positive])]
    high = (moments[bound] - log_cut) / tilts[bound]
    tried = np.flatnonzero((tilts >= 0) & (tilts <= saddle))
    # Logarithm of what an error of the tilted probabilities weighs, in units of delta.
    heights = moments[tried] - tilts[tried] * epsilon - log_delta
    gaps = tilts[tried, None] - tilts
    with np.errstate(divide="ignore", invalid="ignore"):
        below = (math.log(_BELOW) + (moments[tried] - heights)[:, None] - moments) / gaps
        above = (math.log(_ABOVE) + (moments[tried] - heights)[:, None] - moments) / gaps
    lows = np.max(np.where(gaps > 0, below, -np.inf), axis=1)
    highs = np.maximum(np.min(np.where(gaps < 0, above, np.inf), axis=1), np.maximum(high, lows))
    precise = math.log(updates * _PRECISION) + heights <= math.log(_ROUNDING)
    if not precise.any():
        precise[np.argmin(heights)] = True
    best = int(np.argmin(np.where(precise, highs - lows, np.inf)))
    return float(tilts[tried[best]]), float(lows[best]), float(highs[best]), float(tilts[bound])


def compose(
    direction: Direction,
    q: float,
    sigma: float,
    updates: int,
    log_delta: float,
    *,
    least: float = 0.0,
    finer: float = 1.0,
) -> Composition | None:
    """The bound of ``updates`` updates, precise where delta is near exp(log_delta).

    Args:
      direction: whether the example is removed or added.
      q: sampling probability in (0, 1).
      sigma: noise multiplier.
      updates: T >= 1.
      log_delta: natural logarithm of the delta in question.
      least: no smaller epsilon is of interest.
      finer: how many times finer the cells are than they need to be.

    Returns:
      None where epsilon is at most ``least``.
    """
    update = _Update(direction, q, sigma, log_delta + math.log(_CUT / updates))
    bulk = _Bulk(update, updates)
    scale, saddle = bulk.chernoff(log_delta - 3 * _CUT)
    lowest = math.inf
    while scale > least:
        single = _discretize(update, bulk.cell(saddle, scale) / finer)
        while True:
            moments = updates * _log_moments(single.losses, single.masses, _TILTS)
            tilt, low, high, bound = _window(moments, updates, log_delta, scale, saddle)
            low = min(low, lowest)
            if high - low <= single.cell * _MOST_CELLS * finer:
                break
            single = _discretize(update, 1.1 * (high - low) / (_MOST_CELLS * finer))
        composition = _compose(single, updates, tilt, low, high, bound)
        epsilon = composition.epsilon(log_delta)
        # Cell and tilt keep errors small at ``scale``; at a smaller epsilon they weigh more.
        if epsilon is not None:
            near = epsilon >= 0.8 * scale and tilt * (scale - epsilon) <= 3
            if near or epsilon >= 0.99 * scale or epsilon <= least:
                return composition
        if epsilon is None:  # it is below the window
            lowest = 0.0
        else:
            # A delta that is large for these losses: Chernoff's bound is far off, and asks for another saddle point.
            scale = epsilon
            saddle = bulk.saddle(scale)
    return None


def _compose(single: _Discrete, updates: int, tilt: float, low: float, high: float, bound: float) -> Composition:
    """T updates in a window of losses.  Losses above it count as infinite, with Chernoff's bound at ``bound``."""
    cell = single.cell
    first = math.floor(low / cell)
    size = int(next_fast_len(math.ceil(high / cell) - first + 2, real=True))
    log_moment, log_above = _log_moments(single.losses, single.masses, np.array([tilt, bound]))
    with np.errstate(divide="ignore"):
        tilted = np.exp(tilt * single.losses + np.log(single.masses) - log_moment)
    folded = np.bincount(single.places % size, tilted / tilted.sum(), size)
    composed = np.roll(np.clip(irfft(rfft(folded) ** updates, size), 0.0, None), -(first % size))
    losses: Array = np.asarray((first + np.arange(size)) * cell, dtype=np.float64)
    # From the top: sums over losses l >= epsilon of p(l) r^(l - epsilon), then of that times 1 - exp(epsilon - l).
    ratio, step = math.exp(-tilt * cell), -math.expm1(-cell)
    above = lfilter([1.0], [1.0, -ratio], composed[::-1])
    excess = lfilter([0.0, ratio * step], [1.0, -ratio * (1 - step)], above)[::-1]
    with np.errstate(divide="ignore"):
        log_deltas = updates * log_moment - tilt * losses + np.log(excess)
    cut = np.logaddexp(single.log_infinite + math.log(updates), updates * log_above - bound * losses[-1])
    rounding = math.log(updates * _PRECISION) + updates * log_moment - tilt * losses
    log_deltas = np.logaddexp(log_deltas + _ROUNDING, np.logaddexp(rounding, cut))
    return Composition(losses, np.minimum.accumulate(np.minimum(log_deltas, 0.0)))


def epsilon(q: float, sigma: float, updates: int, delta: float, *, finer: float = 1.0) -> float:
    """Upper bound on epsilon for adding and for removing one example, relative error below a hundredth.

    Args:
      q: sampling probability in (0, 1).
      sigma: noise multiplier.
      updates: T >= 1.
      delta: in (0, 1).
      finer: see :func:`compose`.
    """
    spent = 0.0
    for direction in DIRECTIONS:
        composition = compose(direction, q, sigma, updates, math.log(delta), least=spent, finer=finer)
        if composition is not None:
            spent = max(spent, composition.epsilon(math.log(delta)) or 0.0)
    return spent
