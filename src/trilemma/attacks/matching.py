"""Non-members with the members' own mix of class and group, so that an AUC means memory and nothing else.

An attack asks "seen or not?", but if non-members come from another mix than members it can win by answering
"which mix?": on data that is skewed in training and balanced in testing, "rare colour for this class" tells
them apart without any memory (METHODS 5.5a).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trilemma.errors import InputError
from trilemma.seeds import rng_for

NEGLIGIBLE = 0.005
"""Mixes whose total variation distance is at most this are taken as equal: an AUC is a mean of values in
[0, 1] over the non-members, so matching could move none by more than this."""

Array = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Match:
    """Which non-members to compare the members with, and how much each counts.

    Attributes:
      indices: int64 (K,), ascending rows of the non-members that were given.
      weights: float64 (K,), their weights, with mean 1: the weighted mix of (class, group) is that of the
        covered members, exactly.
      covered: bool (M,), the members whose (class, group) has non-members; the others have nothing to be
        compared with and must be left out (weight 0) of the matched attack.
      uncovered_cells: (class, group) pairs that members have and non-members lack (group -1 without groups).
      distance: total variation distance between the members' mix and that of all non-members, in [0, 1].
      trivial: True where matching changes nothing: every non-member is kept, with weight 1.
    """

    indices: Ints
    weights: Array
    covered: NDArray[np.bool_]
    uncovered_cells: tuple[tuple[int, int], ...]
    distance: float
    trivial: bool

    @property
    def uncovered(self) -> float:
        """Share of the members that no non-member can be compared with."""
        return float(1 - self.covered.mean())


def matched_nonmembers(
    member_labels: Ints,
    member_groups: Ints | None,
    labels: Ints,
    groups: Ints | None,
    sources: Ints | None = None,
    seed: int | np.random.Generator = 0,
) -> Match:
    """Choose and weigh non-members so that their mix of class and group is the members'.

    Where ``sources`` repeat (a test picture once in each group) each picture is used once, in one group:
    within a class, groups are filled in proportion to the members' share of them, the pictures being taken
    in random order (those with fewer copies first, since they have less choice).  Otherwise every row stays.
    Either way weights then make the mix equal to the example.  Without groups the mix is that of classes.

    Cells that only members have are not an error: a rare pair may well be missing from a small test set.
    They are named, with the share of members in them, and those members are not ``covered``.

    Args:
      member_labels, member_groups: int64 (M,); groups None on both sides where there are none.
      labels, groups: int64 (N,), of the non-members.
      sources: int64 (N,), the picture each non-member row was made from, or None.
      seed: of the random order, or a generator.

    Raises:
      InputError: lengths differ, only one side has groups, or no cell is shared.

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
        raise InputError(f"labels and groups of the {side} must be of one length, and not empty")
    return np.column_stack([labels, np.full(len(labels), -1) if groups is None else groups]).astype(np.int64)


def _one_copy_each(
    in_count: Ints, class_of_cell: Ints, out_code: Ints, sources: Ints, rng: np.random.Generator
) -> Ints:
    """One row of each source, filling each class's cells in proportion to ``in_count``."""
    _, source = np.unique(sources, return_inverse=True)
    copies = np.bincount(source)
    order = rng.permutation(len(copies))
    order = order[np.argsort(copies[order], kind="stable")]
    by_source = np.split(np.argsort(source, kind="stable"), np.cumsum(copies)[:-1])
    open_places = _quotas(in_count, class_of_cell, out_code, sources)
    chosen = np.empty(len(order), dtype=np.int64)
    for place, picture in enumerate(order):
        rows = by_source[picture]
        if len(rows) > 1:
            # Shuffled so that equal needs are not always met in the order of the rows.
            rows = rows[rng.permutation(len(rows))]
        row = rows[np.argmax(open_places[out_code[rows]])]
        open_places[out_code[row]] -= 1
        chosen[place] = row
    return np.sort(chosen)


def _quotas(in_count: Ints, class_of_cell: Ints, out_code: Ints, sources: Ints) -> Array:
    """How many pictures each cell should get: the class's pictures, split as its members are."""
    quotas = np.zeros(len(in_count))
    for label in np.unique(class_of_cell):
        cells = np.flatnonzero(class_of_cell == label)
        members = in_count[cells].sum()
        if members == 0:
            continue
        pictures = len(np.unique(sources[np.isin(out_code, cells)]))
        quotas[cells] = pictures * in_count[cells] / members
    # At least one where there are members: a cell left empty would leave them without counterpart, and the
    # weights undo what one picture is too many.  Never one where there are none: it would count for nothing.
    return np.where(in_count > 0, np.maximum(quotas, 1.0), -np.inf)
