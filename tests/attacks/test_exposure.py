"""Attacks by class and group, the ceiling of a budget, and calibrated probabilities of membership."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from trilemma.attacks import (
    Predictions,
    audit,
    bootstrap_roc,
    ceiling_alarms,
    exposure,
    membership_posterior,
    rate_at,
    read_signals,
    rmia_scores,
    roc_bands,
)
from trilemma.attacks.references import References
from trilemma.attacks.reliability import _attacked, _isotonic, _pairs, reliability_of
from trilemma.cli.audit_table import attack_rows, describe_cells
from trilemma.report.audit_parts import _rates
from trilemma.statistics.intervals import binomial_interval


def shadowed(leak: float = 1.5, shadows: int = 8, each: int = 1000, seed: int = 0, uneven: float = 0.0) -> Predictions:
    """A target and shadows whose logit of the true class is higher for members, and in group 1 by ``uneven`` more."""
    rng = np.random.default_rng(seed)
    rows = 2 * each
    member, groups = np.arange(rows) < each, np.arange(rows) % 2
    labels = np.zeros(rows, dtype=np.int64)
    hard = rng.normal(size=rows)
    halves = [rng.permutation(rows) < each for _ in range(shadows // 2)]
    matrix = np.array([half ^ flip for half in halves for flip in (False, True)])

    def outputs(inside: np.ndarray) -> np.ndarray:
        logits = np.zeros((rows, 2))
        logits[:, 0] = hard + rng.normal(size=rows) + (leak + uneven * groups) * inside
        return logits

    return Predictions(
        logits=outputs(member),
        labels=labels,
        member=member,
        groups=groups,
        group_names=("gray", "colour"),
        reference_logits=np.stack([outputs(half) for half in matrix]),
        reference_member=matrix,
    )


@pytest.fixture(scope="module")
def uneven() -> tuple[Predictions, Any]:
    outputs = shadowed(leak=0.5, uneven=1.5)
    return outputs, audit(outputs, attacks=["threshold", "rmia", "lira"], resamples=200)


def test_the_more_exposed_group_is_found_and_equal_vulnerability_rejected(uneven: Any) -> None:
    outputs, result = uneven
    document = exposure(outputs, result, permutations=199)
    gray, colour = document["by_group"]["gray"]["attacks"]["rmia"], document["by_group"]["colour"]["attacks"]["rmia"]
    assert colour["auc"] > gray["auc"] + 0.1
    assert gray["interval"]["auc"][1] < colour["interval"]["auc"][0]
    assert document["by_class_and_group"]["0/colour"]["members"] == 500
    for name, part in document["by_group"].items():  # one number has one interval
        for attack, values in part["attacks"].items():
            assert values["interval"]["auc"] == result.by_group[name]["attacks"][attack]["interval"]["auc"]
    test = document["equal_vulnerability"]
    assert (test["attack"], test["cells"], test["rejected"]) == ("rmia", "class_and_group", True)
    # 1 % of all 1,000 non-members can be told, 1 % of the 500 in a cell cannot.
    assert colour["tpr_own"] is None
    assert colour["reason"] == "needs 1,000 non-members, has 500"
    low, high = colour["interval"]["tpr_global"]
    assert 0 <= low < colour["tpr_global"] < high <= 1


def test_who_would_be_accused_has_an_interval_and_stands_in_table_terminal_and_page(uneven: Any) -> None:
    """Guards: the share of a cell's non-members that are accused was in ``audit.json`` alone."""
    outputs, result = uneven
    cells = exposure(outputs, result, permutations=19)
    names = ["0"]
    document = {"cells": cells, "headline_attack": "rmia", "attacks": {}, "ceiling": None, "class_names": names}
    lines = describe_cells(document)
    rows = {name: texts for name, *texts in _rates(document, names)}
    table = attack_rows(document)
    for group, words in (("gray", "gray"), ("colour", "color")):
        values = cells["by_group"][group]["attacks"]["rmia"]
        low, high = values["interval"]["fpr_global"]
        assert low <= values["fpr_global"] < high
        assert (low, high) == pytest.approx(binomial_interval(values["fpr_global"], 500))
        said = f"which accuses {values['fpr_global']:.3f} [{low:.3f}, {high:.3f}] of its non-members"
        assert any(line.startswith(f"  {words} ") and said in line for line in lines)
        assert rows[words][0] == "needs 1,000 non-members, has 500"
        assert rows[words][2] == f"{100 * values['fpr_global']:.1f} % [{100 * low:.1f}, {100 * high:.1f}]"
        mine = table[(table["cell"] == words) & (table["attack"] == "rmia") & (table["scope"] == "group")]
        row = mine[mine["measure"] == "fpr_at_0.01_global_threshold"].iloc[0]
        assert (row["value"], row["low"], row["high"]) == (values["fpr_global"], low, high)
    # And the terminal says why there is no rate at a cell's own threshold.
    reason = "at its own threshold not measured in 2 of 2: one needs 1,000 non-members, has 500"
    assert sum(reason in line for line in lines) == 2


