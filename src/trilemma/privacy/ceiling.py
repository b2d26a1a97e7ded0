"""What a budget allows an attacker at most: true positive rates, AUC and advantage of any membership inference attack.

An attack that calls an example a member tests "drawn from P" (the example was trained on) against "drawn from Q" (it
was not).  (epsilon, delta)-differential privacy bounds the true positive rate t at the false positive rate f, for every
epsilon >= 0 and the delta that the event has there (Wasserman and Zhou 2010; Dong, Roth and Su 2019, arXiv 1905.02383):

    t <= exp(epsilon) f + delta_remove(epsilon)               1 - f <= exp(epsilon) (1 - t) + delta_add(epsilon)

The smallest of all these bounds is the ceiling, whatever the attack knows or computes, also if it chose or knows all
other examples.  Deltas are the accountant's (:mod:`trilemma.privacy.loss_distribution`), hence upper bounds; full-batch
updates have a closed form, t = Phi(Phi^-1(f) + mu) with mu = sqrt(T) / sigma.

The ceiling holds for one example whose membership is a fair or known coin, independent of the other examples.  A
measured rate above it, beyond its interval, means that accounting, sampling or noise is wrong, or that members and
non-members differ in more than membership.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr, ndtri

from trilemma.errors import InputError
from trilemma.measures import FPRS
from trilemma.privacy import loss_distribution
from trilemma.privacy.accounting import Event

Array = NDArray[np.float64]

_DELTAS = (1e-9, 1e-6, 1e-3, 0.05, 0.5)  # where curves are made precise, for false positive rates from a millionth
_LARGEST_EPSILON = 40.0  # exp(40) times any rate that matters is above 1
_KNOTS = 3_000  # of a curve: the bound holds whichever epsilons are tried
_GRID = ndtr(np.linspace(-8.0, 6.5, 2_001))  # false positive rates of the curve that AUC is the area under


@dataclass(frozen=True)
class Ceiling:
    """Upper bounds for any attack.

    Attributes:
      auc: area under the ROC curve, 0.5 to 1.
      advantage: largest difference of true and false positive rate.
      tpr_at_fpr: true positive rate at each of ``FPRS``.
    """

    auc: float
    advantage: float
    tpr_at_fpr: dict[float, float]

    def to_dict(self) -> dict[str, Any]:
        """The values for JSON; ``tpr_at_fpr`` has the rates as text, as for measured attacks."""
        rates = {f"{rate:g}": value for rate, value in self.tpr_at_fpr.items()}
        return {"auc": self.auc, "advantage": self.advantage, "tpr_at_fpr": rates}


@functools.lru_cache(maxsize=256)
def ceiling(event: Event) -> Ceiling:
    """Upper bounds on what any attack finds out after ``event``.

    >>> bounds = ceiling(Event(sampling_probability=1.0, noise_multiplier=4.6494, updates=60))
    >>> round(bounds.auc, 3), {rate: round(value, 3) for rate, value in bounds.tpr_at_fpr.items()}
    (0.881, {0.001: 0.077, 0.01: 0.255})
    """
    rates = {rate: float(largest_tpr(event, rate)) for rate in FPRS}
    if event.sampling_probability == 1:
        mu = math.sqrt(event.updates) / event.noise_multiplier
        return Ceiling(float(ndtr(mu / math.sqrt(2))), float(2 * ndtr(mu / 2) - 1), rates)
    curve = largest_tpr(event, _GRID)
    return Ceiling(_area(curve), float(np.max(curve - _GRID)), rates)


def _area(curve: Array) -> float:
    """Upper bound on the area under the ceiling.

    It is concave, so that between two points it lies below the chords before and after, drawn further.
    """
    steps = np.diff(_GRID)
    slopes = np.diff(curve) / steps
    before, chords, after = slopes[:-2], slopes[1:-1], slopes[2:]
    bends = np.maximum(before - chords, 0) * np.maximum(chords - after, 0) / np.maximum(before - after, 1e-300)
    ends = float(_GRID[1] * curve[1] + steps[-1] + (1 - _GRID[-1]))
    area = float(np.trapezoid(curve[1:-1], _GRID[1:-1]) + (bends * steps[1:-1] ** 2).sum() / 2)
    return min(area + ends, 1.0)


def largest_tpr(event: Event, fpr: ArrayLike) -> Array:
    """Largest true positive rate of any attack at each false positive rate.

    Args:
      event: what happened.
      fpr: float (...), in [0, 1].

    Returns:
      float64 of the same shape.

    Raises:
      InputError: a rate outside [0, 1].
    """
    rates = np.asarray(fpr, dtype=np.float64)
    if not np.all((rates >= 0) & (rates <= 1)):
        raise InputError("a false positive rate must lie in [0, 1]")
    if event.updates == 0:
        return rates.copy()
    if event.sampling_probability == 1:
        return np.asarray(ndtr(ndtri(rates) + math.sqrt(event.updates) / event.noise_multiplier))
    (epsilons, deltas), (epsilons_add, deltas_add) = _curves(event)
    bounds = np.ones(rates.size)
    for start in range(0, rates.size, 500):  # a quarter of a million knots and rates at a time
        part = rates.ravel()[start : start + 500, None]
        below = np.min(np.exp(epsilons) * part + deltas, axis=1, initial=1.0)
        mirrored = 1 - np.max(np.exp(-epsilons_add) * (1 - part - deltas_add), axis=1, initial=0.0)
        bounds[start : start + 500] = np.minimum(below, mirrored)
    return bounds.reshape(rates.shape)


@functools.lru_cache(maxsize=64)
def _curves(event: Event) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
    """Epsilons and deltas for removing and for adding an example, q < 1."""
    q, sigma, updates = event.sampling_probability, event.noise_multiplier, event.updates
    both = []
    for direction in loss_distribution.DIRECTIONS:
        epsilons, deltas = [np.zeros(0)], [np.zeros(0)]
        for delta in _DELTAS:
            composition = loss_distribution.compose(direction, q, sigma, updates, math.log(delta))
            if composition is not None:
                knots = np.flatnonzero((composition.losses >= 0) & (composition.losses <= _LARGEST_EPSILON))
                knots = knots[:: max(1, len(knots) // _KNOTS)]
                epsilons.append(composition.losses[knots])
                deltas.append(np.exp(composition.log_deltas[knots]))
        both.append((np.concatenate(epsilons), np.concatenate(deltas)))
    return both[0], both[1]
