"""Group fairness of a classifier: bias amplification, and the distribution of its errors over the groups."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from trilemma.errors import InputError
from trilemma.seeds import rng_for
from trilemma.statistics.bootstrap import Resampler, chunks, percentile_interval
from trilemma.statistics.cells import cell_report
from trilemma.statistics.shares import (
    effective_count,
    share_interval,
    share_intervals,
    smallest_interval,
    spread_interval,
)
from trilemma.words import RESAMPLES

SMALL_GROUP = 50
"""A group with fewer test examples than this is reported as small, since its accuracy is very uncertain."""

_CERTAIN = 3.0

Array = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class BiasAmplification:
    """Wang et al.'s bias amplification and its parts; ``float(result)`` is ``result.bias``.

    Attributes:
      bias: the mean of ``per_class``, in [0, 1 - 1/G]: [0, 1/2] for two groups.
      bias_used_classes: the mean over the classes that are predicted at least once.
      unused_classes: the classes that are never predicted; each enters ``bias`` with 1 - 1/G, the worst value,
        so that a collapsed model cannot appear unbiased.
      per_class: float64 (C,).
      groups: G, the number of groups.
    """

    bias: float
    bias_used_classes: float
    unused_classes: tuple[int, ...]
    per_class: Array
    groups: int

    def __float__(self) -> float:
        return self.bias


@dataclass(frozen=True, eq=False)
class TestDraws:
    """Bootstrap draws over test examples of the parts of the score.

    Attributes:
      accuracy: float64 (R,).
      bias: float64 (R,), or None without groups.  These draws are biased upward: where the groups share a class evenly
        but for noise, the draws of |share - 1/2| exceed the estimate as the estimate exceeds the true value.
      bias_floor: float64 (R,), or None: draws of a lower bound without this bias.  A class enters with the share of the
        group that dominates it in the data, if that share exceeds 1/G by more than three standard deviations.
      accuracy_by_group: float64 (R, G), or None without groups; NaN in a sample without an example of the group.
      share: the accuracy in the data.
      independent: the effective number of independent examples (:func:`~trilemma.statistics.shares.effective_count`).
      independent_by_group: float64 (G,), the same in each group, or None without groups.
    """

    __test__ = False  # keeps pytest from collecting a class whose name begins with Test

    accuracy: Array
    bias: Array | None
    bias_floor: Array | None
    accuracy_by_group: Array | None
    share: float
    independent: float
    independent_by_group: Array | None

    @property
    def accuracy_interval(self) -> tuple[float, float]:
        """95 % for the accuracy: see :mod:`trilemma.statistics.shares`."""
        return share_interval(self.share, self.independent, self.accuracy)


def bias_amplification(predicted: ArrayLike, groups: ArrayLike, classes: int) -> BiasAmplification:
    """Bias amplification (Wang et al., CVPR 2020): how unevenly the groups share each predicted class.

    For each class c the share of group g among the predictions of c is s_cg = r_cg / sum_h r_ch, where r_cg
    is the rate at which examples of g are predicted as c.  The bias is the mean over classes of
    max_g s_cg - 1/G.  On a test set with equally many examples in each group the shares equal those of the
    counts, and for two groups the result is exactly Wang et al.'s mean |share - 1/2|.  Rates instead of counts
    extend the definition to test sets that are not balanced over groups (CelebA): there, too, the bias is 0 if
    every class is predicted equally often in each group.

    The bias does not depend on the labels: it describes which groups a class is predicted for, correctly or not.
    Measure it on the balanced test set, where the true labels have no bias.

    Args:
      predicted: integer (N,), predicted classes in [0, classes).
      groups: integer (N,), at least two different values.
      classes: C, the number of classes, predicted or not.

    Raises:
      InputError: lengths differ, a class is out of range, or there is only one group.

    >>> result = bias_amplification([0, 0, 0, 0, 1, 1, 1, 1], [0, 0, 0, 1, 0, 1, 1, 1], classes=2)
    >>> result.bias, result.unused_classes
    (0.25, ())
    >>> collapsed = bias_amplification([0, 0, 0, 0], [0, 1, 0, 1], classes=4)
    >>> collapsed.bias, collapsed.bias_used_classes, collapsed.unused_classes
    (0.375, 0.0, (1, 2, 3))
    """
    predictions = _classes("predicted", predicted, classes)
    codes, names = _codes(groups, len(predictions))
    counts = np.bincount(predictions * len(names) + codes, minlength=classes * len(names))
    by_cell = counts.reshape(classes, len(names))
    per_class = _shares(by_cell, by_cell.sum(axis=0)).max(axis=1) - 1 / len(names)
    used = by_cell.sum(axis=1) > 0
    return BiasAmplification(
        bias=float(per_class.mean()),
        bias_used_classes=float(per_class[used].mean()),
        unused_classes=tuple(int(c) for c in np.flatnonzero(~used)),
        per_class=per_class,
        groups=len(names),
    )


def fairness_report(
    labels: ArrayLike,
    predicted: ArrayLike,
    groups: ArrayLike,
    classes: int,
    *,
    group_names: Sequence[str] | None = None,
    class_names: Sequence[str] | None = None,
    sources: ArrayLike | None = None,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> dict[str, Any]:
    """The entry ``fairness`` of ``result.json``: bias, accuracies by group, and the differences of fairlearn.

    Args:
      labels, predicted: integer (N,), each in [0, classes).
      groups: integer (N,), at least two different values.
      classes: C, the number of classes.
      group_names: the names of the groups, indexed by group number; None: the numbers are the names.
      class_names: C names of the classes, or None.
      sources: integer (N,); rows that share a source (two copies of an image) are resampled together.
      seed: the seed of the bootstrap.
      resamples: the number of bootstrap samples for each interval.

    Returns:
      A dict of plain numbers, lists and dicts:
        ``bias``, ``bias_used_classes``, ``unused_classes`` (numbers), ``bias_by_class``: see
        :class:`BiasAmplification`;
        ``accuracy_by_group`` and ``examples_by_group`` {name: value}, ``gap`` (largest minus smallest),
        ``worst_group`` (its name), ``worst_group_accuracy``;
        ``worst_cell``, ``worst_cell_accuracy``, ``worst_cell_interval``, ``least_known_cell`` and ``small_cells``, over
        pairs of class and group: see :func:`~trilemma.statistics.cells.cell_report`;
        ``equal_opportunity_difference`` (TPR), ``equalized_odds_difference`` (the larger of TPR and FPR) and
        ``demographic_parity_difference`` (selection rate), each the largest minus the smallest over groups.  With
        two classes, class 1 is the positive one; with more, it is the mean over classes, one against the rest;
        ``undefined_classes``: those whose TPR exists in fewer than two groups; they are left out of the first two
        differences, which are None if no class is left;
        ``small_groups`` (names, fewer than ``SMALL_GROUP`` examples): included above, but too small for reliable
        accuracies;
        ``interval``: 95 % [low, high] for ``bias``, ``accuracy_by_group`` {name: ...}, ``gap``,
        ``worst_group_accuracy``, from the bootstrap and, near 0 and 1, exact ones
        (:mod:`trilemma.statistics.shares`).  Noise biases largest and smallest values, so one end of each, except for
        the second, comes from unbiased draws: ``bias_floor``, or the groups that are best and worst in the data.

    Raises:
      InputError: lengths differ, a label is out of range, there is only one group, or a group has no name.

    >>> truth, predicted, groups = [0, 1] * 60, [0, 1, 0, 0] * 30, [0, 0, 1, 1] * 30
    >>> report = fairness_report(truth, predicted, groups, 2, group_names=("gray", "colour"))
    >>> report["accuracy_by_group"], report["worst_group"], report["equal_opportunity_difference"]
    ({'gray': 1.0, 'colour': 0.5}, 'colour', 1.0)
    """
    truth, predictions = _pair(labels, predicted, classes)
    codes, numbers = _codes(groups, len(truth))
    names = _names(numbers, group_names)
    amplified = bias_amplification(predictions, codes, classes)
    confusion = _confusion(truth, predictions, codes, len(names), classes)
    sizes = confusion.sum(axis=(1, 2))
    accuracies = _rate(np.trace(confusion, axis1=1, axis2=2), sizes)
    draws = bootstrap_test(truth, predictions, codes, classes=classes, sources=sources, seed=seed, resamples=resamples)
    worst, clusters = int(np.argmin(accuracies)), None if sources is None else _integers("sources", sources)
    return {
        "bias": amplified.bias,
        "bias_used_classes": amplified.bias_used_classes,
        "unused_classes": list(amplified.unused_classes),
        "bias_by_class": amplified.per_class.tolist(),
        "accuracy_by_group": dict(zip(names, accuracies.tolist(), strict=True)),
        "examples_by_group": dict(zip(names, sizes.tolist(), strict=True)),
        "gap": float(accuracies.max() - accuracies.min()),
        "worst_group": names[worst],
        "worst_group_accuracy": float(accuracies[worst]),
        **cell_report(
            truth, predictions, codes, classes=classes, group_names=names, class_names=class_names, sources=clusters
        ),
        **_differences(confusion),
        "small_groups": [name for name, size in zip(names, sizes, strict=True) if size < SMALL_GROUP],
        "interval": _intervals(draws, amplified, accuracies, names),
    }


def bootstrap_test(
    labels: ArrayLike,
    predicted: ArrayLike,
    groups: ArrayLike | None = None,
    *,
    classes: int,
    sources: ArrayLike | None = None,
    seed: int | np.random.Generator = 0,
    resamples: int = RESAMPLES,
) -> TestDraws:
    """Accuracy, accuracy by group and bias on bootstrap samples of the test examples.

    Args:
      labels, predicted, groups, classes, sources: as in :func:`fairness_report`; without groups, only the accuracy
        is computed.
      seed: a seed, or a generator.
      resamples: R, the number of bootstrap samples.

    Raises:
      InputError: fewer than two samples, or arrays of other lengths than ``labels``.

    >>> bootstrap_test([0, 1] * 50, [0, 1] * 50, classes=2, resamples=5).accuracy.tolist()
    [1.0, 1.0, 1.0, 1.0, 1.0]
    """
    truth, predictions = _pair(labels, predicted, classes)
    if resamples < 2:
        raise InputError(f"resamples must be at least 2, not {resamples}: {RESAMPLES} is usual")
    codes, count = np.zeros(len(truth), dtype=np.int64), 1
    if groups is not None:
        codes, numbers = _codes(groups, len(truth))
        count = len(numbers)
    clusters = None if sources is None else _integers("sources", sources)
    if clusters is not None and clusters.shape != truth.shape:
        raise InputError(f"sources must be ({len(truth)},), one for each example, not {clusters.shape}")
    rng = rng_for(seed, "bootstrap/test")
    images = np.arange(len(truth)) if clusters is None else clusters
    known = {"share": float((truth == predictions).mean()), "independent": effective_count(images)}
    # Rows are sorted by cell, so that counting is a sum over neighboring rows.
    cell = ((truth == predictions) * classes + predictions) * count + codes
    order = np.argsort(cell, kind="stable")
    cells, starts = np.unique(cell[order], return_index=True)
    resampler = Resampler(len(truth), None if clusters is None else clusters[order])
    accuracy, by_group, shares = [], [], []
    for size in chunks(resamples, len(truth)):
        flat = np.zeros((size, 2 * classes * count))
        flat[:, cells] = np.add.reduceat(resampler.draw(rng, size), starts, axis=1)
        counts = flat.reshape(size, 2, classes, count)
        right, examples = counts[:, 1].sum(axis=1), counts.sum(axis=(1, 2))
        accuracy.append(right.sum(axis=1) / examples.sum(axis=1))
        by_group.append(np.divide(right, examples, out=np.full_like(right, np.nan), where=examples > 0))
        shares.append(_shares(counts.sum(axis=1), examples))
    if groups is None:
        return TestDraws(np.concatenate(accuracy), None, None, None, **known, independent_by_group=None)
    counted = np.bincount(predictions * count + codes, minlength=classes * count).reshape(classes, count)
    sample = np.concatenate(shares)
    return TestDraws(
        accuracy=np.concatenate(accuracy),
        bias=(sample.max(axis=2) - 1 / count).mean(axis=1),
        bias_floor=_bias_floor(sample, _shares(counted, counted.sum(axis=0))),
        accuracy_by_group=np.concatenate(by_group),
        **known,
        independent_by_group=np.array([effective_count(images[codes == code]) for code in range(count)]),
    )


def _shares(counts: NDArray[Any], examples: NDArray[Any]) -> Array:
    """Shares (..., C, G), from counts of predictions by class and group (..., C, G) and group sizes (..., G).

    A class that is never predicted has share 1 in every group: the dominant group then has the worst possible share.
    """
    # Rates in units of the size of the largest group: on a balanced test set they are the counts themselves.
    largest = np.maximum(examples.max(axis=-1, keepdims=True), 1)
    rates = counts * (largest / np.maximum(examples, 1))[..., None, :]
    total = np.broadcast_to(rates.sum(axis=-1, keepdims=True), rates.shape)
    shares: Array = np.divide(rates, total, out=np.ones_like(rates), where=total > 0)
    return shares


def _bias_floor(samples: Array, shares: Array) -> Array:
    """Draws (R,) of the lower bound in ``TestDraws``, from bootstrap shares (R, C, G) and the data's shares (C, G)."""
    classes, groups = shares.shape
    of_dominant = samples[:, np.arange(classes), shares.argmax(axis=1)]
    certain = shares.max(axis=1) - 1 / groups > _CERTAIN * of_dominant.std(axis=0)
    floor: Array = np.maximum(0.0, np.where(certain, of_dominant - 1 / groups, 0.0).mean(axis=1))
    return floor


