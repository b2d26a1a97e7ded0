"""All attacks on one model's predictions, with confidence intervals: overall, by class and by group."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from trilemma.attacks.cells import TOO_FEW
from trilemma.attacks.matching import Match, matched_nonmembers
from trilemma.attacks.membership_probability import membership_probability
from trilemma.attacks.named import ATTACKS as ATTACKS
from trilemma.attacks.named import LEARNED, SHADOW_SCORES, chosen_attacks, single_model_scores
from trilemma.attacks.predictions import Predictions
from trilemma.attacks.rates import Rate, effective_count, rate_at
from trilemma.attacks.references import References
from trilemma.attacks.reliability import CALIBRATED, Reliability, calibrated
from trilemma.attacks.roc import Roc, bootstrap_rocs
from trilemma.attacks.signals import Signals, read_signals
from trilemma.errors import InputError
from trilemma.measures import FPRS, HEADLINE_ATTACKS
from trilemma.progress import Progress
from trilemma.seeds import rng_for
from trilemma.statistics.bootstrap import percentile_interval
from trilemma.statistics.intervals import LEVEL
from trilemma.words import RESAMPLES


@dataclass(frozen=True, eq=False)
class Audit:
    """The results of all attacks on one model.

    Attributes:
      attacks: as in ``result.json``: ``{name: {"auc", "advantage", "tpr_at_fpr": {"0.001", "0.01"},
        "interval": {the same three keys}}}``, each interval [low, high] at 95 %.  A rate for which there are too few
        non-members is None, and ``tpr_reason`` says what is missing.
      rates: the true-positive rates of each attack, by false-positive rate.
      members, nonmembers: the number of members and non-members with a weight above 0.
      effective_nonmembers: how many equally weighted, independent non-members tell as much.
      by_class: ``{"3": {"members", "nonmembers", "attacks": {name: {"auc", "interval": {"auc"}}}}}``; where
        either side has fewer than ``TOO_FEW``, ``{"members", "nonmembers", "too_few": True}``.  One in twenty
        such intervals is expected to miss the true value, so one class that stands out is not a finding.
      by_group: the same, by group name; None without groups.
      signals: the signals of every row of the predictions.
      membership_probability: float64 (N,), computed from the loss's histograms, also for rows of weight 0.
      probabilities: ``{"rmia": (N,), "lira": (N,)}``, the calibrated probability of membership at prior 1/2 that the
        shadow attacks give, for those that could be checked.
      reliability: whether those hold, on shadows in place of the target; a curve for each.
      probability_reason: why a shadow attack that was made gives none, by its name.
      not_made: why the reference models do not allow other shadow attacks, by their names; empty where attacks were
        asked for.
      scores: each attack's score (N,) of every row; a higher score means "member".
      rocs: each attack's metrics with their bootstrap draws.
      match: how the non-members were matched; None if they were used as they are.
      weights: float64 (N,), the weight of each row; None if all rows have equal weight.
      seed, resamples: the arguments of :func:`audit`.
    """

    attacks: dict[str, dict[str, Any]]
    rates: dict[str, dict[float, Rate]]
    members: int
    nonmembers: int
    effective_nonmembers: float
    by_class: dict[str, dict[str, Any]]
    by_group: dict[str, dict[str, Any]] | None
    signals: Signals
    membership_probability: NDArray[np.float64]
    probabilities: dict[str, NDArray[np.float64]]
    reliability: dict[str, Reliability]
    probability_reason: dict[str, str]
    not_made: dict[str, str]
    scores: dict[str, NDArray[np.float64]]
    rocs: dict[str, Roc]
    match: Match | None
    weights: NDArray[np.float64] | None
    seed: int
    resamples: int

    def __repr__(self) -> str:
        lines = [f"<Audit: {self.members:,} members, {self.nonmembers:,} non-members; headline {self.headline}"]
        for name, roc in self.rocs.items():
            low, high = roc.auc_interval(LEVEL)
            lines.append(f"  {name:<18} AUC {roc.auc:.3f} [{low:.3f}, {high:.3f}]")
        return "\n".join(lines) + ">"

    @property
    def strongest(self) -> str:
        """The attack with the largest |AUC - 1/2| (the first of several equal ones)."""
        return max(self.rocs, key=lambda name: abs(self.rocs[name].auc - 0.5))

    @property
    def strongest_interval(self) -> tuple[float, float]:
        """The 95 % interval of the strongest attack's AUC; each bootstrap sample chooses its strongest attack."""
        draws = np.stack([roc.draws.auc for roc in self.rocs.values()])
        chosen = np.abs(draws - 0.5).argmax(axis=0)
        return percentile_interval(draws[chosen, np.arange(draws.shape[1])], LEVEL)

    @property
    def headline(self) -> str:
        """The attack whose numbers summarize the audit, chosen before they are seen: online RMIA where reference
        models allow it, otherwise the loss threshold (or the first attack, if neither was requested)."""
        return next((name for name in HEADLINE_ATTACKS if name in self.rocs), next(iter(self.rocs)))

    @property
    def auc(self) -> float:
        """The AUC of the strongest attack."""
        return self.rocs[self.strongest].auc


