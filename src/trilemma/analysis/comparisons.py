"""Paired differences between cells: what a change did, beyond what another seed would do.

Two cells are compared seed by seed, so that what a seed does to both of them (the sampled images, the start
values) drops out.  But three seeds leave a paired t-test with two degrees of freedom, which finds next to
nothing.  So the noise is estimated from all cells of a family (one data set, one budget, ...): the model is

    value of cell c at seed s = a_c + b_s + noise of one variance,

the randomised block design (Fisher; Montgomery, Design and Analysis of Experiments, ch. 4), whose residual
variance has (k - 1)(n - 1) degrees of freedom for k cells and n seeds; with two cells it is the paired t-test.

**It assumes that the noise is alike in all cells of the family**, which a cell that only sometimes learns
breaks.  Two things guard against that, and cost power: the standard error is the larger of the pooled one and
the one of the pair's own differences, and a verdict also asks that the pair's own paired t-test, unadjusted,
agrees at 5 %.  Simulated with 7 cells, 3 seeds and no true difference, any of 7 comparisons is called a
difference in 2 % of studies where the assumption holds and in 6 % where one cell's noise is five times the
others'; pooling alone would give 4 % and 16 %.  A step of 4 (5) standard deviations of the noise is found in
69 % (84 %) of studies; by paired t-tests with Holm's correction alone, in 17 % (25 %).

The seeds share their test examples: an interval says where the mean difference over many trainings lies on these
examples, not on others.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, Literal, TypeVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import stdtr, stdtrit

from trilemma.analysis.cells import WITHOUT_SKEW, Cell, Measured, measured
from trilemma.analysis.summary import LEVEL, measure_range, repeated
from trilemma.errors import InputError
from trilemma.techniques import TECHNIQUES

SIGNIFICANCE = 0.05
"""Of Holm-adjusted p-values, and of the pair's own test."""

Verdict = Literal["higher", "lower", "within noise", "one seed"]

Question = Literal[
    "step",
    "all",
    "single",
    "mix",
    "without",
    "budget",
    "budgets",
    "skew",
    "skew of one set",
    "control",
    "removal",
    "random",
]
"""What a pair is about: the next technique, all against BL, one technique or another mix against BL, all but one
against all; a budget against none, the least budget against the largest; a skew against none, a skew against the
least of the same data set; removing exposed examples against random ones, either against removing none."""

# Residuals below this share of the values are rounding.
_ROUNDING = 1e-10


@dataclass(frozen=True)
class Pair:
    """Two cells to compare, and the family that says how large the noise is.

    Attributes:
      cell, against: ids.
      block: ids of the family's cells, both of these among them.
      change, base: what sets the two apart, in words.
      setting: what they share, in words.
      question: what kind of change it is.
    """

    cell: str
    against: str
    block: tuple[str, ...]
    change: str
    base: str
    setting: str
    question: Question


