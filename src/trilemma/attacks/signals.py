"""The signals that attacks compute from a model's outputs, one value of each per example."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trilemma.attacks.predictions import Predictions

LOSS_FLOOR = 1e-8
"""Smaller probabilities are raised to this value in the cross-entropy (so no loss exceeds 18.42), as in TF-Privacy."""

LOG_FLOOR = 1e-30
"""The smallest argument of a logarithm in the modified entropy, as in Song and Mittal's code."""

_SCALED_FLOOR = 1e-45
_LARGEST = 1e30
"""Upper limit of the difference of two logits: its exponential is 0 in any case, and its square is still finite."""

_CHUNK_VALUES = 2**22

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Signals:
    """The signals available to every attack, computed once; each is float64 (N,) unless stated otherwise.

    Attributes:
      loss: cross-entropy -log p_y in nats, p_y floored at 1e-8.
      confidence: p_y, the probability of the true class.
      entropy: -sum p log p in nats (Song and Mittal, eq. 7).
      modified_entropy: -(1 - p_y) log p_y - sum_{i != y} p_i log(1 - p_i) in nats (their eq. 8).
      scaled_logit: log p_y - log sum_{i != y} p_i, LiRA's phi (Carlini et al. 2022).
      predicted: int64, the most probable class (the first of several equal ones).
      correct: bool, predicted == label.
    """

    loss: Array
    confidence: Array
    entropy: Array
    modified_entropy: Array
    scaled_logit: Array
    predicted: NDArray[np.int64]
    correct: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.loss)


def read_signals(predictions: Predictions) -> Signals:
    """All signals of ``predictions``, in their order.

    >>> import numpy as np
    >>> p = Predictions(probs=[[0.5, 0.5], [0.9, 0.1]] * 10, labels=[0] * 20, member=[1, 0] * 10)
    >>> read_signals(p).loss[:2].round(4).tolist()
    [0.6931, 0.1054]
    """
    if predictions.logits is not None:
        return signals_from_logits(predictions.logits, predictions.labels)
    assert predictions.probs is not None
    return signals_from_probs(predictions.probs, predictions.labels)


def signals_from_logits(logits: NDArray[Any], labels: NDArray[np.int64]) -> Signals:
    """Signals from logits (N, C) and labels int64 (N,).

    No precision is lost to probabilities near 1: log p_y and log(1 - p_i) are computed from log-sums over the
    other classes, so that examples of which the model is almost certain (p_y = 1 - 1e-20) still differ.
    """
    return _in_chunks(_chunk_from_logits, logits, labels)


def signals_from_probs(probs: NDArray[Any], labels: NDArray[np.int64]) -> Signals:
    """Signals from probabilities (N, C), used without renormalization, and labels int64 (N,)."""
    return _in_chunks(_chunk_from_probs, probs, labels)


def _in_chunks(
    read: Callable[[Array, NDArray[np.int64]], Signals], values: NDArray[Any], labels: NDArray[np.int64]
) -> Signals:
    # In chunks, since float64 copies of a large test set with a thousand classes would not fit into a laptop's memory.
    rows = max(1, _CHUNK_VALUES // values.shape[1])
    parts = [
        read(values[start : start + rows].astype(np.float64), labels[start : start + rows])
        for start in range(0, len(values), rows)
    ]
    return Signals(**{f.name: np.concatenate([getattr(part, f.name) for part in parts]) for f in fields(Signals)})


def _chunk_from_logits(logits: Array, labels: NDArray[np.int64]) -> Signals:
    rows = np.arange(len(logits))
    top = logits.argmax(axis=1)
    with np.errstate(over="ignore"):
        shifted = np.maximum(logits - logits[rows, top][:, None], -_LARGEST)
    # The largest logit is 0 here, and summing the others separately keeps the digits that adding 1 would lose.
    log_others = _log_sum_without(shifted, top)
    log_total = np.logaddexp(0.0, log_others)
    log_p = shifted - log_total[:, None]
    p = np.exp(log_p)
    # 1 - p_i is exact unless p_i is near 1, which only the largest can be: for that one it is computed as the sum of
    # the others.
    log_rest = np.log1p(-np.minimum(p, 0.75))
    log_rest[rows, top] = log_others - log_total
    phi = shifted[rows, labels] - _log_sum_without(shifted, labels)
    return _assemble(p, log_p, log_rest, phi, labels, top)


def _chunk_from_probs(probs: Array, labels: NDArray[np.int64]) -> Signals:
    rows = np.arange(len(probs))
    log_p = np.log(np.maximum(probs, LOG_FLOOR))
    log_rest = np.log(np.maximum(1.0 - probs, LOG_FLOOR))
    true = probs[rows, labels]
    others = probs.copy()
    others[rows, labels] = 0.0
    phi = np.log(true + _SCALED_FLOOR) - np.log(others.sum(axis=1) + _SCALED_FLOOR)
    return _assemble(probs, log_p, log_rest, phi, labels, probs.argmax(axis=1))


def _assemble(
    p: Array,
    log_p: Array,
    log_rest: Array,
    phi: Array,
    labels: NDArray[np.int64],
    predicted: NDArray[np.int64],
) -> Signals:
    rows = np.arange(len(p))
    floor = np.log(LOG_FLOOR)
    log_p_true = log_p[rows, labels]
    rest_true = np.exp(log_rest[rows, labels])
    rest = np.maximum(log_rest, floor)
    others = p * rest
    others[rows, labels] = 0.0
    # max(0, .) removes the -0.0 of a certain prediction, and negative values where rounding gives a probability above
    # 1.
    modified = np.maximum(0.0, -rest_true * np.maximum(log_p_true, floor) - others.sum(axis=1))
    return Signals(
        loss=np.maximum(0.0, -np.maximum(log_p_true, np.log(LOSS_FLOOR))),
        confidence=p[rows, labels],
        entropy=np.maximum(0.0, -(p * np.maximum(log_p, floor)).sum(axis=1)),
        modified_entropy=modified,
        scaled_logit=phi,
        predicted=predicted.astype(np.int64),
        correct=predicted == labels,
    )


def _log_sum_without(shifted: Array, column: NDArray[np.int64]) -> Array:
    """Log-sum-exp over all columns of each row except one."""
    others = shifted.copy()
    others[np.arange(len(shifted)), column] = -np.inf
    largest = others.max(axis=1)
    total: Array = largest + np.log(np.exp(others - largest[:, None]).sum(axis=1))
    return total
