"""The truth check: did the run do what its epsilon was computed for?

An accountant believes what it is told.  At the end of every private training, :func:`truth_check` compares what it was
told (an :class:`~trilemma.privacy.accounting.Event`) with what happened (:class:`~trilemma.privacy.evidence.Evidence`):
the draws, the noise, the divisor, the clip, the number of updates, and epsilon itself by a second route.  A run that
fails has no epsilon.

**False alarms.**  An honest run fails with probability at most ``FALSE_ALARM``, one in a million: each of the
statistical checks has ``FALSE_ALARM / 20``, divided evenly between the two ends of its interval and, where a check
takes the largest of several numbers, among those.  Intervals come from exact distributions (binomial, chi-square,
normal), from Chernoff bounds where a sum has none with a name, and from the Dvoretzky-Kiefer-Wolfowitz inequality for
the shape of the noise; so they hold for short runs, too.  Rounding in float32 is allowed for on top.

**Power.**  The variance of the noise is known to sqrt(2 / n) for n noise values in all: a sigma 1 % too small, from
60,000 weights and 10 updates on, is 10.9 of these away and is missed with a probability of less than 1e-7.

What it cannot see: noise that somebody else knows, draws that somebody else chose by a method that looks random, and a
gradient that reaches the weights by another way than ``Plan.privatize``.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from scipy.optimize import minimize_scalar
from scipy.spatial import cKDTree
from scipy.special import logsumexp

from trilemma.privacy.accounting import Event
from trilemma.privacy.evidence import COLUMNS, PLACES, Evidence
from trilemma.privacy.plan import Plan
from trilemma.privacy.second_opinion import second_opinion

Floats = NDArray[np.float64]

FALSE_ALARM = 1e-6
"""Probability, at most, that an honest run fails."""

ALPHA = FALSE_ALARM / 20
"""The false-alarm probability of each statistical check; there are 17, and 3 more with canaries."""

_SUMMING = 1e-5  # relative error of a sum of squares in float32, generously
_ROUNDING = 2.0**-22  # of a recovered noise value, relative to the noisy sum: two roundings, doubled

_IN_BATCH = 0.1
"""What an example may add to its batch beside its own clipped gradient, at most, in units of C: were it not far below
1, other examples could be changed by as much as one may contribute."""


@dataclass(frozen=True)
class Check:
    """One comparison of what happened with what was promised.

    Attributes:
      value: what was found; None where it is not a number.
      low, high: what is allowed, both included; either may be None: no bound.
      what: in words.
    """

    value: float | None
    low: float | None
    high: float | None
    what: str

    @property
    def passed(self) -> bool:
        """Whether the value is a number within its limits."""
        if self.value is None or math.isnan(self.value):
            return False
        return bool((self.low is None or self.value >= self.low) and (self.high is None or self.value <= self.high))

    def to_dict(self) -> dict[str, Any]:
        """``{"passed", "value", "limit" or "interval", "what"}``."""
        numbers = self.value, self.low, self.high
        value, low, high = (None if x is None or not math.isfinite(x) else float(x) for x in numbers)
        allowed = {"limit": high} if self.low is None else {"interval": [low, high]}
        return {"passed": self.passed, "value": value, **allowed, "what": self.what}


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
        return {"passed": self.passed, "false_alarm": FALSE_ALARM, "checks": checks}


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
    rows = _Rows(evidence)
    checks = {
        "updates": _updates(plan, evidence, record),
        "event": _event(plan, record),
        "mechanism": _mechanism(plan, rows),
        "epsilon": _epsilon(record),
        **(_full_batches(plan.examples, rows) if plan.batch_size == plan.examples else _draws(plan, evidence, rows)),
        **(_canaries(plan, canaries, evidence, rows) if canaries or evidence.canaries else {}),
        **_noise(evidence, rows),
        "normalizer": _normalizer(rows["drawn"] / plan.batch_size - 1, rows, "draw's size"),
        **_clip(evidence, rows, 0.1 if bfloat16 else 2e-3),
    }
    return Truth(checks)


class _Rows:
    """The columns of the evidence, by name."""

    def __init__(self, evidence: Evidence) -> None:
        self.updates = evidence.updates
        self._columns = dict(zip(COLUMNS, evidence.rows.numpy().T, strict=True))

    def __getitem__(self, name: str) -> Floats:
        column: Floats = self._columns[name]
        return column

    @functools.cached_property
    def scores(self) -> Floats:
        """The spread of each update's noise as a standard normal number."""
        return _chi_square_scores(self["squares"], self["weights"])

    @property
    def rounding(self) -> float:
        """Norm of the rounding errors of one update's recovered noise, at most."""
        return _ROUNDING * float(self["magnitude"].max(initial=0.0))


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


