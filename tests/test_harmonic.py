"""The score agrees with its definitions, and intervals say what they are over."""

from __future__ import annotations

from statistics import harmonic_mean

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trilemma.errors import InputError
from trilemma.fairness import bias_amplification, bootstrap_test
from trilemma.harmonic import (
    HarmonicScore,
    harmonic_interval_over_examples,
    harmonic_interval_over_seeds,
    harmonic_score,
)

unit, half = st.floats(0, 1), st.floats(0, 0.5)


def test_the_normalized_score_agrees_with_one_computed_by_hand() -> None:
    score = harmonic_score(accuracy=0.8, auc=0.6, bias=0.1)
    assert score.definition == "normalized"
    assert score.terms == {"accuracy": 0.8, "privacy": pytest.approx(0.8), "fairness": pytest.approx(0.8)}
    assert score.value == pytest.approx(0.8)
    # An attack below 1/2 is as good as one above: turn it round.
    assert harmonic_score(accuracy=0.8, auc=0.4, bias=0.1).value == pytest.approx(score.value)


def test_the_complement_score_agrees_with_one_computed_by_hand() -> None:
    score = harmonic_score(accuracy=0.5, auc=0.5, bias=0.0, definition="complement")
    assert score.terms == {"accuracy": 0.5, "privacy": 0.5, "fairness": 1.0}
    assert score.value == pytest.approx(3 / (2 + 2 + 1))


def test_without_groups_it_has_two_terms_and_says_so() -> None:
    score = harmonic_score(accuracy=0.5, auc=0.5)
    assert list(score.terms) == ["accuracy", "privacy"]
    assert score.value == pytest.approx(2 / (2 + 1))
    assert "two terms, no groups" in str(score)
    assert "normalized" in str(score)


@given(unit, unit, half)
def test_it_is_the_harmonic_mean_of_its_terms(accuracy: float, auc: float, bias: float) -> None:
    for definition in ("normalized", "complement"):
        score = harmonic_score(accuracy=accuracy, auc=auc, bias=bias, definition=definition)
        terms = list(score.terms.values())
        assert 0 <= min(terms) <= score.value + 1e-12
        assert score.value <= max(terms) + 1e-12
        assert max(terms) <= 1
        assert score.value == pytest.approx(harmonic_mean(terms))


@given(unit, unit, half, st.floats(0, 0.5))
def test_better_is_higher(accuracy: float, auc: float, bias: float, step: float) -> None:
    value = harmonic_score(accuracy=accuracy, auc=auc, bias=bias).value
    slack = 1e-12
    assert harmonic_score(accuracy=min(1, accuracy + step), auc=auc, bias=bias).value >= value - slack
    assert harmonic_score(accuracy=accuracy, auc=auc + (0.5 - auc) * step, bias=bias).value >= value - slack
    assert harmonic_score(accuracy=accuracy, auc=auc, bias=bias * (1 - step)).value >= value - slack


@pytest.mark.parametrize(("accuracy", "auc", "bias"), [(0, 0.5, 0), (1, 1, 0), (1, 0, 0), (1, 0.5, 0.5)])
def test_a_zero_term_gives_zero(accuracy: float, auc: float, bias: float) -> None:
    assert harmonic_score(accuracy=accuracy, auc=auc, bias=bias).value == 0
    assert harmonic_score(accuracy=1, auc=0.5, bias=0).value == 1


def test_the_largest_bias_is_the_worst_for_any_number_of_groups() -> None:
    for groups in (2, 3, 5):
        rows = np.arange(groups * 4) % groups
        bias = bias_amplification(rows, rows, groups).bias
        assert harmonic_score(accuracy=1, auc=0.5, bias=bias, groups=groups).value == pytest.approx(0, abs=1e-9)
    assert harmonic_score(accuracy=1, auc=0.5, bias=0.5, groups=3).terms["fairness"] == pytest.approx(0.25)


@pytest.mark.parametrize("name", ["accuracy", "auc", "bias"])
@pytest.mark.parametrize("value", [-0.01, 1.01, 81.0, float("nan"), float("inf")])
def test_out_of_range_is_refused(name: str, value: float) -> None:
    with pytest.raises(InputError, match=f"{name} must lie in"):
        harmonic_score(**{"accuracy": 0.5, "auc": 0.5, "bias": 0.1, name: value})


def test_other_bad_input_is_refused() -> None:
    with pytest.raises(InputError, match=r"bias must lie in \[0, 0.5\]"):
        harmonic_score(accuracy=0.5, auc=0.5, bias=0.6)
    with pytest.raises(InputError, match="unknown definition 'mean'"):
        harmonic_score(accuracy=0.5, auc=0.5, definition="mean")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="groups"):
        harmonic_score(accuracy=0.5, auc=0.5, bias=0.1, groups=1)


def scores(values: list[float]) -> list[HarmonicScore]:
    return [HarmonicScore(value, "normalized", {"accuracy": value, "privacy": value}) for value in values]


