"""The worst class, and the worst cell of class and group: accuracy and interval, however few examples it has."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trilemma.statistics.intervals import smallest_share_interval

SMALL_CELL = 10
"""A cell with fewer test examples than this is reported as small, since its accuracy is very uncertain."""

Ints = NDArray[np.int64]


def cell_report(
    labels: Ints,
    predicted: Ints,
    groups: Ints,
    *,
    classes: int,
    group_names: Sequence[str],
    class_names: Sequence[str] | None = None,
    sources: Ints | None = None,
) -> dict[str, Any]:
    """The worst cell, by its accuracy.

    Args:
      labels, predicted, groups: int64 (N,), classes in [0, classes), groups in [0, G).
      classes: C.
      group_names: G names.
      class_names: C names, or None for numbers alone.
      sources: int64 (N,); rows of a cell that share a source (copies of an image) count as one in the interval.

    Returns:
      ``worst_cell`` {"class", ["class_name",] "group", "examples"} and ``worst_cell_accuracy``;
      ``worst_cell_interval``, 95 % [low, high] for the lowest true accuracy of any cell
      (:func:`~trilemma.statistics.intervals.smallest_share_interval`); ``least_known_cell`` (as ``worst_cell``): the
      cell that its low end belongs to, which may be one of few examples, or of none; ``small_cells`` (as
      ``worst_cell``): those with fewer than ``SMALL_CELL`` examples, and more than none.
    """
    count = len(group_names)
    cell = groups * classes + labels
    examples = np.bincount(cell, minlength=count * classes)
    hits = np.bincount(cell[labels == predicted], minlength=count * classes)
    independent = examples
    if sources is not None:
        own = np.unique(np.stack([cell, sources]), axis=1)
        independent = np.bincount(own[0], minlength=count * classes)
    accuracy = np.divide(hits, examples, out=np.full(len(examples), np.nan), where=examples > 0)
    low, high, least_known = smallest_share_interval(accuracy, independent)
    worst = int(np.nanargmin(accuracy))

    def described(place: int) -> dict[str, Any]:
        group, label = divmod(place, classes)
        name = {} if class_names is None else {"class_name": class_names[label]}
        return {"class": label, **name, "group": group_names[group], "examples": int(examples[place])}

    small = np.flatnonzero((examples > 0) & (examples < SMALL_CELL))
    return {
        "worst_cell": described(worst),
        "worst_cell_accuracy": float(accuracy[worst]),
        "worst_cell_interval": [low, high],
        "least_known_cell": described(least_known),
        "small_cells": [described(int(place)) for place in small],
    }


def worst_class(
    labels: Ints,
    predicted: Ints,
    *,
    classes: int,
    class_names: Sequence[str] | None = None,
    sources: Ints | None = None,
) -> dict[str, Any]:
    """The worst class over all groups, by its accuracy; the arguments are those of :func:`cell_report`.

    Returns:
      ``class``, ``class_name`` if classes have names, ``examples``, ``accuracy``, ``interval`` (of the lowest true
      accuracy of any class) and ``least_known`` (as the first three), the class that its low end belongs to.

    >>> worst = worst_class(np.array([0, 0, 1, 1]), np.array([0, 0, 1, 0]), classes=2, class_names=("cat", "dog"))
    >>> worst["class_name"], worst["accuracy"], worst["examples"]
    ('dog', 0.5, 2)
    """
    one_group = np.zeros_like(labels)
    report = cell_report(
        labels,
        predicted,
        one_group,
        classes=classes,
        group_names=("",),
        class_names=class_names,
        sources=sources,
    )
    worst, least_known = (
        {name: value for name, value in report[cell].items() if name != "group"}
        for cell in ("worst_cell", "least_known_cell")
    )
    return worst | {
        "accuracy": report["worst_cell_accuracy"],
        "interval": report["worst_cell_interval"],
        "least_known": least_known,
    }
