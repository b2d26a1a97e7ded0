"""Views: randomly shifted and mirrored copies of images, drawn on the device for a whole physical batch at
once.

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


def draw_views(images: Tensor, *, views: int, shift: int, flips: bool, generator: torch.Generator) -> Tensor:
    """``views`` random copies of every image.

    Each is moved by whole pixels, drawn uniformly from [-shift, shift] for each axis, over the symmetrically
    padded image, and then, where ``flips`` says so, mirrored left to right with probability ½.  The same
    generator state gives the same views on every device (as long as the generator is on the same one).

    >>> images = torch.arange(64, dtype=torch.uint8).reshape(1, 1, 8, 8)
    >>> draw_views(images, views=2, shift=1, flips=False, generator=torch.Generator().manual_seed(0)).shape
    torch.Size([1, 2, 1, 8, 8])

    Args:
      images: (B, C, H, W), any dtype, on any device.  B may be 0.
      views: K.  0 means no augmentation: the image itself, and nothing is drawn.
      shift: largest shift in pixels, at most min(H, W).
      flips: whether to mirror.
      generator: what is drawn from, on its own device; part of the caller's state.

    Returns:
      (B, max(K, 1), C, H, W), dtype and device of ``images``.

    Raises:
      InputError: views or shift is negative, or shift exceeds the image.
    """
    batch, channels, height, width = images.shape
    if views < 0:
        raise InputError(f"views must be at least 0, not {views}")
    if not 0 <= shift <= min(height, width):
        raise InputError(f"shift must lie in [0, {min(height, width)}] for these images, not {shift}")
    if views == 0:
        return images.unsqueeze(1)
    rows, columns = _source_pixels(batch, views, height, width, shift, flips, generator)
    pixels = rows.to(images.device).unsqueeze(-1) * width + columns.to(images.device).unsqueeze(-2)
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


def _source_pixels(
    batch: int,
    views: int,
    height: int,
    width: int,
    shift: int,
    flips: bool,
    generator: torch.Generator,
) -> tuple[Tensor, Tensor]:
    """For each view the row (B, K, H) and the column (B, K, W) of the image that each of its pixels shows."""
    device = generator.device
    moves = torch.randint(-shift, shift + 1, (2, batch, views, 1), generator=generator, device=device)
    rows = torch.arange(height, device=device).expand(batch, views, height)
    columns = torch.arange(width, device=device).expand(batch, views, width)
    if flips:
        mirrored = torch.randint(0, 2, (batch, views, 1), generator=generator, device=device, dtype=torch.bool)
        columns = torch.where(mirrored, width - 1 - columns, columns)
    return _reflect(rows + moves[0], height), _reflect(columns + moves[1], width)


def _reflect(position: Tensor, length: int) -> Tensor:
    """Where a position up to ``length`` outside of [0, length) lies in symmetric padding."""
    position = torch.where(position < 0, -1 - position, position)
    return torch.where(position >= length, 2 * length - 1 - position, position)
