"""Removal of outliers: which training examples are left out, and whether a new layer of them becomes exposed.

As for the onion effect (Carlini et al. 2022, arXiv 2206.10469): rank every training example by how exposed it is,
remove the most exposed layer, train again from scratch, and rank the survivors again.  A control removes as many of
each class at random.  Three things can rank the examples of a model that was trained on all of them without a budget:

- ``rmia`` (the default) and ``lira``: attacks with shadow models (:mod:`trilemma.trial.exposure`);
- ``histogram``: the membership probability that Song and Mittal (2021) read from a histogram of the loss, as TF-Privacy
  computes it and as the paper did.  It is kept for comparison and is not a measure of exposure: on CIFAR-10 its rank
  correlation with LiRA is -0.40 for a linear head and -0.19 for a convnet.

**No guarantee covers the choice**: a private model trained on the remaining examples carries its (epsilon, delta) for
those, but a model without a budget decided which they are.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from trilemma.attacks.lira import membership_posterior
from trilemma.errors import InputError
from trilemma.hints import one_line
from trilemma.seeds import rng_for
from trilemma.trial.exposure import read_exposure
from trilemma.trial.run import SHADOWS, SIGNALS
from trilemma.trial.signals import read_signals
from trilemma.words import Rank

Indices = NDArray[np.int64]


@dataclass(frozen=True)
class Exposure:
    """How each training example of one finished trial is ranked, in the order of its training split.

    Attributes:
      score: float (N,), higher meaning more exposed: RMIA's score (the share of non-members that the example
        dominates), LiRA's posterior at prior 1/2, or the histogram's membership probability.
      loss: float (N,); of examples with equal scores, those with the lower loss come first.
      labels: int64 (N,).
      groups: int64 (N,) or None.
    """

    score: NDArray[np.float64]
    loss: NDArray[np.float64]
    labels: Indices
    groups: Indices | None

    @classmethod
    def read(cls, run: Path, rank: Rank = "histogram") -> Exposure:
        """The ranking of the training examples of the run in a folder.

        Raises:
          InputError: a file cannot be read, or shadows have not measured the exposure.
        """
        signals = run / SIGNALS
        table = read_signals(signals, ["index", "member", "label", "group", "loss", "membership_probability"])
        try:
            rows = table.filter(table["member"])
            order = np.argsort(rows["index"].to_numpy())
            grouped = rows["group"].null_count == 0
            histogram = rows["membership_probability"].to_numpy()[order].astype(np.float64)
            loss = rows["loss"].to_numpy()[order].astype(np.float64)
            labels = rows["label"].to_numpy()[order].astype(np.int64)
            groups = rows["group"].to_numpy()[order].astype(np.int64) if grouped else None
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"cannot read the signals {signals} ({one_line(error)}): put the file back") from error
        score = histogram if rank == "histogram" else read_exposure(run, rank)
        if len(score) != len(labels):
            raise InputError(
                f"{run} has {len(labels)} training examples and the exposure of {len(score)}: delete its folder "
                f"{SHADOWS}, and run the study again"
            )
        return cls(membership_posterior(score) if rank == "lira" else score, loss, labels, groups)

    def __len__(self) -> int:
        return len(self.labels)

    def order(self) -> Indices:
        """Indices from the most exposed example to the least; at equal scores, the lower loss comes first."""
        return np.lexsort((np.arange(len(self)), self.loss, -self.score)).astype(np.int64)

    def layer(self, share: float) -> Indices:
        """The most exposed ``share`` of the examples, sorted indices; at least one.

        Raises:
          InputError: nothing would be left over.
        """
        count = max(1, round(share * len(self)))
        if count >= len(self):
            raise InputError(f"removing {share:.0%} of {len(self)} examples leaves none: use a smaller share")
        return np.sort(self.order()[:count])

    def cut(self, share: float) -> float:
        """The smallest score in that layer."""
        return float(self.score[self.layer(share)].min())


def removed_examples(exposure: Exposure, *, share: float, arm: str, control: str, seed: int) -> Indices:
    """Sorted indices of the training examples that a trial leaves out.

    Args:
      exposure: the exposure in the trial that ranks them.
      share: the share to leave out, in (0, 1).
      arm: "exposed", or "random": as many of each class (and group) drawn at random.
      control: "class" or "class,group".
      seed: the seed of the draw.

    >>> scores = Exposure(np.array([.9, .1, .8, .2]), np.zeros(4), np.array([0, 0, 1, 1]), None)
    >>> removed_examples(scores, share=0.5, arm="exposed", control="class", seed=0).tolist()
    [0, 2]
    """
    layer = exposure.layer(share)
    if arm == "exposed":
        return layer
    kinds = exposure.labels
    if control == "class,group" and exposure.groups is not None:
        kinds = kinds * (int(exposure.groups.max()) + 1) + exposure.groups
    rng = rng_for(seed, "random removal")
    by_kind = [
        rng.choice(np.flatnonzero(kinds == kind), size=int(np.sum(kinds[layer] == kind)), replace=False)
        for kind in np.unique(kinds[layer])
    ]
    return np.sort(np.concatenate(by_kind)).astype(np.int64)


@dataclass(frozen=True)
class Survivors:
    """The exposure of the examples that were kept, before and after.

    Attributes:
      exposed, exposed_before: share of them whose score is at least the removed layer's cut, in the new model and in
        the one that ranked them.
      mean, mean_before: their mean score.
      count: the number of survivors.
    """

    exposed: float
    exposed_before: float
    mean: float
    mean_before: float
    count: int


def exposed_share(scores: Exposure, rows: Indices, cut: float) -> float:
    """Share of the examples ``rows`` whose score is at least ``cut``."""
    return float((scores.score[rows] >= cut).mean())


def survivors(before: Exposure, after: Exposure, *, removed: Indices, share: float) -> Survivors:
    """Compare the survivors' scores before and after.

    Scores are relative to each model's own non-members, so that a model that memorizes less as a whole gives lower
    values: compare them with the random arm, in which as many examples are missing.

    Args:
      before: the exposure in the trial that scored all N examples.
      after: the exposure in the trial on the N - R that were left.
      removed: the indices (R,) of the examples that were removed.
      share: the share that was removed; its cut comes from ``before``.

    Raises:
      InputError: the numbers of examples do not match.
    """
    rows = np.setdiff1d(np.arange(len(before)), removed)
    if len(rows) != len(after) or not np.array_equal(before.labels[rows], after.labels):
        raise InputError("the trials before and after the removal do not have the same examples")
    cut = before.cut(share)
    return Survivors(
        exposed_share(after, np.arange(len(after)), cut),
        exposed_share(before, rows, cut),
        float(after.score.mean()),
        float(before.score[rows].mean()),
        len(rows),
    )