@dataclass(frozen=True)
class NullCheck:
    """The negative control: whether the AUCs could be those of a model that never saw the members.

    ``passed`` is True if every attack's interval in ``intervals``, at confidence ``level``, covers 1/2.
    """

    passed: bool
    level: float
    intervals: dict[str, tuple[float, float]]


def audit(
    predictions: Predictions,
    *,
    attacks: Sequence[str] | None = None,
    match: Literal["class", "class,group"] | None = None,
    seed: int = 0,
    resamples: int = RESAMPLES,
    progress: Progress | None = None,
) -> Audit:
    """Attack the model behind ``predictions``, and estimate each attack's success with confidence intervals.

    Args:
      predictions: the model's outputs, the true labels and the membership of each row.
      attacks: names of :data:`trilemma.measures.ATTACK_WORDS`, or of your own as ``module:name``.  None: those of every
        run (:data:`trilemma.measures.RUN_ATTACKS`), and those of the others that the reference models allow.
      match: reweight the non-members so that they have the members' mix of classes (and groups).  Where sources
        repeat, one copy of each image is kept (:func:`~trilemma.attacks.matching.matched_nonmembers`).
        None: rows have the weights of ``predictions.weights``.
      seed: the seed of attackers, bootstrap and matching; the same seed gives the same audit.
      resamples: the number of bootstrap samples for each interval.
      progress: called with (name of the next step, steps done, total steps).

    Raises:
      InputError: an attack is unknown, ``match`` is combined with weights or lacks groups, the reference models allow
        no shadow attack, or too few rows can be compared.

    >>> rng = np.random.default_rng(0)
    >>> member = np.arange(400) < 200
    >>> logits = rng.normal(size=(400, 2)) + 3 * np.eye(2)[np.zeros(400, int)] * member[:, None]
    >>> predictions = Predictions(logits=logits, labels=np.zeros(400, int), member=member)
    >>> result = audit(predictions, attacks=["threshold"], resamples=50)
    >>> result.strongest, result.auc > 0.9, sorted(result.attacks["threshold"])
    ('threshold', True, ['advantage', 'auc', 'interval', 'tpr_at_fpr', 'tpr_reason'])
    """
    names, not_made = chosen_attacks(attacks, predictions)
    matched = None
    if match is not None:
        predictions, matched = match_predictions(predictions, match, seed)
    report = progress or (lambda what, done, total: None)
    signals = read_signals(predictions)
    shadow_attacks = [name for name in names if name in SHADOW_SCORES]
    references = References.of(predictions, shadow_attacks[0]) if shadow_attacks else None
    scores = _scores(names, predictions, signals, references, seed, report)
    # All attacks share the same bootstrap samples, so that resampling noise does not add to their differences.
    rocs = _rocs(scores, predictions, slice(None), rng_for(seed, "bootstrap/all"), resamples)
    report("classes and groups", len(names), len(names) + 1)
    by_class = {
        str(label): _slice(
            predictions, scores, predictions.labels == label, rng_for(seed, f"bootstrap/class/{label}"), resamples
        )
        for label in range(predictions.classes)
    }
    by_group = None
    if predictions.groups is not None:
        by_group = {
            predictions.name_of_group(group): _slice(
                predictions, scores, predictions.groups == group, rng_for(seed, f"bootstrap/group/{group}"), resamples
            )
            for group in np.unique(predictions.groups)
        }
    report("done", len(names) + 1, len(names) + 1)
    probabilities, reliability, reasons = _probabilities(scores, references)
    rates = {name: _rates(name, values, predictions) for name, values in scores.items()}
    return Audit(
        attacks={name: roc.as_dict(rates[name]) for name, roc in rocs.items()},
        rates=rates,
        members=predictions.members,
        nonmembers=predictions.nonmembers,
        effective_nonmembers=_effective_nonmembers(predictions),
        by_class=by_class,
        by_group=by_group,
        signals=signals,
        membership_probability=membership_probability(signals.loss, predictions.member, weights=predictions.weights),
        probabilities=probabilities,
        reliability=reliability,
        probability_reason=reasons,
        not_made=not_made,
        scores=scores,
        rocs=rocs,
        match=matched,
        weights=predictions.weights,
        seed=seed,
        resamples=resamples,
    )


