"""Bias as Wang et al. 2020 define it, differences with fairlearn as the oracle, and intervals that cover the truth."""

from __future__ import annotations

import json
from typing import Any

import fairlearn.metrics
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import trilemma.fairness
from trilemma.errors import InputError
from trilemma.fairness import bias_amplification, bootstrap_test, fairness_report


def wang(predicted: np.ndarray, groups: np.ndarray, classes: int) -> float:
    """The notebook's formula, counts and all, for groups 0 and 1."""
    total = 0.0
    for c in range(classes):
        gray, color = (int(((predicted == c) & (groups == g)).sum()) for g in (0, 1))
        total += abs(gray / max(gray + color, 1) - 0.5)
    return total / classes


def predictions(classes: int = 4, groups: int = 2) -> st.SearchStrategy[tuple[np.ndarray, np.ndarray]]:
    row = st.tuples(st.integers(0, classes - 1), st.integers(0, groups - 1))
    return st.lists(row, min_size=2, max_size=60).map(lambda rows: tuple(np.array(rows).T))  # type: ignore[arg-type,return-value]


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=40))
@settings(deadline=None)
def test_on_a_balanced_test_set_it_is_wang_et_al(pairs: list[tuple[int, int]]) -> None:
    predicted = np.array(pairs).T.reshape(-1)
    groups = np.repeat([0, 1], len(pairs))
    assert bias_amplification(predicted, groups, 4).bias == pytest.approx(wang(predicted, groups, 4), abs=1e-15)


def test_bias_agrees_with_values_computed_by_hand() -> None:
    # Class 0: 3 gray, 1 color, so 1/4; class 1: 1 and 2, so 1/6; class 2: 0 and 1, so 1/2; class 3: never, 1/2.
    predicted = np.array([0, 0, 0, 1, 0, 1, 1, 2])
    groups = np.repeat([0, 1], 4)
    result = bias_amplification(predicted, groups, 4)
    np.testing.assert_allclose(result.per_class, [1 / 4, 1 / 6, 1 / 2, 1 / 2])
    assert result.bias == pytest.approx((1 / 4 + 1 / 6 + 1 / 2 + 1 / 2) / 4)
    assert result.bias_used_classes == pytest.approx((1 / 4 + 1 / 6 + 1 / 2) / 3)
    assert result.unused_classes == (3,)
    assert float(result) == result.bias


def test_unbalanced_groups_are_weighed_alike() -> None:
    # Both groups predicted class 1 half of the time: no bias, though group 0 has four times the examples.
    predicted, groups = np.array([0, 1] * 4 + [0, 1]), np.repeat([0, 1], [8, 2])
    assert bias_amplification(predicted, groups, 2).bias == 0
    # Rates 3/4 and 1/4 for class 0: shares 3/4 and 1/4.
    predicted = np.array([0, 0, 0, 1] * 5 + [0, 1, 1, 1])
    groups = np.repeat([0, 1], [20, 4])
    assert bias_amplification(predicted, groups, 2).bias == pytest.approx(0.25)


@given(predictions(groups=3), st.integers(1, 4))
@settings(deadline=None)
def test_bias_keeps_its_range_and_its_symmetries(pair: tuple[np.ndarray, np.ndarray], times: int) -> None:
    predicted, groups = pair
    present = len(np.unique(groups))
    assume(present > 1)
    result = bias_amplification(predicted, groups, 4)
    assert -1e-12 <= result.bias_used_classes <= result.bias + 1e-12 <= 1 - 1 / present + 2e-12
    # Names of groups do not matter, nor how often one group's examples are repeated.
    assert bias_amplification(predicted, 7 - groups, 4).bias == pytest.approx(result.bias)
    repeats = np.where(groups == groups[0], times, 1)
    repeated = bias_amplification(np.repeat(predicted, repeats), np.repeat(groups, repeats), 4)
    assert repeated.bias == pytest.approx(result.bias)


