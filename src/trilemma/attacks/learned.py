"""Attacks that learn to distinguish members from non-members by the model's outputs: ``mlp`` and ``rf``.

The method is that of TF-Privacy's membership-inference library: the features are the model's outputs and the loss,
members and non-members are balanced by leaving out the surplus, and two folds are cross-fitted, so that every example
is scored once, by an attacker that never saw it.  The attacks use no shadow model.

Folds are dealt, and samples drawn, by the contents of the rows and not by their places.  A run and a table of its
predictions, in whatever order, therefore have the same scores.

Only the choice of hyperparameters differs.  The published one is a grid search with three-fold cross-validation
inside each fold: 13 times the work of fitting one network, 73 times that of one forest.  Here the hyperparameters
are fixed, which takes a single fit and does not lower the AUC: in ``benchmarks/learned_attacks.py`` (2,000 members
and non-members, two CPU cores), networks are 36 and 14 times and forests 141 and 124 times faster on an overfitted
and on a barely leaking classifier, with AUCs within 0.007 of the grid search's.  The search gains little because it
selects by accuracy on a third of a fold, where the candidates differ by less than the noise.

- ``mlp``: one hidden layer of 64 units (the smaller network of the grid does as well), features standardized on
  the training fold so that Adam works well with one learning rate, a fixed number of updates (the grid's stopping
  rule makes many more without gain), and stronger weight decay than the grid offers, as the signal is weak.
- ``rf``: 100 trees of depth 8 with at least 5 examples in a leaf: the middle of the grid.  The extremes of
  the grid do worse: unlimited depth fits noise where the model leaks little, and depth 5 misses part of the signal
  where it leaks much.  (Histogram boosting would be faster still, but it is not a random forest.)
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from trilemma.attacks.predictions import Predictions
from trilemma.attacks.signals import Signals, signals_from_logits, signals_from_probs
from trilemma.errors import InputError
from trilemma.seeds import rng_for

TRAINING_CAP = 20_000
"""The maximum number of examples that one attacker is trained on (half of them members); all are scored."""

_LARGEST = 1e30  # forests store features in float32

Array = NDArray[np.float64]


class Attacker(Protocol):
    """An attacker that can be cross-fitted."""

    def fit(self, features: Array, member: NDArray[np.bool_]) -> None:
        """Learn from features (n, F) and membership bool (n,)."""

    def score(self, features: Array) -> Array:
        """float64 (n,); a higher score means "member"."""


class MlpAttacker:
    """A network with one hidden layer, trained for a fixed number of updates."""

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
        std = features.std(axis=0)
        self._std = np.where(std > 0, std, 1.0)
        self._net = MLPClassifier(
            (self.hidden,),
            alpha=self.weight_decay,
            learning_rate_init=self.learning_rate,
            batch_size=min(self.batch, len(features)),
            random_state=self._seed,
        )
        epochs = min(self.most_epochs, -(-self.updates * self.batch // len(features)))
        # Each call of partial_fit makes one pass over the data.  The number of passes is fixed, so that there are no
        # convergence warnings.
        standardized = self._standardized(features)
        for _ in range(epochs):
            self._net.partial_fit(standardized, member, classes=np.array([False, True]))

    def score(self, features: Array) -> Array:
        """See :class:`Attacker`."""
        probability: Array = self._net.predict_proba(self._standardized(features))[:, 1]
        return probability

    def _standardized(self, features: Array) -> Array:
        standardized: Array = (features - self._mean) / self._std
        return standardized


class ForestAttacker:
    """A random forest with fixed hyperparameters."""

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
        # Several threads would add the trees' votes in the order in which they finish, which changes the last digits.
        self._forest.set_params(n_jobs=1)

    def score(self, features: Array) -> Array:
        """See :class:`Attacker`."""
        probability: Array = self._forest.predict_proba(features)[:, 1]
        return probability


def mlp_scores(predictions: Predictions, signals: Signals, seed: int | np.random.Generator = 0) -> Array:
    """float64 (N,), scores of the ``mlp`` attack, cross-fitted (see the module); a higher score means "member"."""
    return _attack(MlpAttacker, predictions, signals, rng_for(seed, "attack/mlp"))


def rf_scores(predictions: Predictions, signals: Signals, seed: int | np.random.Generator = 0) -> Array:
    """float64 (N,), scores of the ``rf`` attack, cross-fitted (see the module); a higher score means "member"."""
    return _attack(ForestAttacker, predictions, signals, rng_for(seed, "attack/rf"))


def _attack(
    make: Callable[[int], Attacker],
    predictions: Predictions,
    signals: Signals,
    rng: np.random.Generator,
) -> Array:
    return cross_fitted_scores(
        attack_features(predictions, signals),
        predictions.member,
        make,
        sources=predictions.sources,
        weights=predictions.weights,
        seed=rng,
    )


def attack_features(predictions: Predictions, signals: Signals) -> Array:
    """float64 (N, C + 1): logits (or probabilities) followed by the loss, as in TF-Privacy.

    Outputs are rounded to float32, the precision of networks: a table may hold the shortest text of a float32, which is
    another float64, and an attacker's training would magnify the difference.
    """
    outputs = np.clip(predictions.outputs, -_LARGEST, _LARGEST).astype(np.float32)
    loss = signals.loss
    if not np.array_equal(outputs, predictions.outputs):
        read = signals_from_probs if predictions.logits is None else signals_from_logits
        loss = read(outputs, predictions.labels).loss
    return np.column_stack([outputs, loss.astype(np.float32)]).astype(np.float64)


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

    Members and non-members are each split in two at random; rows that share a source stay together, since an
    attacker would otherwise score a copy of an image it was trained on.  From each half a balanced sample is drawn
    (as many members as non-members, at most ``cap`` in total), and an attacker trained on it scores the whole
    other half, surplus included.

    Args:
      features: float (N, F).
      member: bool (N,).
      make: returns an untrained attacker for a seed.
      sources: int (N,), the image that each row was made from, compared among members and among non-members only;
        or None.
      weights: float (N,), >= 0: rows are drawn for training in proportion to their weights (some more than once,
        those of weight 0 never).  None: all rows have equal weight, and none is drawn twice.
      seed: a seed, or a generator.
      cap: the maximum number of examples that an attacker is trained on.

    Returns:
      float64 (N,); a higher score means "member".

    Raises:
      InputError: fewer than two sources of members, or of non-members, have a weight above 0.
    """
    rng = rng_for(seed, "attack/learned")
    order, images = _by_content(features, member, sources)
    features, member, weights = features[order], member[order], None if weights is None else weights[order]
    fold = _folds(member, None if sources is None else images, weights, rng)
    scores = np.empty(len(member))
    for half in (0, 1):
        rows = _balanced_sample(fold == half, member, weights, cap, rng)
        attacker = make(int(rng.integers(2**31)))
        attacker.fit(features[rows], member[rows])
        scores[fold != half] = attacker.score(features[fold != half])
    by_place = np.empty_like(scores)
    by_place[order] = scores
    return by_place


