"""How much privacy was lost at least: a lower bound on epsilon from the canaries of one training (Steinke, Nasr and
Jagielski 2023, arXiv 2305.08846).

M canaries are each put into the training with probability 1/2, independently.  An auditor who sees the model, and not
which they were, gives each a score, guesses "in" for the highest, "out" for the lowest and nothing for the rest.
Under (epsilon, delta)-differential privacy every guess is right with probability at most e^eps / (1 + e^eps), whatever
the others are, but for a correction in delta; too many right guesses contradict the claim.

**Choice of guesses.**  How many to make is tried on a grid that is fixed before any score is seen (``guess_counts``):
all M, half of them, a quarter, and so on, half of the guesses on each side.  Each is tested at the significance divided
by the number of tries (Bonferroni), so that the best of them is a bound at the level that is said.

**What counting cannot show.**  Even if every guess is right, M canaries prove no more than :func:`largest_bound`.  The
Gaussian bound (:func:`gaussian_bound`) goes further by an assumption that counting does not make.

**What their AUC can show.**  A budget bounds the AUC of any attack (:mod:`trilemma.privacy.ceiling`), and that of
one training's canaries on average over trainings: an attacker on one canary may know which others are in, and compute
the share of those left out that score below it.  If the canary is out, that share is uniform, since the order of those
left out is as good as random; so if it is in, the mean share, which is the mean AUC, is at most the area under the
ceiling (plus 1 / (2 M_out), as a rank among M_out has no values between).  The AUC of a single training varies around
that mean.  For gradient canaries, whose scores are independent, the bootstrap interval lay above the ceiling in 2 to
5 % of simulated trainings whose mean was exactly the ceiling; scores of images depend on each other through the
weights.  So the AUC is shown, and the verdict rests on the bounds.

**Why canaries do no harm to the guarantee of the real examples.**  The guarantee is that of adding or removing one
example, whatever the others are.  Canaries are such others: they follow from a seed and from no real example, and the
sampling probability, the noise multiplier and B are computed from the N real examples before any canary is there.
Real examples are drawn by the same coins as without canaries, and what a canary adds to a clipped sum has norm C at
most and depends on no real example.  So the sums on two neighboring data sets differ by at most C, as before, and each
update remains the Poisson-subsampled Gaussian mechanism that is accounted for.  A drawn gradient canary adds C times a
direction, as if the data set held one more example with that clipped gradient.  Each canary has the same guarantee as
a real example; that is what makes its score evidence about theirs.

The module does not train: it takes the scores of canaries that :mod:`trilemma.training.canaries` placed, or others.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from trilemma.errors import InputError

Array = NDArray[np.float64]

SIGNIFICANCE = 0.05
_LARGEST_EPSILON = 60.0
_FEWEST_GUESSES = 8


@dataclass(frozen=True)
class OneRunBound:
    """A lower bound on epsilon.

    Attributes:
      epsilon: holds with probability 1 - ``significance`` at ``delta``; 0 where nothing is contradicted.
      delta: of the claim that is contradicted.
      guesses, correct: of the try that gave it.
      tries: over how many choices of guesses the significance was shared.
      significance: the probability with which the bound may be wrong.
    """

    epsilon: float
    delta: float
    guesses: int
    correct: int
    tries: int
    significance: float


def p_value(canaries: int, guesses: int, correct: int, epsilon: float, delta: float) -> float:
    """Upper bound on the probability of so many right guesses under (epsilon, delta)-differential privacy.

    With X binomial of ``guesses`` and e^eps / (1 + e^eps): beta + 2 M delta alpha, where beta = P[X >= v] and alpha is
    the largest of (P[X >= v - i] - beta) / i over i = 1, ..., v (Steinke et al., theorem 5.2).

    >>> round(p_value(1000, 100, 100, 2.0, 0.0), 8), p_value(10, 10, 0, 2.0, 1e-5)
    (3.07e-06, 1.0)

    Args:
      canaries: M.
      guesses: how many of them were guessed, at most M.
      correct: how many of these were right.
      epsilon: >= 0.
      delta: in [0, 1].

    Raises:
      InputError: a number out of range.
    """
    from scipy.stats import binom

    if not 0 <= correct <= guesses <= canaries:
        raise InputError(f"of {canaries} canaries, {guesses} guessed and {correct} right cannot be: count them again")
    if not (epsilon >= 0 and 0 <= delta <= 1):
        raise InputError(f"epsilon must be at least 0 and delta in [0, 1], not {epsilon} and {delta}")
    if correct == 0:
        return 1.0
    # P[X >= v] as P[failures <= r - v]: of rare failures, so that nothing is lost where e^eps / (1 + e^eps) is near 1.
    wrong = 1 / (1 + math.exp(epsilon))
    beta = float(binom.cdf(guesses - correct, guesses, wrong))
    if delta == 0:
        return min(beta, 1.0)
    steps = np.arange(1, correct + 1)
    alpha = float(np.max((binom.cdf(guesses - correct + steps, guesses, wrong) - beta) / steps))
    return min(1.0, beta + 2 * canaries * delta * max(alpha, 0.0))


def largest_epsilon(
    canaries: int, guesses: int, correct: int, delta: float, significance: float = SIGNIFICANCE
) -> float:
    """The largest epsilon that so many right guesses contradict; 0 if none.

    Args:
      canaries, guesses, correct, delta: as for :func:`p_value`.
      significance: in (0, 1/2].

    Raises:
      InputError: as :func:`p_value`, or a significance out of range.
    """
    if not 0 < significance <= 0.5:
        raise InputError(f"significance must lie in (0, 1/2], not {significance}: 0.05 is usual")
    low, high = 0.0, _LARGEST_EPSILON
    if p_value(canaries, guesses, correct, low, delta) > significance:
        return 0.0
    while high - low > 1e-7:  # the p-value does not fall as epsilon grows
        middle = (low + high) / 2
        if p_value(canaries, guesses, correct, middle, delta) <= significance:
            low = middle
        else:
            high = middle
    return low


def guess_counts(canaries: int) -> tuple[int, ...]:
    """The numbers of guesses that are tried, fixed before any score is seen.

    >>> guess_counts(1000), guess_counts(10)
    ((1000, 500, 250, 124, 62, 30, 14), (10,))
    """
    counts: list[int] = []
    share = canaries
    while share >= _FEWEST_GUESSES or not counts:
        counts.append(share if not counts else share - share % 2)
        share //= 2
    return tuple(dict.fromkeys(counts))


def largest_bound(canaries: int, delta: float, *, corrected: bool = True, significance: float = SIGNIFICANCE) -> float:
    """The most that M canaries can show, with every guess right: to be said before a training.

    >>> [round(largest_bound(m, 1e-5, corrected=False), 1) for m in (200, 1000, 5000, 10_000)]
    [4.2, 5.8, 7.3, 7.8]

    Args:
      canaries: M, at least 1.
      delta: of the claim.
      corrected: with the correction for the choice of guesses that :func:`one_run_bound` makes.
      significance: the probability with which a bound may be wrong.
    """
    share = significance / len(guess_counts(canaries)) if corrected else significance
    return max(largest_epsilon(canaries, count, count, delta, share) for count in guess_counts(canaries))


def one_run_bound(
    scores: Array, included: NDArray[np.bool_], delta: float, *, significance: float = SIGNIFICANCE
) -> OneRunBound:
    """The bound of one training by counting, which assumes nothing of the mechanism.

    Args:
      scores: float (M,), higher meaning "was included"; computed without knowledge of ``included``.
      included: bool (M,), each True with probability 1/2, independently.
      delta: of the claim.
      significance: the probability with which the bound may be wrong.

    Raises:
      InputError: shapes that do not fit, a score that is not finite, or a number out of range.
    """
    scores, included = _checked(scores, included)
    # Equal scores are ordered by their place, which is independent of who was included.
    order = np.argsort(-scores, kind="stable")
    counts = guess_counts(len(scores))
    best = OneRunBound(0.0, delta, 0, 0, len(counts), significance)
    for count in counts:
        first = -(-count // 2)
        correct = int(included[order[:first]].sum() + (~included[order[len(order) - (count - first) :]]).sum())
        epsilon = largest_epsilon(len(scores), count, correct, delta, significance / len(counts))
        if epsilon > best.epsilon:
            best = OneRunBound(epsilon, delta, count, correct, len(counts), significance)
    return best


def gaussian_bound(
    scores: Array, included: NDArray[np.bool_], delta: float, *, significance: float = SIGNIFICANCE
) -> float:
    """A lower bound on epsilon at ``delta`` that assumes a Gaussian mechanism and independent canaries.

    The assumption: one canary's inclusion moves its score as mu moves a standard normal (mu-GDP, Dong et al. 2019), and
    the scores of different canaries are independent.  Every threshold then gives mu >= Phi^-1(1 - FPR) - Phi^-1(FNR);
    both rates are taken at the far ends of Clopper-Pearson intervals, at thresholds that are quantiles of all scores
    and over which the significance is shared.

    Args:
      scores, included, delta, significance: as for :func:`one_run_bound`.
    """
    from scipy.stats import beta

    scores, included = _checked(scores, included)
    shares = (0.1, 0.3, 0.5, 0.7, 0.9)
    tail = significance / (2 * len(shares))
    mu = 0.0
    for threshold in np.quantile(scores, shares):
        ends = []
        for wrong in (scores[~included] >= threshold, scores[included] < threshold):
            errors, count = int(wrong.sum()), len(wrong)
            ends.append(1.0 if errors == count else float(beta.ppf(1 - tail, errors + 1, count - errors)))
        mu = max(mu, float(ndtri(1 - ends[0]) - ndtri(ends[1])))
    return _epsilon_of_mu(mu, delta)


def _epsilon_of_mu(mu: float, delta: float) -> float:
    """The epsilon at which mu-GDP has ``delta`` (Balle and Wang 2018); 0 where it has less at 0."""

    def delta_at(epsilon: float) -> float:
        return float(ndtr(mu / 2 - epsilon / mu) - math.exp(epsilon) * ndtr(-mu / 2 - epsilon / mu))

    if mu <= 0 or delta_at(0.0) <= delta:
        return 0.0
    low, high = 0.0, _LARGEST_EPSILON
    while high - low > 1e-9:
        middle = (low + high) / 2
        low, high = (middle, high) if delta_at(middle) > delta else (low, middle)
    return low


def _checked(scores: Array, included: NDArray[np.bool_]) -> tuple[Array, NDArray[np.bool_]]:
    scores, included = np.asarray(scores, dtype=np.float64), np.asarray(included)
    if scores.ndim != 1 or included.shape != scores.shape or included.dtype != np.bool_:
        raise InputError(
            f"scores must be (M,) and included bool (M,), not {scores.shape} and {included.dtype} {included.shape}"
        )
    if not np.isfinite(scores).all():
        raise InputError("a canary's score is not finite: score every canary")
    if included.all() or not included.any():
        raise InputError("canaries must be partly in and partly out: include each with probability 1/2")
    return scores, included
