"""The learned attacks score every example once, never one that they were trained on, and find the leakage that
exists."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from trilemma.attacks import (
    Predictions,
    Signals,
    cross_fitted_scores,
    learned,
    measure,
    mlp_scores,
    read_signals,
    rf_scores,
)
from trilemma.attacks.learned import attack_features
from trilemma.errors import InputError

Attack = Callable[[Predictions, Signals, int], np.ndarray]
ATTACKS = pytest.mark.parametrize("attack", [mlp_scores, rf_scores])


class Recorder:
    """An attacker that notes which rows (their ids are the feature) it was trained on and scored."""

    made: list[Recorder]

    def __init__(self, seed: int) -> None:
        self.seed = seed
        Recorder.made.append(self)

    def fit(self, features: np.ndarray, member: np.ndarray) -> None:
        self.trained, self.member = features[:, 0].astype(int), member

    def score(self, features: np.ndarray) -> np.ndarray:
        self.scored = features[:, 0].astype(int)
        return self.scored + 0.5


@pytest.fixture
def made() -> list[Recorder]:
    Recorder.made = []
    return Recorder.made


def ids(rows: int) -> np.ndarray:
    return np.arange(rows, dtype=float)[:, None]


@pytest.mark.parametrize(("members", "nonmembers"), [(60, 60), (90, 30), (31, 77)])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("copies", [1, 2])
def test_everyone_is_scored_once_by_one_who_never_saw_them(
    made: list[Recorder], members: int, nonmembers: int, weighted: bool, copies: int
) -> None:
    rng = np.random.default_rng(0)
    rows = members + nonmembers
    member = np.arange(rows) < members
    weights = rng.choice([0.0, 0.3, 2.0], size=rows) if weighted else None
    sources = rng.permutation(rows) // copies
    scores = cross_fitted_scores(ids(rows), member, Recorder, sources=sources, weights=weights, seed=1)
    np.testing.assert_array_equal(scores, np.arange(rows) + 0.5)
    assert len(made) == 2
    assert sorted(np.concatenate([attacker.scored for attacker in made])) == list(range(rows))
    for attacker in made:
        assert not set(attacker.trained) & set(attacker.scored)
        # Nor a copy of them.
        for side in (member, ~member):
            trained = attacker.trained[side[attacker.trained]]
            scored = attacker.scored[side[attacker.scored]]
            assert not set(sources[trained]) & set(sources[scored])
        # Balanced, and what was told is true.
        assert attacker.member.sum() * 2 == len(attacker.trained)
        np.testing.assert_array_equal(attacker.member, member[attacker.trained])
        if weights is None:
            assert len(set(attacker.trained)) == len(attacker.trained)
        else:
            assert (weights[attacker.trained] > 0).all()
    assert made[0].seed != made[1].seed


def test_no_more_than_the_cap_are_trained_on(made: list[Recorder]) -> None:
    cross_fitted_scores(ids(200), np.arange(200) < 100, Recorder, cap=20)
    assert [len(attacker.trained) for attacker in made] == [20, 20]
    assert sum(len(attacker.scored) for attacker in made) == 200


def test_attacks_with_one_seed_deal_their_folds_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """Guards: two attacks that are told to be independent, and share the luck of one stream."""
    streams: list[float] = []
    monkeypatch.setattr(learned, "cross_fitted_scores", lambda *_, seed, **__: streams.append(seed.random()))
    predictions = classified(20, 0.5, 0)
    for attack in (mlp_scores, mlp_scores, rf_scores):
        attack(predictions, read_signals(predictions), 0)
    assert streams[0] == streams[1] != streams[2]


def test_folds_depend_on_the_seed_alone(made: list[Recorder]) -> None:
    for seed in (0, 0, 1):
        cross_fitted_scores(ids(100), np.arange(100) < 50, Recorder, seed=seed)
    np.testing.assert_array_equal(made[0].trained, made[2].trained)
    assert set(made[0].trained) != set(made[4].trained)


def test_training_rows_come_as_often_as_their_weights_ask(made: list[Recorder]) -> None:
    member = np.arange(4000) < 2000
    weights = np.where(member, 1.0, np.where(np.arange(4000) % 2 == 0, 1.8, 0.2))
    cross_fitted_scores(ids(4000), member, Recorder, weights=weights, seed=0)
    for attacker in made:
        sampled = attacker.trained[~attacker.member]
        # Half of the fold's non-members have weight 1.8, in a random fold up to 1.2 % more or less.
        assert (sampled % 2 == 0).mean() == pytest.approx(0.9, abs=0.02)
        assert np.bincount(sampled).max() == 2


class Nearest:
    """An attacker that remembers its training set, and so recognizes copies of its examples."""

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def fit(self, features: np.ndarray, member: np.ndarray) -> None:
        self.features, self.member = features, member

    def score(self, features: np.ndarray) -> np.ndarray:
        distance = np.abs(features[:, None, 0] - self.features[None, :, 0])
        return self.member[distance.argmin(axis=1)].astype(float)


def test_copies_in_both_folds_would_leak() -> None:
    # Nothing tells members from non-members but that each row is there twice.  Standard deviation of the
    # AUC of 400 + 400 pictures: 0.02 (0/1 scores: 0.025); 0.1 off has a probability of 6e-5 or less.
    rng = np.random.default_rng(0)
    features = np.repeat(rng.normal(size=800), 2)[:, None]
    member = np.repeat(np.arange(800) < 400, 2)
    sources = np.repeat(np.arange(800), 2)
    together = cross_fitted_scores(features, member, Nearest, sources=sources)
    apart = cross_fitted_scores(features, member, Nearest)
    assert float(measure(together, member).auc) == pytest.approx(0.5, abs=0.1)
    assert float(measure(apart, member).auc) > 0.7


def classified(rows: int, leak: float, seed: int) -> Predictions:
    """A classifier whose logits of the true class are higher by ``leak`` for members."""
    rng = np.random.default_rng(seed)
    labels, member = rng.integers(0, 5, rows), np.arange(rows) < rows // 2
    logits = rng.normal(size=(rows, 5))
    logits[np.arange(rows), labels] += 1 + leak * member
    return Predictions(logits=logits, labels=labels, member=member)


@ATTACKS
def test_nothing_is_found_where_nothing_is(attack: Attack) -> None:
    # The AUC of 1,000 members and 1,000 non-members under the null has a standard deviation of 0.0129; the
    # bound is 4.5 of them: a false alarm in 150,000.  That scores come from two attackers adds none.
    predictions = classified(2000, 0.0, seed=5)
    scores = attack(predictions, read_signals(predictions), 0)
    assert float(measure(scores, predictions.member).auc) == pytest.approx(0.5, abs=0.058)


@ATTACKS
def test_a_leak_is_found(attack: Attack) -> None:
    # A shift of 2 deviations in one of six features: the loss alone reaches about 0.9.
    predictions = classified(1000, 2.0, seed=5)
    signals = read_signals(predictions)
    scores = attack(predictions, signals, 0)
    best = float(measure(-signals.loss, predictions.member).auc)
    assert best > 0.85
    assert float(measure(scores, predictions.member).auc) > best - 0.03


@ATTACKS
def test_what_thresholds_cannot_see_is_found(attack: Attack) -> None:
    # Members' losses are either very low or very high: the AUC of a threshold is 1/2, a learned one is 1.
    rng = np.random.default_rng(0)
    member = np.arange(1000) < 500
    z = np.where(member, rng.choice([-6.0, 6.0], 1000), 0.0) + rng.normal(size=1000)
    predictions = Predictions(logits=np.column_stack([z, np.zeros(1000)]), labels=np.zeros(1000, int), member=member)
    scores = attack(predictions, read_signals(predictions), 0)
    assert float(measure(scores, member).auc) > 0.95


@ATTACKS
def test_the_same_seed_gives_the_same_scores(attack: Attack) -> None:
    predictions = classified(300, 0.5, seed=1)
    signals = read_signals(predictions)
    first, same, other = (attack(predictions, signals, seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, same)
    assert not np.array_equal(first, other)


@ATTACKS
@pytest.mark.parametrize("scale", [0.0, 1e200])
def test_odd_outputs_are_scored_too(attack: Attack, scale: float) -> None:
    # All logits alike (no feature varies), and logits beyond what float32 holds.
    rng = np.random.default_rng(0)
    predictions = Predictions(
        logits=rng.normal(size=(40, 2)) * scale, labels=np.zeros(40, int), member=np.arange(40) % 2
    )
    assert np.isfinite(attack(predictions, read_signals(predictions), 0)).all()


def test_features_are_outputs_then_loss() -> None:
    predictions = classified(40, 1.0, seed=0)
    signals = read_signals(predictions)
    features = attack_features(predictions, signals)
    np.testing.assert_array_equal(features[:, :5], predictions.logits.astype(np.float32))
    np.testing.assert_allclose(features[:, 5], signals.loss, atol=1e-6)


@ATTACKS
@pytest.mark.parametrize("kind", ["logits", "probs"])
@pytest.mark.parametrize("copies", [1, 2])
@pytest.mark.usefixtures("few_trees_and_epochs")
def test_scores_depend_on_contents_and_not_on_places(attack: Attack, kind: str, copies: int) -> None:
    """Guards: folds dealt by place, so that a table of a run's predictions gave another AUC than the run."""
    rng = np.random.default_rng(3)
    labels, member, sources = rng.integers(0, 4, 240), np.arange(240) % 2 == 0, np.arange(240) // (2 * copies)
    outputs = (rng.normal(size=(240, 4)) + np.eye(4)[labels] * (1 + member[:, None])).astype(np.float32)
    if kind == "probs":
        outputs = np.exp(outputs) / np.exp(outputs).sum(axis=1, keepdims=True)
    weights = np.where(member, 1.0, np.where(labels == 0, 0.5, 1.5))
    weights[:4] = 0.0
    shuffled = rng.permutation(240)
    text = np.array([[str(value) for value in row] for row in outputs])  # the shortest that means this float32

    def scores(values: np.ndarray, order: np.ndarray, numbers: np.ndarray) -> np.ndarray:
        predictions = Predictions(
            **{kind: values[order]},
            labels=labels[order],
            member=member[order],
            weights=weights[order],
            sources=None if copies == 1 else numbers[order],
        )
        return attack(predictions, read_signals(predictions), 0)

    renumbered = rng.permutation(240)[sources]
    expected = scores(outputs, np.arange(240), sources)
    np.testing.assert_array_equal(scores(text.astype(np.float64), shuffled, renumbered), expected[shuffled])


def test_one_image_cannot_be_split(made: list[Recorder]) -> None:
    member = np.arange(40) < 20
    with pytest.raises(InputError, match="two non-members from different images"):
        cross_fitted_scores(ids(40), member, Recorder, sources=np.where(member, np.arange(40), 99))
