"""Blocks: from images to features, by one or two layers of filters fitted to synthetic images.

A block's features of an image and of its mirror image are averaged, so that they hardly differ (and are the same where
the grids of cells are symmetric).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

from trilemma.models.prior.local import THRESHOLD, LocalMaps, by_size
from trilemma.models.prior.patches import PatchFilters, compute_type, two_sided
from trilemma.models.prior.pooling import Shift, as_means, centres, halved, quarters


@dataclass(eq=False)
class Seen:
    """A batch of images, and what several blocks look at.

    Attributes:
      images: (n, C, H, W), values 0 to 255.
    """

    images: Tensor
    _maps: dict[int, Tensor] = field(default_factory=dict)

    def maps(self, local: LocalMaps) -> Tensor:
        """Descriptors of the images, computed once."""
        if id(local) not in self._maps:
            self._maps[id(local)] = local(self.images)
        return self._maps[id(local)]


class Block(Protocol):
    """Images -> features float32 (n, V, d), one row for each of V shifts of the windows that are averaged over."""

    def __call__(self, seen: Seen, shifts: Sequence[Shift]) -> Tensor: ...


@dataclass(frozen=True, eq=False)
class OneLayer:
    """Responses to patches, averaged over the four quarters of the map: 2 signs and 4 quarters, 8 features a filter.

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

    def __call__(self, seen: Seen, shifts: Sequence[Shift]) -> Tensor:
        images = halved(seen.images) if self.coarse else seen.images
        rows, columns = self.filters.map_size(*images.shape[-2:])
        down, right = centres(rows).repeat_interleave(columns), centres(columns).repeat(rows)
        responses = self.filters.responses(images, threshold=THRESHOLD)
        both = torch.zeros(())
        # What a filter sees in the mirrored image is what its own mirror image sees in the image.
        for part, across in zip(responses.chunk(2, dim=2), (right, 1 - right), strict=True):
            weights = [quarters(down, across, soft=self.soft, shift=shift) for shift in shifts]
            both = both + two_sided(part, THRESHOLD, as_means(torch.cat(weights))) / 2
        return both.view(len(images), len(shifts), -1)


@dataclass(frozen=True, eq=False)
class SecondOrder:
    """How descriptors go together: the mean of x x' over each quarter (second-order pooling, Carreira et al. 2012), and
    of that the matrix square root (Li et al. 2018), c (c + 1) / 2 features a quarter for c channels.

    Attributes:
      local: descriptors.
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
    """A second layer of filters on 3 x 3 neighbouring descriptors: 2 signs and 4 quarters, 8 features a filter.

    Attributes:
      local: descriptors, c channels.
      matrix: float32 (9 c + 1, F2); the last row is an offset.
      threshold: of the second layer.
      soft: the quarters overlap.
    """

    local: LocalMaps
    matrix: Tensor
    threshold: float
    soft: bool

    @classmethod
    def fit(cls, local: LocalMaps, images: Tensor, *, filters: int, soft: bool, generator: torch.Generator) -> TwoLayer:
        """From synthetic images."""
        rows, columns = local.sizes(*images.shape[-2:])[0]
        plain = torch.cat([local(part)[:, : rows * columns] for part in images[:3000].split(50)])
        maps = plain.view(len(plain), rows, columns, -1)
        both = torch.cat([maps, maps.flip(2) * local.signs])
        patches = by_size(_neighbourhoods(both).flatten(0, 1))
        center = patches.mean(0)
        covariance = patches.T @ patches / len(patches) - center[:, None] * center
        values, vectors = torch.linalg.eigh(covariance)
        whiten = vectors @ ((values + 0.1 * values.mean()).rsqrt()[:, None] * vectors.T)
        chosen = patches[torch.randperm(len(patches), generator=generator)[:filters]]
        words = (chosen - center) @ whiten
        matrix = whiten @ (words / words.norm(dim=1, keepdim=True)).T
        matrix = torch.cat([matrix, -(center @ matrix)[None]])
        deviation = float((chosen[:500] @ matrix[:-1] + matrix[-1]).std())
        return cls(local, matrix, 0.5 * deviation, soft)

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
                # The mirrored image's neighbourhoods, in the order of the places they have in the image.
                patches.append(_neighbourhoods(grid.flip(2) * self.local.signs if mirrored else grid, mirrored))
            found = by_size(torch.cat(patches, dim=1))
            inputs = torch.ones(*found.shape[:2], found.shape[2] + 1, dtype=kind)
            inputs[..., :-1] = found
            across = 1 - right if mirrored else right
            weights = [quarters(down, across, soft=self.soft, shift=shift) for shift in shifts]
            total = total + two_sided(inputs @ matrix.to(kind), self.threshold, as_means(torch.cat(weights))) / 2
        return total.view(len(maps), len(shifts), -1)


def matrix_root(moments: Tensor) -> Tensor:
    """About the square root of positive semidefinite matrices (..., c, c): four steps of the Newton-Schulz iteration
    (Higham 2008, 6.35) on M / trace(M) + 0.1 / c.  Directions of very little weight are not fully there yet, which does
    no harm: they are mostly noise."""
    size = moments.shape[-1]
    identity = torch.eye(size)
    trace = moments.diagonal(dim1=-2, dim2=-1).sum(-1)[..., None, None].clamp_min(1e-12)
    root = moments / trace + 0.1 / size * identity
    step = 1.5 * identity - root / 2
    root, inverse = root @ step, step
    for _ in range(3):
        step = 1.5 * identity - inverse @ root / 2
        root, inverse = root @ step, step @ inverse
    found: Tensor = root * trace.sqrt()
    return found


def _places(local: LocalMaps, images: Tensor, *, reach: int) -> tuple[Tensor, Tensor]:
    """Where each square of ``reach`` x ``reach`` cells begins, down and right, as a share of where it could."""
    size = images.shape[-2:]
    height, width = (length - reach * local.cell + 1 for length in local.map_size(*size))
    down, right = [], []
    for (top, left), (rows, columns) in zip(local.phases, local.sizes(*size), strict=True):
        y = (top + local.cell * torch.arange(rows - reach + 1) + 0.5) / height
        x = (left + local.cell * torch.arange(columns - reach + 1) + 0.5) / width
        down.append(y.repeat_interleave(len(x)))
        right.append(x.repeat(len(y)))
    return torch.cat(down), torch.cat(right)


def _neighbourhoods(maps: Tensor, mirrored: bool = False) -> Tensor:
    """(n, rows, columns, c) -> (n, (rows - 2) (columns - 2), 9 c): each place with its neighbours; of a mirrored map
    in the order of the original's places."""
    found = maps.unfold(1, 3, 1).unfold(2, 3, 1)
    if mirrored:
        found = found.flip(2)
    return found.flatten(3).flatten(1, 2)
