"""Claims about removing the most exposed training examples: accuracy, bias, and the onion effect."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from trilemma.analysis.claims.claim import (
    Claim,
    Direction,
    Finding,
    Verdict,
    change_of,
    doubt,
    joined_reasons,
    overall_claim,
    verdict_of,
)
from trilemma.analysis.claims.evidence import Table, distinct, evidence_of, evidence_of_both, values_by_seed
from trilemma.analysis.comparison import Comparison
from trilemma.analysis.comparisons import compare
from trilemma.analysis.conditions import Measured
from trilemma.analysis.pairs import Pair, removal_pairs


def removal_claims(table: Table) -> tuple[Claim, ...]:
    """Removing the most exposed examples: accuracy and bias, against removing none and against as many at random.

    It is a finding about exposure only if it beats the control; so a setting confirms the claim where the removal moves
    the measure in the claimed direction against both.
    """
    wanted: tuple[tuple[str, str, Direction], ...] = (
        ("accuracy", "lowers accuracy", "lower"),
        ("bias", "raises bias", "higher"),
    )
    return tuple(_removal_claim(table, measure, what, direction) for measure, what, direction in wanted)


def _removal_claim(table: Table, measure: str, what: str, wanted: Direction) -> Claim:
    pairs, notes = table.pairs(measure, removal_pairs)
    measurements = table.measured(measure)
    tried = compare(measurements, [pair for pair in pairs if pair.question in ("control", "removal")])
    by_condition: dict[str, dict[str, Comparison]] = {}
    for comparison in tried:
        by_condition.setdefault(comparison.pair.condition, {})[comparison.pair.question] = comparison
    findings = []
    for asked in by_condition.values():
        first = next(iter(asked.values()))
        verdict, words = _removal_verdict(asked.get("removal"), asked.get("control"), wanted)
        evidence = distinct(
            entry for comparison in asked.values() for entry in evidence_of_both(measurements, comparison)
        )
        changes = tuple(change_of(comparison) for comparison in asked.values())
        findings.append(Finding(f"{first.pair.setting}, {first.pair.change}", verdict, words, evidence, changes))
    return overall_claim(
        f"removal-{measure}",
        "paper",
        f"the paper says that removing the most exposed examples {what}",
        findings,
        joined_reasons(
            f"this takes a study that removes exposed examples, with {measure} measured", [*notes, *tried.notes]
        ),
        lead=f"Removal, {measure}",
    )


def _removal_verdict(removal: Comparison | None, control: Comparison | None, wanted: Direction) -> tuple[Verdict, str]:
    words = "; ".join(c.words for c in (removal, control) if c is not None)
    against = "lower" if wanted == "higher" else "higher"
    if control is None:
        return "cannot tell", f"{words}; there is no random control, so the cause may be the smaller training set"
    if removal is None:
        return "cannot tell", f"{words}; there is no training with all examples to compare with"
    if "one seed" in (removal.verdict, control.verdict):
        return "cannot tell", words
    if against in (removal.verdict, control.verdict):
        if wanted in (removal.verdict, control.verdict):
            return "cannot tell", f"{words}; the two disagree"
        if all(c.fragile for c in (removal, control) if c.verdict == against):
            return "cannot tell", f"{words}{doubt(removal) or doubt(control)}"
        return "contradicted", words
    if removal.verdict == control.verdict == wanted and (removal.fragile or control.fragile):
        return "cannot tell", f"{words}{doubt(removal) or doubt(control)}"
    if removal.verdict == control.verdict == wanted:
        return "confirmed", f"{words}; so the cause is exposure, not the smaller training set"
    if removal.verdict == wanted:
        return "cannot tell", f"{words}; so far the cause may be the smaller training set, not exposure"
    return "cannot tell", words


def onion_claim(table: Table) -> Claim:
    """Whether a new layer becomes exposed once the most exposed examples are gone (the onion effect).

    That the survivors' exposure rises proves nothing: they were chosen for having little in the first model, and would
    come out higher in any second one (regression to the mean), while the survivors of the random arm were not chosen.
    So, by what is measured:

    - ``exposed_survivors_retrained`` (optional: the same survivors, same cut, in a training of the same recipe with
      nothing removed and another seed) is free of that choice: confirmed if ``exposed_survivors`` is higher than it,
      contradicted if lower.
    - Without it: confirmed if the exposed arm's survivors are, in the new models, more exposed than the random arm's,
      among whom most of the exposed ones still are; contradicted if their exposure rose less than the random arm's did,
      though the choice works the other way.  Between the two it cannot be told.
    """
    now, before = table.measured("exposed_survivors"), table.measured("exposed_survivors_before")
    fresh = table.measured("exposed_survivors_retrained")
    rise = now.minus(before, "exposed_survivors minus exposed_survivors_before")
    pairs, notes = table.pairs("exposed_survivors", removal_pairs)
    pairs = [p for p in pairs if p.question == "control" and {p.condition, p.against} <= set(rise.values)]
    refreshed, fresh_pairs = _beside(now, fresh, [pair for pair in pairs if pair.condition in fresh.values])
    retrained = {comparison.pair.condition: comparison for comparison in compare(refreshed, fresh_pairs)}
    levels = {comparison.pair.condition: comparison for comparison in compare(now, pairs)}
    rises = {comparison.pair.condition: comparison for comparison in compare(rise, pairs)}
    findings = []
    for pair in pairs:
        if pair.condition not in rises:
            continue
        verdict, words = _onion_verdict(rises[pair.condition], levels[pair.condition], retrained.get(pair.condition))
        arms = "; ".join(
            f"{name}: {np.mean(values_by_seed(before, condition)):.3f} of the survivors were exposed before, "
            f"{np.mean(values_by_seed(now, condition)):.3f} are after"
            for name, condition in ((pair.change, pair.condition), (pair.base, pair.against))
        )
        evidence = [
            evidence_of(measurements, condition, role)
            for role, condition in ((pair.change, pair.condition), (pair.base, pair.against))
            for measurements in (now, before, fresh)
            if condition in measurements.values
        ]
        findings.append(Finding(f"{pair.setting}, {pair.change}", verdict, f"{arms}; {words}", tuple(evidence)))
    return overall_claim(
        "onion",
        "Carlini et al. 2022",
        "Carlini et al. say that once the most exposed examples are removed, others become exposed (the onion effect)",
        findings,
        joined_reasons("this takes a study that removes exposed examples, and as many at random", notes),
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


def _onion_verdict(rise: Comparison, level: Comparison, retrained: Comparison | None) -> tuple[Verdict, str]:
    if retrained is not None:
        return verdict_of(retrained, "higher"), f"{retrained.words}{doubt(retrained)}"
    if rise.verdict == "lower" and not rise.fragile:
        return "contradicted", f"the rise is smaller than at random, though survivors were chosen to rise: {rise.words}"
    if level.verdict == "higher" and not level.fragile:
        return "confirmed", level.words
    return "cannot tell", (
        f"survivors of the exposed arm were chosen for little exposure and rise in any second model; {level.words}"
    )