def _confusion(truth: Ints, predictions: Ints, codes: Ints, groups: int, classes: int) -> NDArray[np.int64]:
    """int64 (G, C, C): the number of examples of each group and true class that are predicted as each class."""
    from fairlearn.metrics import MetricFrame
    from sklearn.metrics import confusion_matrix

    def matrix(y_true: ArrayLike, y_pred: ArrayLike) -> Any:
        return confusion_matrix(y_true, y_pred, labels=np.arange(classes))

    # One frame of matrices holds every rate of every class; a frame for each class would take C times as long.
    frame = MetricFrame(metrics=matrix, y_true=truth, y_pred=predictions, sensitive_features=codes)
    return np.stack([frame.by_group[group] for group in range(groups)]).astype(np.int64)


def _differences(confusion: NDArray[np.int64]) -> dict[str, Any]:
    """fairlearn's three differences, for each class against the rest; a rate without examples is NaN.

    (In fairlearn such a rate is 0, which would look like a difference between groups.)
    """
    total = confusion.sum(axis=(1, 2))[:, None]
    positives, selected = confusion.sum(axis=2), confusion.sum(axis=1)
    hits = np.diagonal(confusion, axis1=1, axis2=2)
    parity = _spread(_rate(selected, np.broadcast_to(total, selected.shape)))
    opportunity = _spread(_rate(hits, positives))
    odds = np.fmax(opportunity, _spread(_rate(selected - hits, total - positives)))
    # Two classes make one binary problem, with class 1 as the positive class.
    positive = np.array([1]) if confusion.shape[1] == 2 else np.arange(confusion.shape[1])
    defined = positive[~np.isnan(opportunity[positive])]
    return {
        "equal_opportunity_difference": float(opportunity[defined].mean()) if len(defined) else None,
        "equalized_odds_difference": float(odds[defined].mean()) if len(defined) else None,
        "demographic_parity_difference": float(parity[positive].mean()),
        "undefined_classes": [int(c) for c in positive if c not in defined],
    }


