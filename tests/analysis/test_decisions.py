"""A verdict says no more than was measured: what every decided claim quotes, over made-up studies of all kinds."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import ttest_rel

from made_up_study import ALL, Study
from trilemma.analysis.claims import claims
from trilemma.analysis.claims.claim import Claim
from trilemma.report.headlines import _of_claim
from trilemma.words import signed_number

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
MIXES, EPSILONS, SKEWS = ("bl", "gn", "gn+ws", ALL), (math.inf, 8.0, 4.0, 1.0), (None, 0.75, 0.95)


@st.composite
def studies(draw):
    """A study of any of these conditions, with effects, noise and seeds of any size, and parts that are missing."""
    study = Study("drawn", seeds=range(draw(st.integers(1, 5))), noise=draw(st.sampled_from([0.0005, 0.003, 0.02])))
    level = st.sampled_from([0.40, 0.45, 0.50, 0.52, 0.60, 0.61])

    def measures(*names):
        return {name: draw(level) for name in names}

    for mix in draw(st.sets(st.sampled_from(MIXES), min_size=1)):
        for epsilon in draw(st.sets(st.sampled_from(EPSILONS), min_size=1, max_size=3)):
            study.add(measures("accuracy", "bias", "auc_threshold", "auc_strongest"), techniques=mix, epsilon=epsilon)
    for skew in draw(st.sets(st.sampled_from(SKEWS), max_size=3)):
        columns = {} if skew is None else {"data": "cifar10s", "skew": skew}
        names = ["accuracy", "auc_threshold", *(["auc_threshold_naive", "bias"] if skew else [])]
        study.add(measures(*names), examples=3000, **columns)
    rank = draw(st.sampled_from(["rmia", "histogram"]))
    for arm in draw(st.sets(st.sampled_from(["", "exposed", "random"]))):
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


def test_a_decided_claim_holds_of_the_numbers_that_it_quotes() -> None:
    """Guards: verdicts from part of the techniques, from two seeds, from another test set, from an AUC that nears ½,
    and a first screen that quotes another difference than the one that was judged."""
    decided = set()

    @settings(max_examples=25, deadline=None, derandomize=True)
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
                numbers = [signed_number(n) for n in (largest.difference, largest.low, largest.high)]
                assert "{} [{}, {}]".format(*numbers) in headline.text
                assert ("up to" in headline.text) == (len(agree) > 1), "the largest of several is said to be so"

    holds()
    assert {name for name, _ in decided} >= {"techniques-accuracy", "budget-auc", "removal-accuracy", "skew-bias"}
    assert {verdict for _, verdict in decided} == {"confirmed", "contradicted"}