def test_members_and_non_members_of_cells_add_up(uneven: Any) -> None:
    outputs, result = uneven
    document = exposure(outputs, result, permutations=19)
    for kind in ("by_class", "by_group", "by_class_and_group"):
        assert sum(entry["members"] for entry in document[kind].values()) == result.members
        assert sum(entry["nonmembers"] for entry in document[kind].values()) == result.nonmembers


def test_shadow_attacks_beat_the_loss_and_the_headline_is_named_first() -> None:
    result = audit(shadowed(), resamples=50)
    assert result.headline == "rmia"
    assert result.attacks["rmia"]["auc"] > result.attacks["threshold"]["auc"] + 0.05
    assert audit(shadowed(), attacks=["threshold", "lira"], resamples=50).headline == "threshold"


def test_a_model_that_stores_its_members_is_found_out_wholly() -> None:
    """Every model is certain about its own members and about nothing else, so an attack knows everything."""
    rng = np.random.default_rng(0)
    member = np.arange(2400) < 1200
    halves = [rng.permutation(member) for _ in range(2)]
    matrix = np.array([half ^ flip for half in halves for flip in (False, True)])
    inside = np.concatenate([member[None], matrix])
    logits = np.stack([30.0 * inside, rng.normal(scale=0.3, size=inside.shape)], axis=-1)
    outputs = Predictions(
        logits=logits[0],
        labels=np.zeros(2400, int),
        member=member,
        reference_logits=logits[1:],
        reference_member=matrix,
    )
    result = audit(outputs, attacks=["threshold", "rmia", "lira", "lira-offline"], resamples=50)
    for name, entry in result.attacks.items():
        assert entry["auc"] >= 0.99, name
        assert entry["tpr_at_fpr"]["0.01"] >= 0.99, name


def test_intervals_of_a_model_that_saw_none_of_the_examples_cover_a_half() -> None:
    """120 audits of models whose "members" are drawn from examples they never saw.  At a true coverage of 95 % fewer
    than 105 cover with a probability of 0.0004; at 80 % (what learned attacks have without the factor) 0.978."""
    covered = 0
    for seed in range(120):
        outputs = shadowed(each=200, shadows=4, seed=seed)
        assert outputs.logits is not None
        assert outputs.reference_logits is not None
        assert outputs.reference_member is not None
        rows = np.flatnonzero(~outputs.member)
        member = np.random.default_rng(seed).permutation(len(rows)) < 100
        unseen = Predictions(
            logits=outputs.logits[rows],
            labels=outputs.labels[rows],
            member=member,
            reference_logits=outputs.reference_logits[:, rows],
            reference_member=outputs.reference_member[:, rows],
        )
        scores = rmia_scores_of(unseen)
        low, high = bootstrap_roc(scores, member, seed=seed, resamples=300).auc_interval()
        covered += low <= 0.5 <= high
    assert covered >= 105


def rmia_scores_of(outputs: Predictions) -> np.ndarray:
    references = References.of(outputs)
    return rmia_scores(
        read_signals(outputs).confidence, references.confidence, references.online_member("rmia"), ~outputs.member
    )


