"""A trained model to use: from ``config.json`` and ``model.safetensors`` of a run, and nothing else."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from trilemma.data.images_from_user import GivenImages, given_images
from trilemma.data.views import normalize
from trilemma.errors import InputError, check_type
from trilemma.files import read_json, reading
from trilemma.hints import listed
from trilemma.models import build
from trilemma.models.mapnet import map_network_width
from trilemma.models.own import copied, fill
from trilemma.models.prior import PRIORS, OnMaps, PriorNetwork, fitted, fitted_maps, is_fitted, view_shifts
from trilemma.networks import network_name
from trilemma.outside import is_outside
from trilemma.rounding import rounded_up
from trilemma.training.learned import remember_learned, stored_names
from trilemma.training.network import Architecture
from trilemma.training.recipe import Recipe
from trilemma.trial.facts import Facts, stored_facts
from trilemma.trial.run import CONFIG, RESULT, WEIGHTS
from trilemma.trial.weights import read_weights
from trilemma.words import clean, counted

AT_ONCE = 256
"""Images that a network computes at a time."""


@dataclass(frozen=True, eq=False)
class Model:
    """A classifier with its preprocessing.

    Attributes:
      network: maps normalized images float32 (n, C, H, W) to logits (n, classes); in evaluation mode, on the CPU.
      facts: classes, form of the images, and the privacy statement.
      recipe: how it was trained.
      name: the name of the network, or the class of a module that was given to the training.
    """

    network: nn.Module
    facts: Facts
    recipe: Recipe
    name: str

    def __repr__(self) -> str:
        channels, height, width = self.facts.image_shape
        weights = sum(parameter.numel() for parameter in self.network.parameters())
        epsilon = self.facts.privacy.get("epsilon")
        budget = "no privacy guarantee" if epsilon is None else f"ε = {rounded_up(float(epsilon))}"
        return (
            f"<Model: {self.name}, {weights:,} weights; {counted(len(self.classes), 'class', 'classes')} "
            f"({listed(map(clean, self.classes), most=4)}); images {channels} x {height} x {width}; {budget}>"
        )

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, by index."""
        return self.facts.classes

    def prepared(self, images: Any, *, resize: bool = False) -> Tensor:
        """What the network takes: float32 (n, C, H, W), scaled and normalized; see :meth:`logits`."""
        pixels = self.read(images, resize=resize).images
        return normalize(torch.from_numpy(np.ascontiguousarray(pixels)), self.facts.mean, self.facts.std)

    def read(self, images: Any, *, resize: bool = False) -> GivenImages:
        """The images as uint8 (n, C, H, W), with their names; see :meth:`logits`."""
        if isinstance(images, GivenImages):
            return images
        return given_images(images, self.facts.image_shape, resize=resize)

    def logits(self, images: Any, *, resize: bool = False) -> NDArray[np.float32]:
        """Logits float32 (n, classes).

        Args:
          images: uint8 (n, C, H, W) or (n, H, W, C) as an array or a tensor, PIL images, names of files, a folder, or a
            sequence of these.
          resize: crop images of another size to the center square, and resize them.

        Raises:
          InputError: images that cannot be read, or of another size or number of channels.
        """
        pixels = self.read(images, resize=resize)
        parts = []
        with torch.no_grad():
            for start in range(0, len(pixels.images), AT_ONCE):
                part = GivenImages(pixels.images[start : start + AT_ONCE], pixels.names[start : start + AT_ONCE])
                parts.append(self.network(self.prepared(part)).float().cpu())
        return np.asarray(torch.cat(parts).numpy(), dtype=np.float32)

    def predict_proba(self, images: Any, *, resize: bool = False) -> NDArray[np.float32]:
        """Probabilities float32 (n, classes); see :meth:`logits`."""
        return np.asarray(torch.from_numpy(self.logits(images, resize=resize)).softmax(dim=1).numpy())

    def predict(self, images: Any, *, resize: bool = False) -> NDArray[np.int64]:
        """Indices of the predicted classes, int64 (n,); see :meth:`logits`."""
        return np.asarray(self.logits(images, resize=resize).argmax(axis=1), dtype=np.int64)


