"""Probabilities of membership at prior 1/2 from the scores of a shadow attack, and how reliable they are.

Each shadow is attacked with the others, as the target is, and an isotonic regression of membership on the scores turns
a score into a share of members.  The score of *RMIA* is a rank among non-members.  That of *LiRA* is a log-likelihood
ratio, and its logistic function would be the posterior if its densities were known: fitted to the few values that a
handful of shadows give, they are far too sure (with six, an expected calibration error of 0.11 in place of 0.02).  No
probability says more than the rows that it rests on can show: k members in n rows count as (k + 1) / (n + 2), Laplace's
rule of succession, so that none is 0 or 1.

The calibration uses nothing from the target.  Whether "0.8" means that eight in ten are members is checked on shadows
that were not used for the fit, by a reliability curve and its expected calibration error (Naeini et al. 2015).  Where
that takes more shadows than there are, there is no probability.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trilemma.attacks.lira import FEWEST_SHADOWS as LIRA_SHADOWS
from trilemma.attacks.lira import lira_scores
from trilemma.attacks.references import References
from trilemma.attacks.rmia import FEWEST_SHADOWS as RMIA_SHADOWS
from trilemma.attacks.rmia import rmia_scores

Array = NDArray[np.float64]
Booleans = NDArray[np.bool_]
Attacked = tuple[Array, Booleans]

BINS = 10


@dataclass(frozen=True, eq=False)
class Reliability:
    """Predicted probabilities and observed shares of members, on shadows that were not used for the fit.

    Attributes:
      predicted: float64 (B,), mean predicted probability in each of at most ``BINS`` bins of nearly equal size,
        ascending.  Equal probabilities are in one bin.
      observed: float64 (B,), the share of members in each bin.
      counts: int64 (B,), the number of examples, each counted once for every shadow that was attacked.
      error: the expected calibration error: the mean of |predicted - observed| over examples.
      shadows: the number of shadows that were attacked.
      left_out: the number of reference models that serve neither the fit nor the check, as they cannot be attacked
        with the others: they were trained on all or none of the examples, or too few others are left.
    """

    predicted: Array
    observed: Array
    counts: NDArray[np.int64]
    error: float
    shadows: int
    left_out: int = 0

    def as_dict(self) -> dict[str, Any]:
        """The values for a JSON file."""
        return {
            "predicted": self.predicted.tolist(),
            "observed": self.observed.tolist(),
            "counts": self.counts.tolist(),
            "expected_calibration_error": self.error,
            "shadows": self.shadows,
            "left_out": self.left_out,
        }


def reliability_of(predicted: Array, member: Booleans, shadows: int, left_out: int = 0) -> Reliability:
    """The reliability curve of predicted probabilities (n,) of membership (n,), in bins of nearly equal size.

    Equal probabilities are in one bin, so that the order of the rows means nothing.
    """
    _, value, sizes = np.unique(predicted, return_inverse=True, return_counts=True)
    middle = np.cumsum(sizes) - sizes / 2
    _, row_bin = np.unique(np.floor(BINS * middle / len(predicted)).astype(int)[value], return_inverse=True)
    counts = np.bincount(row_bin)
    means, shares = np.bincount(row_bin, predicted) / counts, np.bincount(row_bin, member) / counts
    error = float(np.average(np.abs(means - shares), weights=counts))
    return Reliability(means, shares, counts, error, shadows, left_out)


def calibrated(attack: str, scores: Array, references: References) -> tuple[Array, Reliability] | str:
    """Calibrated probabilities of membership and their reliability, or why there are none.

    Args:
      attack: "rmia" or "lira".
      scores: float64 (N,), the target's online scores.
      references: the shadows, with the examples that each was trained on.
    """
    kind = CALIBRATED[attack]
    assert references.member is not None
    if len(references.member) < kind.needed:
        return f"needs {kind.needed} shadow models, has {len(references.member)}"
    attacked = _attacked(references, kind.fewest, kind.score)
    pairs = _pairs(references.member, attacked)
    if len(pairs) < 2:
        return (
            f"needs shadow models of two pairs that can be attacked with {kind.fewest} others each, a model's "
            f"complement not among them, and has such of {len(pairs)}"
        )
    first, second = (list(chain(*side)) for side in (pairs[: len(pairs) // 2], pairs[len(pairs) // 2 :]))
    checked = _isotonic(first)(np.concatenate([scores for scores, _ in second]))
    member = np.concatenate([member for _, member in second])
    left_out = len(references.member) - len(attacked)
    return _isotonic([*first, *second])(scores), reliability_of(checked, member, len(second), left_out)


def _attacked(
    references: References, fewest: int, score: Callable[[References, int, Booleans], Array]
) -> dict[int, Attacked]:
    """The scores and the members of every shadow that can be attacked with the others, its complement excluded.

    The complement must not be used, because a target has no complement among its shadows.  A model that was trained on
    all examples has no non-members to be compared with, and one that was trained on none has no members.
    """
    matrix = references.member
    assert matrix is not None
    attacked = {}
    for shadow, own in enumerate(matrix):
        others = ~(matrix == ~own).all(axis=1)
        others[shadow] = False
        inside = matrix[others].sum(axis=0)
        each = fewest // 2
        enough = others.sum() >= fewest and inside.min() >= each and (others.sum() - inside).min() >= each
        if enough and own.any() and not own.all():
            attacked[shadow] = score(references, shadow, others), own
    return attacked


def _pairs(matrix: Booleans, attacked: dict[int, Attacked]) -> list[list[Attacked]]:
    """The attacked shadows, those with the same members or with complementary ones together."""
    pairs: dict[bytes, list[Attacked]] = {}
    for shadow, pair in attacked.items():
        pairs.setdefault((matrix[shadow] ^ matrix[shadow, 0]).tobytes(), []).append(pair)
    return list(pairs.values())


def _rmia_of(references: References, shadow: int, others: Booleans) -> Array:
    assert references.member is not None
    matrix = references.member
    return rmia_scores(references.confidence[shadow], references.confidence[others], matrix[others], ~matrix[shadow])


def _lira_of(references: References, shadow: int, others: Booleans) -> Array:
    assert references.member is not None
    return lira_scores(references.scaled_logit[shadow], references.scaled_logit[others], references.member[others])


def _rows(pairs: list[Attacked]) -> tuple[Array, Booleans, Array]:
    """Scores, members, and the weights of the rows, of mean 1, that make members and non-members equally probable."""
    scores = np.concatenate([scores for scores, _ in pairs])
    member = np.concatenate([member for _, member in pairs])
    return scores, member, np.where(member, 0.5 / member.mean(), 0.5 / (1 - member.mean()))


@dataclass(frozen=True)
class _Block:
    """Rows with scores from ``low`` to ``high``: how many, and the weights of the members among them and of all."""

    low: float
    high: float
    rows: int
    found: float
    weight: float

    @property
    def share(self) -> float:
        return self.found / self.weight

    @property
    def probability(self) -> float:
        """What so many rows can show: (k + 1) / (n + 2)."""
        return (self.share * self.rows + 1) / (self.rows + 2)

    def joined(self, later: _Block) -> _Block:
        rows, found, weight = self.rows + later.rows, self.found + later.found, self.weight + later.weight
        return _Block(self.low, later.high, rows, found, weight)


def _pooled(blocks: Iterable[_Block], value: Callable[[_Block], float]) -> list[_Block]:
    """Neighbors joined until the values ascend: pool adjacent violators (Ayer et al. 1955)."""
    kept: list[_Block] = []
    for block in blocks:
        kept.append(block)
        while len(kept) > 1 and value(kept[-2]) >= value(kept[-1]):
            later = kept.pop()
            kept.append(kept.pop().joined(later))
    return kept


def _isotonic(pairs: list[Attacked]) -> Callable[[Array], Array]:
    """From scores to probabilities: an isotonic regression, no block of which says more than its rows can show."""
    scores, member, weights = _rows(pairs)
    values, place, rows = np.unique(scores, return_inverse=True, return_counts=True)
    found, weight = np.bincount(place, weights * member), np.bincount(place, weights)
    each = [_Block(*numbers) for numbers in zip(values, values, rows, found, weight, strict=True)]
    blocks = _pooled(_pooled(each, lambda block: block.share), lambda block: block.probability)
    ends, first = np.unique([end for block in blocks for end in (block.low, block.high)], return_index=True)
    probabilities = np.repeat([block.probability for block in blocks], 2)[first]
    return lambda asked: np.interp(asked, ends, probabilities)


@dataclass(frozen=True)
class Calibration:
    """What is needed to calibrate an attack.

    Attributes:
      fewest: the number of shadows that the attack needs.
      score: the attack on a shadow, with others of them.
    """

    fewest: int
    score: Callable[[References, int, Booleans], Array]

    @property
    def needed(self) -> int:
        """The number of shadows, in pairs, from which each can be attacked without itself and its complement."""
        return self.fewest + 2


CALIBRATED = {"rmia": Calibration(RMIA_SHADOWS, _rmia_of), "lira": Calibration(LIRA_SHADOWS, _lira_of)}
