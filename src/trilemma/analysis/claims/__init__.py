"""The findings of the paper, and ours, as statements that a study confirms, contradicts or cannot settle.

A statement is made only where the numbers support it.  Each claim is a question fixed in advance: which conditions it
compares, in which measure and in which direction depends on no result.  Its comparisons
(:mod:`trilemma.analysis.comparisons`) form one Holm family, so that where there is no effect it is confirmed or
contradicted by chance in at most about one study in twenty (that module says how far this rests on equal noise
variance in all conditions).

A claim has a finding for each setting (data set, budget, ...) and a verdict over all of them: confirmed if at least
one finding is confirmed and none is contradicted; contradicted if at least one is contradicted and none is confirmed;
otherwise "cannot tell".  Findings that disagree are called mixed.  (The one exception is that memorization *can* begin
first, which one training confirms.)  What counts as shown is decided in one place
(:mod:`trilemma.analysis.claims.decisions`), so no claim has a rule of its own for that: a new one says which of these
decisions confirm it and which contradict it.  "Cannot tell" means that noise hides any effect, not that there is none.

Attacks are compared by ``auc_threshold``, which is always the same attack; ``auc_strongest`` is the largest of several
and therefore biased away from 1/2 by noise.  It is reported beside the former.

There is one module per question.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import pandas as pd

from trilemma.analysis.claims.budget import budget_claim, budget_trend_claim
from trilemma.analysis.claims.claim import Claim, Finding
from trilemma.analysis.claims.evidence import Table
from trilemma.analysis.claims.headline import HEADLINE, headline_accuracy
from trilemma.analysis.claims.memorization import memorization_claim
from trilemma.analysis.claims.removal import onion_claim, removal_claims
from trilemma.analysis.claims.skew import artifact_claim, skew_claims
from trilemma.analysis.claims.techniques import technique_claims

QUESTIONS: list[Callable[[Table], Claim | Iterable[Claim]]] = [
    headline_accuracy,
    technique_claims,
    skew_claims,
    removal_claims,
    onion_claim,
    memorization_claim,
    artifact_claim,
    budget_claim,
    budget_trend_claim,
]
"""What is asked of a study, in the order in which it is answered: each gives one claim or several."""

__all__ = ["HEADLINE", "Claim", "Finding", "claims"]


def claims(results: pd.DataFrame, study: Mapping[str, Any] | None = None) -> tuple[Claim, ...]:
    """All claims: the paper's in its order, then ours.

    Args:
      results: the results of all studies in a folder (``read_results``).
      study: its ``study.json``; without it the scale is unknown, and so is what sets recipes apart that the columns of
        the results do not distinguish.

    Raises:
      InputError: the results are broken (columns missing, a seed twice in one condition, ...).
    """
    table = Table(results, study)
    judged: list[Claim] = []
    for question in QUESTIONS:
        answer = question(table)
        judged += [answer] if isinstance(answer, Claim) else answer
    return tuple(judged)
