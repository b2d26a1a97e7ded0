"""One comparison as a value: two conditions in one measure, and what was found in one sentence with its numbers."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from trilemma.analysis.pairs import Pair
from trilemma.measures import in_words, measure_range, number_words
from trilemma.statistics.intervals import half_width, paired_p
from trilemma.words import capital

SIGNIFICANCE = 0.05
"""Level of significance, of Holm-adjusted p-values and of the pair's own test."""

POWER = 0.8
"""Probability with which a difference of the size called detectable is seen."""

FEWEST_SEEDS = 3
"""Seeds without which nothing is shown: with two, either difference is left alone once the other is left out."""

Verdict = Literal["higher", "lower", "within noise", "one seed"]


def rests_on_one(differences: Sequence[float] | NDArray[np.float64]) -> bool:
    """Whether noise could explain a mean difference once one of its seeds is left out.

    Args:
      differences: float (n,), one for each seed; the test is the paired t-test at 5 %.

    >>> rests_on_one([0.100, 0.101, 0.102]), rests_on_one([0.1, 0.2, 0.3]), rests_on_one([0.10, 0.11])
    (False, True, True)
    """
    by_seed = np.asarray(differences)
    return any(paired_p(np.delete(by_seed, seed)) >= SIGNIFICANCE for seed in range(len(by_seed)))


@dataclass(frozen=True)
class Comparison:
    """A measure in one condition minus the same measure in another, paired over seeds.

    Attributes:
      measure: its name.
      pair: what was compared.
      seeds: those that both conditions have, ascending; left_out: those that only one of them has.
      values, against_values: the values of the two conditions, in the order of the seeds.
      difference: mean of values minus mean of against_values, in the measure's unit.
      low, high: its 95 % interval, for this comparison alone (not adjusted for the others); NaN where the size of the
        noise is unknown (one seed, or no residual at all).
      standard_error: the standard error of the difference, the larger of the next two.
      pooled_error, own_error: the standard errors from the residual variance of all ``conditions``, and from the
        pair's own differences.
      conditions: how many conditions gave the variance, k.  df: its degrees of freedom, (k - 1)(n - 1).
      p: two-sided, from standard_error and df; own_p: of the ordinary paired t-test; NaN with one seed.
      p_adjusted: p after Holm's correction over ``tests`` comparisons.
      verdict: "higher" or "lower" where p_adjusted and own_p are below 0.05 and every seed's difference has that sign;
        otherwise "within noise", or "one seed", which supports no conclusion.
    """

    measure: str
    pair: Pair
    seeds: tuple[int, ...]
    left_out: tuple[int, ...]
    values: tuple[float, ...]
    against_values: tuple[float, ...]
    difference: float
    low: float
    high: float
    standard_error: float
    pooled_error: float
    own_error: float
    conditions: int
    df: int
    p: float
    own_p: float
    p_adjusted: float
    tests: int
    verdict: Verdict

    @property
    def n(self) -> int:
        """The number of seeds."""
        return len(self.seeds)

    @property
    def mean(self) -> float:
        """Mean of ``values``."""
        return float(np.mean(self.values))

    @property
    def against_mean(self) -> float:
        """Mean of ``against_values``."""
        return float(np.mean(self.against_values))

    @property
    def differences(self) -> tuple[float, ...]:
        """``values`` minus ``against_values``, seed by seed."""
        return tuple(a - b for a, b in zip(self.values, self.against_values, strict=True))

    @property
    def fragile(self) -> bool:
        """Whether a difference rests on a single seed: it is no difference once one of its seeds is left out.

        (By the pair's own paired t-test at 5 %; with two seeds every difference is fragile.)  A verdict about a claim
        must not be fragile, since one more run of the same study, with other seeds, could turn it around.
        """
        return self.verdict in ("higher", "lower") and rests_on_one(self.differences)

    @property
    def shown(self) -> Verdict | None:
        """The direction, "higher" or "lower", where it is shown: beyond noise, by an interval without 0, by at least
        ``FEWEST_SEEDS`` seeds, and without any one of them.  Else None."""
        one_side = self.low > 0 if self.verdict == "higher" else self.high < 0
        decided = self.verdict in ("higher", "lower") and one_side
        return self.verdict if decided and self.n >= FEWEST_SEEDS and not self.fragile else None

    @property
    def reason(self) -> str:
        """Why no difference is shown, to be read after "since"; "" where one is."""
        if self.n < FEWEST_SEEDS:
            return f"{'one seed is' if self.n < 2 else 'two seeds are'} too few"
        if self.shown:
            return ""
        if math.isnan(self.low):
            return "the size of the noise is unknown"
        if self.low <= 0 <= self.high:
            return "the interval contains 0"
        if self.p_adjusted >= SIGNIFICANCE:
            return f"p is {self.p_adjusted:.2g} over {self.tests} comparisons"
        if self.own_p >= SIGNIFICANCE:
            return f"by its own noise alone p is {self.own_p:.2g}"
        return "without one of these seeds noise could explain it" if self.fragile else "one seed goes the other way"

    @property
    def detectable(self) -> float:
        """The smallest true difference that this comparison, with its noise and seeds, would tell from none with a
        probability of about 80 % at 5 %, before Holm's correction; NaN where the size of the noise is unknown."""
        if not self.standard_error > 0:
            return math.nan
        return sum(half_width(self.standard_error, self.df, level) for level in (1 - SIGNIFICANCE, 2 * POWER - 1))

    def margin_interval(self, alpha: float = SIGNIFICANCE) -> tuple[float, float]:
        """The 1 - 2 alpha interval of the difference: two one-sided tests at alpha (TOST, Schuirmann 1987)."""
        if not self.standard_error > 0:
            return math.nan, math.nan
        half = half_width(self.standard_error, self.df, 1 - 2 * alpha)
        return self.difference - half, self.difference + half

    def no_more_than(self, margin: float, alpha: float = SIGNIFICANCE) -> bool:
        """Whether the difference is shown to lie within +- margin, because its margin interval does.

        False where the size of the noise is unknown.  A verdict "within noise" shows nothing of the kind: it may only
        mean that too little was measured.
        """
        low, high = self.margin_interval(alpha)
        return -margin < low and high < margin

    @property
    def words(self) -> str:
        """What was found, in one sentence with its numbers.

        The interval is for this comparison alone; ``basis`` says how it was computed.
        """
        pair, n = self.pair, self.n
        over = f"paired over {n} seeds"
        if self.conditions > 2:
            over += f", assuming equal noise variance in {self.conditions} conditions"
        if self.fragile:
            way, low, high = "higher", self.low, self.high
            if self.verdict == "lower":
                way, low, high = "lower", -self.high, -self.low
            by = self._number(abs(self.difference))
            by += "" if math.isnan(low) else f" [{self._number(low)}, {self._number(high)}]"
            return (
                f"{in_words(self.measure)} was {by} {way} with {pair.change} than with {pair.base} "
                f"({pair.where}), {over}"
            )
        if self.verdict in ("higher", "lower"):
            sign = 1 if self.verdict == "higher" else -1
            interval = f"[{', '.join(self._number(v) for v in sorted((sign * self.low, sign * self.high)))}]"
            raises, over_what = ("raise", "over") if sign > 0 else ("lower", "against")
            raises += "" if pair.change.endswith("techniques") else "s"
            by = f"{self._number(sign * self.difference)}" + ("" if math.isnan(self.low) else f" {interval}")
            what = f"{raises} {in_words(self.measure)} by {by}"
            return f"{pair.change} {what} {over_what} {pair.base} ({pair.where}), {over}"
        gain = f"{pair.change} minus {pair.base} is {self._number(self.difference, signed=True)}"
        where = f"in {in_words(self.measure)} ({pair.where})"
        if self.verdict == "one seed":
            return f"one seed cannot tell a difference from noise: {gain} {where}"
        if self.standard_error > 0:
            interval = f"[{self._number(self.low, signed=True)}, {self._number(self.high, signed=True)}]"
            return f"no difference beyond noise: {gain} {interval} {where}, {over}{self._doubt or self._seen}"
        if self.difference == 0:
            return f"no difference: {pair.change} and {pair.base} are equal {where} in each of {n} seeds"
        return f"no difference can be told from noise, whose size is unknown: {gain} {where} in each of {n} seeds"

    @property
    def _doubt(self) -> str:
        """Why an interval that excludes 0 does not count as a difference."""
        return f"; the interval alone excludes 0, but {self.reason}" if self.low > 0 or self.high < 0 else ""

    @property
    def _seen(self) -> str:
        """What size of difference the comparison could have detected, if there can be one of that size."""
        low, high = measure_range(self.measure, groups=2)
        if self.detectable > high - max(low, 0.0):
            return ". The noise is so large that the comparison would hardly have detected any difference"
        size = self._number(self.detectable)
        return f". With a probability of {100 * POWER:.0f} %, the comparison would have detected a difference of {size}"

    @property
    def basis(self) -> str:
        """How the numbers were computed and what they assume, in words."""
        if self.n < 2:
            return "One seed: no interval and no test."
        model = (
            f"additive model condition + seed over {self.conditions} conditions and {self.n} seeds "
            f"({self.df} degrees of freedom), which assumes equal noise variance in all of them"
            if self.conditions > 2
            else f"paired t-test over {self.n} seeds ({self.df} degrees of freedom)"
        )
        holm = f"p adjusted by Holm over {self.tests} comparisons" if self.tests > 1 else "one comparison, p unadjusted"
        return f"{capital(model)}; 95 % interval of this comparison alone; {holm}."

    def _number(self, value: float, *, signed: bool = False) -> str:
        return number_words(value, self.measure, signed=signed)


