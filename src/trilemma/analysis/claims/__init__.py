"""The findings of the paper, and ours, as statements that a study confirms, contradicts or cannot tell.

A sentence is printed only if the figures carry it.  Each claim is a question that was asked beforehand: which cells
it looks at, in which measure and in which direction, is fixed here and depends on no result.  Its comparisons
(:mod:`trilemma.analysis.comparisons`) form one Holm family, so that where nothing is true it is confirmed or
contradicted by chance in about one study of twenty at most (how far that rests on noise being alike in all cells is
said there).

A claim has a finding for each setting (data set, budget, ...) and a verdict over all of them: confirmed if at least one
is and none is contradicted, contradicted if at least one is and none is confirmed, else it cannot be told; mixed
findings are called mixed.  "Cannot tell" says that noise hides what there is, not that there is nothing.

Attacks are compared by ``auc_threshold``: always the same attack, where ``auc_strongest`` is the largest of several and
so drawn away from 1/2 by noise.  The latter is given beside it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from trilemma.analysis.claims.budget import budget_claim
from trilemma.analysis.claims.claim import Claim, Finding
from trilemma.analysis.claims.evidence import Table
from trilemma.analysis.claims.headline import HEADLINE, headline_accuracy
from trilemma.analysis.claims.memorization import memorization_claim
from trilemma.analysis.claims.removal import onion_claim, removal_claims
from trilemma.analysis.claims.skew import artefact_claim, skew_claims
from trilemma.analysis.claims.techniques import technique_claims

__all__ = ["HEADLINE", "Claim", "Finding", "claims"]


def claims(results: pd.DataFrame, study: Mapping[str, Any] | None = None) -> tuple[Claim, ...]:
    """All claims, in the paper's order; then ours.

    Args:
      results: of a folder, all of its studies (``read_results``).
      study: its ``study.json``; without it the scale is not known, and neither are recipes that the columns of the
        results do not tell apart.

    Raises:
      InputError: the results are broken (columns missing, a seed twice in one cell, ...).
    """
    table = Table(results, study)
    return (
        headline_accuracy(table),
        *technique_claims(table),
        *skew_claims(table),
        *removal_claims(table),
        onion_claim(table),
        memorization_claim(table),
        artefact_claim(table),
        budget_claim(table),
    )
