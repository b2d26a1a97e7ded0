"""The paper's claims about its techniques together: accuracy and bias."""

from __future__ import annotations

from typing import Any

import numpy as np

from trilemma.analysis.claims.claim import Claim
from trilemma.analysis.claims.direction import direction_claim
from trilemma.analysis.claims.evidence import Table, evidence_of, values_by_seed
from trilemma.analysis.comparison import Comparison
from trilemma.analysis.pairs import Pairs, technique_pairs
from trilemma.hints import listed
from trilemma.measures import measure_of
from trilemma.techniques import PAPER_TECHNIQUES


def technique_claims(table: Table) -> tuple[Claim, ...]:
    """All of the paper's techniques (that apply to the network) against BL: accuracy with a budget, bias also without.

    A mix that lacks one of them says nothing of what they do together.
    """

    def pairs(measure: str, private: bool) -> Pairs:
        all_pairs, notes = table.pairs(measure, technique_pairs)
        conditions = table.measured(measure).conditions
        wanted = [p for p in all_pairs if p.question == "all" and conditions[p.condition].private is private]
        return [p for p in wanted if conditions[p.condition].removed == 0], notes

    together = f"all {len(PAPER_TECHNIQUES)} of the paper's techniques (or all that apply to the network)"
    missing = f"this takes BL and {together} {{}}, in one study, with {{}} measured"
    accuracy = direction_claim(
        table,
        "techniques-accuracy",
        "the paper says that its techniques together raise the accuracy of private training",
        pairs("accuracy", True),
        "accuracy",
        "higher",
        missing.format("at one budget", "accuracy"),
        lead="Techniques",
        beside=_not_applicable,
    )
    bias = [
        direction_claim(
            table,
            f"techniques-bias-{'private' if private else 'ordinary'}",
            f"the paper says that its techniques together amplify bias ({'with' if private else 'without'} a budget)",
            pairs("bias", private),
            "bias",
            "higher",
            missing.format("at one budget" if private else "without a budget", "bias (data with groups)"),
            lead="Techniques, bias",
            beside=_beside_bias,
        )
        for private in (True, False)
    ]
    return accuracy, *bias


Beside = tuple[str, list[dict[str, Any]]]


def _beside_bias(table: Table, comparison: Comparison) -> Beside:
    """All notes on a difference in bias."""
    (first, _), (second, evidence) = _not_applicable(table, comparison), _unused_classes(table, comparison)
    return first + second, evidence


def _not_applicable(table: Table, comparison: Comparison) -> Beside:
    """A note on the techniques that are not among all, since they do not apply to the network."""
    condition = table.measured(comparison.measure).conditions[comparison.pair.condition]
    lacking = [code.upper() for code in PAPER_TECHNIQUES if code not in condition.codes]
    if not lacking:
        return "", []
    return f"; {listed(lacking, most=None)} {'does' if len(lacking) == 1 else 'do'} not apply to {condition.model}", []


def _unused_classes(table: Table, comparison: Comparison) -> Beside:
    """A note for models that never predict some class, since such a class counts as wholly biased."""
    measurements = table.measured("unused_classes")
    conditions = (comparison.pair.condition, comparison.pair.against)
    if not any(any(values_by_seed(measurements, condition)) for condition in conditions) or not set(conditions) <= set(
        measurements.values
    ):
        return "", []
    classes = measure_of("unused_classes").title
    counts = [
        f"{measurements.conditions[condition].technique_words} {np.mean(values_by_seed(measurements, condition)):.3g}"
        for condition in conditions
    ]
    note = f"; {classes}, each of which counts as wholly biased: {', '.join(counts)}"
    return note, [evidence_of(measurements, condition, classes) for condition in conditions]
