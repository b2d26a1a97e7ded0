"""RMIA, offline (Zarifzadeh, Liu and Shokri 2024): is an example likelier under the target than others?"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from trilemma.attacks.predictions import Predictions
from trilemma.attacks.signals import Signals, signals_from_logits
from trilemma.errors import InputError

OFFLINE_A = 0.3
"""How strongly the reference models' confidence is pulled towards 1, as if half of them had trained on it."""

GAMMA = 1.0


def rmia_scores(
    predictions: Predictions, signals: Signals, *, a: float = OFFLINE_A, gamma: float = GAMMA
) -> NDArray[np.float64]:
    """float64 (N,) in [0, 1]: the share of non-members that each example dominates (METHODS 5.4).

    With p the confidence in the true class, an example's ratio is p under the target over
    p = ((1 + a) mean of p under the reference models + 1 - a) / 2; its score is the weight of the
    non-members z with ratio_x / ratio_z > gamma.

    The reference models must not have trained on *any* audited example: then all are "out" models.  If
    some did, members look less exposed than they are, and the file cannot tell.

    Args:
      predictions: with ``reference_logits``.
      signals: those of ``predictions``.
      a: in [0, 1]; 0.3 is the published default (they tune it by attacking a reference model).
      gamma: >= 1; how far an example must exceed another to dominate it.

    Raises:
      InputError: no reference logits, or ``a`` or ``gamma`` out of range.
    """
    if predictions.reference_logits is None:
        raise InputError("rmia needs reference_logits: outputs of models that were not trained on these examples")
    if not 0 <= a <= 1:
        raise InputError(f"a must lie in [0, 1], not {a}")
    if not gamma >= 1:
        raise InputError(f"gamma must be at least 1, not {gamma}")
    out = np.zeros(len(predictions))
    for logits in predictions.reference_logits:
        out += signals_from_logits(logits, predictions.labels).confidence
    out /= len(predictions.reference_logits)
    ratio = signals.confidence / (((1 + a) * out + (1 - a)) / 2) if a < 1 else _ratio_of_means(signals, out)
    return _dominated(ratio, predictions, gamma)


def _ratio_of_means(signals: Signals, out: NDArray[np.float64]) -> NDArray[np.float64]:
    # With a = 1 nothing keeps the denominator from 0.
    ratio: NDArray[np.float64] = signals.confidence / np.maximum(out, np.finfo(np.float64).tiny)
    return ratio


def _dominated(ratio: NDArray[np.float64], predictions: Predictions, gamma: float) -> NDArray[np.float64]:
    population = ~predictions.member & predictions.counted
    order = np.argsort(ratio[population])
    sorted_ratios = ratio[population][order]
    weights = np.ones(len(order)) if predictions.weights is None else predictions.weights[population][order]
    below = np.r_[0.0, np.cumsum(weights)]
    # "left": strictly below, as the definition's > asks.
    share: NDArray[np.float64] = below[np.searchsorted(sorted_ratios, ratio / gamma, side="left")] / below[-1]
    return share
