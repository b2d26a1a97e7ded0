"""Our claims that a budget brings the attack's AUC toward 1/2, and a smaller one the more so."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from trilemma.analysis.claims.claim import Claim, Finding, Verdict, change_of, doubt, joined_reasons, overall_claim
from trilemma.analysis.claims.direction import secondary_findings
from trilemma.analysis.claims.evidence import ATTACK, STRONGEST, Table, distinct, evidence_of, evidence_of_both
from trilemma.analysis.comparison import SIGNIFICANCE, Comparison
from trilemma.analysis.comparisons import compare
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

    For each setting the least epsilon against no budget and against the largest epsilon: confirmed where either is
    lower, neither higher, and the least epsilon's AUC nearer to 1/2 than what it is compared with.  Where a data set
    was trained at different numbers of budgets, the settings with most of them count.
    """
    measurements = table.measured(ATTACK)
    all_pairs, notes = table.pairs(ATTACK, budget_pairs)
    most: dict[str, int] = {}
    for pair in all_pairs:
        most[measurements.conditions[pair.condition].data] = max(
            most.get(measurements.conditions[pair.condition].data, 0), len(pair.block)
        )
    by_setting: dict[tuple[str, int, str], dict[str, Pair]] = {}
    for pair in all_pairs:
        condition = measurements.conditions[pair.condition]
        if len(pair.block) < most[condition.data]:
            continue
        pairs = by_setting.setdefault((pair.setting, condition.examples, condition.model), {})
        if pair.question not in pairs or budget_order(condition.epsilon) < budget_order(
            measurements.conditions[pairs[pair.question].condition].epsilon
        ):
            pairs[pair.question] = pair
    chosen = [pair for pairs in by_setting.values() for pair in pairs.values()]
    tried = {(c.pair.condition, c.pair.against): c for c in compare(measurements, chosen)}
    strongest = secondary_findings(table, STRONGEST, chosen)
    findings = []
    for pairs in by_setting.values():
        compared = [c for pair in pairs.values() if (c := tried.get((pair.condition, pair.against))) is not None]
        if not compared:
            continue
        verdict, words = _budget_verdict(compared)
        evidence = [entry for c in compared for entry in evidence_of_both(measurements, c)]
        for c in compared:
            note, more = strongest.get((c.pair.condition, c.pair.against), ("", []))
            words, evidence = words + note, evidence + more
        changes = tuple(change_of(c) for c in compared)
        findings.append(Finding(compared[0].pair.setting, verdict, words, distinct(evidence), changes))
    return overall_claim(
        "budget-auc",
        "ours",
        "we say that a budget brings the attack's AUC toward ½",
        findings,
        joined_reasons("this takes two budgets, or one and none, all else equal", notes),
        lead="Budget, leakage",
    )


def _budget_verdict(compared: Sequence[Comparison]) -> tuple[Verdict, str]:
    words = "; ".join(comparison.words for comparison in compared)
    lower = [c for c in compared if c.verdict == "lower"]
    higher = [c for c in compared if c.verdict == "higher"]
    if lower and higher:
        return "cannot tell", f"{words}; the two disagree"
    if (lower or higher) and all(c.fragile for c in (*lower, *higher)):
        return "cannot tell", f"{words}{doubt((*lower, *higher)[0])}"
    if higher:
        return "contradicted", words
    if not lower:
        return "cannot tell", words
    if all(abs(c.mean - 0.5) < abs(c.against_mean - 0.5) for c in lower):
        return "confirmed", f"{words}; it is {lower[0].mean:.3f} at {lower[0].pair.change}"
    return "cannot tell", f"{words}; but at {lower[0].mean:.3f} it is no nearer to ½"


def budget_trend_claim(table: Table) -> Claim:
    """Ours: the smaller epsilon is, the nearer the AUC lies to 1/2, told from at least ``FEWEST_BUDGETS`` epsilons.

    For each family the distance of the AUC from 1/2 is regressed on the rank of epsilon, seed by seed.  The slopes are
    tested by a t-test over seeds, adjusted by Holm over the families, and must keep their sign and their significance
    without any one seed.  Confirmed where distances grow with epsilon, contradicted where they fall.
    """
    measurements = table.measured(ATTACK)
    pairs, notes = table.pairs(ATTACK, budget_pairs)
    families = {pair.block: pair.setting for pair in pairs}
    slopes: dict[tuple[str, ...], NDArray[np.float64]] = {}
    for block in families:
        chosen = _with_budget(measurements, block)
        seeds = sorted(set.intersection(*(set(measurements.values[c]) for c in chosen))) if chosen else []
        if len(chosen) >= FEWEST_BUDGETS and len(seeds) > 1:
            distances = np.array([[abs(measurements.values[c][seed] - 0.5) for seed in seeds] for c in chosen])
            ranks = np.arange(len(chosen)) - (len(chosen) - 1) / 2
            slopes[block] = ranks @ distances / (ranks @ ranks)
    adjusted = holm([paired_p(by_seed) for by_seed in slopes.values()])
    findings = []
    for (block, by_seed), p in zip(slopes.items(), adjusted, strict=True):
        chosen = _with_budget(measurements, block)
        evidence = [evidence_of(measurements, c, budget(measurements.conditions[c].epsilon)) for c in chosen]
        verdict = _trend_verdict(by_seed, p)
        findings.append(
            Finding(families[block], verdict, _trend_words(measurements, chosen, by_seed), distinct(evidence))
        )
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


def _trend_verdict(slopes: NDArray[np.float64], p: float) -> Verdict:
    one_sign = bool((slopes > 0).all() or (slopes < 0).all())
    without_one = [paired_p(np.delete(slopes, seed)) for seed in range(len(slopes))]
    if p >= SIGNIFICANCE or not one_sign or max(without_one) >= SIGNIFICANCE:
        return "cannot tell"
    return "confirmed" if slopes[0] > 0 else "contradicted"


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