@dataclass(frozen=True)
class Comparison:
    """A measure in one cell less the same measure in another, paired over seeds.

    Attributes:
      measure: its name.
      pair: what was compared.
      seeds: those that both cells have, ascending; left_out: those that only one has.
      values, against_values: of the two cells, by the seeds' order.
      difference: mean of values less mean of against_values, in the measure's unit.
      low, high: its 95 % interval, for this comparison alone (not adjusted for the others); NaN where the noise is not
        known (one seed, or no residual at all).
      standard_error: of the difference; the larger of the next two.
      pooled_error: from the residual variance of all ``cells`` cells.  own_error: from the pair's differences.
      cells: how many cells gave the variance, k.  df: its degrees of freedom, (k - 1)(n - 1).
      p: two-sided, from standard_error and df; own_p: of the ordinary paired t-test; NaN with one seed.
      p_adjusted: p after Holm's correction over ``tests`` comparisons.
      verdict: "higher" or "lower" where p_adjusted and own_p are below 0.05 and every seed's difference has that sign;
        else "within noise", or "one seed", of which nothing follows.
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
    cells: int
    df: int
    p: float
    own_p: float
    p_adjusted: float
    tests: int
    verdict: Verdict

    @property
    def n(self) -> int:
        """How many seeds."""
        return len(self.seeds)

    @property
    def mean(self) -> float:
        """Of ``values``."""
        return float(np.mean(self.values))

    @property
    def against_mean(self) -> float:
        """Of ``against_values``."""
        return float(np.mean(self.against_values))

    @property
    def differences(self) -> tuple[float, ...]:
        """Seed by seed."""
        return tuple(a - b for a, b in zip(self.values, self.against_values, strict=True))

    def margin_interval(self, alpha: float = SIGNIFICANCE) -> tuple[float, float]:
        """The 1 - 2 alpha interval of the difference: two one-sided tests at alpha (TOST, Schuirmann 1987)."""
        if not self.standard_error > 0:
            return math.nan, math.nan
        half = float(stdtrit(self.df, 1 - alpha)) * self.standard_error
        return self.difference - half, self.difference + half

    def no_more_than(self, margin: float, alpha: float = SIGNIFICANCE) -> bool:
        """Whether the difference is shown to lie within +- margin: the margin interval does.

        False where the noise is not known.  "Within noise" is not that: it may only mean that little was measured.
        """
        low, high = self.margin_interval(alpha)
        return -margin < low and high < margin

    @property
    def words(self) -> str:
        """What was found, in one sentence with its numbers.

        The interval is for this comparison alone; ``basis`` says how it was computed.
        """
        pair, n = self.pair, self.n
        over = f"paired over {n} seeds" + (f", noise taken alike in {self.cells} cells" if self.cells > 2 else "")
        interval = f"[{self._number(self.low)}, {self._number(self.high)}]"
        if self.verdict in ("higher", "lower"):
            sign = 1 if self.verdict == "higher" else -1
            interval = f"[{', '.join(self._number(v) for v in sorted((sign * self.low, sign * self.high)))}]"
            raises, over_what = ("raise", "over") if sign > 0 else ("lower", "against")
            raises += "" if pair.change.endswith("techniques") else "s"
            by = f"{self._number(sign * self.difference)}" + ("" if math.isnan(self.low) else f" {interval}")
            return f"{pair.change} {raises} {self.measure} by {by} {over_what} {pair.base} ({pair.setting}), {over}"
        gain = f"{pair.change} less {pair.base} is {self._number(self.difference, signed=True)}"
        where = f"in {self.measure} ({pair.setting})"
        if self.verdict == "one seed":
            return f"one seed cannot tell a difference from noise: {gain} {where}"
        if self.standard_error > 0:
            return f"no difference beyond noise: {gain} {interval} {where}, {over}{self._doubt}"
        if self.difference == 0:
            return f"no difference: {pair.change} and {pair.base} are equal {where} in each of {n} seeds"
        return (
            f"no difference can be told from noise, whose size is not known: {gain} {where} in each of {n} seeds alike"
        )

    @property
    def _doubt(self) -> str:
        """Why an interval that leaves out 0 is not called a difference."""
        if not (self.low > 0 or self.high < 0):
            return ""
        if self.p_adjusted >= SIGNIFICANCE:
            return f"; the interval alone leaves out 0, but p is {self.p_adjusted:.2g} over {self.tests} comparisons"
        if self.own_p >= SIGNIFICANCE:
            return f"; the interval leaves out 0, but by its own noise alone p is {self.own_p:.2g}"
        return "; the interval leaves out 0, but one seed goes the other way"

    @property
    def basis(self) -> str:
        """How the numbers were computed and what they assume, in words."""
        if self.n < 2:
            return "One seed: no interval and no test."
        model = (
            f"additive model cell + seed over {self.cells} cells and {self.n} seeds ({self.df} degrees of freedom), "
            "which takes the noise to be alike in all of them"
            if self.cells > 2
            else f"paired t-test over {self.n} seeds ({self.df} degrees of freedom)"
        )
        holm = f"p adjusted by Holm over {self.tests} comparisons" if self.tests > 1 else "one comparison, p as it is"
        return f"{model[0].upper()}{model[1:]}; 95 % interval of this comparison alone; {holm}."

    def _number(self, value: float, *, signed: bool = False) -> str:
        return number_words(value, self.measure, signed=signed)


@dataclass(frozen=True)
class Comparisons:
    """What was compared, and what could not be and why."""

    found: tuple[Comparison, ...]
    notes: tuple[str, ...]

    def __iter__(self) -> Iterator[Comparison]:
        return iter(self.found)

    def __len__(self) -> int:
        return len(self.found)

    def __add__(self, other: Comparisons) -> Comparisons:
        return Comparisons(self.found + other.found, tuple(dict.fromkeys(self.notes + other.notes)))

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
                "cell": c.pair.cell,
                "against": c.pair.against,
            }
            for c in self.found
        ]
        return pd.DataFrame(rows)


_TABLE = ("difference", "low", "high", "df", "p", "p_adjusted", "tests", "verdict", "words", "basis")


def comparisons(results: pd.DataFrame, measure: str, study: Mapping[str, Any] | None = None) -> Comparisons:
    """All standard comparisons of one study: techniques, budgets, skews and removals, each its own Holm family.

    Args:
      results: of one study (``cells.of_study``).
      measure: its name.
      study: ``study.json``, which tells apart recipes that the columns of the results do not.
    """
    kinds = (technique_comparisons, budget_comparisons, skew_comparisons, removal_comparisons)
    total = Comparisons((), ())
    for kind in kinds:
        total += kind(results, measure, study)
    return total


def technique_comparisons(results: pd.DataFrame, measure: str, study: Mapping[str, Any] | None = None) -> Comparisons:
    """Each cumulative step against the one before, all techniques against BL, and what else there is.

    That is: single techniques and other mixes against BL, all but one against all.  A family is one data set, network,
    size and budget; Holm's correction is over all comparisons of the study and measure.  Arguments as
    :func:`comparisons`.
    """
    return _compared(results, measure, study, technique_pairs)


def budget_comparisons(results: pd.DataFrame, measure: str, study: Mapping[str, Any] | None = None) -> Comparisons:
    """Each budget against none, and the least against the largest; a family is all budgets of what is else alike."""
    return _compared(results, measure, study, budget_pairs)


def skew_comparisons(results: pd.DataFrame, measure: str, study: Mapping[str, Any] | None = None) -> Comparisons:
    """Each skew against none, and each against the least skew of the same set; a family is all skews at one budget.

    ``cifar10`` and ``cifar10s`` are the same pictures, so seeds pair.  But the set without skew is tested on its
    pictures as they are and the skewed ones on each picture in colour and in gray: differences in what is measured on
    the test set (accuracy, score) against no skew hold both, those against the least skew of the same set only skew.
    """
    return _compared(results, measure, study, skew_pairs)


def removal_comparisons(results: pd.DataFrame, measure: str, study: Mapping[str, Any] | None = None) -> Comparisons:
    """Removing the most exposed examples against as many at random, and both against removing none."""
    return _compared(results, measure, study, removal_pairs)


_Level = TypeVar("_Level", bound=Hashable)

Pairs = tuple[list[Pair], list[str]]
"""Pairs, and notes on what could not be paired."""


def technique_pairs(given: Measured) -> Pairs:
    """See :func:`technique_comparisons`."""

    def shared(cell: Cell) -> tuple[Hashable, ...]:
        return (*_place(cell), cell.skew, cell.epsilon, cell.delta, cell.examples, cell.removed, cell.removal)

    def setting(cell: Cell) -> str:
        return _words(cell.data_words, cell.budget_words, cell.removal_words if cell.removal else "", cell.variant)

    families, notes = _families(given, shared, lambda cell: cell.codes, lambda cell: cell.technique_words, setting)
    pairs: list[Pair] = []
    everything = tuple(TECHNIQUES)
    for words, family in families:
        chain = [everything[:length] for length in range(len(everything) + 1) if everything[:length] in family]
        asked: dict[frozenset[tuple[str, ...]], tuple[tuple[str, ...], tuple[str, ...], Question]] = {}
        for before, after in pairwise(chain):
            asked[frozenset((after, before))] = after, before, "step"
        fullest = full_mix(list(family))
        if () in family and fullest:
            asked[frozenset((fullest, ()))] = fullest, (), "all"
        for codes in family:
            if codes in chain or codes == fullest:
                continue
            if everything in family and len(codes) == len(everything) - 1:
                asked[frozenset((codes, everything))] = codes, everything, "without"
            elif () in family:
                asked[frozenset((codes, ()))] = codes, (), "single" if len(codes) == 1 else "mix"
        block = tuple(cell.id for cell in family.values())
        for codes, base, question in asked.values():
            first, second = family[codes], family[base]
            sides = first.technique_words, second.technique_words
            pairs.append(Pair(first.id, second.id, block, *sides, words, question))
    return pairs, notes


def full_mix(mixes: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
    """The mix that stands for "all techniques": all, else the longest cumulative one, else the largest if it is one.

    >>> full_mix([(), ("gn",), ("obs", "gn")]), full_mix([("gn",), ("ws",)])
    (('obs', 'gn'), ())
    """
    everything = tuple(TECHNIQUES)
    for length in range(len(everything), 1, -1):
        if everything[:length] in mixes:
            return everything[:length]
    most = max((len(mix) for mix in mixes), default=0)
    largest = [mix for mix in mixes if len(mix) == most]
    return largest[0] if len(largest) == 1 else ()


def budget_pairs(given: Measured) -> Pairs:
    """See :func:`budget_comparisons`."""

    def shared(cell: Cell) -> tuple[Hashable, ...]:
        return (*_place(cell), cell.skew, cell.techniques, cell.examples, cell.removed, cell.removal)

    def setting(cell: Cell) -> str:
        return _words(cell.data_words, cell.technique_words, cell.removal_words if cell.removal else "", cell.variant)

    families, notes = _families(given, shared, lambda cell: cell.epsilon, lambda cell: cell.budget_words, setting)
    pairs: list[Pair] = []
    for words, family in families:
        block = tuple(cell.id for cell in family.values())
        finite = sorted(epsilon for epsilon in family if math.isfinite(epsilon))
        asked: list[tuple[float, float, Question]] = []
        if math.inf in family:
            asked += [(epsilon, math.inf, "budget") for epsilon in finite]
        if len(finite) > 1:
            asked.append((finite[0], finite[-1], "budgets"))
        for epsilon, base, question in asked:
            first, second = family[epsilon], family[base]
            sides = first.budget_words, second.budget_words
            pairs.append(Pair(first.id, second.id, block, *sides, words, question))
    return pairs, notes


def skew_pairs(given: Measured) -> Pairs:
    """See :func:`skew_comparisons`."""

    def shared(cell: Cell) -> tuple[Hashable, ...]:
        pictures = WITHOUT_SKEW.get(cell.data, cell.data)
        what = (cell.techniques, cell.epsilon, cell.delta, cell.examples, cell.removed, cell.removal)
        return (pictures, *_place(cell)[1:], *what)

    def setting(cell: Cell) -> str:
        removal = cell.removal_words if cell.removal else ""
        return _words(cell.data, cell.budget_words, cell.technique_words, removal, cell.variant)

    def level(cell: Cell) -> float:
        return -1.0 if cell.skew is None else cell.skew

    families, notes = _families(given, shared, level, lambda cell: cell.skew_words, setting)
    pairs: list[Pair] = []
    for words, family in families:
        block = tuple(cell.id for cell in family.values())
        skews = sorted(skew for skew in family if skew >= 0)
        asked: list[tuple[float, float, Question]] = []
        if len(skews) < len(family):
            asked += [(skew, -1.0, "skew") for skew in skews]
        asked += [(skew, skews[0], "skew of one set") for skew in skews[1:]]
        for skew, base, question in asked:
            first, second = family[skew], family[base]
            sides = first.skew_words, second.skew_words
            pairs.append(Pair(first.id, second.id, block, *sides, words, question))
    return pairs, notes


def removal_pairs(given: Measured) -> Pairs:
    """See :func:`removal_comparisons`."""

    def shared(cell: Cell) -> tuple[Hashable, ...]:
        return (*_place(cell), cell.skew, cell.techniques, cell.epsilon, cell.delta)

    def setting(cell: Cell) -> str:
        return _words(cell.data_words, cell.budget_words, cell.technique_words, cell.variant)

    def level(cell: Cell) -> tuple[float, str]:
        return cell.removed, cell.removal

    families, notes = _families(given, shared, level, lambda cell: cell.removal_words, setting)
    pairs: list[Pair] = []
    for words, family in families:
        block = tuple(cell.id for cell in family.values())
        asked: list[tuple[tuple[float, str], tuple[float, str], Question]] = []
        for share in sorted({share for share, arm in family if arm}):
            exposed, random, none = (share, "exposed"), (share, "random"), (0.0, "")
            asked += [(exposed, random, "control"), (exposed, none, "removal"), (random, none, "random")]
        for what, base, question in asked:
            if what in family and base in family:
                first, second = family[what], family[base]
                sides = first.removal_words, second.removal_words
                pairs.append(Pair(first.id, second.id, block, *sides, words, question))
    return pairs, notes


def compare(given: Measured, pairs: Sequence[Pair]) -> Comparisons:
    """Compare pairs of cells in one measure; Holm's correction is over all of them.

    For each pair the seeds are those that both cells have, and the noise comes from all cells of its block that have
    these seeds.  Pairs without a seed in common are left out, with a note.

    Args:
      given: the measure; values that are not finite are left out.
      pairs: what to compare.

    Raises:
      InputError: a pair names a cell that is not there or not in its block, or itself.
    """
    values = {c: {s: v for s, v in by.items() if math.isfinite(v)} for c, by in given.values.items()}
    found, notes = [], []
    for pair in pairs:
        if pair.cell == pair.against or not {pair.cell, pair.against} <= set(pair.block) & set(values):
            raise InputError(f"cannot compare {pair.cell} with {pair.against}: name two measured cells of one block")
        if not set(values[pair.cell]) & set(values[pair.against]):
            notes.append(
                f"{pair.change} and {pair.base} ({pair.setting}) have no seed in common with {given.measure}: "
                "not compared"
            )
            continue
        found.append(_compare(given.measure, pair, values))
    tested = [comparison for comparison in found if comparison.n > 1]
    adjusted = iter(holm([comparison.p for comparison in tested]))
    judged = [
        _judged(replace(comparison, p_adjusted=next(adjusted), tests=len(tested))) if comparison.n > 1 else comparison
        for comparison in found
    ]
    return Comparisons(tuple(judged), tuple(notes))


def additive_variance(values: NDArray[np.float64]) -> tuple[float, int]:
    """Residual variance of the model value = row + column, and its degrees of freedom (k - 1)(n - 1).

    Args:
      values: float (k, n), k cells at the same n seeds; both at least 2.

    >>> additive_variance(np.array([[1.0, 2.0, 3.0], [2.0, 3.0, 4.0]]))
    (0.0, 2)
    """
    cells, seeds = values.shape
    rest = values - values.mean(axis=1, keepdims=True) - values.mean(axis=0) + values.mean()
    df = (cells - 1) * (seeds - 1)
    return float((rest**2).sum() / df), df


def holm(p: Sequence[float]) -> list[float]:
    """P-values after Holm's correction (1979), which bounds the chance of any false alarm whatever their dependence.

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    adjusted, least = [0.0] * len(p), 0.0
    for rank, at in enumerate(sorted(range(len(p)), key=lambda at: p[at])):
        least = max(least, min(1.0, (len(p) - rank) * p[at]))
        adjusted[at] = least
    return adjusted


