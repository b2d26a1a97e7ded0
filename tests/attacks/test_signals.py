"""Signals agree with the published formulas, in exact arithmetic where floats would lose digits."""

from __future__ import annotations

from decimal import Decimal, getcontext

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from trilemma.attacks import Predictions, read_signals, signals_from_logits, signals_from_probs
from trilemma.attacks.signals import _in_chunks

getcontext().prec = 60


def slow(logits: list[float], label: int) -> dict[str, float]:
    """The definitions, one example at a time, in 60 digits."""
    powers = [Decimal(z).exp() for z in logits]
    total = sum(powers)
    p = [power / total for power in powers]
    rest = [(total - power) / total for power in powers]
    others = [i for i in range(len(p)) if i != label]
    log = lambda x: max(x, Decimal("1e-30")).ln()  # noqa: E731
    return {
        "loss": float(-max(p[label], Decimal("1e-8")).ln()),
        "confidence": float(p[label]),
        "entropy": float(-sum(q * log(q) for q in p)),
        "modified_entropy": float(-rest[label] * log(p[label]) - sum(p[i] * log(rest[i]) for i in others)),
        "scaled_logit": float(p[label].ln() - sum(p[i] for i in others).ln()),
    }


@given(arrays(np.float64, (4, 5), elements=st.floats(-60, 60)), st.integers(0, 4))
@settings(max_examples=60, deadline=None)
def test_logits_agree_with_the_definitions(logits: np.ndarray, label: int) -> None:
    labels = np.full(4, label)
    signals = signals_from_logits(logits, labels)
    for row in range(4):
        for name, value in slow(logits[row].tolist(), label).items():
            # The scaled logit crosses 0, where it is a difference of numbers of order 1.
            absolute = 1e-13 if name == "scaled_logit" else 1e-25
            assert getattr(signals, name)[row] == pytest.approx(value, rel=1e-9, abs=absolute), name


def test_probabilities_agree_with_logits() -> None:
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(size=(50, 4)), rng.integers(0, 4, 50)
    probs = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    first, other = signals_from_logits(logits, labels), signals_from_probs(probs, labels)
    for name in ("loss", "confidence", "entropy", "modified_entropy", "scaled_logit", "predicted", "correct"):
        np.testing.assert_allclose(getattr(first, name), getattr(other, name), rtol=1e-10, err_msg=name)


def test_signals_agree_with_values_computed_by_hand() -> None:
    signals = signals_from_probs(np.array([[0.5, 0.25, 0.25], [0.5, 0.25, 0.25]]), np.array([0, 1]))
    half, quarter = np.log(2), np.log(4)
    np.testing.assert_allclose(signals.loss, [half, quarter])
    np.testing.assert_allclose(signals.entropy, 0.5 * half + 0.5 * quarter)
    # Right: (1 - 1/2) log 2 + 2 * 1/4 * log 4/3.  Wrong: 3/4 log 4 + 1/2 log 2 + 1/4 log 4/3.
    third = np.log(4 / 3)
    np.testing.assert_allclose(
        signals.modified_entropy, [0.5 * half + 0.5 * third, 0.75 * quarter + 0.5 * half + 0.25 * third]
    )
    np.testing.assert_allclose(signals.scaled_logit, [0, -np.log(3)], atol=1e-15)
    assert signals.predicted.tolist() == [0, 0]
    assert signals.correct.tolist() == [True, False]


def test_logarithms_of_zero_are_floored() -> None:
    signals = signals_from_probs(np.array([[1.0, 0.0], [1.0, 0.0]]), np.array([0, 1]))
    np.testing.assert_allclose(signals.loss, [0, -np.log(1e-8)])
    np.testing.assert_allclose(signals.modified_entropy, [0, -2 * np.log(1e-30)])
    assert signals.entropy.tolist() == [0, 0]
    assert np.isfinite(signals.scaled_logit).all()


def test_certain_examples_still_differ() -> None:
    # In float64 softmax probabilities all of these are 1; the order of their losses must survive.
    gaps = np.array([40.0, 60.0, 80.0])
    signals = signals_from_logits(np.column_stack([gaps, np.zeros(3)]), np.zeros(3, dtype=np.int64))
    assert (np.diff(signals.loss) < 0).all()
    assert (np.diff(signals.modified_entropy) < 0).all()
    np.testing.assert_allclose(signals.loss, np.exp(-gaps), rtol=1e-9)


def test_half_precision_is_widened_before_anything_is_computed() -> None:
    logits = np.array([[11.0, -11.0], [3.0, 2.0]], dtype=np.float16)
    labels = np.array([0, 0])
    np.testing.assert_array_equal(
        signals_from_logits(logits, labels).loss, signals_from_logits(logits.astype(np.float64), labels).loss
    )


def test_pieces_are_put_together_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(size=(23, 3)), rng.integers(0, 3, 23)
    whole = signals_from_logits(logits, labels)
    monkeypatch.setitem(_in_chunks.__globals__, "_CHUNK_VALUES", 12)
    np.testing.assert_array_equal(signals_from_logits(logits, labels).loss, whole.loss)


def test_read_signals_takes_either_kind() -> None:
    logits = np.random.default_rng(0).normal(size=(30, 2))
    probs = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    common = {"labels": np.zeros(30, int), "member": np.arange(30) % 2}
    first = read_signals(Predictions(logits=logits, **common))
    other = read_signals(Predictions(probs=probs, **common))
    np.testing.assert_allclose(first.loss, other.loss)
    assert len(first) == 30


@pytest.mark.parametrize("size", [1e30, 1e200, 1.7e308])
def test_logits_near_the_largest_float_give_finite_signals(size: float) -> None:
    logits = np.array([[size, -size, 0.0], [-size, size, 0.0], [size, size, -size], [0.0, 1.0, 2.0]])
    signals = signals_from_logits(logits, np.array([0, 0, 0, 2]))
    for name in ("loss", "confidence", "entropy", "modified_entropy", "scaled_logit"):
        assert np.isfinite(getattr(signals, name)).all(), name
    assert signals.loss.tolist()[:3] == pytest.approx([0.0, -np.log(1e-8), np.log(2)])
    assert signals.correct.tolist() == [True, False, True, True]
    assert signals.scaled_logit[0] > signals.scaled_logit[3] > signals.scaled_logit[2] - 1 > signals.scaled_logit[1]
    assert signals.scaled_logit[3] == signals_from_logits(logits[3:], np.array([2])).scaled_logit[0]
