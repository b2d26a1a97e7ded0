"""Our claim that a budget brings the attack's AUC toward 1/2."""

from __future__ import annotations

from collections.abc import Sequence

from trilemma.analysis.claims.claim import Claim, Finding, Verdict, joined_reasons, overall_claim
from trilemma.analysis.claims.direction import secondary_findings
from trilemma.analysis.claims.evidence import ATTACK, STRONGEST, Table, distinct, evidence_of_both
from trilemma.analysis.comparison import Comparison
from trilemma.analysis.comparisons import compare
from trilemma.analysis.pairs import Pair, budget_pairs
from trilemma.words import budget_order


def budget_claim(table: Table) -> Claim:
    """Ours: the AUC falls toward 1/2 as epsilon gets smaller.

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
    asked: dict[tuple[str, int, str], dict[str, Pair]] = {}
    for pair in all_pairs:
        condition = measurements.conditions[pair.condition]
        if len(pair.block) < most[condition.data]:
            continue
        pairs = asked.setdefault((pair.setting, condition.examples, condition.model), {})
        if pair.question not in pairs or budget_order(condition.epsilon) < budget_order(
            measurements.conditions[pairs[pair.question].condition].epsilon
        ):
            pairs[pair.question] = pair
    chosen = [pair for pairs in asked.values() for pair in pairs.values()]
    tried = {(c.pair.condition, c.pair.against): c for c in compare(measurements, chosen)}
    strongest = secondary_findings(table, STRONGEST, chosen)
    findings = []
    for pairs in asked.values():
        compared = [c for pair in pairs.values() if (c := tried.get((pair.condition, pair.against))) is not None]
        if not compared:
            continue
        verdict, words = _budget_verdict(compared)
        evidence = [entry for c in compared for entry in evidence_of_both(measurements, c)]
        for c in compared:
            note, more = strongest.get((c.pair.condition, c.pair.against), ("", []))
            words, evidence = words + note, evidence + more
        findings.append(Finding(compared[0].pair.setting, verdict, words, distinct(evidence)))
    return overall_claim(
        "budget-auc",
        "ours",
        "we say that a budget brings the attack's AUC toward 1/2, the more so the smaller epsilon is",
        findings,
        joined_reasons("this takes two budgets, or one and none, all else equal", notes),
    )


def _budget_verdict(compared: Sequence[Comparison]) -> tuple[Verdict, str]:
    words = "; ".join(comparison.words for comparison in compared)
    lower = [c for c in compared if c.verdict == "lower"]
    higher = [c for c in compared if c.verdict == "higher"]
    if lower and higher:
        return "cannot tell", f"{words}; the two disagree"
    if higher:
        return "contradicted", words
    if not lower:
        return "cannot tell", words
    if all(abs(c.mean - 0.5) < abs(c.against_mean - 0.5) for c in lower):
        return "confirmed", f"{words}; it is {lower[0].mean:.3f} at {lower[0].pair.change}"
    return "cannot tell", f"{words}; but at {lower[0].mean:.3f} it is no nearer to 1/2"
