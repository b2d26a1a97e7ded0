"""An audit's ROC curves at a grid of false-positive rates, each point with the interval of :mod:`rates`."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trilemma.attacks.audit import Audit
from trilemma.attacks.named import LEARNED
from trilemma.attacks.predictions import Predictions
from trilemma.attacks.rates import FALSE_POSITIVES, rate_at

POINTS = 24
_LARGEST = 0.9

SHOWN = ("threshold", "lira")
"""Attacks that are shown beside the headline attack, where they were made."""


def roc_bands(predictions: Predictions, audited: Audit) -> dict[str, Any]:
    """The curves of the headline attack and of ``SHOWN``, for axes on a logarithmic scale.

    Args:
      predictions: what was audited.
      audited: the audit of them.

    Returns:
      ``{"fpr": [...], "attacks": {name: {"tpr": [...], "low": [...], "high": [...]}}}``, intervals at 95 % for each
      point.  The smallest rate is the smallest for which there are non-members enough.
    """
    rates: NDArray[np.float64] = np.geomspace(
        # An effective number is a fraction, and rates ask for a whole number of non-members.
        min(_LARGEST / 2, FALSE_POSITIVES / max(math.floor(audited.effective_nonmembers), 1)),
        _LARGEST,
        POINTS,
    )
    curves: dict[str, Any] = {}
    for name in dict.fromkeys((audited.headline, *SHOWN)):
        if name not in audited.scores:
            continue
        points = [
            rate_at(
                audited.scores[name],
                predictions.member,
                float(fpr),
                weights=audited.weights,
                clusters=predictions.sources,
            ).widened(LEARNED.get(name, 1.0))
            for fpr in rates
        ]
        curves[name] = {
            "tpr": [point.value for point in points],
            "low": [None if point.interval is None else point.interval[0] for point in points],
            "high": [None if point.interval is None else point.interval[1] for point in points],
        }
    return {"fpr": rates.tolist(), "attacks": curves}