def _scores(
    names: Sequence[str],
    predictions: Predictions,
    signals: Signals,
    references: References | None,
    seed: int,
    report: Progress,
) -> dict[str, NDArray[np.float64]]:
    scores: dict[str, NDArray[np.float64]] = {}
    # Shadow attacks come first: what they refuse is known before a learned attack has taken minutes.
    for done, name in enumerate(sorted(names, key=lambda name: name not in SHADOW_SCORES)):
        report(name, done, len(names) + 1)
        if name in SHADOW_SCORES:
            assert references is not None
            scores[name] = SHADOW_SCORES[name](predictions, signals, references)
        else:  # each has its own random stream, so that leaving one out does not change the others
            scores[name] = single_model_scores(name, predictions, signals, rng_for(seed, f"attack/{name}"))
    return {name: scores[name] for name in names}


def match_predictions(
    predictions: Predictions, by: Literal["class", "class,group"] = "class,group", seed: int = 0
) -> tuple[Predictions, Match]:
    """The same rows with weights that match the non-members to the members, and a description of the match.

    Rows that are not compared (the other copy of an image, members without a counterpart) get weight 0.

    Raises:
      InputError: the predictions already have weights, ``by`` asks for groups that are missing, or too few rows
        would have a weight above 0.
    """
    if by not in ("class", "class,group"):
        raise InputError(f"match must be class or class,group, not {by}")
    if predictions.weights is not None:
        raise InputError("match cannot be combined with weights: leave out one of the two")
    if by == "class,group" and predictions.groups is None:
        raise InputError("match class,group needs groups: add them to the predictions, or match by class")
    inside, outside = np.flatnonzero(predictions.member), np.flatnonzero(~predictions.member)
    groups = predictions.groups if by == "class,group" else None
    matched = matched_nonmembers(
        predictions.labels[inside],
        None if groups is None else groups[inside],
        predictions.labels[outside],
        None if groups is None else groups[outside],
        None if predictions.sources is None else predictions.sources[outside],
        seed,
    )
    if matched.trivial:
        return predictions, matched
    weights = np.zeros(len(predictions))
    weights[inside[matched.covered]] = 1.0
    weights[outside[matched.indices]] = matched.weights
    return replace(predictions, weights=weights), matched


