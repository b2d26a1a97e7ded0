"""The cost of training a grid of private models and releasing all of them, or the best of a random number of runs.

A grid is a list of events (:class:`trilemma.privacy.accounting.Event`), one for each training.  The unit of privacy and
the neighboring relation are those of :mod:`trilemma.privacy.accounting`.  Every training draws its own sampling and
noise, and the grid was not chosen by looking at the examples.

**All** (:meth:`GridCost.all_released`) is composition: the privacy loss distributions of all updates of all trainings
are composed (Koskela et al. 2020; Doroshenko et al. 2022; computed by Google's dp-accounting, rounded up), or their
Renyi divergences are added.

**The best** (:meth:`GridCost.best_of_random`): draw a number K from a known distribution with mean m, K times run a
training drawn uniformly from the grid, and release only the best by a total order of the outputs that looks at no
training example.  Liu and Talwar (2019, arXiv 1811.07971) show 3 epsilon for a geometric K and pure epsilon; Papernot
and Steinke (2022, arXiv 2110.03620) give Renyi bounds for the truncated negative binomial distribution (their Theorem
2; shape 1 is geometric, 0 logarithmic) and for the Poisson distribution (their Theorem 6).  None of them holds for a
fixed K, which can cost more: the tests have an example where the best of exactly ten runs costs more than the bound for
ten runs on average.

Two bounds are computed.  Q is one training drawn uniformly from the grid, whose output includes the grid point:

- ``epsilon_rdp``: those two theorems.  exp((a - 1) D_a) of Q is at most the mean over the grid's points.
- ``epsilon_pld``: the same argument on privacy profiles, as in Koskela, Redberg and Wang (2024, "Privacy profiles for
  private selection"), usually tighter.  Let d(e) be the profile of Q, which is at most the mean of the profiles of the
  grid's points; F(y) the probability that Q gives at most y (ties are broken by a fresh uniform number), and
  t = 1 - F(y); and f the generating function of K.  The best has the density f'(F(y)) Q(y), and K = 0 gives no output
  on either of two neighbors.  On the other neighbor, t' <= exp(h) t + d(h) for every h >= 0, so that f'(F) <= exp(c)
  f'(F') with

      f'(F) ~ (g + (1 - g) t) ** -(1 + shape)   c = (1 + shape) log(exp(h) + d(h) (1 - g) / g)   negative binomial
      f'(F) ~ exp(-m t)                         c = m (exp(h) - 1 + d(h))                        Poisson

  As f' <= f'(1) = m, the hockey-stick divergence of the best at e + c is at most the integral of
  f'(F) max(Q - exp(e) Q', 0), hence at most m d(e): the best is (e + c, m d(e))-private.

Both bounds hold, and so does the smaller one.  Nothing here protects the (test) examples by which the best was chosen.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq

from trilemma.errors import InputError
from trilemma.privacy.accounting import Accountant, Event, check_delta, quiet

Array = NDArray[np.float64]

DISTRIBUTIONS: dict[str, float] = {"logarithmic": 0.0, "geometric": 1.0, "Poisson": math.inf}
"""Shapes of the distributions of the number of runs, in dp-accounting's convention."""

_CELL = 5e-4
"""Width of the grid to which privacy losses are rounded up: over 2,500 updates, epsilon 1 becomes 1.001."""

_CELLS = 400_000
"""A sum of losses spreads over about twice this many cells; wider cells only raise the bound."""


@dataclass(frozen=True)
class BestOfRandom:
    """Upper bounds on what the best of a random number of runs costs.

    Attributes:
      distribution: of the number of runs: a key of `DISTRIBUTIONS`, or "truncated negative binomial".
      shape: 0 logarithmic, 1 geometric, infinite Poisson.
      mean: the mean number of runs.
      stop: the distribution's gamma (for geometric, the probability of stopping after each run); None for Poisson.
      delta: the delta of the bounds.
      epsilon_pld, epsilon_rdp: see the module's docstring.
    """

    distribution: str
    shape: float
    mean: float
    stop: float | None
    delta: float
    epsilon_pld: float
    epsilon_rdp: float

    @property
    def epsilon(self) -> float:
        """The smaller of the two bounds, both of which hold."""
        return min(self.epsilon_pld, self.epsilon_rdp)

    def to_dict(self) -> dict[str, Any]:
        """The bounds for a JSON file, with the smaller one as ``epsilon``."""
        return asdict(self) | {"epsilon": self.epsilon}


