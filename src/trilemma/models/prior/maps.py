"""Fixed maps: a public first layer, on which a small convolutional network is trained (``prior-conv``).

A map shows, for each cell of an image, the local descriptor of :mod:`trilemma.models.prior.local`: the responses of
filters that are patches of synthetic images, averaged over the cell, projected to their leading principal components
over synthetic images and scaled to about the same size.  Nothing is fitted to the training images, so maps of private
images are exactly as sensitive as the images: training on them must be private, and computing them needs no budget.

Source of the idea: a small network on fixed wavelet coefficients (Tramer and Boneh 2021).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from trilemma.data.cache import cache_folder
from trilemma.errors import InputError
from trilemma.models.prior import family
from trilemma.models.prior.family import reduced, stride_for, working_shape
from trilemma.models.prior.local import THRESHOLD, LocalMaps, by_size, exchanged
from trilemma.models.prior.patches import PATCH
from trilemma.models.prior.rows import Features, Rows, rows_of
from trilemma.models.prior.store import key_of, stored
from trilemma.models.prior.synthetic import synthetic_images
from trilemma.progress import Progress
from trilemma.seeds import generator_for

FORMAT = 1
CHANNELS = 96
"""Channels of a map, in the order of their variance over synthetic images."""

CELL = 3
"""The side length of a cell, in positions of the filters."""

_FILTERS = 256
_SPARE = 16
"""Components that may be left out because they are neither even nor odd under mirroring."""

_AT_ONCE = 4  # images, so that responses fit into the processor's cache


def map_shape(shape: tuple[int, int, int]) -> tuple[int, int, int]:
    """The shape (c, h, w) of the map of an image of ``shape`` (C, H, W).

    >>> map_shape((3, 32, 32)), map_shape((1, 64, 64))
    ((96, 9, 9), (96, 10, 10))

    Raises:
      InputError: the images are too small.
    """
    working = working_shape(shape)
    stride = stride_for(working)
    rows, columns = (((side - PATCH) // stride + 1) // CELL for side in working[1:])
    return CHANNELS, rows, columns


def fitted_maps(
    shape: tuple[int, int, int], seed: int, *, folder: Path | None = None, tell: Callable[[str], None] = lambda _: None
) -> LocalMaps:
    """The descriptors for images of a shape, fitted to synthetic images, from the cache where it has them.

    Args:
      shape: (C, H, W), the shape of the images.
      seed: the seed of the dictionary: of the synthetic images, and of the patches chosen from them.
      folder: the folder of the cache; None: the user's cache folder.
      tell: called with a description of each step.

    Raises:
      InputError: the images are too small.
    """
    working = working_shape(shape)

    def fit() -> LocalMaps:
        tell("drawing synthetic images")
        images = synthetic_images(family.DICTIONARY_IMAGES, working, seed)
        tell("fitting maps to synthetic images")
        local = LocalMaps.fit(
            images,
            filters=_FILTERS,
            channels=CHANNELS + _SPARE,
            cell=CELL,
            phases=((0, 0),),
            coarse=False,
            stride=stride_for(working),
            generator=generator_for(seed, "dictionary maps"),
        )
        return even_or_odd(local)

    return stored(_key("fitted maps", working, seed), LocalMaps, fit, folder)


def even_or_odd(local: LocalMaps) -> LocalMaps:
    """The leading components that a mirrored image has with the same or the opposite sign.  Two components of nearly
    equal variance can come out mixed, and then neither is even or odd; such pairs are left out, so that the map of a
    mirrored image is the mirrored map times ``signs``.

    Raises:
      InputError: too few components are even or odd.
    """
    components = local.channels / local.channels.norm(dim=0)
    pure = (components * exchanged(components.T.contiguous(), local.filters.count).T).sum(0).abs() > 0.9999
    chosen = pure.nonzero()[:CHANNELS, 0]
    if len(chosen) < CHANNELS:
        raise InputError(f"only {len(chosen)} of {CHANNELS} components are even or odd: use another prior_seed")
    return replace(local, channels=local.channels[:, chosen].contiguous(), signs=local.signs[chosen].clone())


@torch.no_grad()
def maps_from(local: LocalMaps, images: Tensor) -> Tensor:
    """The maps float32 (n, c, h, w) of images uint8 (n, C, H, W), each a function of its image alone."""
    return torch.cat([_maps(local, part) for part in reduced(images).split(_AT_ONCE)])


def maps_of(
    splits: Sequence[NDArray[np.uint8]],
    seed: int,
    *,
    folder: Path | None = None,
    progress: Progress = lambda *_: None,
) -> list[Features]:
    """The maps of images, read from the cache where it contains them.

    Args:
      splits: arrays uint8 (N, C, H, W), all with images of one shape.
      seed: the seed of the dictionary.
      folder: the folder of the cache; None: the user's cache folder.
      progress: called with (description, done, total).

    Returns:
      One :class:`Features` of shape (1, c, h, w) for each split.

    Raises:
      InputError: the images are too small, or there is not enough disk space or memory.
    """
    shape: tuple[int, int, int] = splits[0].shape[1:]
    home = folder or cache_folder() / "features"

    def prepare() -> Callable[[Tensor], Tensor]:
        local = fitted_maps(shape, seed, folder=home / "priors", tell=lambda what: progress(what, 0, 0))
        return lambda images: maps_from(local, images)[:, None]

    rows = Rows("maps", (1, *map_shape(shape)), memory_needed(), "use a machine with more", prepare)
    return rows_of(rows, splits, maps_folder(shape, seed, home), progress)


def maps_folder(shape: tuple[int, int, int], seed: int, folder: Path | None = None) -> Path:
    """The folder for maps of images of this shape; it need not exist."""
    return (folder or cache_folder() / "features") / _key("maps", shape, seed)


def memory_needed() -> int:
    """Approximate bytes: synthetic images, and the responses in their cells."""
    return 2**31


def _maps(local: LocalMaps, images: Tensor) -> Tensor:
    """As ``local`` computes them, at half the time: the means over cells are taken by pooling, which for one grid that
    starts at (0, 0) is the same."""
    rows, columns = local.map_size(*images.shape[-2:])
    responses = local.filters.responses(images, threshold=THRESHOLD).view(len(images), rows, columns, -1)
    responses = responses.permute(0, 3, 1, 2)
    above = F.avg_pool2d(responses.relu(), CELL)
    # max(-z - t, 0) = -min(z - t, -2 t) - 2 t
    below = F.avg_pool2d(responses.clamp_(max=-2 * THRESHOLD).add_(2 * THRESHOLD), CELL).neg_()
    pooled = torch.cat([above, below], dim=1).permute(0, 2, 3, 1).float()
    return by_size((pooled - local.mean) @ local.channels).permute(0, 3, 1, 2).contiguous()


def _key(kind: str, shape: tuple[int, int, int], seed: int) -> str:
    return key_of(f"trilemma {kind} {FORMAT}", (), shape, seed, _FILTERS, CHANNELS, CELL, family.DICTIONARY_IMAGES)
