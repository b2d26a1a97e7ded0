"""Construction of networks by name."""

from __future__ import annotations

import re
from typing import Any

import torch
from torch import nn

from trilemma.errors import InputError
from trilemma.hints import did_you_mean
from trilemma.models.convnet import ConvNet
from trilemma.models.layers import Norm
from trilemma.models.mapnet import MapNetwork, channels_read, map_network_width
from trilemma.models.own import own_network
from trilemma.models.prior.maps import map_shape
from trilemma.models.timm import PREFIX, build_timm
from trilemma.models.wide_resnet import WideResNet
from trilemma.networks import NETWORKS, networks_in_words
from trilemma.outside import called, is_outside, resolve

NAMES = networks_in_words()
"""What a network can be called, for messages."""


def build(
    name: str,
    *,
    classes: int,
    image_shape: tuple[int, int, int],
    norm: Norm = "none",
    groups: int = 16,
    norm_first: bool | None = None,
    standardized: bool = False,
    weights: str = "",
    last_alone: bool = False,
    generator: torch.Generator,
) -> nn.Module:
    """Build a freshly initialized network.

    Args:
      name: ``wrn-D-K`` with any allowed depth and width, ``convnet`` (width 32) or ``convnet-W``, ``prior-conv``
        (width 64) or ``prior-conv-W``, whose inputs are maps of images (:func:`network_inputs`).  Or
        ``module:name`` of a function from ``classes`` and ``image_shape`` to a module, whose layers are its own (for
        it, ``norm`` to ``standardized`` have no effect).
      classes: the number of outputs.
      image_shape: (C, H, W), at least 8x8 with 1 or 3 channels.
      norm, groups: the kind of normalization layers, and the number of groups of a group norm.
      norm_first: normalize before the ReLU.  None: the network's usual order (ReLU first in wide ResNets).
      standardized: apply scaled weight standardization to every convolution.
      weights, last_alone: of a network of timm (:func:`~trilemma.models.timm.build_timm`); no other takes them.
      generator: the source of the initial weights.

    Raises:
      InputError: the name is unknown, the images are too small, or the depth or width is not allowed.

    >>> network = build("convnet", classes=10, image_shape=(3, 32, 32), generator=torch.Generator())
    >>> sum(p.numel() for p in network.parameters())
    103786
    """
    if name.startswith(PREFIX):
        return build_timm(
            name,
            classes=classes,
            image_shape=image_shape,
            norm=norm,
            groups=groups,
            weights=weights,
            last_alone=last_alone,
            generator=generator,
        )
    if is_outside(name, "models"):
        return _from_outside(name, classes, image_shape, generator)
    channels, height, width = image_shape
    if min(height, width) < 8 or channels not in (1, 3):
        raise InputError(
            f"images of {channels} x {height} x {width} do not fit {name}: at least 8x8 pixels, 1 or 3 channels"
        )
    choices: dict[str, Any] = {
        "classes": classes,
        "in_channels": network_inputs(name, image_shape)[0],
        "norm": norm,
        "groups": groups,
        "standardized": standardized,
        "generator": generator,
    }
    if norm_first is not None:
        choices["norm_first"] = norm_first
    if match := re.fullmatch(r"wrn-(\d{1,4})-(\d{1,3})", name):
        return WideResNet(depth=int(match[1]), width=int(match[2]), **choices)
    if match := re.fullmatch(r"convnet(?:-(\d{1,4}))?", name):
        return ConvNet(width=int(match[1] or 32), **choices)
    if (map_width := map_network_width(name)) is not None:
        return MapNetwork(width=map_width, **choices)
    near = did_you_mean(name, (kind.example for kind in NETWORKS.values() if kind.example))
    raise InputError(f"unknown model {name!r}{near}: use {networks_in_words()}")


def network_inputs(name: str, image_shape: tuple[int, int, int]) -> tuple[int, int, int]:
    """The shape of what the network of this name is given for an image of ``image_shape``: the image, or of
    ``prior-conv`` its map.

    >>> network_inputs("convnet", (3, 32, 32)), network_inputs("prior-conv-32", (3, 32, 32))
    ((3, 32, 32), (48, 9, 9))
    """
    width = map_network_width(name)
    if width is None:
        return image_shape
    _, rows, columns = map_shape(image_shape)
    return channels_read(width), rows, columns


def _from_outside(name: str, classes: int, image_shape: tuple[int, int, int], generator: torch.Generator) -> nn.Module:
    """A network of the user's own.  Its initial weights come from torch's generator, which is seeded for it alone."""
    function = resolve(name, "models")
    seed = int(torch.randint(2**62, (), generator=generator))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = called(name, function, classes=classes, image_shape=image_shape)
    return own_network(repr(name), network, classes, image_shape)