def test_the_interval_over_seeds_has_the_width_of_a_normal_one() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(0.6, 0.05, size=40).tolist()
    interval = harmonic_interval_over_seeds(scores(values))
    assert (interval.kind, interval.count) == ("seeds", 40)
    assert interval.mean == pytest.approx(np.mean(values))
    # 1.96 standard errors to either side.
    width = 2 * 1.96 * np.std(values) / np.sqrt(40)
    assert interval.high - interval.low == pytest.approx(width, rel=0.05)
    assert harmonic_interval_over_seeds(scores([0.5, 0.5])).low == 0.5


def test_over_seeds_refuses_what_cannot_be_averaged() -> None:
    with pytest.raises(InputError, match="at least two"):
        harmonic_interval_over_seeds(scores([0.5]))
    three = harmonic_score(accuracy=0.5, auc=0.5, bias=0.1)
    with pytest.raises(InputError, match="cannot be averaged"):
        harmonic_interval_over_seeds([*scores([0.5]), three])
    other = harmonic_score(accuracy=0.5, auc=0.5, definition="complement")
    with pytest.raises(InputError, match="cannot be averaged"):
        harmonic_interval_over_seeds([*scores([0.5]), other])


@pytest.mark.parametrize("definition", ["normalized", "complement"])
def test_over_examples_by_hand(definition: str) -> None:
    # Away from every fold all parts move together, so the interval is the scores of the parts' quantiles.
    steps = np.linspace(-0.01, 0.01, 4001)
    common = {"groups": 2}
    point = harmonic_score(accuracy=0.7, auc=0.7, bias=0.2, definition=definition, **common)  # type: ignore[arg-type]
    interval = harmonic_interval_over_examples(point, accuracy=0.7 + steps, auc=0.7 - steps, bias=0.2 - steps, **common)
    for end, step in ((interval.low, -0.0095), (interval.high, 0.0095)):
        expected = harmonic_score(
            accuracy=0.7 + step,
            auc=0.7 - step,
            bias=0.2 - step,
            definition=definition,  # type: ignore[arg-type]
        )
        assert end == pytest.approx(expected.value, abs=1e-5)
    assert (interval.kind, interval.count, interval.mean) == ("test examples", 4001, point.value)


def test_a_private_and_fair_model_may_be_perfect() -> None:
    # True AUC 1/2, no true bias: the true score is that of accuracy, privacy 1 and fairness 1; draws of
    # |2 AUC - 1| and of the bias are all above 0, so that their percentiles would leave it out.
    rng = np.random.default_rng(0)
    groups = np.repeat([0, 1], 1000)
    labels = rng.integers(0, 4, 2000)
    predicted = np.where(rng.random(2000) < 0.8, labels, rng.integers(0, 4, 2000))
    test = bootstrap_test(labels, predicted, groups, classes=4)
    bias = bias_amplification(predicted, groups, 4).bias
    accuracy = float((labels == predicted).mean())
    auc = rng.normal(0.505, 0.005, size=1000)
    point = harmonic_score(accuracy=accuracy, auc=0.505, bias=bias)
    truth = harmonic_score(accuracy=0.85, auc=0.5, bias=0.0).value
    interval = harmonic_interval_over_examples(
        point, accuracy=test.accuracy, auc=auc, bias=test.bias, bias_floor=test.bias_floor
    )
    assert interval.low < point.value < truth < interval.high
    # The sign is what the attack has, above or below 1/2.
    mirrored = harmonic_interval_over_examples(
        point, accuracy=test.accuracy, auc=1 - auc, bias=test.bias, bias_floor=test.bias_floor
    )
    assert mirrored.high == pytest.approx(interval.high)
    assert mirrored.low == pytest.approx(interval.low)


def test_a_private_model_may_be_perfectly_private() -> None:
    # The draws of |2 AUC - 1| stay off 0, those of 2 AUC - 1 do not.
    draws = np.linspace(0.497, 0.513, 1001)
    point = harmonic_score(accuracy=0.8, auc=0.505)
    for auc in (draws, 1 - draws):
        interval = harmonic_interval_over_examples(point, accuracy=np.full(1001, 0.8), auc=auc)
        assert interval.high == pytest.approx(harmonic_score(accuracy=0.8, auc=0.5).value, abs=1e-12)
        assert interval.low == pytest.approx(harmonic_score(accuracy=0.8, auc=0.5126).value, abs=1e-4)


def test_over_examples_refuses_what_does_not_fit() -> None:
    two, three = harmonic_score(accuracy=0.5, auc=0.5), harmonic_score(accuracy=0.5, auc=0.5, bias=0.1)
    draws = np.full(10, 0.4)
    with pytest.raises(InputError, match="fairness term"):
        harmonic_interval_over_examples(three, accuracy=draws, auc=draws)
    with pytest.raises(InputError, match="fairness term"):
        harmonic_interval_over_examples(two, accuracy=draws, auc=draws, bias=draws)
    with pytest.raises(InputError, match="goes with bias"):
        harmonic_interval_over_examples(two, accuracy=draws, auc=draws, bias_floor=draws)
    with pytest.raises(InputError, match="one length"):
        harmonic_interval_over_examples(two, accuracy=draws, auc=draws[:5])
    with pytest.raises(InputError, match="auc must lie in"):
        harmonic_interval_over_examples(two, accuracy=draws, auc=draws + 1)
