"""Which examples an audit with shadows compares, and which of them each shadow is trained on.

Of the target's N training examples a are *audited* members, and a test examples are audited non-members.  A shadow is
trained on the other N - a training examples and on one half of the 2a audited ones, so that it has exactly N examples:
the batch, the sampling probability, the noise and the number of updates are then the target's own.  Shadows come in
pairs, one trained on one half and one on the other, so that each audited example is in exactly half of them.

Members and non-members have equal counts in each cell of class and group (each test image is used in one group only),
and so have the two halves of a pair.  The comparison is therefore matched as it stands, without weights.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from trilemma.attacks.checks import MINIMUM_SIDE
from trilemma.attacks.matching import matched_nonmembers
from trilemma.data.dataset import Dataset, Split
from trilemma.errors import InputError
from trilemma.seeds import rng_for
from trilemma.words import AUDITED

Ints = NDArray[np.int64]
Booleans = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Audited:
    """The examples of an audit: members first, then as many non-members.

    Attributes:
      members: int64 (a,), rows of the training split, ascending.
      nonmembers: int64 (a,), rows of the test split, ascending.
      cells: int64 (2a,), the number of each example's class and group.
      seed: the seed of the draw and of the halves.
    """

    members: Ints
    nonmembers: Ints
    cells: Ints
    seed: int

    def __len__(self) -> int:
        return len(self.cells)

    @property
    def member(self) -> Booleans:
        """bool (2a,): which of them the target was trained on."""
        return np.arange(len(self)) < len(self.members)

    @property
    def digest(self) -> str:
        """SHA-256 (hex) of which examples these are and how they are halved."""
        return _digest(f"audited, seed {self.seed}", self.members, self.nonmembers, self.cells)

    def half(self, shadow: int) -> Booleans:
        """bool (2a,): the audited examples that a shadow is trained on; shadows 2p and 2p + 1 share none of them.

        In every cell these are exactly half of the audited examples, drawn at random.
        """
        rng = rng_for(self.seed, f"halves of shadow pair {shadow // 2}")
        first = np.zeros(len(self), dtype=bool)
        for cell in np.unique(self.cells):
            rows = np.flatnonzero(self.cells == cell)
            first[rng.permutation(rows)[: len(rows) // 2]] = True
        return first if shadow % 2 == 0 else ~first

    def member_digest(self, shadow: int) -> str:
        """SHA-256 (hex) of which audited examples a shadow is trained on."""
        return _digest(f"members of shadow {shadow} of {self.digest}", self.half(shadow).astype(np.int64))


def _digest(head: str, *arrays: Ints) -> str:
    digest = hashlib.sha256(head.encode())
    for array in arrays:
        digest.update(f"{array.shape}".encode())
        digest.update(np.ascontiguousarray(array, dtype="<i8").data)
    return digest.hexdigest()


def choose_audited(data: Dataset, size: int | None, seed: int) -> Audited:
    """Draw the examples of an audit.

    Args:
      data: what the target learned from and was tested on.
      size: 2a, the number of members and non-members together.  None: ``trilemma.words.AUDITED``, or as many as the
        data allow.
      seed: the seed of the draw; the same seed gives the same examples.

    Raises:
      InputError: the size is odd or too small, or the training split or the matched test split has fewer examples.
    """
    if size is not None and (size % 2 or size < 2 * MINIMUM_SIDE):
        raise InputError(
            f"--audited must be an even number, at least {2 * MINIMUM_SIDE}, not {size}: half of them are members"
        )
    inside, outside, nonmembers = _matched_cells(data, seed)
    cells = int(max(inside.max(), outside.max(initial=0))) + 1
    seats = _seats(np.bincount(inside, minlength=cells), np.bincount(outside, minlength=cells))
    largest = len(seats)
    if largest < MINIMUM_SIDE:
        raise InputError(
            f"an audit with shadows could compare {largest} members with as many test images with the same mix of "
            f"class and group, but needs {MINIMUM_SIDE}: use more test examples"
        )
    if size is not None and size > 2 * largest:
        raise InputError(
            f"--audited {size} asks for {size // 2} members and as many non-members of the same class and group, but "
            f"training and test split have only {largest} of each: use --audited {2 * largest} or less"
        )
    each = min(AUDITED // 2, largest) if size is None else size // 2
    counts = np.bincount(seats[:each], minlength=cells)
    rng = rng_for(seed, "audited examples")
    members = _drawn(inside, counts, rng)
    others = _drawn(outside, counts, rng)
    return Audited(members, nonmembers[others], np.concatenate([inside[members], outside[others]]), seed)


def audited_blocks(data: Dataset, seed: int) -> list[Audited]:
    """Audits that together compare every training example, each of them once.

    The training examples of each cell are dealt at random to as few blocks as let every block have as many test images
    of the cell as members.  Test images are drawn separately for each block, and may be in several.

    Args:
      data: what the target learned from and was tested on.
      seed: of the draw.

    Raises:
      InputError: a class (or a group of it) has training examples but no test image.
    """
    inside, outside, nonmembers = _matched_cells(data, seed)
    cells = int(max(inside.max(), outside.max(initial=0))) + 1
    sizes, images = np.bincount(inside, minlength=cells), np.bincount(outside, minlength=cells)
    if np.any((sizes > 0) & (images == 0)):
        raise InputError(
            "the exposure of every training example cannot be measured with shadows: a class, or a group of it, has no "
            "test image to compare with; use more test examples, or --rank histogram"
        )
    count = int(np.max(-(-sizes // np.maximum(images, 1))))
    rng = rng_for(seed, "blocks of audited examples")
    block_of = np.empty(len(inside), dtype=np.int64)
    first = 0
    for cell in np.flatnonzero(sizes):  # one cell begins where the last one ended, so that blocks are of equal size
        rows = rng.permutation(np.flatnonzero(inside == cell))
        block_of[rows] = (first + np.arange(len(rows))) % count
        first += len(rows)
    blocks = []
    for block in range(count):
        members = np.flatnonzero(block_of == block).astype(np.int64)
        others = _drawn(outside, np.bincount(inside[members], minlength=cells), rng)
        blocks.append(Audited(members, nonmembers[others], np.concatenate([inside[members], outside[others]]), seed))
    return blocks


def _grouped(data: Dataset) -> bool:
    return data.train.groups is not None and data.test.groups is not None


def _matched_cells(data: Dataset, seed: int) -> tuple[Ints, Ints, Ints]:
    """The cell of each training example, the cell of each matched test example, and the latter's rows."""
    train, test = data.train, data.test
    match = matched_nonmembers(
        train.labels,
        train.groups if _grouped(data) else None,
        test.labels,
        test.groups if _grouped(data) else None,
        test.sources,
        seed,
    )
    inside, outside = train.labels, test.labels[match.indices]
    if _grouped(data):
        assert train.groups is not None
        assert test.groups is not None
        groups = int(max(train.groups.max(), test.groups.max())) + 1
        inside, outside = inside * groups + train.groups, outside * groups + test.groups[match.indices]
    # Cells that only the test split has are numbered too; nothing is drawn from them.
    codes = np.unique(np.concatenate([inside, outside]), return_inverse=True)[1].reshape(-1).astype(np.int64)
    return codes[: len(inside)], codes[len(inside) :], match.indices