def test_the_strongest_attacks_interval_is_over_the_choice() -> None:
    """Five attacks on noise: the one with the largest |AUC - 1/2| looks away from 1/2, and so does its own interval;
    the interval over the choice covers every attack's range of draws that was chosen."""
    rng = np.random.default_rng(1)
    outputs = Predictions(logits=rng.normal(size=(300, 3)), labels=np.zeros(300, int), member=np.arange(300) < 150)
    result = audit(outputs, resamples=400)
    low, high = result.strongest_interval
    chosen = [max((float(roc.draws.auc[sample]) for roc in result.rocs.values()), key=lambda auc: abs(auc - 0.5))
              for sample in range(400)]  # fmt: skip
    assert (low, high) == pytest.approx(tuple(np.quantile(chosen, [0.025, 0.975])))
    single = audit(outputs, attacks=["threshold"], resamples=400)
    assert single.strongest_interval == pytest.approx(single.rocs["threshold"].auc_interval())


def test_bands_are_the_rates_at_each_point() -> None:
    outputs = shadowed()
    result = audit(outputs, attacks=["threshold", "rmia", "rf"], resamples=20)
    bands = roc_bands(outputs, result)
    assert list(bands["attacks"]) == ["rmia", "threshold"]
    assert bands["fpr"][0] == pytest.approx(0.01)  # 10 of 1,000
    rate = rate_at(result.scores["rmia"], outputs.member, bands["fpr"][5])
    curve = bands["attacks"]["rmia"]
    assert (curve["tpr"][5], curve["low"][5], curve["high"][5]) == (rate.value, *rate.interval)  # type: ignore[misc]
    assert all(low <= value <= high for low, value, high in zip(*(curve[end] for end in ("low", "tpr", "high")),
                                                                strict=True))  # fmt: skip


def test_bands_begin_at_a_rate_that_weighted_non_members_allow() -> None:
    rng = np.random.default_rng(0)
    weights = np.r_[np.ones(200), rng.uniform(0.5, 1.5, 200)]
    outputs = Predictions(
        logits=rng.normal(size=(400, 3)), labels=np.zeros(400, int), member=np.arange(400) < 200, weights=weights
    )
    result = audit(outputs, attacks=["threshold"], resamples=20)
    assert result.effective_nonmembers % 1 > 0.01
    bands = roc_bands(outputs, result)
    assert bands["fpr"][0] == pytest.approx(10 / np.floor(result.effective_nonmembers))
    assert None not in bands["attacks"]["threshold"]["tpr"]


def test_learned_attacks_have_intervals_root_two_wider() -> None:
    rng = np.random.default_rng(0)
    outputs = Predictions(logits=rng.normal(size=(400, 3)), labels=np.zeros(400, int), member=np.arange(400) < 200)
    result = audit(outputs, attacks=["threshold", "rf"], resamples=1000)
    widths = {name: np.subtract(*entry["interval"]["auc"][::-1]) for name, entry in result.attacks.items()}
    # Both are AUCs of 200 + 200 rows near 1/2, so that the bootstrap's own widths are alike.
    assert widths["rf"] / widths["threshold"] == pytest.approx(np.sqrt(2), rel=0.12)


def test_cells_of_learned_attacks_have_intervals_root_two_wider_at_the_threshold_of_all() -> None:
    rng = np.random.default_rng(0)
    outputs = Predictions(
        logits=rng.normal(size=(4000, 2)), labels=rng.integers(0, 2, 4000), member=np.arange(4000) < 2000
    )
    result = audit(outputs, attacks=["threshold", "rf"], resamples=20)
    cell = exposure(outputs, result, permutations=19)["by_class"]["0"]
    for attack, factor in (("threshold", 1.0), ("rf", np.sqrt(2))):
        value, ends = cell["attacks"][attack]["tpr_global"], cell["attacks"][attack]["interval"]["tpr_global"]
        low, high = (value + factor * (end - value) for end in binomial_interval(value, cell["members"]))
        assert ends == pytest.approx([max(0.0, low), min(1.0, high)])


