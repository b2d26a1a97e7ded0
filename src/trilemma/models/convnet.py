"""A small convolutional network for CPUs and small images."""

from __future__ import annotations

import itertools

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trilemma.errors import InputError
from trilemma.models.layers import Norm, activated, convolution, initialize, norm_layer


class ConvNet(nn.Module):
    """Four 3x3 convolutions (width, width, 2 width, 4 width channels), each followed by normalization
    and ReLU.  All but the first are followed by average pooling by 2 (as long as at least two pixels remain), and
    the last by a mean over positions and a linear head.  With width 32, 10 classes, color images and no
    normalization layers the network has 103,786 parameters.

    Raises:
      InputError: the width is below 4.
    """

    def __init__(
        self,
        *,
        width: int,
        classes: int,
        in_channels: int = 3,
        norm: Norm = "none",
        groups: int = 16,
        norm_first: bool = True,
        standardized: bool = False,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        if width < 4:
            raise InputError(f"the convnet's width must be at least 4, not {width}")
        widths = (in_channels, width, width, 2 * width, 4 * width)
        self.norm_first = norm_first
        self.convs = nn.ModuleList(
            convolution(before, after, 3, standardized=standardized) for before, after in itertools.pairwise(widths)
        )
        self.norms = nn.ModuleList(norm_layer(norm, after, groups) for after in widths[1:])
        self.head = nn.Linear(widths[-1], classes)
        initialize(self, generator)

    def forward(self, images: Tensor) -> Tensor:
        """float (N, C, H, W) -> logits (N, classes)."""
        out = images
        for index, (conv, norm) in enumerate(zip(self.convs, self.norms, strict=True)):
            out = activated(conv(out), norm, norm_first=self.norm_first)
            if index > 0 and min(out.shape[-2:]) >= 4:
                out = F.avg_pool2d(out, 2)
        logits: Tensor = self.head(out.float().mean(dim=(2, 3)))
        return logits
