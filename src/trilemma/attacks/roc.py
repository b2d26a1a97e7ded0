"""ROC curves of membership scores, and the metrics computed from them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trilemma.attacks.rates import Rate
from trilemma.errors import InputError
from trilemma.measures import FPRS
from trilemma.seeds import rng_for
from trilemma.statistics.bootstrap import Resampler, chunks, percentile_interval
from trilemma.statistics.intervals import LEVEL
from trilemma.words import RESAMPLES

# FPRs are quotients of sums, so rounding may put one that should be 0.01 slightly above it.
_ROUNDING = 1e-12

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Curve:
    """The corners of an ROC curve, from (0, 0) to (1, 1); equal scores form one step.  All arrays are float64 (K,).

    ``thresholds[k]`` is the score at or above which an example is classified as a member; it is inf at the first
    corner.
    """

    fpr: Array
    tpr: Array
    thresholds: Array


@dataclass(frozen=True, eq=False)
class Metrics:
    """Metrics of an ROC curve: scalars for one curve, or arrays (R,) for R bootstrap samples.

    Attributes:
      auc: area by the trapezoid rule: the probability that a member scores above a non-member, where ties count half.
      advantage: maximum over thresholds of |TPR - FPR|.
      tpr_at_fpr: for each rate in ``FPRS``, the largest TPR among thresholds with FPR at or below it (without
        interpolation, since an attacker must be able to choose that threshold).  With fewer than 1 / rate
        non-members it is the TPR at FPR 0.
    """

    auc: Array
    advantage: Array
    tpr_at_fpr: dict[float, Array]


@dataclass(frozen=True, eq=False)
class Roc:
    """An attack's metrics, and their bootstrap draws (R,) over examples.

    ``deviation`` (R,) is the maximum distance between TPR - FPR of a sample's curve and that of the data's curve.
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
        """The advantage plus or minus the bootstrap quantile of ``deviation``, within [0, 1].

        A percentile interval would be wrong here: a maximum over thresholds is biased upward, and its bootstrap
        draws are biased further, so that the interval would exclude 0 for a model that does not leak at all.
        Two maxima, however, differ by at most the largest distance between the curves, so that this interval
        covers the true value at least as often as its level says, at the cost of being about 1.4 times as wide as
        necessary where the leakage is clear.
        """
        advantage, width = float(self.metrics.advantage), float(np.quantile(self.deviation, level))
        return max(0.0, advantage - width), min(1.0, advantage + width)

    def widened(self, factor: float) -> Roc:
        """The same with intervals that are ``factor`` times as wide: draws are moved away from the data's values."""
        draws = self.draws
        return replace(
            self,
            draws=Metrics(
                auc=_spread(draws.auc, self.metrics.auc, factor),
                advantage=_spread(draws.advantage, self.metrics.advantage, factor),
                tpr_at_fpr={
                    rate: _spread(draws.tpr_at_fpr[rate], self.metrics.tpr_at_fpr[rate], factor) for rate in FPRS
                },
            ),
            deviation=self.deviation * factor,
        )

    def as_dict(self, rates: Mapping[float, Rate]) -> dict[str, Any]:
        """The entry of ``result.json``: ``auc``, ``advantage``, ``tpr_at_fpr`` and a 95 % ``interval`` of each.

        Args:
          rates: by false-positive rate (:func:`trilemma.attacks.rates.rate_at`).  A rate for which there are too few
            non-members is null, and ``tpr_reason`` says what is missing.

        The AUC's interval is the bootstrap's; the advantage's is :meth:`advantage_interval`.
        """
        reasons = {f"{fpr:g}": rate.reason for fpr, rate in rates.items() if rate.reason is not None}
        return {
            "auc": self.auc,
            "advantage": float(self.metrics.advantage),
            "tpr_at_fpr": {f"{fpr:g}": rate.value for fpr, rate in rates.items()},
            **({"tpr_reason": reasons} if reasons else {}),
            "interval": {
                "auc": list(self.auc_interval()),
                "advantage": list(self.advantage_interval()),
                "tpr_at_fpr": {
                    f"{fpr:g}": None if rate.interval is None else list(rate.interval) for fpr, rate in rates.items()
                },
            },
        }


def _spread(draws: Array, value: Array, factor: float) -> Array:
    """Draws of a value in [0, 1], moved to ``factor`` times their distance from it."""
    return np.clip(value + factor * (draws - value), 0.0, 1.0)


def roc_curve(scores: Array, member: NDArray[np.bool_], weights: Array | None = None) -> Curve:
    """The ROC curve of ``scores``, where a higher score means "member".

    Args:
      scores: float (N,).
      member: bool (N,).
      weights: float (N,), >= 0; None gives all rows equal weight.

    Raises:
      InputError: lengths differ, a score is NaN, or the members or the non-members have no weight.

    >>> curve = roc_curve(np.array([3.0, 2.0, 2.0, 1.0]), np.array([True, True, False, False]))
    >>> curve.fpr.tolist(), curve.tpr.tolist()
    ([0.0, 0.0, 0.5, 1.0], [0.0, 0.5, 1.0, 1.0])
    """
    ranked = _Ranked(scores, member, weights)
    tpr, fpr = ranked.rates(None, None)
    values = np.r_[np.inf, ranked.corners]
    return Curve(fpr=fpr[0], tpr=tpr[0], thresholds=values)