@pytest.mark.parametrize("groups", [2, 3, 5])
def test_the_extremes_of_bias_are_reached(groups: int) -> None:
    members = np.arange(groups * 10) % groups
    assert bias_amplification(members, members, groups).bias == pytest.approx(1 - 1 / groups)
    assert bias_amplification(np.arange(groups * 10) // groups, members, 10).bias == pytest.approx(0)


def classified(classes: int, groups: int, rows: int = 600, seed: int = 0) -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng(seed)
    labels, codes = rng.integers(0, classes, rows), rng.integers(0, groups, rows)
    right = rng.random(rows) < 0.5 + 0.4 * codes / groups
    return labels, np.where(right, labels, rng.integers(0, classes, rows)), codes


@pytest.mark.parametrize("classes", [2, 3, 7])
@pytest.mark.parametrize("groups", [2, 3])
def test_differences_agree_with_fairlearn(classes: int, groups: int) -> None:
    labels, predicted, codes = classified(classes, groups)
    result = fairness_report(labels, predicted, codes, classes, resamples=10)
    for name in ("equal_opportunity_difference", "equalized_odds_difference", "demographic_parity_difference"):
        oracle = getattr(fairlearn.metrics, name)
        asked = [1] if classes == 2 else range(classes)
        each = [oracle(labels == c, predicted == c, sensitive_features=codes) for c in asked]
        assert result[name] == pytest.approx(np.mean(each)), name
    assert result["undefined_classes"] == []


def test_a_rate_of_nothing_is_no_gap() -> None:
    # Group 1 has no example of class 2: its TPR does not exist, and fairlearn would call it 0.
    labels = np.array([0, 1, 2] * 20 + [0, 1] * 30)
    groups = np.repeat([0, 1], 60)
    result = fairness_report(labels, labels, groups, 3, resamples=10)
    assert result["equal_opportunity_difference"] == result["equalized_odds_difference"] == 0
    assert result["undefined_classes"] == [2]
    oracle = fairlearn.metrics.equal_opportunity_difference(labels == 2, labels == 2, sensitive_features=groups)
    assert oracle == 1
    alone = fairness_report(groups, groups, groups, 2, resamples=10)
    assert alone["equal_opportunity_difference"] is None
    assert alone["undefined_classes"] == [1]


def test_the_report_by_hand() -> None:
    labels = np.array([0] * 8 + [1] * 4 + [0] * 60 + [1] * 60)
    predicted = labels.copy()
    predicted[[0, 8, 9, 10]] = 1, 0, 0, 0
    groups = np.repeat([0, 1], [12, 120])
    result = fairness_report(labels, predicted, groups, 3, group_names=("gray", "colour"), resamples=200)
    assert result["accuracy_by_group"] == {"gray": pytest.approx(8 / 12), "colour": 1.0}
    assert result["examples_by_group"] == {"gray": 12, "colour": 120}
    assert result["gap"] == pytest.approx(4 / 12)
    assert (result["worst_group"], result["worst_group_accuracy"]) == ("gray", pytest.approx(8 / 12))
    assert result["worst_cell"] == {"class": 1, "group": "gray", "examples": 4}
    assert result["worst_cell_accuracy"] == 0.25
    assert result["small_groups"] == ["gray"]
    assert result["small_cells"] == [
        {"class": 0, "group": "gray", "examples": 8},
        {"class": 1, "group": "gray", "examples": 4},
    ]
    assert result["unused_classes"] == [2]
    expected = bias_amplification(predicted, groups, 3)
    assert result["bias"] == expected.bias
    assert result["bias_used_classes"] == expected.bias_used_classes
    assert result["bias_by_class"] == expected.per_class.tolist()
    for name in ("bias", "gap", "worst_group_accuracy"):
        low, high = result["interval"][name]
        assert low <= result[name] <= high
    low, high = result["interval"]["accuracy_by_group"]["gray"]
    assert low < 8 / 12 < high
    assert result["interval"]["accuracy_by_group"]["colour"] == pytest.approx([0.025 ** (1 / 120), 1])
    json.dumps(result, allow_nan=False)


def test_draws_are_those_of_repeated_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    labels, predicted, codes = classified(4, 3, rows=90)
    codes = codes * 2 + 1

    class Fixed:
        """Draws row i as often as its original position says."""

        def __init__(self, rows: int, clusters: np.ndarray | None) -> None:
            # Positions travel as clusters, in the order in which the rows are counted.
            assert clusters is not None
            self.position = clusters

        def draw(self, rng: np.random.Generator, samples: int) -> np.ndarray:
            return np.array([self.position % 3 + (k == 1) for k in range(samples)])

    monkeypatch.setattr(trilemma.fairness, "Resampler", Fixed)
    result = bootstrap_test(labels, predicted, codes, classes=4, sources=np.arange(90), resamples=2)
    for k in range(2):
        rows = np.repeat(np.arange(90), np.arange(90) % 3 + (k == 1))
        assert result.accuracy[k] == pytest.approx((labels == predicted)[rows].mean())
        assert result.bias is not None
        assert result.bias[k] == pytest.approx(bias_amplification(predicted[rows], codes[rows], 4).bias)
        assert result.accuracy_by_group is not None
        for g, code in enumerate((1, 3, 5)):
            mine = rows[codes[rows] == code]
            assert result.accuracy_by_group[k, g] == pytest.approx((labels == predicted)[mine].mean())


def test_copies_of_a_image_are_drawn_together() -> None:
    rng = np.random.default_rng(0)
    labels = np.zeros(400, dtype=int)
    predicted = (rng.random(400) < 0.3).astype(int)
    two = {"labels": np.tile(labels, 2), "predicted": np.tile(predicted, 2), "groups": np.repeat([0, 1], 400)}
    apart = bootstrap_test(**two, classes=2)
    together = bootstrap_test(**two, classes=2, sources=np.tile(np.arange(400), 2))
    assert together.accuracy.std() == pytest.approx(np.sqrt(0.3 * 0.7 / 400), rel=0.15)
    assert apart.accuracy.std() == pytest.approx(np.sqrt(0.3 * 0.7 / 800), rel=0.15)
    # Copies that are always predicted alike have no bias, in any sample; taken apart they seem to.
    assert together.bias is not None
    assert apart.bias is not None
    assert together.bias.max() == pytest.approx(0, abs=1e-12)
    assert apart.bias.mean() > 0.005


def test_without_groups_there_is_accuracy_alone() -> None:
    result = bootstrap_test([0, 1] * 20, [0, 0] * 20, classes=2, resamples=50)
    assert result.bias is result.bias_floor is result.accuracy_by_group is None
    assert result.accuracy.mean() == pytest.approx(0.5, abs=0.1)


@pytest.mark.parametrize("skew", [0.0, 0.02, 0.3])
def test_intervals_cover_the_truth(skew: float, monkeypatch: pytest.MonkeyPatch) -> None:
    # 4 classes; the odd ones are predicted more often in group 1, so that each class's share is off by skew/2
    # and so is the bias; accuracy is 1/4 in both groups.  Of 150 intervals at 95 % about 8 miss; with a true
    # coverage of 94 % more than 24 misses have a probability of 3e-6.  A percentile interval of the bias
    # misses nearly always at a skew of 0.
    def counted(truth: np.ndarray, predictions: np.ndarray, codes: np.ndarray, groups: int, classes: int) -> np.ndarray:
        cells = (codes * classes + truth) * classes + predictions
        return np.bincount(cells, minlength=groups * classes**2).reshape(groups, classes, classes)

    # In place of fairlearn's table, which takes most of the time and which no interval is computed from.
    monkeypatch.setattr("trilemma.fairness._confusion", counted)
    missed = dict.fromkeys(("bias", "gap", "worst_group_accuracy"), 0)
    for seed in range(150):
        rng = np.random.default_rng([3, seed])
        groups = np.repeat([0, 1], 300)
        odd = rng.random(600) < np.where(groups == 1, 0.5 + skew / 2, 0.5 - skew / 2)
        predicted = 2 * rng.integers(0, 2, 600) + odd
        result = fairness_report(rng.integers(0, 4, 600), predicted, groups, 4, seed=seed, resamples=200)
        for name, truth in (("bias", skew / 2), ("gap", 0.0), ("worst_group_accuracy", 0.25)):
            low, high = result["interval"][name]
            missed[name] += not low <= truth <= high
    assert max(missed.values()) <= 24


def test_a_clear_bias_has_a_narrow_interval() -> None:
    # Both copies of 2,000 pictures, 10 classes, shares 0.8 to 0.2: the deviation of one share is 0.02, of
    # the mean over classes 0.02 / sqrt(10), so the interval is about 4 of those wide.
    rng = np.random.default_rng(0)
    groups = np.repeat([0, 1], 2000)
    odd = rng.random(4000) < np.where(groups == 1, 0.8, 0.2)
    predicted = 2 * rng.integers(0, 5, 4000) + odd
    low, high = fairness_report(predicted, predicted, groups, 10)["interval"]["bias"]
    assert low < 0.3 < high
    assert 0.02 < high - low < 0.035


def test_the_report_is_its_seed() -> None:
    labels, predicted, codes = classified(3, 2)
    first, same, other = (fairness_report(labels, predicted, codes, 3, seed=s, resamples=50) for s in (0, 0, 1))
    assert first == same
    assert first["interval"] != other["interval"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels": [0, 1] * 20}, "one length"),
        ({"predicted": [0, 3] * 10}, "predicted must lie in 0 to 2"),
        ({"labels": [-1, 0] * 10}, "labels must lie in 0 to 2"),
        ({"predicted": [0.5, 0.5] * 10}, "whole numbers"),
        ({"groups": [0] * 20}, "all examples are of group 0"),
        ({"groups": [0, 1]}, "groups must be"),
        ({"groups": [0, 5] * 10, "group_names": ("a", "b")}, "name every group"),
        ({"sources": [0, 1]}, "sources must be"),
        ({"resamples": 1}, "resamples"),
        ({"classes": 1, "labels": [0] * 20, "predicted": [0] * 20}, "classes must be at least 2"),
    ],
)
def test_bad_input_is_refused(changes: dict[str, Any], message: str) -> None:
    arguments: dict[str, Any] = {
        "labels": [0, 1] * 10,
        "predicted": [0, 1] * 10,
        "groups": [0, 1] * 10,
        "classes": 3,
        **changes,
    }
    with pytest.raises(InputError, match=message):
        fairness_report(**arguments)
