"""Weight standardization: the convolution that the networks use, and for whose gradients privacy has a rule."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class StandardizedConv2d(nn.Conv2d):
    """A convolution with scaled weight standardization (Brock et al. 2021, as De et al. 2022 use it).

    The weight used is ``gain * (w - mean) / sqrt(max(var * fan_in, 1e-4))``, with mean and variance over
    (kernel height, kernel width, input channels) of each output channel and a learned gain per output channel,
    1 at the start.  This is not the unscaled (w - mean) / std of Qiao et al. 2019.
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int, *, stride: int = 1, padding: int = 0
    ) -> None:
        super().__init__(in_channels, out_channels, kernel_size, stride=stride, padding=padding, bias=True)
        self.gain = nn.Parameter(torch.ones(out_channels))

    def standardized_weight(self) -> Tensor:
        """The weight used, of ``weight``'s shape."""
        return standardize(self.weight) * self.gain[:, None, None, None]

    def forward(self, input: Tensor) -> Tensor:
        return F.conv2d(input, self.standardized_weight(), self.bias, self.stride, self.padding)


def standardize(weight: Tensor) -> Tensor:
    """Each output channel of ``weight`` (O, I, H, W) minus its mean, scaled to unit norm (its square at least 1e-4)."""
    centered = weight - weight.mean(dim=(1, 2, 3), keepdim=True)
    return centered * torch.rsqrt(centered.square().sum(dim=(1, 2, 3), keepdim=True).clamp_min(1e-4))
