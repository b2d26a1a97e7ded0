"""What attacks found beside the most that each budget allows any attack."""

from __future__ import annotations

from dataclasses import replace

from trilemma.report.figure import Look, Panel, Series, look
from trilemma.report.figures.kind import NO_LEAKAGE, Conditions, Images, Kind
from trilemma.report.figures.placing import (
    BUDGET_AXIS,
    along_budgets,
    budget_ticks,
    joined,
    points_of,
    private_by_techniques,
)
from trilemma.report.numbers import Numbers
from trilemma.words import capital

_MEASURES = (
    ("auc_threshold", "ceiling_auc", "AUC", NO_LEAKAGE),
    ("tpr_at_0.01_threshold", "ceiling_tpr_at_0.01", "members found at 1 % false positives", 0.01),
)


def ceiling_panels(numbers: Numbers, conditions: Conditions, images: Images) -> list[Panel]:
    """For each setting, bars of what was found and of the ceiling, budget by budget."""
    panels = []
    for title, same in private_by_techniques(conditions):
        placed = along_budgets(same)
        for measure, bound, y_title, chance in _MEASURES:
            points = points_of(numbers, placed, measure)
            most = Series(
                "most that any attack can find",
                points_of(numbers, placed, bound),
                Look("black", "square", hollow=True, joined=False),
            )
            panels.append(
                Panel(
                    joined(title, y_title) if title else capital(y_title),
                    y_title,
                    BUDGET_AXIS,
                    (Series("found by the loss threshold", points, replace(look(0), joined=False)), most)
                    if points
                    else (),
                    ticks=budget_ticks(same),
                    y_reference=chance,
                    bars=True,
                )
            )
    return panels


CEILING = Kind(
    "Attack success and its upper bound",
    "What the headline attack of a run, the loss threshold, found (filled) beside the most that the budget allows any "
    "attack (hollow), from the accountant’s privacy curve. Attacks with shadow models come closer to it "
    "(trilemma audit --shadows). An interval that begins above the ceiling would mean that accounting, sampling or "
    "noise is wrong.",
    (("ceiling_auc",), ("auc_threshold",)),
    "no trial has a budget; give a grid an epsilon, or leave the figure out",
    ceiling_panels,
    ("line: chance",),
)
