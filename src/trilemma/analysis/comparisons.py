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
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from trilemma.analysis.cells import Measured, measured
from trilemma.analysis.comparison import SIGNIFICANCE, Comparison, Comparisons, Verdict
from trilemma.analysis.pairs import Pair, Pairs, budget_pairs, removal_pairs, skew_pairs, technique_pairs
from trilemma.errors import InputError
from trilemma.statistics.additive import PairedDifference, holm, paired_difference


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


def _compare(measure: str, pair: Pair, values: Mapping[str, Mapping[int, float]]) -> Comparison:
    first, second = values[pair.cell], values[pair.against]
    seeds = tuple(sorted(set(first) & set(second)))
    block = [cell for cell in pair.block if set(seeds) <= set(values.get(cell, ()))]
    table = np.array([[values[cell][seed] for seed in seeds] for cell in block])
    rows = block.index(pair.cell), block.index(pair.against)
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
        cells=len(block),
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
    given = measured(results, measure, study)
    pairs, notes = pairs_of(given)
    return Comparisons((), tuple(notes)) + compare(given, pairs)
