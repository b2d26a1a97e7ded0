"""Local descriptors: a feature map with few channels that describes each region of an image.

The responses of a first layer of filters are averaged over small cells and projected to their leading principal
components over synthetic images.  Using several offsets of the grid of cells (``phases``) makes the features built on
the descriptors less sensitive to the position of the grid (anti-aliasing).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from trilemma.models.prior.patches import PatchFilters, two_sided
from trilemma.models.prior.pooling import cells, halved

THRESHOLD = 0.25  # of the filters, whose responses have a standard deviation near 1
_FIT_IMAGES = 3000


@dataclass(frozen=True, eq=False)
class LocalMaps:
    """A map from images to local descriptors with c channels.

    Attributes:
      filters: the F filters of the first layer.
      mean, channels: float32 (4 F,) and (4 F, c), the mean and the principal components, scaled to equal variance.
      signs: float32 (c,), 1 or -1.  The descriptors of a mirrored image are the mirrored descriptors of the image times
        these signs: statistics are taken over images and their mirror images, so each component is even or odd.
      cell: the side length of a cell, in positions of the first layer's map.
      phases: the (row, column) at which each grid of cells starts.
      coarse: whether images are reduced to half their size.
    """

    filters: PatchFilters
    mean: Tensor
    channels: Tensor
    signs: Tensor
    cell: int
    phases: tuple[tuple[int, int], ...]
    coarse: bool

    @classmethod
    def fit(
        cls,
        images: Tensor,
        *,
        filters: int,
        channels: int,
        cell: int,
        phases: tuple[tuple[int, int], ...],
        coarse: bool,
        stride: int,
        generator: torch.Generator,
    ) -> LocalMaps:
        """Fit filters and principal components to synthetic images (N, C, H, W)."""
        images = halved(images) if coarse else images
        first = PatchFilters.fit(images, filters, stride=stride, generator=generator)
        grid, _ = cells(*first.map_size(*images.shape[-2:]), size=cell, start=(0, 0))
        parts = images[:_FIT_IMAGES].split(50)
        flat = torch.cat([two_sided(first.responses(part, threshold=THRESHOLD), THRESHOLD, grid) for part in parts])
        flat = flat.flatten(0, 1).flatten(1)
        mirrored = exchanged(flat, filters)
        mean = (flat.mean(0) + mirrored.mean(0)) / 2
        covariance = (flat.T @ flat + mirrored.T @ mirrored) / (2 * len(flat)) - mean[:, None] * mean
        values, vectors = torch.linalg.eigh(covariance)
        values, vectors = values.flip(0)[:channels], vectors.flip(1)[:, :channels]
        signs = (vectors * exchanged(vectors.T, filters).T).sum(0).sign()
        # The memory layout is that of a tensor read from a file, since another layout changes the rounding of products.
        components = (vectors * (values + 0.003 * values.mean()).rsqrt()).contiguous()
        return cls(first, mean, components, signs, cell, phases, coarse)

    def map_size(self, height: int, width: int) -> tuple[int, int]:
        """The number of positions of the first layer along each side of an image."""
        return self.filters.map_size(*((height // 2, width // 2) if self.coarse else (height, width)))

    def sizes(self, height: int, width: int) -> list[tuple[int, int]]:
        """The number of (rows, columns) of cells of each phase."""
        h, w = self.map_size(height, width)
        return [((h - top) // self.cell, (w - left) // self.cell) for top, left in self.phases]

    def __call__(self, images: Tensor) -> Tensor:
        """Images (n, C, H, W), values 0 to 255 -> float32 (n, cells of all phases, c)."""
        h, w = self.map_size(*images.shape[-2:])
        grids = torch.cat([cells(h, w, size=self.cell, start=start)[0] for start in self.phases])
        images = halved(images) if self.coarse else images
        pooled = two_sided(self.filters.responses(images, threshold=THRESHOLD), THRESHOLD, grids)
        return (pooled.flatten(2) - self.mean) @ self.channels


def exchanged(rows: Tensor, filters: int) -> Tensor:
    """Responses (n, 4 F) with those of every filter and of its mirror image exchanged."""
    return rows.view(-1, 2, 2, filters).flip(2).reshape(rows.shape)


def by_size(descriptors: Tensor) -> Tensor:
    """Each descriptor (last dimension) scaled to about the same size."""
    return descriptors * (descriptors.square().mean(-1, keepdim=True) + 0.1).rsqrt()