def _mechanism(plan: Plan, rows: _Rows) -> Check:
    """Noise is judged in units of the sigma C and B of its own update, so these must be the plan's in every update."""
    other = (rows["deviation"] != plan.noise_multiplier * plan.clipping_norm) | (rows["divisor"] != plan.batch_size)
    return Check(float(other.sum()), None, 0.0, "updates with another sigma C or another B than the plan's")


def _epsilon(record: Mapping[str, Any]) -> Check:
    event, delta = Event.from_dict(dict(record["event"])), float(record["delta"])
    low, high = second_opinion(event, delta)
    # The first accountant rounds losses up in cells, which may cost it a little.
    what = "the reported epsilon, between an independent lower bound and Renyi accounting"
    return Check(float(record["epsilon"]), low * (1 - 1e-6), high * 1.01 + 1e-3, what)


# ---- draws ----------------------------------------------------------------------------------------------------------


def _full_batches(examples: int, rows: _Rows) -> dict[str, Check]:
    fewest = float(rows["drawn"].min(initial=examples))
    return {"full_batch": Check(fewest, examples, examples, "examples in the smallest draw of a full batch")}


def _draws(plan: Plan, evidence: Evidence, rows: _Rows) -> dict[str, Check]:
    """The draws of the examples, from which canaries are left out."""
    q, examples, updates = plan.sampling_probability, plan.examples, rows.updates
    drawn, inclusions = rows["drawn"], evidence.inclusions.numpy()[: evidence.examples]
    sizes = float((drawn - examples * q) @ (drawn - examples * q)) / (updates * examples * q * (1 - q))
    return {
        "draw_count": _count(drawn, examples * updates, q, "examples"),
        "draw_sizes": Check(
            sizes, *dispersion_interval(examples, q, updates), "variance of the draws' sizes, relative to binomial"
        ),
        "inclusions": _inclusions(inclusions, drawn, examples, q, "example"),
        "draw_overlap": _overlap(examples, drawn, rows["overlap"]),
        "draw_repeats": _draw_repeats(examples, q, evidence),
    }


def _canaries(plan: Plan, canaries: int, evidence: Evidence, rows: _Rows) -> dict[str, Check]:
    """The draws of the canaries that are in, each drawn as an example is."""
    q, drawn, inclusions = plan.sampling_probability, rows["canaries"], evidence.inclusions.numpy()[evidence.examples :]
    checks = {
        "canary_count": _count(drawn, canaries * rows.updates, q, "canaries"),
        "canary_normalizer": _normalizer(drawn - canaries * q, rows, "number of canaries drawn"),
    }
    if q < 1:
        checks["canary_inclusions"] = _inclusions(inclusions, drawn, canaries, q, "canary")
    return checks


def _count(drawn: Floats, chances: int, q: float, what: str) -> Check:
    low, high = stats.binom.ppf(ALPHA / 2, chances, q), stats.binom.isf(ALPHA / 2, chances, q)
    return Check(float(drawn.sum()), float(low), float(high), f"{what} drawn in all")


