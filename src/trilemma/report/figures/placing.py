"""Which conditions a panel holds, and their places on its axes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from trilemma.analysis.conditions import shared_words
from trilemma.data.named import same_images
from trilemma.report.figure import Look, Point, look
from trilemma.report.figures.axes import TechniquesAxis
from trilemma.report.figures.kind import Conditions
from trilemma.report.numbers import Numbers, PlacedCondition, setting_titles
from trilemma.titles import wording
from trilemma.words import budget, budget_order, clean, epsilon_tick, examples_words, mix, setting_words

BUDGET_AXIS = "budget ε"
"""Title of the axis that shows budgets in place of techniques."""


def without_removal(conditions: Conditions) -> list[PlacedCondition]:
    """Those trained on all their examples."""
    return [condition for condition in conditions if not condition.removal]


def by_setting(conditions: Conditions) -> list[tuple[str, list[PlacedCondition]]]:
    """(title, its conditions) of each setting: the study's order of data, each from the least skew to the largest."""
    titles = setting_titles(conditions)
    data = list(dict.fromkeys(condition.data for condition in conditions))
    by: dict[str, list[PlacedCondition]] = {}
    for condition in sorted(conditions, key=lambda condition: (data.index(condition.data), condition.skew or 0.0)):
        by.setdefault(condition.setting, []).append(condition)
    return [(titles[key], same) for key, same in by.items()]


def by_images(conditions: Conditions) -> list[tuple[str, list[PlacedCondition]]]:
    """(title, its conditions) for the same choice of the same images, whatever its skew, one mix of techniques at
    a time."""
    by: dict[tuple[str, str, tuple[str, ...]], list[PlacedCondition]] = {}
    for condition in conditions:
        by.setdefault((condition.images, condition.model, condition.codes), []).append(condition)
    first = [same[0] for same in by.values()]
    data = [setting_words(same_images(c.data), None, c.target, c.protected) for c in first]
    mixes = [mix(c.codes) for c in first]
    distinction = [clean(shared_words(same)) for same in by.values()]
    # What titles of trials say, if that is enough.
    if all(distinction) and len(set(zip(data, mixes, distinction, strict=True))) == len(first):
        parts = [data, mixes, distinction]
    else:
        counts = [examples_words(max(c.examples for c in same)) for same in by.values()]
        words = wording({"model": c.model} for c in first)
        parts = [data, counts, mixes, [words("model", c.model) for c in first]]
    telling = [part for part in parts if len(set(part)) > 1]
    return [(joined(*(part[index] for part in telling)), same) for index, same in enumerate(by.values())]


def by_techniques(conditions: Conditions) -> list[tuple[str, list[PlacedCondition]]]:
    """Settings, one combination of techniques at a time; it is named where there are several."""
    groups = []
    for title, same in by_setting(conditions):
        mixes = list(dict.fromkeys(condition.codes for condition in same))
        for codes in mixes:
            name = joined(title, mix(codes)) if len(mixes) > 1 else title
            groups.append((name, [condition for condition in same if condition.codes == codes]))
    return groups


def private_by_techniques(conditions: Conditions) -> list[tuple[str, list[PlacedCondition]]]:
    """As :func:`by_techniques`, for conditions with a budget and without a removal."""
    return by_techniques([condition for condition in without_removal(conditions) if condition.private])


def budgets_of(conditions: Conditions) -> list[float | None]:
    """Without a budget first, then from the loosest to the tightest."""
    return sorted({condition.epsilon for condition in conditions}, key=budget_order, reverse=True)


def budget_looks(conditions: Conditions) -> dict[float | None, Look]:
    """No budget is solid, every budget dashed."""
    looks = {epsilon: look(index) for index, epsilon in enumerate(budgets_of(conditions))}
    return {
        e: look_of_budget if e is None else replace(look_of_budget, dash="dashed")
        for e, look_of_budget in looks.items()
    }


def points_of(
    numbers: Numbers, placed: Iterable[tuple[float, str, PlacedCondition]], measure: str
) -> tuple[Point, ...]:
    """The points of one measure at conditions placed as (x, tick, condition); unmeasured ones are left out."""
    values = [(x, tick, numbers.get(condition, measure)) for x, tick, condition in placed]
    return tuple(Point(x, tick, y) for x, tick, y in values if y is not None)


def along_techniques(axis: TechniquesAxis, conditions: Conditions) -> list[tuple[float, str, PlacedCondition]]:
    """Conditions at their place on the axis."""
    place = {m: (float(index), label) for index, (m, label) in enumerate(zip(axis.mixes, axis.labels, strict=True))}
    placed = [(*place[condition.codes], condition) for condition in conditions if condition.codes in place]
    return sorted(placed, key=lambda place_of: place_of[0])


def along_budgets(conditions: Conditions, axis_of: Conditions = ()) -> list[tuple[float, str, PlacedCondition]]:
    """Conditions from the tightest budget to none, at the places of the axis of ``axis_of`` (by default their own)."""
    order = sorted({condition.epsilon for condition in axis_of or conditions}, key=budget_order)
    placed = [(float(order.index(condition.epsilon)), budget(condition.epsilon), condition) for condition in conditions]
    return sorted(placed, key=lambda place: place[0])


def budget_ticks(conditions: Conditions) -> tuple[tuple[float, str], ...]:
    """(x, label) of the ticks on an axis of budgets."""
    order = sorted({condition.epsilon for condition in conditions}, key=budget_order)
    return tuple((float(index), epsilon_tick(epsilon)) for index, epsilon in enumerate(order))


def joined(*words: str) -> str:
    """Words joined by commas, without empty ones."""
    return ", ".join(word for word in words if word)
