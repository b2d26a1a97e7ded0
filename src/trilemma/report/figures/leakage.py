"""The attacks' AUCs over techniques, against matched non-members and against the whole test set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from trilemma.measures import ATTACK_WORDS, RUN_ATTACKS, UNMATCHED
from trilemma.report.figure import Panel, Series, look
from trilemma.report.figures.axes import techniques_axes
from trilemma.report.figures.kind import HALF_LINE, NO_LEAKAGE, Conditions, Kind, Pictures
from trilemma.report.figures.placing import along_techniques, budgets_of, by_setting, joined, points_of, without_removal
from trilemma.report.numbers import Numbers
from trilemma.words import budget, number


def leakage_panels(numbers: Numbers, conditions: Conditions, pictures: Pictures) -> list[Panel]:
    """A panel for each setting and budget, a series for each attack, matched and unmatched."""
    panels = []
    for title, same in by_setting(without_removal(conditions)):
        mixes = list(dict.fromkeys(condition.codes for condition in same))
        for axis in techniques_axes(mixes):
            for epsilon in budgets_of(same):
                placed = along_techniques(axis, [condition for condition in same if condition.epsilon == epsilon])
                series = []
                for unmatched in (False, True):
                    for at, attack in enumerate(RUN_ATTACKS):
                        seen = replace(look(at), hollow=unmatched, joined=axis.path, dash="dotted" if unmatched else "")
                        name = f"{ATTACK_WORDS[attack]}, unmatched" if unmatched else ATTACK_WORDS[attack]
                        measure = f"auc_{attack}{UNMATCHED if unmatched else ''}"
                        series.append(Series(name, points_of(numbers, placed, measure), seen))
                panels.append(
                    Panel(
                        joined(title, budget(epsilon)),
                        "AUC",
                        axis.title,
                        tuple(series),
                        ticks=tuple((float(at), label) for at, label in enumerate(axis.labels)),
                        y_reference=NO_LEAKAGE,
                        share=title or "all",
                        summary=_leakage_summary(series),
                    )
                )
    return panels


def _leakage_summary(series: Sequence[Series]) -> str:
    """From where to where the attacks' AUCs lie at either end of the axis."""
    parts = []
    for kind in ("matched", "unmatched"):
        lines = [s.points for s in series if s.points and s.name.endswith(", unmatched") == (kind == "unmatched")]
        ends = []
        for at in (0, -1):
            values = [points[at].y.value for points in lines]
            if values:
                ends.append(f"{number(min(values))} to {number(max(values))} at {lines[0][at].at}")
        if ends:
            parts.append(f"{kind}: {' → '.join(dict.fromkeys(ends))}")
    return " · ".join(parts)


_ATTACKS = tuple(f"auc_{name}" for name in RUN_ATTACKS)

LEAKAGE = Kind(
    "Leakage by technique",
    "AUC of four membership-inference attacks. Filled: against matched non-members, which measures leakage. Hollow and "
    "dotted: against the whole test set (unmatched), which on skewed data also measures the skew.",
    (_ATTACKS,),
    "no attack was made",
    leakage_panels,
    (HALF_LINE,),
)
