"""Probabilities of membership at prior 1/2 from the scores of a shadow attack, and how reliable they are.

The score of *LiRA* is a log-likelihood ratio, so the posterior at prior 1/2 is its logistic function.  The score of
*RMIA* is a rank among non-members, which is calibrated: each shadow is attacked with the others, as the target is, and
an isotonic regression of membership on the scores turns a score into a share of members.

The calibration uses nothing from the target.  Whether "0.8" means that eight in ten are members is checked on shadows
that were not used for the fit, by a reliability curve and its expected calibration error (Naeini et al. 2015).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trilemma.attacks.lira import FEWEST_SHADOWS, lira_scores, membership_posterior
from trilemma.attacks.references import References
from trilemma.attacks.rmia import rmia_scores

Array = NDArray[np.float64]
Booleans = NDArray[np.bool_]

BINS = 10


@dataclass(frozen=True, eq=False)
class Reliability:
    """Predicted probabilities and observed shares of members, on shadows that were not used for the fit.

    Attributes:
      predicted: float64 (B,), mean predicted probability in each of B bins of (nearly) equal size, ascending.
      observed: float64 (B,), the share of members in each bin.
      counts: int64 (B,), the number of examples, each counted once for every shadow that was attacked.
      error: the expected calibration error: the mean of |predicted - observed| over examples.
      shadows: the number of shadows that were attacked.
    """

    predicted: Array
    observed: Array
    counts: NDArray[np.int64]
    error: float
    shadows: int

    def as_dict(self) -> dict[str, Any]:
        """The values for a JSON file."""
        return {
            "predicted": self.predicted.tolist(),
            "observed": self.observed.tolist(),
            "counts": self.counts.tolist(),
            "expected_calibration_error": self.error,
            "shadows": self.shadows,
        }


def reliability_of(predicted: Array, member: Booleans, shadows: int) -> Reliability:
    """The reliability curve of predicted probabilities (n,) of membership (n,), in bins of equal size."""
    order = np.argsort(predicted, kind="stable")
    parts = [part for part in np.array_split(order, BINS) if len(part)]
    means = np.array([predicted[part].mean() for part in parts])
    shares = np.array([member[part].mean() for part in parts])
    counts = np.array([len(part) for part in parts], dtype=np.int64)
    return Reliability(means, shares, counts, float(np.average(np.abs(means - shares), weights=counts)), shadows)


def rmia_probability(scores: Array, references: References) -> tuple[Array, Reliability] | None:
    """RMIA's calibrated probability of membership, and its reliability; None if there are too few shadows.

    Args:
      scores: float64 (N,), the target's online scores.
      references: the shadows, with the examples that each was trained on.
    """
    attacked = _attacked(references, 2, _rmia_of)
    half = _half(references, attacked)
    if half is None:
        return None
    first, second = half
    checked = _isotonic(first)(np.concatenate([scores for scores, _ in second]))
    reliability = reliability_of(checked, np.concatenate([member for _, member in second]), len(second))
    return _isotonic([*first, *second])(scores), reliability


def lira_probability(ratio: Array, references: References) -> tuple[Array, Reliability | None]:
    """LiRA's posterior at prior 1/2, and its reliability if there are enough shadows to attack one with the others.

    Args:
      ratio: float64 (N,), the target's log-likelihood ratios.
      references: as for :func:`rmia_probability`.
    """
    attacked = _attacked(references, FEWEST_SHADOWS, _lira_of)
    if not attacked:
        return membership_posterior(ratio), None
    pairs = list(attacked.values())
    predicted = membership_posterior(np.concatenate([scores for scores, _ in pairs]))
    member = np.concatenate([member for _, member in pairs])
    return membership_posterior(ratio), reliability_of(predicted, member, len(pairs))


Attacked = tuple[Array, Booleans]


def _attacked(
    references: References, fewest: int, score: Callable[[References, int, Booleans], Array]
) -> dict[int, Attacked]:
    """The scores and the members of every shadow that can be attacked with the others, its complement excluded.

    The complement must not be used, because a target has no complement among its shadows.
    """
    matrix = references.member
    assert matrix is not None
    attacked = {}
    for shadow, own in enumerate(matrix):
        others = ~(matrix == ~own).all(axis=1)
        others[shadow] = False
        inside = matrix[others].sum(axis=0)
        each = fewest // 2
        if others.sum() >= fewest and inside.min() >= each and (others.sum() - inside).min() >= each:
            attacked[shadow] = score(references, shadow, others), own
    return attacked


def _rmia_of(references: References, shadow: int, others: Booleans) -> Array:
    assert references.member is not None
    matrix = references.member
    return rmia_scores(references.confidence[shadow], references.confidence[others], matrix[others], ~matrix[shadow])


def _lira_of(references: References, shadow: int, others: Booleans) -> Array:
    assert references.member is not None
    return lira_scores(references.scaled_logit[shadow], references.scaled_logit[others], references.member[others])


def _half(references: References, attacked: dict[int, Attacked]) -> tuple[list[Attacked], list[Attacked]] | None:
    """The attacked shadows for fitting and those for checking; a shadow and its complement are on the same side."""
    assert references.member is not None
    middle = max(2, len(references.member) // 4 * 2)
    first = [pair for shadow, pair in attacked.items() if shadow < middle]
    second = [pair for shadow, pair in attacked.items() if shadow >= middle]
    return (first, second) if first and second else None


def _isotonic(pairs: list[Attacked]) -> Callable[[Array], Array]:
    from sklearn.isotonic import IsotonicRegression

    scores = np.concatenate([scores for scores, _ in pairs])
    member = np.concatenate([member for _, member in pairs]).astype(np.float64)
    weights = np.where(member == 1, 0.5 / member.mean(), 0.5 / (1 - member.mean()))  # prior 1/2
    least = 0.5 / len(member)  # a share in a sample never proves certainty
    fit = IsotonicRegression(y_min=least, y_max=1 - least, out_of_bounds="clip").fit(scores, member, weights)

    def probability(values: Array) -> Array:
        predicted: Array = fit.predict(values)
        return predicted

    return probability
