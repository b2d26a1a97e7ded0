"""Images that occur more than once, found by their content: the guarantee and an audit count examples, not images."""

from __future__ import annotations

import hashlib
from collections import Counter

import numpy as np
from numpy.typing import NDArray

from trilemma.data.dataset import Dataset
from trilemma.seeds import rng_for
from trilemma.words import counted

_BLOCK = 2**24
"""The number of bytes that are added up at once."""


def duplicate_notes(data: Dataset) -> tuple[str, ...]:
    """Notes on images that occur twice: within the training split, and in both splits.

    Two images are the same if all their pixels are, whatever their labels.
    """
    train, test = _repeated(data.train.images, data.test.images)
    notes = []
    within = Counter(train.values())
    repeated = {content: count for content, count in within.items() if count > 1}
    if repeated:
        labels: dict[bytes, set[int]] = {}
        for row, content in train.items():
            labels.setdefault(content, set()).add(int(data.train.labels[row]))
        occur = counted(len(repeated), "training image occurs", "training images occur")
        torn = sum(len(labels[content]) > 1 for content in repeated)
        notes.append(
            f"{occur} more than once (in {sum(repeated.values())} of {len(data.train)} "
            f"examples, one of them {max(repeated.values())} times"
            + (f"; {torn} under different labels" if torn else "")
            + "): epsilon is for one example, so it says less of an image that is several"
        )
    both = sum(content in within for content in test.values())
    if both:
        notes.append(
            f"{both} of {len(data.test)} test images are also in the training set: for these an audit compares members "
            f"with members, and accuracy is that of training"
        )
    inside = Counter(test.values())
    copies = sum(count - 1 for count in inside.values())
    if copies:
        notes.append(f"{copies} of {len(data.test)} test images are copies of other test images")
    return tuple(notes)


def _repeated(*arrays: NDArray[np.uint8]) -> tuple[dict[int, bytes], ...]:
    """For each array the rows whose content occurs more than once in all of them together, with its SHA-256.

    Sums over the bytes tell nearly all others apart at the speed of memory; only what is left is hashed.
    """
    sums = [_sums(array) for array in arrays]
    values, counts = np.unique(np.concatenate(sums), return_counts=True)
    again = values[counts > 1]
    return tuple(
        {
            int(row): hashlib.sha256(np.ascontiguousarray(array[row]).data).digest()
            for row in np.flatnonzero(np.isin(own, again))
        }
        for array, own in zip(arrays, sums, strict=True)
    )


def _sums(images: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """uint64 (N,): equal for equal images, and hardly ever for others."""
    count, size = len(images), int(np.prod(images.shape[1:]))
    words = -(-size // 8)
    odd = rng_for(0, "sums of images").integers(0, 2**63, words, dtype=np.uint64) * np.uint64(2) + np.uint64(1)
    sums = np.empty(count, dtype=np.uint64)
    rows = max(1, _BLOCK // max(1, 8 * words))
    for start in range(0, count, rows):
        block = np.asarray(images[start : start + rows]).reshape(-1, size)
        if size % 8:
            block = np.pad(block, ((0, 0), (0, 8 * words - size)))
        whole = np.ascontiguousarray(block).view(np.uint64)
        whole = whole ^ (whole >> np.uint64(29))
        sums[start : start + rows] = (whole * odd).sum(axis=1, dtype=np.uint64)
    return sums
