"""Attack success by class and group (each cell of class x group), and a test of whether all are equally exposed.

Two thresholds answer two questions.  At a cell's *own* threshold, f of the cell's own non-members are accused: how much
more exposed are its members?  At the *global* threshold, f of all non-members are: whose members would an attacker who
does not look at cells find?

Estimates of small cells scatter, and the largest of many lies above its truth.  :func:`equal_vulnerability` therefore
compares what is seen with what is seen when the cells' names are shuffled (Kulynych et al. 2022 show that naive
comparisons overstate disparities), and its maximum over cells corrects for how many were looked at.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trilemma.attacks.rates import Rate, effective_count, enough, rate_at
from trilemma.attacks.roc import Roc, bootstrap_roc
from trilemma.errors import InputError
from trilemma.seeds import rng_for
from trilemma.words import RESAMPLES

Array = NDArray[np.float64]
Ints = NDArray[np.int64]
Booleans = NDArray[np.bool_]

TOO_FEW = 50
"""A class, a group or a cell with fewer members or non-members than this has no numbers."""


def lacking(members: int, nonmembers: int) -> str | None:
    """None if a class, a group or a cell has enough examples, otherwise what is missing, in words.

    >>> lacking(50, 75), lacking(75, 23), lacking(6, 5)
    (None, 'needs 50 non-members, has 23', 'needs 50 members and 50 non-members, has 6 and 5')
    """
    sides = [(name, count) for name, count in (("members", members), ("non-members", nonmembers)) if count < TOO_FEW]
    if not sides:
        return None
    needed = " and ".join(f"{TOO_FEW} {name}" for name, _ in sides)
    return f"needs {needed}, has {' and '.join(f'{count:,}' for _, count in sides)}"


@dataclass(frozen=True, eq=False)
class Cell:
    """An attack's success in one cell.

    Attributes:
      members, nonmembers: how many rows of it count.
      roc: AUC and advantage with their bootstrap draws, or None where either side has fewer than ``TOO_FEW`` rows.
      own: the true-positive rate at the threshold where ``fpr`` of the cell's own non-members are accused, or None with
        ``roc``; its ``reason`` says where there are too few for that rate.
      global_true, global_false: the shares of the cell's members and non-members at or above the threshold where
        ``fpr`` of *all* non-members are accused; None where there are too few non-members in all.
    """

    members: int
    nonmembers: int
    roc: Roc | None
    own: Rate | None
    global_true: float | None
    global_false: float | None


def by_cell(
    scores: Array,
    member: Booleans,
    cells: Ints,
    *,
    fpr: float = 0.01,
    weights: Array | None = None,
    sources: Ints | None = None,
    seed: int | np.random.Generator = 0,
    resamples: int = RESAMPLES,
) -> dict[int, Cell]:
    """An attack's success in every cell, by the cell's number.

    Args:
      scores: float (N,), higher meaning member.
      member: bool (N,).
      cells: int64 (N,), which cell each row is in.
      fpr: the false-positive rate of both thresholds.
      weights, sources: as for :func:`trilemma.attacks.roc.bootstrap_rocs`.
      seed, resamples: the seed and the number of samples of the bootstrap.

    Raises:
      InputError: lengths differ, or a side has no weight.
    """
    if cells.shape != scores.shape:
        raise InputError(f"cells must be {scores.shape}, one for each row, not {cells.shape}")
    counted = np.ones(len(scores), dtype=bool) if weights is None else weights > 0
    threshold = _global_threshold(scores, member, fpr, weights)
    rng = rng_for(seed, "bootstrap/cells")
    by_name = {}
    for cell in np.unique(cells[counted]):
        rows = np.flatnonzero(counted & (cells == cell))
        by_name[int(cell)] = _cell(scores, member, rows, fpr, weights, sources, threshold, rng, resamples)
    return by_name


def _cell(
    scores: Array,
    member: Booleans,
    rows: Ints,
    fpr: float,
    weights: Array | None,
    sources: Ints | None,
    threshold: float | None,
    rng: np.random.Generator,
    resamples: int,
) -> Cell:
    inside, own_weights = member[rows], None if weights is None else weights[rows]
    own_sources = None if sources is None else sources[rows]
    members = int(inside.sum())
    shares: list[float | None] = [None, None]
    if threshold is not None:
        above = scores[rows] >= threshold
        masses = np.ones(len(rows)) if own_weights is None else own_weights
        for place, side in enumerate((inside, ~inside)):
            total = float(masses[side].sum())
            shares[place] = float(masses[side & above].sum()) / total if total > 0 else None
    if min(members, len(rows) - members) < TOO_FEW:
        return Cell(members, len(rows) - members, None, None, *shares)
    roc = bootstrap_roc(scores[rows], inside, weights=own_weights, sources=own_sources, seed=rng, resamples=resamples)
    rate = rate_at(scores[rows], inside, fpr, weights=own_weights, clusters=own_sources)
    return Cell(members, len(rows) - members, roc, rate, *shares)


def _global_threshold(scores: Array, member: Booleans, fpr: float, weights: Array | None) -> float | None:
    """The smallest score at or above which at most ``fpr`` of the non-members lie; None where they are too few."""
    outside = np.flatnonzero(~member if weights is None else ~member & (weights > 0))
    masses = np.ones(len(outside)) if weights is None else weights[outside]
    if enough(fpr, effective_count(masses, len(outside))):
        return None
    values = np.unique(scores)
    order = np.argsort(scores[outside])
    below = np.r_[0.0, np.cumsum(masses[order])]
    share = 1 - below[np.searchsorted(scores[outside][order], values, side="left")] / below[-1]
    allowed = values[share <= fpr * (1 + 1e-12)]
    return float(allowed[0]) if len(allowed) else np.inf


@dataclass(frozen=True)
class EqualVulnerability:
    """Whether all cells could be equally exposed.

    Attributes:
      p_value: the share of permutations (the observed one included) with at least as large a statistic.
      statistic: the largest standardized deviation of a cell's AUC from that of all.
      cell: where it is.
      aucs: each cell's AUC, cells with too few rows left out.
    """

    p_value: float
    statistic: float
    cell: int
    aucs: dict[int, float]

    def rejected(self, level: float = 0.05) -> bool:
        """Whether equal vulnerability is rejected at ``level``."""
        return self.p_value <= level


def equal_vulnerability(
    scores: Array, member: Booleans, cells: Ints, *, permutations: int = 999, seed: int | np.random.Generator = 0
) -> EqualVulnerability:
    """Test whether an attack's AUC is the same in every cell, by shuffling the cells' names among the members and
    among the non-members.

    A cell may have higher scores than another, alike for members and non-members (its examples are merely harder),
    without being more exposed.  So scores are first replaced, within each cell, by the mean of their two ranks, among
    the cell's members and among its non-members, each from 0 to 1.  That leaves every cell's AUC as it is and gives
    cells with equal ROC curves equal distributions, so that names can be exchanged.

    Args:
      scores: float (N,), higher meaning member.
      member: bool (N,).
      cells: int64 (N,).
      permutations: how many; the p-value is at least 1 / (permutations + 1).
      seed: the seed of the permutations.

    Raises:
      InputError: lengths differ, or fewer than two cells have ``TOO_FEW`` members and non-members.
    """
    if not scores.shape == member.shape == cells.shape or scores.ndim != 1:
        raise InputError("scores, member and cells must be (N,) of equal length")
    names = [
        int(cell)
        for cell in np.unique(cells)
        if min(np.sum(member[cells == cell]), np.sum(~member[cells == cell])) >= TOO_FEW
    ]
    if len(np.unique(cells)) < 2:
        raise InputError("a test of equal vulnerability compares cells, and there is one alone: all rows are in it")
    if len(names) < 2:
        raise InputError(
            f"a test of equal vulnerability needs at least two cells, each with {TOO_FEW} members and non-members: "
            "audit more examples"
        )
    selected = np.isin(cells, names)
    scores, member = scores[selected], member[selected]
    places = np.searchsorted(names, cells[selected])
    ranks = np.empty(len(scores))
    for place in range(len(names)):
        rows = np.flatnonzero(places == place)
        ranks[rows] = _balanced_ranks(scores[rows], member[rows])
    codes = np.unique(np.round(ranks, 12), return_inverse=True)[1]
    sizes = [np.bincount(places[side], minlength=len(names)).astype(np.float64) for side in (member, ~member)]
    scale = np.sqrt((sizes[0] + sizes[1] + 1) / (12 * sizes[0] * sizes[1]))  # of an AUC where nothing leaks

    def deviations(labels: Ints) -> tuple[Array, Array]:
        aucs = _aucs(codes, member, labels, len(names))
        return aucs, np.abs(aucs - np.average(aucs, weights=1 / scale**2)) / scale

    aucs, seen = deviations(places)
    rng = rng_for(seed, "permutations")
    at_least = 1
    for _ in range(permutations):
        dealt = places.copy()
        for side in (member, ~member):
            dealt[side] = rng.permutation(places[side])
        at_least += int(deviations(dealt)[1].max() >= seen.max() - 1e-12)
    largest = int(seen.argmax())
    return EqualVulnerability(
        at_least / (permutations + 1),
        float(seen[largest]),
        names[largest],
        {name: float(auc) for name, auc in zip(names, aucs, strict=True)},
    )


def _balanced_ranks(scores: Array, member: Booleans) -> Array:
    """The mean of a score's two ranks in [0, 1], among members and among non-members, ties counting half."""
    ranks = np.zeros(len(scores))
    for side in (member, ~member):
        values = np.sort(scores[side])
        both = np.searchsorted(values, scores, "left") + np.searchsorted(values, scores, "right")
        ranks += both / (4 * len(values))
    return ranks


def _aucs(codes: Ints, member: Booleans, cells: Ints, count: int) -> Array:
    """The AUC of each of ``count`` cells, ties counting half, by two sorts: ties first against and then for members."""
    total = np.zeros(count)
    for last in (member, ~member):
        order = np.lexsort((last, codes, cells))
        inside, cell = member[order], cells[order]
        outside = np.cumsum(~inside)
        starts = np.searchsorted(cell, np.arange(count))
        before = np.where(starts > 0, outside[np.maximum(starts - 1, 0)], 0)
        total += np.bincount(cell[inside], (outside - before[cell])[inside], count)
    members = np.bincount(cells[member], minlength=count)
    nonmembers = np.bincount(cells[~member], minlength=count)
    aucs: Array = total / (2 * members * nonmembers)
    return aucs
