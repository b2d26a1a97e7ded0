"""Each attack's AUC over techniques, against matched non-members and, faintly, against the whole test set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from trilemma.measures import ATTACK_WORDS, RUN_ATTACKS, UNMATCHED
from trilemma.report.figure import Panel, Series
from trilemma.report.figures.axes import techniques_axes
from trilemma.report.figures.kind import HALF_LINE, NO_LEAKAGE, Conditions, Images, Kind
from trilemma.report.figures.placing import (
    along_techniques,
    budget_looks,
    budgets_of,
    by_setting,
    joined,
    points_of,
    without_removal,
)
from trilemma.report.numbers import Numbers
from trilemma.words import budget, number


def leakage_panels(numbers: Numbers, conditions: Conditions, images: Images) -> list[Panel]:
    """A panel for each setting and attack, a series for each budget: matched in full, unmatched faint beside it."""
    panels = []
    for title, same in by_setting(without_removal(conditions)):
        looks = budget_looks(same)
        for axis in techniques_axes(list(dict.fromkeys(condition.codes for condition in same))):
            for attack in RUN_ATTACKS:
                series = []
                for epsilon in budgets_of(same):
                    placed = along_techniques(axis, [condition for condition in same if condition.epsilon == epsilon])
                    seen = replace(looks[epsilon], joined=axis.path)
                    faint = replace(seen, faint=True, hollow=True, dash="dotted")
                    for end, shown, words in (("", seen, ""), (UNMATCHED, faint, ", unmatched")):
                        points = points_of(numbers, placed, f"auc_{attack}{end}")
                        series.append(Series(f"{budget(epsilon)}{words}", points, shown))
                panels.append(
                    Panel(
                        joined(title, ATTACK_WORDS[attack]),
                        "AUC",
                        axis.title,
                        tuple(series),
                        ticks=tuple((float(index), label) for index, label in enumerate(axis.labels)),
                        y_reference=NO_LEAKAGE,
                        share=title or "all",
                        note=_unmatched_words(series),
                    )
                )
    return panels


def _unmatched_words(series: Sequence[Series]) -> str:
    """The range of the unmatched AUCs, which are drawn without their intervals."""
    values = [point.y.value for curve in series if curve.look.faint for point in curve.points]
    return f"unmatched {number(min(values))} to {number(max(values))}" if values else ""


_ATTACKS = tuple(f"auc_{name}" for name in RUN_ATTACKS)

LEAKAGE = Kind(
    "Leakage by technique",
    "AUC of membership-inference attacks, a panel for each, against matched non-members, which measures leakage. "
    "Faint, "
    "hollow and dotted: against the whole test set (unmatched), which on skewed data also measures the skew.",
    (_ATTACKS,),
    "no attack was made",
    leakage_panels,
    (HALF_LINE,),
)
