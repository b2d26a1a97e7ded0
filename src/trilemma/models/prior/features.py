"""The features of images under a prior, computed once and kept on disk."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from trilemma.data.cache import cache_folder
from trilemma.models.prior.family import UNMOVED, Settings, working_shape
from trilemma.models.prior.pooling import Shift
from trilemma.models.prior.rows import Features, Rows, rows_of
from trilemma.models.prior.store import fitted, key_of
from trilemma.progress import Progress

FORMAT = 1


def features_of(
    blocks: tuple[Settings, ...],
    splits: Sequence[NDArray[np.uint8]],
    seed: int,
    *,
    shifts: tuple[Shift, ...] = UNMOVED,
    folder: Path | None = None,
    progress: Progress = lambda *_: None,
) -> list[Features]:
    """The features of images under the prior of these blocks, read from the cache where it contains them.

    Args:
      blocks: a value of ``trilemma.models.prior.PRIORS``, or other blocks.
      splits: arrays uint8 (N, C, H, W), all with images of one shape.
      seed: the seed of the dictionary.
      shifts: one shift for each view; see :func:`trilemma.models.prior.view_shifts`.
      folder: the folder of the cache; None: the user's cache folder.
      progress: called with (description, done, total).

    Returns:
      One :class:`Features` for each split.

    Raises:
      InputError: the images are too small, or there is not enough disk space or memory.
    """
    shape: tuple[int, int, int] = splits[0].shape[1:]
    working_shape(shape)
    home = folder or cache_folder() / "features"

    def prepare() -> Callable[[Tensor], Tensor]:
        prior = fitted(blocks, shape, seed, folder=home / "priors", tell=lambda what: progress(what, 0, 0))
        return lambda images: prior(images, shifts)

    rows = Rows(
        "features",
        (len(shifts), 1 + sum(block.keep for block in blocks)),
        memory_needed(blocks),
        "use prior-s, or a machine with more",
        prepare,
    )
    key = key_of(f"trilemma features {FORMAT}", blocks, shape, seed, shifts)
    return rows_of(rows, splits, home / key, progress)


def memory_needed(blocks: tuple[Settings, ...]) -> int:
    """Approximate bytes: twice the largest block's features of synthetic images and their copies, and the products."""
    widest = max(block.width for block in blocks)
    components = sum(block.width * block.keep for block in blocks)
    return 4 * (4 * 6000 * widest + 3 * 6000**2 + components) + 2**29
