"""Paired differences between conditions: what a change did beyond what another seed would have done.

Two conditions are compared seed by seed, so that whatever a seed does to both (the sampled images, the initial weights)
cancels.  But a paired t-test over three seeds has two degrees of freedom and finds next to nothing.  So the noise is
estimated from all conditions of a family (one data set, one budget, ...), by the model

    value of condition c at seed s = a_c + b_s + noise of one variance,

the randomized block design (see :mod:`trilemma.statistics.additive`), whose residual variance has (k - 1)(n - 1)
degrees of freedom for k conditions and n seeds; with two conditions it is the paired t-test.

**It assumes equal noise variance in all conditions of the family**, which a condition that learns only with some seeds
violates.  Two safeguards, which cost power, guard against that: the standard error is the larger of the pooled one and
the one from the pair's own differences, and a verdict also requires that the pair's own unadjusted paired t-test agrees
at 5 %.  In simulations with 7 conditions, 3 seeds and no true difference, any of 7 comparisons is called a difference
in 2 % of studies where the assumption holds and in 6 % where one condition's noise is five times the others'; pooling
alone would give 4 % and 16 %.  A step of 4 (5) standard deviations of the noise is found in 69 % (84 %) of studies; by
paired t-tests with Holm's correction alone, in 17 % (25 %).

All seeds share their test examples: an interval says where the mean difference over many trainings lies on these
examples, not on others.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from trilemma.analysis.comparison import SIGNIFICANCE, Comparison, Comparisons, Verdict
from trilemma.analysis.conditions import Measured, measured
from trilemma.analysis.pairs import Pair, Pairs, budget_pairs, removal_pairs, skew_pairs, technique_pairs
from trilemma.errors import InputError
from trilemma.statistics.additive import PairedDifference, holm, paired_difference


def comparisons(results: pd.DataFrame, measure: str, study: Mapping[str, Any] | None = None) -> Comparisons:
    """All standard comparisons of one study: techniques, budgets, skews and removals, each its own Holm family.

    Args:
      results: the results of one study (:func:`~trilemma.analysis.conditions.of_study`).
      measure: its name.
      study: ``study.json``, which distinguishes recipes that the columns of the results do not.
    """
    kinds = (technique_comparisons, budget_comparisons, skew_comparisons, removal_comparisons)
    total = Comparisons((), ())
    for kind in kinds:
        total += kind(results, measure, study)
    return total


def technique_comparisons(results: pd.DataFrame, measure: str, study: Mapping[str, Any] | None = None) -> Comparisons:
    """Each cumulative step against the one before, all techniques against BL, and the other mixes that were trained.

    Single techniques and other mixes are compared with BL, all but one with all.  A family is one data set, network,
    size and budget; Holm's correction covers all comparisons of the study and measure.  Arguments as
    :func:`comparisons`.
    """
    return _compared(results, measure, study, technique_pairs)


def budget_comparisons(results: pd.DataFrame, measure: str, study: Mapping[str, Any] | None = None) -> Comparisons:
    """Each budget against none, and the smallest against the largest; a family differs in nothing but its budgets."""
    return _compared(results, measure, study, budget_pairs)


def skew_comparisons(results: pd.DataFrame, measure: str, study: Mapping[str, Any] | None = None) -> Comparisons:
    """Each skew against none, and each against the smallest skew of the same set; a family is all skews at one budget.

    ``cifar10`` and ``cifar10s`` have the same images, so seeds pair.  But the set without skew is tested on its images
    as they are and the skewed ones on each image in color and in gray: differences against no skew in what is measured
    on the test set (accuracy, score) contain both effects, those against the smallest skew of the same set only skew.
    """
    return _compared(results, measure, study, skew_pairs)


def removal_comparisons(results: pd.DataFrame, measure: str, study: Mapping[str, Any] | None = None) -> Comparisons:
    """Removal of the most exposed examples against as many at random, and each of the two against no removal."""
    return _compared(results, measure, study, removal_pairs)


def compare(measurements: Measured, pairs: Sequence[Pair]) -> Comparisons:
    """Compare pairs of conditions in one measure; Holm's correction covers all of them.

    Each pair uses the seeds that both conditions have, and takes the noise from all conditions of its block that have
    these seeds.  Pairs without a common seed are left out, with a note.

    Args:
      measurements: the measure; values that are not finite are left out.
      pairs: what to compare.

    Raises:
      InputError: a pair names a condition that was not measured or is not in its block, or compares one with itself.
    """
    values = {c: {s: v for s, v in by.items() if math.isfinite(v)} for c, by in measurements.values.items()}
    compared, notes = [], []
    for pair in pairs:
        if pair.condition == pair.against or not {pair.condition, pair.against} <= set(pair.block) & set(values):
            raise InputError(
                f"cannot compare {pair.condition} with {pair.against}: name two measured conditions of one family"
            )
        if not set(values[pair.condition]) & set(values[pair.against]):
            notes.append(
                f"{pair.change} and {pair.base} ({pair.setting}) have no seed in common with {measurements.measure}: "
                "not compared"
            )
            continue
        compared.append(_compare(measurements.measure, pair, values))
    tested = [comparison for comparison in compared if comparison.n > 1]
    adjusted = iter(holm([comparison.p for comparison in tested]))
    judged = [
        _judged(replace(comparison, p_adjusted=next(adjusted), tests=len(tested))) if comparison.n > 1 else comparison
        for comparison in compared
    ]
    return Comparisons(tuple(judged), tuple(notes))


def _compare(measure: str, pair: Pair, values: Mapping[str, Mapping[int, float]]) -> Comparison:
    first, second = values[pair.condition], values[pair.against]
    seeds = tuple(sorted(set(first) & set(second)))
    block = [condition for condition in pair.block if set(seeds) <= set(values.get(condition, ()))]
    table = np.array([[values[condition][seed] for seed in seeds] for condition in block])
    rows = block.index(pair.condition), block.index(pair.against)
    if len(seeds) > 1:
        numbers = paired_difference(table, *rows)
    else:
        unknown = math.nan
        difference = float(table[rows[0], 0] - table[rows[1], 0])
        numbers = PairedDifference(difference, unknown, unknown, unknown, unknown, unknown, 0, unknown, unknown)
    return Comparison(
        measure=measure,
        pair=pair,
        seeds=seeds,
        left_out=tuple(sorted(set(first) ^ set(second))),
        values=tuple(table[rows[0]].tolist()),
        against_values=tuple(table[rows[1]].tolist()),
        conditions=len(block),
        p_adjusted=math.nan,
        tests=0,
        verdict="one seed",
        **vars(numbers),
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
    measurements = measured(results, measure, study)
    pairs, notes = pairs_of(measurements)
    return Comparisons((), tuple(notes)) + compare(measurements, pairs)