class GridCost:
    """The cost of a grid of private trainings (see the module's docstring).

    Args:
      events: one for each grid point; equal ones are computed once.
      delta: in (0, 1), of every epsilon here.

    Raises:
      InputError: there are no events, or delta is out of range.

    >>> grid = GridCost([Event(sampling_probability=1.0, noise_multiplier=8.0, updates=4)] * 4, delta=1e-5)
    >>> round(grid.all_released(), 2)  # as much as Event(1.0, 8.0, 16)
    1.99
    >>> round(grid.best_of_random("geometric", mean=4).epsilon, 2)
    1.51
    """

    def __init__(self, events: Iterable[Event], *, delta: float) -> None:
        check_delta(delta)
        grid = Counter(events)
        if not grid:
            raise InputError("an empty grid has no cost: give at least one event")
        self.delta = delta
        self._curves = _curves(grid)
        self._profile = _Profile(grid, _cell(self.all_released("rdp")))

    def all_released(self, accountant: Accountant = "pld") -> float:
        """Epsilon of releasing all grid points, each run once."""
        if accountant == "rdp":
            return self._curves.epsilon(self._curves.composed, self.delta)
        return self._profile.composed(self.delta)

    def one_released(self, event: Event, delta: float) -> float:
        """Epsilon of one grid point alone, at ``delta``.

        Raises:
          KeyError: the grid does not contain the event.
        """
        return self._profile.epsilon_of(event, delta)

    def best_of_random(self, distribution: str | float, *, mean: float) -> BestOfRandom:
        """The best of a random number of runs, each of a grid point drawn uniformly.

        Args:
          distribution: the distribution of the number of runs: a key of `DISTRIBUTIONS`, or the shape >= 0 of a
            truncated negative binomial distribution.
          mean: the mean number of runs, at least 1.

        Raises:
          InputError: an argument is out of range.
        """
        if isinstance(distribution, str) and distribution not in DISTRIBUTIONS:
            raise InputError(f"unknown distribution {distribution!r}: use {', '.join(DISTRIBUTIONS)}, or a shape")
        shape = DISTRIBUTIONS[distribution] if isinstance(distribution, str) else float(distribution)
        if not shape >= 0:
            raise InputError(f"the shape of the distribution must be at least 0, not {shape}: 0 is logarithmic")
        if not (mean >= 1 and math.isfinite(mean)):
            raise InputError(f"the mean number of runs must be a finite number of at least 1, not {mean}")
        stop = None if shape == math.inf else _stop(mean, shape)
        names = {value: name for name, value in DISTRIBUTIONS.items()}
        first, hats, deltas = self._profile.parts(self.delta / mean)
        return BestOfRandom(
            names.get(shape, "truncated negative binomial"),
            shape,
            mean,
            stop,
            self.delta,
            first + _penalty(hats, deltas, mean, shape, stop),
            self._curves.epsilon(_theorems(self._curves, mean, shape, stop), self.delta),
        )


class _Profile:
    """Privacy loss distributions of a grid's events, composed, and mixed by drawing one event uniformly.

    Args:
      grid: events, with how many grid points share each.
      cell: width of the cells in which losses are rounded up.
    """

    def __init__(self, grid: Counter[Event], cell: float) -> None:
        from dp_accounting.pld import privacy_loss_distribution as losses

        self._grid = Counter({event: count for event, count in grid.items() if event.updates > 0})
        self._size = grid.total()
        self._cell = cell
        self._losses: Any = losses
        # Each kind of update is computed once: with little noise, this takes most of the time.
        self._updates: dict[tuple[float, float], Any] = {}
        self._parts: dict[float, tuple[float, Array, Array]] = {}
        self._each: dict[Event, Any] = {}

    def _repeated(self, q: float, sigma: float, updates: int) -> Any:
        if (q, sigma) not in self._updates:
            self._updates[q, sigma] = self._losses.from_gaussian_mechanism(
                sigma, value_discretization_interval=self._cell, sampling_prob=q
            )
        return self._updates[q, sigma].self_compose(updates)

    def _gaussian(self, precision: float) -> Any:
        """For full batches: Gaussians compose to the one whose 1 / sigma^2 is the sum of theirs."""
        return self._losses.from_gaussian_mechanism(precision**-0.5, value_discretization_interval=self._cell)

    def _of(self, event: Event) -> Any:
        if event not in self._each:
            q, sigma, updates = event.sampling_probability, event.noise_multiplier, event.updates
            self._each[event] = self._gaussian(updates / sigma**2) if q == 1 else self._repeated(q, sigma, updates)
        return self._each[event]

    def epsilon_of(self, event: Event, delta: float) -> float:
        """Epsilon of one grid point."""
        return 0.0 if event.updates == 0 else float(self._of(event).get_epsilon_for_delta(delta))

    def composed(self, delta: float) -> float:
        """Epsilon of all grid points together."""
        updates: Counter[tuple[float, float]] = Counter()
        precision = 0.0
        for event, count in self._grid.items():
            if event.sampling_probability == 1:
                precision += count * event.updates / event.noise_multiplier**2
            else:
                updates[event.sampling_probability, event.noise_multiplier] += count * event.updates
        parts = [self._repeated(q, sigma, count) for (q, sigma), count in updates.items()]
        if precision > 0:
            parts.append(self._gaussian(precision))
        if not parts:
            return 0.0
        while len(parts) > 1:  # in pairs of similar size: the longer side determines the cost of a convolution
            parts = [
                parts[i].compose(parts[i + 1]) if i + 1 < len(parts) else parts[i] for i in range(0, len(parts), 2)
            ]
        return float(parts[0].get_epsilon_for_delta(delta))

    def delta(self, epsilon: float) -> float:
        """Delta of one grid point drawn uniformly."""
        # One call per number: with several, dp-accounting loops over all losses in Python.
        spent = sum(
            count * float(self._of(event).get_delta_for_epsilon(epsilon)) for event, count in self._grid.items()
        )
        return min(max(spent / self._size, 0.0), 1.0)

    def epsilon(self, delta: float) -> float:
        """Epsilon of one grid point drawn uniformly, rounded up by less than a ten-thousandth."""
        if not self._grid:
            return 0.0
        if len(self._grid) == 1 and self._grid.total() == self._size:
            return self.epsilon_of(next(iter(self._grid)), delta)
        low, high = 0.0, 1.0
        while self.delta(high) > delta:
            low, high = high, 2 * high
            if high > 1e9:  # delta is smaller than the truncated tails
                return math.inf
        while high - low > 1e-4 * high and high > self._cell:
            middle = (low + high) / 2
            low, high = (low, middle) if self.delta(middle) <= delta else (middle, high)
        return high

    def parts(self, delta: float) -> tuple[float, Array, Array]:
        """Epsilon at ``delta``, and the profile at some h from 0 up to there, all of one grid point drawn uniformly."""
        if delta not in self._parts:  # the same for all distributions of one mean, and slow
            first = self.epsilon(delta)
            reach = first if math.isfinite(first) else 1.0
            hats = np.concatenate([[0.0], np.geomspace(1e-3, max(reach, 2e-3), 40)])
            self._parts[delta] = first, hats, np.array([self.delta(hat) for hat in hats])
        return self._parts[delta]


