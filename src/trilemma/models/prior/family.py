"""The priors by name: their blocks, and how these are fitted.

A prior is a function of its name, the shape of the images and a seed.  It is never fitted to the training images, so
the features of private images are exactly as sensitive as the images: training on the features must be private, and
computing them needs no budget.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from trilemma.errors import InputError
from trilemma.machine import cores
from trilemma.models.prior.blocks import Block, OneLayer, SecondOrder, Seen, TwoLayer
from trilemma.models.prior.local import LocalMaps
from trilemma.models.prior.pooling import Shift
from trilemma.models.prior.synthetic import altered, synthetic_images
from trilemma.models.prior.whitening import Whitening
from trilemma.seeds import generator_for
from trilemma.threads import in_threads

SMALLEST = 16
"""The minimum length of an image's shorter side, in pixels."""

LARGEST = 64
"""The maximum length of the shorter side, in pixels; larger images are reduced to it."""

DICTIONARY_IMAGES = 20_000
"""Synthetic images that patches are taken from."""

_WHITENING_IMAGES = 6_000
_PHASES = ((0, 0), (1, 2), (2, 1))
_CONSTANT = 0.3
"""A feature that is the same for every image: it acts as the linear head's bias, at a scale suited to clipping."""

UNMOVED: tuple[Shift, ...] = ((0.0, 0.0),)
_AT_ONCE = 4  # images that a block computes at a time
_DIRECTIONS = ((0, 0), (1, 1), (-1, -1), (1, -1), (-1, 1), (1, 0), (-1, 0), (0, 1), (0, -1))

Tell = Callable[[str], None]


Kind = Literal["patches", "coarse patches", "two layers", "second order", "coarse second order"]


@dataclass(frozen=True)
class Settings:
    """The settings of one block of a prior.

    Attributes:
      kind: "patches" (of the image, or of the "coarse" image of half its size), or, on top of local descriptors, "two
        layers" or "second order" (of the image, or again of the coarse one).
      filters: the number of filters of the last layer; not used for second order.
      first, channels, phases: the settings of the local descriptors; blocks with equal settings share descriptors.
      soft: whether the quarters overlap.
      keep, floor, invariance: the settings of the whitening.
      weight: the weight of the block relative to the others.
    """

    kind: Kind
    filters: int = 0
    first: int = 256
    channels: int = 96
    phases: tuple[tuple[int, int], ...] = _PHASES
    soft: bool = False
    keep: int = 3000
    floor: float = 0.01
    invariance: float = 3.0
    weight: float = 1.0

    @property
    def width(self) -> int:
        """The number of features before whitening."""
        pairs = self.channels * (self.channels + 1) // 2
        return 8 * self.filters or 4 * pairs


_PATCHES = Settings("patches", 1536, keep=4000, floor=0.003, invariance=4.0)
_COARSE = Settings("coarse patches", 1536, weight=0.6)
_TWO_LAYERS = Settings("two layers", 1024, soft=True, floor=0.1, invariance=2.0)
_SECOND_ORDER = Settings("second order", floor=0.1, invariance=2.0)
_COARSE_SECOND_ORDER = replace(_SECOND_ORDER, kind="coarse second order", phases=((0, 0), (1, 1)), weight=0.7)

PRIORS: dict[str, tuple[Settings, ...]] = {
    "prior-xs": (replace(_SECOND_ORDER, keep=500), replace(_COARSE_SECOND_ORDER, keep=500)),
    "prior-s": (_SECOND_ORDER, _COARSE_SECOND_ORDER),
    "prior-m": (_PATCHES, _TWO_LAYERS, _COARSE),
    "prior-l": (replace(_PATCHES, weight=0.7), _SECOND_ORDER, _COARSE_SECOND_ORDER),
}
"""The blocks of each prior: the leading sixth of the features of the next one, for many classes and a small budget; a
small and fast one; one of patches and two layers, for comparison; the most accurate."""


@dataclass(frozen=True, eq=False)
class Prior:
    """A map from images to fixed features.

    Attributes:
      blocks: the blocks, each with its whitening and weight.
      shape: (C, H, W), the shape of the images that it accepts.
    """

    blocks: tuple[tuple[Block, Whitening, float], ...]
    shape: tuple[int, int, int]

    @classmethod
    def fit(cls, name: str, shape: tuple[int, int, int], seed: int, tell: Tell = lambda _: None) -> Prior:
        """Fit the filters and the whitening to synthetic images.

        Args:
          name: a key of ``PRIORS``.
          shape: (C, H, W), the shape of the images.
          seed: the seed of the dictionary: of the synthetic images, and of the patches chosen from them.
          tell: called with a description of each step.

        Raises:
          InputError: the name is unknown, or the images are too small.
        """
        return cls.of(blocks_of(name), shape, seed, tell)

    @classmethod
    def of(
        cls, blocks: tuple[Settings, ...], shape: tuple[int, int, int], seed: int, tell: Tell = lambda _: None
    ) -> Prior:
        """Fit a prior of the given blocks; see :meth:`fit`."""
        working = working_shape(shape)
        tell("drawing synthetic images")
        images = synthetic_images(DICTIONARY_IMAGES, working, seed)
        plain = images[:_WHITENING_IMAGES]
        changed = altered(plain, seed)
        fitted = []
        maps: dict[tuple[Any, ...], LocalMaps] = {}
        for block in blocks:
            tell(f"fitting {block.kind} to synthetic images")
            features = _fit(block, images, seed, maps)
            whitening = Whitening.fit(
                in_parts(features, plain),
                in_parts(features, changed),
                keep=block.keep,
                floor=block.floor,
                invariance=block.invariance,
            )
            fitted.append((features, whitening, block.weight))
        return cls(tuple(fitted), shape)

    @torch.no_grad()
    def __call__(self, images: Tensor, shifts: Sequence[Shift] = UNMOVED) -> Tensor:
        """The features of images and of views of them.

        Args:
          images: uint8 (n, C, H, W).
          shifts: how far the pooling windows of each view are shifted, as shares of a map.

        Returns:
          float32 (n, V, d): rows of length one, followed by the constant feature.
        """
        if tuple(images.shape[1:]) != self.shape:
            raise InputError(f"images of {tuple(images.shape[1:])} do not fit a prior for {self.shape}")
        # Blocks process a few images at a time, so that intermediate results fit into the processor's cache; whitening
        # processes all of them at once, since its matrix does not fit.
        raw: list[list[Tensor]] = [[] for _ in self.blocks]
        for part in reduced(images).split(_AT_ONCE):
            seen = Seen(part)
            for outputs, (block, _, _) in zip(raw, self.blocks, strict=True):
                outputs.append(block(seen, shifts))
        total = sum(weight**2 for _, _, weight in self.blocks) ** 0.5
        parts = [
            whitening(torch.cat(outputs)) * (weight / total)
            for outputs, (_, whitening, weight) in zip(raw, self.blocks, strict=True)
        ]
        return torch.cat([*parts, torch.full((len(images), len(shifts), 1), _CONSTANT)], dim=2)


