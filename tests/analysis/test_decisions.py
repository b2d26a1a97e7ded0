"""A verdict says no more than was measured: what every decided claim quotes, over made-up studies of all kinds."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from scipy.stats import ttest_rel

from made_up_study import ALL, Study
from trilemma.analysis.claims import claims
from trilemma.analysis.claims.claim import Claim
from trilemma.measures import number_words
from trilemma.report.headlines import _of_claim

CONFIRMS = {
    "techniques-accuracy": +1,
    "techniques-bias-private": +1,
    "techniques-bias-ordinary": +1,
    "skew-accuracy": -1,
    "skew-auc-naive": +1,
    "skew-auc-matched": +1,
    "skew-bias": +1,
    "removal-accuracy": -1,
    "removal-bias": +1,
    "removal-accuracy-histogram": -1,
    "removal-bias-histogram": +1,
    "naive-artefact": +1,
    "budget-auc": -1,
}
"""The direction that a claim names, by its name."""

SKEWED = {"data": "cifar10s", "skew": 0.95}
MIXES = (("bl", ALL), ("bl", ALL, "gn"), ("bl", "gn"), ("bl", "gn", "gn+ws"), ("bl", "obs", "obs+gn"), ("gn", ALL))
EPSILONS, SKEWS = (8.0, 4.0, 1.0), ((), (None, 0.95), (0.75, 0.95), (None, 0.75, 0.95))


@st.composite
def studies(draw):
    """A study of any of these conditions, with effects, noise and seeds of any size, and parts that are missing."""
    study = Study(
        "drawn",
        seeds=range(draw(st.sampled_from([1, 2, 3, 4, 5, 6]))),
        noise=draw(st.sampled_from([0.0005, 0.001, 0.02])),
    )
    level = st.sampled_from([0.40, 0.45, 0.50, 0.60, 0.61])

    def measures(*names):
        return {name: draw(level) for name in names}

    def mostly(everything):
        """All of some conditions in most studies, and some of them in the others."""
        return everything if draw(st.integers(0, 3)) else draw(st.lists(st.sampled_from(everything), unique=True))

    for mix in draw(st.sampled_from(MIXES)):
        for epsilon in mostly((math.inf, draw(st.sampled_from(EPSILONS)))):
            study.add(measures("accuracy", "bias", "auc_threshold", "auc_strongest"), techniques=mix, epsilon=epsilon)
    for skew in draw(st.sampled_from(SKEWS)):
        columns = {} if skew is None else {"data": "cifar10s", "skew": skew}
        names = ["accuracy", "auc_threshold", *(["auc_threshold_naive", "bias"] if skew else [])]
        study.add(measures(*names), examples=3000, **columns)
    study.add({"seconds": 3.0}, examples=10)
    rank = draw(st.sampled_from(["rmia", "histogram"]))
    for arm in mostly(("", "exposed", "random")):
        columns = {"removed": 0.1, "removal": arm, "rank": rank, "examples": 3600} if arm else {"examples": 4000}
        study.add(measures("accuracy", "bias"), model="convnet-8", **columns)
    return study


def values_of(finding, measure, role):
    """By seed, what the evidence of a finding holds of one side of a difference."""
    # Without skew the unmatched AUC is the matched one, and has its name.
    names = (measure, measure.removesuffix("_naive"))
    entry = next(e for name in names for e in finding.evidence if (e["measure"], e["role"]) == (name, role))
    return dict(zip(entry["seeds"], entry["values"], strict=True))


def assert_holds(claim: Claim, finding) -> None:
    """The first difference that a decided finding quotes is the one that its verdict takes."""
    change = finding.changes[0]
    sign = CONFIRMS[claim.name] * (1 if finding.verdict == "confirmed" else -1)
    first, second = (values_of(finding, change.measure, role) for role in (change.change, change.base))
    assert first.keys() == second.keys()
    assert len(first) == change.seeds >= 3
    differences = np.array([first[seed] - second[seed] for seed in first])
    assert change.difference == pytest.approx(differences.mean())
    if claim.name != "naive-artefact" or finding.verdict == "confirmed":
        assert (sign * differences > 0).all()
        assert min(sign * change.low, sign * change.high) > 0, "an interval with 0 is quoted beside a verdict"
        assert change.reason == ""
        for seed in first:
            rest = [s for s in first if s != seed]
            p = ttest_rel([first[s] for s in rest], [second[s] for s in rest]).pvalue
            assert p < 0.05, "the verdict rests on one seed"
    if change.measure.startswith("auc_") and claim.name != "naive-artefact":
        nearer = np.mean([abs(v - 0.5) for v in second.values()]) - np.mean([abs(v - 0.5) for v in first.values()])
        assert sign * nearer < 0, "stronger, and nearer to guessing"


def assert_complete(claim: Claim, finding, results) -> None:
    """Everything that the statement is about was trained."""
    cells = results.drop_duplicates("cell").set_index("cell").loc[[entry["cell"] for entry in finding.evidence]]
    if claim.name.startswith("techniques"):
        assert set(cells["techniques"]) == {ALL, "bl"}
        assert set(np.isinf(cells["epsilon"])) == {claim.name.endswith("ordinary")}
    elif claim.name.startswith("budget"):
        assert set(np.isinf(cells["epsilon"])) == {True, False}
    elif claim.name in ("skew-accuracy", "skew-bias"):
        assert cells["skew"].notna().all(), "two test sets are compared"
    elif claim.name.startswith("removal"):
        assert set(cells["removal"]) == {"", "exposed", "random"}
        by_histogram = (cells["rank"][cells["removal"] != ""] == "histogram").all()
        assert by_histogram == claim.name.endswith("histogram")
        words = f"{claim.statement} {finding.sentence}"
        assert not by_histogram or not any(word in words.split(";")[0] for word in ("exposed", "exposure", "cause"))


def claim(study: Study, name: str, document=None) -> Claim:
    return next(claim for claim in claims(study.frame(), document) if claim.name == name)


@pytest.mark.parametrize("mixes", [("bl", "gn"), ("bl", "gn", "gn+ws"), ("bl", "obs", "obs+gn")])
def test_some_of_the_techniques_are_not_its_techniques_together(mixes) -> None:
    """Guards: "its techniques together raise accuracy", confirmed by one technique."""
    study = Study(seeds=range(5))
    for place, mix in enumerate(mixes):
        study.add({"accuracy": 0.5 + 0.1 * place, "bias": 0.1 + 0.1 * place}, epsilon=8.0, techniques=mix)
    for name in ("techniques-accuracy", "techniques-bias-private"):
        assert claim(study, name).verdict == "not measured"
    assert "all 6 of the paper's techniques" in claim(study, "techniques-accuracy").sentence


def test_all_that_apply_to_a_linear_model_are_together_without_those_that_do_not() -> None:
    study = Study(seeds=range(5))
    for mix, accuracy in (("bl", 0.5), ("obs", 0.7), ("obs+am+pa+sat", 0.6)):
        study.add({"accuracy": accuracy}, epsilon=8.0, techniques=mix, model="prior-s")
    judged = claim(study, "techniques-accuracy")
    assert (judged.verdict, len(judged.findings)) == ("confirmed", 1)
    assert "OBS+AM+PA+SAT raises accuracy by 0.1" in judged.sentence
    assert judged.sentence.endswith("; GN and WS do not apply to prior-s.")


def test_a_removal_by_the_loss_histogram_says_nothing_of_exposure() -> None:
    """Guards: "so the cause is exposure" of a ranking that does not measure it."""
    study = Study(seeds=range(5))
    study.add({"accuracy": 0.60})
    for arm, accuracy in (("exposed", 0.50), ("random", 0.58)):
        values = {"accuracy": accuracy, "exposed_survivors": 0.9 if arm == "exposed" else 0.1}
        values["exposed_survivors_before"] = 0.1
        study.add(values, removed=0.3, removal=arm, rank="histogram", examples=1400)
    judged = claim(study, "removal-accuracy-histogram")
    assert judged.verdict == "confirmed"
    assert judged.statement.startswith(
        "the paper says that removing the examples that the loss histogram ranks highest lowers accuracy; "
    )
    assert judged.statement.endswith("which this ranking does not measure")
    assert not any(word in judged.sentence for word in ("expos", "cause"))
    for name in ("removal-accuracy", "onion"):
        assert claim(study, name).verdict == "not measured"


@pytest.mark.parametrize(
    ("accuracies", "expected"),
    [
        ([0.790, 0.7925, 0.800, 0.785], "cannot tell"),
        ([0.815, 0.790], "cannot tell"),
        ([0.775, 0.792, 0.8105], "cannot tell"),
        ([0.815, 0.816], "cannot tell"),
        ([0.8115, 0.8105, 0.8110, 0.8112, 0.8109], "confirmed"),
        ([0.780, 0.781, 0.779, 0.780], "contradicted"),
    ],
)
def test_the_papers_accuracy_is_reached_by_a_mean_that_is_shown_to_be_there(accuracies, expected) -> None:
    """Guards: "CIFAR-10 reaches 81.11 %", confirmed by 79.2 %, or by an interval so wide that it holds everything."""
    study = Study("h", seeds=range(len(accuracies)))
    study.add({"accuracy": accuracies}, techniques=ALL, epsilon=8.0, examples=50_000, model="wrn-16-4")
    trials = list(study.frame()["trial"])
    judged = claim(study, "headline-accuracy", {"studies": {"h": {"scale": "paper", "trials": trials}}, "trials": {}})
    assert judged.verdict == expected
    headline = _of_claim(judged)
    assert headline is not None
    assert f"accuracy {np.mean(accuracies):.4f}" in headline.text, "a verdict stands beside its number"
    assert all(0 <= float(end) <= 1 for ends in re.findall(r"\[(.*?)\]", judged.sentence) for end in ends.split(", "))


def test_the_first_screen_quotes_the_difference_that_made_the_verdict() -> None:
    """Guards: "-0.042 [-0.116, +0.033]: confirmed", of another pair than the one that was judged."""
    study = Study("b", seeds=range(5), noise=0.0005)
    study.add({"auc_threshold": [0.60, 0.47, 0.62, 0.48, 0.59]})
    study.add({"auc_threshold": [0.60, 0.595, 0.61, 0.60, 0.595]}, epsilon=8.0)
    study.add({"auc_threshold": [0.51, 0.511, 0.509, 0.512, 0.51]}, epsilon=1.0)
    judged = claim(study, "budget-auc")
    headline = _of_claim(judged)
    assert judged.verdict == "cannot tell", "the budget and none do not differ beyond noise"
    assert headline is not None
    assert headline.text.endswith("cannot tell, since the interval contains 0.")


def test_a_small_difference_is_not_rounded_to_none_on_the_first_screen() -> None:
    """Guards: "+0.000 [+0.000, +0.000]: confirmed"."""
    study = Study("t", seeds=range(5))
    shift = np.array([0.0, 0.01, -0.01, 0.02, 0.005])
    study.add({"accuracy": (0.5 + shift).tolist()}, epsilon=8.0)
    gains = np.array([0.0004, 0.00041, 0.00039, 0.0004, 0.00042])
    study.add({"accuracy": (0.5 + shift + gains).tolist()}, epsilon=8.0, techniques=ALL)
    headline = _of_claim(claim(study, "techniques-accuracy"))
    assert headline is not None
    assert "by +0.0004 [+0.0004, +0.0004] (" in headline.text
    assert headline.text.endswith(": confirmed.")


def test_an_auc_that_rises_to_one_half_is_no_stronger_attack() -> None:
    study = Study("s", seeds=range(4))
    study.add({"auc_threshold": 0.44, "auc_threshold_naive": 0.45})
    study.add({"auc_threshold": 0.50, "auc_threshold_naive": 0.51}, **SKEWED)
    for name in ("skew-auc-matched", "skew-auc-naive"):
        assert claim(study, name).verdict == "cannot tell"
        assert "its distance from ½ is not shown to change the same way" in claim(study, name).sentence


def test_a_trend_that_one_budget_makes_is_none() -> None:
    study = Study("b", seeds=range(5), noise=0.0005)
    for epsilon, auc in ((1.0, 0.51), (2.0, 0.51), (4.0, 0.51), (8.0, 0.60)):
        study.add({"auc_threshold": auc}, epsilon=epsilon)
    assert claim(study, "budget-trend").verdict == "cannot tell"


def test_the_largest_of_several_settings_is_named_and_said_to_be_the_largest() -> None:
    """Guards: the largest difference of several settings, told as that of the study."""
    study = Study("t", seeds=range(5))
    for epsilon, gain in ((8.0, 0.05), (1.0, 0.2)):
        for mix in ("bl", ALL):
            study.add({"accuracy": 0.5 + gain * (mix == ALL)}, epsilon=epsilon, techniques=mix)
    headline = _of_claim(claim(study, "techniques-accuracy"))
    assert headline is not None
    assert re.search(r"change accuracy by up to \+0\.2", headline.text)
    assert "(cifar10, ε = 1, the largest of 2 settings): confirmed in 2 of 2 settings." in headline.text


def test_a_decided_claim_holds_of_the_numbers_that_it_quotes() -> None:
    """Guards: verdicts from part of the techniques, from two seeds, from another test set, from an AUC that nears ½,
    and a first screen that quotes another difference than the one that was judged."""
    decided = set()

    @settings(max_examples=20, deadline=None, derandomize=True, phases=[Phase.generate])  # shrinking takes minutes
    @given(studies())
    def holds(study):
        results = study.frame()
        for claim in claims(results):
            for finding in claim.findings:
                assert (finding.reason == "") == (finding.verdict != "cannot tell")
                if finding.verdict == "cannot tell" or claim.name not in CONFIRMS:
                    continue
                decided.add((claim.name, finding.verdict))
                assert_holds(claim, finding)
                assert_complete(claim, finding, results)
            headline = _of_claim(claim) if claim.lead and claim.verdict in ("confirmed", "contradicted") else None
            if headline is not None:
                agree = [f.changes[0] for f in claim.findings if f.verdict == claim.verdict]
                largest = max(agree, key=lambda change: abs(change.difference))
                numbers = [
                    number_words(n, largest.measure, signed=True)
                    for n in (largest.difference, largest.low, largest.high)
                ]
                assert "{} [{}, {}]".format(*numbers) in headline.text
                assert ("up to" in headline.text) == (len(agree) > 1), "the largest of several is said to be so"

    holds()
    assert {name for name, _ in decided} >= {"techniques-accuracy", "budget-auc", "removal-accuracy", "skew-bias"}
    assert {verdict for _, verdict in decided} == {"confirmed", "contradicted"}