def _by_content(
    features: Array, member: NDArray[np.bool_], sources: NDArray[np.int64] | None
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(order, images): the places of the rows in an order that depends on their contents alone, and in that order the
    image of each row, numbered by contents too.  Rows that are alike in everything are exchangeable."""
    digests = np.array(
        [
            int.from_bytes(hashlib.blake2b(row.tobytes(), digest_size=8, salt=bytes([int(inside)])).digest())
            for row, inside in zip(features + 0.0, member, strict=True)  # + 0.0: -0.0 and 0.0 are one number
        ],
        dtype=np.uint64,
    )
    if sources is None:
        return np.argsort(digests, kind="stable"), np.arange(len(member))
    _, image = np.unique(np.column_stack([member, sources]), axis=0, return_inverse=True)
    image = image.reshape(-1)
    first, last = np.full(image.max() + 1, np.uint64(2**64 - 1)), np.zeros(image.max() + 1, dtype=np.uint64)
    np.minimum.at(first, image, digests)
    np.maximum.at(last, image, digests)
    number = np.empty(len(first), dtype=np.int64)
    number[np.lexsort((last, first))] = np.arange(len(first))
    order = np.lexsort((digests, number[image]))
    return order, number[image][order]


def _folds(
    member: NDArray[np.bool_],
    sources: NDArray[np.int64] | None,
    weights: Array | None,
    rng: np.random.Generator,
) -> NDArray[np.int64]:
    """int64 (N,) of 0 and 1; each fold holds a random half of the sources of members and of non-members."""
    fold = np.empty(len(member), dtype=np.int64)
    counts = np.ones(len(member), dtype=bool) if weights is None else weights > 0
    for name, side in (("members", member), ("non-members", ~member)):
        # Rows of positive weight and rows of weight 0 are split separately, so that neither fold lacks the former.
        images = np.arange(len(member)) if sources is None else sources
        counted = np.unique(images[side & counts])
        if len(counted) < 2:
            raise InputError(f"a learned attack needs at least two {name} from different images, not {len(counted)}")
        for part in (counted, np.setdiff1d(images[side], counted)):
            half = rng.permutation(np.arange(len(part)) % 2)
            rows = side & np.isin(images, part)
            fold[rows] = half[np.searchsorted(part, images[rows])]
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
    """Sample ``size`` of ``rows``, each as often as its weight demands, to within one."""
    rows = rng.permutation(rows)
    if weights is None or np.ptp(weights[rows]) == 0:
        return rows[:size]
    # Systematic sampling: evenly spaced points along the cumulative sum of the weights.
    running = np.cumsum(weights[rows])
    points = (rng.random() + np.arange(size)) / size * running[-1]
    sample: NDArray[np.int64] = rows[np.minimum(np.searchsorted(running, points, side="right"), len(rows) - 1)]
    return sample
