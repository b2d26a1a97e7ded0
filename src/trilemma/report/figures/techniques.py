"""Figures with techniques on the axis: accuracy, bias, the score, and accuracy by group."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from trilemma.measures import measure_of
from trilemma.report.figure import Look, Panel, Series, look
from trilemma.report.figures.axes import techniques_axes
from trilemma.report.figures.kind import GROUPS_LACK, Conditions, Images, Kind
from trilemma.report.figures.placing import (
    BUDGET_AXIS,
    along_budgets,
    along_techniques,
    budget_looks,
    budget_ticks,
    budgets_of,
    by_setting,
    joined,
    points_of,
    without_removal,
)
from trilemma.report.numbers import Numbers
from trilemma.words import budget, mix, number, spelled

WORST = "worst_cell_accuracy"


def accuracy_panels(numbers: Numbers, conditions: Conditions, images: Images) -> list[Panel]:
    """Test accuracy, with train accuracy faintly beside it, over the techniques."""
    return _panels(numbers, conditions, "accuracy", companion="train_accuracy")


def bias_panels(numbers: Numbers, conditions: Conditions, images: Images) -> list[Panel]:
    """Bias amplification over the techniques."""
    return _panels(numbers, conditions, "bias", floor=0.0)


def score_panels(numbers: Numbers, conditions: Conditions, images: Images) -> list[Panel]:
    """The harmonic score over the techniques."""
    return _panels(numbers, conditions, "harmonic_score", span=0.2)


def _panels(
    numbers: Numbers, conditions: Conditions, measure: str, *, companion: str = "", **options: Any
) -> list[Panel]:
    """One measure over techniques, a panel for each setting, a series for each budget.

    Where a setting has one combination of techniques at several budgets, the budgets make the axis.
    """
    whole = without_removal(conditions)
    looks = budget_looks(whole)
    panels = []
    for title, same in by_setting(whole):
        mixes = list(dict.fromkeys(condition.codes for condition in same))
        if len(mixes) == 1 and len(budgets_of(same)) > 1:
            line = Series(mix(mixes[0]), points_of(numbers, along_budgets(same), measure), look(0))
            faint = replace(look(0), faint=True, hollow=True, dash="dotted")
            beside = Series(f"{mix(mixes[0])}, train", points_of(numbers, along_budgets(same), companion), faint)
            panels.append(
                Panel(
                    title,
                    _title_of_terms(numbers, same, measure),
                    BUDGET_AXIS,
                    (line, beside),
                    ticks=budget_ticks(same),
                    **options,
                )
            )
            continue
        for axis in techniques_axes(mixes):
            series, faint_series = [], []
            for epsilon in budgets_of(same):
                placed = along_techniques(axis, [condition for condition in same if condition.epsilon == epsilon])
                seen = replace(looks[epsilon], joined=axis.path)
                series.append(Series(budget(epsilon), points_of(numbers, placed, measure), seen))
                faint = replace(seen, faint=True, hollow=True, dash="dotted")
                faint_series.append(Series(f"{budget(epsilon)}, train", points_of(numbers, placed, companion), faint))
            ticks = tuple((float(index), label) for index, label in enumerate(axis.labels))
            panels.append(
                Panel(
                    title,
                    _title_of_terms(numbers, same, measure),
                    axis.title,
                    (*series, *faint_series),
                    ticks=ticks,
                    **options,
                )
            )
    return panels


def _title_of_terms(numbers: Numbers, conditions: Conditions, measure: str) -> str:
    """The title of the axis; the score's says how many terms it has."""
    y_title = measure_of(measure).axis
    if measure != "harmonic_score":
        return y_title
    fair = any(numbers.get(condition, "bias") is not None for condition in conditions)
    return f"{y_title} ({'three terms' if fair else 'two terms, no groups'})"


def group_panels(numbers: Numbers, conditions: Conditions, images: Images) -> list[Panel]:
    """A panel for each setting and budget, a series for each group."""
    panels = []
    for title, same in by_setting(without_removal(conditions)):
        names = [m for m in numbers.measures if m.startswith("accuracy_in_")]
        names = [m for m in names if any(numbers.get(condition, m) for condition in same)]
        for axis in techniques_axes(list(dict.fromkeys(condition.codes for condition in same))):
            for epsilon in budgets_of(same):
                placed = along_techniques(axis, [condition for condition in same if condition.epsilon == epsilon])
                series = [
                    Series(
                        f"{spelled(name.removeprefix('accuracy_in_'))}{_count(numbers, same, name)}",
                        points_of(numbers, placed, name),
                        replace(look(index), joined=axis.path),
                    )
                    for index, name in enumerate(names)
                ]
                worst = Look("black", "cross", "dotted", faint=True, joined=axis.path)
                series.append(Series(measure_of(WORST).title, points_of(numbers, placed, WORST), worst))
                panels.append(
                    Panel(
                        joined(title, budget(epsilon)),
                        "accuracy in the group",
                        axis.title,
                        tuple(series) if names else (),
                        ticks=tuple((float(index), label) for index, label in enumerate(axis.labels)),
                        share=title or "all",
                    )
                )
    return panels


def _count(numbers: Numbers, conditions: Conditions, measure: str) -> str:
    """The number of test examples of a group, for its name in the legend."""
    counts = {numbers.measured_on(condition, measure) for condition in conditions if numbers.get(condition, measure)}
    (count,) = counts if len(counts) == 1 else (None,)
    return "" if count is None else f" (n = {number(count, 0)})"


ACCURACY = Kind(
    "Accuracy by technique",
    "Test accuracy on the balanced test set. Faint and dotted: accuracy on the training "
    "images, which no guarantee covers.",
    (("accuracy",),),
    "every finished trial has it",
    accuracy_panels,
)

BIAS = Kind(
    "Bias by technique",
    "Bias amplification on the balanced test set: 0 is best, 0.5 the worst for two groups.",
    (("bias",),),
    GROUPS_LACK,
    bias_panels,
)

SCORE = Kind(
    "Harmonic score by technique",
    "The harmonic mean of accuracy, privacy and (where there are groups) fairness: 1 is best. Read it with its "
    "terms, which are in the table.",
    (("harmonic_score",),),
    "every finished trial has it",
    score_panels,
)

GROUPS = Kind(
    "Accuracy by group",
    "Test accuracy in each group, with the number n of its test images, and in the pair of class and group where it is "
    "lowest.",
    (("accuracy_in_",),),
    GROUPS_LACK,
    group_panels,
)