def measure(scores: Array, member: NDArray[np.bool_], weights: Array | None = None) -> Metrics:
    """AUC, advantage and TPRs of one score; arguments and errors are those of :func:`roc_curve`.

    >>> m = measure(np.array([3.0, 2.0, 2.0, 1.0]), np.array([True, True, False, False]))
    >>> float(m.auc), float(m.advantage), float(m.tpr_at_fpr[0.01])
    (0.875, 0.5, 0.5)
    """
    stacked = _metrics(*_Ranked(scores, member, weights).rates(None, None))
    return Metrics(stacked.auc[0], stacked.advantage[0], {rate: tpr[0] for rate, tpr in stacked.tpr_at_fpr.items()})


def resampled_metrics(scores: Array, member: NDArray[np.bool_], counts: NDArray[np.int32]) -> Metrics:
    """Metrics of R samples of the examples, members and non-members alike: arrays (R,).

    Args:
      scores, member: as in :func:`roc_curve`.
      counts: int32 (R, N), how often each example is in each sample; every sample has members and non-members.
    """
    ranked = _Ranked(scores, member, None, collapse=True)
    return _metrics(*ranked.rates(*(counts[:, side] for side in ranked.sides)))


def bootstrap_roc(
    scores: Array,
    member: NDArray[np.bool_],
    *,
    weights: Array | None = None,
    sources: NDArray[np.int64] | None = None,
    seed: int | np.random.Generator = 0,
    resamples: int = RESAMPLES,
) -> Roc:
    """Metrics of one score with their bootstrap draws; see :func:`bootstrap_rocs`."""
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
    separately, with their weights, and all scores share the same samples.

    The rows are sorted once.  A sample holds how often each row is drawn, and a curve is its cumulative sum.
    Corners within a straight run of members or of non-members are dropped, which does not change the metrics.

    Args:
      scores: the scores (N,) by name, as in :func:`roc_curve`.
      member, weights: as in :func:`roc_curve`.
      sources: int (N,); members (or non-members) that share a source are drawn together.  None: every row is
        drawn by itself.
      seed: the seed of the draws, or a generator.
      resamples: R, the number of samples.

    Raises:
      InputError: fewer than two samples, or arrays of other shapes than these.
    """
    rng = rng_for(seed, "bootstrap/roc")
    if resamples < 2:
        raise InputError(f"resamples must be at least 2, not {resamples}: {RESAMPLES} is usual")
    ranked = {name: _Ranked(values, member, weights, collapse=True) for name, values in scores.items()}
    counted = np.ones(len(member), dtype=bool) if weights is None else weights > 0
    rows = np.flatnonzero(counted & member), np.flatnonzero(counted & ~member)
    sides = [Resampler(len(side), None if sources is None else sources[side]) for side in rows]
    places = np.empty(len(member), dtype=np.int64)
    for side in rows:
        places[side] = np.arange(len(side))
    orders = {name: [places[order] for order in ranking.sides] for name, ranking in ranked.items()}
    curves = {name: ranking.rates(None, None) for name, ranking in ranked.items()}
    parts: dict[str, list[Metrics]] = {name: [] for name in scores}
    deviations: dict[str, list[Array]] = {name: [] for name in scores}
    for size in chunks(resamples, len(rows[0]) + len(rows[1])):
        counts = [side.draw(rng, size) for side in sides]
        for name, ranking in ranked.items():
            tpr, fpr = ranking.rates(*(count[:, order] for count, order in zip(counts, orders[name], strict=True)))
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
    """Scores sorted once in descending order, with equal scores as one step."""

    def __init__(self, scores: Array, member: NDArray[np.bool_], weights: Array | None, collapse: bool = False) -> None:
        if scores.shape != member.shape or scores.ndim != 1 or (weights is not None and weights.shape != scores.shape):
            raise InputError("scores, member, and weights must be (N,) of equal length")
        if np.isnan(scores).any():
            raise InputError("a score is NaN: an attack must score every example")
        counted = np.arange(len(scores)) if weights is None else np.flatnonzero(weights > 0)
        order = counted[np.argsort(-scores[counted], kind="stable")]
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
        # Between two steps that both go straight up (or both straight right), the curve has no corner in any resample:
        # dropping the point between them changes neither the area, nor a maximum, nor a largest TPR.
        up, right = np.diff(members, prepend=0) > 0, np.diff(nonmembers, prepend=0) > 0
        straight = (up[1:] != right[1:]) & (up[1:] == up[:-1]) & (right[1:] == right[:-1])
        return np.concatenate([~straight, [True]])

    def rates(
        self, member_counts: NDArray[np.int32] | None, nonmember_counts: NDArray[np.int32] | None
    ) -> tuple[Array, Array]:
        """TPR and FPR (R, K) at the corners, given how often each sorted row is drawn (None: once each)."""
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
    # The last corner of each row at or below each rate; counted, as a search in each row takes longer for most sizes.
    reached = {rate: np.count_nonzero(fpr <= rate + _ROUNDING, axis=1) - 1 for rate in FPRS}
    return Metrics(
        auc=auc,
        advantage=np.abs(tpr - fpr).max(axis=1),
        tpr_at_fpr={rate: tpr[rows, index] for rate, index in reached.items()},
    )
