"""Whitening by public statistics: it weights the directions of a block's features by their use on synthetic images.

Features are projected to their leading principal components over synthetic images, scaled to equal variance, and then
shrunk along the directions in which a synthetic image and its altered copy differ.  Rows are scaled to length one,
which also bounds every example's gradient.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from trilemma.models.prior.patches import compute_type


@dataclass(frozen=True, eq=False)
class Whitening:
    """A linear map of a block's features to k dimensions, followed by scaling to length one.

    Attributes:
      mean: float32 (d,), subtracted from the features.
      matrix: (d, k) in :func:`compute_type`.
    """

    mean: Tensor
    matrix: Tensor

    @classmethod
    def fit(cls, plain: Tensor, altered: Tensor, *, keep: int, floor: float, invariance: float) -> Whitening:
        """Fit the whitening to features float32 (n, d) of synthetic images and of their altered copies.

        Args:
          plain: features of the synthetic images.
          altered: features of their altered copies.
          keep: k, the number of components; at most n - 1 and d.
          floor: lambda, added to each component's variance in units of the mean variance over 4,096 directions.
          invariance: kappa, the strength of the shrinkage; 0 ignores the altered copies.
        """
        examples = len(plain)
        keep = min(keep, examples - 1, plain.shape[1])
        mean = plain.mean(0)
        centered = plain - mean
        # The eigenvectors come from the n x n matrix of products, which is smaller than d x d.
        values, vectors = torch.linalg.eigh(centered @ centered.T / examples)
        values = values.flip(0)[:keep].clamp_min(1e-9)
        total = centered.square().sum(1).mean()
        components = centered.T @ (vectors.flip(1)[:, :keep] / (examples * values).sqrt())
        matrix = components * (values + floor * total / 4096).rsqrt()
        if invariance:
            difference = (altered - plain) @ matrix
            values, vectors = torch.linalg.eigh(difference.T @ difference / (2 * examples))
            matrix = matrix @ (vectors @ ((1 + invariance * values).rsqrt()[:, None] * vectors.T))
        return cls(mean, matrix.to(compute_type()))

    def __call__(self, features: Tensor) -> Tensor:
        """float32 (..., d) -> (..., k), each row of length one."""
        rows = ((features - self.mean).to(self.matrix.dtype) @ self.matrix).float()
        unit: Tensor = rows / rows.norm(dim=-1, keepdim=True).clamp_min(1e-12)
        return unit