def number_words(value: float, measure: str, *, signed: bool = False) -> str:
    """A measure's value, or a difference of two, as it is printed: three decimals of a fraction, else four digits.

    (More decimals where three would show a zero.)

    >>> number_words(-0.0313, "accuracy", signed=True), number_words(0.0, "bias", signed=True), number_words(3.5, "?")
    ('-0.031', '0.000', '3.5')
    """
    if measure_range(measure)[1] == 1.0:
        # As many more decimals as its first digit needs.
        first = math.ceil(-math.log10(abs(value))) if 1e-6 < abs(value) < 5e-4 else 3
        text = f"{value:.{first}f}"
    else:
        text = f"{value:.4g}"
    if float(text) == 0.0:
        return text.lstrip("-")
    return f"+{text}" if signed and value > 0 else text


def _compare(measure: str, pair: Pair, values: Mapping[str, Mapping[int, float]]) -> Comparison:
    first, second = values[pair.cell], values[pair.against]
    seeds = tuple(sorted(set(first) & set(second)))
    block = [cell for cell in pair.block if set(seeds) <= set(values.get(cell, ()))]
    mine, other = np.array([first[s] for s in seeds]), np.array([second[s] for s in seeds])
    differences = mine - other
    difference, n = float(differences.mean()), len(seeds)
    nan = math.nan
    plain = Comparison(
        measure=measure,
        pair=pair,
        seeds=seeds,
        left_out=tuple(sorted(set(first) ^ set(second))),
        values=tuple(mine.tolist()),
        against_values=tuple(other.tolist()),
        difference=difference,
        low=nan,
        high=nan,
        standard_error=nan,
        pooled_error=nan,
        own_error=nan,
        cells=len(block),
        df=0,
        p=nan,
        own_p=nan,
        p_adjusted=nan,
        tests=0,
        verdict="one seed",
    )
    if n < 2:
        return plain
    table = np.array([[values[cell][seed] for seed in seeds] for cell in block])
    variance, df = additive_variance(table)
    rounding = _ROUNDING * float(np.abs(table).max())
    own = float(differences.std(ddof=1)) / math.sqrt(n)
    own = own if own > rounding else 0.0
    pooled = math.sqrt(2 * variance / n)
    pooled = pooled if pooled > rounding else 0.0
    error = max(own, pooled)
    equal = abs(difference) <= rounding
    # Where neither cell depends on the seed (trainings without any randomness but for the order of their sums) seeds
    # repeat one trial, which cannot tell a difference from noise, whatever the noise of other cells is.
    one_training = repeated(mine) and repeated(other)
    if error == 0 or one_training:
        # The size of the noise is unknown.  Where the seed does act, on both cells alike, what is left is the sign
        # test: n differences of one sign, by chance with 2 / 2^n.
        p = own_p = 1.0 if equal or one_training else 2.0 ** (1 - n)
        difference = 0.0 if equal else difference
        error, low, high = 0.0, nan, nan
    else:
        p = float(2 * stdtr(df, -abs(difference) / error))
        own_p = float(2 * stdtr(n - 1, -abs(difference) / own)) if own > 0 else float(equal)
        half = float(stdtrit(df, 0.5 + LEVEL / 2)) * error
        low, high = difference - half, difference + half
    return replace(
        plain,
        difference=difference,
        low=low,
        high=high,
        standard_error=error,
        pooled_error=pooled,
        own_error=own,
        df=df,
        p=p,
        own_p=own_p,
    )


