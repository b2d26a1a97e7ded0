"""Views: randomly shifted and mirrored copies of images, made on the device for a whole physical batch at once.
How they are moved is drawn apart from that, for a whole logical batch: so they do not depend on how it is cut up.

Method: De et al. 2022 (METHODS 2.4 of this project): mirror-pad including the edge pixel (numpy's
"symmetric"), crop at random, flip with probability ½.  Nothing is padded here: reading pixel i of a padded
row is reading pixel ``reflect(i)`` of the row, so a view is one gather.  Needs torch, and is imported on its
own for that reason.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from trilemma.errors import InputError


def draw_moves(
    count: int, views: int, *, size: tuple[int, int], shift: int, flips: bool, generator: torch.Generator
) -> Tensor:
    """How ``views`` random copies of each of ``count`` images differ from them.

    Each is moved by whole pixels, drawn uniformly from [-shift, shift] for each axis, over the symmetrically padded
    image, and then, where ``flips`` says so, mirrored left to right with probability ½.

    >>> moves = draw_moves(5, 2, size=(8, 8), shift=1, flips=False, generator=torch.Generator().manual_seed(0))
    >>> moves.shape, int(moves.abs().max())
    (torch.Size([5, 2, 3]), 1)

    Args:
      count: B.  May be 0.
      views: K, at least 1.
      size: (H, W) of the images.
      shift: largest shift in pixels, at most min(H, W).
      flips: whether to mirror.
      generator: what is drawn from; part of the caller's state.

    Returns:
      int16 (B, K, 3), on the generator's device: pixels down, pixels to the right, and 1 where mirrored.

    Raises:
      InputError: views is below 1, or shift is negative or exceeds the image.
    """
    if views < 1:
        raise InputError(f"views must be at least 1, not {views}")
    if not 0 <= shift <= min(size):
        raise InputError(f"shift must lie in [0, {min(size)}] for these images, not {shift}")
    device = generator.device
    moves = torch.randint(-shift, shift + 1, (count, views, 3), generator=generator, device=device)
    moves[:, :, 2] = torch.randint(0, 2, (count, views), generator=generator, device=device) if flips else 0
    return moves.to(torch.int16)


def moved(images: Tensor, moves: Tensor) -> Tensor:
    """The views that moves make of images.

    >>> images = torch.arange(64, dtype=torch.uint8).reshape(1, 1, 8, 8)
    >>> moved(images, torch.tensor([[[0, 0, 0], [0, 0, 1]]]))[0, 1, 0, 0].tolist()
    [7, 6, 5, 4, 3, 2, 1, 0]

    Args:
      images: (B, C, H, W), any dtype, on any device.
      moves: integers (B, K, 3), as :func:`draw_moves` gives them.

    Returns:
      (B, K, C, H, W), dtype and device of ``images``.
    """
    batch, channels, height, width = images.shape
    views = moves.shape[1]
    down, right, mirrored = moves.to(images.device).long().unsqueeze(3).unbind(2)
    rows = torch.arange(height, device=images.device).expand(batch, views, height)
    columns = torch.arange(width, device=images.device).expand(batch, views, width)
    columns = torch.where(mirrored == 1, width - 1 - columns, columns)
    pixels = _reflect(rows + down, height).unsqueeze(-1) * width + _reflect(columns + right, width).unsqueeze(-2)
    shape = (batch, views, channels, height * width)
    # expanded, never copied: gathering reads one image K times and one index C times
    source = images.reshape(batch, 1, channels, height * width).expand(shape)
    index = pixels.reshape(batch, views, 1, height * width).expand(shape)
    return source.gather(3, index).view(batch, views, channels, height, width)


def normalize(images: Tensor, mean: Sequence[float], deviation: Sequence[float]) -> Tensor:
    """(x / 255 - mean) / deviation for each channel.

    Args:
      images: (..., C, H, W), uint8 or any dtype with values 0 to 255.
      mean, deviation: C numbers in units of pixel / 255.

    Returns:
      float32 (..., C, H, W), on the images' device.
    """
    # the constants are computed in float64 and rounded once
    deviations = torch.tensor(list(deviation), dtype=torch.float64).view(-1, 1, 1)
    means = torch.tensor(list(mean), dtype=torch.float64).view(-1, 1, 1)
    scale = (1 / (255 * deviations)).to(torch.float32).to(images.device)
    offset = (means / deviations).to(torch.float32).to(images.device)
    return images.to(torch.float32, copy=True).mul_(scale).sub_(offset)


def _reflect(position: Tensor, length: int) -> Tensor:
    """Where a position up to ``length`` outside of [0, length) lies in symmetric padding."""
    position = torch.where(position < 0, -1 - position, position)
    return torch.where(position >= length, 2 * length - 1 - position, position)
