"""The harmonic score: the harmonic mean of accuracy, privacy and fairness, always shown with its terms.

The paper that proposed such a score does not publish its formula, so the definitions here are the project's
own, and every value carries the name of its definition:

- ``normalized``: privacy = 1 - |2 AUC - 1|, fairness = 1 - 2 bias; every term lies in [0, 1], and 1 is best.
- ``complement``: privacy = 1 - AUC, fairness = 1 - bias; a perfectly private and fair model does not reach 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from trilemma.errors import InputError
from trilemma.seeds import rng_for
from trilemma.statistics.bootstrap import percentile_interval

Definition = Literal["normalized", "complement"]

# Tolerance for rounded sums, such as a bias of 0.5000000000000001.
_ROUNDING = 1e-9

Array = NDArray[np.float64]


@dataclass(frozen=True)
class HarmonicScore:
    """A score with the name of its definition and the terms whose harmonic mean it is.

    Attributes:
      value: the score, in [0, 1]; 0 if a term is 0.
      definition: ``normalized`` or ``complement``.
      terms: ``accuracy``, ``privacy`` and, if the data has groups, ``fairness``, each in [0, 1].
    """

    value: float
    definition: Definition
    terms: dict[str, float]

    def __str__(self) -> str:
        terms = ", ".join(f"{name} {value:.3f}" for name, value in self.terms.items())
        count = "three terms" if len(self.terms) == 3 else "two terms, no groups"
        return f"{self.value:.3f} ({self.definition}, {count}: {terms})"


@dataclass(frozen=True)
class HarmonicInterval:
    """A 95 % bootstrap interval of a score, and what was resampled for it.

    Attributes:
      low, high: the ends of the interval.
      mean: the mean of the seeds' scores, or the score itself for a single training.
      kind: ``seeds`` (the variation between trainings) or ``test examples`` (the variation between samples of test
        examples, for a single training).
      count: the number of seeds, or of bootstrap samples.
    """

    low: float
    high: float
    mean: float
    kind: Literal["seeds", "test examples"]
    count: int


def harmonic_score(
    *,
    accuracy: float,
    auc: float,
    bias: float | None = None,
    definition: Definition = "normalized",
    groups: int = 2,
) -> HarmonicScore:
    """The harmonic mean of accuracy, privacy and (with groups) fairness.

    Args:
      accuracy: the accuracy on the test set, in [0, 1].
      auc: the AUC of the attack with the largest |AUC - 1/2|, in [0, 1].
      bias: bias amplification in [0, 1 - 1/groups], or None if the data has no groups: the score then has
        two terms, and its text says so.
      definition: ``normalized`` or ``complement`` (see the module).
      groups: the number of groups G.  Fairness is 1 - bias / (1 - 1/G), which is 1 - 2 bias for two groups, so
        that the largest possible bias gives 0 for any number of groups.

    Raises:
      InputError: a number is NaN or out of range, or the definition is unknown.

    >>> score = harmonic_score(accuracy=0.81, auc=0.52, bias=0.07)
    >>> print(score)
    0.872 (normalized, three terms: accuracy 0.810, privacy 0.960, fairness 0.860)
    >>> print(harmonic_score(accuracy=0.5, auc=0.75, definition="complement"))
    0.333 (complement, two terms, no groups: accuracy 0.500, privacy 0.250)
    """
    terms = _terms(
        np.asarray(accuracy, dtype=np.float64),
        np.asarray(auc, dtype=np.float64),
        None if bias is None else np.asarray(bias, dtype=np.float64),
        definition,
        groups,
    )
    return HarmonicScore(
        value=float(_harmonic_mean(list(terms.values()))),
        definition=definition,
        terms={name: float(value) for name, value in terms.items()},
    )


def harmonic_interval_over_seeds(
    scores: Sequence[HarmonicScore], *, seed: int = 0, resamples: int = 10_000
) -> HarmonicInterval:
    """The mean of several seeds' scores, with its percentile bootstrap interval.

    With fewer than about ten seeds such an interval is too narrow, since the bootstrap resamples only the few
    values that it has: always report it together with the number of seeds.

    Args:
      scores: one score per seed, all with the same definition and the same terms.
      seed: the seed of the bootstrap.
      resamples: the number of bootstrap samples.

    Raises:
      InputError: there are fewer than two scores, or they cannot be averaged.

    >>> scores = [harmonic_score(accuracy=a, auc=0.5) for a in (0.5, 0.6, 0.7)]
    >>> interval = harmonic_interval_over_seeds(scores)
    >>> interval.kind, interval.count, interval.low < interval.mean < interval.high
    ('seeds', 3, True)
    """
    if len(scores) < 2:
        raise InputError(f"an interval over seeds needs at least two, not {len(scores)}: use the one over examples")
    if len({(score.definition, tuple(score.terms)) for score in scores}) > 1:
        raise InputError(
            "scores of different definitions or terms cannot be averaged: compute all of them with the same definition "
            "and terms"
        )
    values = np.array([score.value for score in scores])
    picks = rng_for(seed, "bootstrap/seeds").integers(0, len(values), size=(resamples, len(values)))
    low, high = percentile_interval(values[picks].mean(axis=1))
    return HarmonicInterval(low, high, float(values.mean()), "seeds", len(values))


def harmonic_interval_over_examples(
    score: HarmonicScore,
    *,
    accuracy: ArrayLike,
    auc: ArrayLike,
    bias: ArrayLike | None = None,
    bias_floor: ArrayLike | None = None,
    accuracy_interval: tuple[float, float] | None = None,
    groups: int = 2,
) -> HarmonicInterval:
    """The interval of one run's score over test examples, from bootstrap draws of its parts.

    It does not include the variation between trainings.  Accuracy and bias should come from the same samples
    (:func:`~trilemma.fairness.bootstrap_test`).  The draws of the AUC are independent of them, so the correlation
    through common test examples is ignored.

    The absolute values in privacy and fairness, |2 AUC - 1| and |share - 1/2|, are biased upward by noise, and
    their bootstrap draws even more so; an interval from these draws would exclude the true score of a model that
    is private and fair.  The upper end therefore comes from draws without absolute values: 2 AUC - 1 with the
    sign of most draws, and ``bias_floor``.

    Args:
      score: the score of the run.
      accuracy: float (R,), draws of the accuracy (``TestDraws.accuracy``).
      auc: float (R,), draws of the AUC of the attack that the score uses (``Audit.rocs[...].draws.auc``).
      bias: float (R,), draws of the bias (``TestDraws.bias``), if the score has a fairness term.
      bias_floor: float (R,), draws of a lower bound of the bias (``TestDraws.bias_floor``); None: ``bias``.
      accuracy_interval: [low, high] of the accuracy (``TestDraws.accuracy_interval``), or None.  The interval includes
        the scores at its ends, with the other terms as they are: an accuracy of 1 is 1 in every draw.
      groups: the number of groups, as for the score.

    Raises:
      InputError: lengths differ, a draw is out of range, or ``bias`` does not fit the terms of the score.

    >>> score = harmonic_score(accuracy=0.8, auc=0.5)
    >>> interval = harmonic_interval_over_examples(score, accuracy=[0.78, 0.8, 0.82], auc=[0.49, 0.5, 0.51])
    >>> interval.kind, interval.low < score.value < interval.high
    ('test examples', True)
    """
    if (bias is None) != ("fairness" not in score.terms):
        raise InputError("give draws of bias where the score has a fairness term, and only there")
    if bias is None and bias_floor is not None:
        raise InputError("bias_floor goes with bias: give both or neither")
    parts = {"accuracy": accuracy, "auc": auc, "bias": bias, "floor": bias if bias_floor is None else bias_floor}
    samples = {name: np.asarray(part, dtype=np.float64) for name, part in parts.items() if part is not None}
    if any(part.ndim != 1 or part.shape != samples["accuracy"].shape for part in samples.values()):
        raise InputError("the draws must be (R,) of one length: use the same number of resamples for all")
    lower = _terms(samples["accuracy"], samples["auc"], samples.get("bias"), score.definition, groups)
    upper = _terms(samples["accuracy"], samples["auc"], samples.get("floor"), score.definition, groups)
    if score.definition == "normalized":
        sign = 1.0 if np.median(samples["auc"]) >= 0.5 else -1.0
        upper["privacy"] = np.minimum(1.0, 1 - sign * (2 * samples["auc"] - 1))
    low, _ = percentile_interval(_harmonic_mean(list(lower.values())))
    _, high = percentile_interval(_harmonic_mean(list(upper.values())))
    others = [np.asarray(term) for name, term in score.terms.items() if name != "accuracy"]
    ends = [float(_harmonic_mean([np.asarray(end), *others])) for end in accuracy_interval or ()]
    count = len(samples["accuracy"])
    low, high = min([low, score.value, *ends]), max([high, score.value, *ends])
    return HarmonicInterval(low, high, score.value, "test examples", count)


def _terms(accuracy: Array, auc: Array, bias: Array | None, definition: str, groups: int) -> dict[str, Array]:
    if definition not in get_args(Definition):
        raise InputError(f"unknown definition {definition!r}: choose {' or '.join(get_args(Definition))}")
    if groups < 2:
        raise InputError(f"groups must be at least 2, not {groups}: leave bias out where there are none")
    accuracy, auc = _within("accuracy", accuracy, 1.0), _within("auc", auc, 1.0)
    normalized = definition == "normalized"
    terms = {"accuracy": accuracy, "privacy": 1 - np.abs(2 * auc - 1) if normalized else 1 - auc}
    if bias is not None:
        largest = 1 - 1 / groups
        bias = _within("bias", bias, largest)
        terms["fairness"] = 1 - (bias / largest if normalized else bias)
    return terms


def _within(name: str, value: Array, most: float) -> Array:
    if not ((value >= -_ROUNDING) & (value <= most + _ROUNDING)).all():
        worst = value if value.ndim == 0 else value[~((value >= 0) & (value <= most))][0]
        raise InputError(f"{name} must lie in [0, {most:g}], not {worst:g}: give it as a fraction, not in percent")
    return np.clip(value, 0.0, most)


def _harmonic_mean(terms: list[Array]) -> Array:
    stacked = np.stack(terms)
    # n m / sum(m / t), where m is the least term: the quotients lie in (0, 1] however small the terms are.
    least = stacked.min(axis=0)
    quotients = np.divide(least, stacked, out=np.ones_like(stacked), where=stacked > 0)
    mean: Array = len(terms) * least / quotients.sum(axis=0)
    return mean
