"""What a study found, said before anything is explained: one sentence on what was done, then a few findings.

Which findings are told, and in which order, is fixed and depends on no result.  Levels come first (accuracy, leakage,
bias, with and without a budget), in the setting that was trained in most ways; then what claims say.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from trilemma.analysis.claims import Claim
from trilemma.analysis.claims.claim import Change, Finding
from trilemma.analysis.claims.skew import MARGIN
from trilemma.hints import listed
from trilemma.measures import UNMATCHED, in_words, number_words
from trilemma.report.numbers import FEW, Number, Numbers, PlacedCondition, setting_titles
from trilemma.statistics.intervals import mean_within
from trilemma.techniques import PAPER_TECHNIQUES
from trilemma.words import budget, budget_order, capital, clean, counted, mix, number, with_interval

MOST = 5
"""The maximum number of findings."""

LEAKAGE = "auc_threshold"
"""The leakage that is told first is of an attack that was fixed in advance.  The strongest of several is chosen by
looking, so that its AUC lies above ½ where nothing leaks."""


@dataclass(frozen=True)
class Headline:
    """A finding in one line.

    Attributes:
      lead: what it is about, in a word or two.
      text: the finding, with numbers and intervals.
      href: where on the page there is more.
    """

    lead: str
    text: str
    href: str


def main_setting(conditions: Sequence[PlacedCondition]) -> list[PlacedCondition]:
    """The conditions of the setting that was trained in most ways without a removal, the first among equals."""
    by_setting: dict[str, list[PlacedCondition]] = {}
    for condition in conditions:
        if not condition.removal:
            by_setting.setdefault(condition.setting, []).append(condition)
    return max(by_setting.values(), key=len, default=[])


def studied(conditions: Sequence[PlacedCondition]) -> str:
    """What was trained, in one sentence."""
    if not conditions:
        return ""
    titles = setting_titles(conditions)
    mixes = list(dict.fromkeys(condition.codes for condition in conditions))
    budgets = sorted({condition.epsilon for condition in conditions}, key=budget_order, reverse=True)
    trainings = sum(len(condition.trials) for condition in conditions)
    data = list(titles.values())
    names = list(dict.fromkeys(clean(condition.data) for condition in conditions))
    on = data[0] if len(data) == 1 else f"{listed(names, most=4)} in {len(data)} settings"
    if len(data) == 1:
        on += f" ({number(max(c.examples for c in conditions), 0)} training images)"
    with_words = listed(map(_mix_words, mixes), most=None) if len(mixes) < 4 else f"{len(mixes)} mixes of techniques"
    how = listed([_budget_words(epsilon) for epsilon in budgets], most=None)
    count = len({condition.model for condition in conditions})
    model = f" of one network, {conditions[0].model}," if count == 1 else ""
    fewest, most = (pick(len(condition.trials) for condition in conditions) for pick in (min, max))
    seeds = counted(most, "seed") if fewest == most else f"{fewest} to {most} seeds"
    each, which = (f", {seeds} each", "each") if trainings > 1 else ("", "the")
    return (
        f"{counted(trainings, 'training')}{model} on {on}: {with_words}, {how}{each}; {which} model was then attacked, "
        "and measured on test images."
    )


def headlines(numbers: Numbers, claims: Sequence[Claim], *, named: bool) -> list[Headline]:
    """Up to ``MOST`` findings.

    Args:
      numbers: the numbers of all finished trials.
      claims: with their verdicts.
      named: whether to name the setting of levels, which matters where a page holds several.
    """
    conditions = main_setting(list(numbers.conditions.values()))
    levels = [*_few_seeds(numbers, conditions, claims), *_levels(numbers, conditions, named=named)]
    told = [headline for claim in _in_turn(claims) if (headline := _of_claim(claim))]
    room = MOST - min(len(told), 1)
    return [*levels[:room], *told[: MOST - len(levels[:room])]]


def _few_seeds(numbers: Numbers, conditions: Sequence[PlacedCondition], claims: Sequence[Claim]) -> list[Headline]:
    """What so few seeds can and cannot tell, where no condition has more of them."""
    accuracies = [n for c in conditions if (n := numbers.get(c, "accuracy")) is not None]
    if not accuracies or any(n.seeds >= FEW for n in accuracies):
        return []
    seeds = max(n.seeds for n in accuracies)
    apart = max((max(n.by_trial) - min(n.by_trial) for n in accuracies if len(n.by_trial) > 1), default=math.nan)
    spread = (
        "each model was trained once, so intervals are over test images, and how far chance in training moves a result "
        "is not measured"
        if math.isnan(apart)
        else f"trainings that differ in their seed alone are up to {number(apart)} apart in accuracy"
    )
    answered = any(claim.verdict not in ("not measured", "cannot tell") for claim in claims)
    rest = (
        "Few differences on this page can be told from chance."
        if answered
        else "So this page cannot tell which is better: it shows that every step works, and what a study of more seeds "
        "will answer."
    )
    return [Headline(counted(seeds, "seed"), f"{capital(spread)}. {rest}", "#findings")]


def _levels(numbers: Numbers, conditions: Sequence[PlacedCondition], *, named: bool) -> list[Headline]:
    """Accuracy, leakage (matched, and what the unmatched AUC adds) and bias, by budget, of one mix of techniques."""
    chosen = _one_mix(conditions)
    if not chosen:
        return []
    who = "models" if len({c.codes for c in conditions}) == 1 else f"models with {_mix_words(chosen[0].codes)}"
    where = setting_titles(numbers.conditions.values())[chosen[0].setting]
    where = f"on {where}, " if named else ""
    measures = ("accuracy", LEAKAGE, "bias")
    mixed = len({n.over for c in conditions for m in measures if (n := numbers.get(c, m)) is not None}) > 1
    levels, unmatched = [], _unmatched(numbers, chosen, mixed=mixed)
    for measure, lead in (("accuracy", "Accuracy"), (LEAKAGE, "Leakage"), ("bias", "Bias")):
        told = [(c, n) for c in chosen if (n := numbers.get(c, measure)) is not None]
        values = listed([f"{_shown(n, mixed=mixed)} {_budget_words(c.epsilon)}" for c, n in told], most=None)
        sentences = {
            "accuracy": f"{where}{who} reach an accuracy of {values}.",
            LEAKAGE: f"on the same models the loss threshold, an attack fixed in advance, has an AUC of {values}; "
            "½ is guessing.",
            "bias": f"the bias of the same models is {values}; 0 is even-handed.",
        }
        if told:
            levels.append(Headline(lead, capital(sentences[measure]), "#figures"))
    return [*levels, *unmatched]


def _unmatched(numbers: Numbers, chosen: Sequence[PlacedCondition], *, mixed: bool) -> list[Headline]:
    """The AUC against the whole test set, beside that of a classifier that never saw a member.

    It is called skew, and not memory, only where the seeds show it: the control's interval lies above ½, the unmatched
    AUC's does not lie above the control's, and the matched AUC is within ``MARGIN`` of ½ by two one-sided tests.  That
    its interval covers ½ would not do, since a wide one covers anything.
    """
    for condition in chosen:
        measured, matched = (numbers.get(condition, f"{LEAKAGE}{end}") for end in (UNMATCHED, ""))
        control = numbers.get(condition, f"null_auc{UNMATCHED}")
        if measured is None or matched is None or control is None:
            continue
        skewed = (
            not any(value.of_few or value.over != "seeds" for value in (measured, control, matched))
            and control.low > 0.5
            and measured.low <= control.high
            and mean_within(np.array(matched.by_trial), 0.5, MARGIN)
        )
        text = (
            f"Against unmatched non-members the same models’ AUC {'seems' if skewed else 'is'} "
            f"{_shown(measured, mixed=mixed)} {_budget_words(condition.epsilon)}; for a model that never saw a member "
            f"it is {_shown(control, mixed=mixed)}"
        )
        if skewed:
            words = f"{text}, and against matched ones it lies within {MARGIN} of ½: that is skew, not memory."
            return [Headline("Skew", words, "#figures")]
        return [
            Headline("Unmatched", f"{text}. Against matched ones it is {_shown(matched, mixed=mixed)}.", "#figures")
        ]
    return []


def _in_turn(claims: Sequence[Claim]) -> list[Claim]:
    """The claims with a verdict, decided ones first, otherwise in the given order."""
    judged = [claim for claim in claims if claim.verdict != "not measured" and claim.lead]
    return sorted(judged, key=lambda claim: claim.verdict == "cannot tell")


def _of_claim(claim: Claim) -> Headline | None:
    """What a claim's verdict rests on: of the settings that say what the verdict says, the one that says it loudest."""
    href = f"#claim-{claim.name}"
    agree = [finding for finding in claim.findings if finding.verdict == claim.verdict] or list(claim.findings)
    if claim.by_verdict:
        told = claim.statement.split(" that ", 1)[-1].split(";")[0]
        brief = f" ({agree[0].brief})" if len(agree) == 1 and agree[0].brief else ""
        return Headline(claim.lead, f"{told}: {_verdict_words(claim, agree[0])}{_counted(claim)}{brief}.", href)
    sides = [agree]
    if _disagree(claim):
        sides = [[f for f in claim.findings if f.verdict == verdict] for verdict in ("confirmed", "contradicted")]
    told_by = [findings for side in sides if (findings := [finding for finding in side if finding.changes])]
    if not told_by:
        return None
    words = ", and ".join(map(_loudest, told_by))
    return Headline(claim.lead, f"{words}: {_verdict_words(claim, agree[0])}{_counted(claim)}.", href)


