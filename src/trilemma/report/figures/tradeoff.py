"""Accuracy against leakage and against bias, a point for each combination of techniques."""

from __future__ import annotations

from dataclasses import replace

from trilemma.report.figure import Panel, Point, Series
from trilemma.report.figures.axes import techniques_axes
from trilemma.report.figures.kind import NO_LEAKAGE, Conditions, Kind, Pictures
from trilemma.report.figures.placing import (
    along_techniques,
    budget_looks,
    budgets_of,
    by_setting,
    joined,
    without_removal,
)
from trilemma.report.numbers import Numbers
from trilemma.words import budget


def tradeoff_panels(numbers: Numbers, conditions: Conditions, pictures: Pictures) -> list[Panel]:
    """Accuracy against the strongest attack's AUC, and against bias; a point for each combination of techniques."""
    whole = without_removal(conditions)
    looks = budget_looks(whole)
    panels = []
    for title, same in by_setting(whole):
        for axis in techniques_axes(list(dict.fromkeys(condition.codes for condition in same))):
            for measure, x_title in (("auc_strongest", "AUC of the strongest attack"), ("bias", "bias")):
                series = []
                for epsilon in budgets_of(same):
                    points = []
                    for _, label, condition in along_techniques(
                        axis, [condition for condition in same if condition.epsilon == epsilon]
                    ):
                        y, across = numbers.get(condition, "accuracy"), numbers.get(condition, measure)
                        if y is not None and across is not None:
                            points.append(Point(across.value, label, y, across))
                    seen = replace(looks[epsilon], joined=axis.path)
                    series.append(Series(budget(epsilon), tuple(points), seen, labeled=True))
                words = "accuracy and bias" if measure == "bias" else "accuracy and leakage"
                panels.append(
                    Panel(
                        joined(title, *([] if axis.path else [axis.title]), words),
                        "accuracy",
                        x_title,
                        tuple(series),
                        x_reference=NO_LEAKAGE if measure == "auc_strongest" else None,
                    )
                )
    return panels


TRADEOFF = Kind(
    "Accuracy, leakage and bias at once",
    "Each point is one combination of techniques, with its interval in both directions; lines lead from the baseline "
    "(BL) through one added technique after another. Higher is more accurate; closer to the dashed line, or further "
    "left on the bias axis, is better.",
    (("accuracy",), ("auc_strongest",)),
    "every finished trial has it",
    tradeoff_panels,
    ("vertical line at ½: no leakage; distance to either side counts",),
)
