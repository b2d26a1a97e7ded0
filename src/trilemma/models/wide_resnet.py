"""Wide residual networks (Zagoruyko and Komodakis 2016) in the form used for private training (De et al. 2022)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from trilemma.errors import InputError
from trilemma.models.layers import Norm, activated, convolution, initialize, norm_layer, pad_same


class Activation(nn.Module):
    """ReLU and normalization before a convolution, with ReLU first by default: it is more accurate under a budget."""

    def __init__(self, channels: int, *, norm: Norm, groups: int, norm_first: bool) -> None:
        super().__init__()
        self.norm = norm_layer(norm, channels, groups)
        self.norm_first = norm_first

    def forward(self, images: Tensor) -> Tensor:
        return activated(images, self.norm, norm_first=self.norm_first)


class Block(nn.Module):
    """A residual block of two 3x3 convolutions; the skip is a 1x1 convolution if ``project``, else the identity."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        stride: int,
        project: bool,
        norm: Norm,
        groups: int,
        norm_first: bool,
        standardized: bool,
    ) -> None:
        super().__init__()
        self.stride = stride
        self.act1 = Activation(in_channels, norm=norm, groups=groups, norm_first=norm_first)
        self.conv1 = convolution(in_channels, out_channels, 3, stride=stride, standardized=standardized)
        self.act2 = Activation(out_channels, norm=norm, groups=groups, norm_first=norm_first)
        self.conv2 = convolution(out_channels, out_channels, 3, standardized=standardized)
        self.act_skip = Activation(in_channels, norm=norm, groups=groups, norm_first=norm_first) if project else None
        self.conv_skip = (
            convolution(in_channels, out_channels, 1, stride=stride, standardized=standardized) if project else None
        )

    def forward(self, images: Tensor) -> Tensor:
        skip = images
        if self.act_skip is not None and self.conv_skip is not None:
            skip = self.conv_skip(pad_same(self.act_skip(images), 1, self.stride))
        out = self.conv1(pad_same(self.act1(images), 3, self.stride))
        out = self.conv2(self.act2(out))
        added: Tensor = out + skip
        return added


class WideResNet(nn.Module):
    """The wide ResNet WRN-depth-width for images of at least 8x8 pixels.

    The stem is a 3x3 convolution with 16 channels.  It is followed by three groups of (depth - 4) / 6 blocks with
    16, 32 and 64 times ``width`` channels and strides 1, 2 and 2; the first block of every group projects its skip.
    The head consists of an activation, a mean over positions and a linear layer.  There is no dropout, and all
    convolutions have biases.

    Raises:
      InputError: the depth is not 6 n + 4 with n >= 1, or the width is below 1.
    """

    def __init__(
        self,
        *,
        depth: int,
        width: int,
        classes: int,
        in_channels: int = 3,
        norm: Norm = "none",
        groups: int = 16,
        norm_first: bool = False,
        standardized: bool = False,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        if depth < 10 or (depth - 4) % 6:
            raise InputError(f"a wide ResNet's depth must be 6 n + 4 (10, 16, 22, 28, 34, 40, ...), not {depth}")
        if width < 1:
            raise InputError(f"a wide ResNet's width must be at least 1, not {width}")
        self.stem = convolution(in_channels, 16, 3, standardized=standardized)
        blocks: list[nn.Module] = []
        channels = 16
        for out_channels, stride in ((16 * width, 1), (32 * width, 2), (64 * width, 2)):
            for index in range((depth - 4) // 6):
                blocks.append(
                    Block(
                        channels,
                        out_channels,
                        stride=stride if index == 0 else 1,
                        project=index == 0,
                        norm=norm,
                        groups=groups,
                        norm_first=norm_first,
                        standardized=standardized,
                    )
                )
                channels = out_channels
        self.blocks = nn.Sequential(*blocks)
        self.act = Activation(channels, norm=norm, groups=groups, norm_first=norm_first)
        self.head = nn.Linear(channels, classes)
        initialize(self, generator)

    def forward(self, images: Tensor) -> Tensor:
        """float (N, C, H, W) -> logits (N, classes)."""
        out: Tensor = self.stem(images)
        out = self.act(self.blocks(out))
        # The mean over positions is computed in float32, whatever the compute type of the convolutions.
        logits: Tensor = self.head(out.float().mean(dim=(2, 3)))
        return logits
