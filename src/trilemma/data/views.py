"""Views: randomly shifted and mirrored copies of images, made on the device for a whole physical batch at once.

**Why views keep the guarantee.**  How an example's views are moved follows from that example, the seed and the update
alone (:func:`example_keys`, :func:`moves_of`).  Its clipped contribution to an update is therefore a function of the
example and of what is public or released already, as it is without views, and adding or removing another example
changes nothing about it: the sums on neighboring data sets differ by one contribution, at most C.  Views assigned by
position in the draw would not do: whoever knows the seed would see one more example move the views of all later ones.

Method: augmentation multiplicity of De et al. 2022 (arXiv:2204.13650) as their code has it: mirror-pad including the
edge pixel (numpy's "symmetric"), crop at random, flip with probability ½.  Nothing is padded here: reading pixel i of a
padded row is reading pixel ``reflect(i)`` of the row, so a view is one gather.  Needs torch, and is imported on its
own for that reason.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trilemma.errors import InputError


def example_keys(images: NDArray[np.uint8], labels: NDArray[np.int64], seed: int) -> Tensor:
    """What each example's views are dealt by: a hash of the example itself, keyed by the seed.

    Examples with the same image and label share their key, and so their views.

    Args:
      images: uint8 (N, C, H, W).
      labels: int64 (N,).
      seed: the seed of the training.

    Returns:
      int64 (N,), on the CPU.
    """
    secret = hashlib.sha256(f"views of seed {seed}".encode()).digest()
    keys = np.empty(len(images), dtype=np.int64)
    for row, (image, label) in enumerate(zip(images, labels.tolist(), strict=True)):
        digest = hashlib.blake2b(np.ascontiguousarray(image).data, digest_size=8, key=secret, salt=b"%d" % label)
        keys[row] = int.from_bytes(digest.digest(), "little", signed=True)
    return torch.from_numpy(keys)


def moves_of(keys: Tensor, update: int, views: int, *, size: tuple[int, int], shift: int, flips: bool) -> Tensor:
    """How the ``views`` copies that an update sees of each example differ from its image.

    Each is moved by whole pixels, uniformly from [-shift, shift] for each axis, over the symmetrically padded image,
    and then, where ``flips`` says so, mirrored left to right with probability ½.  A row of the result depends on that
    example's key, the update and nothing else.

    >>> keys = torch.arange(5)
    >>> moves = moves_of(keys, 0, 2, size=(8, 8), shift=1, flips=False)
    >>> moves.shape, int(moves.abs().max()), bool((moves[2:] == moves_of(keys[2:], 0, 2, size=(8, 8), shift=1,
    ...     flips=False)).all())
    (torch.Size([5, 2, 3]), 1, True)

    The numbers are those of SplitMix64 (Steele, Lea and Flood 2014), a generator for each example and update, of which
    32 bits choose a shift: no shift's probability is off by more than (2 shift + 1) / 2**32 of itself.

    Args:
      keys: int64 (n,), from :func:`example_keys`, on any device.  n may be 0.
      update: any integer of 64 bits.
      views: K, at least 1.
      size: (H, W) of the images.
      shift: largest shift in pixels, at most min(H, W).
      flips: whether to mirror.

    Returns:
      int16 (n, K, 3), on the keys' device: pixels down, pixels to the right, and 1 where mirrored.

    Raises:
      InputError: views is below 1, or shift is negative or exceeds the image.
    """
    if views < 1:
        raise InputError(f"views must be at least 1, not {views}")
    if not 0 <= shift <= min(size):
        raise InputError(f"shift must lie in [0, {min(size)}] for these images, not {shift}")
    start = _mixed(keys ^ _mixed(torch.tensor(update, device=keys.device) * _GOLDEN + _ODD))
    steps = torch.arange(1, 3 * views + 1, device=keys.device) * _GOLDEN
    words = _mixed(start[:, None] + steps).view(len(keys), views, 3)
    shifts = (_shifted(words[:, :, :2], 32) * (2 * shift + 1) >> 32) - shift
    mirrored = _shifted(words[:, :, 2:], 63) if flips else torch.zeros_like(words[:, :, 2:])
    return torch.cat([shifts, mirrored], dim=2).to(torch.int16)


def moved(images: Tensor, moves: Tensor) -> Tensor:
    """The views that moves make of images.

    >>> images = torch.arange(64, dtype=torch.uint8).reshape(1, 1, 8, 8)
    >>> moved(images, torch.tensor([[[0, 0, 0], [0, 0, 1]]]))[0, 1, 0, 0].tolist()
    [7, 6, 5, 4, 3, 2, 1, 0]

    Args:
      images: (B, C, H, W), any dtype, on any device.
      moves: integers (B, K, 3), as :func:`moves_of` gives them.

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


def normalize(images: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """(x / 255 - mean) / std for each channel.

    Args:
      images: (..., C, H, W), uint8 or any dtype with values 0 to 255.
      mean, std: C numbers in units of pixel / 255.

    Returns:
      float32 (..., C, H, W), on the images' device.
    """
    # the constants are computed in float64 and rounded once
    stds = torch.tensor(list(std), dtype=torch.float64).view(-1, 1, 1)
    means = torch.tensor(list(mean), dtype=torch.float64).view(-1, 1, 1)
    scale = (1 / (255 * stds)).to(torch.float32).to(images.device)
    offset = (means / stds).to(torch.float32).to(images.device)
    return images.to(torch.float32, copy=True).mul_(scale).sub_(offset)


def _reflect(position: Tensor, length: int) -> Tensor:
    """Where a position up to ``length`` outside of [0, length) lies in symmetric padding."""
    position = torch.where(position < 0, -1 - position, position)
    return torch.where(position >= length, 2 * length - 1 - position, position)


# SplitMix64's constants as signed integers of 64 bits; products and sums of int64 tensors wrap around as they should.
_GOLDEN = 0x9E3779B97F4A7C15 - 2**64
_FIRST, _SECOND = 0xBF58476D1CE4E5B9 - 2**64, 0x94D049BB133111EB - 2**64
_ODD = 0xD1B54A32D192ED03 - 2**64  # so that no update is mixed to zero, which is a fixed point


def _mixed(words: Tensor) -> Tensor:
    """SplitMix64's finalizer: every bit of the result depends on every bit of the word."""
    words = (words ^ _shifted(words, 30)) * _FIRST
    words = (words ^ _shifted(words, 27)) * _SECOND
    return words ^ _shifted(words, 31)


def _shifted(words: Tensor, bits: int) -> Tensor:
    """To the right, with zeros coming in from the left (torch's own shift repeats the sign)."""
    return (words >> bits) & ((1 << (64 - bits)) - 1)
