"""A prior with its trained head, as one network."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from trilemma.models.prior.family import UNMOVED, Prior
from trilemma.models.prior.pooling import Shift


class PriorNetwork(nn.Module):
    """A network that maps normalized images float (n, C, H, W), like other networks, to logits (n, classes).

    Args:
      prior: the fixed features.
      head: the linear layer that was trained on the features.
      mean, deviation: the mean and std by which the images were normalized, per channel, in units of pixel / 255.
      shifts: the views over which the features of an image are averaged.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(
        self,
        prior: Prior,
        head: nn.Linear,
        mean: Sequence[float],
        deviation: Sequence[float],
        shifts: tuple[Shift, ...] = UNMOVED,
    ) -> None:
        super().__init__()
        self.prior, self.head, self.shifts = prior, head, shifts
        self.register_buffer("mean", torch.tensor(list(mean)).view(-1, 1, 1))
        self.register_buffer("deviation", torch.tensor(list(deviation)).view(-1, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        pixels = (images * self.deviation + self.mean) * 255
        parts = pixels.round().clamp(0, 255).to(torch.uint8).cpu().split(8)
        features = torch.cat([self.prior(part, self.shifts).mean(1) for part in parts])
        logits: Tensor = self.head(features.to(self.head.weight.device))
        return logits
