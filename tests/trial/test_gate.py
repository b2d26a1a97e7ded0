"""Conditions that a model must meet, judged by the worse end of their intervals."""

import operator

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trilemma.errors import InputError
from trilemma.fairness import fairness_report
from trilemma.measures import ATTACK_WORDS
from trilemma.statistics.cells import worst_class
from trilemma.trial.gate import Condition, conditions, judge, refuse_what_no_training_measures
from trilemma.words import SEEDED_NOISE

SIGNS = {"<=": operator.le, ">=": operator.ge, "<": operator.lt, ">": operator.gt}


def attack(auc, low, high, tpr=0.01):
    ends = {"auc": [low, high], "advantage": [0.0, 0.1], "tpr_at_fpr": {"0.01": [tpr / 2, 2 * tpr]}}
    return {"auc": auc, "advantage": 0.05, "tpr_at_fpr": {"0.01": tpr}, "interval": ends}


RESULT = {
    "accuracy": 0.8,
    "accuracy_interval": [0.75, 0.85],
    "attacks": {"threshold": attack(0.52, 0.50, 0.54), "rf": attack(0.51, 0.47, 0.56)},
    "fairness": {
        "bias": 0.1,
        "worst_group_accuracy": 0.7,
        "interval": {"bias": [0.05, 0.2], "worst_group_accuracy": [0.65, 0.75]},
    },
    "privacy": {"epsilon": 7.9, "delta": 1e-5, "noise_source": "secret"},
}


KINDS = ("auc", "advantage", "tpr_at_fpr_0.01", "tpr_at_fpr_0.001")
MADE = RESULT["attacks"]


def verdict(text, result=RESULT):
    (judgment,) = judge(conditions(text), result)
    return judgment.verdict


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from(list(SIGNS)), st.tuples(*[st.floats(0, 1)] * 3), st.floats(0, 1))
def test_it_holds_where_the_whole_interval_does_and_fails_where_none_does(sign, values, bound):
    low, value, high = sorted(values)
    result = {"accuracy": value, "accuracy_interval": [low, high]}
    (judgment,) = judge([Condition("accuracy", sign, bound)], result)
    ends = {SIGNS[sign](low, bound), SIGNS[sign](high, bound)}
    assert judgment.verdict == {(True,): "holds", (False,): "fails"}.get(tuple(ends), "cannot tell")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("epsilon<=8", "holds"),
        ("epsilon<=7.8", "fails"),
        ("auc<=0.57", "holds"),
        ("auc<=0.55", "cannot tell"),  # the random forest's interval ends at 0.56, though its AUC is the lower one
        ("auc_threshold<=0.55", "holds"),
        ("tpr_at_fpr_0.01<=0.03", "holds"),
        ("tpr_at_fpr_0.001<=0.03", "cannot tell"),  # not measured
        ("worst_group_accuracy>=0.6", "holds"),
        ("worst_group_accuracy>=0.8", "fails"),
        ("bias<=0.1", "cannot tell"),
        ("harmonic_score>=0.1", "cannot tell"),
        *((f"{kind}_{attack}<=1", "cannot tell") for kind in KINDS for attack in ATTACK_WORDS if attack not in MADE),
    ],
)
def test_conditions_are_judged_by_intervals(text, expected):
    assert verdict(text) == expected


@settings(deadline=None)
@given(st.tuples(*[st.integers(0, 1024)] * 3), st.integers(0, 1024), st.sampled_from(["<", "<="]))
def test_an_attack_that_is_always_wrong_is_judged_as_one_that_is_always_right(ends, bound, sign):
    low, auc, high = (end / 1024 for end in sorted(ends))  # whose differences from 1 are exact
    condition = Condition("auc_threshold", sign, bound / 1024)
    both = (attack(auc, low, high), attack(1 - auc, 1 - high, 1 - low))
    first, second = (judge([condition], {"attacks": {"threshold": entry}})[0] for entry in both)
    assert first.verdict == second.verdict
    assert (first.value, first.low, first.high) == (auc, low, high)  # as measured
    inside = [SIGNS[sign](max(end, 1 - end), condition.bound) for end in (low, min(max(low, 0.5), high), high)]
    expected = "holds" if inside[0] and inside[2] else "cannot tell" if any(inside) else "fails"
    assert first.verdict == expected