def _disagree(claim: Claim) -> bool:
    """Whether one setting confirms a claim, another contradicts it, and so neither is said."""
    return claim.verdict == "cannot tell" and {f.verdict for f in claim.findings} >= {"confirmed", "contradicted"}


def _loudest(findings: Sequence[Finding]) -> str:
    """The largest difference of several settings, and where it is, in words."""
    finding = max(findings, key=lambda finding: abs(finding.changes[0].difference))
    words = _change_words(finding.changes[0], largest=len(findings) > 1)
    where = finding.setting if len(findings) == 1 else f"{finding.setting}, the largest of {len(findings)} settings"
    return f"{words} ({where})"


def _counted(claim: Claim) -> str:
    """In how many settings a claim was decided, where there are several."""
    count, verdicts = len(claim.findings), [finding.verdict for finding in claim.findings]
    if count < 2 or claim.verdict == "cannot tell":
        return ""
    against = verdicts.count("contradicted") if claim.verdict == "confirmed" else 0
    but = f", contradicted in {against}" if against else ""
    return f" in {verdicts.count(claim.verdict)} of {count} settings{but}"


def _verdict_words(claim: Claim, finding: Finding) -> str:
    """The verdict, and where it is "cannot tell" why the finding that is told is so."""
    if claim.verdict != "cannot tell":
        return str(claim.verdict)
    if _disagree(claim):
        return "cannot tell, since settings disagree"
    return f"cannot tell, since {finding.reason}" if finding.reason else "cannot tell"


