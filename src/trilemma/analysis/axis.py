"""An axis along which conditions are compared, and the parts of conditions that differ along it and in nothing else."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from trilemma.analysis.conditions import Condition, gathered
from trilemma.titles import WITHOUT_EFFECT, settings_key

Level = Any  # a place on an axis: hashable; None means no budget or no skew


@dataclass(frozen=True)
class Axis:
    """What varies within a family.

    Attributes:
      name: what a place is called, in the plural.
      varying: the fields of a condition that may differ within a family.
      settings: the settings of recipe and data that may differ too, since they belong to the axis.
      level: a condition's place on the axis.
      words: that place in words.
      owned: the settings that have an effect only at some levels of the axis, and whether they have it in a condition;
        conditions in which they have must agree.
      split: conditions that share all but the axis, in families; and notes on those that are in none.
      differing: what two of a family differ in beside, in words.
      more: further words for places of one family that are alike in words.
    """

    name: str
    varying: tuple[str, ...]
    settings: tuple[str, ...]
    level: Callable[[Condition], Level]
    words: Callable[[Condition], str]
    owned: Mapping[str, Callable[[Condition], bool]] = field(default_factory=dict)
    split: Callable[[list[Condition]], tuple[list[list[Condition]], list[str]]] | None = None
    differing: Callable[[Condition, Condition], str] = lambda first, second: ""
    more: Callable[[Condition], str] = lambda condition: ""


def parts_of(conditions: list[Condition], axis: Axis) -> list[list[Condition]]:
    """Conditions that share all else, split where settings of the axis differ that its place does not explain: where
    mixes with one technique have it with different settings.  Conditions in which the setting has no effect are in
    each part, since all of them may be compared with it; of several at one place, those that have its value.

    What is left of places that are taken twice differs in nothing that has an effect on the training; each such part
    takes the places that it lacks from the others.
    """
    parts = [conditions]
    for setting, in_effect in axis.owned.items():
        split: list[list[Condition]] = []
        for part in parts:
            values = dict.fromkeys(value_of(setting, condition) for condition in part if in_effect(condition))
            split += [_with_value(part, setting, value, axis) for value in values] or [part]
        parts = [part for place, part in enumerate(split) if not _within_another(place, split)]
    return [piece for part in parts for piece in _one_a_place(part, axis)]


def _with_value(conditions: Sequence[Condition], setting: str, value: Hashable, axis: Axis) -> list[Condition]:
    """The conditions that have this value, and those at other places where the setting has no effect."""
    equal = [condition for condition in conditions if value_of(setting, condition) == value]
    places = {axis.level(condition) for condition in equal}
    return [
        condition
        for condition in conditions
        if condition in equal or not (axis.owned[setting](condition) or axis.level(condition) in places)
    ]


def _within_another(place: int, parts: Sequence[Sequence[Condition]]) -> bool:
    """Whether a part holds nothing that another one does not; of equal parts, the first is kept."""
    ids = [{condition.id for condition in part} for part in parts]
    return any(
        ids[place] < other or (ids[place] == other and number < place)
        for number, other in enumerate(ids)
        if number != place
    )


def _one_a_place(conditions: list[Condition], axis: Axis) -> list[list[Condition]]:
    """Conditions that differ beside their places in nothing that has an effect on the training, each place once."""
    first: dict[Level, Condition] = {}
    for condition in conditions:
        first.setdefault(axis.level(condition), condition)
    if len(first) == len(conditions):
        return [conditions]
    names = (*WITHOUT_EFFECT, *axis.owned)
    recorded = gathered(conditions, lambda condition: tuple(value_of(name, condition) for name in names))
    if len(recorded) == 1:
        return [conditions]
    own = [{axis.level(condition) for condition in part} for part in recorded]
    return [
        [*part, *(condition for level, condition in first.items() if level not in levels)]
        for part, levels in zip(recorded, own, strict=True)
    ]


def value_of(setting: str, condition: Condition) -> Hashable:
    """A setting of a condition, equal for values that mean the same."""
    return settings_key({setting: condition.settings.get(setting)})
