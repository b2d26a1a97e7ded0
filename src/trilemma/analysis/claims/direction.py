"""Claims that a measure is higher, or lower, in the first condition of each pair."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from trilemma.analysis.claims.claim import (
    Claim,
    Direction,
    Finding,
    Source,
    change_of,
    doubt,
    joined_reasons,
    overall_claim,
)
from trilemma.analysis.claims.decisions import Decision, decide_direction
from trilemma.analysis.claims.evidence import Table, evidence_of_both
from trilemma.analysis.comparison import Comparison
from trilemma.analysis.comparisons import compare
from trilemma.analysis.conditions import Measured
from trilemma.analysis.pairs import Pair, Pairs
from trilemma.measures import in_words, number_words


def direction_claim(
    table: Table,
    name: str,
    statement: str,
    pairs: Pairs,
    measure: str,
    wanted: Direction,
    missing: str,
    *,
    lead: str = "",
    source: Source = "paper",
    secondary: str = "",
    beside: Callable[[Table, Comparison], tuple[str, list[dict[str, Any]]]] | None = None,
    between: Mapping[Pair, Sequence[Pair]] | None = None,
) -> Claim:
    """A claim that a measure is higher, or lower, in the first condition of each pair.

    Where the measure is an AUC, its distance from 1/2 must be so too (:func:`decide_direction`).  ``between`` holds,
    for a pair of extremes, the pairs of levels in between; one that shows the opposite leaves it open.
    """
    measurements = table.measured(measure)
    tried = compare(measurements, pairs[0])
    distances = compare(measurements.away_from(0.5), pairs[0]) if measure.startswith("auc_") else ()
    distance_of = {(c.pair.condition, c.pair.against): c for c in distances}
    others = secondary_findings(table, secondary, pairs[0]) if secondary else {}
    findings = []
    for comparison in tried:
        key = comparison.pair.condition, comparison.pair.against
        notes = [others.get(key, ("", [])), beside(table, comparison) if beside else ("", [])]
        decision = decide_direction(comparison, wanted, distance_of.get(key))
        inner = between.get(comparison.pair, ()) if between else ()
        if decision.verdict != "cannot tell" and (opposite := _opposite(measurements, comparison, inner)):
            decision = Decision("cannot tell", opposite)
        against = "" if comparison.reason or not decision.reason else f"; but {decision.reason}"
        findings.append(
            Finding(
                comparison.pair.where,
                decision.verdict,
                comparison.words
                + doubt(comparison)
                + (_EXTREMES if inner else "")
                + against
                + "".join(words for words, _ in notes),
                tuple(
                    evidence_of_both(measurements, comparison) + [entry for _, entries in notes for entry in entries]
                ),
                (change_of(comparison),),
                decision.reason,
            )
        )
    why_not = joined_reasons(missing, [*pairs[1], *tried.notes])
    return overall_claim(name, source, statement, findings, why_not, lead=lead)


_EXTREMES = "; these are the two extremes of the levels that were trained"


def _opposite(measurements: Measured, extremes: Comparison, between: Sequence[Pair]) -> str:
    """What the levels in between show against the direction of their extremes, in words; "" if nothing.

    Each is tested alone, since it can only take a verdict away.  Where the measure is an AUC, its distance from 1/2
    counts as well.
    """
    away = measurements.away_from(0.5) if extremes.measure.startswith("auc_") else None
    for pair in between:
        for measure in (measurements, away):
            for inner in compare(measure, [pair]) if measure else ():
                if inner.shown and inner.shown != extremes.shown:
                    by = number_words(inner.difference, inner.measure, signed=True)
                    what = in_words(inner.measure) if measure is measurements else "its distance from ½"
                    return f"{pair.change} against {pair.base} changes {what} the other way, by {by}"
    return ""


def secondary_findings(
    table: Table, measure: str, pairs: Sequence[Pair]
) -> dict[tuple[str, str], tuple[str, list[dict[str, Any]]]]:
    """What another measure says of the same pairs, in words and evidence; its own Holm family, and no verdict."""
    measurements = table.measured(measure)
    findings = {}
    for c in compare(
        measurements, [pair for pair in pairs if {pair.condition, pair.against} <= set(measurements.values)]
    ):
        difference, low, high = (number_words(v, measure, signed=True) for v in (c.difference, c.low, c.high))
        interval = "" if math.isnan(c.low) else f" [{low}, {high}]"
        findings[c.pair.condition, c.pair.against] = (
            f"; in {in_words(measure)} {difference}{interval}, {c.verdict}",
            evidence_of_both(measurements, c),
        )
    return findings