def _rate(part: NDArray[np.int64], whole: NDArray[np.int64]) -> Array:
    rate: Array = np.divide(part, whole, out=np.full(whole.shape, np.nan), where=whole > 0)
    return rate


def _spread(rates: Array) -> Array:
    """Largest minus smallest over groups (axis 0); NaN where fewer than two groups have a rate."""
    known = ~np.isnan(rates)
    spread = np.where(known, rates, -np.inf).max(axis=0) - np.where(known, rates, np.inf).min(axis=0)
    return np.where(known.sum(axis=0) > 1, spread, np.nan)


def _intervals(
    draws: TestDraws, amplified: BiasAmplification, accuracies: Array, names: tuple[str, ...]
) -> dict[str, Any]:
    by_group, counts, bias, floor = draws.accuracy_by_group, draws.independent_by_group, draws.bias, draws.bias_floor
    assert by_group is not None and counts is not None and bias is not None and floor is not None  # noqa: PT018
    ends = share_intervals(accuracies, counts, by_group).tolist()
    return {
        "bias": [min(percentile_interval(floor)[0], amplified.bias), max(percentile_interval(bias)[1], amplified.bias)],
        "accuracy_by_group": dict(zip(names, ends, strict=True)),
        "gap": list(spread_interval(accuracies, counts, by_group)),
        "worst_group_accuracy": list(smallest_interval(accuracies, counts, by_group)),
    }