@dataclass(frozen=True)
class Comparisons:
    """Comparisons, and notes on what could not be compared and why."""

    comparisons: tuple[Comparison, ...]
    notes: tuple[str, ...]

    def __iter__(self) -> Iterator[Comparison]:
        return iter(self.comparisons)

    def __len__(self) -> int:
        return len(self.comparisons)

    def __add__(self, other: Comparisons) -> Comparisons:
        return Comparisons(self.comparisons + other.comparisons, tuple(dict.fromkeys(self.notes + other.notes)))

    def table(self) -> pd.DataFrame:
        """A row per comparison, for a file or a report."""
        rows = [
            {
                **{name: getattr(c.pair, name) for name in ("question", "setting", "change", "base")},
                "measure": c.measure,
                "value": c.mean,
                "against_value": c.against_mean,
                "seeds": c.n,
                **{name: getattr(c, name) for name in _TABLE},
                "by_seed": dict(zip(c.seeds, c.differences, strict=True)),
                "cell": c.pair.condition,
                "against": c.pair.against,
            }
            for c in self.comparisons
        ]
        return pd.DataFrame(rows, columns=list(COLUMNS))


_TABLE = (
    *("difference", "low", "high", "detectable", "df", "p", "p_adjusted", "tests", "verdict", "fragile"),
    *("words", "basis"),
)

COLUMNS = (
    *("question", "setting", "change", "base", "measure", "value", "against_value", "seeds"),
    *(*_TABLE, "by_seed", "cell", "against"),
)
"""The columns of a table of comparisons, also of one without a row."""
