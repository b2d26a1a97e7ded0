"""The paper's claims about bias in the data, and our claim that the rise of the AUC is an artifact."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from trilemma.analysis.claims.claim import Claim, Finding, change_of, joined_reasons, overall_claim
from trilemma.analysis.claims.decisions import decide, shown, shown_beyond, shown_within
from trilemma.analysis.claims.direction import direction_claim
from trilemma.analysis.claims.evidence import ATTACK, STRONGEST, Table, distinct, evidence_of_both
from trilemma.analysis.comparison import FEWEST_SEEDS, Comparison
from trilemma.analysis.comparisons import compare
from trilemma.analysis.conditions import Condition
from trilemma.analysis.pairs import Pair, Pairs, skew_pairs
from trilemma.data.named import same_images
from trilemma.measures import UNMATCHED, number_words

MARGIN = 0.02
"""AUCs that differ by less than this count as equal, where that is shown."""


def skew_claims(table: Table) -> tuple[Claim, ...]:
    """The largest skew against the smallest, or none: accuracy, AUC (unmatched and matched) and bias.

    Where settings of one set have different numbers of skews, those with the most count.  Accuracy and bias are
    compared between skews of one set alone, whose test images are the same: a set without skew has others, which are
    part of any difference from it.
    """
    accuracy = direction_claim(
        table,
        "skew-accuracy",
        "the paper says that more bias in the data lowers accuracy",
        _widest(table, "accuracy", same_test=True),
        "accuracy",
        "lower",
        "this takes two skews of one set, all else equal",
        lead="Skew, accuracy",
    )
    aucs = [
        direction_claim(
            table,
            name,
            f"the paper says that more bias in the data makes attacks stronger; {how}",
            _widest(table, ATTACK + suffix),
            ATTACK + suffix,
            "higher",
            "this takes a set with and without skew, or with two skews, all else equal",
            lead=f"Skew, {'unmatched' if suffix else 'matched'} AUC",
            secondary=STRONGEST + suffix,
        )
        for suffix, name, how in (
            (UNMATCHED, "skew-auc-naive", "measured against the whole test set, as the paper most likely did"),
            ("", "skew-auc-matched", "measured against test examples with the members' own mix of class and group"),
        )
    ]
    bias = direction_claim(
        table,
        "skew-bias",
        "the paper says that more bias in the data gives more bias in predictions",
        _widest(table, "bias", same_test=True),
        "bias",
        "higher",
        "this takes two skews of one set, all else equal, with bias measured",
        lead="Skew, bias",
    )
    return accuracy, *aucs, bias


def _widest(table: Table, measure: str, *, same_test: bool = False) -> Pairs:
    """For each setting the largest skew against none, or else the smallest; ``same_test``: the smallest alone."""
    pairs, notes = table.pairs(measure, skew_pairs)
    extremes = _extreme_skews(pairs, table.measured(measure).conditions)
    return [pair for none, one_set in extremes if (pair := one_set if same_test else none or one_set)], notes


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


def artifact_claim(table: Table) -> Claim:
    """Ours: the unmatched AUC rises with skew and the matched one does not.

    For each setting (every budget its own) the largest skew against none, or the least.  Confirmed where both halves
    are shown: the unmatched AUC is higher by more than ``MARGIN``, and the change of the matched one lies within +-
    ``MARGIN`` (two one-sided tests, at 5 % over all settings together).  That the matched change is smaller, or lost in
    noise, does not show that there is none.  Contradicted where the unmatched AUC is lower, or the matched one is
    higher by more than ``MARGIN`` too.
    """
    unmatched, matched = table.measured(ATTACK + UNMATCHED), table.measured(ATTACK)
    gap = unmatched.minus(matched, f"{ATTACK}{UNMATCHED} minus {ATTACK}")
    auc_pairs, notes = _widest(table, ATTACK + UNMATCHED)
    pairs = [pair for pair in auc_pairs if {pair.condition, pair.against} <= set(gap.values)]
    sides = [
        {(c.pair.condition, c.pair.against): c for c in compare(measurements, pairs)}
        for measurements in (unmatched, matched, gap)
    ]
    findings = []
    for key in (key for key in sides[0] if all(key in side for side in sides)):
        climb, flat, less = (side[key] for side in sides)
        alpha = 0.05 / len(pairs)
        verdict, reason = decide(
            shown_beyond(climb, MARGIN) and shown_within(flat, MARGIN, alpha),
            shown(climb, "lower") or shown_beyond(flat, MARGIN),
            _artifact_doubt(climb, flat, less, alpha),
        )
        words = _artifact_words(climb, flat, alpha) + (f"; but {reason}" if reason else "")
        evidence = distinct([*evidence_of_both(unmatched, climb), *evidence_of_both(matched, flat)])
        changes = (change_of(climb), change_of(flat))
        findings.append(Finding(climb.pair.setting, verdict, words, evidence, changes, reason))
    return overall_claim(
        "naive-artefact",
        "ours",
        f"we say that with skew the AUC against the whole test set climbs by more than {MARGIN}, and the one against "
        f"matched test examples changes by less than {MARGIN}",
        findings,
        joined_reasons("this takes a set with and without skew, or with two skews, all else equal", notes),
    )


def _artifact_words(climb: Comparison, flat: Comparison, alpha: float) -> str:
    def change(difference: float, ends: tuple[float, float]) -> str:
        first, *interval = (number_words(value, ATTACK, signed=True) for value in (difference, *ends))
        return first if math.isnan(ends[0]) else f"{first} [{', '.join(interval)}]"

    pair = climb.pair
    unmatched, matched = (change(c.difference, (c.low, c.high)) for c in (climb, flat))
    over = "in one seed" if climb.n < 2 else f"paired over {climb.n} seeds"
    words = (
        f"{pair.change} against {pair.base} ({pair.where}) changes the unmatched AUC by {unmatched} and the matched "
        f"one by {matched}, {over}"
    )
    if shown(climb, "lower"):
        return f"{words}; the unmatched AUC falls"
    if shown_beyond(flat, MARGIN):
        return f"{words}; the matched AUC climbs too"
    if shown_within(flat, MARGIN, alpha):
        level = f"{100 * (1 - 2 * alpha):.3g} % interval"
        ends = change(flat.difference, flat.margin_interval(alpha))
        return f"{words}; the matched one is shown to change by at most {MARGIN} either way ({level}: {ends})"
    return words


def _artifact_doubt(climb: Comparison, flat: Comparison, less: Comparison, alpha: float) -> str:
    """Why the two halves settle nothing."""
    if climb.n < FEWEST_SEEDS:
        return climb.reason
    if not shown_beyond(climb, MARGIN):
        return f"the unmatched AUC is not shown to climb by more than {MARGIN}"
    reason = f"the matched one is not shown to change by at most {MARGIN} either way"
    if shown(less, "higher"):
        smaller = number_words(less.difference, ATTACK)
        reason += f", only to change by {smaller} less than the unmatched one"
    return reason