def _integers(name: str, values: ArrayLike) -> Ints:
    array = np.asarray(values)
    if array.ndim != 1 or len(array) == 0 or array.dtype.kind not in "biu":
        raise InputError(f"{name} must be whole numbers (N,), not {array.dtype} {array.shape}")
    return array.astype(np.int64)


def _classes(name: str, values: ArrayLike, classes: int) -> Ints:
    array = _integers(name, values)
    if classes < 2:
        raise InputError(f"classes must be at least 2, not {classes}")
    if array.min() < 0 or array.max() >= classes:
        ends = f"{array.min()} to {array.max()}"
        raise InputError(f"{name} must lie in 0 to {classes - 1}, not {ends}: number the {classes} classes from 0")
    return array


def _pair(labels: ArrayLike, predicted: ArrayLike, classes: int) -> tuple[Ints, Ints]:
    truth, predictions = _classes("labels", labels, classes), _classes("predicted", predicted, classes)
    if truth.shape != predictions.shape:
        raise InputError(f"labels and predicted must be of one length, not {len(truth)} and {len(predictions)}")
    return truth, predictions


def _codes(groups: ArrayLike, rows: int) -> tuple[Ints, Ints]:
    array = _integers("groups", groups)
    if len(array) != rows:
        raise InputError(f"groups must be ({rows},), one for each example, not {array.shape}")
    numbers, codes = np.unique(array, return_inverse=True)
    if len(numbers) < 2:
        raise InputError(f"all examples are of group {numbers[0]}: fairness compares at least two groups")
    return codes.astype(np.int64), numbers


def _names(numbers: Ints, group_names: Sequence[str] | None) -> tuple[str, ...]:
    if group_names is None:
        return tuple(str(number) for number in numbers)
    if numbers.min() < 0 or numbers.max() >= len(group_names):
        ends = f"{numbers.min()} to {numbers.max()}"
        raise InputError(f"groups go from {ends}, but {len(group_names)} are named: name every group, from 0")
    return tuple(str(group_names[number]) for number in numbers)
