"""Offline RMIA against the definition, pair by pair."""

from __future__ import annotations

import numpy as np
import pytest

from trilemma.attacks import Predictions, measure, read_signals, rmia_scores
from trilemma.errors import InputError


def softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits)
    return powers / powers.sum(axis=-1, keepdims=True)


def predictions(weights: np.ndarray | None = None, leak: float = 1.0, rows: int = 60) -> Predictions:
    """Examples of different hardness, which the reference models share; members get ``leak`` on top."""
    rng = np.random.default_rng(0)
    hardness = 3 * rng.normal(size=rows)
    labels, member = rng.integers(0, 3, rows), np.arange(rows) < rows // 2
    logits = 0.3 * rng.normal(size=(3, rows, 3))
    logits[:, np.arange(rows), labels] += hardness
    logits[0, np.arange(rows), labels] += leak * member
    return Predictions(logits=logits[0], reference_logits=logits[1:], labels=labels, member=member, weights=weights)


@pytest.mark.parametrize(("a", "gamma"), [(0.3, 1.0), (0.0, 1.0), (1.0, 1.0), (0.3, 1.2)])
@pytest.mark.parametrize("weighted", [False, True])
def test_agrees_with_the_definition(a: float, gamma: float, weighted: bool) -> None:
    weights = np.random.default_rng(1).choice([0.0, 1.0, 2.5], size=60) if weighted else None
    given = predictions(weights)
    assert given.logits is not None
    assert given.reference_logits is not None
    rows = np.arange(60)
    p = softmax(given.logits)[rows, given.labels]
    out = softmax(given.reference_logits)[:, rows, given.labels].mean(axis=0)
    ratio = p / (((1 + a) * out + 1 - a) / 2)
    mass = np.ones(60) if weights is None else weights
    population = ~given.member
    expected = [
        sum(mass[z] for z in rows[population] if ratio[x] / ratio[z] > gamma) / mass[population].sum() for x in rows
    ]
    found = rmia_scores(given, read_signals(given), a=a, gamma=gamma)
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_references_take_hardness_out() -> None:
    given = predictions(rows=1000)
    signals = read_signals(given)
    plain = float(measure(-signals.loss, given.member).auc)
    assert float(measure(rmia_scores(given, signals), given.member).auc) > plain + 0.05


@pytest.mark.parametrize(("a", "gamma", "message"), [(-0.1, 1, "a must"), (0.3, 0.9, "gamma must")])
def test_settings_out_of_range_are_refused(a: float, gamma: float, message: str) -> None:
    given = predictions()
    with pytest.raises(InputError, match=message):
        rmia_scores(given, read_signals(given), a=a, gamma=gamma)


def test_references_are_needed() -> None:
    bare = Predictions(logits=np.zeros((40, 2)), labels=np.zeros(40, int), member=np.arange(40) % 2)
    with pytest.raises(InputError, match="reference_logits"):
        rmia_scores(bare, read_signals(bare))
