"""Which conditions of a study are compared: pairs that differ along one axis, within families that share all else.

"All else" is what ``study.json`` asked for: every setting of recipe and data, but for those that belong to the axis.
What a training makes of them (the batch that ``obs`` chooses) follows from the techniques, and may differ.  So may what
a recipe chooses by budget (:mod:`trilemma.analysis.by_budget`).

The size of the noise is estimated from all conditions of a family (see :mod:`trilemma.analysis.comparisons`).
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from trilemma.analysis.axis import Axis, Level, parts_of, value_of
from trilemma.analysis.by_budget import (
    OPTIMIZATION,
    differ_too,
    differing_words,
    families_by_budget,
    instead,
    not_compared,
    recipes_of,
)
from trilemma.analysis.conditions import DESCRIPTION, Condition, Measured, gathered, shared, shared_words
from trilemma.data.named import same_images
from trilemma.hints import listed
from trilemma.networks import techniques_for
from trilemma.techniques import PAPER_TECHNIQUES
from trilemma.titles import (
    TECHNIQUES_OF,
    WITHOUT_EFFECT,
    has_effect,
    made_distinct,
    settings_key,
    telling,
    wording,
    words_of,
)
from trilemma.words import budget, examples_words, mix, ranking_words, removal_words, setting_words, skew_words

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
"""What a pair compares: one more technique ("step"), all of the paper's techniques that apply to the network with BL
("all"), a single one or another mix with BL, all but one with all; a budget with none, the smallest budget with the
largest; a skew with none, a skew with the smallest of the same data set; removing exposed examples with removing random
ones, and either with removing none."""


@dataclass(frozen=True)
class Pair:
    """Two conditions to compare, and the family from which the size of the noise is estimated.

    Attributes:
      condition, against: ids of the two.
      block: ids of the family's conditions, including these two.
      change, base: what distinguishes the two, in words.
      setting: what they share, in words.
      question: what the pair compares.
      differing: what else differs between the two, in words, or "".
    """

    condition: str
    against: str
    block: tuple[str, ...]
    change: str
    base: str
    setting: str
    question: Question
    differing: str = ""

    @property
    def where(self) -> str:
        """What the two share, and what they differ in beside."""
        return f"{self.setting}, {self.differing}" if self.differing else self.setting


Pairs = tuple[list[Pair], list[str]]
"""Pairs, and notes on what could not be paired."""

Questions = list[tuple[Level, Level, Question]]


_TECHNIQUES = Axis(
    "techniques",
    ("techniques",),
    ("techniques",),
    lambda c: c.codes,
    lambda c: c.technique_words,
    TECHNIQUES_OF,
)
_SKEWS = Axis(
    "skews",
    ("data", "skew"),
    ("name", "skew"),
    lambda c: c.skew,
    lambda c: skew_words(c.skew),
    ("classes_seed",),
)
_REMOVALS = Axis(
    "removals",
    ("removed", "removal", "rank", "examples"),
    ("share", "arm", "rank"),
    lambda c: (c.removed, c.removal, c.rank),
    lambda c: removal_words(c.removed, c.removal, c.rank),
    ("control",),
    more=lambda c: f"({ranking_words(c.rank)})" if c.removal else "",
)


def technique_pairs(measurements: Measured) -> Pairs:
    """See :func:`~trilemma.analysis.comparisons.technique_comparisons`."""

    def questions(family: Mapping[Level, Condition]) -> Questions:
        chain = [codes for codes in _CUMULATIVE if codes in family]
        pairs: dict[frozenset[Level], tuple[Level, Level, Question]] = {}
        for before, after in pairwise(chain):
            pairs[frozenset((after, before))] = after, before, "step"
        (model,) = {condition.model for condition in family.values()}
        everything = techniques_for(model)
        if () in family and chain and len(chain[-1]) > 1:
            pairs[frozenset((chain[-1], ()))] = chain[-1], (), "mix"
        if () in family and everything in family:
            pairs[frozenset((everything, ()))] = everything, (), "all"
        for codes in family:
            if codes in chain or codes == everything:
                continue
            lacks_one = set(codes) < set(PAPER_TECHNIQUES) and len(codes) == len(PAPER_TECHNIQUES) - 1
            if PAPER_TECHNIQUES in family and lacks_one:
                pairs[frozenset((codes, PAPER_TECHNIQUES))] = codes, PAPER_TECHNIQUES, "without"
            elif () in family:
                pairs[frozenset((codes, ()))] = codes, (), "single" if len(codes) == 1 else "mix"
        return list(pairs.values())

    return _pairs(measurements, _TECHNIQUES, questions)


_CUMULATIVE = tuple(PAPER_TECHNIQUES[:length] for length in range(len(PAPER_TECHNIQUES) + 1))


def budget_pairs(measurements: Measured) -> Pairs:
    """See :func:`~trilemma.analysis.comparisons.budget_comparisons`."""

    recipes = recipes_of(measurements.study)
    axis = Axis(
        "budgets",
        ("epsilon", "delta"),
        ("epsilon", "delta", *OPTIMIZATION),
        lambda c: c.epsilon,
        lambda c: budget(c.epsilon),
        split=lambda conditions: families_by_budget(conditions, recipes),
        differing=differing_words,
    )

    def questions(family: Mapping[Level, Condition]) -> Questions:
        budgets = sorted(epsilon for epsilon in family if epsilon is not None)
        pairs: Questions = [(epsilon, None, "budget") for epsilon in budgets if None in family]
        return pairs + ([(budgets[0], budgets[-1], "budgets")] if len(budgets) > 1 else [])

    return _pairs(measurements, axis, questions)


def skew_pairs(measurements: Measured) -> Pairs:
    """See :func:`~trilemma.analysis.comparisons.skew_comparisons`."""

    def questions(family: Mapping[Level, Condition]) -> Questions:
        skews = sorted(skew for skew in family if skew is not None)
        pairs: Questions = [(skew, None, "skew") for skew in skews if None in family]
        return [*pairs, *((skew, skews[0], "skew of one set") for skew in skews[1:])]

    return _pairs(measurements, _SKEWS, questions)


def removal_pairs(measurements: Measured) -> Pairs:
    """See :func:`~trilemma.analysis.comparisons.removal_comparisons`."""

    def questions(family: Mapping[Level, Condition]) -> Questions:
        pairs: Questions = []
        for share, rank in sorted({(share, rank) for share, arm, rank in family if arm}):
            exposed, random, none = (share, "exposed", rank), (share, "random", rank), (0.0, "", "")
            pairs += [(exposed, random, "control"), (exposed, none, "removal"), (random, none, "random")]
        return [(level, base, question) for level, base, question in pairs if level in family and base in family]

    return _pairs(measurements, _REMOVALS, questions)


def _pairs(measurements: Measured, axis: Axis, questions: Callable[[Mapping[Level, Condition]], Questions]) -> Pairs:
    """The pairs that ``questions`` names in each family along an axis."""
    families, notes = _families(measurements, axis)
    pairs: dict[tuple[str, str], Pair] = {}
    for setting, family in families:
        block = tuple(condition.id for condition in family.values())
        words = _place_words(family, axis)
        for level, base, question in questions(family):
            first, second = family[level], family[base]
            differing = axis.differing(first, second)
            pair = Pair(first.id, second.id, block, words[level], words[base], setting, question, differing)
            # Mixes without a technique are in a family for each of its settings: the largest one counts.
            known = pairs.get((first.id, second.id))
            if known is None or len(block) > len(known.block):
                pairs[first.id, second.id] = pair
    return list(pairs.values()), notes + _notes_on_differences(measurements, axis, pairs)


def _notes_on_differences(measurements: Measured, axis: Axis, pairs: Iterable[tuple[str, str]]) -> list[str]:
    """A note on the conditions that are in no pair since those that they might be compared with differ in more, or
    since one that is trained alike stands for them."""
    paired = {name for pair in pairs for name in pair}
    alike_notes = []
    notes: dict[tuple[str, ...], list[Condition]] = {}
    beside = [name for name in DESCRIPTION if name not in ("data", "examples", "delta", *axis.varying)]
    for alike in gathered(
        measurements.conditions.values(),
        lambda c: (_images(c, axis), *(getattr(c, name) for name in beside)),
    ):
        for condition in (c for c in alike if c.id not in paired):
            twin = next((c for c in alike if c.id in paired and _trained_alike(c, condition, axis)), None)
            if twin is not None and axis.split is None:
                alike_notes.append(not_compared(axis.name, condition.title, instead(twin)))
                continue
            differ = [_more(condition, other, axis) for other in alike if axis.level(other) != axis.level(condition)]
            if fewest := min(differ, key=len, default=()):
                notes.setdefault(fewest, []).append(condition)
    return alike_notes + [
        not_compared(axis.name, listed((condition.title for condition in conditions), most=3), differ_too(keys))
        for keys, conditions in notes.items()
    ]


def _trained_alike(first: Condition, second: Condition, axis: Axis) -> bool:
    """Whether two conditions at one place of an axis differ in nothing that has an effect on the training."""
    owned = (key for key in axis.owned if has_effect(key, first.settings))
    return (axis.level(first), _shared(first, axis)) == (axis.level(second), _shared(second, axis)) and all(
        value_of(key, first) == value_of(key, second) for key in owned
    )


def _more(first: Condition, second: Condition, axis: Axis) -> tuple[str, ...]:
    """The settings, or columns, that keep two conditions out of one family."""
    if not (first.settings and second.settings):
        columns = (name for name in ("examples", "delta") if name not in axis.varying)
        return tuple(name for name in columns if getattr(first, name) != getattr(second, name))
    free = (*axis.settings, *axis.owned, *WITHOUT_EFFECT)
    keys = (key for key in {**first.settings, **second.settings} if key not in free)
    return tuple(
        key
        for key in keys
        if value_of(key, first) != value_of(key, second) and all(has_effect(key, c.settings) for c in (first, second))
    )


def _place_words(family: Mapping[Level, Condition], axis: Axis) -> dict[Level, str]:
    """The places of a family in words; two that are alike in words say more."""
    words = {level: axis.words(condition) for level, condition in family.items()}
    return {
        level: f"{said} {axis.more(family[level])}".strip() if list(words.values()).count(said) > 1 else said
        for level, said in words.items()
    }


def _families(measurements: Measured, axis: Axis) -> tuple[list[tuple[str, dict[Level, Condition]]], list[str]]:
    """Conditions that share everything except their place on an axis, by that place; each family with its setting.

    Where two conditions of a family have the same place, there is a note instead of the family.
    """
    families, notes = [], []
    for alike in gathered(measurements.conditions.values(), lambda condition: _shared(condition, axis)):
        parts, missing = axis.split(alike) if axis.split else (parts_of(alike, axis), [])
        notes += missing
        for conditions in parts:
            family = {axis.level(condition): condition for condition in conditions}
            if len(family) == len(conditions):
                families += [family] if len(family) > 1 else []
                continue
            levels = [axis.level(condition) for condition in conditions]
            doubled = next(condition for condition in conditions if levels.count(axis.level(condition)) > 1)
            if len(family) > 1:
                notes.append(
                    f"not compared: {levels.count(axis.level(doubled))} conditions are {axis.words(doubled)} "
                    f"({_setting([doubled], axis)}), and the results do not say what distinguishes them"
                )
    return list(zip(_titles(families, axis), families, strict=True)), notes


def _titles(families: Sequence[Mapping[Level, Condition]], axis: Axis) -> list[str]:
    """What the conditions of each family share, in words; of two families never the same."""
    members = dict(enumerate(list(family.values()) for family in families))
    words = wording(condition.settings for family in members.values() for condition in family)
    more: tuple[Callable[[list[Condition]], str], ...] = (
        lambda family: examples_words(max(c.examples for c in family)),
        lambda family: words("model", family[0].model),
        lambda family: next((words("delta", c.delta) for c in family if c.delta is not None), ""),
    )
    titles = {place: _setting(family, axis) for place, family in members.items()}
    distinct = made_distinct(titles, {place: _with_a_budget(family) for place, family in members.items()})
    for alike in (same for title in set(distinct.values()) if len(same := _places(distinct, title)) > 1):
        keys = _shared_keys([members[place] for place in alike])
        first = {
            place: {
                key: next(c.settings.get(key) for c in members[place] if has_effect(key, c.settings)) for key in keys
            }
            for place in alike
        }
        keys_told = telling([first.values()])
        own = {place: words_of(settings, keys_told, words) for place, settings in first.items()}
        # Last, settings without an effect here, which still tell one family of the study from another.
        told = (*keys, "techniques", "epsilon", *axis.settings)
        idle = [{k: v for k, v in members[place][0].settings.items() if k not in told} for place in alike]
        keys_idle = telling([idle])
        last = {place: words_of(settings, keys_idle, words) for place, settings in zip(alike, idle, strict=True)}
        distinct |= made_distinct({place: distinct[place] for place in alike}, own, last)
    distinct = made_distinct(distinct, *({place: word(family) for place, family in members.items()} for word in more))
    return list(made_distinct(distinct, {place: f"({place + 1})" for place in distinct}).values())


def _places(titles: Mapping[int, str], title: str) -> list[int]:
    return [place for place, other in titles.items() if other == title]


def _with_a_budget(family: Sequence[Condition]) -> str:
    """What the conditions with a budget share, and the one without does not."""
    private = [condition for condition in family if condition.private]
    own = [words for key, words in shared(private).items() if key not in shared(family)]
    return f"with a budget {listed(own)}" if own else ""


def _shared_keys(families: Sequence[Sequence[Condition]]) -> list[str]:
    """The settings that have, in each of these families, one value where they have an effect; not the techniques and
    the budget."""
    known = [condition for family in families for condition in family]
    return [
        key
        for key in dict.fromkeys(key for condition in known for key in condition.settings)
        if key not in ("techniques", "epsilon")
        and all(len({value_of(key, c) for c in family if has_effect(key, c.settings)}) == 1 for family in families)
    ]


def _shared(condition: Condition, axis: Axis) -> tuple[Hashable, ...]:
    """What the conditions of one family share."""
    described = (getattr(condition, name) for name in DESCRIPTION if name not in ("data", *axis.varying))
    free = (*axis.settings, *axis.owned, *WITHOUT_EFFECT)
    own = condition.settings
    settings = {key: value for key, value in own.items() if key not in free and has_effect(key, own)}
    return _images(condition, axis), *described, settings_key(settings)


def _images(condition: Condition, axis: Axis) -> str:
    """The data set; along skews, those with the same images are one."""
    return same_images(condition.data) if "data" in axis.varying else condition.data


def _setting(family: Sequence[Condition], axis: Axis) -> str:
    """What a family shares, in the words of a condition's title."""
    c, varying = max(family, key=lambda c: (c.examples, c.data)), axis.varying
    parts = [setting_words(c.data, None if "skew" in varying else c.skew, c.target, c.protected)]
    parts += [mix(c.codes)] if "techniques" not in varying else []
    parts += [budget(c.epsilon)] if "epsilon" not in varying else []
    parts += [removal_words(c.removed, c.removal, c.rank)] if c.removal and "removal" not in varying else []
    parts += [words] if (words := shared_words(family)) else []
    return ", ".join(parts)
