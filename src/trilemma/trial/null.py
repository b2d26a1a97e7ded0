"""The negative control: to every attack, a classifier that never saw the members must look like one that did not.

A ridge classifier on pixels is trained on half of the matched non-members, whose mix of class and group is that of the
members; it also uses the group as evidence of the class, as far as it is.  It is then audited with the members as
members and the other half as non-members, none of which it saw.  If an interval of its AUC misses 1/2, members and
non-members differ in something other than membership, and the audit's AUC would not mean leakage.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trilemma.attacks import Predictions, audit, null_check
from trilemma.attacks.cells import TOO_FEW
from trilemma.data.dataset import Split
from trilemma.measures import RUN_ATTACKS
from trilemma.seeds import rng_for

_TRAINED_ON = 4000


def never_saw(
    members: Split,
    others: Split,
    matched: NDArray[np.float64],
    weights: NDArray[np.float64],
    classes: int,
    *,
    seed: int,
    attacks: Sequence[str] = RUN_ATTACKS,
) -> dict[str, Any] | str:
    """Whether the members and non-members of an audit pass the control, or what is missing if they are too few to tell.

    Args:
      members: the training split.
      others: the test split.
      matched: float64 (len(others),), weights that make it like the members: for training.
      weights: float64 (len(others),), the weight of each in the audit that is checked.
      classes: number of classes.
      seed: the seed of the split into halves, of attackers and of the bootstrap.
      attacks: names of the attacks of the audit that is checked; each is made on the control too.

    Returns:
      {"passed", "level", "auc": {attack: value}, "interval": {attack: [low, high]}}; each interval is at ``level``, so
      that in one audit of twenty any of them misses 1/2 by chance.
    """
    rng = rng_for(seed, "negative control")
    sources = np.arange(len(others)) if others.sources is None else others.sources
    first = _half(others.labels, _groups(others), sources, rng)
    train = np.flatnonzero(first & (matched > 0))[:_TRAINED_ON]
    rest = np.flatnonzero(~first & (weights > 0))
    if min(len(train), len(rest)) < TOO_FEW:
        return (
            f"needs {TOO_FEW} test images to learn from and {TOO_FEW} to attack, has {len(train):,} and {len(rest):,}"
        )
    if len(members) < TOO_FEW:
        return f"needs {TOO_FEW} members, has {len(members):,}"
    mine = rng.permutation(len(members))[: 4 * _TRAINED_ON]
    ridge = _Ridge(_features(others.images[train]), others.labels[train], matched[train], classes)
    prior = _class_given_group(others.labels[train], _groups(others)[train], matched[train], classes)
    parts = [members.take(np.sort(mine)), others.take(rest)]
    predictions = Predictions(
        logits=np.concatenate([ridge.logits(_features(p.images)) + prior(_groups(p)) for p in parts]),
        labels=np.concatenate([members.labels[np.sort(mine)], others.labels[rest]]),
        member=np.arange(len(mine) + len(rest)) < len(mine),
        weights=np.concatenate([np.ones(len(mine)), weights[rest]]),
        sources=np.concatenate([np.arange(len(mine)), sources[rest]]),
    )
    audited = audit(predictions, attacks=attacks, seed=int(rng.integers(2**31)))
    check = null_check(audited)
    return {
        "passed": check.passed,
        "level": check.level,
        "auc": {name: roc.auc for name, roc in audited.rocs.items()},
        "interval": {name: list(ends) for name, ends in check.intervals.items()},
    }


def _half(
    labels: NDArray[np.int64], groups: NDArray[np.int64], sources: NDArray[np.int64], rng: np.random.Generator
) -> NDArray[np.bool_]:
    """Which rows are in the first half: half the images of each class and group, all copies of an image together (or
    the classifier would have seen its non-members).

    Halves drawn without regard to the class are not alike: the classes of which the classifier saw more are those that
    are left less often among its non-members.  It trusts these classes more, and so tells members, which have all
    classes as often as ever, from non-members: with 100 classes of 100 test images at an AUC of 0.517.
    """
    images, row = np.unique(sources, return_index=True)
    kinds = labels[row] * (int(groups.max()) + 1) + groups[row]
    order = rng.permutation(len(images))
    order = order[np.argsort(kinds[order], kind="stable")]
    # Every second image within a kind; which kinds of an odd number get the larger half is left to chance.
    starts = np.flatnonzero(np.diff(kinds[order], prepend=-1))
    place = np.arange(len(order)) - np.repeat(starts, np.diff(starts, append=len(order)))
    offset = np.repeat(rng.integers(0, 2, len(starts)), np.diff(starts, append=len(order)))
    chosen = images[order[(place + offset) % 2 == 0]]
    return np.isin(sources, chosen)


def _groups(split: Split) -> NDArray[np.int64]:
    return np.zeros(len(split), dtype=np.int64) if split.groups is None else split.groups


def _class_given_group(
    labels: NDArray[np.int64], groups: NDArray[np.int64], weights: NDArray[np.float64], classes: int
) -> Callable[[NDArray[np.int64]], NDArray[np.float64]]:
    """Log P(class | group) for each group, with one added to every count."""
    count = int(groups.max()) + 1
    mass = np.bincount(groups * classes + labels, weights, count * classes).reshape(count, classes) + 1
    table = np.log(mass / mass.sum(axis=1, keepdims=True))

    def lookup(values: NDArray[np.int64]) -> NDArray[np.float64]:
        known: NDArray[np.float64] = np.where(
            (values < count)[:, None], table[np.minimum(values, count - 1)], -np.log(classes)
        )
        return known

    return lookup


def _features(images: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Mean values in the cells of a grid of about 8x8, and a constant."""
    count, channels, height, width = images.shape
    down, right = max(1, height // 8), max(1, width // 8)
    cells = images[:, :, : height // down * down, : width // right * right].reshape(
        count, channels, height // down, down, width // right, right
    )
    flat = cells.mean(axis=(3, 5)).reshape(count, -1) / 127.5 - 1
    return np.hstack([flat, np.ones((count, 1))])


class _Ridge:
    """Ridge regression on one-hot labels, in closed form, so that the control is fast and always ends."""

    def __init__(
        self, x: NDArray[np.float64], labels: NDArray[np.int64], weights: NDArray[np.float64], classes: int
    ) -> None:
        y = np.eye(classes)[labels]
        gram = (x * weights[:, None]).T @ x
        self._w = np.linalg.solve(
            gram + 1e-2 * np.trace(gram) / len(gram) * np.eye(len(gram)), (x * weights[:, None]).T @ y
        )

    def logits(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        # Scores lie around [0, 1]; to be used as logits they must be scaled up, or all losses would be nearly equal.
        return 6 * (x @ self._w)
