"""The truth check: did the run do what its epsilon was computed for?

An accountant believes what it is told.  At the end of every private training, :func:`truth_check` compares what it was
told (an :class:`~trilemma.privacy.accounting.Event`) with what happened (:class:`~trilemma.privacy.evidence.Evidence`):
the draws, the noise, the divisor, the clip, the number of updates, and epsilon itself by a second route.  A run that
fails has no epsilon; an honest one fails once in a million (:mod:`trilemma.privacy.alarms`).

**Power.**  The variance of the noise is known to sqrt(2 / n) for n noise values in all: a sigma 1 % too small, from
60,000 weights and 10 updates on, is 10.9 of these away and is missed with a probability of less than 1e-7.

What it cannot see: noise that somebody else knows, draws that somebody else chose by a method that looks random, and a
gradient that reaches the weights by another way than ``Plan.privatize``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats
from scipy.spatial import cKDTree

from trilemma.privacy import alarms
from trilemma.privacy.accounting import Event
from trilemma.privacy.alarms import ROUNDING_OF_SUMS, Check, Rows, chi_square_scores, normal_limit
from trilemma.privacy.draw_checks import canary_checks, draw_checks, normalizer_check
from trilemma.privacy.evidence import PLACES, Evidence
from trilemma.privacy.plan import Plan
from trilemma.privacy.second_opinion import second_opinion

_IN_BATCH = 0.1
"""What an example may add to its batch beside its own clipped gradient, at most, in units of C: were it not far below
1, other examples could be changed by as much as one may contribute."""


@dataclass(frozen=True)
class Truth:
    """The outcome: ``checks`` by name."""

    checks: Mapping[str, Check]

    @property
    def passed(self) -> bool:
        """Whether every check passed."""
        return all(check.passed for check in self.checks.values())

    def to_dict(self) -> dict[str, Any]:
        """``privacy.truth`` of ``result.json``."""
        checks = {name: check.to_dict() for name, check in self.checks.items()}
        return {"passed": self.passed, "false_alarm": alarms.FALSE_ALARM, "checks": checks}


def truth_check(
    plan: Plan, evidence: Evidence, record: Mapping[str, Any], *, bfloat16: bool = False, canaries: int = 0
) -> Truth:
    """Compare what a run reports with what it did.

    Args:
      plan: what the run was to do.
      evidence: what it did.
      record: what it reports: "event" (as :meth:`Event.to_dict` writes it), "epsilon", "delta" and "updates".
      bfloat16: whether per-example gradients were computed in bfloat16, so that two ways to compute one differ more.
      canaries: how many canaries were in the training.  Their draws are judged apart, so that the examples have the
        checks of a training without canaries, however many these are.
    """
    rows = Rows(evidence)
    checks = {
        "updates": _updates(plan, evidence, record),
        "event": _event(plan, record),
        "mechanism": _mechanism(plan, rows),
        "epsilon": _epsilon(record),
        **draw_checks(plan, evidence, rows),
        **(canary_checks(plan, canaries, evidence, rows) if canaries or evidence.canaries else {}),
        **_noise(evidence, rows),
        "normalizer": normalizer_check(rows["drawn"] / plan.batch_size - 1, rows, "draw's size"),
        **_clip(evidence, rows, 0.1 if bfloat16 else 2e-3),
    }
    return Truth(checks)


# ---- what was reported ----------------------------------------------------------------------------------------------


def _updates(plan: Plan, evidence: Evidence, record: Mapping[str, Any]) -> Check:
    charged, reported = int(record["event"]["updates"]), int(record["updates"])
    off = max(abs(evidence.updates - number) for number in (plan.updates, charged, reported))
    return Check(off, None, 0.0, "difference between the updates made and those planned, charged and reported")


def _event(plan: Plan, record: Mapping[str, Any]) -> Check:
    event, planned = Event.from_dict(dict(record["event"])), plan.event(plan.updates)
    again = event.epsilon(float(record["delta"]))
    wrong = [
        event.sampling_probability != planned.sampling_probability,
        event.noise_multiplier != planned.noise_multiplier,
        again != record["epsilon"],
    ]
    what = "numbers among rate, noise multiplier and epsilon that the stored event does not bear out"
    return Check(float(sum(wrong)), None, 0.0, what)


def _mechanism(plan: Plan, rows: Rows) -> Check:
    """Noise is judged in units of the sigma C and B of its own update, so these must be the plan's in every update."""
    other = (rows["deviation"] != plan.noise_multiplier * plan.clipping_norm) | (rows["divisor"] != plan.batch_size)
    return Check(float(other.sum()), None, 0.0, "updates with another sigma C or another B than the plan's")


def _epsilon(record: Mapping[str, Any]) -> Check:
    event, delta = Event.from_dict(dict(record["event"])), float(record["delta"])
    low, high = second_opinion(event, delta)
    # The first accountant rounds losses up in cells, which may cost it a little.
    what = "the reported epsilon, between an independent lower bound and Renyi accounting"
    return Check(float(record["epsilon"]), low * (1 - 1e-6), high * 1.01 + 1e-3, what)


# ---- noise ----------------------------------------------------------------------------------------------------------


