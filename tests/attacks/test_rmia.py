"""RMIA agrees with its definition, pair by pair."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from trilemma.attacks import Predictions, audit, measure, rmia_offline_scores, rmia_scores, tuned_a
from trilemma.attacks.named import _offline_a
from trilemma.attacks.references import References
from trilemma.attacks.rmia import OFFLINE_A
from trilemma.errors import InputError

ROWS = 60


def softmax(logits):
    powers = np.exp(logits)
    return powers / powers.sum(axis=-1, keepdims=True)


def example(leak=1.0, rows=ROWS, shadows=4, seed=0):
    """Logits of a target and its shadows for examples of different difficulty; a model that trained on one gets
    ``leak`` more."""
    rng = np.random.default_rng(seed)
    member = rng.permutation(rows) < rows // 2
    halves = np.array([rng.permutation(rows) < rows // 2 for _ in range(shadows // 2)])
    trained_on = np.concatenate([member[None], np.stack([halves, ~halves], axis=1).reshape(shadows, rows)])
    labels = rng.integers(0, 3, rows)
    logits = 0.3 * rng.normal(size=(1 + shadows, rows, 3))
    logits[:, np.arange(rows), labels] += 3 * rng.normal(size=rows) + leak * trained_on
    return logits, labels, trained_on


def confidence(logits, labels):
    return softmax(logits)[:, np.arange(len(labels)), labels]


def slow(p, expected, population, masses, gamma):
    ratio = p / expected
    outside = np.flatnonzero(population)
    return [sum(masses[z] for z in outside if r / ratio[z] > gamma) / masses[outside].sum() for r in ratio]


@pytest.mark.parametrize("gamma", [1.0, 1.2])
@pytest.mark.parametrize("weighted", [False, True])
def test_online_agrees_with_the_definition(gamma, weighted):
    logits, labels, trained_on = example()
    p, member = confidence(logits, labels), trained_on[0]
    weights = np.random.default_rng(1).choice([0.0, 1.0, 2.5], size=ROWS) if weighted else None
    means = [[p[1:, n][trained_on[1:, n] == side].mean() for n in range(ROWS)] for side in (True, False)]
    masses = np.ones(ROWS) if weights is None else weights
    expected = slow(p[0], np.mean(means, axis=0), ~member, masses, gamma)
    scores = rmia_scores(p[0], p[1:], trained_on[1:], ~member, weights=weights, gamma=gamma)
    np.testing.assert_allclose(scores, expected, atol=1e-12)


@pytest.mark.parametrize("a", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("known", [False, True])
def test_offline_agrees_with_the_definition(a, known):
    logits, labels, trained_on = example()
    p, member = confidence(logits, labels), trained_on[0]
    out = ~trained_on[1:] if known else np.ones((4, ROWS), bool)
    mean_out = np.array([p[1:, n][out[:, n]].mean() for n in range(ROWS)])
    expected = slow(p[0], ((1 + a) * mean_out + 1 - a) / 2, ~member, np.ones(ROWS), 1.0)
    matrix = trained_on[1:] if known else None
    np.testing.assert_allclose(rmia_offline_scores(p[0], p[1:], matrix, ~member, a=a), expected, atol=1e-12)


PUBLISHED = {  # fiftieths, as run_rmia of ML Privacy Meter (commit a555fce) scores this matrix
    0.3: [32, 32, 46, 9, 50, 37, 32, 45, 20, 12, 46, 30, 50, 50, 43, 19, 50, 50, 45, 29,
          2, 50, 50, 13, 46, 19, 29, 45, 33, 32, 21, 50, 19, 50, 33, 23, 46, 33, 20, 50],
    1.0: [44, 22, 50, 19, 46, 42, 37, 48, 19, 42, 50, 21, 48, 50, 30, 50, 48, 47, 44, 22,
          2, 48, 49, 48, 39, 42, 47, 48, 31, 29, 44, 44, 22, 49, 49, 20, 44, 50, 48, 50],
}  # fmt: skip


@pytest.mark.parametrize("a", PUBLISHED)
def test_offline_agrees_with_the_published_program(a):
    """No model was trained on its population; there, of 2k reference models, it reads the k largest signals."""
    rng = np.random.default_rng(18)
    signals = 0.7 * rng.random(90)[:, None] + 0.3 * rng.random((90, 6))
    half = rng.random((40, 3)) < 0.5
    trained_on = np.stack([half, ~half], axis=2).reshape(40, 6)[:, 2:]
    references, population = signals[:, 2:], np.arange(90) >= 40
    unread = references[40:] < np.sort(references[40:], axis=1)[:, [2]]
    scores = rmia_offline_scores(signals[:, 0], references.T, np.r_[trained_on, unread].T, population, a=a)
    np.testing.assert_allclose(50 * scores[:40], PUBLISHED[a], rtol=1e-9)


def test_references_take_hardness_out():
    logits, labels, trained_on = example(rows=1000)
    p, member = confidence(logits, labels), trained_on[0]
    online = float(measure(rmia_scores(p[0], p[1:], trained_on[1:], ~member), member).auc)
    assert online > float(measure(p[0], member).auc) + 0.1


def test_a_is_the_one_that_attacks_the_first_reference_model_best():
    logits, labels, trained_on = example(rows=400, leak=2.0)
    p = confidence(logits, labels)
    usable = (~trained_on[2:]).any(axis=0)
    member = trained_on[1, usable]

    def auc(a):
        scores = rmia_offline_scores(p[1, usable], p[2:, usable], trained_on[2:, usable], ~member, a=a)
        return float(measure(scores, member).auc)

    best = max((step / 10 for step in range(11)), key=auc)
    assert tuned_a(p[1:], trained_on[1:]) == best


def test_a_is_tuned_on_a_model_that_the_others_can_attack():
    """Whoever attacks one of two models of one half has no model that did not train on its members, but for its
    complement: with two halves alone nothing can be tuned, and with one larger set it is tuned on that model."""
    logits, labels, trained_on = example(rows=400, leak=2.0)
    p, half = confidence(logits, labels)[1:], trained_on[1]
    twice = np.array([half, half, ~half, ~half])
    outputs = Predictions(
        logits=logits[0], labels=labels, member=trained_on[0], reference_logits=logits[1:], reference_member=twice
    )
    assert _offline_a(References.of(outputs)) == OFFLINE_A
    assert "rmia-offline" in audit(outputs, attacks=["rmia-offline"], resamples=20).attacks
    matrix = np.array([half, half, half | trained_on[3], ~half])
    order = [2, 0, 1, 3]
    assert tuned_a(p[order], matrix[order]) != OFFLINE_A
    assert _offline_a(References.of(replace(outputs, reference_member=matrix))) == tuned_a(p[order], matrix[order])


def test_the_target_has_no_part_in_tuning():
    logits, labels, trained_on = example(rows=400)
    fields = {"logits": logits[0], "labels": labels, "member": trained_on[0]}
    references = {"reference_logits": logits[1:], "reference_member": trained_on[1:]}
    first = audit(Predictions(**fields, **references), attacks=["rmia-offline"], resamples=20)
    flipped = fields | {"logits": -logits[0]}
    assert "rmia-offline" in first.scores
    p = confidence(logits, labels)
    assert tuned_a(p[1:], trained_on[1:]) == tuned_a(confidence(logits.copy(), labels)[1:], trained_on[1:])
    audit(Predictions(**flipped, **references), attacks=["rmia-offline"], resamples=20)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda p, t, m: rmia_offline_scores(p[0], p[1:], t[1:], ~m, a=-0.1), "a must lie"),
        (lambda p, t, m: rmia_scores(p[0], p[1:], t[1:], ~m, gamma=0.9), "gamma must"),
        (lambda p, t, m: rmia_scores(p[0], p[1:2], t[1:2], ~m), "at least 2 reference models, not 1"),
        (lambda p, t, m: rmia_scores(p[0], p[1:], np.ones_like(t[1:]), ~m), "not trained on it"),
        (lambda p, t, m: rmia_scores(p[0], p[1:], np.zeros_like(t[1:]), ~m), "reference model trained on it"),
    ],
)
def test_what_cannot_be_used_is_refused(call, message):
    logits, labels, trained_on = example()
    with pytest.raises(InputError, match=message):
        call(confidence(logits, labels), trained_on, trained_on[0])


def test_an_audit_takes_the_attacks_that_the_references_allow():
    logits, labels, trained_on = example(rows=200)
    fields = {"logits": logits[0], "labels": labels, "member": trained_on[0], "reference_logits": logits[1:]}
    known = audit(Predictions(**fields, reference_member=trained_on[1:]), resamples=20)
    possible = (trained_on[1:].sum(axis=0) >= 2).all() and ((~trained_on[1:]).sum(axis=0) >= 2).all()
    assert possible
    assert list(known.attacks)[4:] == ["rmia", "rmia-offline", "lira", "lira-offline"]
    assert known.headline == "rmia"
    unknown = audit(Predictions(**fields), resamples=20)
    assert list(unknown.attacks)[4:] == ["rmia-offline", "lira-offline"]
    assert unknown.headline == "threshold"
    with pytest.raises(InputError, match="use rmia-offline"):
        audit(Predictions(**fields), attacks=["rmia"])


def never_out(trained_on):
    return trained_on[1:] | trained_on[0]


def never_in(trained_on):
    return trained_on[1:] & ~trained_on[0]


@pytest.mark.parametrize(
    ("matrix", "message"),
    [
        (lambda trained_on: np.ones_like(trained_on[1:]), "not trained on it, and 60 examples"),
        (never_out, "not trained on it, and 30 examples"),
        (lambda trained_on: np.stack([~trained_on[0]] * 4), "1 reference model trained on it, and 30 examples"),
    ],
)
def test_references_that_allow_no_attack_are_refused(matrix, message):
    """Guards: an audit ignored them without a word, and named the loss threshold its headline."""
    logits, labels, trained_on = example()
    outputs = Predictions(
        logits=logits[0],
        labels=labels,
        member=trained_on[0],
        reference_logits=logits[1:],
        reference_member=matrix(trained_on),
    )
    with pytest.raises(InputError, match=f"^rmia needs.*{message}.*or leave out reference_logits$"):
        audit(outputs, resamples=20)


def test_attacks_that_the_references_do_not_allow_are_named():
    logits, labels, trained_on = example()
    fields = {"logits": logits[0], "labels": labels, "member": trained_on[0], "reference_logits": logits[1:]}
    result = audit(Predictions(**fields, reference_member=never_in(trained_on)), resamples=20)
    assert list(result.attacks)[4:] == ["rmia-offline", "lira-offline"]
    assert set(result.not_made) == {"rmia", "lira"}
    assert "1 reference model trained on it, and 30 examples" in result.not_made["rmia"]
    assert audit(Predictions(**fields, reference_member=trained_on[1:]), resamples=20).not_made == {}


@pytest.mark.parametrize(
    ("matrix", "message"),
    [
        (np.zeros((4, 59)), r"must be \(4, 60\)"),
        (np.full((4, ROWS), 0.5), "True or False"),
        (None, "target's own member"),
    ],
)
def test_a_matrix_that_cannot_be_right_is_refused(matrix, message):
    logits, labels, trained_on = example()
    matrix = np.tile(trained_on[0], (4, 1)) if matrix is None else matrix
    with pytest.raises(InputError, match=message):
        Predictions(
            logits=logits[0], labels=labels, member=trained_on[0], reference_logits=logits[1:], reference_member=matrix
        )


def test_an_audit_compares_with_nonmembers_alone():
    logits, labels, trained_on = example(rows=200)
    result = audit(
        Predictions(
            logits=logits[0],
            labels=labels,
            member=trained_on[0],
            reference_logits=logits[1:],
            reference_member=trained_on[1:],
        ),
        attacks=["rmia"],
        resamples=20,
    )
    p = confidence(logits, labels)
    expected = rmia_scores(p[0], p[1:], trained_on[1:], ~trained_on[0])
    np.testing.assert_allclose(result.scores["rmia"], expected, atol=1e-12)
