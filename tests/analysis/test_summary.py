"""Means over seeds agree with hand computations, and their intervals have the coverage that they claim."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from made_up_study import ALL, PLAIN, Study
from trilemma.analysis.conditions import conditions_of, measured, of_study, study_names
from trilemma.analysis.summary import summarize
from trilemma.errors import InputError
from trilemma.measures import measure_range


def test_mean_and_interval_by_hand() -> None:
    study = Study()
    condition = study.add({"accuracy": [0.5, 0.6, 0.7]})
    row = summarize(study.frame()).iloc[0]
    half = stats.t.ppf(0.975, 2) * 0.1 / math.sqrt(3)
    assert (row["cell"], row["measure"], row["seeds"], row["interval_over"]) == (condition, "accuracy", 3, "seeds")
    assert (row["mean"], row["sd"]) == (pytest.approx(0.6), pytest.approx(0.1))
    assert (row["low"], row["high"]) == (pytest.approx(0.6 - half), pytest.approx(0.6 + half))
    assert row["by_seed"] == {0: 0.5, 1: 0.6, 2: 0.7}
    assert row["missing"] == ()


def test_order_of_rows_does_not_matter_but_for_the_order_of_the_result() -> None:
    study = Study()
    for techniques in ("bl", "gn", "ws"):
        study.add({"accuracy": 0.5, "bias": 0.1}, techniques=techniques)
    frame = study.frame()
    shuffled = summarize(frame.sample(frac=1, random_state=1))
    plain = summarize(frame)
    keys = ["cell", "measure"]
    pd.testing.assert_frame_equal(
        shuffled.sort_values(keys).reset_index(drop=True), plain.sort_values(keys).reset_index(drop=True)
    )
    assert list(plain["measure"]) == ["accuracy", "bias"] * 3
    assert list(plain["techniques"]) == ["bl", "bl", "gn", "gn", "ws", "ws"]


def test_one_seed_has_the_interval_of_its_own_trial() -> None:
    study = Study(seeds=[4])
    study.add({"accuracy": [0.5]})
    row = summarize(study.frame()).iloc[0]
    assert (row["low"], row["high"], row["interval_over"], row["seeds"]) == (0.49, 0.51, "examples", 1)
    assert math.isnan(row["sd"])
    bare = study.frame().assign(low=math.nan, high=math.nan)
    row = summarize(bare).iloc[0]
    assert row["interval_over"] == ""
    assert math.isnan(row["low"])


def test_seeds_that_repeat_one_training_have_the_interval_of_that_training() -> None:
    """Their spread of 0 would claim that nothing is uncertain."""
    study = Study()
    study.add({"accuracy": [0.80001, 0.8, 0.80002]})
    study.add({"accuracy": [0.8003, 0.8, 0.8001]}, techniques="gn")
    rows = summarize(study.frame())
    assert list(rows["interval_over"]) == ["examples", "seeds"]
    row = rows.iloc[0]
    assert (row["mean"], row["low"], row["high"]) == pytest.approx((0.80001, 0.79001, 0.81001))
    at_an_end = summarize(study.frame().assign(value=1.0, low=0.98, high=1.0)).iloc[0]
    assert (at_an_end["low"], at_an_end["high"], at_an_end["interval_over"]) == (0.98, 1.0, "examples")
    bare = summarize(study.frame().assign(low=math.nan, high=math.nan)).iloc[0]
    assert bare["interval_over"] == "seeds"
    assert bare["high"] - bare["low"] < 1e-4


def test_intervals_end_where_the_measure_does() -> None:
    study = Study()
    study.add({"accuracy": [0.99, 1.0, 0.9], "bias": [0.0, 0.4, 0.5], "seconds": [1.0, 90.0, 2.0]})
    summary = summarize(study.frame()).set_index("measure")
    assert summary.loc["accuracy", "high"] == 1.0
    assert (summary.loc["bias", "low"], summary.loc["bias", "high"]) == (0.0, pytest.approx(0.3 + 0.657, abs=1e-2))
    assert summary.loc["seconds", "low"] == 0.0
    study.add({"accuracy_in_gray": [0.5] * 3, "accuracy_in_colour": [0.5] * 3})
    summary = summarize(study.frame()).set_index("measure")
    assert summary.loc["bias", "high"] == 0.5, "two groups: bias ends at one half"
    assert measure_range("bias", 4) == (0.0, 0.75)
    assert measure_range("auc_strongest_naive") == measure_range("correct/17") == (0.0, 1.0)


def test_a_percentage_is_refused() -> None:
    study = Study()
    study.add({"accuracy": [81.0, 80.0, 82.0]})
    with pytest.raises(InputError, match="fractions, not percent"):
        summarize(study.frame())


def test_missing_values_are_named_and_infinite_ones_do_not_spread() -> None:
    study = Study()
    study.add({"bias": [0.1, math.nan, 0.3], "epsilon_spent": [math.inf] * 3, "worst_group_accuracy": [math.nan] * 3})
    summary = summarize(study.frame()).set_index("measure")
    assert (summary.loc["bias", "mean"], summary.loc["bias", "seeds"]) == (pytest.approx(0.2), 2)
    assert summary.loc["bias", "missing"] == (1,)
    assert summary.loc["epsilon_spent", "mean"] == math.inf
    assert math.isnan(summary.loc["epsilon_spent", "low"])
    assert summary.loc["worst_group_accuracy", "seeds"] == 0
    assert summary.loc["worst_group_accuracy", "missing"] == (0, 1, 2)


def test_a_seed_that_is_there_twice_is_an_error() -> None:
    study = Study()
    study.add({"accuracy": [0.5, 0.6, 0.7]})
    frame = study.frame()
    twice = pd.concat([frame, frame.iloc[[0]].assign(trial="another")])
    with pytest.raises(InputError, match="twice"):
        summarize(twice)
    with pytest.raises(InputError, match=r"trials .*another"):
        measured(twice, "accuracy")


@pytest.mark.parametrize(
    ("column", "value"), [("techniques", "gn"), ("epsilon", 8.0), ("skew", 0.9), ("examples", 7), ("removed", 0.1)]
)
def test_trials_that_differ_in_more_than_their_seed_are_never_averaged(column, value) -> None:
    study = Study()
    study.add({"accuracy": [0.5, 0.6, 0.7]})
    frame = study.frame()
    frame.loc[1, column] = value
    with pytest.raises(InputError, match=f"two descriptions, which differ in {column}"):
        summarize(frame)


def test_after_a_removal_seeds_may_leave_different_numbers_of_examples() -> None:
    study = Study()
    study.add({"accuracy": [0.5, 0.6, 0.7]}, removed=0.1, removal="exposed")
    frame = study.frame()
    frame.loc[1, "examples"] = 1999
    assert summarize(frame)["seeds"].tolist() == [3]


def test_lacking_columns_are_named() -> None:
    study = Study()
    study.add({"accuracy": 0.5})
    with pytest.raises(InputError, match="lack the columns cell, update"):
        summarize(study.frame().drop(columns=["update", "cell"]))


def test_on_the_way_each_update_is_apart_and_finished_trials_are_left_out() -> None:
    study = Study()
    study.add({"accuracy": 0.5})
    study.history([0.1, 0.2], [0.1, 0.3], [0.5, 0.5], apart=0.0)
    assert len(summarize(study.frame())) == 1
    summary = summarize(study.frame(), ["accuracy"], during_training=True)
    assert summary["update"].tolist() == [10.0, 20.0]
    assert summary["mean"].tolist() == [pytest.approx(0.1), pytest.approx(0.2)]


def test_nothing_in_nothing_out() -> None:
    study = Study()
    study.add({"accuracy": 0.5})
    empty = summarize(study.frame(), ["no such measure"])
    assert len(empty) == 0
    assert "by_seed" in empty.columns


def test_the_interval_covers_the_mean_as_often_as_it_says() -> None:
    """2000 conditions of 3 seeds: 95 % of the intervals cover the truth; sd of that share is 0.5 points."""
    conditions, seeds = 2000, 3
    values = np.random.default_rng(3).normal(0.5, 0.01, (conditions, seeds))
    frame = pd.DataFrame([{**PLAIN, "delta": math.nan, "update": math.nan, "measure": "accuracy"}])
    frame = pd.concat([frame] * (conditions * seeds), ignore_index=True)
    condition = np.repeat([f"c{i}" for i in range(conditions)], seeds)
    frame = frame.assign(cell=condition, seed=np.tile(np.arange(seeds), conditions), value=values.ravel(), studies="s")
    frame = frame.assign(trial=frame["cell"] + frame["seed"].astype(str), low=math.nan, high=math.nan)
    summary = summarize(frame)
    covered = ((summary["low"] <= 0.5) & (summary["high"] >= 0.5)).mean()
    assert 0.934 < covered < 0.966


def test_conditions_are_named_by_what_defines_them() -> None:
    study = Study()
    study.add({"accuracy": 0.5}, data="cifar10s", skew=0.95, techniques="obs+gn", epsilon=8.0)
    study.add({"accuracy": 0.5}, data="celeba", target="Smiling", protected="Male", techniques=ALL)
    study.add({"accuracy": 0.5}, removed=0.1, removal="random")
    assert [str(condition) for condition in conditions_of(study.frame()).values()] == [
        "cifar10s, skew 95 %, OBS+GN, ε = 8",
        "celeba, Smiling by Male, all, no budget",
        "cifar10, BL, no budget, removal of 10 % at random",
    ]


def test_conditions_that_the_columns_do_not_tell_apart_are_told_apart_by_their_recipes() -> None:
    study = Study()
    names = [study.add({"accuracy": 0.5}, salt=rate) for rate in (0.1, 0.2)]
    frame = study.frame()
    trials = {
        f"{name}-{seed}": {"recipe": {"learning_rate": rate, "seed": seed, "epochs": 3}, "data": {"name": "cifar10"}}
        for name, rate in zip(names, (0.1, 0.2), strict=True)
        for seed in range(3)
    }
    assert [condition.variant for condition in conditions_of(frame).values()] == ["", ""]
    measurements = measured(frame, "accuracy", {"trials": trials}).conditions
    assert [condition.variant for condition in measurements.values()] == ["learning_rate 0.1", "learning_rate 0.2"]


def test_naive_is_matched_only_where_a_condition_has_no_naive_measure() -> None:
    study = Study()
    plain = study.add({"auc_threshold": [0.5, 0.51, 0.52]})
    skewed = study.add({"auc_threshold": [0.5] * 3, "auc_threshold_naive": [0.6] * 3}, data="cifar10s", skew=0.95)
    measurements = measured(study.frame(), "auc_threshold_naive")
    assert measurements.values == {plain: {0: 0.5, 1: 0.51, 2: 0.52}, skewed: {0: 0.6, 1: 0.6, 2: 0.6}}
    assert measurements.name_in_results(plain) == "auc_threshold"
    assert measurements.name_in_results(skewed) == "auc_threshold_naive"
    lost = study.frame()
    lost = lost[~((lost["measure"] == "auc_threshold_naive") & (lost["seed"] == 1))]
    assert measured(lost, "auc_threshold_naive").values[skewed] == {0: 0.6, 2: 0.6}, "a condition never mixes the two"


def test_a_trial_can_be_in_two_studies() -> None:
    study = Study(name="techniques budget")
    study.add({"accuracy": 0.5})
    other = Study(name="budget-2")
    other.add({"accuracy": 0.5}, epsilon=8.0)
    both = pd.concat([study.frame(), other.frame()])
    assert study_names(both) == ("techniques", "budget", "budget-2")
    assert len(of_study(both, "budget")) == len(of_study(both, "techniques")) == 3
