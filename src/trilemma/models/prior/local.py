"""Local descriptors: a map of a few channels that says what is where in an image.

The responses of a first layer of filters are averaged over cells of a few places and projected to their leading
principal components over synthetic images.  Doing so from several starting points (``phases``) in place of one makes
what is built on top less sensitive to where the grid of cells happens to lie (anti-aliasing).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from trilemma.models.prior.patches import PatchFilters, two_sided
from trilemma.models.prior.pooling import cells, halved

THRESHOLD = 0.25  # of the filters, whose responses have a deviation near 1
_FIT_IMAGES = 3000


@dataclass(frozen=True, eq=False)
class LocalMaps:
    """Attributes:
    filters: of the first layer, F of them.
    mean, channels: float32 (4 F,) and (4 F, c): principal components, scaled to the same size.
    signs: float32 (c,), 1 or -1: the descriptors of a mirrored image are those of the image, mirrored and times this.
      Statistics are taken over images and their mirror images alike, so that each component is even or odd.
    cell: places of the first layer's map along each side of a cell.
    phases: (row, column) where each grid of cells starts.
    coarse: look at the image at half its size.
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
        """From synthetic images (N, C, H, W)."""
        images = halved(images) if coarse else images
        first = PatchFilters.fit(images, filters, stride=stride, generator=generator)
        grid, _ = cells(*first.map_size(*images.shape[-2:]), size=cell, start=(0, 0))
        parts = images[:_FIT_IMAGES].split(50)
        flat = torch.cat([two_sided(first.responses(part, threshold=THRESHOLD), THRESHOLD, grid) for part in parts])
        flat = flat.flatten(0, 1).flatten(1)
        exchanged = _exchanged(flat, filters)
        mean = (flat.mean(0) + exchanged.mean(0)) / 2
        covariance = (flat.T @ flat + exchanged.T @ exchanged) / (2 * len(flat)) - mean[:, None] * mean
        values, vectors = torch.linalg.eigh(covariance)
        values, vectors = values.flip(0)[:channels], vectors.flip(1)[:, :channels]
        signs = (vectors * _exchanged(vectors.T, filters).T).sum(0).sign()
        # Laid out as it will be read from a file: in another layout its products are rounded otherwise.
        components = (vectors * (values + 0.003 * values.mean()).rsqrt()).contiguous()
        return cls(first, mean, components, signs, cell, phases, coarse)

    def map_size(self, height: int, width: int) -> tuple[int, int]:
        """Places of the first layer along each side of an image."""
        return self.filters.map_size(*((height // 2, width // 2) if self.coarse else (height, width)))

    def sizes(self, height: int, width: int) -> list[tuple[int, int]]:
        """(rows, columns) of cells of each phase."""
        h, w = self.map_size(height, width)
        return [((h - top) // self.cell, (w - left) // self.cell) for top, left in self.phases]

    def __call__(self, images: Tensor) -> Tensor:
        """Images (n, C, H, W), values 0 to 255 -> float32 (n, cells of all phases, c)."""
        h, w = self.map_size(*images.shape[-2:])
        grids = torch.cat([cells(h, w, size=self.cell, start=start)[0] for start in self.phases])
        seen = halved(images) if self.coarse else images
        pooled = two_sided(self.filters.responses(seen, threshold=THRESHOLD), THRESHOLD, grids)
        return (pooled.flatten(2) - self.mean) @ self.channels


def _exchanged(rows: Tensor, filters: int) -> Tensor:
    """Responses (n, 4 F) with every filter's place taken by its mirror image's."""
    return rows.view(-1, 2, 2, filters).flip(2).reshape(rows.shape)


def by_size(descriptors: Tensor) -> Tensor:
    """Each descriptor (last dimension) scaled to about the same size."""
    return descriptors * (descriptors.square().mean(-1, keepdim=True) + 0.1).rsqrt()
