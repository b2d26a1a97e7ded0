"""An audit has the right numbers in the right places, and a negative control that can fail."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
import types
from typing import Any

import numpy as np
import pytest
import torch

from trilemma.attacks import (
    Predictions,
    audit,
    match_predictions,
    measure,
    membership_probability,
    null_check,
    read_signals,
)
from trilemma.attacks.named import SCORES
from trilemma.errors import InputError
from trilemma.measures import RUN_ATTACKS
from trilemma.trial.measure import own_measure

THRESHOLDS = ("threshold", "threshold-entropy")


def predictions(leak: float = 1.0, rows: int = 800, seed: int = 0, **changes: Any) -> Predictions:
    rng = np.random.default_rng(seed)
    labels, member = rng.integers(0, 3, rows), np.arange(rows) < rows // 2
    logits = rng.normal(size=(rows, 3))
    logits[np.arange(rows), labels] += 1 + leak * member
    fields: dict[str, Any] = {"logits": logits, "labels": labels, "member": member, **changes}
    return Predictions(**fields)


def shifted(rows: int = 2000) -> Predictions:
    """There is no memorization, but members are mostly of the group that is easy for the model, and non-members of both
    equally."""
    rng = np.random.default_rng(0)
    member = np.arange(rows) < rows // 2
    groups = np.where(rng.random(rows) < np.where(member, 0.9, 0.5), 1, 0)
    logits = rng.normal(size=(rows, 2))
    labels = np.arange(rows) % 2
    logits[np.arange(rows), labels] += 3 * groups
    return Predictions(logits=logits, labels=labels, member=member, groups=groups, group_names=("gray", "colour"))


def test_all_four_attacks_and_the_contract() -> None:
    outputs = predictions(groups=np.arange(800) % 2, group_names=("gray", "colour"))
    steps = []
    audited = audit(outputs, resamples=60, progress=lambda *step: steps.append(step))
    assert list(audited.attacks) == list(RUN_ATTACKS)
    for name, result in audited.attacks.items():
        assert set(result) == {"auc", "advantage", "tpr_at_fpr", "tpr_reason", "interval"}  # 400 non-members
        assert result["auc"] == pytest.approx(float(measure(audited.scores[name], outputs.member).auc))
        assert result["auc"] > 0.6
    assert list(audited.by_class) == ["0", "1", "2"]
    assert audited.by_group is not None
    assert list(audited.by_group) == ["gray", "colour"]
    gray = np.arange(800) % 2 == 0
    part = audited.by_group["gray"]
    assert (part["members"], part["nonmembers"]) == (200, 200)
    expected = measure(audited.scores["rf"][gray], outputs.member[gray]).auc
    assert part["attacks"]["rf"]["auc"] == pytest.approx(float(expected))
    low, high = part["attacks"]["rf"]["interval"]["auc"]
    assert low < expected < high
    assert (audited.members, audited.nonmembers) == (400, 400)
    np.testing.assert_array_equal(
        audited.membership_probability, membership_probability(audited.signals.loss, outputs.member)
    )
    assert audited.auc == max(result["auc"] for result in audited.attacks.values())
    assert [step[0] for step in steps][-1] == "done"
    assert [step[1] for step in steps] == list(range(len(RUN_ATTACKS) + 2))
    json.dumps([audited.attacks, audited.by_class, audited.by_group], allow_nan=False)


def test_the_strongest_may_be_below_a_half() -> None:
    audited = audit(predictions(leak=-1.5), attacks=THRESHOLDS, resamples=20)
    assert audited.auc < 0.4
    assert abs(audited.auc - 0.5) == max(abs(result["auc"] - 0.5) for result in audited.attacks.values())


def test_an_audit_is_its_seed() -> None:
    outputs = predictions(rows=200)
    some = ("threshold", "rf")
    first, same, other = (audit(outputs, attacks=some, resamples=20, seed=seed) for seed in (0, 0, 1))
    assert first.attacks == same.attacks
    assert first.by_class == same.by_class
    assert first.attacks != other.attacks
    # One attack alone gives what it gives among the others.
    assert audit(outputs, attacks=["rf"], resamples=20).attacks["rf"] == first.attacks["rf"]


def test_too_few_is_said() -> None:
    labels = np.zeros(800, dtype=int)
    labels[:60] = 1
    labels[790:] = 1
    result = audit(predictions(labels=labels), attacks=THRESHOLDS, resamples=20)
    assert result.by_class["1"] == {"members": 60, "nonmembers": 10, "too_few": True}
    assert result.by_class["2"] == {"members": 0, "nonmembers": 0, "too_few": True}
    assert "attacks" in result.by_class["0"]


def test_rows_without_weight_count_nowhere() -> None:
    outputs = predictions()
    drop = np.arange(800) % 4 == 0
    weights = np.where(drop, 0.0, 1.0)
    assert outputs.logits is not None
    spoiled = np.where(drop[:, None], 50 * np.eye(3)[outputs.labels], outputs.logits)
    fields = {"labels": outputs.labels, "member": outputs.member}
    result = audit(Predictions(logits=spoiled, weights=weights, **fields), attacks=THRESHOLDS, resamples=20)
    subset = audit(
        Predictions(logits=outputs.logits[~drop], **{n: v[~drop] for n, v in fields.items()}),
        attacks=THRESHOLDS,
        resamples=20,
    )
    for name in THRESHOLDS:
        assert result.attacks[name]["auc"] == pytest.approx(subset.attacks[name]["auc"])
    assert (result.members, result.nonmembers) == (300, 300)
    assert len(result.signals) == len(result.membership_probability) == 800
    assert result.by_class["0"]["members"] == subset.by_class["0"]["members"]


@pytest.mark.parametrize("attack", ["threshold", "mlp", "rf"])
def test_matching_takes_the_shift_out(attack: str) -> None:
    # The shift alone gives an AUC of about 0.7; matched, the truth is 1/2, with a deviation of about 0.016.
    outputs = shifted()
    naive = audit(outputs, attacks=[attack], resamples=20)
    matched = audit(outputs, attacks=[attack], match="class,group", resamples=20)
    assert naive.auc > 0.62
    assert matched.auc == pytest.approx(0.5, abs=0.07)
    assert matched.match is not None
    assert not matched.match.trivial


def test_the_check_fails_on_a_shift_and_passes_without() -> None:
    failed = null_check(audit(shifted(), attacks=THRESHOLDS))
    assert not failed.passed
    assert failed.level == pytest.approx(0.975)
    assert not any(low <= 0.5 <= high for low, high in failed.intervals.values())
    assert null_check(audit(shifted(), attacks=THRESHOLDS, match="class,group")).passed
    assert not null_check(audit(predictions(leak=0.5), attacks=THRESHOLDS)).passed


def test_the_check_raises_few_false_alarms() -> None:
    # 150 audits without a leak: at most 5 % fail, so 7.5; more than 20 have a probability of 2e-5.
    alarms = sum(
        not null_check(audit(predictions(0.0, 240, seed), attacks=THRESHOLDS, resamples=200)).passed
        for seed in range(150)
    )
    assert alarms <= 20


def test_the_check_needs_resamples_for_its_level() -> None:
    result = audit(predictions(), attacks=THRESHOLDS, resamples=50)
    with pytest.raises(InputError, match="at least 80"):
        null_check(result)
    with pytest.raises(InputError, match="false_alarm"):
        null_check(result, false_alarm=0)


def test_matching_keeps_the_rows_and_weighs_them() -> None:
    # 20 pictures tested in both groups: of each pair one copy counts.
    member = np.arange(100) < 60
    groups = np.r_[np.repeat([0, 1], [45, 15]), np.tile([0, 1], 20)]
    sources = np.r_[np.arange(60), np.repeat(np.arange(20), 2)]
    outputs = Predictions(
        logits=np.zeros((100, 2)), labels=np.zeros(100, int), member=member, groups=groups, sources=sources
    )
    weighted, match = match_predictions(outputs)
    assert weighted.weights is not None
    assert len(weighted) == 100
    assert weighted.weights[:60].tolist() == [1.0] * 60
    counted = weighted.weights[60:] > 0
    assert counted.reshape(20, 2).sum(axis=1).tolist() == [1] * 20
    assert groups[60:][counted].tolist().count(0) == 15
    np.testing.assert_array_equal(np.flatnonzero(counted), match.indices)


def test_members_without_counterpart_are_left_out() -> None:
    outputs = predictions(labels=np.where(np.arange(800) < 100, 2, np.arange(800) % 2))
    weighted, match = match_predictions(outputs, "class")
    assert weighted.weights is not None
    assert (weighted.weights[:100] == 0).all()
    assert match.uncovered_cells == ((2, -1),)
    assert match.uncovered == pytest.approx(0.25)


def test_equal_mixes_need_no_weights() -> None:
    outputs = predictions(labels=np.arange(800) % 2)
    weighted, match = match_predictions(outputs, "class")
    assert match.trivial
    assert weighted is outputs


@pytest.mark.parametrize(
    ("changes", "options", "message"),
    [
        ({}, {"attacks": ["lire"]}, "unknown attack lire: choose from threshold"),
        ({}, {"attacks": []}, "none given"),
        ({}, {"attacks": ["rmia"]}, "reference_logits"),
        ({}, {"match": "class,group"}, "needs groups"),
        ({}, {"match": "group"}, "class or class,group"),
        ({"weights": np.ones(800)}, {"match": "class"}, "one of the two"),
        ({}, {"resamples": 1}, "resamples"),
    ],
)
def test_bad_input_is_refused(changes: dict[str, Any], options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        audit(predictions(**changes), **{"attacks": THRESHOLDS, **options})


def test_shadow_attacks_join_where_there_are_references() -> None:
    outputs = predictions(reference_logits=np.random.default_rng(1).normal(size=(2, 800, 3)))
    result = audit(outputs, resamples=20)
    assert list(result.attacks)[len(RUN_ATTACKS) :] == ["rmia-offline", "lira-offline"]


def test_references_are_refused_before_an_attack_learns(monkeypatch: pytest.MonkeyPatch) -> None:
    def learned(*_: Any) -> None:
        raise AssertionError("an attack was trained, and its minutes are lost")

    monkeypatch.setitem(SCORES, "rf", learned)
    outputs = predictions(reference_logits=np.random.default_rng(1).normal(size=(2, 800, 3)))
    with pytest.raises(InputError, match="rmia needs reference_member"):
        audit(outputs, attacks=["rf", "rmia"], resamples=20)
    with pytest.raises(InputError, match="lira needs reference_logits"):
        audit(predictions(), attacks=["rf", "lira"], resamples=20)


def test_attacks_are_reported_in_the_order_in_which_they_were_asked_for() -> None:
    outputs = predictions(reference_logits=np.random.default_rng(1).normal(size=(2, 800, 3)))
    names = ["threshold", "rmia-offline", "threshold-entropy"]
    assert list(audit(outputs, attacks=names, resamples=20).scores) == names


def numpy_in_place(predictions: Predictions) -> Any:
    for values in vars(predictions).values():
        if isinstance(values, np.ndarray):
            values[:] = 0
    return predictions.outputs[:, 0]


def torch_in_place(predictions: Predictions) -> Any:
    return torch.from_numpy(predictions.outputs).zero_()[:, 0]  # which a read-only array would not prevent


@pytest.mark.parametrize("careless", [numpy_in_place, torch_in_place])
def test_code_from_outside_that_writes_in_place_changes_nothing_else(
    careless: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Guards: the attacks after it, and the signals that are stored, are computed from what it left."""
    module = types.SimpleNamespace(attack=careless, measure=lambda p: float(careless(p).sum()))
    monkeypatch.setitem(sys.modules, "careless", module)
    rows = predictions(groups=np.arange(800) % 2, weights=np.ones(800))
    before = copy.deepcopy(rows)
    found = audit(rows, attacks=["careless:attack", "threshold", "mlp"], resamples=20)
    assert own_measure("careless:measure", rows) == 0
    for name, values in vars(before).items():
        np.testing.assert_array_equal(getattr(rows, name), values)
    alone = audit(before, attacks=["threshold", "mlp"], resamples=20)
    assert all(found.attacks[name] == alone.attacks[name] for name in alone.attacks)


def test_probabilities_can_be_audited() -> None:
    outputs = predictions()
    assert outputs.logits is not None
    probs = np.exp(outputs.logits) / np.exp(outputs.logits).sum(axis=1, keepdims=True)
    same = Predictions(probs=probs, labels=outputs.labels, member=outputs.member)
    np.testing.assert_allclose(read_signals(same).loss, read_signals(outputs).loss)
    first, other = (audit(p, attacks=THRESHOLDS, resamples=20).auc for p in (outputs, same))
    assert first == pytest.approx(other)


@pytest.mark.parametrize("room", ["attacks", "fairness", "harmonic"])
def test_importing_a_room_waits_for_nothing(room: str) -> None:
    program = (
        f"import sys, trilemma.{room}; "
        "print([m for m in ('torch', 'sklearn', 'fairlearn', 'pyarrow', 'pandas', 'scipy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
