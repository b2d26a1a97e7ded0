"""Claims that a measure is higher, or lower, in the first condition of each pair."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
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
    verdict_of,
)
from trilemma.analysis.claims.evidence import Table, evidence_of_both
from trilemma.analysis.comparison import Comparison
from trilemma.analysis.comparisons import compare
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
) -> Claim:
    """A claim that a measure is higher, or lower, in the first condition of each pair."""
    measurements = table.measured(measure)
    tried = compare(measurements, pairs[0])
    others = secondary_findings(table, secondary, pairs[0]) if secondary else {}
    findings = []
    for comparison in tried:
        key = comparison.pair.condition, comparison.pair.against
        notes = [others.get(key, ("", [])), beside(table, comparison) if beside else ("", [])]
        findings.append(
            Finding(
                comparison.pair.setting,
                verdict_of(comparison, wanted),
                comparison.words + doubt(comparison) + "".join(words for words, _ in notes),
                tuple(
                    evidence_of_both(measurements, comparison) + [entry for _, entries in notes for entry in entries]
                ),
                (change_of(comparison),),
            )
        )
    why_not = joined_reasons(missing, [*pairs[1], *tried.notes])
    return overall_claim(name, source, statement, findings, why_not, lead=lead)


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
