"""One check of what happened, and how rarely it alarms: what all parts of the truth check share.

**False alarms.**  An honest run fails with probability at most ``FALSE_ALARM``, one in a million: each of the
statistical checks has ``FALSE_ALARM / 21``, divided evenly between the two ends of its interval and, where a check
takes the largest of several numbers, among those.  Intervals come from exact distributions (binomial, chi-square,
normal), from Chernoff bounds where a sum has none with a name, and from the Dvoretzky-Kiefer-Wolfowitz inequality for
the shape of the noise; so they hold for short runs, too.  Rounding in float32 is allowed for on top.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from scipy.optimize import minimize_scalar

from trilemma.privacy.evidence import COLUMNS, Evidence

Floats = NDArray[np.float64]

FALSE_ALARM = 1e-6
"""Probability, at most, that an honest run fails."""

ALPHA = FALSE_ALARM / 21
"""The false-alarm probability of each statistical check; there are 18, and 3 more with canaries."""

ROUNDING_OF_SUMS = 1e-5  # relative error of a sum of squares in float32, generously
ROUNDING_OF_NOISE = 2.0**-22  # of a recovered noise value, relative to the noisy sum: two roundings, doubled


@dataclass(frozen=True)
class Check:
    """One comparison of what happened with what was promised.

    Attributes:
      value: what was found; None where it is not a number.
      low, high: what is allowed, both included; either may be None: no bound.
      what: in words.
    """

    value: float | None
    low: float | None
    high: float | None
    what: str

    @property
    def passed(self) -> bool:
        """Whether the value is a number within its limits."""
        if self.value is None or math.isnan(self.value):
            return False
        return bool((self.low is None or self.value >= self.low) and (self.high is None or self.value <= self.high))

    def to_dict(self) -> dict[str, Any]:
        """``{"passed", "value", "limit" or "interval", "what"}``."""
        numbers = self.value, self.low, self.high
        value, low, high = (None if x is None or not math.isfinite(x) else float(x) for x in numbers)
        allowed = {"limit": high} if self.low is None else {"interval": [low, high]}
        return {"passed": self.passed, "value": value, **allowed, "what": self.what}


class Rows:
    """The columns of the evidence, by name."""

    def __init__(self, evidence: Evidence) -> None:
        self.updates = evidence.updates
        self._columns = dict(zip(COLUMNS, evidence.rows.numpy().T, strict=True))

    def __getitem__(self, name: str) -> Floats:
        column: Floats = self._columns[name]
        return column

    @functools.cached_property
    def scores(self) -> Floats:
        """The spread of each update's noise as a standard normal number."""
        return chi_square_scores(self["squares"], self["weights"])

    @property
    def rounding(self) -> float:
        """Norm of the rounding errors of one update's recovered noise, at most."""
        return ROUNDING_OF_NOISE * float(self["magnitude"].max(initial=0.0))


def chi_square_scores(squares: Floats, degrees: Floats) -> Floats:
    """Standard normal numbers as unlikely as the given chi-square numbers."""
    upper, lower = stats.norm.isf(stats.chi2.sf(squares, degrees)), stats.norm.ppf(stats.chi2.cdf(squares, degrees))
    scores: Floats = np.clip(np.where(squares > degrees, upper, lower), -38.0, 38.0)
    return scores


def normal_limit(count: int = 1) -> float:
    """What the largest of ``count`` absolute values of standard normal numbers exceeds with probability ALPHA."""
    return float(stats.norm.isf(ALPHA / 2 / count))


def chernoff(log_mgf: Callable[[float], float], count: float) -> tuple[float, float]:
    """Ends beyond each of which the mean of ``count`` independent numbers lies with probability at most ALPHA / 2.

    P(mean >= (log_mgf(r) + log(2 / ALPHA) / count) / r) <= ALPHA / 2 for every rate r > 0; the best is taken.
    """
    spare = math.log(2 / ALPHA) / count

    def least(sign: float) -> float:
        minimum = minimize_scalar(
            lambda log_rate: (log_mgf(sign * math.exp(log_rate)) + spare) * math.exp(-log_rate),
            bounds=(-25.0, 8.0),
            method="bounded",
        )
        return float(minimum.fun)

    return -least(-1.0), least(1.0)
