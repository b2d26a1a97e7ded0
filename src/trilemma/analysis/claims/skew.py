"""The paper's claims about bias in the data, and our claim that the rise of the AUC is an artifact."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations

from trilemma.analysis.claims.claim import Claim, Direction, Finding, change_of, joined_reasons, overall_claim
from trilemma.analysis.claims.decisions import decide, shown, shown_beyond, shown_within
from trilemma.analysis.claims.direction import direction_claim
from trilemma.analysis.claims.evidence import ATTACK, STRONGEST, Table, distinct, evidence_of_both
from trilemma.analysis.comparison import FEWEST_SEEDS, Comparison
from trilemma.analysis.comparisons import compare
from trilemma.analysis.pairs import Pair, skew_pairs
from trilemma.measures import UNMATCHED, number_words

MARGIN = 0.02
"""AUCs that differ by less than this count as equal, where that is shown."""


def skew_claims(table: Table) -> tuple[Claim, ...]:
    """The largest skew against the smallest, or none: accuracy, AUC (unmatched and matched) and bias.

    No two skews in between may show the opposite.  Accuracy and bias are compared between skews of one set alone, whose
    test images are the same: a set without skew has others, which are part of any difference from it.
    """
    auc = "the paper says that more bias in the data makes attacks stronger"
    one_set = "this takes two skews of one set, all else equal"
    any_set = "this takes a set with and without skew, or with two skews, all else equal"

    def asked(name: str, statement: str, measure: str, wanted: Direction, missing: str, lead: str) -> Claim:
        between, notes = _widest(table, measure, same_test=missing != any_set)
        strongest = measure.replace(ATTACK, STRONGEST) if measure.startswith(ATTACK) else ""
        pairs = list(between), notes
        return direction_claim(
            table, name, statement, pairs, measure, wanted, missing, lead=lead, secondary=strongest, between=between
        )

    return (
        asked(
            "skew-accuracy",
            "the paper says that more bias in the data lowers accuracy",
            "accuracy",
            "lower",
            one_set,
            "Skew, accuracy",
        ),
        asked(
            "skew-auc-naive",
            f"{auc}; measured against the whole test set, as the paper most likely did",
            ATTACK + UNMATCHED,
            "higher",
            any_set,
            "Skew, unmatched AUC",
        ),
        asked(
            "skew-auc-matched",
            f"{auc}; measured against test examples with the members' own mix of class and group",
            ATTACK,
            "higher",
            any_set,
            "Skew, matched AUC",
        ),
        asked(
            "skew-bias",
            "the paper says that more bias in the data gives more bias in predictions",
            "bias",
            "higher",
            f"{one_set}, with bias measured",
            "Skew, bias",
        ),
    )


def _widest(table: Table, measure: str, *, same_test: bool = False) -> tuple[dict[Pair, list[Pair]], list[str]]:
    """For each setting the largest skew against none, or else the smallest (``same_test``: the smallest alone), each
    with the pairs of skews in between."""
    pairs, notes = table.pairs(measure, skew_pairs)
    conditions = table.measured(measure).conditions
    beside_none = {pair.condition for pair in pairs if pair.question == "skew"}
    by_setting: dict[tuple[str, str], list[Pair]] = {}
    for pair in sorted(pairs, key=lambda pair: conditions[pair.condition].skew or 0.0):
        of_one_set = pair.question == "skew of one set"
        if of_one_set if same_test else not (of_one_set and pair.condition in beside_none):
            by_setting.setdefault((pair.setting, pair.against), []).append(pair)
    return {pairs[-1]: [*pairs[:-1], *_steps(pairs)] for pairs in by_setting.values()}, notes


def _steps(pairs: Sequence[Pair]) -> list[Pair]:
    """Of pairs with one base, in ascending order of skew, each against every smaller one."""
    return [
        replace(
            larger,
            against=smaller.condition,
            base=smaller.change,
            block=tuple(dict.fromkeys((*larger.block, *smaller.block))),
        )
        for smaller, larger in combinations(pairs, 2)
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
