"""Attacks that learn, from some examples' outputs, to tell members from non-members: ``mlp`` and ``rf``.

The method is TF-Privacy's (METHODS 5.1): features are the model's outputs and the loss, members and
non-members are balanced by leaving out the surplus, and two folds are cross-fitted, so that every example is
scored once, by an attacker that never saw it.  No shadow model is involved.

What differs is the search for settings.  The published one is a grid with three-fold cross-validation inside
each fold: 13 times the work of fitting one net, 73 times that of one forest.  Here the settings are fixed,
which costs one fit and no AUC: in ``benchmarks/learned_attacks.py`` (2,000 members and non-members, two
CPU cores) nets are 36 and 14 times and forests 141 and 124 times faster on an overfitted and on a barely
leaking classifier, with AUCs within 0.007 of the grid's.  A grid finds little here because it chooses by the
accuracy on a third of a fold, where its candidates differ by less than the noise.

- ``mlp``: one hidden layer of 64 (the grid's smaller net is as good), features standardised on the training
  fold so that adam is at its best with one learning rate, a fixed number of updates (the grid's stopping rule
  runs many more without gain), and stronger weight decay than the grid offers, as the signal is weak.
- ``rf``: 100 trees of depth 8 with at least 5 examples in a leaf: the middle of the grid.  Its extremes are
  what costs: unlimited depth learns noise where there is little to find, depth 5 misses some where there is
  much.  (Histogram boosting would be faster still, but is no random forest.)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from trilemma.attacks.predictions import Predictions
from trilemma.attacks.signals import Signals
from trilemma.errors import InputError
from trilemma.seeds import rng_for

TRAINING_CAP = 20_000
"""The most examples that one attacker is trained on (half of them members); all are scored."""

_LARGEST = 1e30  # forests hold features in float32

Array = NDArray[np.float64]


class Attacker(Protocol):
    """What can be cross-fitted."""

    def fit(self, features: Array, member: NDArray[np.bool_]) -> None:
        """Learn from features (n, F) and membership bool (n,)."""

    def score(self, features: Array) -> Array:
        """float64 (n,), higher meaning member."""


class MlpAttacker:
    """A net with one hidden layer, trained for a fixed number of updates."""

    hidden = 64
    learning_rate = 4e-3
    weight_decay = 0.5
    batch = 200
    updates = 1000
    most_epochs = 60

    def __init__(self, seed: int) -> None:
        self._seed = seed

    def fit(self, features: Array, member: NDArray[np.bool_]) -> None:
        """See :class:`Attacker`."""
        from sklearn.neural_network import MLPClassifier

        self._mean = features.mean(axis=0)
        deviation = features.std(axis=0)
        self._deviation = np.where(deviation > 0, deviation, 1.0)
        self._net = MLPClassifier(
            (self.hidden,),
            alpha=self.weight_decay,
            learning_rate_init=self.learning_rate,
            batch_size=min(self.batch, len(features)),
            random_state=self._seed,
        )
        epochs = min(self.most_epochs, -(-self.updates * self.batch // len(features)))
        # partial_fit is one pass over the data: the number of passes is a setting here, so that there is no
        # convergence to be warned of.
        standardised = self._standardised(features)
        for _ in range(epochs):
            self._net.partial_fit(standardised, member, classes=np.array([False, True]))

    def score(self, features: Array) -> Array:
        """See :class:`Attacker`."""
        probability: Array = self._net.predict_proba(self._standardised(features))[:, 1]
        return probability

    def _standardised(self, features: Array) -> Array:
        standardised: Array = (features - self._mean) / self._deviation
        return standardised


class ForestAttacker:
    """A random forest with fixed settings."""

    trees = 100
    depth = 8
    leaf = 5

    def __init__(self, seed: int) -> None:
        self._seed = seed

    def fit(self, features: Array, member: NDArray[np.bool_]) -> None:
        """See :class:`Attacker`."""
        from sklearn.ensemble import RandomForestClassifier

        self._forest = RandomForestClassifier(
            self.trees,
            max_depth=self.depth,
            min_samples_leaf=self.leaf,
            max_features="sqrt",
            random_state=self._seed,
            n_jobs=-1,
        )
        self._forest.fit(features, member)
        # Threads add the trees' votes in the order they finish, and sums would differ in the last digit.
        self._forest.set_params(n_jobs=1)

    def score(self, features: Array) -> Array:
        """See :class:`Attacker`."""
        probability: Array = self._forest.predict_proba(features)[:, 1]
        return probability


def mlp_scores(predictions: Predictions, signals: Signals, seed: int | np.random.Generator = 0) -> Array:
    """float64 (N,), higher meaning member: the ``mlp`` attack, cross-fitted (see the module)."""
    return _attack(MlpAttacker, predictions, signals, seed)


def rf_scores(predictions: Predictions, signals: Signals, seed: int | np.random.Generator = 0) -> Array:
    """float64 (N,), higher meaning member: the ``rf`` attack, cross-fitted (see the module)."""
    return _attack(ForestAttacker, predictions, signals, seed)


def _attack(
    make: Callable[[int], Attacker],
    predictions: Predictions,
    signals: Signals,
    seed: int | np.random.Generator,
) -> Array:
    return cross_fitted_scores(
        attack_features(predictions, signals),
        predictions.member,
        make,
        sources=predictions.sources,
        weights=predictions.weights,
        seed=seed,
    )


def attack_features(predictions: Predictions, signals: Signals) -> Array:
    """float64 (N, C + 1): logits (or probabilities), then the loss, as TF-Privacy stacks them."""
    features = np.column_stack([predictions.outputs.astype(np.float64), signals.loss])
    return np.clip(features, -_LARGEST, _LARGEST, out=features)


def cross_fitted_scores(
    features: Array,
    member: NDArray[np.bool_],
    make: Callable[[int], Attacker],
    *,
    sources: NDArray[np.int64] | None = None,
    weights: Array | None = None,
    seed: int | np.random.Generator = 0,
    cap: int = TRAINING_CAP,
) -> Array:
    """Score every example once, by an attacker that was trained on the other half of the examples.

    Members and non-members are each split in two at random; rows that share a source stay together, or an
    attacker would meet the copy of a picture it was trained on.  From each half a balanced sample is drawn
    (as many members as non-members, at most ``cap`` in all), an attacker is trained on it, and it scores
    the whole other half, surplus included.

    Args:
      features: float (N, F).
      member: bool (N,).
      make: makes an untrained attacker from a seed.
      sources: int (N,), compared on each side of ``member`` only, or None.
      weights: float (N,), >= 0: rows are drawn for training in proportion to them (some more than once, those
        of weight 0 never).  None: all alike, none drawn twice.
      seed: or a generator.
      cap: the most examples that an attacker is trained on.

    Returns:
      float64 (N,).

    Raises:
      InputError: a side has fewer than two sources that count.
    """
    rng = rng_for(seed, "attack/learned")
    fold = _folds(member, sources, weights, rng)
    scores = np.empty(len(member))
    for half in (0, 1):
        rows = _balanced_sample(fold == half, member, weights, cap, rng)
        attacker = make(int(rng.integers(2**31)))
        attacker.fit(features[rows], member[rows])
        scores[fold != half] = attacker.score(features[fold != half])
    return scores


def _folds(
    member: NDArray[np.bool_],
    sources: NDArray[np.int64] | None,
    weights: Array | None,
    rng: np.random.Generator,
) -> NDArray[np.int64]:
    """int64 (N,) of 0 and 1: a random half of each side's sources in either fold."""
    fold = np.empty(len(member), dtype=np.int64)
    counts = np.ones(len(member), dtype=bool) if weights is None else weights > 0
    for name, side in (("members", member), ("non-members", ~member)):
        # Rows that count and rows that do not are halved apart, or one fold might have none that count.
        pictures = np.arange(len(member)) if sources is None else sources
        counted = np.unique(pictures[side & counts])
        if len(counted) < 2:
            raise InputError(f"a learned attack needs at least two {name} from different pictures, not {len(counted)}")
        for part in (counted, np.setdiff1d(pictures[side], counted)):
            half = rng.permutation(np.arange(len(part)) % 2)
            rows = side & np.isin(pictures, part)
            fold[rows] = half[np.searchsorted(part, pictures[rows])]
    return fold


def _balanced_sample(
    half: NDArray[np.bool_],
    member: NDArray[np.bool_],
    weights: Array | None,
    cap: int,
    rng: np.random.Generator,
) -> NDArray[np.int64]:
    sides = [np.flatnonzero(half & side & (True if weights is None else weights > 0)) for side in (member, ~member)]
    size = max(1, min(*map(len, sides), cap // 2))
    return np.concatenate([_drawn(rows, weights, size, rng) for rows in sides])


def _drawn(rows: NDArray[np.int64], weights: Array | None, size: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """``size`` of ``rows``, each as often as its weight asks, to within one."""
    rows = rng.permutation(rows)
    if weights is None or np.ptp(weights[rows]) == 0:
        return rows[:size]
    # Systematic sampling: evenly spaced points along the running sum of the weights.
    running = np.cumsum(weights[rows])
    points = (rng.random() + np.arange(size)) / size * running[-1]
    drawn: NDArray[np.int64] = rows[np.minimum(np.searchsorted(running, points, side="right"), len(rows) - 1)]
    return drawn