def _inclusions(inclusions: NDArray[np.int64], drawn: Floats, count: int, q: float, what: str) -> Check:
    """Whether each of ``count`` was drawn as often as an independent coin in each update says."""
    what, updates = f"variance of how often each {what} was drawn, relative to binomial", len(drawn)
    if float(inclusions.sum()) != float(drawn.sum()) or len(inclusions) != count:
        return Check(math.nan, 0.0, 0.0, what)  # one was in a draw twice, or others could be drawn than these
    counts = inclusions - updates * q
    spread = float(counts @ counts) / (count * updates * q * (1 - q))
    return Check(spread, *dispersion_interval(updates, q, count), what)


def dispersion_interval(trials: int, probability: float, count: int) -> tuple[float, float]:
    """Where the mean of (X - E X)^2 / Var X over ``count`` independent X ~ Binomial(trials, probability) lies but for
    ``ALPHA``, by Chernoff's bound with the exact moment generating function."""
    x = np.arange(trials + 1)
    squares = (x - trials * probability) ** 2 / (trials * probability * (1 - probability))
    masses = stats.binom.logpmf(x, trials, probability)

    def log_mgf(rate: float) -> float:
        return float(logsumexp(masses + rate * squares))

    return _chernoff(log_mgf, count)


def _chernoff(log_mgf: Callable[[float], float], count: float) -> tuple[float, float]:
    """Ends beyond each of which the mean of ``count`` independent numbers lies with probability at most ALPHA / 2.

    P(mean >= (log_mgf(r) + log(2 / ALPHA) / count) / r) <= ALPHA / 2 for every rate r > 0; the best is taken.
    """
    spare = math.log(2 / ALPHA) / count

    def least(sign: float) -> float:
        minimum = minimize_scalar(
            lambda log_rate: (log_mgf(sign * math.exp(log_rate)) + spare) * math.exp(-log_rate),
            bounds=(-25.0, 8.0),
            method="bounded",
        )
        return float(minimum.fun)

    return -least(-1.0), least(1.0)


def _overlap(examples: int, drawn: Floats, overlap: Floats) -> Check:
    """Given their sizes, two successive draws share a hypergeometric number of examples, which has the distribution of
    a sum of independent 0-1 variables (Vatutin and Mikhailov 1982), and these numbers are independent of each other:
    Bennett's inequality bounds their sum."""
    what = "examples shared by successive draws, less their expectation"
    first, second = drawn[:-1], drawn[1:]
    mean = first * second / examples
    variance = float((mean * (1 - first / examples) * (examples - second) / max(1, examples - 1)).sum())
    if variance <= 0:
        return Check(0.0, 0.0, 0.0, what)

    def log_mgf(rate: float) -> float:
        if abs(rate) > 500:
            return math.inf if rate > 0 else float(mean.sum()) * (math.expm1(rate) - rate)
        bennett = variance * (math.expm1(abs(rate)) - abs(rate))
        # Downwards, the bound by a Poisson variable of the same mean is often the better one.
        return bennett if rate > 0 else min(bennett, float(mean.sum()) * (math.expm1(rate) - rate))

    low, high = _chernoff(log_mgf, 1)
    return Check(float((overlap[1:] - mean).sum()), low, high, what)


def _draw_repeats(examples: int, q: float, evidence: Evidence) -> Check:
    """Two draws are equal with probability (q^2 + (1 - q)^2)^N; where that is not rare enough, nothing is concluded."""
    updates = evidence.updates
    chance = updates**2 / 2 * math.exp(examples * math.log(q**2 + (1 - q) ** 2))
    repeats = updates - len(np.unique(evidence.digests.numpy()))
    return Check(repeats, None, 0.0 if chance < ALPHA else float(updates), "draws that were made twice")


# ---- noise ----------------------------------------------------------------------------------------------------------


def _chi_square_scores(squares: Floats, degrees: Floats) -> Floats:
    """Standard normal numbers as unlikely as the given chi-square numbers."""
    upper, lower = stats.norm.isf(stats.chi2.sf(squares, degrees)), stats.norm.ppf(stats.chi2.cdf(squares, degrees))
    scores: Floats = np.clip(np.where(squares > degrees, upper, lower), -38.0, 38.0)
    return scores


