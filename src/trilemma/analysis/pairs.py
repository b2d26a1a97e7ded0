"""Which conditions of a study are compared, in families whose noise is taken to be alike."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal, TypeVar

from trilemma.analysis.cells import Cell, Measured
from trilemma.data.named import same_images
from trilemma.techniques import PAPER_TECHNIQUES
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
"""What a pair is about: the next technique, all against BL, one technique or another mix against BL, all but one
against all; a budget against none, the least budget against the largest; a skew against none, a skew against the
least of the same data set; removing exposed examples against random ones, either against removing none."""


@dataclass(frozen=True)
class Pair:
    """Two cells to compare, and the family that says how large the noise is.

    Attributes:
      cell, against: ids.
      block: ids of the family's cells, both of these among them.
      change, base: what sets the two apart, in words.
      setting: what they share, in words.
      question: what kind of change it is.
    """

    cell: str
    against: str
    block: tuple[str, ...]
    change: str
    base: str
    setting: str
    question: Question


_Level = TypeVar("_Level", bound=Hashable)

Pairs = tuple[list[Pair], list[str]]
"""Pairs, and notes on what could not be paired."""


def technique_pairs(given: Measured) -> Pairs:
    """See :func:`technique_comparisons`."""

    def shared(cell: Cell) -> tuple[Hashable, ...]:
        return (*_place(cell), cell.skew, cell.epsilon, cell.delta, cell.examples, cell.removed, cell.removal)

    def setting(cell: Cell) -> str:
        return _words(_data(cell), budget(cell.epsilon), _removal(cell), cell.variant)

    families, notes = _families(given, shared, lambda cell: cell.codes, lambda cell: cell.technique_words, setting)
    pairs: list[Pair] = []
    everything = PAPER_TECHNIQUES
    for words, family in families:
        chain = [everything[:length] for length in range(len(everything) + 1) if everything[:length] in family]
        asked: dict[frozenset[tuple[str, ...]], tuple[tuple[str, ...], tuple[str, ...], Question]] = {}
        for before, after in pairwise(chain):
            asked[frozenset((after, before))] = after, before, "step"
        fullest = full_mix(list(family))
        if () in family and fullest:
            asked[frozenset((fullest, ()))] = fullest, (), "all"
        for codes in family:
            if codes in chain or codes == fullest:
                continue
            if everything in family and set(codes) < set(everything) and len(codes) == len(everything) - 1:
                asked[frozenset((codes, everything))] = codes, everything, "without"
            elif () in family:
                asked[frozenset((codes, ()))] = codes, (), "single" if len(codes) == 1 else "mix"
        block = tuple(cell.id for cell in family.values())
        for codes, base, question in asked.values():
            first, second = family[codes], family[base]
            sides = first.technique_words, second.technique_words
            pairs.append(Pair(first.id, second.id, block, *sides, words, question))
    return pairs, notes


def full_mix(mixes: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
    """The mix that stands for "all techniques": all, else the longest cumulative one, else the largest if it is one.

    >>> full_mix([(), ("gn",), ("obs", "gn")]), full_mix([("gn",), ("ws",)])
    (('obs', 'gn'), ())
    """
    everything = PAPER_TECHNIQUES
    for length in range(len(everything), 1, -1):
        if everything[:length] in mixes:
            return everything[:length]
    most = max((len(mix) for mix in mixes), default=0)
    largest = [mix for mix in mixes if len(mix) == most]
    return largest[0] if len(largest) == 1 else ()


def budget_pairs(given: Measured) -> Pairs:
    """See :func:`budget_comparisons`."""

    def shared(cell: Cell) -> tuple[Hashable, ...]:
        return (*_place(cell), cell.skew, cell.techniques, cell.examples, cell.removed, cell.removal)

    def setting(cell: Cell) -> str:
        return _words(_data(cell), mix(cell.codes), _removal(cell), cell.variant)

    families, notes = _families(given, shared, lambda cell: cell.epsilon, lambda cell: budget(cell.epsilon), setting)
    pairs: list[Pair] = []
    for words, family in families:
        block = tuple(cell.id for cell in family.values())
        finite = sorted(epsilon for epsilon in family if epsilon is not None)
        asked: list[tuple[float, float | None, Question]] = []
        if None in family:
            asked += [(epsilon, None, "budget") for epsilon in finite]
        if len(finite) > 1:
            asked.append((finite[0], finite[-1], "budgets"))
        for epsilon, base, question in asked:
            first, second = family[epsilon], family[base]
            sides = budget(first.epsilon), budget(second.epsilon)
            pairs.append(Pair(first.id, second.id, block, *sides, words, question))
    return pairs, notes


def skew_pairs(given: Measured) -> Pairs:
    """See :func:`skew_comparisons`."""

    def shared(cell: Cell) -> tuple[Hashable, ...]:
        pictures = same_images(cell.data)
        what = (cell.techniques, cell.epsilon, cell.delta, cell.examples, cell.removed, cell.removal)
        return (pictures, *_place(cell)[1:], *what)

    def setting(cell: Cell) -> str:
        return _words(
            _data(replace(cell, skew=None)), mix(cell.codes), budget(cell.epsilon), _removal(cell), cell.variant
        )

    families, notes = _families(given, shared, lambda cell: cell.skew, lambda cell: skew_words(cell.skew), setting)
    pairs: list[Pair] = []
    for words, family in families:
        block = tuple(cell.id for cell in family.values())
        skews = sorted(skew for skew in family if skew is not None)
        asked: list[tuple[float, float | None, Question]] = []
        if None in family:
            asked += [(skew, None, "skew") for skew in skews]
        asked += [(skew, skews[0], "skew of one set") for skew in skews[1:]]
        for skew, base, question in asked:
            first, second = family[skew], family[base]
            sides = skew_words(first.skew), skew_words(second.skew)
            pairs.append(Pair(first.id, second.id, block, *sides, words, question))
    return pairs, notes


def removal_pairs(given: Measured) -> Pairs:
    """See :func:`removal_comparisons`."""

    def shared(cell: Cell) -> tuple[Hashable, ...]:
        return (*_place(cell), cell.skew, cell.techniques, cell.epsilon, cell.delta)

    def setting(cell: Cell) -> str:
        return _words(_data(cell), mix(cell.codes), budget(cell.epsilon), cell.variant)

    def level(cell: Cell) -> tuple[float, str]:
        return cell.removed, cell.removal

    families, notes = _families(given, shared, level, lambda cell: removal_words(cell.removed, cell.removal), setting)
    pairs: list[Pair] = []
    for words, family in families:
        block = tuple(cell.id for cell in family.values())
        asked: list[tuple[tuple[float, str], tuple[float, str], Question]] = []
        for share in sorted({share for share, arm in family if arm}):
            exposed, random, none = (share, "exposed"), (share, "random"), (0.0, "")
            asked += [(exposed, random, "control"), (exposed, none, "removal"), (random, none, "random")]
        for what, base, question in asked:
            if what in family and base in family:
                first, second = family[what], family[base]
                sides = removal_words(first.removed, first.removal), removal_words(second.removed, second.removal)
                pairs.append(Pair(first.id, second.id, block, *sides, words, question))
    return pairs, notes


def _place(cell: Cell) -> tuple[Hashable, ...]:
    """What all kinds of families share."""
    return cell.data, cell.target, cell.protected, cell.model, cell.variant


def _data(cell: Cell) -> str:
    return setting_words(cell.data, cell.skew, cell.target, cell.protected)


def _removal(cell: Cell) -> str:
    return removal_words(cell.removed, cell.removal) if cell.removal else ""


def _words(*parts: str) -> str:
    return ", ".join(part for part in parts if part)


def _families(
    given: Measured,
    shared: Callable[[Cell], tuple[Hashable, ...]],
    level: Callable[[Cell], _Level],
    level_words: Callable[[Cell], str],
    setting: Callable[[Cell], str],
) -> tuple[list[tuple[str, dict[_Level, Cell]]], list[str]]:
    """Cells that share everything but one thing, by that thing, each family with its setting in words.

    Where two cells have the same one, there is a note and no family.
    """
    gathered: dict[tuple[Hashable, ...], list[Cell]] = {}
    for cell in given.cells.values():
        gathered.setdefault(shared(cell), []).append(cell)
    families, notes = [], []
    for cells in gathered.values():
        family = {level(cell): cell for cell in cells}
        if len(family) == len(cells):
            families.append(family)
            continue
        levels = [level(cell) for cell in cells]
        doubled = next(cell for cell in cells if levels.count(level(cell)) > 1)
        if len(family) > 1:
            notes.append(
                f"not compared: {levels.count(level(doubled))} cells are {level_words(doubled)} "
                f"({setting(doubled)}), and the results do not say what sets them apart"
            )
    largest = [max(family.values(), key=lambda cell: (cell.examples, cell.data)) for family in families]
    words = [setting(cell) for cell in largest]
    for more in (lambda cell: f"{cell.examples} examples", lambda cell: cell.model, lambda cell: f"delta {cell.delta}"):
        alike = [words.count(one) > 1 for one in words]
        words = [_words(w, more(c)) if twice else w for w, c, twice in zip(words, largest, alike, strict=True)]
    return list(zip(words, families, strict=True)), notes