def test_an_attack_that_was_not_made_is_not_excused_by_what_another_lacks():
    other = attack(0.5, 0.4, 0.6) | {"tpr_at_fpr": {"0.01": None}, "tpr_reason": {"0.01": "too few non-members"}}
    for name, why in (("rmia", "not measured"), ("threshold", "too few non-members")):
        (judgment,) = judge(conditions(f"tpr_at_fpr_0.01_{name}<=1"), {"attacks": {"threshold": other}})
        assert (judgment.verdict, judgment.why) == ("cannot tell", why)


def test_leakage_below_one_half_opens_no_gate_and_is_shown_as_it_was_measured():
    result = RESULT | {"attacks": RESULT["attacks"] | {"mlp": attack(0.042, 0.033, 0.054)}}
    (judgment,) = judge(conditions("auc<=0.55"), result)
    assert (judgment.verdict, judgment.value, judgment.low, judgment.high) == ("fails", 0.042, 0.033, 0.054)
    assert judgment.line.endswith("0.042 [0.033, 0.054] (MLP; an AUC below one half must be at least 0.45)")
    assert verdict("auc_mlp<=0.55", result) == "fails"
    assert verdict("auc_threshold<=0.55", result) == "holds"
    assert verdict("accuracy<=0.9", {"accuracy": 0.1}) == "holds"  # only AUCs have two sides


def test_the_attack_that_fails_decides_before_one_that_may_be_worse():
    attacks = {"threshold": attack(0.6, 0.4, 0.8), "rf": attack(0.6, 0.58, 0.62)}
    (judgment,) = judge(conditions("auc<=0.55"), {"attacks": attacks})
    assert (judgment.verdict, judgment.value, judgment.why) == ("fails", 0.6, "random forest")
    wider = {"threshold": attack(0.52, 0.5, 0.54), "rf": attack(0.51, 0.45, 0.57)}
    (judgment,) = judge(conditions("auc<=0.55"), {"attacks": wider})
    assert (judgment.value, judgment.why) == (0.51, "random forest, whose interval decides")


def cells(*counts):
    """A fairness report of one group, by (examples, correct ones) of each class."""
    labels = np.repeat(np.arange(len(counts)), [count for count, _ in counts])
    right = np.concatenate([np.arange(count) < correct for count, correct in counts])
    names = {"group_names": ("gray", "color"), "class_names": [f"class{number}" for number in range(len(counts))]}
    both = np.tile(labels, 2), np.concatenate([np.where(right, labels, (labels + 1) % len(counts)), labels])
    return fairness_report(*both, np.repeat([0, 1], len(labels)), len(counts), resamples=10, **names)


@pytest.mark.parametrize(
    ("counts", "expected", "why"),
    [
        (((200, 160), (200, 180)), "holds", "class class0 in gray, 200 test examples"),
        (((200, 160), (200, 60)), "fails", "class class1 in gray, 200 test examples"),
        (((200, 160), (200, 124)), "cannot tell", "class class1 in gray, 200 test examples"),
        (((200, 160), (3, 3)), "cannot tell", "the low end is that of class class1 in gray, 3 test examples"),
        (((200, 160), (0, 0)), "cannot tell", "the low end is that of class class1 in gray, 0 test examples"),
    ],
)
def test_the_worst_cell_is_judged_and_one_that_is_too_small_opens_no_gate(counts, expected, why):
    result = {"fairness": cells(*counts)}
    (judgment,) = judge(conditions("worst_cell_accuracy>=0.6"), result)
    assert judgment.verdict == expected
    assert why in judgment.why
    old = {name: value for name, value in result["fairness"].items() if name != "worst_cell_interval"}
    assert verdict("worst_cell_accuracy>=0", {"fairness": old}) == "cannot tell"  # of an earlier version


def test_without_groups_the_worst_class_is_judged_and_what_needs_groups_says_so():
    labels = np.repeat([0, 1], [100, 12])
    predicted = np.where(np.arange(112) < 60, 0, 1)  # 60 of 100, and all of 12
    worst = worst_class(labels, predicted, classes=2, class_names=("cat", "dog"))
    result = {"accuracy": 0.64, "fairness": None, "worst_class": worst}
    (judgment,) = judge(conditions("worst_class_accuracy>=0.75"), result)
    assert (judgment.verdict, judgment.why) == ("fails", "class cat, 100 test examples")
    certain = {"worst_class": worst_class(labels, labels, classes=2, class_names=("cat", "dog"))}
    (judgment,) = judge(conditions("worst_class_accuracy>=0.9"), certain)
    assert judgment.verdict == "cannot tell"
    assert judgment.why.endswith("the low end is that of class dog, 12 test examples")
    assert verdict("worst_class_accuracy>=0.73", certain) == "holds"
    lines = [
        judgment.line for judgment in judge(conditions("worst_cell_accuracy>=0, bias<=1, harmonic_score>=0"), result)
    ]
    assert "not of two or more groups; worst_class_accuracy needs none" in lines[0]
    assert lines[1].endswith("not of two or more groups)")
    assert "require it of the run" in lines[2]


