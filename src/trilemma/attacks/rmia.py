"""RMIA, the robust attack (Zarifzadeh, Liu, and Shokri 2024): is an example more likely under the target than others?

Let p be the probability of the true class.  An example's ratio is its p under the target, divided by its expected p
under models of the same kind.  Its score is the share of non-members z that it dominates: ratio_x / ratio_z > gamma.

- *online*: the expected p is the mean of two means, over the reference models that trained on the example and over
  those that did not.
- *offline*: only models that did not train on the example are available.  The other mean is assumed to be closer to 1,
  so that the expected p is ((1 + a) mean_out + 1 - a) / 2.  The right constant a depends on how strongly the models fit
  their members: on CIFAR-10, 0.3 is better than 1 without a budget (AUC 0.94 and 0.86), and worse with one (0.72 and
  0.78 at epsilon 8).  :func:`tuned_a` chooses it by attacking one reference model with the others, never by the target.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from trilemma.attacks.membership_matrix import NEEDS, check_matrix
from trilemma.attacks.roc import measure
from trilemma.errors import InputError

Array = NDArray[np.float64]
Booleans = NDArray[np.bool_]

OFFLINE_A = 0.3
"""The published value of a, used where there is nothing to tune it on."""

GAMMA = 1.0
FEWEST_SHADOWS: int = NEEDS["rmia"]["fewest"]

_TRIED_A = tuple(step / 10 for step in range(11))


def rmia_scores(
    confidence: Array,
    shadow_confidence: Array,
    shadow_member: Booleans,
    population: Booleans,
    *,
    weights: Array | None = None,
    gamma: float = GAMMA,
) -> Array:
    """The online score of every example.

    Args:
      confidence: float64 (N,), p under the target.
      shadow_confidence: float64 (R, N), p under each reference model.
      shadow_member: bool (R, N): which examples each trained on.
      population: bool (N,): the non-members z that examples are compared with.
      weights: float64 (N,), how much each z counts, or None for equal weights.
      gamma: at least 1: how far an example must exceed another to dominate it.

    Returns:
      float64 (N,) in [0, 1], higher meaning member.

    Raises:
      InputError: shapes do not fit, there are fewer than two reference models, all or none of them trained on an
        example, or gamma is out of range.
    """
    check_matrix(shadow_member, shadow_confidence.shape, attack="rmia", **NEEDS["rmia"])
    inside = _mean_where(shadow_confidence, shadow_member)
    expected = (inside + _mean_where(shadow_confidence, ~shadow_member)) / 2
    return _dominated(_ratio(confidence, expected), population, weights, gamma)


def rmia_offline_scores(
    confidence: Array,
    shadow_confidence: Array,
    shadow_member: Booleans | None,
    population: Booleans,
    *,
    a: float = OFFLINE_A,
    weights: Array | None = None,
    gamma: float = GAMMA,
) -> Array:
    """The offline score of every example; arguments and errors as for :func:`rmia_scores`.

    Args:
      shadow_member: bool (R, N), or None where no reference model trained on any audited example.
      a: in [0, 1]; see the module's docstring.

    Raises:
      InputError: also where ``a`` lies outside [0, 1].
    """
    if not 0 <= a <= 1:
        raise InputError(f"a must lie in [0, 1], not {a}")
    out = np.ones(shadow_confidence.shape, dtype=bool) if shadow_member is None else ~shadow_member
    check_matrix(~out, shadow_confidence.shape, attack="rmia-offline", **NEEDS["rmia-offline"])
    expected = ((1 + a) * _mean_where(shadow_confidence, out) + 1 - a) / 2
    return _dominated(_ratio(confidence, expected), population, weights, gamma)


def tuned_a(shadow_confidence: Array, shadow_member: Booleans) -> float:
    """The a with which the others attack the first reference model best: among 0, 0.1, ..., 1, the one with the largest
    AUC (the first of equal ones).

    Each example of the attacked model needs another model that did not train on it; examples without one are left out.

    Raises:
      InputError: there are fewer than two reference models, or no example is left.
    """
    check_matrix(shadow_member, shadow_confidence.shape, attack="rmia-offline with a tuned a", fewest=2, sides=())
    usable = (~shadow_member[1:]).any(axis=0)
    member = shadow_member[0, usable]
    if member.all() or not member.any():
        raise InputError(
            "a cannot be tuned: the first reference model needs members and non-members that others did not train on"
        )
    confidence, others = shadow_confidence[0, usable], shadow_confidence[1:, usable]
    matrix = shadow_member[1:, usable]

    def auc(a: float) -> float:
        return float(measure(rmia_offline_scores(confidence, others, matrix, ~member, a=a), member).auc)

    return max(_TRIED_A, key=auc)


def _mean_where(values: Array, used: Booleans) -> Array:
    mean: Array = np.where(used, values, 0.0).sum(axis=0) / used.sum(axis=0)
    return mean


def _ratio(confidence: Array, expected: Array) -> Array:
    ratio: Array = confidence / np.maximum(expected, np.finfo(np.float64).tiny)
    return ratio


def _dominated(ratio: Array, population: Booleans, weights: Array | None, gamma: float) -> Array:
    if not gamma >= 1:
        raise InputError(f"gamma must be at least 1, not {gamma}")
    order = np.argsort(ratio[population])
    masses = np.ones(len(order)) if weights is None else weights[population][order]
    below = np.r_[0.0, np.cumsum(masses)]
    # "left": strictly below, as the definition's > asks.
    share: Array = below[np.searchsorted(ratio[population][order], ratio / gamma, side="left")] / below[-1]
    return share
