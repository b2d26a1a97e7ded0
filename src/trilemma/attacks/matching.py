"""Non-members with the members' mix of classes and groups, so that an AUC measures memorization alone.

An attack asks whether an example was seen in training.  If the non-members come from another mix of classes and
groups, the attack can succeed by recognizing the mix instead: where the training set is skewed and the test set
is balanced, a color that is rare for its class identifies non-members without any memorization
(``docs/concepts.md`` has an example).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trilemma.errors import InputError
from trilemma.seeds import rng_for

NEGLIGIBLE = 0.005
"""Mixes within this total variation distance are treated as equal: an AUC is a mean over non-members of values
in [0, 1], so matching could not change it by more than this."""

Array = NDArray[np.float64]
Ints = NDArray[np.int64]


_PERMUTATIONS = 999
_FALSE_ALARM = 0.01


def difference_of_mixes(
    member: NDArray[np.bool_], labels: Ints, groups: Ints | None, *, seed: int | np.random.Generator = 0
) -> float | None:
    """The total variation distance between members' and non-members' mixes of class (and group), if they differ.

    Args:
      member: bool (N,).
      labels, groups: int64 (N,); without groups, the mixes are those of classes.
      seed: the seed of the permutation test.

    Returns:
      None where the mixes are equal to within ``NEGLIGIBLE``, or where a difference as large arises in more than one of
      a hundred random divisions of the rows into members and non-members.

    >>> member, groups = np.arange(400) < 200, np.arange(400) % 2
    >>> difference_of_mixes(member, np.zeros(400, int), groups) is None
    True
    >>> difference_of_mixes(member, np.zeros(400, int), np.where(member, groups, 1))
    0.5
    """
    cells = np.unique(_cells(labels, groups, "rows"), axis=0, return_inverse=True)[1].reshape(-1)
    count = int(cells.max()) + 1
    everyone, members = np.bincount(cells), int(member.sum())

    def distance(inside: Ints) -> float:
        counts = np.bincount(inside, minlength=count)
        difference = counts / members - (everyone - counts) / (len(member) - members)
        return float(np.abs(difference).sum() / 2)

    seen = distance(cells[member])
    if seen <= NEGLIGIBLE:
        return None
    rng = rng_for(seed, "difference of mixes")
    at_least = 1 + sum(distance(rng.permutation(cells)[:members]) >= seen - 1e-12 for _ in range(_PERMUTATIONS))
    return seen if at_least / (_PERMUTATIONS + 1) <= _FALSE_ALARM else None


@dataclass(frozen=True, eq=False)
class Match:
    """The non-members to compare the members with, and their weights.

    Attributes:
      indices: int64 (K,), the chosen rows of the non-members, in ascending order.
      weights: float64 (K,), their weights, with mean 1.  The weighted mix of (class, group) pairs is exactly that
        of the covered members.
      covered: bool (M,), the members whose (class, group) pair has non-members.  The others cannot be compared
        with anything and must be left out of the matched attack (weight 0).
      uncovered_cells: the (class, group) pairs that have members but no non-members (group -1 without groups).
      distance: total variation distance between the members' mix and that of all non-members, in [0, 1].
      trivial: True if matching changes nothing: every non-member is kept, with weight 1.
    """

    indices: Ints
    weights: Array
    covered: NDArray[np.bool_]
    uncovered_cells: tuple[tuple[int, int], ...]
    distance: float
    trivial: bool

    @property
    def uncovered(self) -> float:
        """The share of members that have no non-member to be compared with."""
        return float(1 - self.covered.mean())


def matched_nonmembers(
    member_labels: Ints,
    member_groups: Ints | None,
    labels: Ints,
    groups: Ints | None,
    sources: Ints | None = None,
    seed: int | np.random.Generator = 0,
) -> Match:
    """Choose and weight non-members so that their mix of classes and groups is that of the members.

    Where ``sources`` repeat (a test image occurs once in each group), each image is used once, in one group:
    within a class, groups are filled in proportion to the members' shares, with the images taken in random
    order (those with fewer copies first, since they leave less choice).  Otherwise every row is kept.  In both
    cases, weights then make the two mixes exactly equal.  Without groups, only the mix of classes is matched.

    A cell with members but no non-members is not an error: a rare pair may be missing from a small test set.
    The result lists such cells and the share of members in them, and those members are not ``covered``.

    Args:
      member_labels, member_groups: int64 (M,); both groups arguments are None where the data has no groups.
      labels, groups: int64 (N,), those of the non-members.
      sources: int64 (N,), the image that each non-member row was made from, or None.
      seed: the seed of the random order, or a generator.

    Raises:
      InputError: lengths differ, only one side has groups, or members and non-members share no cell.

    >>> match = matched_nonmembers(
    ...     np.zeros(20, int), np.array([1] * 15 + [0] * 5),
    ...     labels=np.zeros(16, int), groups=np.tile([0, 1], 8), sources=np.arange(16) // 2,
    ... )
    >>> len(match.indices), (match.indices % 2).sum(), match.weights.tolist() == [1.0] * 8
    (8, np.int64(6), True)
    """
    if (member_groups is None) != (groups is None):
        raise InputError("groups must be given for members and non-members, or for neither")
    inside = _cells(member_labels, member_groups, "members")
    outside = _cells(labels, groups, "non-members")
    cells, codes = np.unique(np.concatenate([inside, outside]), axis=0, return_inverse=True)
    codes = codes.reshape(-1)
    in_code, out_code = codes[: len(inside)], codes[len(inside) :]
    in_count = np.bincount(in_code, minlength=len(cells))
    out_count = np.bincount(out_code, minlength=len(cells))
    distance = float(np.abs(in_count / in_count.sum() - out_count / out_count.sum()).sum() / 2)
    repeat = sources is not None and len(np.unique(sources)) < len(sources)
    if distance <= NEGLIGIBLE and not repeat and not ((in_count > 0) & (out_count == 0)).any():
        everything = np.arange(len(out_code))
        return Match(everything, np.ones(len(everything)), np.ones(len(inside), dtype=bool), (), distance, True)
    rows = np.arange(len(out_code))
    if repeat:
        assert sources is not None
        if sources.shape != out_code.shape:
            raise InputError("sources must be (N,), one for each non-member")
        rows = _one_copy_each(in_count, cells[:, 0], out_code, sources, rng_for(seed, "matching"))
    chosen = np.bincount(out_code[rows], minlength=len(cells))
    both = (in_count > 0) & (chosen > 0)
    if not both.any():
        raise InputError("members and non-members share no class and group: nothing can be matched")
    rows = rows[both[out_code[rows]]]
    weight_of_cell = np.divide(in_count, chosen, out=np.zeros(len(cells)), where=both)
    weights = weight_of_cell[out_code[rows]]
    lacking = cells[(in_count > 0) & (chosen == 0)]
    return Match(
        indices=rows,
        weights=weights / weights.mean(),
        covered=both[in_code],
        uncovered_cells=tuple((int(label), int(group)) for label, group in lacking),
        distance=distance,
        trivial=False,
    )


def _cells(labels: Ints, groups: Ints | None, side: str) -> Ints:
    if labels.ndim != 1 or len(labels) == 0 or (groups is not None and groups.shape != labels.shape):
        raise InputError(f"labels and groups of the {side} must be of equal length, and not empty")
    return np.column_stack([labels, np.full(len(labels), -1) if groups is None else groups]).astype(np.int64)


def _one_copy_each(
    in_count: Ints, class_of_cell: Ints, out_code: Ints, sources: Ints, rng: np.random.Generator
) -> Ints:
    """One row of each source, filling each class's cells in proportion to ``in_count``."""
    _, source = np.unique(sources, return_inverse=True)
    copies = np.bincount(source)
    order = rng.permutation(len(copies))
    order = order[np.argsort(copies[order], kind="stable")]
    # Copies by their cells, and not by their places, so that the choice does not depend on the order of the rows.
    by_source = np.split(np.lexsort((out_code, source)), np.cumsum(copies)[:-1])
    open_places = _quotas(in_count, class_of_cell, out_code, sources)
    chosen = np.empty(len(order), dtype=np.int64)
    for place, image in enumerate(order):
        rows = by_source[image]
        if len(rows) > 1:
            # Of two cells that are equally open, the larger one; shuffled, so that chance decides what remains.
            rows = rows[rng.permutation(len(rows))]
        row = rows[np.lexsort((in_count[out_code[rows]], open_places[out_code[rows]]))[-1]]
        open_places[out_code[row]] -= 1
        chosen[place] = row
    return np.sort(chosen)


def _quotas(in_count: Ints, class_of_cell: Ints, out_code: Ints, sources: Ints) -> Array:
    """The number of images that each cell should get: the images of its class, split as the class's members are."""
    quotas = np.zeros(len(in_count))
    for label in np.unique(class_of_cell):
        cells = np.flatnonzero(class_of_cell == label)
        members = in_count[cells].sum()
        if members == 0:
            continue
        images = len(np.unique(sources[np.isin(out_code, cells)]))
        quotas[cells] = images * in_count[cells] / members
    # A cell with members gets at least one image, since they would otherwise have no counterpart; the weights correct
    # for the surplus.  A cell without members gets none, since its images would have weight 0.
    return np.where(in_count > 0, np.maximum(quotas, 1.0), -np.inf)