@pytest.mark.parametrize(
    ("privacy", "expected", "why"),
    [
        (None, "fails", "without a budget"),
        ({"epsilon": None, "truth": None}, "fails", "truth check"),
        (RESULT["privacy"] | {"noise_source": "seeded"}, "fails", SEEDED_NOISE),
        ("left out", "cannot tell", "predictions alone"),
    ],
    ids=str,
)
def test_a_budget_that_guarantees_nothing_opens_no_gate(privacy, expected, why):
    result = {name: value for name, value in RESULT.items() if name != "privacy"}
    result |= {} if privacy == "left out" else {"privacy": privacy}
    (judgment,) = judge(conditions("epsilon<=100"), result)
    assert judgment.verdict == expected
    assert why in judgment.line


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("acu<=0.5", "did you mean 'auc'"),
        ("auc=0.5", "must be like auc<=0.55"),
        ("auc<=half", "must be like auc<=0.55"),
        ("auc<=nan", "must be like auc<=0.55"),
        ("", "must be like auc<=0.55"),
        ("auc<=0.5,", "must be like auc<=0.55"),
        ("auc_nobody<=0.5", "no measure is called"),
        ("accuracy>=70", "between 0 and 1; give a fraction, such as 0.7"),
        ("auc_rf<=55", "between 0 and 1; give a fraction, such as 0.55"),
        ("epsilon>=3", "known only as an upper bound; require epsilon<=3"),
        ("auc<=.6, bias<=0,1", "'<=0.1' with a decimal point, not a comma"),
    ],
)
def test_what_is_no_condition_is_refused_in_one_line(text, message):
    with pytest.raises(InputError, match=message) as caught:
        conditions(text)
    assert "\n" not in str(caught.value)


def test_attacks_and_measures_from_outside_are_judged_by_their_names():
    """Guards: a gate that takes no name with a colon, or judges a measure by one of two of the same short name."""
    outside = {"attacks": ["mine:confidence"], "measures": ["mine:error", "other:error"]}
    attacks = RESULT["attacks"] | {"mine:confidence": attack(0.8, 0.7, 0.9)}
    result = RESULT | {"attacks": attacks, "measures": {"mine:error": 0.1, "other:error": 0.3}}
    text = "auc_mine:confidence<=0.95, auc_mine:confidence<=0.6, error<=0.3, error<=0.2, mine:error<=0.2"
    judged = judge(conditions(text, outside), result)
    assert [judgment.verdict for judgment in judged] == ["holds", "fails", "holds", "fails", "holds"]
    assert judged[3].line == "fails        error <= 0.2: 0.3 (other:error)"
    for text in ("error<=0.3", "mine:error<=0.3", "auc_mine:confidence<=1"):  # where they were not taken
        (judgment,) = judge(conditions(text, outside), RESULT)
        assert (judgment.verdict, judgment.why) == ("cannot tell", "not measured")
    for wrong, near in (("eror<=1", "error"), ("auc_mine:confidense<=1", "auc_mine:confidence")):
        with pytest.raises(InputError, match=f"did you mean '{near}'"):
            conditions(wrong, outside)
    with pytest.raises(InputError, match="no measure is called 'error'"):
        conditions("error<=1")


@pytest.mark.parametrize(
    ("text", "groups", "says"),
    [
        ("worst_group_accuracy>=0.5", False, "not of two or more groups; worst_class_accuracy needs none"),
        ("bias<=0.1", False, "the test images are not of two or more groups"),
        ("auc_rmia<=0.6", True, "RMIA needs shadow models: require it of an audit"),
        ("tpr_at_fpr_0.01_lira<=0.1", True, "LiRA needs shadow models"),
        ("bias<=0.1, auc<=0.6, epsilon<=8, worst_class_accuracy>=0.1", True, ""),
        ("auc_threshold<=0.6, accuracy>=0.1", False, ""),
    ],
)
def test_what_no_training_measures_is_refused_before_it_begins(text, groups, says):
    """Guards: a budget that is spent on a gate which could never open."""
    if says:
        with pytest.raises(InputError, match=says):
            refuse_what_no_training_measures(conditions(text), groups=groups)
    else:
        refuse_what_no_training_measures(conditions(text), groups=groups)
