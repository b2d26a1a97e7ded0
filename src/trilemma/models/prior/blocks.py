"""Blocks that map images to features, by one or two layers of filters fitted to synthetic images.

A block averages the features of an image and of its mirror image, so that the two images have almost the same features
(exactly the same where the grids of cells are symmetric).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

from trilemma.models.prior.local import THRESHOLD, LocalMaps, by_size
from trilemma.models.prior.patches import PatchFilters, compute_type, two_sided
from trilemma.models.prior.pooling import Shift, as_means, centers, halved, quarters


@dataclass(eq=False)
class Seen:
    """A batch of images, with descriptors that several blocks share.

    Attributes:
      images: (n, C, H, W), values 0 to 255.
    """

    images: Tensor
    _maps: dict[int, Tensor] = field(default_factory=dict)

    def maps(self, local: LocalMaps) -> Tensor:
        """The descriptors of the images, computed once."""
        if id(local) not in self._maps:
            self._maps[id(local)] = local(self.images)
        return self._maps[id(local)]


class Block(Protocol):
    """A map from images to features float32 (n, V, d), with one row for each of V shifts of the pooling windows."""

    def __call__(self, seen: Seen, shifts: Sequence[Shift]) -> Tensor: ...


@dataclass(frozen=True, eq=False)
class OneLayer:
    """Responses to patches, averaged over the four quarters of the map: 2 signs and 4 quarters, 8 features per filter.

    Attributes:
      filters: the filters that are applied to patches.
      coarse: whether images are reduced to half their size.
      soft: whether the quarters overlap.
    """

    filters: PatchFilters
    coarse: bool
    soft: bool

    @classmethod
    def fit(
        cls, images: Tensor, *, filters: int, coarse: bool, soft: bool, stride: int, generator: torch.Generator
    ) -> OneLayer:
        """Fit the block to synthetic images."""
        images = halved(images) if coarse else images
        return cls(PatchFilters.fit(images, filters, stride=stride, generator=generator), coarse, soft)

    def __call__(self, seen: Seen, shifts: Sequence[Shift]) -> Tensor:
        images = halved(seen.images) if self.coarse else seen.images
        rows, columns = self.filters.map_size(*images.shape[-2:])
        down, right = centers(rows).repeat_interleave(columns), centers(columns).repeat(rows)
        responses = self.filters.responses(images, threshold=THRESHOLD)
        both = torch.zeros(())
        # The response of a filter to the mirrored image is the response of the mirrored filter to the image.
        for part, across in zip(responses.chunk(2, dim=2), (right, 1 - right), strict=True):
            weights = [quarters(down, across, soft=self.soft, shift=shift) for shift in shifts]
            both = both + two_sided(part, THRESHOLD, as_means(torch.cat(weights))) / 2
        return both.view(len(images), len(shifts), -1)


@dataclass(frozen=True, eq=False)
class SecondOrder:
    """Second-order pooling of descriptors: the mean of x x' over each quarter (Carreira et al. 2012), followed by the
    matrix square root (Li et al. 2018); c channels give c (c + 1) / 2 features per quarter.

    Attributes:
      local: the descriptors.
    """

    local: LocalMaps

    def __call__(self, seen: Seen, shifts: Sequence[Shift]) -> Tensor:
        x = by_size(seen.maps(self.local))
        down, right = _places(self.local, seen.images, reach=1)
        both = torch.zeros(())
        for mirrored in (False, True):
            across = 1 - right if mirrored else right
            weights = as_means(torch.cat([quarters(down, across, soft=True, shift=shift) for shift in shifts]))
            scaled = x[:, None] * weights.sqrt()[None, :, :, None]
            products = scaled.mT @ scaled
            if mirrored:
                products = products * (self.local.signs[:, None] * self.local.signs)
            both = both + products / 2
        first, second = torch.triu_indices(x.shape[2], x.shape[2])
        return matrix_root(both)[..., first, second].view(len(x), len(shifts), -1)


@dataclass(frozen=True, eq=False)
class TwoLayer:
    """A second layer of filters on 3 x 3 neighboring descriptors: 2 signs and 4 quarters give 8 features per filter.

    Attributes:
      local: the descriptors, with c channels.
      matrix: float32 (9 c + 1, F2); the last row is an offset.
      threshold: the threshold of the second layer.
      soft: whether the quarters overlap.
    """

    local: LocalMaps
    matrix: Tensor
    threshold: float
    soft: bool

    @classmethod
    def fit(cls, local: LocalMaps, images: Tensor, *, filters: int, soft: bool, generator: torch.Generator) -> TwoLayer:
        """Fit the block to synthetic images."""
        rows, columns = local.sizes(*images.shape[-2:])[0]
        plain = torch.cat([local(part)[:, : rows * columns] for part in images[:3000].split(50)])
        maps = plain.view(len(plain), rows, columns, -1)
        both = torch.cat([maps, maps.flip(2) * local.signs])
        patches = by_size(_neighborhoods(both).flatten(0, 1))
        center = patches.mean(0)
        covariance = patches.T @ patches / len(patches) - center[:, None] * center
        values, vectors = torch.linalg.eigh(covariance)
        whiten = vectors @ ((values + 0.1 * values.mean()).rsqrt()[:, None] * vectors.T)
        chosen = patches[torch.randperm(len(patches), generator=generator)[:filters]]
        words = (chosen - center) @ whiten
        matrix = whiten @ (words / words.norm(dim=1, keepdim=True)).T
        matrix = torch.cat([matrix, -(center @ matrix)[None]])
        std = float((chosen[:500] @ matrix[:-1] + matrix[-1]).std())
        return cls(local, matrix, 0.5 * std, soft)

    def __call__(self, seen: Seen, shifts: Sequence[Shift]) -> Tensor:
        maps = seen.maps(self.local)
        sizes = self.local.sizes(*seen.images.shape[-2:])
        kind = compute_type()
        matrix = self.matrix.clone()
        matrix[-1] -= self.threshold
        down, right = _places(self.local, seen.images, reach=3)
        total = torch.zeros(())
        for mirrored in (False, True):
            patches = []
            for part, size in zip(maps.split([rows * columns for rows, columns in sizes], dim=1), sizes, strict=True):
                grid = part.reshape(len(part), *size, -1)
                # The mirrored image's neighborhoods, in the order of their positions in the original image.
                patches.append(_neighborhoods(grid.flip(2) * self.local.signs if mirrored else grid, mirrored))
            scaled = by_size(torch.cat(patches, dim=1))
            inputs = torch.ones(*scaled.shape[:2], scaled.shape[2] + 1, dtype=kind)
            inputs[..., :-1] = scaled
            across = 1 - right if mirrored else right
            weights = [quarters(down, across, soft=self.soft, shift=shift) for shift in shifts]
            total = total + two_sided(inputs @ matrix.to(kind), self.threshold, as_means(torch.cat(weights))) / 2
        return total.view(len(maps), len(shifts), -1)


def matrix_root(moments: Tensor) -> Tensor:
    """An approximate square root of positive semidefinite matrices (..., c, c), by four steps of the Newton-Schulz
    iteration (Higham 2008, 6.35) on M / trace(M) + 0.1 / c.  Directions with very small eigenvalues have not converged,
    which does no harm, since they are mostly noise."""
    size = moments.shape[-1]
    identity = torch.eye(size)
    trace = moments.diagonal(dim1=-2, dim2=-1).sum(-1)[..., None, None].clamp_min(1e-12)
    root = moments / trace + 0.1 / size * identity
    step = 1.5 * identity - root / 2
    root, inverse = root @ step, step
    for _ in range(3):
        step = 1.5 * identity - inverse @ root / 2
        root, inverse = root @ step, step @ inverse
    scaled: Tensor = root * trace.sqrt()
    return scaled


def _places(local: LocalMaps, images: Tensor, *, reach: int) -> tuple[Tensor, Tensor]:
    """Vertical and horizontal position of each square of ``reach`` x ``reach`` cells, as shares of their range."""
    size = images.shape[-2:]
    height, width = (length - reach * local.cell + 1 for length in local.map_size(*size))
    down, right = [], []
    for (top, left), (rows, columns) in zip(local.phases, local.sizes(*size), strict=True):
        y = (top + local.cell * torch.arange(rows - reach + 1) + 0.5) / height
        x = (left + local.cell * torch.arange(columns - reach + 1) + 0.5) / width
        down.append(y.repeat_interleave(len(x)))
        right.append(x.repeat(len(y)))
    return torch.cat(down), torch.cat(right)


def _neighborhoods(maps: Tensor, mirrored: bool = False) -> Tensor:
    """(n, rows, columns, c) -> (n, (rows - 2) (columns - 2), 9 c): each position with its neighbors.  For a
    mirrored map, the positions are in the order of the original map."""
    windows = maps.unfold(1, 3, 1).unfold(2, 3, 1)
    if mirrored:
        windows = windows.flip(2)
    return windows.flatten(3).flatten(1, 2)
