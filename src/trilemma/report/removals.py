"""What a study's page says of a removal: which examples, what ranked them, and what the ranking changes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from trilemma.hints import listed
from trilemma.report.numbers import Numbers, PlacedCondition
from trilemma.words import RANK_WORDS, clean, exact_percent, percent, removed_words


def removal_facts(conditions: Sequence[PlacedCondition], numbers: Numbers | None) -> list[tuple[str, str]]:
    """Names and texts; empty if nothing was removed."""
    removals = [condition for condition in conditions if condition.removal]
    facts = []
    for rank in dict.fromkeys(condition.rank for condition in removals):
        ranked = [condition for condition in removals if condition.rank == rank]
        shares = listed(map(exact_percent, sorted({condition.removed for condition in ranked})), most=None)
        words = removed_words("exposed", rank)
        facts.append(("Removed", f"{shares} of the training examples: {words}, or as many at random"))
        facts.append(("Ranked by", _ranking(rank, ranked, numbers)))
    return facts


def _ranking(rank: str, conditions: Sequence[PlacedCondition], numbers: Numbers | None) -> str:
    text = RANK_WORDS.get(rank, clean(rank))
    if rank == "histogram":
        return (
            f"{text}, as in the paper; it does not measure exposure (on CIFAR-10 its rank correlation with LiRA is "
            "−0.4 for a linear head and −0.2 for a convnet)"
        )
    shared = [
        share.value
        for condition in conditions
        if numbers is not None and (share := numbers.get(condition, "removed_by_histogram_too"))
    ]
    if shared:
        ends = sorted({percent(float(np.min(shared))), percent(float(np.max(shared)))})
        text += (
            f"; {RANK_WORDS['histogram']}, which the paper used, would have removed {' to '.join(ends)} of the same "
            "examples"
        )
    return text
