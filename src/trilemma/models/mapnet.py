"""A small convolutional network on fixed maps: ``prior-conv``.

Its first layer is public (:mod:`trilemma.models.prior.maps`), so that few layers are left to train.
"""

from __future__ import annotations

import re

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trilemma.errors import InputError
from trilemma.models.layers import Norm, activated, convolution, initialize, norm_layer, pad_same
from trilemma.models.prior.maps import CHANNELS

_WIDTH = 64


def map_network_width(name: str) -> int | None:
    """W of the model name ``prior-conv-W``, 64 of ``prior-conv``, None of any other name.

    >>> map_network_width("prior-conv"), map_network_width("prior-conv-32"), map_network_width("convnet")
    (64, 32, None)
    """
    match = re.fullmatch(r"prior-conv(?:-(\d{1,4}))?", name)
    return None if match is None else int(match[1] or _WIDTH)


def channels_read(width: int) -> int:
    """How many of a map's channels a network of this width reads: one and a half for each of its own, if there are."""
    return min(CHANNELS, 3 * width // 2)


class MapNetwork(nn.Module):
    """Two 3x3 convolutions of ``width`` channels, the second with stride 2, each followed by ReLU and normalization;
    means over the four quarters of what is left, and a linear head.

    With width 64, 10 classes, group norm and maps of 9x9 the network has 95,114 parameters.

    Args:
      width: W, at least 4.
      classes: the number of outputs.
      in_channels: channels of a map that are read.
      norm, groups: the kind of normalization layers, and the number of groups of a group norm.
      norm_first: normalize before the ReLU.
      standardized: apply scaled weight standardization to every convolution.
      generator: the source of the initial weights.

    Raises:
      InputError: the width is below 4.
    """

    def __init__(
        self,
        *,
        width: int,
        classes: int,
        in_channels: int,
        norm: Norm = "none",
        groups: int = 16,
        norm_first: bool = False,
        standardized: bool = False,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        if width < 4:
            raise InputError(f"the width of prior-conv must be at least 4, not {width}")
        self.norm_first = norm_first
        self.conv1 = convolution(in_channels, width, 3, standardized=standardized)
        self.conv2 = convolution(width, width, 3, stride=2, standardized=standardized)
        self.norm1, self.norm2 = (norm_layer(norm, width, groups) for _ in range(2))
        self.head = nn.Linear(4 * width, classes)
        initialize(self, generator)

    def forward(self, maps: Tensor) -> Tensor:
        """float (N, C, h, w) -> logits (N, classes)."""
        out = activated(self.conv1(maps), self.norm1, norm_first=self.norm_first)
        out = activated(self.conv2(pad_same(out, 3, 2)), self.norm2, norm_first=self.norm_first)
        logits: Tensor = self.head(F.adaptive_avg_pool2d(out.float(), 2).flatten(1))
        return logits
