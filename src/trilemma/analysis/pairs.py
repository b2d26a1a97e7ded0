"""Which conditions of a study are compared: pairs that differ along one axis, within families that share all else.

The size of the noise is estimated from all conditions of a family (see :mod:`trilemma.analysis.comparisons`).
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from itertools import pairwise
from typing import Any, Literal

from trilemma.analysis.conditions import Condition, Measured
from trilemma.data.named import same_images
from trilemma.techniques import PAPER_TECHNIQUES
from trilemma.titles import shared_words
from trilemma.words import budget, mix, removal_words, setting_words, skew_words

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
      level: a condition's place on the axis.
      words: that place in words.
    """

    varying: tuple[str, ...]
    level: Callable[[Condition], Level]
    words: Callable[[Condition], str]


_TECHNIQUES = _Axis(("techniques",), lambda c: c.codes, lambda c: c.technique_words)
_BUDGETS = _Axis(("epsilon", "delta"), lambda c: c.epsilon, lambda c: budget(c.epsilon))
_SKEWS = _Axis(("data", "skew"), lambda c: c.skew, lambda c: skew_words(c.skew))
_REMOVALS = _Axis(
    ("removed", "removal", "rank", "examples"),
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
    gathered: dict[tuple[Hashable, ...], list[Condition]] = {}
    for condition in measurements.conditions.values():
        gathered.setdefault(_shared(condition, axis), []).append(condition)
    families, notes = [], []
    for conditions in gathered.values():
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
    # Settings with equal words are distinguished by further ones.
    for more in (lambda c: f"{c.examples} examples", lambda c: c.model, lambda c: f"delta {c.delta}"):
        repeated = [titles.count(title) > 1 for title in titles]
        titles = [f"{t}, {more(c)}" if twice else t for t, c, twice in zip(titles, largest, repeated, strict=True)]
    return list(zip(titles, families, strict=True)), notes


def _shared(condition: Condition, axis: _Axis) -> tuple[Hashable, ...]:
    """What the conditions of one family share; along skews, data sets with the same images count as one."""
    varying = {"id", "told", *axis.varying}
    images = same_images(condition.data) if "data" in varying else condition.data
    return images, *(getattr(condition, field.name) for field in fields(condition) if field.name not in varying)


def _setting(condition: Condition, axis: _Axis) -> str:
    """What a family shares, in the words of a condition's title."""
    c, varying = condition, axis.varying
    parts = [setting_words(c.data, None if "skew" in varying else c.skew, c.target, c.protected)]
    parts += [mix(c.codes)] if "techniques" not in varying else []
    parts += [budget(c.epsilon)] if "epsilon" not in varying else []
    parts += [removal_words(c.removed, c.removal, c.rank)] if c.removal and "removal" not in varying else []
    parts += [c.told] if c.told else []
    return ", ".join(parts)
