"""What the paper claims of bias in the data, and our claim that the climb of the AUC is an artefact."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from trilemma.analysis.claims.claim import Claim, Finding, Verdict, joined_reasons, overall_claim
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
    """The largest skew against the least, or none: accuracy, AUC (naive and matched) and bias.

    Where a set was trained at different numbers of skews, the settings with most of them count.
    Accuracy is compared between skews of one set, whose test pictures are the same; against the set without skew only
    where there is no second skew, and then with a word of warning.
    """
    missing = "it takes a set without skew and with, or with two skews, alike in all else"
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
        beside=_other_test_set,
    )
    aucs = []
    for suffix, name, how in (
        (UNMATCHED, "skew-auc-naive", "measured against the whole test set, as the paper most likely did"),
        ("", "skew-auc-matched", "measured against test examples with the members' own mix of class and group"),
    ):
        found, notes = table.pairs(ATTACK + suffix, skew_pairs)
        extremes = _extreme_skews(found, table.measured(ATTACK + suffix).conditions)
        aucs.append(
            direction_claim(
                table,
                name,
                f"the paper says that more bias in the data makes attacks stronger; {how}",
                ([pair for none, one_set in extremes if (pair := none or one_set)], notes),
                ATTACK + suffix,
                "higher",
                missing,
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
        "it takes two skews of one set, alike in all else, with bias measured",
    )
    return accuracy, *aucs, bias


def _extreme_skews(pairs: Iterable[Pair], conditions: Mapping[str, Condition]) -> list[tuple[Pair | None, Pair | None]]:
    """For each setting the largest skew against none and against the least of the same set, where these are there."""
    found: dict[tuple[Any, ...], dict[str, Pair]] = {}
    most: dict[str, int] = {}
    for pair in pairs:
        condition = conditions[pair.condition]
        pictures = same_images(condition.data)
        most[pictures] = max(most.get(pictures, 0), len(pair.block))
        asked = found.setdefault((pictures, pair.setting, condition.examples, condition.model), {})
        if pair.question not in asked or (condition.skew or 0) > (conditions[asked[pair.question].condition].skew or 0):
            asked[pair.question] = pair
    return [
        (asked.get("skew"), asked.get("skew of one set"))
        for (pictures, *_), asked in found.items()
        if max(len(pair.block) for pair in asked.values()) == most[pictures]
    ]


def _other_test_set(table: Table, comparison: Comparison) -> tuple[str, list[dict[str, Any]]]:
    if comparison.pair.question != "skew":
        return "", []
    return "; but the two are tested on different pictures (gray ones only with skew), which is in the difference", []


def artefact_claim(table: Table) -> Claim:
    """Ours: the naive AUC climbs with skew and the matched one does not, so that the climb is no memory.

    For each setting (every budget its own) the largest skew against none, or the least.  Confirmed where the naive AUC
    is higher and the matched one either within +- ``MARGIN`` (two one-sided tests, at 5 % over all settings together)
    or not higher, and its difference significantly smaller than the naive one; contradicted where the naive AUC is not
    higher but lower, or the matched one is higher too and not shown to be within the margin.
    """
    naive, matched = table.measured(ATTACK + UNMATCHED), table.measured(ATTACK)
    gap = naive.minus(matched, f"{ATTACK}{UNMATCHED} minus {ATTACK}")
    found, notes = table.pairs(ATTACK + UNMATCHED, skew_pairs)
    extremes = _extreme_skews(found, naive.conditions)
    pairs = [p for none, one_set in extremes if (p := none or one_set) and {p.condition, p.against} <= set(gap.values)]
    sides = [{(c.pair.condition, c.pair.against): c for c in compare(given, pairs)} for given in (naive, matched, gap)]
    findings = []
    for key in (key for key in sides[0] if all(key in side for side in sides)):
        climb, flat, less = (side[key] for side in sides)
        verdict, words = _artefact_verdict(climb, flat, less, 0.05 / len(pairs))
        evidence = distinct([*evidence_of_both(naive, climb), *evidence_of_both(matched, flat)])
        findings.append(Finding(climb.pair.setting, verdict, words, evidence))
    return overall_claim(
        "naive-artefact",
        "ours",
        "we say that the AUC against the whole test set climbs with skew and the one against matched test examples "
        "does not: the climb is the test set's, not memory",
        findings,
        joined_reasons("it takes a set without skew and with, or with two skews, alike in all else", notes),
    )


def _artefact_verdict(climb: Comparison, flat: Comparison, less: Comparison, alpha: float) -> tuple[Verdict, str]:
    def signed(value: float) -> str:
        return number_words(value, ATTACK, signed=True)

    def interval(ends: tuple[float, float]) -> str:
        return "" if math.isnan(ends[0]) else f" [{signed(ends[0])}, {signed(ends[1])}]"

    pair = climb.pair
    where = f"{pair.change} against {pair.base} ({pair.setting})"
    if climb.n < 2:
        changes = f"the naive AUC by {signed(climb.difference)}, the matched one by {signed(flat.difference)}"
        return "cannot tell", f"one seed: {where} changes {changes}"
    naive, matched = (f"{signed(c.difference)}{interval((c.low, c.high))} ({c.verdict})" for c in (climb, flat))
    words = f"{where} changes the naive AUC by {naive} and the matched one by {matched}, paired over {climb.n} seeds"
    within = flat.no_more_than(MARGIN, alpha)
    shown = interval(flat.margin_interval(alpha)) or " (noise not known)"
    margin = f"at most {MARGIN} either way ({100 * (1 - 2 * alpha):.3g} % interval{shown})"
    if climb.verdict == "lower":
        return "contradicted", f"{words}; the naive AUC falls"
    if flat.verdict == "higher" and not within:
        return "contradicted", f"{words}; the matched AUC climbs too, and is not shown to do so by {margin}"
    if climb.verdict != "higher":
        return "cannot tell", f"{words}; the naive AUC does not climb beyond noise"
    if within:
        return "confirmed", f"{words}; the matched one is shown to change by {margin}"
    if less.verdict == "higher":
        smaller = f"smaller than the naive change by {number_words(less.difference, ATTACK)}, beyond noise"
        return "confirmed", f"{words}; the matched change is {smaller}, though not shown to be {margin}"
    return "cannot tell", f"{words}; whether the matched one changes by as much is lost in noise"
