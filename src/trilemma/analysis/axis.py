"""An axis along which conditions are compared, and the parts of conditions that differ along it and in nothing else."""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Sequence
from dataclasses import dataclass
from typing import Any

from trilemma.analysis.conditions import Condition, gathered
from trilemma.titles import has_effect, settings_key

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
      owned: the settings that have an effect only at some levels of the axis; conditions in which they have it must
        agree.
      split: conditions that share all but the axis, in families; and notes on those that are in none.
      differing: what two of a family differ in beside, in words.
      more: further words for places of one family that are alike in words.
    """

    name: str
    varying: tuple[str, ...]
    settings: tuple[str, ...]
    level: Callable[[Condition], Level]
    words: Callable[[Condition], str]
    owned: Collection[str] = ()
    split: Callable[[list[Condition]], tuple[list[list[Condition]], list[str]]] | None = None
    differing: Callable[[Condition, Condition], str] = lambda first, second: ""
    more: Callable[[Condition], str] = lambda condition: ""


def parts_of(conditions: list[Condition], axis: Axis) -> list[list[Condition]]:
    """Conditions that share all else, split where settings of the axis differ that its place does not explain: where
    mixes with one technique have it with different settings.  Conditions in which the setting has no effect are in
    each part, since all of them may be compared with it; of several at one place, those that have its value.

    What is left of places that are taken twice differs in nothing that has an effect on the training
    (:func:`_one_a_place`).
    """
    parts = [conditions]
    for setting in axis.owned:
        split: list[list[Condition]] = []
        for part in parts:
            values = dict.fromkeys(value_of(setting, c) for c in part if has_effect(setting, c.settings))
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
        if condition in equal or not (has_effect(setting, condition.settings) or axis.level(condition) in places)
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
    """Conditions that differ beside their places in nothing that has an effect on the training, each place once.

    They are split by the other settings in which conditions of one place differ.  A part takes the places that it lacks
    from the others, unless another part has all of its own and more: what it could be compared with is compared there.
    """
    by_place = gathered(conditions, axis.level)
    if len(by_place) == len(conditions):
        return [conditions]
    names = [
        name
        for name in dict.fromkeys(name for condition in conditions for name in condition.settings)
        if any(len({value_of(name, condition) for condition in alike}) > 1 for alike in by_place)
    ]
    parts = gathered(conditions, lambda condition: tuple(value_of(name, condition) for name in names))
    if len(parts) == 1:
        return [conditions]
    places = [{axis.level(condition) for condition in part} for part in parts]
    first = {axis.level(alike[0]): alike[0] for alike in by_place}
    return [
        part
        if any(own < others for others in places)
        else [*part, *(condition for level, condition in first.items() if level not in own)]
        for part, own in zip(parts, places, strict=True)
    ]


def value_of(setting: str, condition: Condition) -> Hashable:
    """A setting of a condition, equal for values that mean the same."""
    return settings_key({setting: condition.settings.get(setting)})
