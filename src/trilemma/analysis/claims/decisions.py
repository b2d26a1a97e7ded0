"""What counts as shown: the few decisions that every claim is made of.

A claim says which of these must hold for it to be confirmed and which to be contradicted, and nothing else decides a
verdict.  Each is made at a level or a margin that was fixed in advance, and takes at least ``FEWEST_SEEDS`` seeds.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from trilemma.analysis.claims.claim import Direction, Verdict
from trilemma.analysis.comparison import FEWEST_SEEDS, SIGNIFICANCE, Comparison, rests_on_one
from trilemma.statistics.intervals import paired_p

OPPOSITE: dict[Direction, Direction] = {"higher": "lower", "lower": "higher"}


class Decision(NamedTuple):
    """A verdict, and why it is "cannot tell", to be read after "since"; "" for the others."""

    verdict: Verdict
    reason: str


def decide(confirmed: bool, contradicted: bool, reason: str) -> Decision:
    """The verdict from what is shown for a claim and against it; ``reason`` counts where that is neither, or both."""
    if confirmed == contradicted:
        return Decision("cannot tell", reason)
    return Decision("confirmed" if confirmed else "contradicted", "")


def shown(comparison: Comparison, way: Direction) -> bool:
    """Whether a difference is shown to be ``way``: beyond noise after Holm's correction, by an interval without 0, and
    without any one of at least ``FEWEST_SEEDS`` seeds."""
    return comparison.shown == way


def shown_beyond(comparison: Comparison, margin: float) -> bool:
    """Whether a difference is shown to be larger than a margin: higher, and by an interval that begins above it."""
    return shown(comparison, "higher") and comparison.low > margin


def shown_within(comparison: Comparison, margin: float, alpha: float) -> bool:
    """Whether a difference is shown to lie within +- margin (two one-sided tests at alpha) by enough seeds."""
    return comparison.n >= FEWEST_SEEDS and comparison.no_more_than(margin, alpha)


def shown_mean(values: NDArray[np.float64], target: float, way: Direction, p: float | None = None) -> bool:
    """Whether the mean over seeds is shown to be higher, or lower, than a target, also without any one seed.

    Args:
      values: float (n,), one for each seed.
      target: what the mean is compared with.
      way: the side on which it must lie.
      p: its p-value where that was adjusted for other tests; None: that of the t-test.
    """
    apart = values - target
    if len(apart) < FEWEST_SEEDS or (paired_p(apart) if p is None else p) >= SIGNIFICANCE or rests_on_one(apart):
        return False
    return bool(apart.mean() > 0) == (way == "higher")


def decide_direction(comparison: Comparison, wanted: Direction, distance: Comparison | None = None) -> Decision:
    """Whether a measure is ``wanted`` in the first condition.

    Args:
      comparison: in the measure.
      wanted: the direction that the claim names.
      distance: where the measure is an AUC, the same comparison of its distances from 1/2: an attack is stronger only
        if it is further from guessing, which an AUC that rises to 1/2 is not.
    """
    sides = [side for side in (comparison, distance) if side is not None]
    reason = comparison.reason or "its distance from ½ is not shown to change the same way"
    return decide(
        all(shown(side, wanted) for side in sides), all(shown(side, OPPOSITE[wanted]) for side in sides), reason
    )
