"""Every measure over the budget, a series for each skew."""

from __future__ import annotations

from typing import Any

from trilemma.measures import UNMATCHED, measure_of
from trilemma.report.figure import Panel, Series, look
from trilemma.report.figures.kind import HALF_LINE, NO_LEAKAGE, Conditions, Images, Kind
from trilemma.report.figures.placing import (
    BUDGET_AXIS,
    along_budgets,
    budget_ticks,
    by_images,
    by_setting,
    joined,
    points_of,
    without_removal,
)
from trilemma.report.numbers import Numbers
from trilemma.words import capital

_OVER_BUDGET: tuple[tuple[str, dict[str, Any]], ...] = (
    ("accuracy", {}),
    ("auc_strongest", {"y_reference": NO_LEAKAGE, "share": "auc"}),
    (f"auc_strongest{UNMATCHED}", {"y_reference": NO_LEAKAGE, "share": "auc"}),
    ("bias", {"floor": 0.0}),
    ("harmonic_score", {"span": 0.2}),
)


def budget_panels(numbers: Numbers, conditions: Conditions, images: Images) -> list[Panel]:
    """A panel for each measure, a series for each skew."""
    whole = without_removal(conditions)
    panels = []
    for title, same in by_images(whole):
        settings = by_setting(same)
        for measure, options in _OVER_BUDGET:
            y_title = measure_of(measure).axis
            series = [
                Series(name, points_of(numbers, along_budgets(part, axis_of=same), measure), look(index))
                for index, (name, part) in enumerate(settings)
            ]
            panels.append(
                Panel(
                    joined(title, y_title) if title else capital(y_title),
                    y_title,
                    BUDGET_AXIS,
                    tuple(series),
                    ticks=budget_ticks(same),
                    note=_mixed_terms(numbers, same) if measure == "harmonic_score" else "",
                    **options,
                )
            )
    return panels


def _mixed_terms(numbers: Numbers, conditions: Conditions) -> str:
    """A note where a panel mixes scores of two and of three terms, which are not comparable."""
    fair = {numbers.get(condition, "bias") is not None for condition in conditions}
    return "data without groups has a score of two terms, the others of three" if len(fair) > 1 else ""


BUDGET = Kind(
    "What a budget costs",
    "From the tightest budget to none (∞), a series for each skew of the training images.",
    (("accuracy",), ("auc_strongest",)),
    "every finished trial has it",
    budget_panels,
    (HALF_LINE,),
)
