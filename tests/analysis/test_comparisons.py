"""Paired comparisons agree with independent computations, and have their stated rates of false alarms and misses."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from made_up_study import ALL, Study
from trilemma.analysis.comparisons import (
    compare,
    comparisons,
    technique_comparisons,
)
from trilemma.analysis.conditions import Condition, Measured, measured
from trilemma.analysis.pairs import Pair
from trilemma.errors import InputError
from trilemma.measures import number_words
from trilemma.statistics.additive import additive_variance, holm

SKEWED = {"data": "cifar10s", "skew": 0.95}


def values_of(table, measure="accuracy"):
    """``Measured`` from an array (k, n): conditions c0, c1, ... at seeds 0, 1, ..."""
    ids = [f"c{row}" for row in range(len(table))]
    conditions = {name: Condition(name, "d", None, "", "", 9, "m", "bl", None, None, 0.0, "") for name in ids}
    values = {
        name: {seed: float(v) for seed, v in enumerate(row) if not math.isnan(v)}
        for name, row in zip(ids, table, strict=True)
    }
    return Measured(measure, conditions, values, {name: {s: f"{name}-{s}" for s in by} for name, by in values.items()})


def pairs_of(*asked, conditions):
    block = tuple(f"c{row}" for row in range(conditions))
    return [Pair(f"c{a}", f"c{b}", block, f"condition {a}", f"condition {b}", "here", "step") for a, b in asked]


# Each of 7 conditions against the one before, and the last against the first.
STEPS = [*((row, row - 1) for row in range(1, 7)), (6, 0)]


def test_two_conditions_are_the_paired_t_test() -> None:
    table = np.array([[0.61, 0.64, 0.60, 0.66], [0.55, 0.61, 0.57, 0.58]])
    (comparison,) = compare(values_of(table), pairs_of((0, 1), conditions=2))
    oracle = stats.ttest_rel(table[0], table[1])
    low, high = oracle.confidence_interval(0.95)
    assert comparison.p == comparison.own_p == comparison.p_adjusted == pytest.approx(oracle.pvalue, rel=1e-12)
    assert (comparison.low, comparison.high) == (pytest.approx(low), pytest.approx(high))
    assert comparison.df == 3
    assert comparison.differences == pytest.approx(table[0] - table[1])


@settings(deadline=None, max_examples=50)
@given(st.integers(2, 7), st.integers(2, 5), st.integers(0, 10_000))
def test_blocks_are_the_least_squares_fit_of_condition_and_seed(conditions, seeds, rng) -> None:
    """An independent fit: dummies for conditions and seeds, least squares, and the contrast's error from (X'X)^-1."""
    table = np.random.default_rng(rng).normal(size=(conditions, seeds))
    design = np.zeros((conditions * seeds, conditions + seeds - 1))
    for row, (condition, seed) in enumerate(np.ndindex(conditions, seeds)):
        design[row, condition] = 1
        if seed:
            design[row, conditions + seed - 1] = 1
    fit, rest, rank, _ = np.linalg.lstsq(design, table.ravel(), rcond=None)
    df = conditions * seeds - rank
    contrast = np.zeros(design.shape[1])
    contrast[1], contrast[0] = 1, -1
    error = math.sqrt(rest[0] / df * contrast @ np.linalg.inv(design.T @ design) @ contrast)
    (comparison,) = compare(values_of(table), pairs_of((1, 0), conditions=conditions))
    assert comparison.df == df
    assert additive_variance(table) == (pytest.approx(rest[0] / df), df)
    assert comparison.difference == pytest.approx(contrast @ fit)
    assert comparison.pooled_error == pytest.approx(error)
    assert comparison.own_error == pytest.approx(stats.sem(table[1] - table[0]))
    assert comparison.standard_error == max(comparison.pooled_error, comparison.own_error)
    assert comparison.p == pytest.approx(2 * stats.t.sf(abs(comparison.difference) / comparison.standard_error, df))


def test_what_a_seed_does_to_all_conditions_drops_out() -> None:
    rng = np.random.default_rng(0)
    table = rng.normal(size=(4, 3))
    shifted = table + 100 * rng.normal(size=3)
    before, after = (compare(values_of(t), pairs_of((1, 0), (3, 2), conditions=4)) for t in (table, shifted))
    for first, other in zip(before, after, strict=True):
        assert other.p == pytest.approx(first.p, rel=1e-6)
        assert other.difference == pytest.approx(first.difference)


def test_swapping_the_conditions_turns_the_sign_and_nothing_else() -> None:
    table = np.random.default_rng(5).normal(size=(5, 3)) * 0.01 + np.arange(5)[:, None]
    first, other = compare(values_of(table), pairs_of((3, 1), (1, 3), conditions=5))
    assert (other.difference, other.low, other.high) == (-first.difference, -first.high, -first.low)
    assert (first.verdict, other.verdict, first.p) == ("higher", "lower", other.p)


def test_seeds_that_only_one_condition_has_are_left_out_and_named() -> None:
    nan = math.nan
    table = np.array([[0.1, 0.2, 0.3, nan], [0.2, 0.31, 0.4, 0.9], [0.3, 0.4, nan, nan], [0.1, 0.1, 0.12, 0.1]])
    first, second = compare(values_of(table), pairs_of((1, 0), (2, 0), conditions=4))
    assert (first.seeds, first.left_out, first.conditions) == ((0, 1, 2), (3,), 3), "condition 2 lacks seed 2"
    assert (second.seeds, second.left_out, second.conditions) == ((0, 1), (2,), 4)
    assert first.difference == pytest.approx(np.mean([0.1, 0.11, 0.1]))


def test_one_seed_tells_nothing() -> None:
    table = np.array([[0.1, math.nan], [0.9, 0.9], [0.5, 0.5]])
    first, two = compare(values_of(table), pairs_of((1, 0), (1, 2), conditions=3))
    assert (first.verdict, first.n, first.tests) == ("one seed", 1, 0)
    assert math.isnan(first.p)
    assert math.isnan(first.low)
    assert "one seed cannot tell" in first.words
    assert not first.no_more_than(5.0)
    assert two.tests == 1, "what is not tested does not count for Holm"


def test_no_seed_in_common_is_a_note() -> None:
    table = np.array([[0.1, math.nan], [math.nan, 0.9]])
    outcome = compare(values_of(table), pairs_of((1, 0), conditions=2))
    assert len(outcome) == 0
    assert "no seed in common" in outcome.notes[0]


def test_values_that_are_not_finite_are_left_out() -> None:
    table = np.array([[0.1, 0.2, math.inf], [0.3, 0.5, 0.9]])
    (comparison,) = compare(values_of(table), pairs_of((1, 0), conditions=2))
    assert comparison.seeds == (0, 1)


@pytest.mark.parametrize(("a", "b"), [(0, 0), (0, 9)])
def test_pairs_that_make_no_sense_are_refused(a, b) -> None:
    with pytest.raises(InputError, match="cannot compare"):
        compare(values_of(np.ones((2, 2))), pairs_of((a, b), conditions=2))


def test_equal_values_are_no_difference() -> None:
    (comparison,) = compare(values_of(np.full((3, 3), 0.4)), pairs_of((1, 0), conditions=3))
    assert (comparison.difference, comparison.p, comparison.verdict) == (0.0, 1.0, "within noise")
    assert "are equal" in comparison.words
    assert not comparison.no_more_than(0.1), "noise that is not known shows nothing"


def test_a_constant_difference_without_any_noise_falls_back_to_the_sign_test() -> None:
    for seeds, p in ((3, 0.25), (6, 0.03125)):
        # Rounding must not pass for noise.
        table = np.array([np.linspace(0.1, 0.7, seeds), np.linspace(0.1, 0.7, seeds) + 0.1])
        (comparison,) = compare(values_of(table), pairs_of((1, 0), conditions=2))
        assert (comparison.p, comparison.standard_error) == (p, 0)
        assert math.isnan(comparison.low)
        assert comparison.verdict == ("higher" if p < 0.05 else "within noise")
    assert "raises accuracy by 0.100 over" in comparison.words
    table = np.array([[0.1, 0.2, 0.3], [0.2, 0.3, 0.4]])
    (comparison,) = compare(values_of(table), pairs_of((1, 0), conditions=2))
    assert "whose size is unknown" in comparison.words


def test_a_pair_without_noise_of_its_own_takes_the_others() -> None:
    table = np.array([[0.1, 0.2, 0.3], [0.2, 0.3, 0.4], [0.31, 0.4, 0.52]])
    (comparison,) = compare(values_of(table), pairs_of((1, 0), conditions=3))
    assert comparison.own_error == 0
    assert comparison.standard_error == comparison.pooled_error > 0
    assert comparison.verdict == "higher"


def test_seeds_that_repeat_one_trial_are_one_trial() -> None:
    """Five seeds of a training without randomness say no more than one, and the noise of other conditions is not its
    own."""
    rng = np.random.default_rng(5)
    noisy = 0.5 + 1e-4 * rng.standard_normal(40)
    border = 2e-5 * (np.arange(40) % 2)  # of 50,000 examples one falls on this side or that by rounding
    for seeds in (5, 40):
        table = np.stack([np.full(seeds, 0.8), 0.82 + border[:seeds], noisy[:seeds]])
        outcome = compare(values_of(table), pairs_of((1, 0), (2, 0), conditions=3))
        repeated, other = outcome
        assert (repeated.verdict, repeated.p, repeated.own_p) == ("within noise", 1.0, 1.0)
        assert "whose size is unknown" in repeated.words
        assert not repeated.no_more_than(0.5)
        assert other.verdict == "lower", "against a condition that does vary, the difference is as sure as that one"


def test_every_seed_must_agree() -> None:
    """Of 40 seeds one goes the other way: the effect is significant, but it is not called a difference."""
    rng = np.random.default_rng(2)
    table = np.stack([np.zeros(40), 0.1 + 0.001 * rng.standard_normal(40)])
    assert next(iter(compare(values_of(table), pairs_of((1, 0), conditions=2)))).verdict == "higher"
    table[1, 7] = -0.01
    (comparison,) = compare(values_of(table), pairs_of((1, 0), conditions=2))
    assert comparison.p < 1e-6
    assert comparison.verdict == "within noise"
    assert "but one seed goes the other way" in comparison.words


def test_an_interval_that_leaves_out_zero_without_a_verdict_is_explained() -> None:
    table = np.array([[0.50, 0.52, 0.51], [0.54, 0.55, 0.56]])
    (first,) = compare(values_of(table), pairs_of((1, 0), conditions=2))
    three = compare(values_of(table), pairs_of((1, 0), (0, 1), (1, 0), conditions=2))
    assert (first.verdict, three.comparisons[0].verdict) == ("higher", "within noise")
    assert three.comparisons[0].words.endswith("alone excludes 0, but p is 0.061 over 3 comparisons")
    table = np.array([0.1, 0.2, 0.3]) + np.array([[0], [0.1], [0.2], [0.3], [0.4]]) + 1e-4 * np.eye(5, 3)
    table[1] += [0.05, 0.0, -0.05]
    (doubtful,) = compare(values_of(table), pairs_of((1, 0), conditions=5))
    assert (doubtful.verdict, doubtful.p < 0.01) == ("within noise", True)
    assert doubtful.words.endswith("but by its own noise alone p is 0.074")


def test_no_difference_is_called_detectable_that_cannot_be() -> None:
    """Guards: "it would have detected a difference of 0.510" in bias, which ends at ½."""
    apart = np.array([[0.3, 0.1, 0.2], [0.1, 0.35, 0.2]])
    for scale, possible in ((1.0, False), (0.05, True)):
        (comparison,) = compare(values_of(apart * scale, measure="bias"), pairs_of((1, 0), conditions=2))
        assert (comparison.detectable <= 0.5) == possible
        assert ("would have detected a difference of" in comparison.words) == possible
        assert ("would hardly have detected any difference" in comparison.words) != possible


def test_a_margin_is_shown_only_where_the_interval_lies_inside() -> None:
    table = np.array([[0.5, 0.52, 0.51], [0.501, 0.5205, 0.5112]])
    (comparison,) = compare(values_of(table), pairs_of((1, 0), conditions=2))
    low, high = comparison.margin_interval()
    oracle = stats.ttest_rel(table[1], table[0]).confidence_interval(0.90)
    assert (low, high) == (pytest.approx(oracle.low), pytest.approx(oracle.high))
    assert comparison.no_more_than(0.02)
    assert not comparison.no_more_than(high)
    assert comparison.no_more_than(high + 1e-9)
    assert not comparison.no_more_than(0.02, alpha=1e-5)
    noisy = compare(values_of(table + np.array([[0, 0, 0], [0.1, -0.1, 0.0]])), pairs_of((1, 0), conditions=2))
    assert noisy.comparisons[0].verdict == "within noise"
    assert not noisy.comparisons[0].no_more_than(0.02), "within noise is not equal"


def test_what_is_called_detectable_is_seen_four_times_in_five() -> None:
    """Five seeds and seven conditions, normal noise whose size is known to nobody: the two-sided test at 5 % must
    find a true step of the size that the comparison calls detectable (in the mean over studies) in 80 % of 600 studies,
    give or take 0.05 (three standard errors)."""
    rng = np.random.default_rng(0)
    std, seeds, conditions = 0.01, 5, 7
    plain = [
        compare(values_of(rng.normal(0, std, (conditions, seeds))), pairs_of((1, 0), conditions=conditions))
        for _ in range(200)
    ]
    step = float(np.sqrt(np.mean([c.comparisons[0].detectable ** 2 for c in plain])))
    seen = 0
    for _ in range(600):
        table = rng.normal(0, std, (conditions, seeds))
        table[1] += step
        (comparison,) = compare(values_of(table), pairs_of((1, 0), conditions=conditions))
        seen += comparison.p < 0.05
    assert abs(seen / 600 - 0.8) < 0.06, seen
    assert "detectable" in plain[0].table()
    assert (
        "With a probability of 80 %, the comparison would have detected a difference of 0.0"
        in plain[0].comparisons[0].words
    )


def test_a_comparison_says_its_result_in_words() -> None:
    table = np.array([[0.50, 0.51, 0.49], [0.531, 0.541, 0.521], [0.5, 0.511, 0.493], [0.501, 0.507, 0.49]])
    up, down, same = compare(values_of(table), pairs_of((1, 0), (0, 1), (2, 3), conditions=4))
    assert up.words == (
        f"condition 1 raises accuracy by 0.031 [{up.low:.3f}, {up.high:.3f}] over condition 0 (here), "
        "paired over 3 seeds, assuming equal noise variance in 4 conditions"
    )
    assert down.words.startswith(
        f"condition 0 lowers accuracy by 0.031 [{up.low:.3f}, {up.high:.3f}] against condition 1 (here)"
    )
    assert same.words.startswith("no difference beyond noise: condition 2 minus condition 3 is +0.002 [−0.00")
    assert "assumes equal noise variance" in up.basis
    assert "Holm over 3 comparisons" in up.basis
    assert "95 % interval of this comparison alone" in up.basis
    assert number_words(-0.0000, "accuracy", signed=True) == "0.000"
    small = [number_words(value, "accuracy") for value in (0.00023, -0.00098, 1e-9, math.nan)]
    assert small == ["0.0002", "−0.001", "0.000", "nan"]


# How often -----------------------------------------------------------------------------------------------------------


def simulate(studies, *, sds=1.0, means=0.0, seeds=3, seed_sd=3.0, asked=STEPS, rng=0):
    """Comparisons of studies with 7 conditions in which a seed affects all conditions equally."""
    generator = np.random.default_rng(rng)
    sds, means = (np.broadcast_to(np.asarray(x, float), 7)[:, None] for x in (sds, means))
    pairs = pairs_of(*asked, conditions=7)
    for _ in range(studies):
        table = means + sds * generator.standard_normal((7, seeds)) + seed_sd * generator.standard_normal(seeds)
        yield list(compare(values_of(table, "a measure"), pairs))


def alarmed(study):
    return any(comparison.verdict in ("higher", "lower") for comparison in study)


def test_false_alarms_over_a_whole_family() -> None:
    """3000 studies without a difference: any of 7 verdicts is false in 2 %, any p_adjusted below 0.05 in 3 %.

    (Standard deviation 0.3 points.)  Both must be below the promised 5 %, and not for having tested nothing.
    """
    studies = list(simulate(3000))
    verdicts = np.mean([alarmed(study) for study in studies])
    adjusted = np.mean([min(c.p_adjusted for c in study) < 0.05 for study in studies])
    plain = np.mean([min(c.p for c in study) < 0.05 for study in studies])
    assert 0.008 < verdicts < 0.035
    assert 0.015 < adjusted < 0.045
    assert plain > 0.12, "without Holm's correction there are many more: the simulation can see them"
    covered = np.mean([c.low <= 0 <= c.high for study in studies for c in study])
    assert 0.94 < covered < 0.985, "95 % intervals, somewhat wide for taking the larger of two errors"


def test_false_alarms_where_noise_is_not_alike() -> None:
    """One condition has five times the noise: 6 % with the guards (2000 studies, sd 0.5 points), 16 % by pooling."""
    studies = list(simulate(2000, sds=[1, 1, 1, 5, 1, 1, 1], rng=1))
    guarded = np.mean([alarmed(study) for study in studies])
    pooled = np.mean(
        [
            min(holm([2 * stats.t.sf(abs(c.difference) / c.pooled_error, c.df) for c in study])) < 0.05
            for study in studies[:800]
        ]
    )
    assert guarded < 0.08
    assert pooled > 0.11


def test_a_real_step_is_found() -> None:
    """A step of 5 standard deviations of noise at the third condition is found in 84 % (800 studies, sd 1.3 points)."""
    verdicts = [study[1].verdict == "higher" for study in simulate(800, means=[0, 0, 5, 5, 5, 5, 5], rng=2)]
    assert 0.78 < np.mean(verdicts) < 0.90


def test_a_margin_that_does_not_hold_is_shown_in_one_of_twenty() -> None:
    """True difference equal to the margin, two conditions: TOST at 5 % (3000 studies, sd 0.4 points)."""
    generator = np.random.default_rng(4)
    shown = []
    for _ in range(3000):
        table = np.stack([np.zeros(3), 0.02 + 0.001 * generator.standard_normal(3)])
        (comparison,) = compare(values_of(table), pairs_of((1, 0), conditions=2))
        shown.append(comparison.no_more_than(0.02))
    assert 0.035 < np.mean(shown) < 0.065


def test_all_kinds_together_each_with_its_own_correction() -> None:
    study = Study()
    for epsilon in (math.inf, 8.0):
        for techniques in ("bl", ALL):
            study.add({"accuracy": 0.5}, epsilon=epsilon, techniques=techniques)
    outcome = comparisons(study.frame(), "accuracy")
    assert sorted(c.pair.question for c in outcome) == ["all", "all", "budget", "budget"]
    assert {c.tests for c in outcome} == {2}
    assert len(comparisons(study.frame(), "no such measure")) == 0
    assert isinstance(comparisons(study.frame(), "no such measure").table(), pd.DataFrame)


def test_a_planted_error_changes_the_verdict() -> None:
    """The value of one trial is changed, and the step that rested on it is gone."""
    study = Study()
    study.add({"accuracy": [0.500, 0.520, 0.510]})
    study.add({"accuracy": [0.550, 0.571, 0.561]}, techniques="gn")
    frame = study.frame()
    assert technique_comparisons(frame, "accuracy").comparisons[0].verdict == "higher"
    frame.loc[3, "value"] = 0.500
    assert technique_comparisons(frame, "accuracy").comparisons[0].verdict == "within noise"
    assert measured(frame, "accuracy").values[frame["cell"].iloc[3]][0] == 0.5
