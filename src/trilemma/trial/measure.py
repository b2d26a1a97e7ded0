"""From a trained network's outputs to what a trial reports: accuracy, attacks, fairness, score, signals."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trilemma.attacks import Audit, Predictions, audit, match_predictions, membership_probability
from trilemma.attacks.roc import measure as roc_measure
from trilemma.attacks.signals import read_signals
from trilemma.data.dataset import Dataset
from trilemma.fairness import bootstrap_test, fairness_report
from trilemma.files import written
from trilemma.harmonic import harmonic_interval_over_examples, harmonic_score
from trilemma.statistics.bootstrap import percentile_interval
from trilemma.trial.null import never_saw

Logits = NDArray[np.float32]
Tell = Callable[[str], None]


def predictions_of(data: Dataset, train: Logits, test: Logits) -> Predictions:
    """Members first (the training split), then the whole test split as non-members."""
    grouped = data.train.groups is not None and data.test.groups is not None
    return Predictions(
        logits=np.concatenate([train, test]),
        labels=np.concatenate([data.train.labels, data.test.labels]),
        member=np.arange(len(train) + len(test)) < len(train),
        groups=np.concatenate([data.train.groups, data.test.groups]) if grouped else None,
        group_names=data.group_names if grouped else None,
        sources=np.concatenate([np.arange(len(train)), _sources(data)]),
    )


def _sources(data: Dataset) -> NDArray[np.int64]:
    return np.arange(len(data.test)) if data.test.sources is None else data.test.sources


def measure(data: Dataset, train: Logits, test: Logits, *, seed: int, tell: Tell) -> tuple[dict[str, Any], Audit]:
    """All measurements of one trained network.

    Args:
      data: what it was trained and is tested on.
      train, test: logits float32 of the two splits.
      seed: of attackers, matching and bootstraps.
      tell: called with what comes next.

    Returns:
      (the part of ``result.json`` that is measured, the matched audit).
    """
    classes = len(data.classes)
    predicted = test.argmax(axis=1)
    predictions = predictions_of(data, train, test)
    by = "class" if predictions.groups is None else "class,group"
    matched, match = match_predictions(predictions, by, seed)  # type: ignore[arg-type]
    found = audit(matched, seed=seed, progress=lambda what, done, total: tell(f"attack: {what}"))
    result: dict[str, Any] = {
        "accuracy": float((predicted == data.test.labels).mean()),
        "train_accuracy": float((train.argmax(axis=1) == data.train.labels).mean()),
        "attacks": found.attacks,
        "strongest_attack": found.strongest,
        "attacks_by_class": {data.classes[int(label)]: part for label, part in found.by_class.items()},
        "attacks_by_group": found.by_group,
        "nonmembers": {
            "members": found.members,
            "nonmembers": found.nonmembers,
            "matched_by": by,
            "distance": match.distance,
            "uncovered": match.uncovered,
            "uncovered_cells": [list(cell) for cell in match.uncovered_cells],
        },
        "attacks_naive": None,
    }
    if not match.trivial:
        naive = audit(predictions, seed=seed, progress=lambda what, done, total: tell(f"unmatched attack: {what}"))
        result["attacks_naive"] = naive.attacks
    tell("null check")
    outside = ~predictions.member
    counts = np.ones(int(outside.sum())) if matched.weights is None else matched.weights[outside]
    result["null_check"] = {
        "matched": never_saw(data.train, data.test, counts, counts, classes, seed=seed),
        "naive": None
        if match.trivial
        else never_saw(data.train, data.test, counts, np.ones(len(counts)), classes, seed=seed),
    }
    tell("fairness")
    result["fairness"] = None
    bias = None
    if data.test.groups is not None:
        result["fairness"] = fairness_report(
            data.test.labels,
            predicted,
            data.test.groups,
            classes,
            group_names=data.group_names,
            sources=data.test.sources,
            seed=seed,
        )
        bias = float(result["fairness"]["bias"])
    draws = bootstrap_test(
        data.test.labels,
        predicted,
        data.test.groups,
        classes=classes,
        sources=data.test.sources,
        seed=seed,
    )
    result["accuracy_interval"] = list(percentile_interval(draws.accuracy))
    groups = 2 if data.test.groups is None else len(np.unique(data.test.groups))
    score = harmonic_score(accuracy=result["accuracy"], auc=found.auc, bias=bias, groups=groups)
    interval = harmonic_interval_over_examples(
        score,
        accuracy=draws.accuracy,
        auc=found.rocs[found.strongest].draws.auc,
        bias=draws.bias,
        bias_floor=draws.bias_floor,
        groups=groups,
    )
    result["harmonic_score"] = {
        "value": score.value,
        "definition": score.definition,
        "terms": score.terms,
        "interval": [interval.low, interval.high],
        "interval_over": interval.kind,
    }
    return result, found


def quick_look(
    data: Dataset,
    rows: NDArray[np.int64],
    test_rows: NDArray[np.int64],
    train: Logits,
    test: Logits,
    track: tuple[int, ...],
) -> dict[str, Any]:
    """One line of the history: accuracies, AUC of the loss threshold, and tracked examples, on parts of the data.

    Args:
      rows, test_rows: int64, which examples ``train`` and ``test`` are logits of.
      track: training examples (among ``rows``) whose membership probability is recorded.
    """
    part = Dataset(
        data.name,
        data.train.take(rows),
        data.test.take(test_rows),
        data.classes,
        data.group_names,
    )
    predictions = predictions_of(part, train, test)
    by = "class" if predictions.groups is None else "class,group"
    matched, _ = match_predictions(predictions, by, 0)  # type: ignore[arg-type]
    signals = read_signals(matched)
    probability = membership_probability(signals.loss, matched.member, weights=matched.weights)
    line: dict[str, Any] = {
        "accuracy": float(signals.correct[len(rows) :].mean()),
        "train_accuracy": float(signals.correct[: len(rows)].mean()),
        "auc_threshold": float(roc_measure(-signals.loss, matched.member, matched.weights).auc),
    }
    if track:
        place = {int(row): at for at, row in enumerate(rows)}
        line["tracked"] = {
            str(index): {
                "membership_probability": float(probability[place[index]]),
                "loss": float(signals.loss[place[index]]),
                "correct": bool(signals.correct[place[index]]),
            }
            for index in track
        }
    return line


def write_signals(path: Path, predictions: Predictions, found: Audit, index: NDArray[np.int64] | None = None) -> None:
    """``signals.parquet``: a row per audited example, in the predictions' order.

    Args:
      path: the file.
      predictions: what was audited.
      found: the audit.
      index: int64 (N,), each example's place in its split; None counts the rows.

    ``weight`` is what the row counted in the attacks (0: not compared), ``score_NAME`` an attack's score, higher
    meaning member.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    total, signals = len(predictions), found.signals
    columns = {
        "index": np.arange(total) if index is None else index,
        "source": np.arange(total) if predictions.sources is None else predictions.sources,
        "member": predictions.member,
        "label": predictions.labels,
        "group": pa.nulls(total, pa.int64()) if predictions.groups is None else pa.array(predictions.groups),
        "weight": np.ones(total) if found.weights is None else found.weights,
        "predicted": signals.predicted,
        "loss": signals.loss,
        "confidence": signals.confidence,
        "entropy": signals.entropy,
        "modified_entropy": signals.modified_entropy,
        "membership_probability": found.membership_probability,
        **{f"score_{name}": scores for name, scores in found.scores.items()},
    }
    if predictions.logits is not None:
        flat = pa.array(np.ascontiguousarray(predictions.logits, dtype=np.float32).reshape(-1))
        columns["logits"] = pa.FixedSizeListArray.from_arrays(flat, predictions.classes)
    with written(path) as part:
        pq.write_table(pa.table(columns), part)
