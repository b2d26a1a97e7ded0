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

    For each setting the least epsilon against no budget.  Where a data set was trained at different numbers of budgets,
    the settings with most of them count.
    """
    conditions = table.measured(ATTACK).conditions
    all_pairs, notes = table.pairs(ATTACK, budget_pairs)
    with_none = [pair for pair in all_pairs if pair.question == "budget"]
    most: dict[str, int] = {}
    for pair in with_none:
        most[conditions[pair.condition].data] = max(most.get(conditions[pair.condition].data, 0), len(pair.block))
    least: dict[tuple[str, int, str], Pair] = {}
    for pair in with_none:
        condition = conditions[pair.condition]
        if len(pair.block) < most[condition.data]:
            continue
        other = least.setdefault((pair.setting, condition.examples, condition.model), pair)
        if budget_order(condition.epsilon) < budget_order(conditions[other.condition].epsilon):
            least[pair.setting, condition.examples, condition.model] = pair
    return direction_claim(
        table,
        "budget-auc",
        "we say that a budget brings the attack's AUC toward ½",
        (list(least.values()), notes),
        ATTACK,
        "lower",
        "this takes a budget and none, all else equal",
        lead="Budget, leakage",
        source="ours",
        secondary=STRONGEST,
    )


def budget_trend_claim(table: Table) -> Claim:
    """Ours: the smaller epsilon is, the nearer the AUC lies to 1/2, told from at least ``FEWEST_BUDGETS`` epsilons.

    For each family the distance of the AUC from 1/2 is regressed on the rank of epsilon, seed by seed.  The slopes are
    tested by a t-test over seeds, adjusted by Holm over the families, and must keep their sign and their significance
    without any one seed, and without any one budget.  Confirmed where they are positive and the mean distance grows at
    every step, contradicted where they are negative and it falls at every step.
    """
    measurements = table.measured(ATTACK)
    pairs, notes = table.pairs(ATTACK, budget_pairs)
    families = {pair.block: pair.setting for pair in pairs}
    distances: dict[tuple[str, ...], NDArray[np.float64]] = {}
    for block in families:
        chosen = _with_budget(measurements, block)
        seeds = sorted(set.intersection(*(set(measurements.values[c]) for c in chosen))) if chosen else []
        if len(chosen) >= FEWEST_BUDGETS and len(seeds) > 1:
            distances[block] = np.array([[abs(measurements.values[c][seed] - 0.5) for seed in seeds] for c in chosen])
    adjusted = holm([paired_p(_slopes(by_budget)) for by_budget in distances.values()])
    findings = []
    for (block, by_budget), p in zip(distances.items(), adjusted, strict=True):
        chosen = _with_budget(measurements, block)
        evidence = [evidence_of(measurements, c, budget(measurements.conditions[c].epsilon)) for c in chosen]
        verdict, reason = _trend_decision(by_budget, p)
        words = _trend_words(measurements, chosen, _slopes(by_budget)) + (f"; but {reason}" if reason else "")
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
            and bool((sign * np.diff(distances.mean(axis=1)) > 0).all())
        )

    few = f"fewer than {FEWEST_SEEDS} seeds are too few" if distances.shape[1] < FEWEST_SEEDS else ""
    reason = few or "no trend is shown that holds at every step, and without any one seed or budget"
    return decide(holds("higher", 1), holds("lower", -1), reason)


def _trend_words(measurements: Measured, chosen: Sequence[str], slopes: NDArray[np.float64]) -> str:
    means = [
        f"{number_words(float(np.mean(list(measurements.values[c].values()))), ATTACK)} at "
        f"{budget(measurements.conditions[c].epsilon)}"
        for c in chosen
    ]
    low, high = (number_words(end, ATTACK, signed=True) for end in mean_interval(slopes))
    slope = f"{number_words(float(slopes.mean()), ATTACK, signed=True)} [{low}, {high}]"
    return (
        f"{in_words(ATTACK)} is {', '.join(means)}; from one budget to the next larger one its distance from ½ "
        f"changes by {slope}, over {len(slopes)} seeds"
    )