@dataclass(frozen=True, eq=False)
class _Curves:
    """Renyi divergences at ``orders``: of the grid composed, and of one grid point drawn uniformly."""

    orders: Array
    composed: Array
    mixed: Array

    def epsilon(self, curve: Array, delta: float) -> float:
        from dp_accounting.rdp import compute_epsilon

        with quiet():
            return float(compute_epsilon(self.orders, curve, delta)[0])


def _curves(grid: Counter[Event]) -> _Curves:
    import dp_accounting
    from dp_accounting.rdp import RdpAccountant

    orders = np.asarray(RdpAccountant().orders, dtype=np.float64)
    curves = []
    for event in grid:
        book = RdpAccountant(orders)
        release: Any = dp_accounting.GaussianDpEvent(event.noise_multiplier)
        if event.sampling_probability < 1:
            release = dp_accounting.PoissonSampledDpEvent(event.sampling_probability, release)
        if event.updates > 0:
            with quiet():
                book.compose(release, event.updates)
        curves.append(np.asarray(book.rdp, dtype=np.float64))
    each, counts = np.stack(curves), np.array(list(grid.values()), dtype=np.float64)
    exponents = each * (orders - 1) + np.log(counts / counts.sum())[:, None]
    return _Curves(orders, counts @ each, np.logaddexp.reduce(exponents, axis=0) / (orders - 1))


def _theorems(curves: _Curves, mean: float, shape: float, stop: float | None) -> Array:
    """Papernot and Steinke's Theorem 6 (``stop`` None) and Theorem 2.

    dp-accounting has both for a single event (``RepeatAndSelectDpEvent``); the tests compare these with them.
    """
    from dp_accounting.rdp.rdp_privacy_accountant import compute_delta

    orders, rdp = curves.orders, curves.mixed
    if stop is None:
        with quiet():
            deltas = [compute_delta(orders, rdp, math.log1p(1 / (order - 1)))[0] for order in orders]
        bounds = rdp + mean * np.array(deltas) + math.log(mean) / (orders - 1)
    else:
        constant = (1 + shape) * np.min((1 - 1 / orders) * rdp - math.log(stop) / orders)
        bounds = rdp + math.log(mean) / (orders - 1) + constant
    # Renyi divergences grow with the order, so a bound at a higher order also holds at lower orders.
    return np.minimum.accumulate(bounds[::-1])[::-1]


def _penalty(hats: Array, deltas: Array, mean: float, shape: float, stop: float | None) -> float:
    """c of the module's docstring at the best h."""
    if stop is None:
        return mean * float(np.min(np.expm1(hats) + deltas))
    with np.errstate(divide="ignore"):
        return (1 + shape) * float(np.min(np.logaddexp(hats, np.log(deltas * (1 - stop) / stop))))


def _stop(mean: float, shape: float) -> float:
    """Gamma of the truncated negative binomial distribution with that mean, rounded down, which only raises bounds.

    >>> round(_stop(10.0, 1.0), 6)
    0.1
    """
    if mean == 1:
        return 1.0

    def excess(log_gamma: float) -> float:
        spread = -log_gamma if shape == 0 else -math.expm1(shape * log_gamma) / shape
        return math.expm1(-log_gamma) / spread - mean

    low = -1.0
    while excess(low) < 0:
        low *= 2
    return math.exp(brentq(excess, low, -1e-12, xtol=1e-12) - 1e-9)


def _cell(epsilon: float) -> float:
    """The width of a cell: wider where losses add up to a large sum, so that time and memory stay bounded."""
    return max(_CELL, epsilon / _CELLS) if math.isfinite(epsilon) else 0.1
