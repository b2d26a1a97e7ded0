"""Match conditions with and without a budget by the settings a recipe chooses for each.

Recipes choose settings of the optimization by budget (``[with_budget]``), since what is best without noise is not with
it.  So a condition with a budget may differ from one without in what a recipe of the study chooses, and in nothing
else, but for the learning rate: that may be chosen for each budget.  A study may shorten both trainings in one
proportion.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import fields
from functools import cache
from typing import Any

from trilemma.analysis.conditions import Condition, gathered
from trilemma.hints import listed
from trilemma.titles import WITHOUT_EFFECT, has_effect, has_effect_with_a_budget_alone, settings_key
from trilemma.training.by_budget import ByBudget, chosen_by_budget
from trilemma.training.recipe import NAMED, Recipe
from trilemma.words import exact

RATE = "learning_rate"
"""The setting that may be chosen for each budget."""

OPTIMIZATION = tuple(
    f.name for f in fields(Recipe) if f.name not in ("model", "techniques", "epsilon", "delta", "seed", *WITHOUT_EFFECT)
)
"""The settings of a recipe that a family of budgets shares, unless they are chosen by budget."""

_DEFAULTS = {f.name: f.default for f in fields(Recipe)}

FEW = 3
"""Where two conditions differ in at most so many settings, these are named; otherwise the words say where they come
from."""


def recipes_of(study: Mapping[str, Any]) -> tuple[ByBudget, ...]:
    """What the recipes of the studies in a ``study.json`` choose by budget; where a study does not say so (it was
    planned by an earlier version), what those of the package choose."""
    recorded = [part.get("by_budget") for part in study.get("studies", {}).values()] or [None]
    return tuple(
        recipe
        for recipes in recorded
        for recipe in (
            _of_package()
            if recipes is None
            else [{name: (values[0], values[1]) for name, values in recipe.items()} for recipe in recipes]
        )
    )


@cache
def _of_package() -> tuple[ByBudget, ...]:
    return tuple(recipe for name in NAMED if (recipe := chosen_by_budget(name)))


def families_by_budget(
    conditions: Sequence[Condition], recipes: Sequence[ByBudget]
) -> tuple[list[list[Condition]], list[str]]:
    """Conditions that share all but budget and optimization, in families that are trained alike: budgets that differ in
    nothing but the learning rate, with the condition without one that a recipe makes of them.

    Returns:
      The families, each with one condition a budget, and notes on conditions that have another budget beside them and
      yet none to be compared with.
    """
    private = [condition for condition in conditions if condition.private]
    plain = [condition for condition in conditions if not condition.private]
    families, notes, explained = list[list[Condition]](), list[str](), set[str]()
    for alike in gathered(private, lambda c: _values(c, [name for name in OPTIMIZATION if name != RATE])):
        for part in _one_a_budget(alike):
            bases = _one_of_equals(_made_of_one_recipe(part, plain, recipes), part[0])
            families.append([*part, *bases] if len(bases) == 1 else part)
            if len(bases) > 1:
                explained |= {condition.id for condition in (*part, *bases)}
                reason = f"it may belong to each of {_listed(bases)}, and no recipe of the study says to which"
                notes.append(f"not compared with no budget: {_listed(part)}; {reason}")
    paired = {condition.id for family in families for condition in family}
    bases_used = {_without_budget(condition): condition for condition in plain if condition.id in paired}
    for condition in plain:
        if condition.id in paired:
            continue
        families.append([condition])
        if same := bases_used.get(_without_budget(condition)):
            explained.add(condition.id)
            notes.append(not_compared("budgets", condition.title, instead(same)))
    several = len({condition.epsilon for condition in conditions}) > 1
    reasons: dict[str, list[Condition]] = {}
    for family in families:
        if several and len(family) == 1 and family[0].id not in explained:
            reasons.setdefault(_unlike_any(family[0], conditions, recipes), []).append(family[0])
    notes += [not_compared("budgets", _listed(alone), reason) for reason, alone in reasons.items()]
    return families, notes


def not_compared(others: str, conditions: str, reason: str) -> str:
    """A note on conditions that are in no pair along an axis, whose places are called ``others``."""
    return f"not compared with other {others}: {conditions}; {reason}"


def instead(twin: Condition) -> str:
    """The reason for a note on a condition that is trained like this one."""
    return f"{twin.title}, which is trained alike, is compared instead"


def differ_too(settings: Sequence[str]) -> str:
    """What else differs between conditions that are not compared.

    >>> differ_too(["clipping_norm"]), differ_too(["epochs", "momentum"])
    ('clipping_norm differs too', 'epochs and momentum differ too')
    """
    return f"{listed(settings, most=None)} {'differs' if len(settings) == 1 else 'differ'} too"


def _unlike_any(condition: Condition, conditions: Iterable[Condition], recipes: Sequence[ByBudget]) -> str:
    """Why none of these conditions with another budget is compared with this one: of the nearest, the settings in which
    it differs by more than a recipe chooses by budget."""
    others = [other for other in conditions if other.epsilon != condition.epsilon]
    unlike = [_beyond_choice(condition, other, recipe) for other in others for recipe in (*recipes, {})]
    fewest = min(unlike, key=len)
    if not fewest:
        return f"the {RATE} of another condition fits better"
    return f"{differ_too(fewest)}, and by more than a recipe chooses by budget"


def _beyond_choice(first: Condition, second: Condition, recipe: ByBudget) -> list[str]:
    """The settings, but for the learning rate, in which two conditions differ and this recipe does not by budget."""
    differ = [name for name in _differing(first, second) if name != RATE]
    if first.private and second.private:
        return differ
    private, plain = (first, second) if first.private else (second, first)
    return [
        name
        for name in differ
        if not has_effect_with_a_budget_alone(name)
        and not _as_in(recipe, name, _value(plain, name), _value(private, name))
    ]


def _listed(conditions: Iterable[Condition]) -> str:
    return listed((condition.title for condition in conditions), most=3)


def _without_budget(condition: Condition) -> Hashable:
    """What has an effect in a training without a budget."""
    return _values(condition, [name for name in OPTIMIZATION if not has_effect_with_a_budget_alone(name)])


def _one_of_equals(bases: Iterable[Condition], private: Condition) -> list[Condition]:
    """Of conditions without a budget that are trained alike, the one that is measured and recorded most as another."""

    def agreement(base: Condition) -> int:
        names = (*WITHOUT_EFFECT, *filter(has_effect_with_a_budget_alone, OPTIMIZATION))
        return sum(_recorded(base, [name]) == _recorded(private, [name]) for name in names)

    return [max(alike, key=agreement) for alike in gathered(bases, _without_budget)]


def _recorded(condition: Condition, names: Iterable[str]) -> Hashable:
    return settings_key({name: condition.settings.get(name) for name in names})


def _one_a_budget(conditions: list[Condition]) -> list[list[Condition]]:
    """Conditions that differ in the learning rate alone; split by it, by delta, and by how they are measured and
    recorded, where a budget has several."""
    parts = [conditions]
    for value in (lambda c: _values(c, [RATE]), lambda c: c.delta, lambda c: _recorded(c, WITHOUT_EFFECT)):
        parts = [
            piece
            for part in parts
            for piece in (gathered(part, value) if len({c.epsilon for c in part}) < len(part) else [part])
        ]
    return parts


def _made_of_one_recipe(
    private: Sequence[Condition], plain: Iterable[Condition], recipes: Sequence[ByBudget]
) -> list[Condition]:
    """The conditions without a budget that a recipe trains in place of those with one: of several, those whose learning
    rate is the recipe's too; if there are none, those with the same learning rate."""
    ranked: dict[int, list[Condition]] = {}
    for base in plain:
        ranks = [rank for c in private if (rank := _rank(c, base, recipes)) is not None]
        if ranks:
            ranked.setdefault(min(ranks), []).append(base)
    return ranked[min(ranked)] if ranked else []


