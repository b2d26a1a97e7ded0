"""The paper's claims about bias in the data, and our claim that the rise of the AUC is an artifact."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from trilemma.analysis.claims.claim import Claim, Finding, Verdict, change_of, doubt, joined_reasons, overall_claim
from trilemma.analysis.claims.direction import direction_claim
from trilemma.analysis.claims.evidence import ATTACK, STRONGEST, Table, distinct, evidence_of_both
from trilemma.analysis.comparison import Comparison
from trilemma.analysis.comparisons import compare
from trilemma.analysis.conditions import Condition
from trilemma.analysis.pairs import Pair, skew_pairs
from trilemma.data.named import same_images
from trilemma.measures import UNMATCHED, number_words

MARGIN = 0.02
"""AUCs that differ by less than this count as equal, where that is shown."""


def skew_claims(table: Table) -> tuple[Claim, ...]:
    """The largest skew against the smallest, or none: accuracy, AUC (unmatched and matched) and bias.

    Where settings of one set have different numbers of skews, those with the most count.  Accuracy is compared between
    skews of one set, whose test images are the same; against the set without skew only where there is no second skew,
    and then with a warning.
    """
    missing = "this takes a set with and without skew, or with two skews, all else equal"
    accuracy_pairs, notes = table.pairs("accuracy", skew_pairs)
    extremes = _extreme_skews(accuracy_pairs, table.measured("accuracy").conditions)
    accuracy = direction_claim(
        table,
        "skew-accuracy",
        "the paper says that more bias in the data lowers accuracy",
        ([pair for none, one_set in extremes if (pair := one_set or none)], notes),
        "accuracy",
        "lower",
        missing,
        lead="Skew, accuracy",
        beside=_other_test_set,
    )
    aucs = []
    for suffix, name, how in (
        (UNMATCHED, "skew-auc-naive", "measured against the whole test set, as the paper most likely did"),
        ("", "skew-auc-matched", "measured against test examples with the members' own mix of class and group"),
    ):
        auc_pairs, notes = table.pairs(ATTACK + suffix, skew_pairs)
        extremes = _extreme_skews(auc_pairs, table.measured(ATTACK + suffix).conditions)
        aucs.append(
            direction_claim(
                table,
                name,
                f"the paper says that more bias in the data makes attacks stronger; {how}",
                ([pair for none, one_set in extremes if (pair := none or one_set)], notes),
                ATTACK + suffix,
                "higher",
                missing,
                lead=f"Skew, {'unmatched' if suffix else 'matched'} AUC",
                secondary=STRONGEST + suffix,
            )
        )
    bias_pairs, notes = table.pairs("bias", skew_pairs)
    extremes = _extreme_skews(bias_pairs, table.measured("bias").conditions)
    bias = direction_claim(
        table,
        "skew-bias",
        "the paper says that more bias in the data gives more bias in predictions",
        ([pair for none, one_set in extremes if (pair := one_set or none)], notes),
        "bias",
        "higher",
        "this takes two skews of one set, all else equal, with bias measured",
        lead="Skew, bias",
    )
    return accuracy, *aucs, bias


def _extreme_skews(pairs: Iterable[Pair], conditions: Mapping[str, Condition]) -> list[tuple[Pair | None, Pair | None]]:
    """The pairs of each setting: the largest skew against none and, where measured, the smallest of the same set."""
    by_setting: dict[tuple[Any, ...], dict[str, Pair]] = {}
    most: dict[str, int] = {}
    for pair in pairs:
        condition = conditions[pair.condition]
        images = same_images(condition.data)
        most[images] = max(most.get(images, 0), len(pair.block))
        by_question = by_setting.setdefault((images, pair.setting, condition.examples, condition.model), {})
        if pair.question not in by_question or (condition.skew or 0) > (
            conditions[by_question[pair.question].condition].skew or 0
        ):
            by_question[pair.question] = pair
    return [
        (by_question.get("skew"), by_question.get("skew of one set"))
        for (images, *_), by_question in by_setting.items()
        if max(len(pair.block) for pair in by_question.values()) == most[images]
    ]


def _other_test_set(table: Table, comparison: Comparison) -> tuple[str, list[dict[str, Any]]]:
    if comparison.pair.question != "skew":
        return "", []
    return (
        "; but the two are tested on different images (gray ones only with skew), which is part of the difference",
        [],
    )


def artifact_claim(table: Table) -> Claim:
    """Ours: the unmatched AUC rises with skew and the matched one does not, so that the rise is not memorization.

    For each setting (every budget its own) the largest skew against none, or the least.  Confirmed where both halves
    are shown: the unmatched AUC is higher, and the change of the matched one lies within +- ``MARGIN`` (two one-sided
    tests, at 5 % over all settings together).  That the matched change is smaller, or lost in noise, does not show that
    there is none.  Contradicted where the unmatched AUC is lower, or the matched one is higher too and not shown to be
    within the margin.
    """
    unmatched, matched = table.measured(ATTACK + UNMATCHED), table.measured(ATTACK)
    gap = unmatched.minus(matched, f"{ATTACK}{UNMATCHED} minus {ATTACK}")
    auc_pairs, notes = table.pairs(ATTACK + UNMATCHED, skew_pairs)
    extremes = _extreme_skews(auc_pairs, unmatched.conditions)
    pairs = [p for none, one_set in extremes if (p := none or one_set) and {p.condition, p.against} <= set(gap.values)]
    sides = [
        {(c.pair.condition, c.pair.against): c for c in compare(measurements, pairs)}
        for measurements in (unmatched, matched, gap)
    ]
    findings = []
    for key in (key for key in sides[0] if all(key in side for side in sides)):
        climb, flat, less = (side[key] for side in sides)
        verdict, words = _artifact_verdict(climb, flat, less, 0.05 / len(pairs))
        evidence = distinct([*evidence_of_both(unmatched, climb), *evidence_of_both(matched, flat)])
        changes = (change_of(climb), change_of(flat))
        findings.append(Finding(climb.pair.setting, verdict, words, evidence, changes))
    return overall_claim(
        "naive-artefact",
        "ours",
        "we say that the AUC against the whole test set climbs with skew and the one against matched test examples "
        "does not: the climb is the test set's, not memory",
        findings,
        joined_reasons("this takes a set with and without skew, or with two skews, all else equal", notes),
    )


def _artifact_verdict(climb: Comparison, flat: Comparison, less: Comparison, alpha: float) -> tuple[Verdict, str]:
    def signed(value: float) -> str:
        return number_words(value, ATTACK, signed=True)

    def interval(ends: tuple[float, float]) -> str:
        return "" if math.isnan(ends[0]) else f" [{signed(ends[0])}, {signed(ends[1])}]"

    pair = climb.pair
    where = f"{pair.change} against {pair.base} ({pair.where})"
    if climb.n < 2:
        changes = f"the unmatched AUC by {signed(climb.difference)}, the matched one by {signed(flat.difference)}"
        return "cannot tell", f"one seed: {where} changes {changes}"
    unmatched, matched = (f"{signed(c.difference)}{interval((c.low, c.high))} ({c.verdict})" for c in (climb, flat))
    changes = f"the unmatched AUC by {unmatched} and the matched one by {matched}"
    words = f"{where} changes {changes}, paired over {climb.n} seeds"
    within = flat.no_more_than(MARGIN, alpha)
    shown = interval(flat.margin_interval(alpha)) or " (noise not known)"
    margin = f"at most {MARGIN} either way ({100 * (1 - 2 * alpha):.3g} % interval{shown})"
    if climb.fragile or (flat.verdict == "higher" and not within and flat.fragile):
        return "cannot tell", f"{words}{doubt(climb) or doubt(flat)}"
    if climb.verdict == "lower":
        return "contradicted", f"{words}; the unmatched AUC falls"
    if flat.verdict == "higher" and not within:
        return "contradicted", f"{words}; the matched AUC climbs too, and is not shown to do so by {margin}"
    if climb.verdict != "higher":
        return "cannot tell", f"{words}; the unmatched AUC does not climb beyond noise"
    if within:
        return "confirmed", f"{words}; the matched one is shown to change by {margin}"
    if less.verdict == "higher" and not less.fragile:
        smaller = f"smaller than the unmatched change by {number_words(less.difference, ATTACK)}, beyond noise"
        return "cannot tell", f"{words}; the matched change is {smaller}, but it is not shown to be {margin}"
    return "cannot tell", f"{words}; whether the matched one changes by as much is lost in noise"
