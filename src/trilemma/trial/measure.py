"""What a trial reports, computed from the outputs of its network: accuracy, attacks, fairness, score, signals."""

from __future__ import annotations

import math
from collections.abc import Callable
from copy import deepcopy
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from trilemma.attacks import Audit, Predictions, audit, match_predictions
from trilemma.data.dataset import Dataset
from trilemma.errors import InputError
from trilemma.fairness import TestDraws, bootstrap_test, fairness_report
from trilemma.harmonic import harmonic_interval_over_examples, harmonic_score
from trilemma.measures import RUN_ATTACKS
from trilemma.outside import called, resolve
from trilemma.progress import Progress
from trilemma.statistics.cells import worst_class
from trilemma.training.recipe import Recipe
from trilemma.trial.null import never_saw
from trilemma.words import clean, shortened

Logits = NDArray[np.float32]
Tell = Callable[[str], None]


def predictions_of(data: Dataset, train: Logits, test: Logits) -> Predictions:
    """Predictions of members (the training split), followed by those of non-members (the whole test split)."""
    grouped = data.train.groups is not None and data.test.groups is not None
    return Predictions(
        logits=np.concatenate([train, test]),
        labels=np.concatenate([data.train.labels, data.test.labels]),
        member=np.arange(len(train) + len(test)) < len(train),
        groups=np.concatenate([data.train.groups, data.test.groups]) if grouped else None,
        group_names=data.group_names if grouped else None,
        class_names=data.classes,
        sources=np.concatenate([np.arange(len(train)), _sources(data)]),
    )


def _sources(data: Dataset) -> NDArray[np.int64]:
    return np.arange(len(data.test)) if data.test.sources is None else data.test.sources


def measure(data: Dataset, train: Logits, test: Logits, *, recipe: Recipe, tell: Tell) -> tuple[dict[str, Any], Audit]:
    """All measurements of one trained network.

    Args:
      data: the data that it was trained on and is tested on.
      train, test: logits float32 of the two splits.
      recipe: its seed is that of attacks, matching and bootstraps; its attacks and measures are taken too.
      tell: called with the name of each measurement before it begins.

    Returns:
      (the part of ``result.json`` that is measured, the matched audit).
    """
    predicted, seed, predictions = test.argmax(axis=1), recipe.seed, predictions_of(data, train, test)
    attacked, matched = _attacks(data, predictions, recipe, tell)
    tell("fairness")
    fairness, draws = _fairness(data, predicted, seed)
    accuracy = float((predicted == data.test.labels).mean())
    result = {
        "accuracy": accuracy,
        "train_accuracy": float((train.argmax(axis=1) == data.train.labels).mean()),
        **attacked,
        "fairness": fairness,
        "accuracy_interval": list(draws.accuracy_interval),
        "no_better_than_chance": _near_chance(draws, len(data.classes)),
        "worst_class": worst_class(
            data.test.labels,
            predicted,
            classes=len(data.classes),
            class_names=data.classes,
            sources=data.test.sources,
        ),
        "harmonic_score": _score(data, accuracy, matched, fairness, draws),
    }
    if recipe.measures:
        tell("measures from outside")
        result["measures"] = {name: own_measure(name, predictions) for name in recipe.measures}
    return result, matched


def own_measure(name: str, predictions: Predictions) -> float:
    """A measure from outside.

    Raises:
      InputError: it failed, or returned no finite number.
    """
    value = called(name, resolve(name, "measures"), deepcopy(predictions))  # it may write in place
    try:
        # float() would read text, and drop what is imaginary.
        number = math.nan if isinstance(value, (str, bytes)) or np.iscomplexobj(value) else float(value)
    except (TypeError, ValueError, OverflowError, RuntimeError):  # tensors raise the last
        number = math.nan
    if not math.isfinite(number):
        raise InputError(f"the measure {name} must return a finite number, not {_shown(value)}")
    return number


def _shown(value: object) -> str:
    """What code from outside returned, short and on one line."""
    try:
        return shortened(clean(value))
    except Exception:  # an integer of many digits, or an object whose own code fails
        return f"a value of type {type(value).__name__}"


