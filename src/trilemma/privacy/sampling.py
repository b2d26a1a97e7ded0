"""Which examples an update sees: Poisson sampling (Abadi et al. 2016), the only kind that the accounting covers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor

from trilemma.privacy.randomness import RandomStream


@dataclass(frozen=True, eq=False)
class Draw:
    """One logical batch, for one update.

    Attributes:
      indices: int64 (n,), ascending, on the CPU.  n is random and may be 0: an empty draw is an update like any
        other (noise is added and it is charged), since skipping it would tell that nobody was drawn.
      sampling_probability: q with which each example was drawn, independently of all others.
      released: whether a gradient over it has been released.  A second one would be an update that sees the same
        examples, which the accounting of independent draws does not cover.
    """

    indices: Tensor
    sampling_probability: float
    released: bool = field(default=False, init=False)

    def __len__(self) -> int:
        return len(self.indices)

    def mark_released(self) -> None:
        """Say that a gradient over it has been released, which is all of a draw that ever changes."""
        object.__setattr__(self, "released", True)

    def physical_batches(self, size: int) -> Iterator[Tensor]:
        """The draw in pieces of at most ``size`` that fit the device; nothing is dropped or repeated.

        How a draw is cut changes neither the update nor what it costs.
        """
        if len(self.indices):
            yield from self.indices.split(size)


def poisson_draw(examples: int, sampling_probability: float, stream: RandomStream) -> Draw:
    """Draw each example independently with the same probability, as in DP-SGD (Abadi et al. 2016).

    The uniform numbers are float64, so that the probability is met to 2**-53.

    Args:
      examples: N.
      sampling_probability: q in (0, 1], as :class:`~trilemma.privacy.plan.Plan` makes sure; with 1 every example is
        drawn.
      stream: the source of the uniform numbers; it advances by N of them, and must be used for nothing else that is
        published.
    """
    indices = torch.nonzero(stream.uniform(examples) < sampling_probability).squeeze(1)
    return Draw(indices, sampling_probability)
