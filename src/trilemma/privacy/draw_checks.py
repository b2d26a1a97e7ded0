"""The truth check of the draws: whether they look like the Poisson sampling that was accounted for."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from scipy.special import logsumexp

from trilemma.privacy import alarms
from trilemma.privacy.alarms import Check, Floats, Rows, chernoff, normal_limit
from trilemma.privacy.evidence import Evidence
from trilemma.privacy.plan import Plan


def draw_checks(plan: Plan, evidence: Evidence, rows: Rows) -> dict[str, Check]:
    """The draws of the examples, from which canaries are left out."""
    if plan.batch_size == plan.examples:
        fewest, what = float(rows["drawn"].min(initial=plan.examples)), "examples in the smallest draw of a full batch"
        return {"full_batch": Check(fewest, plan.examples, plan.examples, what)}
    q, examples, updates = plan.sampling_probability, plan.examples, rows.updates
    drawn, inclusions = rows["drawn"], evidence.inclusions.numpy()[: evidence.examples]
    sizes = float((drawn - examples * q) @ (drawn - examples * q)) / (updates * examples * q * (1 - q))
    return {
        "draw_count": _count(drawn, examples * updates, q, "examples"),
        "draw_sizes": Check(
            sizes, *dispersion_interval(examples, q, updates), "variance of the draws' sizes, relative to binomial"
        ),
        "inclusions": _inclusions(inclusions, drawn, examples, q, "example"),
        "most_inclusions": _most_inclusions(inclusions, updates, q),
        "draw_overlap": _overlap(examples, drawn, rows["overlap"]),
        "draw_repeats": _draw_repeats(examples, q, evidence),
    }


def canary_checks(plan: Plan, canaries: int, evidence: Evidence, rows: Rows) -> dict[str, Check]:
    """The draws of the canaries that are in, each drawn as an example is."""
    q, drawn, inclusions = plan.sampling_probability, rows["canaries"], evidence.inclusions.numpy()[evidence.examples :]
    checks = {
        "canary_count": _count(drawn, canaries * rows.updates, q, "canaries"),
        "canary_normalizer": normalizer_check(drawn - canaries * q, rows, "number of canaries drawn"),
    }
    if q < 1:
        checks["canary_inclusions"] = _inclusions(inclusions, drawn, canaries, q, "canary")
    return checks


def _count(drawn: Floats, chances: int, q: float, what: str) -> Check:
    low, high = stats.binom.ppf(alarms.ALPHA / 2, chances, q), stats.binom.isf(alarms.ALPHA / 2, chances, q)
    return Check(float(drawn.sum()), float(low), float(high), f"{what} drawn in all")


def _inclusions(inclusions: NDArray[np.int64], drawn: Floats, count: int, q: float, what: str) -> Check:
    """Whether each of ``count`` was drawn as often as an independent coin in each update says."""
    what, updates = f"variance of how often each {what} was drawn, relative to binomial", len(drawn)
    if float(inclusions.sum()) != float(drawn.sum()) or len(inclusions) != count:
        return Check(math.nan, 0.0, 0.0, what)  # one was in a draw twice, or others could be drawn than these
    counts = inclusions - updates * q
    spread = float(counts @ counts) / (count * updates * q * (1 - q))
    return Check(spread, *dispersion_interval(updates, q, count), what)


def _most_inclusions(inclusions: NDArray[np.int64], updates: int, q: float) -> Check:
    """Whether even the example that was drawn most often was drawn as coins would have it: one that is in every draw
    has no protection from sampling, and the variance over all examples does not show it."""
    limit = stats.binom.isf(alarms.ALPHA / len(inclusions), updates, q)
    return Check(float(inclusions.max()), None, float(limit), "draws that the most often drawn example was in")


def dispersion_interval(trials: int, probability: float, count: int) -> tuple[float, float]:
    """Where the mean of (X - E X)^2 / Var X over ``count`` independent X ~ Binomial(trials, probability) lies but for
    ``ALPHA``, by Chernoff's bound with the exact moment generating function."""
    x = np.arange(trials + 1)
    squares = (x - trials * probability) ** 2 / (trials * probability * (1 - probability))
    masses = stats.binom.logpmf(x, trials, probability)

    def log_mgf(rate: float) -> float:
        return float(logsumexp(masses + rate * squares))

    return chernoff(log_mgf, count)


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

    low, high = chernoff(log_mgf, 1)
    return Check(float((overlap[1:] - mean).sum()), low, high, what)


def _draw_repeats(examples: int, q: float, evidence: Evidence) -> Check:
    """Two draws are equal with probability (q^2 + (1 - q)^2)^N; where that is not rare enough, nothing is concluded."""
    updates = evidence.updates
    chance = updates**2 / 2 * math.exp(examples * math.log(q**2 + (1 - q) ** 2))
    repeats = updates - len(np.unique(evidence.digests.numpy()))
    return Check(repeats, None, 0.0 if chance < alarms.ALPHA else float(updates), "draws that were made twice")


def normalizer_check(sizes: Floats, rows: Rows, what: str) -> Check:
    """Divided by the number of examples that were drawn, noise is the smaller the larger the draw: its spread must not
    depend on the size.  At a full batch all draws are equal, and the spread itself says whether B was the divisor."""
    what = f"correlation of the noise's spread with the {what}, in standard deviations"
    norm = float(np.sqrt(sizes @ sizes))
    return Check(float(sizes @ rows.scores) / norm if norm > 0 else 0.0, -normal_limit(), normal_limit(), what)
