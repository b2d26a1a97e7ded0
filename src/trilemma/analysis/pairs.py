"""Which conditions of a study are compared: pairs that differ along one axis, within families that share all else.

"All else" is what ``study.json`` asked for: every setting of recipe and data, but for those that belong to the axis.
What a training makes of them (the batch that ``obs`` chooses) follows from the techniques, and may differ.

The size of the noise is estimated from all conditions of a family (see :mod:`trilemma.analysis.comparisons`).
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import pairwise
from typing import Any, Literal

from trilemma.analysis.conditions import DESCRIPTION, Condition, Measured
from trilemma.data.named import same_images
from trilemma.techniques import PAPER_TECHNIQUES
from trilemma.titles import TECHNIQUE_OF, WITHOUT_EFFECT, made_distinct, settings_key, shared_words
from trilemma.words import budget, examples_words, mix, removal_words, setting_words, skew_words

Question = Literal[
    "step",
    "all",
    "single",
    "mix",
    "without",
    "budget",
    "budgets",
    "skew",
    "skew of one set",
    "control",
    "removal",
    "random",
]
"""What a pair compares: one more technique ("step"), all techniques with BL, a single one or another mix with BL, all
but one with all; a budget with none, the smallest budget with the largest; a skew with none, a skew with the smallest
of the same data set; removing exposed examples with removing random ones, and either with removing none."""


@dataclass(frozen=True)
class Pair:
    """Two conditions to compare, and the family from which the size of the noise is estimated.

    Attributes:
      condition, against: ids of the two.
      block: ids of the family's conditions, including these two.
      change, base: what distinguishes the two, in words.
      setting: what they share, in words.
      question: what the pair compares.
    """

    condition: str
    against: str
    block: tuple[str, ...]
    change: str
    base: str
    setting: str
    question: Question


Pairs = tuple[list[Pair], list[str]]
"""Pairs, and notes on what could not be paired."""

Level = Any  # a place on an axis: hashable; None means no budget or no skew
Asked = list[tuple[Level, Level, Question]]


@dataclass(frozen=True)
class _Axis:
    """What varies within a family.

    Attributes:
      varying: the fields of a condition that may differ within a family.
      settings: the settings of recipe and data that may differ too, since they belong to the axis.
      level: a condition's place on the axis.
      words: that place in words.
      owned: the settings that have an effect only at some levels of the axis, and whether they have it in a condition;
        conditions in which they have must agree.
    """

    varying: tuple[str, ...]
    settings: tuple[str, ...]
    level: Callable[[Condition], Level]
    words: Callable[[Condition], str]
    owned: Mapping[str, Callable[[Condition], bool]] = field(default_factory=dict)


_CHOSEN_BY_BUDGET = (
    *("batch_size", "clipping_norm", "epochs", "fewest_updates", "views", "average_decay", "sharpness_radius"),
    *("learning_rate", "schedule", "warmup", "momentum", "weight_decay", "optimizer", "label_smoothing"),
    *("head_first", "head_rate"),
)
"""The settings of the optimization: recipes choose them for each budget (``[with_budget]``), since what is best without
noise is not with it.  A budget is compared with none as each is trained."""


def _uses(technique: str, condition: Condition) -> bool:
    return technique in condition.codes


_TECHNIQUES = _Axis(
    ("techniques",),
    ("techniques",),
    lambda c: c.codes,
    lambda c: c.technique_words,
    {setting: partial(_uses, technique) for setting, technique in TECHNIQUE_OF.items()},
)
_BUDGETS = _Axis(
    ("epsilon", "delta"), ("epsilon", "delta", *_CHOSEN_BY_BUDGET), lambda c: c.epsilon, lambda c: budget(c.epsilon)
)
_SKEWS = _Axis(
    ("data", "skew"),
    ("name", "skew"),
    lambda c: c.skew,
    lambda c: skew_words(c.skew),
    {"classes_seed": lambda c: c.skew is not None},
)
_REMOVALS = _Axis(
    ("removed", "removal", "rank", "examples"),
    ("share", "arm", "rank", "control"),
    lambda c: (c.removed, c.removal, c.rank),
    lambda c: removal_words(c.removed, c.removal, c.rank),
)


def technique_pairs(measurements: Measured) -> Pairs:
    """See :func:`~trilemma.analysis.comparisons.technique_comparisons`."""

    def asked(family: Mapping[Level, Condition]) -> Asked:
        chain = [codes for codes in _CUMULATIVE if codes in family]
        pairs: dict[frozenset[Level], tuple[Level, Level, Question]] = {}
        for before, after in pairwise(chain):
            pairs[frozenset((after, before))] = after, before, "step"
        fullest = full_mix(list(family))
        if () in family and fullest:
            pairs[frozenset((fullest, ()))] = fullest, (), "all"
        for codes in family:
            if codes in chain or codes == fullest:
                continue
            lacks_one = set(codes) < set(PAPER_TECHNIQUES) and len(codes) == len(PAPER_TECHNIQUES) - 1
            if PAPER_TECHNIQUES in family and lacks_one:
                pairs[frozenset((codes, PAPER_TECHNIQUES))] = codes, PAPER_TECHNIQUES, "without"
            elif () in family:
                pairs[frozenset((codes, ()))] = codes, (), "single" if len(codes) == 1 else "mix"
        return list(pairs.values())

    return _pairs(measurements, _TECHNIQUES, asked)


_CUMULATIVE = tuple(PAPER_TECHNIQUES[:length] for length in range(len(PAPER_TECHNIQUES) + 1))


def full_mix(mixes: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
    """The mix that stands for the paper's "all techniques": all six, else the longest cumulative mix, else the only
    largest one.  A mix with a technique that is not the paper's never does.

    >>> full_mix([(), ("gn",), ("obs", "gn")]), full_mix([("gn",), ("ws",)]), full_mix([("gn",), ("gn", "mine")])
    (('obs', 'gn'), (), ('gn',))
    """
    mixes = [codes for codes in mixes if set(codes) <= set(PAPER_TECHNIQUES)]
    for codes in reversed(_CUMULATIVE[2:]):
        if codes in mixes:
            return codes
    most = max((len(codes) for codes in mixes), default=0)
    largest = [codes for codes in mixes if len(codes) == most]
    return largest[0] if len(largest) == 1 else ()


def budget_pairs(measurements: Measured) -> Pairs:
    """See :func:`~trilemma.analysis.comparisons.budget_comparisons`."""

    def asked(family: Mapping[Level, Condition]) -> Asked:
        budgets = sorted(epsilon for epsilon in family if epsilon is not None)
        pairs: Asked = [(epsilon, None, "budget") for epsilon in budgets if None in family]
        return pairs + ([(budgets[0], budgets[-1], "budgets")] if len(budgets) > 1 else [])

    return _pairs(measurements, _BUDGETS, asked)


def skew_pairs(measurements: Measured) -> Pairs:
    """See :func:`~trilemma.analysis.comparisons.skew_comparisons`."""

    def asked(family: Mapping[Level, Condition]) -> Asked:
        skews = sorted(skew for skew in family if skew is not None)
        pairs: Asked = [(skew, None, "skew") for skew in skews if None in family]
        return [*pairs, *((skew, skews[0], "skew of one set") for skew in skews[1:])]

    return _pairs(measurements, _SKEWS, asked)


def removal_pairs(measurements: Measured) -> Pairs:
    """See :func:`~trilemma.analysis.comparisons.removal_comparisons`."""

    def asked(family: Mapping[Level, Condition]) -> Asked:
        pairs: Asked = []
        for share, rank in sorted({(share, rank) for share, arm, rank in family if arm}):
            exposed, random, none = (share, "exposed", rank), (share, "random", rank), (0.0, "", "")
            pairs += [(exposed, random, "control"), (exposed, none, "removal"), (random, none, "random")]
        return [(level, base, question) for level, base, question in pairs if level in family and base in family]

    return _pairs(measurements, _REMOVALS, asked)


def _pairs(measurements: Measured, axis: _Axis, asked: Callable[[Mapping[Level, Condition]], Asked]) -> Pairs:
    """The pairs that ``asked`` names in each family along an axis."""
    families, notes = _families(measurements, axis)
    pairs = []
    for setting, family in families:
        block = tuple(condition.id for condition in family.values())
        for level, base, question in asked(family):
            first, second = family[level], family[base]
            pairs.append(Pair(first.id, second.id, block, axis.words(first), axis.words(second), setting, question))
    return pairs, notes


def _families(measurements: Measured, axis: _Axis) -> tuple[list[tuple[str, dict[Level, Condition]]], list[str]]:
    """Conditions that share everything except their place on an axis, by that place; each family with its setting.

    Where two conditions of a family have the same place, there is a note instead of the family.
    """
    gathered = _gathered(measurements.conditions.values(), lambda condition: _shared(condition, axis))
    families, notes = [], []
    for conditions in (part for alike in gathered for part in _parts(alike, axis)):
        family = {axis.level(condition): condition for condition in conditions}
        if len(family) == len(conditions):
            families.append(family)
            continue
        levels = [axis.level(condition) for condition in conditions]
        doubled = next(condition for condition in conditions if levels.count(axis.level(condition)) > 1)
        if len(family) > 1:
            notes.append(
                f"not compared: {levels.count(axis.level(doubled))} conditions are {axis.words(doubled)} "
                f"({_setting(doubled, axis)}), and the results do not say what distinguishes them"
            )
    largest = [max(family.values(), key=lambda c: (c.examples, c.data)) for family in families]
    told = [shared_words(condition.told for condition in family.values()) for family in families]
    titles = [_setting(replace(c, told=words or c.variant), axis) for c, words in zip(largest, told, strict=True)]
    more: tuple[Callable[[Condition], str], ...] = (
        lambda c: examples_words(c.examples),
        lambda c: c.model,
        lambda c: f"delta {c.delta}",
    )
    distinct = made_distinct(dict(enumerate(titles)), *({i: word(c) for i, c in enumerate(largest)} for word in more))
    return list(zip(distinct.values(), families, strict=True)), notes


def _gathered(conditions: Iterable[Condition], key: Callable[[Condition], Hashable]) -> list[list[Condition]]:
    groups: dict[Hashable, list[Condition]] = {}
    for condition in conditions:
        groups.setdefault(key(condition), []).append(condition)
    return list(groups.values())


def _parts(conditions: list[Condition], axis: _Axis) -> list[list[Condition]]:
    """Conditions that share all else, split where settings of the axis differ that its place does not explain: where
    one place is taken twice, or where two mixes with one technique have it with different settings."""
    doubled = len({axis.level(condition) for condition in conditions}) < len(conditions)
    parts = _gathered(conditions, lambda condition: condition.variant) if doubled else [conditions]
    for setting, has_effect in axis.owned.items():
        value = partial(_value, setting)
        split = []
        for part in parts:
            differ = len({value(condition) for condition in part if has_effect(condition)}) > 1
            split += _gathered(part, value) if differ else [part]
        parts = split
    return parts


def _value(setting: str, condition: Condition) -> Hashable:
    return settings_key({setting: condition.settings.get(setting)})


def _shared(condition: Condition, axis: _Axis) -> tuple[Hashable, ...]:
    """What the conditions of one family share; along skews, data sets with the same images count as one."""
    images = same_images(condition.data) if "data" in axis.varying else condition.data
    described = (getattr(condition, name) for name in DESCRIPTION if name not in ("data", *axis.varying))
    free = (*axis.settings, *axis.owned, *WITHOUT_EFFECT)
    asked = {key: value for key, value in condition.settings.items() if key not in free}
    return images, *described, settings_key(asked)


def _setting(condition: Condition, axis: _Axis) -> str:
    """What a family shares, in the words of a condition's title."""
    c, varying = condition, axis.varying
    parts = [setting_words(c.data, None if "skew" in varying else c.skew, c.target, c.protected)]
    parts += [mix(c.codes)] if "techniques" not in varying else []
    parts += [budget(c.epsilon)] if "epsilon" not in varying else []
    parts += [removal_words(c.removed, c.removal, c.rank)] if c.removal and "removal" not in varying else []
    parts += [c.told] if c.told else []
    return ", ".join(parts)
