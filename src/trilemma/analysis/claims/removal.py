"""Claims about removing the most exposed training examples: accuracy, bias, and the onion effect."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from trilemma.analysis.claims.claim import Claim, Direction, Finding, change_of, doubt, joined_reasons, overall_claim
from trilemma.analysis.claims.decisions import OPPOSITE, Decision, decide, shown
from trilemma.analysis.claims.evidence import Table, distinct, evidence_of, evidence_of_both, values_by_seed
from trilemma.analysis.comparison import Comparison
from trilemma.analysis.comparisons import compare
from trilemma.analysis.conditions import Measured
from trilemma.analysis.pairs import Pair, removal_pairs
from trilemma.measures import number_words


def removal_claims(table: Table) -> tuple[Claim, ...]:
    """Removing the most exposed examples: accuracy and bias, against removing none and against as many at random.

    Which examples are removed matters only if it beats the control, so a setting confirms the claim where the removal
    moves the measure in the claimed direction against both.  A removal by the loss histogram, which does not measure
    exposure, has claims of its own.
    """
    wanted: tuple[tuple[str, str, Direction], ...] = (
        ("accuracy", "lowers accuracy", "lower"),
        ("bias", "raises bias", "higher"),
    )
    return tuple(
        _removal_claim(table, measure, what, direction, by_exposure=by_exposure)
        for by_exposure in (True, False)
        for measure, what, direction in wanted
    )


def _removal_claim(table: Table, measure: str, what: str, wanted: Direction, *, by_exposure: bool) -> Claim:
    pairs, notes = table.pairs(measure, removal_pairs)
    measurements = table.measured(measure)
    asked_of = [pair for pair in pairs if pair.question in ("removal", "control")]
    tried = compare(measurements, _ranked(asked_of, measurements, by_exposure=by_exposure))
    by_condition: dict[str, dict[str, Comparison]] = {}
    for comparison in tried:
        by_condition.setdefault(comparison.pair.condition, {})[comparison.pair.question] = comparison
    findings = []
    for asked in by_condition.values():
        told = [asked[question] for question in ("control", "removal") if question in asked]
        verdict, reason = _removal_decision(asked.get("removal"), asked.get("control"), wanted)
        words = "; ".join(comparison.words + doubt(comparison) for comparison in told)
        if verdict == "confirmed":
            words += "; so it matters which examples are removed, and not only how many"
        elif reason and reason not in (comparison.reason for comparison in told):
            words += f"; but {reason}"
        evidence = distinct(entry for comparison in told for entry in evidence_of_both(measurements, comparison))
        # What contradicts the claim is the difference from no removal alone.
        first = told if verdict == "confirmed" else told[::-1]
        changes = tuple(change_of(comparison) for comparison in first)
        setting = f"{told[0].pair.setting}, {told[0].pair.change}"
        findings.append(Finding(setting, verdict, words, evidence, changes, reason))
    which = "most exposed examples" if by_exposure else "examples that the loss histogram ranks highest"
    takes = "exposed examples, ranked by RMIA or LiRA" if by_exposure else "examples by the loss histogram"
    return overall_claim(
        f"removal-{measure}{'' if by_exposure else '-histogram'}",
        "paper",
        f"the paper says that removing the {which} {what}"
        + ("" if by_exposure else "; it calls them the most exposed, which this ranking does not measure"),
        findings,
        joined_reasons(f"this takes a study that removes {takes}, with {measure} measured", [*notes, *tried.notes]),
        lead=f"Removal, {measure}",
    )


def _ranked(pairs: Sequence[Pair], measurements: Measured, *, by_exposure: bool) -> list[Pair]:
    """The pairs whose removed examples were ranked by exposure, or by the loss histogram."""
    return [pair for pair in pairs if (measurements.conditions[pair.condition].rank != "histogram") is by_exposure]


def _removal_decision(removal: Comparison | None, control: Comparison | None, wanted: Direction) -> Decision:
    if control is None:
        return Decision("cannot tell", "there is no random control, so the cause may be the smaller training set")
    if removal is None:
        return Decision("cannot tell", "there is no training with all examples to compare with")
    reason = removal.reason or control.reason
    if {removal.shown, control.shown} == {"higher", "lower"}:
        reason = "the two disagree"
    elif shown(removal, wanted):
        reason = f"the smaller training set may explain it: against as many at random, {control.reason}"
    return decide(
        shown(removal, wanted) and shown(control, wanted),
        shown(removal, OPPOSITE[wanted]) and not shown(control, wanted),
        reason,
    )


def onion_claim(table: Table) -> Claim:
    """Whether a new layer becomes exposed once the most exposed examples are gone (the onion effect).

    That the survivors' exposure rises proves nothing: they were chosen for having little in the first model, and would
    come out higher in any second one (regression to the mean), while the survivors of the random arm were not chosen.

    Only removals that were ranked by exposure count.  By what is measured:

    - ``exposed_survivors_retrained`` (optional: the same survivors, same cut, in a training of the same recipe with
      nothing removed and another seed) is free of that choice: confirmed if ``exposed_survivors`` is higher than it,
      and by more than in the random arm; contradicted if lower, and by more than there.  What both arms do alike is the
      effect of a smaller training set.
    - Without it: confirmed if the exposed arm's survivors are, in the new models, more exposed than the random arm's,
      among whom most of the exposed ones still are, and their exposure rose more; contradicted if it rose less than
      the random arm's did, though the choice works the other way.  Between the two it cannot be told.
    """
    now, before = table.measured("exposed_survivors"), table.measured("exposed_survivors_before")
    fresh = table.measured("exposed_survivors_retrained")
    rise = now.minus(before, "exposed_survivors minus exposed_survivors_before")
    pairs, notes = table.pairs("exposed_survivors", removal_pairs)
    pairs = [p for p in pairs if p.question == "control" and {p.condition, p.against} <= set(rise.values)]
    pairs = _ranked(pairs, now, by_exposure=True)
    refreshed, fresh_pairs = _beside(now, fresh, [pair for pair in pairs if pair.condition in fresh.values])
    retrained = {comparison.pair.condition: comparison for comparison in compare(refreshed, fresh_pairs)}
    levels = {comparison.pair.condition: comparison for comparison in compare(now, pairs)}
    rises = {comparison.pair.condition: comparison for comparison in compare(rise, pairs)}
    excess = now.minus(fresh, "exposed_survivors minus exposed_survivors_retrained")
    in_both = [pair for pair in pairs if {pair.condition, pair.against} <= set(excess.values)]
    excesses = {comparison.pair.condition: comparison for comparison in compare(excess, in_both)}
    unremoved = {condition: values_by_seed(fresh, condition) for condition in fresh.values}
    findings = []
    for pair in pairs:
        if pair.condition not in rises:
            continue
        again = retrained.get(pair.condition)
        if again is not None:
            (verdict, reason), words = _retrained_decision(again, excesses.get(pair.condition))
        else:
            (verdict, reason), words = _onion_decision(rises[pair.condition], levels[pair.condition])
        arms = "; ".join(
            f"{name}: {np.mean(values_by_seed(before, condition)):.3f} of the survivors were exposed before, "
            f"{np.mean(values_by_seed(now, condition)):.3f} are after"
            + (f", {np.mean(unremoved[condition]):.3f} with none removed" if condition in unremoved else "")
            for name, condition in ((pair.change, pair.condition), (pair.base, pair.against))
        )
        evidence = [
            evidence_of(measurements, condition, role)
            for role, condition in ((pair.change, pair.condition), (pair.base, pair.against))
            for measurements in (now, before, fresh)
            if condition in measurements.values
        ]
        setting = f"{pair.setting}, {pair.change}"
        findings.append(Finding(setting, verdict, f"{arms}; {words}", tuple(evidence), reason=reason))
    return overall_claim(
        "onion",
        "Carlini et al. 2022",
        "Carlini et al. say that once the most exposed examples are removed, others become exposed (the onion effect)",
        findings,
        joined_reasons(
            "this takes a study that removes exposed examples, ranked by RMIA or LiRA, and as many at random", notes
        ),
        lead="Onion effect",
        by_verdict=True,
    )


def _beside(now: Measured, fresh: Measured, pairs: Sequence[Pair]) -> tuple[Measured, list[Pair]]:
    """Two measures of the same conditions as one measure of two conditions each, and the pairs of these."""
    mark = " retrained"
    chosen = {pair.condition for pair in pairs}
    first, second = (
        now.where(lambda condition: condition.id in chosen),
        fresh.where(lambda condition: condition.id in chosen),
    )
    both = Measured(
        now.measure,
        {
            **first.conditions,
            **{name + mark: replace(condition, id=name + mark) for name, condition in second.conditions.items()},
        },
        {**first.values, **{condition + mark: by for condition, by in second.values.items()}},
        {**first.trials, **{condition + mark: by for condition, by in second.trials.items()}},
    )
    base = "retraining on all examples"
    return both, [
        replace(pair, against=pair.condition + mark, block=(pair.condition, pair.condition + mark), base=base)
        for pair in pairs
    ]


def _retrained_decision(retrained: Comparison, excess: Comparison | None) -> tuple[Decision, str]:
    """What is decided where the survivors were also scored in a training without removal, and the words on it.

    ``excess`` is that difference in the exposed arm minus the same in the random arm.
    """
    words = f"{retrained.words}{doubt(retrained)}"
    if excess is None:
        reason = "the random arm lacks a training without removal, so the cause may be the smaller training set"
        return Decision("cannot tell", reason), f"{words}; but {reason}"
    words += f"; {_more_than_at_random(excess)}"
    reason = retrained.reason
    if retrained.shown:
        reason = "the smaller training set may explain it: the change is not shown to be larger than at random"
    decision = decide(
        shown(retrained, "higher") and shown(excess, "higher"),
        shown(retrained, "lower") and shown(excess, "lower"),
        reason,
    )
    return decision, f"{words}; but {reason}" if decision.reason and retrained.shown else words


def _onion_decision(rise: Comparison, level: Comparison) -> tuple[Decision, str]:
    """What is decided without such a training, and the words on the comparison that decides it."""
    reason = "survivors of the exposed arm were chosen for little exposure and rise in any second model"
    decision = decide(shown(level, "higher") and shown(rise, "higher"), shown(rise, "lower"), reason)
    if decision.verdict == "contradicted":
        return decision, f"the rise is smaller than at random, though survivors were chosen to rise: {rise.words}"
    if decision.verdict == "confirmed":
        return decision, f"{level.words}; {_more_than_at_random(rise)}"
    return decision, f"{reason}; {level.words}{doubt(level)}"


def _more_than_at_random(change: Comparison) -> str:
    """By how much a change in the exposed arm exceeds the random arm's, in words."""
    by, low, high = (
        number_words(value, "exposed_survivors", signed=True) for value in (change.difference, change.low, change.high)
    )
    return f"the change minus the same change at random is {by}" + (
        "" if math.isnan(change.low) else f" [{low}, {high}]"
    )
