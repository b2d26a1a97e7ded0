"""Student's intervals agree with SciPy's and have their stated coverage."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from trilemma.statistics.intervals import (
    half_width,
    mean_interval,
    prediction_interval,
    repeated,
    smallest_share_interval,
)


@given(st.lists(st.integers(-1000, 1000), min_size=2, max_size=9, unique=True), st.sampled_from([0.5, 0.9, 0.95, 0.99]))
def test_the_interval_of_a_mean_is_students(values, level) -> None:
    values = np.array(values) / 100
    expected = stats.t.interval(level, len(values) - 1, values.mean(), stats.sem(values))
    assert mean_interval(values, level) == pytest.approx(expected, rel=1e-9, abs=1e-9)


def test_half_a_width_is_a_quantile() -> None:
    assert half_width(2.0, 3, 0.9) == pytest.approx(2 * stats.t.ppf(0.95, 3))


@pytest.mark.parametrize("count", [2, 3, 10])
def test_a_further_value_lies_in_the_prediction_interval(count) -> None:
    """20,000 draws: 95 % of further values and means; false alarm once in a million (4.9 standard errors of 0.0015)."""
    draws = np.random.default_rng(count).normal(3.0, 2.0, (20_000, count + 1))
    inside = held = 0
    for *seen, further in draws:
        low, high = prediction_interval(np.array(seen))
        inside += low <= further <= high
        low, high = mean_interval(np.array(seen))
        held += low <= 3.0 <= high
    assert abs(inside / len(draws) - 0.95) < 0.0076
    assert abs(held / len(draws) - 0.95) < 0.0076


def test_seeds_repeat_one_training_where_they_differ_by_an_example_or_two() -> None:
    assert repeated(np.array([0.51230, 0.51234]))
    assert not repeated(np.array([0.512, 0.514]))


@pytest.mark.parametrize("true", [[0.9] * 8, [0.3, 0.9, 0.9, 0.5], [0.98] * 19 + [0.6]])
def test_each_end_of_the_smallest_share_misses_as_seldom_as_it_says(true) -> None:
    """Each end may miss in 2.5 % of the draws; more than 16 of 300 would happen to a right one in 0.2 % of runs."""
    rng = np.random.default_rng(0)
    counts = rng.integers(5, 60, len(true))
    above = below = 0
    for _ in range(300):
        shares = rng.binomial(counts, true) / counts
        low, high, _ = smallest_share_interval(shares, counts)
        assert low <= shares.min() <= high
        above, below = above + (low > min(true)), below + (high < min(true))
    assert max(above, below) <= 16


def test_a_share_of_nothing_may_be_the_smallest() -> None:
    low, high, index = smallest_share_interval(np.array([0.9, np.nan]), np.array([500, 0]))
    assert (low, index) == (0.0, 1)
    assert 0.9 < high < 1