def view_shifts(views: int, pixels: int, shape: tuple[int, int, int]) -> tuple[Shift, ...]:
    """The shifts of the pooling windows of ``views`` views: none for the first, then along diagonals, then along axes.

    Args:
      views: K, 1 to 9.
      pixels: the length of a shift in pixels.
      shape: (C, H, W), the shape of the images.

    Raises:
      InputError: ``views`` is not between 1 and 9.

    >>> view_shifts(3, 1, (3, 32, 32))
    ((0.0, 0.0), (0.03125, 0.03125), (-0.03125, -0.03125))
    """
    if not 1 <= views <= len(_DIRECTIONS):
        raise InputError(
            f"a prior has 1 to {len(_DIRECTIONS)} views of an image, not {views}: use for example --views 5"
        )
    _, height, width = shape
    return tuple((down * pixels / height, right * pixels / width) for down, right in _DIRECTIONS[:views])


def blocks_of(name: str) -> tuple[Settings, ...]:
    """The blocks of a prior, by its name.

    Raises:
      InputError: the name is unknown.
    """
    if name not in PRIORS:
        raise InputError(f"unknown model {name!r}: the priors are {', '.join(PRIORS)}")
    return PRIORS[name]


def features_in(name: str) -> int:
    """The number of features of an image under a prior, including the constant one."""
    return 1 + sum(block.keep for block in blocks_of(name))


def working_shape(shape: tuple[int, int, int]) -> tuple[int, int, int]:
    """The shape at which images of ``shape`` are processed: their own, or one with a shorter side of ``LARGEST``.

    Raises:
      InputError: the images are smaller than ``SMALLEST``.
    """
    channels, height, width = shape
    if min(height, width) < SMALLEST:
        raise InputError(
            f"images of {height} x {width} pixels are too small for a prior: {SMALLEST} x {SMALLEST} at least; "
            "use --size, or the model convnet"
        )
    if min(height, width) <= LARGEST:
        return shape
    scale = LARGEST / min(height, width)
    return channels, round(height * scale), round(width * scale)


def stride_for(working: tuple[int, int, int]) -> int:
    """The distance between patches in images of a working shape: with 48 pixels or more they start at every second
    pixel, which gives about as many positions as in a small image."""
    return 2 if min(working[1:]) >= 48 else 1


def reduced(images: Tensor) -> Tensor:
    """Images at their working size; each one depends on its own pixels alone."""
    _, *size = working_shape(tuple(images.shape[1:]))  # type: ignore[arg-type]
    if list(images.shape[2:]) == size:
        return images
    smaller = F.interpolate(images.float(), size=tuple(size), mode="bilinear", antialias=True)
    return smaller.clamp(0, 255).round().to(torch.uint8)


def in_parts(block: Block, images: Tensor) -> Tensor:
    """A block's features (n, d) of many images, computed a few images at a time."""
    with torch.no_grad():
        parts = in_threads(lambda part: block(Seen(part), UNMOVED)[:, 0], images.split(_AT_ONCE), cores())
        return torch.cat(list(parts))


def _fit(block: Settings, images: Tensor, seed: int, maps: dict[tuple[Any, ...], LocalMaps]) -> Block:
    generator = generator_for(seed, f"dictionary {block.kind}")
    coarse = block.kind.startswith("coarse")
    stride = 1 if coarse else stride_for(tuple(images.shape[1:]))  # type: ignore[arg-type]
    if block.kind in ("patches", "coarse patches"):
        return OneLayer.fit(
            images,
            filters=block.filters,
            coarse=coarse,
            soft=block.soft,
            stride=stride,
            generator=generator,
        )
    key = coarse, block.first, block.channels, block.phases
    if key not in maps:
        maps[key] = LocalMaps.fit(
            images,
            filters=block.first,
            channels=block.channels,
            cell=2 if coarse else 3,
            phases=block.phases,
            coarse=coarse,
            stride=stride,
            generator=generator_for(seed, f"dictionary local {key}"),
        )
    if block.kind in ("second order", "coarse second order"):
        return SecondOrder(maps[key])
    return TwoLayer.fit(maps[key], images, filters=block.filters, soft=block.soft, generator=generator)
