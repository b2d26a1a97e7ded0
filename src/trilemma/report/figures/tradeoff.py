"""Accuracy against leakage and against bias, a point for each combination of techniques."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from trilemma.report.figure import Panel, Point, Series, look
from trilemma.report.figures.axes import techniques_axes
from trilemma.report.figures.kind import NO_LEAKAGE, Conditions, Images, Kind
from trilemma.report.figures.placing import (
    along_budgets,
    along_techniques,
    budget_looks,
    budgets_of,
    by_setting,
    joined,
    without_removal,
)
from trilemma.report.numbers import Numbers
from trilemma.words import budget, mix


def tradeoff_panels(numbers: Numbers, conditions: Conditions, images: Images) -> list[Panel]:
    """Accuracy against the strongest attack's AUC, and against bias; a point for each combination of techniques."""
    whole = without_removal(conditions)
    looks = budget_looks(whole)
    panels = []
    for title, same in by_setting(whole):
        if len({condition.codes for condition in same}) == 1 and len(budgets_of(same)) > 1:
            panels += _over_budgets(numbers, title, same)
            continue
        for axis in techniques_axes(list(dict.fromkeys(condition.codes for condition in same))):
            for measure, x_title in _ACROSS:
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
                panels.append(_panel(joined(title, *([] if axis.path else [axis.title])), measure, x_title, series))
    return panels


_ACROSS = (("auc_strongest", "AUC of the strongest attack"), ("bias", "bias"))


def _over_budgets(numbers: Numbers, title: str, conditions: Conditions) -> list[Panel]:
    """One mix of techniques at several budgets: a point for each budget, joined from the tightest to none."""
    panels = []
    for measure, x_title in _ACROSS:
        points = []
        for _, label, condition in along_budgets(conditions):
            y, across = numbers.get(condition, "accuracy"), numbers.get(condition, measure)
            if y is not None and across is not None:
                points.append(Point(across.value, label, y, across))
        series = Series(mix(next(iter(conditions)).codes), tuple(points), look(0), labeled=True)
        panels.append(_panel(title, measure, x_title, [series]))
    return panels


def _panel(title: str, measure: str, x_title: str, series: Sequence[Series]) -> Panel:
    return Panel(
        joined(title, "accuracy and bias" if measure == "bias" else "accuracy and leakage"),
        "accuracy",
        x_title,
        tuple(series),
        x_reference=NO_LEAKAGE if measure == "auc_strongest" else None,
    )


TRADEOFF = Kind(
    "Accuracy, leakage and bias at once",
    "Each point is one combination of techniques; thin lines through it show how uncertain it is in both directions. "
    "Thick lines lead from the baseline (BL) through one added technique after another, or from the tightest budget to "
    "none. Higher is more accurate; closer to the dashed line, or further left on the bias axis, is better. The "
    "strongest of several attacks is chosen after looking at their results, and lies a little off that line by chance.",
    (("accuracy",), ("auc_strongest",)),
    "every finished trial has it",
    tradeoff_panels,
    ("vertical line at ½: an attack that only guesses; distance to either side counts",),
)
