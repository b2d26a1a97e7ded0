"""Membership probability agrees with hand computations and with the two published programs."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from trilemma.attacks import membership_probability, membership_probability_by_class
from trilemma.errors import InputError

losses = arrays(np.float64, st.integers(4, 60), elements=st.floats(0, 20))


def tf_privacy(signal: np.ndarray, member: np.ndarray, bins: int) -> np.ndarray:
    """The score of TF-Privacy, written from its description, one example at a time."""
    values = [max(v, 1e-10) for v in signal]
    low, high = np.log10(min(values)), np.log10(max(values))

    def bin_of(value: float) -> int:
        if high == low:
            return bins - 1
        return min(max(int((np.log10(value) - low) / (high - low) * bins), 0), bins - 1)

    inside, outside = [0.0] * bins, [0.0] * bins
    for value, is_member in zip(values, member, strict=True):
        (inside if is_member else outside)[bin_of(value)] += 1 / (member.sum() if is_member else (~member).sum())
    return np.array([inside[bin_of(v)] / max(inside[bin_of(v)] + outside[bin_of(v)], 1e-10) for v in values])


def test_agrees_with_the_published_program() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        signal, member = rng.gamma(0.3, size=200), rng.random(200) < 0.3
        np.testing.assert_allclose(membership_probability(signal, member), tf_privacy(signal, member, 15), atol=1e-12)


def test_by_hand_with_weights() -> None:
    # Two bins, meeting at sqrt(0.1 * 10) = 1.  Members: 3 of 4 below; non-members: weight 1 of 4 below.
    signal = np.array([0.1, 0.2, 0.3, 10.0, 0.5, 5.0, 6.0])
    member = np.arange(7) < 4
    weights = np.array([1.0, 1.0, 1.0, 1.0, 1.0, 2.0, 1.0])
    low, high = 0.75 / (0.75 + 0.25), 0.25 / (0.25 + 0.75)
    probability = membership_probability(signal, member, weights=weights, bins=2)
    np.testing.assert_allclose(probability, [low, low, low, high, low, high, high])


def test_bins_with_one_kind_only() -> None:
    probability = membership_probability(np.array([0.01, 0.01, 10.0, 10.0]), np.array([1, 1, 0, 0], dtype=bool))
    assert probability.tolist() == [1, 1, 0, 0]


def test_a_signal_that_is_one_value_says_nothing() -> None:
    probability = membership_probability(np.zeros(10), np.arange(10) < 3)
    assert probability.tolist() == [0.5] * 10


@given(losses, st.data())
@settings(deadline=None)
def test_lies_in_the_unit_interval_and_swaps_with_the_sides(signal: np.ndarray, data: st.DataObject) -> None:
    member = np.array(data.draw(st.lists(st.booleans(), min_size=len(signal), max_size=len(signal))))
    member[:2] = True, False
    probability = membership_probability(signal, member)
    assert probability.dtype == np.float64
    assert ((probability >= 0) & (probability <= 1)).all()
    np.testing.assert_allclose(membership_probability(signal, ~member), 1 - probability, atol=1e-12)
    # A repeated data set is the same data set: set sizes are divided out.
    twice = membership_probability(np.r_[signal, signal[~member]], np.r_[member, member[~member]])
    np.testing.assert_allclose(twice[: len(signal)], probability)


def song_mittal(value: float, inside: list[float], outside: list[float], bins: int) -> float:
    """The score of Song and Mittal for one example of a class, by a search outward from its bin."""
    values = [max(v, 1e-10) for v in inside + outside]
    edges = np.logspace(np.log10(min(values)), np.log10(max(values)), bins + 1)

    def bin_of(v: float) -> int:
        return next((i for i in range(bins - 1) if max(v, 1e-10) < edges[i + 1]), bins - 1)

    for distance in range(bins):
        for index in (bin_of(value) - distance, bin_of(value) + distance):
            if 0 <= index < bins:
                a = sum(bin_of(v) == index for v in inside) / len(inside)
                b = sum(bin_of(v) == index for v in outside) / len(outside)
                if a + b > 0:
                    return a / (a + b)
    raise AssertionError


def test_by_class_agrees_with_the_published_program() -> None:
    rng = np.random.default_rng(1)
    for _ in range(10):
        labels, reference_labels = rng.integers(0, 3, 60), np.arange(36) % 3
        signal, reference = rng.gamma(0.3, size=60) * 3, rng.gamma(0.3, size=36)
        member = rng.random(36) < 0.5
        member[:6] = [True] * 3 + [False] * 3
        probability = membership_probability_by_class(
            signal,
            labels,
            reference_signal=reference,
            reference_labels=reference_labels,
            reference_member=member,
        )
        for row in range(60):
            mine = reference_labels == labels[row]
            expected = song_mittal(
                signal[row], reference[mine & member].tolist(), reference[mine & ~member].tolist(), 5
            )
            assert probability[row] == pytest.approx(expected, abs=1e-12)


def test_by_class_empty_bins_take_the_nearest() -> None:
    # Decades 1, 10, ..., 1e5: members in the first and non-members in the last of five bins.
    arguments = {
        "reference_signal": np.array([1.0, 1e5]),
        "reference_labels": np.zeros(2, dtype=np.int64),
        "reference_member": np.array([True, False]),
    }
    signal = np.array([0.1, 5.0, 50.0, 500.0, 5e3, 5e4, 1e9])
    probability = membership_probability_by_class(signal, np.zeros(7, dtype=np.int64), **arguments)
    assert probability.tolist() == [1, 1, 1, 1, 0, 0, 0]


def test_by_class_needs_both_sides_of_every_class() -> None:
    with pytest.raises(InputError, match="no non-members of class 1"):
        membership_probability_by_class(
            np.ones(2),
            np.array([0, 1]),
            reference_signal=np.ones(3),
            reference_labels=np.array([0, 0, 1]),
            reference_member=np.array([True, False, True]),
        )


@pytest.mark.parametrize(
    ("signal", "member", "weights", "message"),
    [
        (np.array([1.0, -1.0]), np.array([True, False]), None, "not negative"),
        (np.array([1.0, np.nan]), np.array([True, False]), None, "finite"),
        (np.ones(2), np.array([True, False, True]), None, "equal length"),
        (np.ones(2), np.array([True, True]), None, "needs non-members"),
        (np.ones(2), np.array([True, False]), np.array([0.0, 1.0]), "needs members"),
    ],
)
def test_bad_input_is_refused(signal: np.ndarray, member: np.ndarray, weights: np.ndarray | None, message: str) -> None:
    with pytest.raises(InputError, match=message):
        membership_probability(signal, member, weights=weights)


def test_bins_must_be_positive() -> None:
    with pytest.raises(InputError, match="bins"):
        membership_probability(np.ones(2), np.array([True, False]), bins=0)
