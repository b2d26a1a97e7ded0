"""Filters made of whitened patches, which measure how similar the patches of an image are to synthetic ones.

The method is that of Coates and Ng 2011, with patches of synthetic images instead of the data's own: a patch is
centered and scaled by its contrast, whitened (ZCA) by the covariance of synthetic patches, and compared with a
dictionary of whitened synthetic patches and their mirror images.  Since the dictionary contains the mirror image of
every filter, a mirrored image has the same responses as the image, in another order.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from trilemma.errors import InputError
from trilemma.machine import faster_in_bfloat16

PATCH = 6
_CONTRAST_FLOOR = 10.0  # added to a patch's variance (of values 0 to 255)
_ZCA_FLOOR = 0.1  # added to the eigenvalues, whose mean is near 1
_STATISTICS = 400_000  # patches that the covariance is taken from
_LEAST_DEVIATION = 10.0  # of a patch worth keeping in a dictionary, in values 0 to 255


def compute_type() -> torch.dtype:
    """bfloat16 where the CPU is faster in it, otherwise float32.  It is used for responses, which are sums of about a
    hundred products and are averaged afterward; sums over private examples never use it."""
    return torch.bfloat16 if faster_in_bfloat16() else torch.float32


@dataclass(frozen=True, eq=False)
class PatchFilters:
    """A dictionary of F filters and their F mirror images.

    Attributes:
      matrix: float32 (C * 36 + 1, 2 F); the last row is an offset.
      stride: the distance between neighboring patches, in pixels.
    """

    matrix: Tensor
    stride: int

    @property
    def count(self) -> int:
        """F, the number of filters."""
        return self.matrix.shape[1] // 2

    @classmethod
    def fit(cls, images: Tensor, count: int, *, stride: int, generator: torch.Generator) -> PatchFilters:
        """Fit whitening and filters to synthetic images (N, C, H, W), values 0 to 255.

        Raises:
          InputError: too few patches have enough contrast.
        """
        patches = _by_contrast(_random_patches(images, _STATISTICS, generator))
        both = torch.cat([patches, _mirrored(patches, images.shape[1])])
        mean = both.mean(0)
        covariance = (both - mean).T @ (both - mean) / len(both)
        values, vectors = torch.linalg.eigh(covariance)
        whiten = vectors @ ((values + _ZCA_FLOOR).rsqrt()[:, None] * vectors.T)
        candidates = _random_patches(images, 60 * count, generator)
        candidates = candidates[candidates.std(1) > _LEAST_DEVIATION][:count]
        if len(candidates) < count:
            raise InputError(f"only {len(candidates)} of {count} synthetic patches have enough contrast")
        words = (_by_contrast(candidates) - mean) @ whiten
        words = words / words.norm(dim=1, keepdim=True)
        words = torch.cat([words, _mirrored(words, images.shape[1])])
        matrix = whiten @ words.T
        return cls(torch.cat([matrix, -(mean @ matrix)[None]]), stride)

    def map_size(self, height: int, width: int) -> tuple[int, int]:
        """The number of patches along each side of an image."""
        return (height - PATCH) // self.stride + 1, (width - PATCH) // self.stride + 1

    def responses(self, images: Tensor, *, threshold: float) -> Tensor:
        """The response of each filter at each patch, minus ``threshold``.

        Args:
          images: (n, C, H, W), values 0 to 255.

        Returns:
          (n, positions, 2 F) in :func:`compute_type`: z - threshold, negative where the filter does not respond.
        """
        n, channels, height, width = images.shape
        rows, columns = self.map_size(height, width)
        pixels = images.float().permute(0, 2, 3, 1).contiguous()
        line, step = width * channels, self.stride * channels
        patches = torch.as_strided(
            pixels,
            (n, rows, columns, PATCH, PATCH * channels),
            (height * line, self.stride * line, step, line, 1),
        ).reshape(n * rows * columns, PATCH * PATCH * channels)
        kind = compute_type()
        inputs = torch.ones(len(patches), patches.shape[1] + 1, dtype=kind)
        inputs[:, :-1] = _by_contrast(patches)
        matrix = self.matrix.clone()
        matrix[-1] -= threshold
        return (inputs @ matrix.to(kind)).view(n, rows * columns, -1)


def two_sided(responses: Tensor, threshold: float, means: Tensor) -> Tensor:
    """Pool the parts of responses above the threshold and below its negative.

    Args:
      responses: (n, positions, F) of z - threshold; they are overwritten.
      means: (m, positions).

    Returns:
      float32 (n, m, 2, F): means of max(z - threshold, 0) and of max(-z - threshold, 0).
    """
    pool = means.to(responses.dtype).expand(len(responses), -1, -1)
    above = torch.bmm(pool, responses.relu())
    # max(-z - t, 0) = -min(z - t, -2 t) - 2 t, and every row of a mean adds up to one
    below = torch.bmm(pool, responses.clamp_(max=-2 * threshold).add_(2 * threshold)).neg_()
    return torch.stack([above, below], dim=2).float()


def _random_patches(images: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """float (count, 36 C), patches at random positions, in the order (row, column, channel)."""
    n, _, height, width = images.shape
    image = torch.randint(0, n, (count,), generator=generator)
    top = torch.randint(0, height - PATCH + 1, (count,), generator=generator)
    left = torch.randint(0, width - PATCH + 1, (count,), generator=generator)
    along = torch.arange(PATCH)
    by_pixel = images.permute(0, 2, 3, 1)
    rows, columns = (top[:, None] + along)[:, :, None], (left[:, None] + along)[:, None, :]
    return by_pixel[image[:, None, None], rows, columns].float().flatten(1)


def _by_contrast(patches: Tensor) -> Tensor:
    """(p - mean) / sqrt(variance + floor) of each row."""
    variance, mean = torch.var_mean(patches, 1, unbiased=False, keepdim=True)
    return (patches - mean) * (variance + _CONTRAST_FLOOR).rsqrt()


def _mirrored(patches: Tensor, channels: int) -> Tensor:
    return patches.view(-1, PATCH, PATCH, channels).flip(2).reshape(patches.shape)