def _rank(private: Condition, plain: Condition, recipes: Sequence[ByBudget]) -> int | None:
    """How well two conditions belong together, 0 best; None where they differ in more than any recipe chooses."""
    differ = [name for name in _differing(private, plain) if not has_effect_with_a_budget_alone(name)]

    def chosen(names: list[str]) -> bool:
        values = {name: (_value(plain, name), _value(private, name)) for name in names}
        return any(all(_as_in(recipe, name, *values[name]) for name in names) for recipe in (*recipes, {}))

    if chosen(differ):
        return 0 if RATE in differ else 1
    return 2 if chosen([name for name in differ if name != RATE]) else None


def _as_in(recipe: ByBudget, name: str, without: Any, private: Any) -> bool:
    """Whether a recipe chooses these values, or epochs in the proportion of these."""
    if name not in recipe:
        return False
    chosen = recipe[name]
    if name == "epochs" and all(isinstance(value, int | float) for value in (without, private, *chosen)):
        return math.isclose(private * chosen[0], without * chosen[1])
    return settings_key({name: without, "with": private}) == settings_key({name: chosen[0], "with": chosen[1]})


def differing_words(first: Condition, second: Condition) -> str:
    """What two conditions with different budgets differ in beside, in words; "" where nothing of it has an effect."""
    differ = _differing(first, second)
    if not (first.private and second.private):
        differ = [name for name in differ if not has_effect_with_a_budget_alone(name)]
    differ = [name.replace("_", " ") for name in differ]
    words = f"each with the {listed(differ)} chosen for its budget" if differ else ""
    if len(differ) > FEW:
        words = "each optimized as its recipe prescribes for its budget"
    if first.delta is None or second.delta is None or first.delta == second.delta:
        return words
    delta = f"δ = {exact(first.delta)} against δ = {exact(second.delta)}"
    return f"{words}, {delta}" if words else delta


def _differing(first: Condition, second: Condition) -> list[str]:
    return [name for name in OPTIMIZATION if _values(first, [name]) != _values(second, [name])]


def _values(condition: Condition, names: Iterable[str]) -> Hashable:
    """The settings of these names that have an effect, in a form that is equal for what is the same."""
    effective = [name for name in names if has_effect(name, condition.settings)]
    return settings_key({name: _value(condition, name) for name in effective})


def _value(condition: Condition, name: str) -> Any:
    """A setting; where ``study.json`` leaves it out, its default."""
    return condition.settings.get(name, _DEFAULTS[name]) if condition.settings else None
