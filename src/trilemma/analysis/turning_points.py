"""When a training stops generalizing and when it begins to memorize, from what was measured during training."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from trilemma.errors import InputError
from trilemma.statistics.intervals import LEVEL

GAP = 0.05
"""A training overfits where its training accuracy exceeds its test accuracy by more than this."""

MEASURES = ("accuracy", "train_accuracy", "auc_threshold")
"""What turning points are read from."""

Order = Literal["memorization first", "together", "overfitting first", "no memorization", "no overfitting"]


@dataclass(frozen=True)
class TurningPoints:
    """The updates at which overfitting and memorization begin in one training, to the nearest evaluation.

    Attributes:
      early_stopping: the first evaluation with the best test accuracy.
      overfitting: the first from which on training minus test accuracy stays above ``GAP``, or None.
      memorization: the first from which on the AUC of the loss threshold stays above ``auc_bar``, or None.
      evaluations: all updates at which the training was evaluated, ascending.
    """

    early_stopping: int
    overfitting: int | None
    memorization: int | None
    evaluations: tuple[int, ...]

    @property
    def order(self) -> Order:
        """Which begins first, memorization or overfitting.

        Both must have begun.  A point is known to the nearest evaluation, so two that are no more than one evaluation
        apart are "together".
        """
        if self.memorization is None:
            return "no memorization"
        if self.overfitting is None:
            return "no overfitting"
        later = self.evaluations.index(self.overfitting) - self.evaluations.index(self.memorization)
        if abs(later) <= 1:
            return "together"
        return "memorization first" if later > 0 else "overfitting first"


def turning_points(history: pd.DataFrame) -> TurningPoints:
    """The turning points of one training.

    A training that memorizes nothing gets a point of memorization with probability 2.5 %: if its last evaluation lies
    above the bar.  The order of two points is known only to the nearest evaluation.  The AUC compares members with
    matched non-members, so that skewed groups do not look like memorization (the bar ignores the matching weights and
    is slightly too low there).  Training and test accuracy each have their own mix of groups, so with skewed groups
    part of their gap comes from the skew.

    Args:
      history: rows of the results of one trial with a number in ``update``.  The measures accuracy, train_accuracy, and
        auc_threshold are read at every update.  ``n`` is the number of examples behind each value: where the counts of
        the two accuracies add up to that of the AUC, they are the members and non-members; otherwise both sides are
        assumed to have half of the AUC's count.

    Raises:
      InputError: there is no evaluation or more than one trial, or a measure is missing or occurs twice at some update.

    >>> rows = [(u, m, v, 1000) for u, (a, t, auc) in enumerate([(.5, .5, .54), (.7, .72, .55), (.6, .9, .6)])
    ...         for m, v in (("accuracy", a), ("train_accuracy", t), ("auc_threshold", auc))]
    >>> history = pd.DataFrame(rows, columns=["update", "measure", "value", "n"]).assign(trial="a")
    >>> points = turning_points(history)
    >>> points.early_stopping, points.overfitting, points.memorization, points.order
    (1, 2, 0, 'memorization first')
    """
    rows = history[history["update"].notna() & history["measure"].isin(MEASURES)]
    trials = rows["trial"].unique()
    if len(trials) != 1:
        raise InputError(
            f"turning points need one trial with evaluations, not {len(trials)}: select the rows of one trial"
        )
    if rows.duplicated(["update", "measure"]).any():
        raise InputError(f"trial {trials[0]} has an evaluation twice: write the results again from the run")
    values = rows.pivot(index="update", columns="measure", values="value").sort_index()
    if set(values.columns) != set(MEASURES) or values.isna().any(axis=None):
        raise InputError(f"trial {trials[0]} lacks {', '.join(MEASURES)} at some evaluation: train it again")
    counts = rows.pivot(index="update", columns="measure", values="n").loc[values.index].astype(float)
    bars = [_bar(*row) for row in counts[list(MEASURES)].itertuples(index=False)]
    updates = tuple(int(update) for update in values.index)
    best = int(values["accuracy"].to_numpy(dtype=float).argmax())
    gap = (values["train_accuracy"] - values["accuracy"]).to_numpy(dtype=float)
    return TurningPoints(
        early_stopping=updates[best],
        overfitting=_stays(updates, gap > GAP),
        memorization=_stays(updates, values["auc_threshold"].to_numpy(dtype=float) > np.array(bars)),
        evaluations=updates,
    )


def auc_bar(members: float, non_members: float) -> float:
    """The AUC that is exceeded with probability 2.5 % if both sides have the same distribution (Mann and Whitney 1947).

    Args:
      members, non_members: n1 and n0, the numbers of examples.

    >>> round(auc_bar(1000, 1000), 4)
    0.5253
    """
    from scipy.special import ndtri

    return 0.5 + float(ndtri(0.5 + LEVEL / 2)) * math.sqrt((members + non_members + 1) / (12 * members * non_members))


def _bar(test: float, train: float, both: float) -> float:
    if not both >= 2:
        raise InputError("an AUC measured during training lacks its number of examples: write the results again")
    members, others = (train, test) if train + test == both and min(train, test) >= 1 else (both / 2, both / 2)
    return auc_bar(members, others)


def _stays(updates: tuple[int, ...], holds: NDArray[np.bool_]) -> int | None:
    """The first update from which on ``holds`` is true to the end, or None."""
    length = int(np.logical_and.accumulate(holds[::-1]).sum())
    return updates[len(updates) - length] if length else None