def _noise(evidence: Evidence, rows: _Rows) -> dict[str, Check]:
    weights, squares, updates = float(rows["weights"].sum()), float(rows["squares"].sum()), rows.updates
    size = max(weights, 1.0)
    slack = _SUMMING + 2 * rows.rounding * math.sqrt(updates / size)
    low, high = (stats.chi2.ppf(ALPHA / 2, size) / size - slack, stats.chi2.isf(ALPHA / 2, size) / size + slack)
    tensors = np.stack([t.numpy() for t in evidence.tensors.values()]) if evidence.tensors else np.zeros((1, 3))
    each = np.abs(_chi_square_scores(tensors[:, 2], tensors[:, 0]))
    worst = list(evidence.tensors)[int(each.argmax())] if evidence.tensors else "none"
    # Sums of squares in float32 may be off by a little, which matters where chi-square knows them very well.
    off_tensor = _SUMMING * math.sqrt(tensors[:, 0].max()) + 2 * rows.rounding * math.sqrt(updates)
    off_update = _SUMMING * math.sqrt(rows["weights"].max(initial=0.0)) + 2 * rows.rounding
    return {
        "noise_spread": Check(
            squares / size, float(low), float(high), "variance of the noise that was added, relative to the plan's"
        ),
        "noise_of_each_tensor": Check(
            float(each.max()),
            None,
            _normal(len(each)) + off_tensor,
            f"largest departure of one tensor's noise from its variance, in standard deviations ({worst})",
        ),
        "noise_of_each_update": Check(
            float(np.abs(rows.scores).max(initial=0.0)),
            None,
            _normal(max(1, updates)) + off_update,
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


def _normal(count: int = 1) -> float:
    """What the largest of ``count`` absolute values of standard normal numbers exceeds with probability ALPHA."""
    return float(stats.norm.isf(ALPHA / 2 / count))


def _correlation(rows: _Rows, column: str, what: str) -> Check:
    values = rows[column][np.isfinite(rows["squares"])]
    known = values[~np.isnan(values)]
    limit = _normal() + math.sqrt(max(1, len(known))) * rows.rounding
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
    return Check(distance, None, math.sqrt(math.log(2 / ALPHA) / 2 / len(values)), what)


def _noise_repeats(evidence: Evidence, rows: _Rows) -> Check:
    """Updates whose noise was that of another, or that with the other sign, at all places that were kept.

    Recovered noise is rounded, so near is equal: the distance is such that an honest run has such a pair with
    probability ALPHA.  Where rounding is larger than that, nothing is concluded.
    """
    what = "updates that repeat the noise of another"
    places, updates = np.nan_to_num(evidence.places.numpy().astype(np.float64)), rows.updates
    stored = int(min(PLACES, rows["weights"].min(initial=PLACES)))
    if updates < 2 or stored < 1:
        return Check(0.0, None, 0.0, what)
    # Each pair, and each sign, is within r at a place with probability at most 2 r / sqrt(4 pi).
    near = min(1e-2, math.sqrt(math.pi) * (ALPHA / updates**2) ** (1 / stored))
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


def _normalizer(sizes: Floats, rows: _Rows, what: str) -> Check:
    """Divided by the number of examples that were drawn, noise is the smaller the larger the draw: its spread must not
    depend on the size.  At a full batch all draws are equal, and the spread itself says whether B was the divisor."""
    what = f"correlation of the noise's spread with the {what}, in standard deviations"
    norm = float(np.sqrt(sizes @ sizes))
    return Check(float(sizes @ rows.scores) / norm if norm > 0 else 0.0, -_normal(), _normal(), what)


# ---- clip -----------------------------------------------------------------------------------------------------------


def _clip(evidence: Evidence, rows: _Rows, tolerance: float) -> dict[str, Check]:
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
