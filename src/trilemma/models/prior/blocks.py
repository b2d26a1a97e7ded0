"""Blocks: from images to features, by one or two layers of filters fitted to synthetic images.

A block's features of an image and of its mirror image are averaged, so that they hardly differ (and are the same where
the grids of cells are symmetric).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from trilemma.models.prior.patches import PatchFilters, compute_type, two_sided
from trilemma.models.prior.pooling import as_means, cells, centres, quarters

_THRESHOLD = 0.25  # of the first layer, where responses have a deviation near 1
_CELL = 3  # pixels of the first layer's map that the second layer sees as one


class Block(Protocol):
    """Images (n, C, H, W) with values 0 to 255 -> features float32 (n, d)."""

    def __call__(self, images: Tensor) -> Tensor: ...


@dataclass(frozen=True, eq=False)
class OneLayer:
    """Responses to patches, averaged over the four quarters of the map: 16 features a filter (two signs, two mirror
    images that become one, four quarters: 8 F in all).

    Attributes:
      filters: of the patches.
      coarse: look at the image at half its size.
      soft: the quarters overlap.
    """

    filters: PatchFilters
    coarse: bool
    soft: bool

    @classmethod
    def fit(
        cls, images: Tensor, *, filters: int, coarse: bool, soft: bool, stride: int, generator: torch.Generator
    ) -> OneLayer:
        """From synthetic images."""
        seen = halved(images) if coarse else images
        return cls(PatchFilters.fit(seen, filters, stride=stride, generator=generator), coarse, soft)

    def __call__(self, images: Tensor) -> Tensor:
        seen = halved(images) if self.coarse else images
        rows, columns = self.filters.map_size(*seen.shape[-2:])
        down = centres(rows).repeat_interleave(columns)
        right = centres(columns).repeat(rows)
        means = as_means(quarters(down, right, soft=self.soft))
        pooled = two_sided(self.filters.responses(seen, threshold=_THRESHOLD), _THRESHOLD, means)
        # (n, up and down, left and right, sign, mirror image of the filter, filter)
        parts = pooled.view(len(images), 2, 2, 2, 2, self.filters.count)
        return ((parts[:, :, :, :, 0] + parts[:, :, :, :, 1].flip(2)) / 2).flatten(1)


@dataclass(frozen=True, eq=False)
class TwoLayer:
    """A second layer of filters on the first one's map: 2 signs and 4 quarters, 8 features a filter.

    The first map is averaged over cells of 3 x 3 before the second layer sees 3 x 3 of them.  Doing so from several
    starting points (``phases``) in place of one makes the features less sensitive to where the grid of cells happens
    to lie (anti-aliasing).

    Attributes:
      first: filters of the first layer.
      channel_mean, channels: float32 (4 F1,) and (4 F1, c): principal components of the first map.
      matrix: float32 (9 c + 1, F2); the last row is an offset.
      threshold: of the second layer.
      phases: where the grids of cells start.
      soft: the quarters overlap.
    """

    first: PatchFilters
    channel_mean: Tensor
    channels: Tensor
    matrix: Tensor
    threshold: float
    phases: tuple[tuple[int, int], ...]
    soft: bool

    @classmethod
    def fit(
        cls,
        images: Tensor,
        *,
        first: int,
        second: int,
        channels: int,
        phases: tuple[tuple[int, int], ...],
        soft: bool,
        stride: int,
        generator: torch.Generator,
    ) -> TwoLayer:
        """From synthetic images."""
        filters = PatchFilters.fit(images, first, stride=stride, generator=generator)
        grid, (rows, columns) = cells(*filters.map_size(*images.shape[-2:]), size=_CELL, start=(0, 0))
        parts = [
            two_sided(filters.responses(part, threshold=_THRESHOLD), _THRESHOLD, grid)
            for part in images[:3000].split(50)
        ]
        plain = torch.cat(parts).view(-1, rows, columns, 4 * first)
        maps = torch.cat([plain, _mirrored_map(plain, first)])
        flat = maps.flatten(0, 2)
        mean = flat.mean(0)
        values, vectors = torch.linalg.eigh(flat.T @ flat / len(flat) - mean[:, None] * mean)
        values, vectors = values.flip(0)[:channels], vectors.flip(1)[:, :channels]
        projection = vectors * (values + 0.003 * values.mean()).rsqrt()
        patches = _neighbourhoods(((flat - mean) @ projection).view(-1, rows, columns, channels))
        patches = _by_size(patches.flatten(0, 1))
        center = patches.mean(0)
        covariance = patches.T @ patches / len(patches) - center[:, None] * center
        values, vectors = torch.linalg.eigh(covariance)
        whiten = vectors @ ((values + 0.1 * values.mean()).rsqrt()[:, None] * vectors.T)
        chosen = patches[torch.randperm(len(patches), generator=generator)[:second]]
        words = (chosen - center) @ whiten
        matrix = whiten @ (words / words.norm(dim=1, keepdim=True)).T
        matrix = torch.cat([matrix, -(center @ matrix)[None]])
        deviation = float((chosen[:500] @ matrix[:-1] + matrix[-1]).std())
        return cls(filters, mean, projection, matrix, 0.5 * deviation, phases, soft)

    def __call__(self, images: Tensor) -> Tensor:
        height, width = self.first.map_size(*images.shape[-2:])
        grids = [cells(height, width, size=_CELL, start=start) for start in self.phases]
        sizes = [size for _, size in grids]
        pooled = two_sided(
            self.first.responses(images, threshold=_THRESHOLD), _THRESHOLD, torch.cat([grid for grid, _ in grids])
        )
        total = torch.zeros(())
        for mirrored in (False, True):
            patches = []
            for part, size in zip(pooled.split([rows * columns for rows, columns in sizes], dim=1), sizes, strict=True):
                maps = part.reshape(len(images), *size, 4 * self.first.count)
                if mirrored:
                    maps = _mirrored_map(maps, self.first.count)
                patches.append(_neighbourhoods((maps - self.channel_mean) @ self.channels))
            seen = _by_size(torch.cat(patches, dim=1))
            kind = compute_type()
            inputs = torch.ones(*seen.shape[:2], seen.shape[2] + 1, dtype=kind)
            inputs[..., :-1] = seen
            matrix = self.matrix.clone()
            matrix[-1] -= self.threshold
            means = self._means(height, width, sizes, mirrored=mirrored)
            total = total + two_sided(inputs @ matrix.to(kind), self.threshold, means) / 2
        return total.flatten(1)

    def _means(self, height: int, width: int, sizes: list[tuple[int, int]], *, mirrored: bool) -> Tensor:
        """Means over the quarters of the places where the second layer looked, on the fine grid of the first map."""
        fine = height - 3 * _CELL + 1, width - 3 * _CELL + 1
        down, right = [], []
        for (top, left), (rows, columns) in zip(self.phases, sizes, strict=True):
            y = top + _CELL * torch.arange(rows - 2)
            x = left + _CELL * torch.arange(columns - 2)
            if mirrored:
                x = (fine[1] - 1 - x).flip(0)
            down.append(((y + 0.5) / fine[0]).repeat_interleave(len(x)))
            right.append(((x + 0.5) / fine[1]).repeat(len(y)))
        return as_means(quarters(torch.cat(down), torch.cat(right), soft=self.soft))


def halved(images: Tensor) -> Tensor:
    """float (n, C, H // 2, W // 2): means of 2 x 2 pixels."""
    return F.avg_pool2d(images.float(), 2)


def _mirrored_map(maps: Tensor, filters: int) -> Tensor:
    """First-layer maps (n, rows, columns, 4 F) of the mirrored images: columns reversed, filters and mirror images
    exchanged."""
    n, rows, columns, _ = maps.shape
    return maps.view(n, rows, columns, 2, 2, filters).flip(2, 4).reshape(maps.shape)


def _neighbourhoods(maps: Tensor) -> Tensor:
    """(n, rows, columns, c) -> (n, (rows - 2) (columns - 2), 9 c): each place with its neighbours."""
    return maps.unfold(1, 3, 1).unfold(2, 3, 1).flatten(3).flatten(1, 2)


def _by_size(patches: Tensor) -> Tensor:
    return patches * (patches.square().mean(-1, keepdim=True) + 0.1).rsqrt()