def _attacks(data: Dataset, predictions: Predictions, recipe: Recipe, tell: Tell) -> tuple[dict[str, Any], Audit]:
    """Attacks against matched and against all non-members, each with its negative control; and the matched audit.

    The two audits have one seed on purpose: their attackers and bootstraps draw the same numbers, so that they differ
    in whom they compare and not in luck.  The control draws from a stream of its own.
    """
    seed, names = recipe.seed, [*RUN_ATTACKS, *recipe.attacks]

    def attacking(kind: str) -> Progress:
        return lambda what, done, total: tell(f"{kind}: {what}") if done < total else None

    by: Literal["class", "class,group"] = "class" if predictions.groups is None else "class,group"
    weighted, match = match_predictions(predictions, by, seed)
    matched = audit(weighted, attacks=names, seed=seed, progress=attacking("attack"))
    unmatched = None
    if not match.trivial:
        unmatched = audit(predictions, attacks=names, seed=seed, progress=attacking("unmatched attack"))
    tell("negative control")
    outside = ~predictions.member
    counts = np.ones(int(outside.sum())) if weighted.weights is None else weighted.weights[outside]

    def control(weights: NDArray[np.float64]) -> dict[str, Any] | str:
        return never_saw(data.train, data.test, counts, weights, len(data.classes), seed=seed, attacks=names)

    controls = {"matched": control(counts), "naive": None if unmatched is None else control(np.ones(len(counts)))}
    entries = {
        "attacks": matched.attacks,
        "strongest_attack": matched.strongest,
        "strongest_interval": list(matched.strongest_interval),
        "strongest_interval_naive": None if unmatched is None else list(unmatched.strongest_interval),
        "headline_attack": matched.headline,
        "attacks_by_class": {data.classes[int(label)]: part for label, part in matched.by_class.items()},
        "attacks_by_group": matched.by_group,
        "nonmembers": {
            "members": matched.members,
            "nonmembers": matched.nonmembers,
            "matched_by": by,
            "distance": match.distance,
            "uncovered": match.uncovered,
            "uncovered_cells": [list(cell) for cell in match.uncovered_cells],
        },
        "attacks_naive": None if unmatched is None else unmatched.attacks,
        "null_check": {kind: None if isinstance(check, str) else check for kind, check in controls.items()},
        "null_check_reason": controls["matched"] if isinstance(controls["matched"], str) else None,
    }
    return entries, matched


def accuracy_of_nonmembers(predictions: Predictions) -> dict[str, Any]:
    """``accuracy``, ``accuracy_interval``, ``fairness`` and ``worst_class`` of ``result.json``, of all non-members as
    they are; and ``no_better_than_chance``, whether the accuracy may be that of guessing."""
    outside = ~predictions.member
    labels = predictions.labels[outside]
    predicted = predictions.outputs[outside].argmax(axis=1).astype(np.int64)
    sources = None if predictions.sources is None else predictions.sources[outside]
    groups = None if predictions.groups is None else predictions.groups[outside]
    draws = bootstrap_test(labels, predicted, classes=predictions.classes, sources=sources)
    fairness = None
    if groups is not None and len(np.unique(groups)) > 1:
        fairness = fairness_report(
            labels,
            predicted,
            groups,
            predictions.classes,
            group_names=predictions.group_names,
            class_names=predictions.class_names,
            sources=sources,
        )
    return {
        "accuracy": float((predicted == labels).mean()),
        "accuracy_interval": list(draws.accuracy_interval),
        "no_better_than_chance": _near_chance(draws, predictions.classes),
        "fairness": fairness,
        "worst_class": worst_class(
            labels,
            predicted,
            classes=predictions.classes,
            class_names=predictions.class_names,
            sources=sources,
        ),
    }


def _near_chance(draws: TestDraws, classes: int) -> bool:
    """Whether the accuracy may be that of guessing."""
    return draws.accuracy_interval[0] <= 1 / classes


def _fairness(data: Dataset, predicted: NDArray[np.int64], seed: int) -> tuple[dict[str, Any] | None, TestDraws]:
    """The fairness report, None without groups; and bootstrap draws of accuracy and bias over test examples."""
    test, classes = data.test, len(data.classes)
    draws = bootstrap_test(test.labels, predicted, test.groups, classes=classes, sources=test.sources, seed=seed)
    if test.groups is None:
        return None, draws
    report = fairness_report(
        test.labels,
        predicted,
        test.groups,
        classes,
        group_names=data.group_names,
        class_names=data.classes,
        sources=test.sources,
        seed=seed,
    )
    return report, draws


def _score(
    data: Dataset, accuracy: float, matched: Audit, fairness: dict[str, Any] | None, draws: TestDraws
) -> dict[str, Any]:
    """``harmonic_score`` of ``result.json``, from the strongest matched attack."""
    bias = None if fairness is None else float(fairness["bias"])
    groups = 2 if data.test.groups is None else len(np.unique(data.test.groups))
    score = harmonic_score(accuracy=accuracy, auc=matched.auc, bias=bias, groups=groups)
    interval = harmonic_interval_over_examples(
        score,
        accuracy=draws.accuracy,
        auc=matched.rocs[matched.strongest].draws.auc,
        bias=draws.bias,
        bias_floor=draws.bias_floor,
        accuracy_interval=draws.accuracy_interval,
        groups=groups,
    )
    return {
        "value": score.value,
        "definition": score.definition,
        "terms": score.terms,
        "interval": [interval.low, interval.high],
        "interval_over": interval.kind,
    }