def test_probabilities_of_shadow_attacks_hold() -> None:
    outputs = shadowed(each=2000)
    result = audit(outputs, attacks=["rmia", "lira"], resamples=20)
    assert set(result.probabilities) == set(result.reliability) == {"rmia", "lira"}
    assert result.probability_reason == {}
    for values in result.probabilities.values():
        assert ((values > 0) & (values < 1)).all()
        assert values[outputs.member].mean() > values[~outputs.member].mean() + 0.1
        # The target was used neither for the fit nor for the curve; 0.035 is four standard errors of a bin's share.
        curve = reliability_of(values, outputs.member, 1)
        assert np.abs(curve.predicted - curve.observed).mean() < 0.06
    for attack in ("rmia", "lira"):
        assert result.reliability[attack].error < 0.02  # 16,000 attacked examples
        assert result.reliability[attack].counts.sum() == 4 * 4000


def test_the_probability_of_lira_with_few_shadows_is_no_surer_than_it_may_be() -> None:
    """Guards: with six shadows the plain posterior says 0.99 of examples four in five of which are members."""
    outputs = shadowed(leak=0.5, each=2000, shadows=6)
    result = audit(outputs, attacks=["rmia", "lira"], resamples=20)
    plain = membership_posterior(result.scores["lira"])
    assert reliability_of(plain, outputs.member, 1).error > 0.06
    assert reliability_of(result.probabilities["lira"], outputs.member, 1).error < 0.035
    # A ranking stays as it is: probabilities ascend with the scores.
    order = np.argsort(result.scores["lira"])
    assert (np.diff(result.probabilities["lira"][order]) >= 0).all()


def test_a_probability_that_was_not_checked_is_not_given() -> None:
    """Guards: LiRA's posterior of four shadows, which no shadow could check, was printed as 100 %."""
    result = audit(shadowed(each=50, shadows=4), attacks=["rmia", "lira"], resamples=20)
    assert set(result.probabilities) == set(result.reliability) == {"rmia"}
    assert result.probability_reason == {"lira": "needs 6 shadow models, has 4"}
    result = audit(shadowed(each=50, shadows=2), attacks=["rmia"], resamples=20)
    assert result.probabilities == {}
    assert result.probability_reason == {"rmia": "needs 4 shadow models, has 2"}


@pytest.mark.parametrize("attack", ["rmia", "lira"])
@pytest.mark.parametrize("each", [20, 50])
def test_no_probability_says_more_than_its_rows_can_show(attack: str, each: int) -> None:
    """A model that stores its members: n rows, all members, show (n + 1) / (n + 2)."""
    outputs = shadowed(leak=60.0, each=each)
    values = audit(outputs, attacks=[attack], resamples=20).probabilities[attack]
    rows = 8 * each  # of members, in all attacked shadows
    assert values.max() == pytest.approx((rows + 1) / (rows + 2), abs=2 / rows)
    assert values.max() <= (rows + 1) / (rows + 2)
    assert values.min() >= 1 / (rows + 2)


def test_a_few_rows_at_the_top_do_not_show_certainty() -> None:
    """Guards: the highest block of an isotonic regression holds three rows, all members, and says 100 %."""
    rng = np.random.default_rng(0)
    scores = np.r_[rng.normal(size=1000), 10.0, 11.0, 12.0]
    member = np.r_[rng.random(1000) < 0.5, True, True, True]
    probability = _isotonic([(scores, member)])
    highest, lowest = probability(np.array([1e60, -1e60]))
    # Three rows show 4/5, and the prior of 1/2 weighs a member a little less than another.
    assert 0.5 < highest < 0.81
    assert lowest > 0.1
    assert (np.diff(probability(np.linspace(-4, 14, 200))) >= 0).all()


