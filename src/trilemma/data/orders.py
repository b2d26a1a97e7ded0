"""Seeded orders of examples.

The orders are built from the raw 64-bit output of PCG64, which NumPy promises never to change, and not from
``Generator.permutation``, which it may: a subset drawn today is the subset drawn with next year's NumPy.
"""

from __future__ import annotations

import operator

import numpy as np
from numpy.typing import NDArray

from trilemma.errors import InputError


def raw_draws(count: int, seed: int, purpose: str) -> NDArray[np.uint64]:
    """uint64 (count,), uniform; streams for different ``purpose`` are independent.

    Raises:
      InputError: the seed is not a whole number of at least 0.
    """
    try:
        whole = operator.index(seed)
    except TypeError:
        whole = -1
    if whole < 0:
        raise InputError(f"the seed must be a whole number of at least 0, not {seed!r}")
    stream = np.random.PCG64(np.random.SeedSequence([whole, *purpose.encode()]))
    return np.asarray(stream.random_raw(count), dtype=np.uint64)


def seeded_order(count: int, seed: int, purpose: str) -> NDArray[np.int64]:
    """A uniformly drawn order of 0 .. count - 1, int64 (count,).

    >>> bool((np.sort(seeded_order(5, 0, "example")) == np.arange(5)).all())
    True
    """
    return np.argsort(raw_draws(count, seed, purpose), kind="stable").astype(np.int64)


def stratified_order(
    labels: NDArray[np.int64], groups: NDArray[np.int64] | None, seed: int, purpose: str
) -> NDArray[np.int64]:
    """An order whose every prefix has the whole's mix of classes (and groups).

    One example of each class comes first; then, within each cell (class, or class and group) of size m, the
    k-th example is placed at (k + ½) / m, so the first n examples hold n·m/N of each cell to within one or two.
    Prefixes are nested: the first 100 are among the first 200.

    Args:
      labels: int64 (N,).
      groups: int64 (N,) or None.
      seed, purpose: the seed and the purpose of the stream that the order within each cell is drawn from.

    Returns:
      int64 (N,), a permutation of 0 .. N - 1.
    """
    count = len(labels)
    shuffled = seeded_order(count, seed, purpose)
    cells = labels if groups is None else labels * (int(groups.max(initial=0)) + 1) + groups
    position = np.empty(count, dtype=np.float64)
    for cell in np.unique(cells):
        members = shuffled[cells[shuffled] == cell]
        position[members] = (np.arange(len(members)) + 0.5) / len(members)
    first_of_class = np.unique(labels[shuffled], return_index=True)[1]
    position[shuffled[first_of_class]] = -1.0
    # ties (equal cells) follow the drawn order, so no class is favored by its number
    return shuffled[np.argsort(position[shuffled], kind="stable")]
