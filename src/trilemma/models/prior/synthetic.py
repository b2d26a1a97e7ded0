"""Synthetic images (dead leaves with texture), the only images that fixed features are fitted to.

To a first approximation, natural images show objects of all sizes that occlude one another (Lee, Mumford, Huang
2001).  The synthetic images therefore show ellipses and rounded boxes whose radii follow a power law, painted one over
the other in correlated colors, with shading and a 1/f texture.  They are drawn at one and a half times their size and
then reduced.  No photograph is used.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from trilemma.machine import cores
from trilemma.seeds import generator_for
from trilemma.threads import in_threads

_MOST_LEAVES, _FEWEST_LEAVES = 50, 5
_RADIUS_POWER = 1.2  # of the density of radii, r^-2.2 between 1.5 pixels and half an image
_LUMINANCE, _CHROMA = 0.27, (0.09, 0.04)  # standard deviations along the three axes of natural colors
_CHUNK = 500


def synthetic_images(count: int, shape: tuple[int, int, int], seed: int) -> Tensor:
    """Draw synthetic images; the first ones do not depend on ``count``.

    Args:
      count: the number of images.
      shape: (C, H, W), with C = 1 (gray) or 3.
      seed: the seed of the dictionary.

    Returns:
      uint8 (count, C, H, W).
    """

    def chunk(start: int) -> Tensor:
        return _dead_leaves(_CHUNK, shape, generator_for(seed, f"synthetic images {start}"))

    return torch.cat(list(in_threads(chunk, range(0, count, _CHUNK), cores())))[:count]


def altered(images: Tensor, seed: int) -> Tensor:
    """An altered copy of each image: shifted by up to an eighth of its size, rotated by up to 0.2 rad and scaled by 0.8
    to 1.05, with changed contrast, brightness and color.  A classifier should be invariant to these changes.

    Args:
      images: uint8 (N, C, H, W).
      seed: the seed of the dictionary.

    Returns:
      uint8 (N, C, H, W).
    """
    return torch.cat(
        [alter(part, generator_for(seed, f"altered images {index}")) for index, part in enumerate(images.split(_CHUNK))]
    )


def _uniform(low: float, high: float, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    return low + (high - low) * torch.rand(shape, generator=generator)


def _colors(count: int, generator: torch.Generator) -> Tensor:
    """Colors float (count, 3, 1, 1) around middle gray."""
    light, red_blue, green = (torch.randn(count, generator=generator) * std for std in (_LUMINANCE, *_CHROMA))
    rgb = torch.stack([light + red_blue + green / 2, light - green, light - red_blue + green / 2], dim=1)
    return 0.5 + rgb[:, :, None, None]


def _texture(count: int, height: int, width: int, generator: torch.Generator) -> Tensor:
    """float (count, 1, height, width): noise whose spectrum falls as 1/f^a, a from 0.6 to 1.6; mean 0, std 1."""
    fall = _uniform(0.6, 1.6, (count, 1, 1), generator)
    frequency = (torch.fft.fftfreq(height)[:, None] ** 2 + torch.fft.rfftfreq(width)[None] ** 2).sqrt()
    frequency[0, 0] = 1.0
    waves = torch.complex(*(torch.randn(count, height, width // 2 + 1, generator=generator) for _ in range(2)))
    noise = torch.fft.irfft2(waves * frequency**-fall, s=(height, width))
    noise = noise - noise.mean((1, 2), keepdim=True)
    texture: Tensor = (noise / noise.std((1, 2), keepdim=True))[:, None]
    return texture


def _dead_leaves(count: int, shape: tuple[int, int, int], generator: torch.Generator) -> Tensor:
    channels, *size = shape
    height, width = (round(1.5 * s) for s in size)
    y, x = torch.meshgrid(torch.arange(height).float(), torch.arange(width).float(), indexing="ij")

    def uniform(low: float = 0.0, high: float = 1.0) -> Tensor:
        return _uniform(low, high, (count, 1, 1), generator)

    angle = uniform(0, 2 * math.pi)
    slope = (angle.cos() * (x - width / 2) + angle.sin() * (y - height / 2)) / max(height, width)
    images = (
        _colors(count, generator) + (slope * torch.randn(count, 1, 1, generator=generator) * 0.3)[:, None]
    ).expand(count, 3, height, width)
    leaves = (_FEWEST_LEAVES * (_MOST_LEAVES / _FEWEST_LEAVES) ** uniform()).long()
    smallest, largest = 1.5**-_RADIUS_POWER, (max(height, width) / 2) ** -_RADIUS_POWER
    for leaf in range(_MOST_LEAVES):
        share = uniform()
        radius = (share * smallest + (1 - share) * largest) ** (-1 / _RADIUS_POWER)
        flat, turn = uniform(0.35, 1), uniform(0, math.pi)
        dx, dy = x - uniform(0, width), y - uniform(0, height)
        u = (turn.cos() * dx + turn.sin() * dy) / radius
        v = (turn.cos() * dy - turn.sin() * dx) / (radius * flat)
        ellipse = uniform() < 0.5
        inside = torch.where(ellipse, u**2 + v**2, u**8 + v**8) < 1
        shading = torch.randn(2, count, 1, 1, generator=generator) * 0.08
        shade = (u * shading[0] + v * shading[1]).clamp(-0.4, 0.4)
        color = _colors(count, generator) + shade[:, None]
        images = torch.where((inside & (leaf < leaves))[:, None], color, images)
    roughness = 0.02 + 0.10 * uniform()[:, None] ** 2
    images = images + _texture(count, height, width, generator) * roughness
    images = F.interpolate(images, size=tuple(size), mode="bilinear", antialias=True)
    kernel = torch.tensor([0.25, 0.5, 0.25])
    blur = (kernel[:, None] * kernel)[None, None].expand(3, 1, 3, 3)
    blurred = F.conv2d(F.pad(images, (1, 1, 1, 1), mode="reflect"), blur, groups=3)
    share = uniform()[:, None]
    return _to_bytes(share * blurred + (1 - share) * images, channels)


def alter(images: Tensor, generator: torch.Generator) -> Tensor:
    """An altered copy of each image, as in :func:`altered`, with random changes from ``generator``."""
    count, channels = images.shape[:2]
    pixels = images.float() / 255

    def uniform(low: float, high: float) -> Tensor:
        return _uniform(low, high, (count,), generator)

    turn, scale = uniform(-0.2, 0.2), uniform(0.8, 1.05)
    right, down = uniform(-0.25, 0.25), uniform(-0.25, 0.25)  # in half widths
    cos, sin = scale * turn.cos(), scale * turn.sin()
    motion = torch.stack([torch.stack([cos, -sin, right], 1), torch.stack([sin, cos, down], 1)], 1)
    grid = F.affine_grid(motion, list(pixels.shape), align_corners=False)
    moved = F.grid_sample(pixels, grid, mode="bicubic", padding_mode="reflection", align_corners=False)
    mean = moved.mean((1, 2, 3), keepdim=True)
    each = (count, 1, 1, 1)
    moved = (moved - mean) * uniform(0.6, 1.4).view(each) + mean + uniform(-0.2, 0.2).view(each)
    gray = moved.mean(1, keepdim=True)
    tint = torch.randn(count, channels, 1, 1, generator=generator) * 0.04
    return _to_bytes(gray + (moved - gray) * uniform(0.5, 1.5).view(each) + tint, channels)


def _to_bytes(images: Tensor, channels: int) -> Tensor:
    if channels == 1 and images.shape[1] == 3:
        images = (images * torch.tensor([0.299, 0.587, 0.114]).view(3, 1, 1)).sum(1, keepdim=True)
    return (images.clamp(0, 1) * 255).round().to(torch.uint8)