def load_model(
    folder: str | os.PathLike[str], *, network: nn.Module | str | None = None, tell: Callable[[str], None] = print
) -> Model:
    """The released model of a run.

    Args:
      folder: the folder with ``config.json`` and ``model.safetensors``; nothing else is read.
      network: your own network, if the run was trained with one: the module, of which a copy gets the weights, or its
        ``module:name``.  A name in the folder alone is never imported, because that would run whatever code a
        stranger's folder names.
      tell: called with what takes long: fitting the dictionary of a prior that is not in the cache.

    Raises:
      InputError: a file is missing or damaged, the weights are another run's, or the network does not fit them.
    """
    check_type("the folder of a run", folder, (str, os.PathLike), "its path")
    check_type("network", network, (nn.Module, str, type(None)), "a torch.nn.Module, or its module:name")
    path = Path(folder)
    if path.is_file():
        raise InputError(f"{path} is a file: give the folder of a run, which holds {CONFIG} beside {WEIGHTS}")
    config = read_json(path / CONFIG)
    if not (path / WEIGHTS).exists():
        mend = (
            "put the file back, or train again"
            if (path / RESULT).exists()
            else "resume the run by the same command if it is not finished, or copy this file too"
        )
        raise InputError(f"{path} holds no {WEIGHTS}: {mend}")
    with reading(path / CONFIG):
        recipe = Recipe.from_dict(config["recipe"])
        own = config["network"] != "recipe"
    values, weights = read_weights(path / WEIGHTS)
    facts = stored_facts(values, path / WEIGHTS)
    if facts.recipe != recipe.fingerprint:
        raise InputError(
            f"{path / WEIGHTS} belongs to a different run from the {CONFIG} next to it: put the right file there"
        )
    if own and network is None:
        raise InputError(
            f"{path} was trained with a network of your own ({config['network']}): give it (network=..., --network "
            "MODULE:NAME)"
        )
    if network is None and is_outside(recipe.model, "models"):
        raise InputError(
            f"{path} was trained with {recipe.model}: allow its import by network={recipe.model!r} (--network)"
        )
    shape, classes = facts.image_shape, len(facts.classes)
    if isinstance(network, str):
        loaded = build(network, classes=classes, image_shape=shape, generator=_unused())
    elif network is None:
        loaded = Architecture.of(recipe).build(classes, shape, _unused())
    else:
        loaded = copied("your network", network)
    fill(loaded, weights, "the network", path / WEIGHTS)
    remember_learned(loaded, path, stored_names(path / WEIGHTS))
    if recipe.model in PRIORS and network is None:
        loaded = _with_prior(recipe, loaded, facts, tell)
    elif map_network_width(recipe.model) is not None and network is None:
        local = fitted_maps(shape, recipe.prior_seed, tell=tell)
        loaded = OnMaps(local, loaded, facts.mean, facts.std)
    name = clean(network_name(recipe.model, config["network"]))
    return Model(loaded.eval().to(torch.device("cpu")), facts, recipe, name)


def _unused() -> torch.Generator:
    """A generator for initial weights, which are replaced at once."""
    return torch.Generator().manual_seed(0)


def _with_prior(recipe: Recipe, head: nn.Module, facts: Facts, tell: Callable[[str], None]) -> nn.Module:
    """The head on its features, whose dictionary is fitted again from name, shape and seed if it is not stored."""
    assert isinstance(head, nn.Linear)
    blocks, shape = PRIORS[recipe.model], facts.image_shape
    if not is_fitted(blocks, shape, recipe.prior_seed):
        tell(
            f"the dictionary of {recipe.model} is not in the cache: fitting it again takes minutes, once (prior-l for "
            "CIFAR-10: about 200 seconds of one core)"
        )
    prior = fitted(blocks, shape, recipe.prior_seed, tell=tell)
    shifts = view_shifts(recipe.multiplicity, 1 if recipe.shift is None else recipe.shift, shape)
    return PriorNetwork(prior, head, facts.mean, facts.std, shifts)