def _change_words(change: Change, *, largest: bool) -> str:
    difference, low, high = (
        number_words(value, change.measure, signed=True) for value in (change.difference, change.low, change.high)
    )
    interval = "" if math.isnan(change.low) else f" [{low}, {high}]"
    base = "the baseline" if change.base == "BL" else _all_but(change.base)
    what = "AUC" if change.measure.startswith("auc_") else in_words(change.measure)
    changes = "change" if change.change.endswith("techniques") else "changes"
    by = "by up to" if largest else "by"
    return capital(f"{_all_but(change.change)} against {base} {changes} {what} {by} {difference}{interval}")


def _one_mix(conditions: Sequence[PlacedCondition]) -> list[PlacedCondition]:
    """The largest mix that was trained at most budgets: without one first, then the loosest and the tightest."""
    by_mix: dict[tuple[str, ...], list[PlacedCondition]] = {}
    for condition in conditions:
        by_mix.setdefault(condition.codes, []).append(condition)
    if not by_mix:
        return []
    codes = max(by_mix, key=lambda key: (len({c.epsilon for c in by_mix[key]}), len(key)))
    same = sorted(by_mix[codes], key=lambda c: budget_order(c.epsilon), reverse=True)
    return same if len(same) < 4 else [same[0], same[1], same[-1]]


def _shown(value: Number, *, mixed: bool = False) -> str:
    """A number with its interval; with two seeds, with both values in place of an interval that says nothing.

    Beside numbers over seeds (``mixed``), one training has no interval: its own is over test images, and of another
    kind.
    """
    if mixed and value.over != "seeds":
        return f"{number(value.value)} (one training)"
    if value.of_few:
        return f"{number(value.value)} ({listed(map(number, value.by_trial), most=None)})"
    return with_interval(value.value, value.low, value.high)


def _mix_words(codes: tuple[str, ...]) -> str:
    if not codes:
        return "the baseline"
    return "all techniques" if codes == PAPER_TECHNIQUES else _all_but(mix(codes))


def _all_but(words: str) -> str:
    """A mix that lacks one technique in words: figures have room for its short form alone."""
    return words.replace("all−", "all but ")


def _budget_words(epsilon: float | None) -> str:
    return "without a budget" if epsilon is None else f"at {budget(epsilon)}"
