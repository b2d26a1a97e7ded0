"""Turning points agree with hand computations and a plain loop, and have their stated rate of false alarms."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from made_up_study import Study
from trilemma.analysis.turning_points import GAP, TurningPoints, auc_bar, turning_points
from trilemma.errors import InputError


def history(accuracy, train_accuracy, auc, n=(1000, 1000)):
    study = Study(seeds=[0])
    study.history(accuracy, train_accuracy, auc, n=n)
    return study.frame()


def test_turning_points_agree_with_those_computed_by_hand() -> None:
    points = turning_points(
        history(
            accuracy=[0.3, 0.6, 0.7, 0.7, 0.65],
            train_accuracy=[0.3, 0.7, 0.74, 0.8, 0.9],
            auc=[0.56, 0.51, 0.53, 0.54, 0.60],
        )
    )
    assert points.early_stopping == 30, "the first of the best"
    assert points.overfitting == 40, "the gap at 20 did not stay"
    assert points.memorization == 30, "the AUC at 10 did not stay; the bar for 1000 and 1000 is 0.5253"
    assert points.order == "together", "one evaluation apart"
    assert points.evaluations == (10, 20, 30, 40, 50)


def test_the_order_tells_which_point_comes_first() -> None:
    def order(overfitting, memorization):
        return TurningPoints(10, overfitting, memorization, (10, 20, 30)).order

    assert order(30, 10) == "memorization first"
    assert {order(20, 20), order(30, 20), order(20, 30)} == {"together"}, "known to the nearest evaluation alone"
    assert order(10, 30) == "overfitting first"
    assert order(None, 20) == "no overfitting"
    assert order(20, None) == order(None, None) == "no memorization"


values = st.lists(st.tuples(*[st.floats(0, 1)] * 3), min_size=1, max_size=8)


@settings(deadline=None, max_examples=50)
@given(values)
def test_as_a_plain_loop_finds_them(rows) -> None:
    accuracy, train, auc = zip(*rows, strict=True)
    points = turning_points(history(accuracy, train, auc))
    overfitting = memorization = None
    for row in reversed(range(len(rows))):
        if train[row] - accuracy[row] <= GAP:
            break
        overfitting = 10 * (row + 1)
    for row in reversed(range(len(rows))):
        if auc[row] <= auc_bar(1000, 1000):
            break
        memorization = 10 * (row + 1)
    assert (points.overfitting, points.memorization) == (overfitting, memorization)
    assert points.early_stopping == 10 * (accuracy.index(max(accuracy)) + 1)


def test_rows_in_any_order_and_other_measures() -> None:
    rows = history([0.3, 0.6], [0.3, 0.7], [0.5, 0.6])
    extra = rows[rows["measure"] == "accuracy"].assign(measure="membership_probability/17")
    finished = rows[rows["measure"] == "accuracy"].iloc[:1].assign(update=np.nan)
    mixed = pd.concat([rows, extra, finished]).sample(frac=1, random_state=0)
    assert turning_points(mixed) == turning_points(rows)


def test_the_bar_counts_members_and_non_members() -> None:
    """An AUC of 0.53 is above the bar for 1000 and 1000 examples, and not for 1900 and 100."""
    assert turning_points(history([0.5], [0.5], [0.53])).memorization == 10
    assert turning_points(history([0.5], [0.5], [0.53], n=(1900, 100))).memorization is None
    rows = history([0.5], [0.5], [0.53])
    rows.loc[rows["measure"] == "accuracy", "n"] = 2000  # both copies of the test set; half of them are compared
    assert turning_points(rows).memorization == 10, "counts that do not add up: as many of each"


def test_the_bar_is_passed_by_chance_once_in_forty() -> None:
    """Of 4000 AUCs of uninformative scores, 2.5 % lie above the bar (standard deviation 0.25 points)."""
    rng = np.random.default_rng(0)
    members, others = 60, 90
    ranks = stats.rankdata(rng.standard_normal((4000, members + others)), axis=1)
    auc = (ranks[:, :members].sum(axis=1) - members * (members + 1) / 2) / (members * others)
    assert 0.017 < (auc > auc_bar(members, others)).mean() < 0.033


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (lambda rows: rows[rows["measure"] != "auc_threshold"], "lacks"),
        (lambda rows: rows.iloc[1:], "lacks"),
        (lambda rows: rows.assign(update=np.nan), "evaluations, not 0"),
        (lambda rows: rows.assign(trial=["a", "b"] * 3), "evaluations, not 2"),
        (lambda rows: pd.concat([rows, rows.iloc[:1]]), "twice"),
        (lambda rows: rows.assign(n=0), "number of examples"),
    ],
)
def test_broken_histories_are_refused(break_it, message) -> None:
    with pytest.raises(InputError, match=message):
        turning_points(break_it(history([0.3, 0.6], [0.3, 0.7], [0.5, 0.6])))
