"""Evaluations during training: each writes one line of the history, always on the same part of the data."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from trilemma.attacks import match_predictions, membership_probability
from trilemma.attacks.roc import measure as roc_measure
from trilemma.attacks.signals import read_signals
from trilemma.data.dataset import Dataset
from trilemma.seeds import rng_for
from trilemma.trial.measure import Logits, predictions_of

if TYPE_CHECKING:
    from trilemma.training.loop import Training

EVALUATED = 2000
"""The largest number of examples of each split that an evaluation during training uses."""


class Evaluation:
    """Evaluates a training in its present state when it is called: see :func:`quick_look`."""

    def __init__(self, training: Training, track: tuple[int, ...]) -> None:
        data = training.data
        self._training, self._track = training, track
        self._rows, self._test_rows = evaluation_rows(data, track, training.recipe.seed)

    def __call__(self) -> dict[str, Any]:
        return quick_look(
            self._training.data,
            self._rows,
            self._test_rows,
            self._training.logits("train", self._rows).numpy(),
            self._training.logits("test", self._test_rows).numpy(),
            self._track,
        )


def evaluation_rows(data: Dataset, track: tuple[int, ...], seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Indices, int64 and ascending, of the training and test examples that are evaluated; tracked ones are included."""
    rng = rng_for(seed, "evaluation rows")
    rows = rng.permutation(len(data.train))[:EVALUATED]
    test_rows = np.sort(rng.permutation(len(data.test))[:EVALUATED])
    return np.unique(np.concatenate([rows, np.array(track, dtype=np.int64)])), test_rows


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
      rows, test_rows: int64, the examples that ``train`` and ``test`` are the logits of.
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
        place = {int(row): column for column, row in enumerate(rows)}
        line["tracked"] = {
            str(index): {
                "membership_probability": float(probability[place[index]]),
                "loss": float(signals.loss[place[index]]),
                "correct": bool(signals.correct[place[index]]),
            }
            for index in track
        }
    return line
