"""What is fixed and what was trained on it, as one network from images to logits."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from trilemma.models.prior.family import UNMOVED, Prior
from trilemma.models.prior.local import LocalMaps
from trilemma.models.prior.maps import maps_from
from trilemma.models.prior.pooling import Shift

_AT_ONCE = 8


class FromImages(nn.Module):
    """A network that takes normalized images, like other networks, back to pixels.

    Args:
      mean, deviation: the mean and std by which the images were normalized, per channel, in units of pixel / 255.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, mean: Sequence[float], deviation: Sequence[float]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(list(mean)).view(-1, 1, 1))
        self.register_buffer("deviation", torch.tensor(list(deviation)).view(-1, 1, 1))

    def pixels(self, images: Tensor) -> tuple[Tensor, ...]:
        """Normalized images float (n, C, H, W) as uint8 tensors on the CPU, a few images each."""
        pixels = (images * self.deviation + self.mean) * 255
        parts: tuple[Tensor, ...] = pixels.round().clamp(0, 255).to(torch.uint8).cpu().split(_AT_ONCE)
        return parts


class PriorNetwork(FromImages):
    """A prior with its trained head: normalized images float (n, C, H, W) -> logits (n, classes).

    Args:
      prior: the fixed features.
      head: the linear layer that was trained on the features.
      mean, deviation: see :class:`FromImages`.
      shifts: the views over which the features of an image are averaged.
    """

    def __init__(
        self,
        prior: Prior,
        head: nn.Linear,
        mean: Sequence[float],
        deviation: Sequence[float],
        shifts: tuple[Shift, ...] = UNMOVED,
    ) -> None:
        super().__init__(mean, deviation)
        self.prior, self.head, self.shifts = prior, head, shifts

    def forward(self, images: Tensor) -> Tensor:
        features = torch.cat([self.prior(part, self.shifts).mean(1) for part in self.pixels(images)])
        logits: Tensor = self.head(features.to(self.head.weight.device))
        return logits


class OnMaps(FromImages):
    """Fixed maps with the network trained on them: normalized images float (n, C, H, W) -> logits (n, classes).

    Args:
      local: the fixed maps.
      network: a :class:`~trilemma.models.mapnet.MapNetwork`, which reads their leading channels.
      mean, deviation: see :class:`FromImages`.
    """

    def __init__(self, local: LocalMaps, network: nn.Module, mean: Sequence[float], deviation: Sequence[float]) -> None:
        super().__init__(mean, deviation)
        self.local, self.network = local, network
        self.channels = int(network.conv1.in_channels)  # type: ignore[union-attr, arg-type]

    def forward(self, images: Tensor) -> Tensor:
        # Rounded to float16 as the maps that it was trained on are.
        maps = torch.cat([maps_from(self.local, part)[:, : self.channels].half() for part in self.pixels(images)])
        logits: Tensor = self.network(maps.float().to(next(self.network.parameters()).device))
        return logits
