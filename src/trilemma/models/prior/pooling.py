"""Pooling over parts of a map, as matrices of weights."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

Shift = tuple[float, float]
"""A shift down and to the right, as shares of the size of a map."""


def halves(places: Sequence[float] | Tensor, *, soft: bool) -> Tensor:
    """The weight of each position in the first and in the second half.

    Args:
      places: n coordinates in (0, 1), as shares of the map.
      soft: the halves overlap in the middle third, where their weights change linearly.  Otherwise a position exactly
        in the middle is shared equally, and every other position belongs to one half.

    Returns:
      float32 (2, n), each column adding up to 1.
    """
    x = torch.as_tensor(places, dtype=torch.float32)
    if soft:
        first = (3 * (2 / 3 - x)).clamp(0, 1)
    else:
        middle = (x - 0.5).abs() < 1e-6
        first = torch.where(middle, torch.full_like(x, 0.5), (x < 0.5).float())
    return torch.stack([first, 1 - first])


def centers(count: int) -> Tensor:
    """The coordinates of the centers of ``count`` equal cells."""
    return (torch.arange(count) + 0.5) / count


def quarters(down: Tensor, right: Tensor, *, soft: bool, shift: Shift = (0.0, 0.0)) -> Tensor:
    """Weights (4, n) of positions at coordinates ``down`` and ``right`` (n,), for means over the four quarters.

    Args:
      soft: see :func:`halves`.
      shift: how far the quarters are shifted down and to the right, as shares of the map; positions outside the
        shifted quarters have weight 0.
    """
    y, x = down - shift[0], right - shift[1]
    inside = (y > 0) & (y < 1) & (x > 0) & (x < 1)
    return (halves(y, soft=soft)[:, None] * halves(x, soft=soft)[None]).flatten(0, 1) * inside


def as_means(weights: Tensor) -> Tensor:
    """Each row divided by its sum; a row of zeros stays zero."""
    return weights / weights.sum(1, keepdim=True).clamp_min(1e-6)


def halved(images: Tensor) -> Tensor:
    """float (n, C, H // 2, W // 2): images reduced to half their size, by means of 2 x 2 pixels."""
    return F.avg_pool2d(images.float(), 2)


def cells(height: int, width: int, *, size: int, start: tuple[int, int]) -> tuple[Tensor, tuple[int, int]]:
    """Weights of means over size x size cells of a map, starting at ``start``; incomplete cells are left out.

    Returns:
      float32 (cells, height * width), and the number of (rows, columns) of cells.
    """
    rows, columns = (height - start[0]) // size, (width - start[1]) // size

    def along(count: int, length: int, first: int) -> Tensor:
        weights = torch.zeros(count, length)
        for cell in range(count):
            weights[cell, first + size * cell : first + size * (cell + 1)] = 1 / size
        return weights

    y, x = along(rows, height, start[0]), along(columns, width, start[1])
    return torch.einsum("ai,bj->abij", y, x).reshape(rows * columns, height * width), (rows, columns)