def _seats(inside: Ints, outside: Ints) -> Ints:
    """The cell of the first audited member, of the second, and so on, as far as the test images of the cells reach.

    Seats go to cells in proportion to the training split by the divisor method of Webster and Sainte-Lague: the next
    one to the cell with the largest size / (2 c + 1), where c is the number of seats it has.  A smaller audit takes
    the first seats of a larger one, so that every size up to the largest fits.  (Under largest remainders a cell may
    lose a seat where the audit gains one, so that a smaller audit may not fit.)  No cell is given more seats than it
    has training examples.  Cells without a test image have nothing to be compared with and are given none.

    Args:
      inside, outside: int (cells,), the training examples and the matched test examples of each cell.
    """
    sizes = np.where(outside > 0, inside, 0)
    cells = np.repeat(np.arange(len(sizes)), sizes)
    taken = np.arange(len(cells)) - (np.cumsum(sizes) - sizes)[cells]
    order = np.argsort(-sizes[cells] / (2 * taken + 1), kind="stable")
    cells, taken = cells[order], taken[order]
    without_image = np.flatnonzero(taken >= outside[cells])
    seats: Ints = cells[: without_image[0]] if len(without_image) else cells
    return seats


def _drawn(cells: Ints, counts: Ints, rng: np.random.Generator) -> Ints:
    """Rows drawn at random, so many of each cell, ascending."""
    by_cell = [rng.permutation(np.flatnonzero(cells == cell))[:count] for cell, count in enumerate(counts) if count]
    rows: Ints = np.sort(np.concatenate(by_cell)).astype(np.int64)
    return rows


def audited_split(data: Dataset, audited: Audited) -> Split:
    """The audited examples as one split, members first; the training split must have the same kind of groups."""
    return _joined(data, data.train.take(audited.members), data.test.take(audited.nonmembers))


def shadow_data(data: Dataset, audited: Audited, shadow: int) -> Dataset:
    """What a shadow is trained on, and the audited examples in place of the test split.

    Its training split has as many examples as the target's: those that are not audited, and the shadow's half.

    Raises:
      InputError: the audited examples were not drawn from these data, so that the sizes differ.
    """
    everyone = audited_split(data, audited)
    rest = data.train.take(np.setdiff1d(np.arange(len(data.train)), audited.members))
    train = _joined(data, rest, everyone.take(np.flatnonzero(audited.half(shadow))))
    if len(train) != len(data.train):
        raise InputError(
            f"shadow {shadow} would have {len(train)} training examples, and its target has {len(data.train)}: draw "
            "the audited examples from these data with choose_audited"
        )
    return replace(data, train=train, test=everyone)


def _joined(data: Dataset, first: Split, second: Split) -> Split:
    groups = None
    if _grouped(data):
        assert first.groups is not None
        assert second.groups is not None
        groups = np.concatenate([first.groups, second.groups])
    return Split(
        images=np.concatenate([first.images, second.images]),
        labels=np.concatenate([first.labels, second.labels]),
        groups=groups,
    )
