"""How well a score tells members from non-members: the ROC curve and what is read off it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trilemma.errors import InputError
from trilemma.seeds import rng_for
from trilemma.statistics.bootstrap import RESAMPLES, Resampler, chunks, percentile_interval
from trilemma.statistics.intervals import LEVEL

FPRS = (0.001, 0.01)
"""The false-positive rates at which the true-positive rate is reported."""

# FPRs are quotients of sums: one that should be 0.01 may come out a rounding above it.
_ROUNDING = 1e-12

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Curve:
    """An ROC curve: its corners, from (0, 0) to (1, 1), equal scores being one step.  All float64 (K,).

    ``thresholds[k]`` is the score at and above which an example is called a member, inf at the first corner.
    """

    fpr: Array
    tpr: Array
    thresholds: Array


@dataclass(frozen=True, eq=False)
class Metrics:
    """What is read off an ROC curve: numbers for one curve, or (R,) for R bootstrap samples.

    Attributes:
      auc: area by the trapezoid rule: the chance that a member scores above a non-member, ties counting half.
      advantage: max over thresholds of |TPR - FPR|.
      tpr_at_fpr: for each rate in ``FPRS``, the largest TPR among thresholds with FPR at or below it (no
        interpolation: an attacker must be able to choose that threshold).  With fewer non-members than
        1 / rate it is the TPR at FPR 0.
    """

    auc: Array
    advantage: Array
    tpr_at_fpr: dict[float, Array]


@dataclass(frozen=True, eq=False)
class Roc:
    """An attack's metrics, and their bootstrap draws (R,) over examples.

    ``deviation`` (R,) is how far TPR - FPR of a sample's curve lies from that of the data's, at most.
    """

    metrics: Metrics
    draws: Metrics
    deviation: Array

    @property
    def auc(self) -> float:
        """The area under the curve."""
        return float(self.metrics.auc)

    def auc_interval(self, level: float = LEVEL) -> tuple[float, float]:
        """Percentile bootstrap interval of the AUC."""
        return percentile_interval(self.draws.auc, level)

    def advantage_interval(self, level: float = LEVEL) -> tuple[float, float]:
        """The advantage, give or take the bootstrap quantile of ``deviation``, within [0, 1].

        A percentile interval would be wrong here: a maximum over thresholds lies above its truth, and its
        draws above that, so that with no leak at all it would exclude 0.  But two maxima differ by no more
        than the curves do anywhere, so that this interval covers at least as often as it says, at the price
        of being some 1.4 times as wide as it need be where the leak is clear.
        """
        advantage, width = float(self.metrics.advantage), float(np.quantile(self.deviation, level))
        return max(0.0, advantage - width), min(1.0, advantage + width)

    def as_dict(self) -> dict[str, Any]:
        """For ``result.json``: ``auc``, ``advantage``, ``tpr_at_fpr`` and an ``interval`` (95 %) of each.

        Percentile intervals, but for the advantage (:meth:`advantage_interval`).
        """
        return {
            "auc": self.auc,
            "advantage": float(self.metrics.advantage),
            "tpr_at_fpr": {f"{rate:g}": float(self.metrics.tpr_at_fpr[rate]) for rate in FPRS},
            "interval": {
                "auc": list(self.auc_interval()),
                "advantage": list(self.advantage_interval()),
                "tpr_at_fpr": {f"{r:g}": list(percentile_interval(self.draws.tpr_at_fpr[r])) for r in FPRS},
            },
        }


def roc_curve(scores: Array, member: NDArray[np.bool_], weights: Array | None = None) -> Curve:
    """The ROC curve of ``scores``, higher meaning member.

    Args:
      scores: float (N,).
      member: bool (N,).
      weights: float (N,), >= 0, or None for all alike.

    Raises:
      InputError: lengths differ, a score is NaN, or a side has no weight.

    >>> curve = roc_curve(np.array([3.0, 2.0, 2.0, 1.0]), np.array([True, True, False, False]))
    >>> curve.fpr.tolist(), curve.tpr.tolist()
    ([0.0, 0.0, 0.5, 1.0], [0.0, 0.5, 1.0, 1.0])
    """
    ranked = _Ranked(scores, member, weights)
    tpr, fpr = ranked.rates(None, None)
    values = np.r_[np.inf, ranked.corners]
    return Curve(fpr=fpr[0], tpr=tpr[0], thresholds=values)


def measure(scores: Array, member: NDArray[np.bool_], weights: Array | None = None) -> Metrics:
    """AUC, advantage and TPRs of one score; arguments and errors as :func:`roc_curve`.

    >>> m = measure(np.array([3.0, 2.0, 2.0, 1.0]), np.array([True, True, False, False]))
    >>> float(m.auc), float(m.advantage), float(m.tpr_at_fpr[0.01])
    (0.875, 0.5, 0.5)
    """
    found = _metrics(*_Ranked(scores, member, weights).rates(None, None))
    return Metrics(found.auc[0], found.advantage[0], {rate: tpr[0] for rate, tpr in found.tpr_at_fpr.items()})


def bootstrap_roc(
    scores: Array,
    member: NDArray[np.bool_],
    *,
    weights: Array | None = None,
    sources: NDArray[np.int64] | None = None,
    seed: int | np.random.Generator = 0,
    resamples: int = RESAMPLES,
) -> Roc:
    """:func:`bootstrap_rocs` of one score."""
    only = bootstrap_rocs({"": scores}, member, weights=weights, sources=sources, seed=seed, resamples=resamples)
    return only[""]


def bootstrap_rocs(
    scores: Mapping[str, Array],
    member: NDArray[np.bool_],
    *,
    weights: Array | None = None,
    sources: NDArray[np.int64] | None = None,
    seed: int | np.random.Generator = 0,
    resamples: int = RESAMPLES,
) -> dict[str, Roc]:
    """Metrics of several scores of the same examples, with their bootstrap draws; members and non-members are resampled
    apart, with their weights, and every score sees the same samples.

    Sorted once; a sample is how often each row is drawn, and a curve the running sum of that.  The corners
    are collapsed to those at which both kinds of row meet, which changes none of the metrics.

    Args:
      scores: by name, as :func:`roc_curve`.
      member, weights: as :func:`roc_curve`.
      sources: int (N,); rows of one side that share a source are drawn together.  None: each by itself.
      seed: of the draws, or a generator to take them from.
      resamples: R, how many samples.
    """
    rng = rng_for(seed, "bootstrap/roc")
    if resamples < 2:
        raise InputError(f"resamples must be at least 2, not {resamples}: 1000 is usual")
    ranked = {name: _Ranked(values, member, weights, collapse=True) for name, values in scores.items()}
    counted = np.ones(len(member), dtype=bool) if weights is None else weights > 0
    rows = np.flatnonzero(counted & member), np.flatnonzero(counted & ~member)
    sides = [Resampler(len(side), None if sources is None else sources[side]) for side in rows]
    places = np.empty(len(member), dtype=np.int64)
    for side in rows:
        places[side] = np.arange(len(side))
    orders = {name: [places[order] for order in one.sides] for name, one in ranked.items()}
    curves = {name: one.rates(None, None) for name, one in ranked.items()}
    parts: dict[str, list[Metrics]] = {name: [] for name in scores}
    deviations: dict[str, list[Array]] = {name: [] for name in scores}
    for size in chunks(resamples, len(rows[0]) + len(rows[1])):
        counts = [side.draw(rng, size) for side in sides]
        for name, one in ranked.items():
            tpr, fpr = one.rates(*(of[:, order] for of, order in zip(counts, orders[name], strict=True)))
            parts[name].append(_metrics(tpr, fpr))
            whole_tpr, whole_fpr = curves[name]
            deviations[name].append(np.abs((tpr - fpr) - (whole_tpr - whole_fpr)).max(axis=1))
    return {
        name: Roc(measure(scores[name], member, weights), _joined(parts[name]), np.concatenate(deviations[name]))
        for name in scores
    }


def _joined(parts: list[Metrics]) -> Metrics:
    return Metrics(
        auc=np.concatenate([part.auc for part in parts]),
        advantage=np.concatenate([part.advantage for part in parts]),
        tpr_at_fpr={rate: np.concatenate([part.tpr_at_fpr[rate] for part in parts]) for rate in FPRS},
    )


class _Ranked:
    """Scores sorted once, from the highest, with equal ones as one step."""

    def __init__(self, scores: Array, member: NDArray[np.bool_], weights: Array | None, collapse: bool = False) -> None:
        if scores.shape != member.shape or scores.ndim != 1 or (weights is not None and weights.shape != scores.shape):
            raise InputError("scores, member and weights must be (N,) of one length")
        if np.isnan(scores).any():
            raise InputError("a score is NaN: an attack must score every example")
        kept = np.arange(len(scores)) if weights is None else np.flatnonzero(weights > 0)
        order = kept[np.argsort(-scores[kept], kind="stable")]
        is_member, sorted_scores = member[order], scores[order]
        self.sides = order[is_member], order[~is_member]
        if min(map(len, self.sides)) == 0:
            raise InputError("an ROC curve needs members and non-members with a weight above 0")
        self._weights = [None if weights is None else weights[rows] for rows in self.sides]
        last = np.flatnonzero(np.r_[sorted_scores[1:] != sorted_scores[:-1], True])
        self._ends = [np.cumsum(is_member)[last], np.cumsum(~is_member)[last]]
        if collapse:
            last = last[self._bends(*self._ends)]
            self._ends = [np.cumsum(is_member)[last], np.cumsum(~is_member)[last]]
        self.corners: Array = sorted_scores[last]

    @staticmethod
    def _bends(members: NDArray[Any], nonmembers: NDArray[Any]) -> NDArray[np.bool_]:
        # Between two steps that both go straight up (or both straight right) the curve has no corner, in any
        # resample: dropping the point between them moves no area, no maximum and no largest TPR.
        up, right = np.diff(members, prepend=0) > 0, np.diff(nonmembers, prepend=0) > 0
        straight = (up[1:] != right[1:]) & (up[1:] == up[:-1]) & (right[1:] == right[:-1])
        return np.concatenate([~straight, [True]])

    def rates(
        self, member_counts: NDArray[np.int32] | None, nonmember_counts: NDArray[np.int32] | None
    ) -> tuple[Array, Array]:
        """TPR and FPR (R, K) at the corners, from how often each sorted row is drawn (None: once each)."""
        curves = []
        for counts, weights, ends in zip((member_counts, nonmember_counts), self._weights, self._ends, strict=True):
            if counts is None:
                counts = np.ones((1, int(ends[-1])), dtype=np.int32)
            mass = counts if weights is None else counts * weights
            running = np.cumsum(mass, axis=1, dtype=mass.dtype)
            at_corners = np.zeros((len(counts), len(ends) + 1))
            first = int(np.searchsorted(ends, 1))  # no row of this side comes before that corner
            at_corners[:, 1 + first :] = running[:, ends[first:] - 1]
            curves.append(np.divide(at_corners, at_corners[:, -1:], out=at_corners))
        return curves[0], curves[1]


def _metrics(tpr: Array, fpr: Array) -> Metrics:
    auc = np.einsum("rk,rk->r", np.diff(fpr, axis=1), tpr[:, 1:] + tpr[:, :-1]) / 2
    rows = np.arange(len(tpr))
    reached = {rate: np.array([np.searchsorted(row, rate + _ROUNDING, "right") - 1 for row in fpr]) for rate in FPRS}
    return Metrics(
        auc=auc,
        advantage=np.abs(tpr - fpr).max(axis=1),
        tpr_at_fpr={rate: tpr[rows, index] for rate, index in reached.items()},
    )
