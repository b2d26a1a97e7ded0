"""Which conditions are compared along every axis, and which are never compared."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest

from made_up_study import ALL, CUMULATIVE, Study
from trilemma.analysis.comparisons import (
    budget_comparisons,
    removal_comparisons,
    skew_comparisons,
    technique_comparisons,
)

SKEWED = {"data": "cifar10s", "skew": 0.95}


def asked(outcome):
    return [(c.pair.question, c.pair.change, c.pair.base) for c in outcome]


def test_cumulative_steps_and_the_whole() -> None:
    study = Study()
    for epsilon in (math.inf, 8.0):
        for step, techniques in enumerate(CUMULATIVE):
            study.add({"accuracy": 0.4 + 0.03 * step * (epsilon == 8.0)}, techniques=techniques, epsilon=epsilon)
    outcome = technique_comparisons(study.frame(), "accuracy")
    names = [name.upper() for name in CUMULATIVE[:-2]] + ["all−SAT", "all techniques"]
    steps = [("step", b, a) for a, b in pairwise(names)]
    assert asked(outcome) == ([*steps, ("all", "all techniques", "BL")]) * 2
    assert {c.tests for c in outcome} == {14}
    assert {(c.conditions, c.df) for c in outcome} == {(7, 12)}
    assert {c.verdict for c in outcome if "ε = 8" in c.pair.setting} == {"higher"}
    assert {c.verdict for c in outcome if "no budget" in c.pair.setting} == {"within noise"}
    table = outcome.table()
    assert len(table) == 14
    assert table["difference"].iloc[-1] == pytest.approx(0.18, abs=0.01)
    assert set(table["cell"]) <= set(study.frame()["cell"])


def test_single_techniques_and_leave_one_out() -> None:
    study = Study()
    mixes = ["bl", "obs", "gn", "ws+am", ALL, ALL.replace("gn+", ""), ALL.removesuffix("+sat")]
    for techniques in mixes:
        study.add({"accuracy": 0.5}, techniques=techniques)
    assert asked(technique_comparisons(study.frame(), "accuracy")) == [
        ("step", "OBS", "BL"),
        ("step", "all−SAT", "OBS"),
        ("step", "all techniques", "all−SAT"),
        ("all", "all techniques", "BL"),
        ("single", "GN", "BL"),
        ("mix", "WS+AM", "BL"),
        ("without", "all−GN", "all techniques"),
    ]


def test_only_the_baseline_and_all_are_one_comparison() -> None:
    study = Study()
    study.add({"accuracy": 0.5})
    study.add({"accuracy": 0.6}, techniques=ALL)
    outcome = technique_comparisons(study.frame(), "accuracy")
    assert asked(outcome) == [("all", "all techniques", "BL")]
    assert outcome.comparisons[0].df == 2


def test_families_never_mix_data_budgets_or_networks() -> None:
    study = Study()
    for number, columns in enumerate(
        [{}, SKEWED, {"epsilon": 8.0}, {"epsilon": 4.0}, {"model": "wrn-16-4"}, {"examples": 999}]
    ):
        study.add({"accuracy": 0.5 + 0.1 * number}, **columns)
        study.add({"accuracy": 0.5 + 0.1 * number}, techniques="gn", **columns)
    outcome = technique_comparisons(study.frame(), "accuracy")
    assert len(outcome) == 6
    assert {c.verdict for c in outcome} == {"within noise"}
    assert all(abs(c.difference) < 0.02 for c in outcome)
    assert [c.pair.setting for c in outcome] == [
        "cifar10, no budget, 2,000 examples, model convnet",
        "cifar10s, skew 95 %, no budget",
        "cifar10, ε = 8",
        "cifar10, ε = 4",
        "cifar10, no budget, 2,000 examples, model wrn-16-4",
        "cifar10, no budget, 999 examples",
    ], "settings that are alike in words are told apart"


def test_recipes_that_cannot_be_told_apart_are_not_compared_but_noted() -> None:
    study = Study()
    ids = {}
    for rate in (0.1, 0.2):
        for techniques in ("bl", "gn"):
            ids[study.add({"accuracy": 0.5 + rate}, techniques=techniques, salt=rate)] = rate
    frame = study.frame()
    outcome = technique_comparisons(frame, "accuracy")
    assert len(outcome) == 0
    assert "2 conditions are BL" in outcome.notes[0]
    trials = {
        f"{name}-{seed}": {"recipe": {"learning_rate": rate}, "data": {}}
        for name, rate in ids.items()
        for seed in range(3)
    }
    told = technique_comparisons(frame, "accuracy", {"trials": trials})
    assert [c.pair.setting for c in told] == [f"cifar10, no budget, learning_rate {rate}" for rate in (0.1, 0.2)]


def test_budgets_against_none_and_the_least_against_the_largest() -> None:
    study = Study()
    for epsilon in (8.0, math.inf, 1.0, 4.0):
        study.add({"auc_threshold": 0.5 + (0.1 if epsilon == math.inf else epsilon / 200)}, epsilon=epsilon)
    outcome = budget_comparisons(study.frame(), "auc_threshold")
    assert asked(outcome) == [
        ("budget", "ε = 1", "no budget"),
        ("budget", "ε = 4", "no budget"),
        ("budget", "ε = 8", "no budget"),
        ("budgets", "ε = 1", "ε = 8"),
    ]
    assert {c.verdict for c in outcome} == {"lower"}
    assert outcome.comparisons[0].df == 6


def test_skews_against_none_and_against_the_least_of_the_set() -> None:
    study = Study()
    study.add({"accuracy": 0.6})
    for skew in (0.95, 0.75):
        study.add({"accuracy": 0.9 - skew / 2, "bias": skew / 4}, data="cifar10s", skew=skew)
    study.add({"accuracy": 0.1}, data="cifar100s", skew=0.95)
    study.add({"accuracy": 0.1}, epsilon=8.0)
    frame = study.frame()
    outcome = skew_comparisons(frame, "accuracy")
    assert asked(outcome) == [
        ("skew", "skew 75 %", "no skew"),
        ("skew", "skew 95 %", "no skew"),
        ("skew of one set", "skew 95 %", "skew 75 %"),
    ]
    assert asked(skew_comparisons(frame, "bias")) == [("skew of one set", "skew 95 %", "skew 75 %")]


def test_removals_against_random_and_none() -> None:
    study = Study()
    for epsilon in (math.inf, 8.0):
        study.add({"accuracy": 0.6}, epsilon=epsilon)
        for share in (0.1, 0.3):
            for arm in ("random", "exposed"):
                columns = {"removed": share, "removal": arm, "examples": round(2000 * (1 - share)), "epsilon": epsilon}
                study.add({"accuracy": 0.6 - share / 3 * (1 + (arm == "exposed"))}, **columns)
    outcome = removal_comparisons(study.frame(), "accuracy")
    ten = "removal of the 10 % most exposed", "removal of 10 % at random"
    assert asked(outcome)[:3] == [
        ("control", *ten),
        ("removal", ten[0], "no removal"),
        ("random", ten[1], "no removal"),
    ]
    assert len(outcome) == 12
    assert {c.verdict for c in outcome} == {"lower"}
    assert {c.conditions for c in outcome} == {5}