def _noise(evidence: Evidence, rows: Rows) -> dict[str, Check]:
    weights, squares, updates = float(rows["weights"].sum()), float(rows["squares"].sum()), rows.updates
    size = max(weights, 1.0)
    slack = ROUNDING_OF_SUMS + 2 * rows.rounding * math.sqrt(updates / size)
    tail = alarms.ALPHA / 2
    low, high = stats.chi2.ppf(tail, size) / size - slack, stats.chi2.isf(tail, size) / size + slack
    tensors = np.stack([t.numpy() for t in evidence.tensors.values()]) if evidence.tensors else np.zeros((1, 3))
    each = np.abs(chi_square_scores(tensors[:, 2], tensors[:, 0]))
    worst = list(evidence.tensors)[int(each.argmax())] if evidence.tensors else "none"
    # Sums of squares in float32 may be off by a little, which matters where chi-square knows them very well.
    off_tensor = ROUNDING_OF_SUMS * math.sqrt(tensors[:, 0].max()) + 2 * rows.rounding * math.sqrt(updates)
    off_update = ROUNDING_OF_SUMS * math.sqrt(rows["weights"].max(initial=0.0)) + 2 * rows.rounding
    return {
        "noise_spread": Check(
            squares / size, float(low), float(high), "variance of the noise that was added, relative to the plan's"
        ),
        "noise_of_each_tensor": Check(
            float(each.max()),
            None,
            normal_limit(len(each)) + off_tensor,
            f"largest departure of one tensor's noise from its variance, in standard deviations ({worst})",
        ),
        "noise_of_each_update": Check(
            float(np.abs(rows.scores).max(initial=0.0)),
            None,
            normal_limit(max(1, updates)) + off_update,
            "largest departure of one update's noise from its variance, in standard deviations",
        ),
        "noise_shape": _shape(evidence),
        "noise_repeats": _noise_repeats(evidence, rows),
        **{name: _correlation(rows, column, what) for name, column, what in _CORRELATIONS},
    }


_CORRELATIONS = (
    ("noise_mean", "mean", "sum of the noise"),
    ("noise_and_neighbor", "neighbor", "correlation of the noise with itself shifted by one"),
    ("noise_and_half", "halves", "correlation of the noise of the two halves of each tensor"),
    ("noise_and_tensor", "tensors", "correlation of each tensor's noise with that of the tensor before it"),
    ("noise_and_previous", "previous", "correlation of the noise with that of the update before"),
    ("noise_and_sum", "sum", "correlation of the noise with the clipped sum"),
)


def _correlation(rows: Rows, column: str, what: str) -> Check:
    values = rows[column][np.isfinite(rows["squares"])]
    known = values[~np.isnan(values)]
    limit = normal_limit() + math.sqrt(max(1, len(known))) * rows.rounding
    value = float(known.sum()) / math.sqrt(max(1, len(known)))
    return Check(value, -limit, limit, f"{what}, in standard deviations")


def _shape(evidence: Evidence) -> Check:
    """Compare the shape of the noise by the largest distance between two distribution functions."""
    places = evidence.places.numpy().ravel()
    values = places[~np.isnan(places)].astype(np.float64)
    what = "largest difference between the distribution functions of the noise and of the normal distribution"
    if len(values) == 0:
        return Check(0.0, None, 1.0, what)
    expected, share = stats.norm.cdf(np.sort(values)), np.arange(len(values) + 1) / len(values)
    distance = float(max((share[1:] - expected).max(), (expected - share[:-1]).max()))
    return Check(distance, None, math.sqrt(math.log(2 / alarms.ALPHA) / 2 / len(values)), what)


def _noise_repeats(evidence: Evidence, rows: Rows) -> Check:
    """Updates whose noise was that of another, or that with the other sign, at all places that were kept.

    Recovered noise is rounded, so near is equal: the distance is such that an honest run has such a pair with
    probability alarms.ALPHA.  Where rounding is larger than that, nothing is concluded.
    """
    what = "updates that repeat the noise of another"
    places, updates = np.nan_to_num(evidence.places.numpy().astype(np.float64)), rows.updates
    stored = int(min(PLACES, rows["weights"].min(initial=PLACES)))
    if updates < 2 or stored < 1:
        return Check(0.0, None, 0.0, what)
    # Each pair, and each sign, is within r at a place with probability at most 2 r / sqrt(4 pi).
    near = min(1e-2, math.sqrt(math.pi) * (alarms.ALPHA / updates**2) ** (1 / stored))
    rounding = 4 * rows.rounding
    if near < rounding:
        return Check(0.0, None, 0.0, f"{what} (too few weights to tell)")
    signs = np.sign(places[np.arange(updates), np.abs(places).argmax(axis=1)])
    upright = places * np.where(signs == 0, 1, signs)[:, None]
    # Once for each cell of a grid: the tree is slow where very many points are equal.
    apart = upright[np.unique(np.round(upright / near), axis=0, return_index=True)[1]]
    nearest = cKDTree(apart).query(apart, k=2, p=np.inf, distance_upper_bound=near)[0][:, 1]
    repeats = updates - len(apart) + int(np.isfinite(nearest).sum())
    return Check(float(repeats), None, 0.0, what)


# ---- clip -----------------------------------------------------------------------------------------------------------


def _clip(evidence: Evidence, rows: Rows, tolerance: float) -> dict[str, Check]:
    looked_at, distance, norm, error, in_batch = evidence.spots.tolist()
    some = f"{looked_at:.0f} single examples computed again by a plain backward pass"
    largest = float((rows["drawn"] + rows["canaries"]).max(initial=1.0))
    in_sum = min(_IN_BATCH, tolerance * math.sqrt(largest))  # all in the batch are rounded
    return {
        # Float32 sums of many clipped gradients that point the same way are off by some roundings.
        "clip": Check(
            float(rows["clip"].max(initial=0.0)), None, 1 + 1e-5, "norm of a clipped sum, relative to count times C"
        ),
        "example_norm": Check(norm, None, 1 + 1e-6, f"norm of a clipped gradient, relative to C, among {some}"),
        "example_gradient": Check(
            max(distance, error), None, tolerance, f"error of a clipped gradient, or of its norm, among {some}"
        ),
        "example_in_batch": Check(
            in_batch, None, in_sum, f"error of what one added to its batch, over C, among {some}"
        ),
    }