def test_a_model_trained_on_all_or_none_of_the_rows_is_left_out_of_the_calibration() -> None:
    """Guards: it has no non-members to be compared with, which ended in a traceback."""
    outputs = shadowed(each=100, shadows=8)
    assert outputs.reference_member is not None
    for value in (True, False):
        matrix = outputs.reference_member.copy()
        matrix[0] = value
        result = audit(replace(outputs, reference_member=matrix), attacks=["rmia", "lira"], resamples=20)
        for attack in ("rmia", "lira"):
            assert result.reliability[attack].left_out == 1
            assert np.isfinite(result.probabilities[attack]).all()


def test_a_pair_is_on_one_side_wherever_it_lies() -> None:
    """A shadow's complement knows its members: it must not be fitted where the other is checked."""
    outputs = shadowed(each=50, shadows=8)
    order = [0, 2, 4, 6, 1, 3, 5, 7]
    shuffled = replace(
        outputs,
        reference_logits=outputs.reference_logits[order],  # type: ignore[index]
        reference_member=outputs.reference_member[order],  # type: ignore[index]
    )
    references = References.of(shuffled)
    attacked = {shadow: (np.full(1, float(shadow)), np.ones(1, bool)) for shadow in range(8)}
    assert references.member is not None
    sides = [sorted(int(scores[0]) for scores, _ in pair) for pair in _pairs(references.member, attacked)]
    assert sides == [[0, 4], [1, 5], [2, 6], [3, 7]]


def test_a_shadow_is_attacked_without_its_complement() -> None:
    """A target has no complement: its members are not for that reason outside of another model."""
    references = References.of(shadowed(each=50, shadows=6))
    used = {}

    def score(_: References, shadow: int, others: np.ndarray) -> np.ndarray:
        used[shadow] = set(np.flatnonzero(others))
        return np.zeros(100)

    _attacked(references, 2, score)
    assert used == {shadow: set(range(6)) - {shadow, shadow ^ 1} for shadow in range(6)}


def test_reliability_is_in_bins_of_equal_size() -> None:
    predicted = np.random.default_rng(0).permutation(100) / 100
    curve = reliability_of(predicted, np.arange(100) % 50 < 10, 1)
    assert curve.counts.tolist() == [10] * 10
    assert curve.predicted == pytest.approx(np.arange(10) / 10 + 0.045)
    assert curve.error == pytest.approx(np.average(np.abs(curve.predicted - curve.observed)))


def test_equal_probabilities_are_in_one_bin() -> None:
    """Guards: a stable sort fills bins in the rows' order, and the error of one half of them depends on it."""
    predicted, member = np.repeat([0.2, 0.5, 0.8], [45, 10, 45]), np.arange(100) % 45 < 9
    curve = reliability_of(predicted, member, 1)
    assert curve.counts.tolist() == [45, 10, 45]
    assert curve.predicted.tolist() == pytest.approx([0.2, 0.5, 0.8])
    for seed in range(5):
        order = np.random.default_rng(seed).permutation(100)
        assert reliability_of(predicted[order], member[order], 1).error == pytest.approx(curve.error, abs=1e-12)


def test_an_alarm_is_an_interval_above_the_ceiling() -> None:
    result = audit(shadowed(), attacks=["threshold", "rmia"], resamples=100)
    low = result.attacks["rmia"]["interval"]["auc"][0]
    bounds = {"auc": low - 0.01, "advantage": 1.0, "tpr_at_fpr": {"0.01": 1.0, "0.001": 0.0}}
    alarms = ceiling_alarms(result.attacks, bounds)
    assert {(alarm["attack"], alarm["measure"]) for alarm in alarms} == {("rmia", "auc")}
    assert ceiling_alarms(result.attacks, bounds | {"auc": low}) == []
    assert ceiling_alarms(result.attacks, None) == []


@pytest.mark.parametrize("hits", [0, 1, 20, 99, 100])
def test_binomial_intervals_are_those_of_scipy(hits: int) -> None:
    from scipy.stats import binomtest

    expected = binomtest(hits, 100).proportion_ci(0.95, "exact")
    assert binomial_interval(hits / 100, 100) == pytest.approx((expected.low, expected.high))
