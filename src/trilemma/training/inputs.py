"""The inputs of a network: views of each image, or fixed features of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trilemma.data.dataset import Dataset
from trilemma.data.views import example_keys, moved, moves_of, normalize
from trilemma.models.prior import PRIORS, Features, Shift, features_of, view_shifts
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
        train = data.train
        keys = example_keys(train.images, train.labels, recipe.seed).to(device) if recipe.has("am") else None
        return cls(recipe, data, device, torch.tensor(train.images, device=device), keys)

    @property
    def shape(self) -> tuple[int, ...]:
        return self.data.image_shape

    @property
    def batch(self) -> int:
        """In images of 32 x 32 pixels: 128 on a CPU, where more saves no time; on a GPU, so many that memory
        decides."""
        pixels = self.data.image_shape[1] * self.data.image_shape[2]
        return (4096 if self.device.type == "cuda" else 128) * max(1, 32 * 32 // pixels)

    def views(self, rows: Tensor, update: int) -> Tensor:
        recipe, data, rows = self.recipe, self.data, rows.to(self.device)
        images = self.images[rows]
        if self.keys is None:
            return normalize(images.unsqueeze(1), data.mean, data.deviation)
        moves = moves_of(
            self.keys[rows],
            update,
            recipe.views,
            size=data.image_shape[1:],
            shift=data.shift if recipe.shift is None else recipe.shift,
            flips=data.flips if recipe.flips is None else recipe.flips,
        )
        return normalize(moved(images, moves), data.mean, data.deviation)

    def plain(self, part: Part, rows: NDArray[np.int64]) -> Tensor:
        split = self.data.train if part == "train" else self.data.test
        images = torch.tensor(split.images[rows], device=self.device)
        return normalize(images, self.data.mean, self.data.deviation)


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
    batch: int = 1024  # as many as lie together on disk

    @classmethod
    def of(cls, recipe: Recipe, data: Dataset, device: torch.device, progress: Progress) -> PriorInputs:
        shifts = shifts_of(recipe, data)
        splits = [data.train.images, data.test.images]
        train, test = features_of(PRIORS[recipe.model], splits, recipe.prior_seed, shifts=shifts, progress=progress)
        return cls(train, test, device)

    @property
    def shape(self) -> tuple[int, ...]:
        return self.train.shape[1:]

    def views(self, rows: Tensor, update: int) -> Tensor:
        return self.train.take(rows).to(self.device)

    def plain(self, part: Part, rows: NDArray[np.int64]) -> Tensor:
        views = (self.train if part == "train" else self.test).take(rows).to(self.device)
        return views[:, 0].float() if views.shape[1] == 1 else views.float().mean(1)
