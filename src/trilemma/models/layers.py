"""Layers of the catalog's networks that no library provides in this form."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trilemma.errors import InputError
from trilemma.standardization import StandardizedConv2d

Norm = Literal["none", "batch", "group"]


def convolution(
    in_channels: int, out_channels: int, kernel_size: int, *, stride: int = 1, standardized: bool
) -> nn.Conv2d:
    """A convolution with biases.  At stride 1 it pads its inputs itself, which saves a copy of them; at a larger stride
    its inputs must be padded by :func:`pad_same`."""
    kind = StandardizedConv2d if standardized else nn.Conv2d
    return kind(in_channels, out_channels, kernel_size, stride=stride, padding=kernel_size // 2 if stride == 1 else 0)


def activated(maps: Tensor, norm: nn.Module, *, norm_first: bool) -> Tensor:
    """ReLU and normalization, in the order that ``norm_first`` says."""
    result: Tensor = F.relu(norm(maps)) if norm_first else norm(F.relu(maps))
    return result


def pad_same(images: Tensor, kernel_size: int, stride: int) -> Tensor:
    """Pad with zeros so that the output has ceil(size / stride) pixels, with an odd pixel at the bottom and right.

    This is the "SAME" padding of the published networks, which differs from a symmetric padding of 1 at stride 2.
    At stride 1 the two agree, and :func:`convolution` pads its inputs itself.
    """
    if stride == 1:
        return images
    pads = []
    for size in (images.shape[-1], images.shape[-2]):
        total = max((-(-size // stride) - 1) * stride + kernel_size - size, 0)
        pads += [total // 2, total - total // 2]
    return F.pad(images, pads) if any(pads) else images


def norm_layer(norm: Norm, channels: int, groups: int) -> nn.Module:
    """No normalization, batch norm, or group norm with ``groups`` groups (fewer if they do not divide the channels).

    Raises:
      InputError: there is no such norm, or it has less than one group.
    """
    if norm not in ("none", "batch", "group"):
        raise InputError(f"unknown norm {norm!r}: use none, batch or group")
    if groups < 1:
        raise InputError(f"the number of groups of a group norm must be at least 1, not {groups}")
    if norm == "batch":
        return nn.BatchNorm2d(channels)
    if norm == "group":
        while channels % groups:
            groups -= 1
        return nn.GroupNorm(groups, channels)
    return nn.Identity()


@torch.no_grad()
def initialize(network: nn.Module, generator: torch.Generator) -> None:
    """Draw the initial weights from ``generator``: normal for convolutions and truncated normal for linear layers, both
    with variance 1 / fan_in; biases are 0, norms and gains 1 (De et al. 2022)."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            fan_in = module.weight[0].numel()
            module.weight.normal_(0.0, fan_in**-0.5, generator=generator)
        elif isinstance(module, nn.Linear):
            # Truncating a normal distribution at two standard deviations leaves 0.8796 of its standard deviation.
            std = module.in_features**-0.5 / 0.87962566103423978
            nn.init.trunc_normal_(module.weight, 0.0, std, -2 * std, 2 * std, generator=generator)
        if isinstance(module, nn.Conv2d | nn.Linear) and module.bias is not None:
            module.bias.zero_()
