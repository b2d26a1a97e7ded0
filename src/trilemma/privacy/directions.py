"""Gradient canaries: known directions of norm C that are added to the clipped sum as if an example had given them.

The directions are orthonormal, so that what one canary adds does not move another's score, and each of them spans many
weights, so that together they see the noise of all weights.  Each has weights of its own: a random share of all of
them, with random signs.

**Score.**  An update releases (S + D + Z) / B, where S is the clipped sum of the examples, D that of the drawn canaries
and Z the noise.  A canary's score is the projection of D + Z on its direction, in units of C, summed over the updates.
S is subtracted: an adversary may know every example but the canary, and the draws of the others, so the bound loses
nothing by it, while the projection of S is noise to the auditor.

Source: gradient canaries in one training (Steinke, Nasr and Jagielski 2023, section 6), with S subtracted.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from trilemma.privacy.gradients.sums import ClippedSum
from trilemma.seeds import generator_for


@dataclass(eq=False)
class Directions:
    """Orthonormal directions in the space of one network's weights.

    Attributes:
      count: M, at most the number of weights.
      weights: the number of trainable weights.
      seed: decides the directions, which are public and do not depend on any data.
    """

    count: int
    weights: int
    seed: int
    _places: Tensor = field(init=False, repr=False)
    _signs: Tensor = field(init=False, repr=False)
    _before: Tensor | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        if not 1 <= self.count <= self.weights:
            raise ValueError(f"{self.weights} weights have no {self.count} orthonormal directions")
        generator = generator_for(self.seed, "canary directions")
        share = self.weights // self.count
        self._places = torch.randperm(self.weights, generator=generator)[: self.count * share].view(self.count, share)
        self._signs = torch.randint(2, self._places.shape, generator=generator).mul_(2).sub_(1).float()

    def join(self, total: ClippedSum, drawn: Tensor) -> ClippedSum:
        """The sum with the drawn canaries in it, each with norm C; the projections of ``total`` alone are remembered.

        Args:
          total: the clipped sum over the drawn examples.  It must not be used after this call.
          drawn: int64 (k,), the canaries that were drawn.

        Returns:
          A sum whose ``norms`` have an entry for each canary, and whose ``losses`` have none.
        """
        self._before = self._projections(total.sums)
        norm, share = total.clipping_norm, self._places.shape[1]
        flat = torch.zeros(self.weights)
        flat[self._places[drawn]] = self._signs[drawn] * (norm / share**0.5)
        sums, start = {}, 0
        for name, value in total.sums.items():
            part = flat[start : start + value.numel()].view(value.shape)
            sums[name] = value + part.to(value.device)
            start += value.numel()
        norms = torch.cat([total.norms, total.norms.new_full((len(drawn),), norm)])
        return ClippedSum(sums, norms, total.losses, norm)

    def scores(self, released: Mapping[str, Tensor], *, batch_size: int, clipping_norm: float) -> Tensor:
        """float64 (M,): what one update adds to each canary's score.

        Args:
          released: the privatized gradient of the update whose sum :meth:`join` was called with last.
          batch_size: B, by which it was divided.
          clipping_norm: C.

        Raises:
          ValueError: :meth:`join` was not called first.
        """
        if self._before is None:
            raise ValueError("join the canaries to the clipped sum of an update before its scores are taken")
        before, self._before = self._before, None
        return (self._projections(released) * batch_size - before) / clipping_norm

    def _projections(self, values: Mapping[str, Tensor]) -> Tensor:
        """float64 (M,), on the CPU."""
        flat = torch.cat([value.detach().flatten() for value in values.values()]).cpu()
        if len(flat) != self.weights:
            raise ValueError(f"the directions are for {self.weights} weights, not for {len(flat)}")
        along: Tensor = (flat[self._places].double() * self._signs).sum(dim=1)
        return along.div_(float(self._places.shape[1]) ** 0.5)
