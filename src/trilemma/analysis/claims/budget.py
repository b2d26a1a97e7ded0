"""Our claims that a budget brings the attack's AUC toward 1/2, and a smaller one the more so."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from trilemma.analysis.claims.claim import Claim, Direction, Finding, joined_reasons, overall_claim
from trilemma.analysis.claims.decisions import Decision, decide, shown_mean
from trilemma.analysis.claims.direction import direction_claim
from trilemma.analysis.claims.evidence import ATTACK, STRONGEST, Table, distinct, evidence_of
from trilemma.analysis.comparison import FEWEST_SEEDS
from trilemma.analysis.conditions import Measured
from trilemma.analysis.pairs import Pair, budget_pairs
from trilemma.measures import in_words, number_words
from trilemma.statistics.additive import holm
from trilemma.statistics.intervals import mean_interval, paired_p
from trilemma.words import budget, budget_order

FEWEST_BUDGETS = 3
"""Epsilons that a trend is told from."""


def budget_claim(table: Table) -> Claim:
    """Ours: a budget brings the AUC toward 1/2.  (That a smaller one does so more is :func:`budget_trend_claim`.)

    For each setting the least epsilon against no budget; no other budget may show the opposite.
    """
    conditions = table.measured(ATTACK).conditions
    all_pairs, notes = table.pairs(ATTACK, budget_pairs)
    with_none = [pair for pair in all_pairs if pair.question == "budget"]
    by_setting: dict[tuple[str, str], list[Pair]] = {}
    for pair in sorted(with_none, key=lambda pair: budget_order(conditions[pair.condition].epsilon)):
        by_setting.setdefault((pair.setting, pair.against), []).append(pair)
    least = {pairs[0]: pairs[1:] for pairs in by_setting.values()}
    return direction_claim(
        table,
        "budget-auc",
        "we say that a budget brings the attack's AUC toward ½",
        (list(least), notes),
        ATTACK,
        "lower",
        "this takes a budget and none, all else equal",
        lead="Budget, leakage",
        source="ours",
        secondary=STRONGEST,
        between=least,
    )


def budget_trend_claim(table: Table) -> Claim:
    """Ours: the smaller epsilon is, the nearer the AUC lies to 1/2, told from at least ``FEWEST_BUDGETS`` epsilons.

    For each family the AUC minus 1/2 is regressed on the rank of epsilon, seed by seed; it counts as positive on the
    side of 1/2 where the family lies on average.  (The absolute value seed by seed would take noise for distance.)  The
    slopes are tested by a t-test over the seeds that all budgets have, adjusted by Holm over the families, and must
    keep their sign and their significance without any one seed, and without any one budget.  Confirmed where they are
    positive and the distance of the mean AUC from 1/2 grows at every step, contradicted where they are negative and it
    falls at every step.
    """
    measurements = table.measured(ATTACK)
    pairs, notes = table.pairs(ATTACK, budget_pairs)
    families = {pair.block: pair.setting for pair in pairs}
    distances: dict[tuple[str, ...], NDArray[np.float64]] = {}
    common: dict[tuple[str, ...], list[int]] = {}
    for block in families:
        chosen = _with_budget(measurements, block)
        seeds = sorted(set.intersection(*(set(measurements.values[c]) for c in chosen))) if chosen else []
        if len(chosen) >= FEWEST_BUDGETS and len(seeds) > 1:
            apart = np.array([[measurements.values[c][seed] - 0.5 for seed in seeds] for c in chosen])
            distances[block] = apart if apart.mean() >= 0 else -apart
            common[block] = seeds
    adjusted = holm([paired_p(_slopes(by_budget)) for by_budget in distances.values()])
    findings = []
    for (block, by_budget), p in zip(distances.items(), adjusted, strict=True):
        chosen = _with_budget(measurements, block)
        budgets = [budget(measurements.conditions[c].epsilon) for c in chosen]
        evidence = [evidence_of(measurements, c, role, common[block]) for c, role in zip(chosen, budgets, strict=True)]
        verdict, reason = _trend_decision(by_budget, p)
        means = [float(np.mean(entry["values"])) for entry in evidence]
        words = _trend_words(means, budgets, _slopes(by_budget)) + (f"; but {reason}" if reason else "")
        findings.append(Finding(families[block], verdict, words, distinct(evidence), reason=reason))
    return overall_claim(
        "budget-trend",
        "ours",
        "we say that the attack's AUC lies the nearer to ½ the smaller epsilon is",
        findings,
        joined_reasons(f"this takes at least {FEWEST_BUDGETS} budgets and two seeds, all else equal", notes),
    )


def _with_budget(measurements: Measured, block: Sequence[str]) -> list[str]:
    """The conditions of a family that have a budget, from the smallest epsilon to the largest."""
    chosen = [c for c in block if c in measurements.values and measurements.conditions[c].private]
    return sorted(chosen, key=lambda c: budget_order(measurements.conditions[c].epsilon))


def _slopes(distances: NDArray[np.float64]) -> NDArray[np.float64]:
    """By how much the distances (budget, seed) grow from one budget to the next larger one, seed by seed."""
    ranks = np.arange(len(distances)) - (len(distances) - 1) / 2
    slopes: NDArray[np.float64] = ranks @ distances / (ranks @ ranks)
    return slopes


def _trend_decision(distances: NDArray[np.float64], p: float) -> Decision:
    def holds(way: Direction, sign: int) -> bool:
        """Whether slopes are shown to have a sign, with all budgets and without any one of them, and at every step."""
        without_one = [_slopes(np.delete(distances, place, axis=0)) for place in range(len(distances))]
        return (
            shown_mean(_slopes(distances), 0.0, way, p)
            and all(shown_mean(slopes, 0.0, way) for slopes in without_one)
            and bool((sign * np.diff(np.abs(distances.mean(axis=1))) > 0).all())
        )

    few = f"fewer than {FEWEST_SEEDS} seeds are too few" if distances.shape[1] < FEWEST_SEEDS else ""
    reason = few or "no trend is shown that holds at every step, and without any one seed or budget"
    return decide(holds("higher", 1), holds("lower", -1), reason)


def _trend_words(means: Sequence[float], budgets: Sequence[str], slopes: NDArray[np.float64]) -> str:
    """What was judged: the mean AUCs, how far they lie from 1/2, and the mean slope, all over the same seeds."""
    levels = [f"{number_words(mean, ATTACK)} at {words}" for mean, words in zip(means, budgets, strict=True)]
    apart = [number_words(abs(mean - 0.5), ATTACK) for mean in means]
    low, high = (number_words(end, ATTACK, signed=True) for end in mean_interval(slopes))
    slope = f"{number_words(float(slopes.mean()), ATTACK, signed=True)} [{low}, {high}]"
    return (
        f"the mean of {in_words(ATTACK)} is {', '.join(levels)}, which is {', '.join(apart)} from ½; from one budget "
        f"to the next larger one its distance from ½ changes by {slope}, over the {len(slopes)} seeds that all budgets "
        "have"
    )