def null_check(audited: Audit, *, false_alarm: float = 0.05) -> NullCheck:
    """The negative control: whether every attack's interval covers 1/2, as it must for a classifier that never saw
    the members.

    This check can fail.  Audit a classifier trained on *other* examples of the same distribution as if the
    members had been its own training examples.  If an interval misses 1/2, members and non-members differ in
    something other than membership, and no AUC against these non-members measures leakage alone.

    Each of k attacks is tested at level 1 - false_alarm / k, which bounds the probability of any false alarm by
    ``false_alarm`` (Bonferroni).

    Raises:
      InputError: ``false_alarm`` lies outside (0, 1), or the audit has too few resamples for this level.

    >>> rng = np.random.default_rng(0)
    >>> p = Predictions(logits=rng.normal(size=(600, 3)), labels=[0] * 600, member=np.arange(600) < 300)
    >>> null_check(audit(p, attacks=["threshold"])).passed
    True
    """
    if not 0 < false_alarm < 1:
        raise InputError(f"false_alarm must lie between 0 and 1, not {false_alarm}")
    level = 1 - false_alarm / len(audited.rocs)
    if audited.resamples * (1 - level) / 2 < 1:
        raise InputError(
            f"{audited.resamples} resamples are too few for an interval at level {level:.4f}: audit with at least "
            f"{int(np.ceil(2 / (1 - level)))}"
        )
    intervals = {name: roc.auc_interval(level) for name, roc in audited.rocs.items()}
    return NullCheck(all(low <= 0.5 <= high for low, high in intervals.values()), level, intervals)


def _probabilities(
    scores: dict[str, NDArray[np.float64]], references: References | None
) -> tuple[dict[str, NDArray[np.float64]], dict[str, Reliability], dict[str, str]]:
    """Probabilities of membership, how reliable they are, and why some attacks have none."""
    probabilities: dict[str, NDArray[np.float64]] = {}
    curves: dict[str, Reliability] = {}
    reasons: dict[str, str] = {}
    for attack in CALIBRATED:
        if references is None or references.member is None or attack not in scores:
            continue
        found = calibrated(attack, scores[attack], references)
        if isinstance(found, str):
            reasons[attack] = found
        else:
            probabilities[attack], curves[attack] = found
    return probabilities, curves, reasons


def _rates(name: str, scores: NDArray[np.float64], predictions: Predictions) -> dict[float, Rate]:
    return {
        fpr: rate_at(
            scores, predictions.member, fpr, weights=predictions.weights, clusters=predictions.sources
        ).widened(LEARNED.get(name, 1.0))
        for fpr in FPRS
    }


def _effective_nonmembers(predictions: Predictions) -> float:
    rows = np.flatnonzero(~predictions.member & predictions.counted)
    return effective_count(
        None if predictions.weights is None else predictions.weights[rows],
        len(rows),
        None if predictions.sources is None else predictions.sources[rows],
    )


def _rocs(
    scores: dict[str, NDArray[np.float64]],
    predictions: Predictions,
    rows: slice | NDArray[np.bool_],
    rng: np.random.Generator,
    resamples: int,
) -> dict[str, Roc]:
    rocs = bootstrap_rocs(
        {name: values[rows] for name, values in scores.items()},
        predictions.member[rows],
        weights=None if predictions.weights is None else predictions.weights[rows],
        sources=None if predictions.sources is None else predictions.sources[rows],
        seed=rng,
        resamples=resamples,
    )
    return {name: roc.widened(LEARNED[name]) if name in LEARNED else roc for name, roc in rocs.items()}


def _slice(
    predictions: Predictions,
    scores: dict[str, NDArray[np.float64]],
    rows: NDArray[np.bool_],
    rng: np.random.Generator,
    resamples: int,
) -> dict[str, Any]:
    """One class or group: every attack's AUC on its rows alone, or that there are too few."""
    counted = rows & predictions.counted
    members = int(np.count_nonzero(counted & predictions.member))
    nonmembers = int(np.count_nonzero(counted)) - members
    sizes: dict[str, Any] = {"members": members, "nonmembers": nonmembers}
    if min(members, nonmembers) < TOO_FEW:
        return {**sizes, "too_few": True}
    by_attack = {
        name: {"auc": roc.auc, "interval": {"auc": list(roc.auc_interval(LEVEL))}}
        for name, roc in _rocs(scores, predictions, counted, rng, resamples).items()
    }
    return {**sizes, "attacks": by_attack}