def _judged(comparison: Comparison) -> Comparison:
    verdict: Verdict = "within noise"
    if max(comparison.p_adjusted, comparison.own_p) < SIGNIFICANCE:
        if all(difference > 0 for difference in comparison.differences):
            verdict = "higher"
        elif all(difference < 0 for difference in comparison.differences):
            verdict = "lower"
    return replace(comparison, verdict=verdict)


def _compared(
    results: pd.DataFrame,
    measure: str,
    study: Mapping[str, Any] | None,
    pairs_of: Callable[[Measured], Pairs],
) -> Comparisons:
    given = measured(results, measure, study)
    pairs, notes = pairs_of(given)
    return Comparisons((), tuple(notes)) + compare(given, pairs)


def _place(cell: Cell) -> tuple[Hashable, ...]:
    """What all kinds of families share."""
    return cell.data, cell.target, cell.protected, cell.model, cell.variant


def _words(*parts: str) -> str:
    return ", ".join(part for part in parts if part)


def _families(
    given: Measured,
    shared: Callable[[Cell], tuple[Hashable, ...]],
    level: Callable[[Cell], _Level],
    level_words: Callable[[Cell], str],
    setting: Callable[[Cell], str],
) -> tuple[list[tuple[str, dict[_Level, Cell]]], list[str]]:
    """Cells that share everything but one thing, by that thing, each family with its setting in words.

    Where two cells have the same one, there is a note and no family.
    """
    gathered: dict[tuple[Hashable, ...], list[Cell]] = {}
    for cell in given.cells.values():
        gathered.setdefault(shared(cell), []).append(cell)
    families, notes = [], []
    for cells in gathered.values():
        family = {level(cell): cell for cell in cells}
        if len(family) == len(cells):
            families.append(family)
            continue
        levels = [level(cell) for cell in cells]
        doubled = next(cell for cell in cells if levels.count(level(cell)) > 1)
        if len(family) > 1:
            notes.append(
                f"not compared: {levels.count(level(doubled))} cells are {level_words(doubled)} "
                f"({setting(doubled)}), and the results do not say what sets them apart"
            )
    largest = [max(family.values(), key=lambda cell: (cell.examples, cell.data)) for family in families]
    words = [setting(cell) for cell in largest]
    for more in (lambda cell: f"{cell.examples} examples", lambda cell: cell.model, lambda cell: f"delta {cell.delta}"):
        alike = [words.count(one) > 1 for one in words]
        words = [_words(w, more(c)) if twice else w for w, c, twice in zip(words, largest, alike, strict=True)]
    return list(zip(words, families, strict=True)), notes
