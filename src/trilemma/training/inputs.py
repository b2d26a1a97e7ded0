"""The inputs of a network: views of each image, or fixed features or maps of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trilemma.data.dataset import Dataset
from trilemma.data.views import example_keys, moved, moves_of, normalize
from trilemma.models import network_inputs
from trilemma.models.mapnet import map_network_width
from trilemma.models.prior import PRIORS, Features, Shift, features_of, fitted_maps, maps_of, view_shifts
from trilemma.progress import Progress
from trilemma.training.recipe import Recipe

Part = Literal["train", "test"]


class Inputs(Protocol):
    """The inputs of a network, for training and for evaluation."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one view."""

    @property
    def batch(self) -> int:
        """The number of views that are best computed at once."""

    def views(self, rows: Tensor, update: int) -> Tensor:
        """float32 or float16 (n, K, *shape): the K views that an update sees of each of the training examples ``rows``,
        on the device.  An example's views do not depend on the other examples in ``rows``."""

    def plain(self, part: Part, rows: NDArray[np.int64]) -> Tensor:
        """float32 (n, *shape): examples of a split as they are, on the device."""


@dataclass(frozen=True, eq=False)
class ImageInputs:
    """Images, shifted and mirrored at random under AM.  The training images and their keys stay on the device."""

    recipe: Recipe
    data: Dataset
    device: torch.device
    images: Tensor
    keys: Tensor | None

    @classmethod
    def of(cls, recipe: Recipe, data: Dataset, device: torch.device) -> ImageInputs:
        """The inputs for a recipe on data, with their training images moved to the device."""
        train = data.train
        keys = example_keys(train.images, train.labels, recipe.seed).to(device) if recipe.has("am") else None
        return cls(recipe, data, device, torch.tensor(train.images, device=device), keys)

    @property
    def shape(self) -> tuple[int, ...]:
        """(C, H, W) of an image."""
        return self.data.image_shape

    @property
    def batch(self) -> int:
        """In images of 32 x 32 pixels: 128 on a CPU, where more saves no time; on a GPU, so many that memory
        decides."""
        pixels = self.data.image_shape[1] * self.data.image_shape[2]
        return (4096 if self.device.type == "cuda" else 128) * max(1, 32 * 32 // pixels)

    def views(self, rows: Tensor, update: int) -> Tensor:
        """float32 (n, K, C, H, W): the views of training examples ``rows`` in an update."""
        recipe, data, rows = self.recipe, self.data, rows.to(self.device)
        images = self.images[rows]
        if self.keys is None:
            return normalize(images.unsqueeze(1), data.mean, data.std)
        moves = moves_of(
            self.keys[rows],
            update,
            recipe.views,
            size=data.image_shape[1:],
            shift=data.shift if recipe.shift is None else recipe.shift,
            flips=data.flips if recipe.flips is None else recipe.flips,
        )
        return normalize(moved(images, moves), data.mean, data.std)

    def plain(self, part: Part, rows: NDArray[np.int64]) -> Tensor:
        """float32 (n, C, H, W): normalized images as they are."""
        split = self.data.train if part == "train" else self.data.test
        images = torch.tensor(split.images[rows], device=self.device)
        return normalize(images, self.data.mean, self.data.std)


def shifts_of(recipe: Recipe, data: Dataset) -> tuple[Shift, ...]:
    """Views of a prior: K of them under AM, a pixel apart unless the recipe says otherwise."""
    return view_shifts(recipe.multiplicity, 1 if recipe.shift is None else recipe.shift, data.image_shape)


@dataclass(frozen=True, eq=False)
class PriorInputs:
    """Fixed features of images, computed once and read from disk.

    Under AM an example's K views are those of :func:`trilemma.models.prior.view_shifts`: the same feature map pooled
    over windows that are moved a little.  Nothing about them is random, and an example is evaluated on their mean.
    """

    train: Features
    test: Features
    device: torch.device
    batch: int = 1024  # as many as are stored together on disk

    @classmethod
    def of(cls, recipe: Recipe, data: Dataset, device: torch.device, progress: Progress) -> PriorInputs:
        """The inputs for a recipe on data, whose features are computed or read from the cache."""
        shifts = shifts_of(recipe, data)
        splits = [data.train.images, data.test.images]
        train, test = features_of(PRIORS[recipe.model], splits, recipe.prior_seed, shifts=shifts, progress=progress)
        return cls(train, test, device)

    @property
    def shape(self) -> tuple[int, ...]:
        """(d,) of an example's features."""
        return self.train.shape[1:]

    def views(self, rows: Tensor, update: int) -> Tensor:
        """(n, K, d): the views of training examples ``rows``, which are the same in every update."""
        return self.train.take(rows).to(self.device)

    def plain(self, part: Part, rows: NDArray[np.int64]) -> Tensor:
        """float32 (n, d): features, averaged over views if there are several."""
        views = (self.train if part == "train" else self.test).take(rows).to(self.device)
        return views[:, 0].float() if views.shape[1] == 1 else views.float().mean(1)


_CELLS = 1
"""How far a view of a map is shifted at most, in cells, unless the recipe says otherwise."""


@dataclass(frozen=True, eq=False)
class MapInputs:
    """Fixed maps of images, computed once and read from disk; under AM, moved and mirrored at random.

    A view of an example is a function of the example, the seed and the update alone, as one of an image is
    (:mod:`trilemma.data.views`).  The map of a mirrored image is the mirrored map, with ``signs``; a map that is moved
    by a cell is not quite that of a moved image, whose cells at the border see other pixels.

    Attributes:
      recipe: for the views.
      train, test: maps of the splits.
      shape: (c, h, w): the leading c channels of a map are what the network reads.
      signs: float32 (c, 1, 1).
      keys: int64 (N,) of the training examples under AM, else None.
      flips: whether views are mirrored.
    """

    recipe: Recipe
    train: Features
    test: Features
    shape: tuple[int, int, int]
    signs: Tensor
    keys: Tensor | None
    flips: bool
    device: torch.device
    batch: int = 512

    @classmethod
    def of(cls, recipe: Recipe, data: Dataset, device: torch.device, progress: Progress) -> MapInputs:
        """The inputs for a recipe on data, whose maps are computed or read from the cache."""
        shape = network_inputs(recipe.model, data.image_shape)
        train, test = maps_of([data.train.images, data.test.images], recipe.prior_seed, progress=progress)
        signs = fitted_maps(data.image_shape, recipe.prior_seed).signs[: shape[0], None, None].to(device)
        keys = None
        if recipe.has("am"):
            keys = example_keys(data.train.images, data.train.labels, recipe.seed).to(device)
        flips = data.flips if recipe.flips is None else recipe.flips
        return cls(recipe, train, test, shape, signs, keys, flips, device)

    def views(self, rows: Tensor, update: int) -> Tensor:
        """float32 (n, K, c, h, w): the views of training examples ``rows`` in an update."""
        maps = self._leading(self.train, rows)
        if self.keys is None:
            return maps[:, None]
        shift = _CELLS if self.recipe.shift is None else self.recipe.shift
        keys = self.keys[rows.to(self.device)]
        moves = moves_of(keys, update, self.recipe.views, size=self.shape[1:], shift=shift, flips=self.flips)
        mirrored = moves[:, :, 2, None, None, None] == 1
        views = moved(maps, moves)
        return torch.where(mirrored, views * self.signs, views)

    def plain(self, part: Part, rows: NDArray[np.int64]) -> Tensor:
        """float32 (n, c, h, w): maps as they are."""
        return self._leading(self.train if part == "train" else self.test, rows)

    def _leading(self, features: Features, rows: Tensor | NDArray[np.int64]) -> Tensor:
        """float32 (n, c, h, w)."""
        return features.take(rows)[:, 0, : self.shape[0]].to(self.device, torch.float32)


def inputs_for(recipe: Recipe, data: Dataset, device: torch.device, progress: Progress) -> Inputs:
    """What the recipe's own network is given."""
    if recipe.model in PRIORS:
        return PriorInputs.of(recipe, data, device, progress)
    if map_network_width(recipe.model) is not None:
        return MapInputs.of(recipe, data, device, progress)
    return ImageInputs.of(recipe, data, device)
