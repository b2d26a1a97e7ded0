"""Estimate how long a study takes on this machine, from a few updates on synthetic images."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from trilemma.data.named import NAMED
from trilemma.data.options import LIMITS
from trilemma.models import network_inputs
from trilemma.models.mapnet import map_network_width
from trilemma.models.prior import PRIORS, features_in
from trilemma.privacy import clipped_gradient_sum
from trilemma.study.needs import examples_here, map_images
from trilemma.study.trials import Study, Trial, needing_exposure
from trilemma.training.network import Architecture
from trilemma.training.recipe import Recipe
from trilemma.trial.evaluation import EVALUATED
from trilemma.trial.exposure import SHADOWS_EACH

_SLOW = 0.05
"""A view that takes more seconds than this is measured only once."""

_ATTACK_SECONDS = 1.5e-3
"""Time per audited example for all attacks, on one core; measured once (2,000 + 2,000 CIFAR-10 images)."""

_FEATURE_SECONDS, _FITTING_SECONDS = 0.01, 200.0
"""Time per image for its features, and for fitting a prior, on one core; measured once (prior-l, CIFAR-10)."""


_MAP_SECONDS, _MAP_FITTING_SECONDS = 0.008, 80.0
"""Time per image of 32 pixels for its map, and for fitting the maps, on one core; measured once (CIFAR-10)."""


@dataclass(frozen=True)
class Estimate:
    """The size of a study.

    Attributes:
      trials: the number of trials.
      seconds: on one core, or None where a data set's size is unknown until it is read.
    """

    trials: int
    seconds: float | None


def estimate(study: Study, data_dir: str | None = None) -> Estimate:
    """Seconds on one core of this machine; a few seconds of measuring for each kind of trial.

    Only the cost of a view is measured, on 2 or 16 of them; what caches, many cores or a GPU change is not known here.
    """
    total: float | None = 0.0
    exposure = needing_exposure(study.trials)
    for trial in study.trials:
        seconds = _trial_seconds(trial, data_dir, exposure=trial.id in exposure)
        total = None if total is None or seconds is None else total + seconds
    if total is not None:
        total += sum(_feature_seconds(*kind, data_dir) for kind in {(t.recipe.model, t.data) for t in study.trials})
        total += _map_seconds(study.trials, data_dir)
    return Estimate(len(study.trials), total)


def _feature_seconds(model: str, data: tuple[tuple[str, Any], ...], data_dir: str | None) -> float:
    """The time for the features of a data set, which its trials share."""
    if model not in PRIORS:
        return 0.0
    train, test, _, _ = _size(dict(data), data_dir) or (0, 0, 0, (0, 0, 0))
    return _FITTING_SECONDS + (train + test) * _FEATURE_SECONDS


def _map_seconds(trials: tuple[Trial, ...], data_dir: str | None) -> float:
    """The time for the maps of all data sets; trials share them, and so do data sets that show the same images."""
    shown = map_images({t.data for t in trials if map_network_width(t.recipe.model) is not None}, data_dir)
    return sum(_MAP_FITTING_SECONDS + count * _MAP_SECONDS for count in shown.values())


def _size(data: dict[str, Any], data_dir: str | None) -> tuple[int, int, int, tuple[int, int, int]] | None:
    """Training and test examples, classes and shape; None where that is not known before the data is read."""
    known, here = NAMED.get(str(data["name"])), examples_here(str(data["name"]), data_dir)
    if known is None or here is None:
        return None
    train, test = (min(count, int(data.get(limit, count))) for count, limit in zip(here, LIMITS, strict=True))
    shape = known.shape
    if "size" in data:
        shape = (shape[0], int(data["size"]), int(data["size"]))
    return train, test * known.test_copies, len(known.classes), shape


def _trial_seconds(trial: Trial, data_dir: str | None, *, exposure: bool) -> float | None:
    data, recipe = dict(trial.data), trial.recipe
    size = _size(data, data_dir)
    if size is None:
        return None
    train, test, classes, shape = size
    if trial.removal is not None:
        train = round(train * (1 - trial.removal.share))
    update, forward = _seconds_an_example(recipe, classes, shape)
    looks = recipe.evaluations * (min(train, EVALUATED) + min(test, EVALUATED)) + train + test
    audits = NAMED[data["name"]].test_copies  # skewed data is also audited against the whole test set
    training = recipe.epochs * train * update
    # Shadows are trained as the trial is.  Skewed data may need a block more than is counted here.
    shadows = SHADOWS_EACH * -(-train // test) if exposure else 0
    return (1 + shadows) * training + looks * forward + audits * (train + test) * _ATTACK_SECONDS


def _seconds_an_example(recipe: Recipe, classes: int, shape: tuple[int, int, int]) -> tuple[float, float]:
    """The time per example in an update and in an evaluation.

    A private update with several views an example costs what an ordinary one of as many views does, nearly; sharpness
    without a budget takes two gradients.
    """
    views = recipe.multiplicity
    update, forward = _seconds_a_view(Architecture.of(recipe), recipe.private and views == 1, classes, shape)
    gradients = 2 if recipe.has("sat") and not recipe.private else 1
    return gradients * views * update, forward


@functools.cache
def _seconds_a_view(
    architecture: Architecture, private: bool, classes: int, shape: tuple[int, int, int]
) -> tuple[float, float]:
    """Measured on one thread, with few views where they are slow."""
    generator = torch.Generator().manual_seed(0)
    prior = architecture.model in PRIORS
    network = architecture.build(classes, shape, generator)
    prior_shape = (features_in(architecture.model),) if prior else None
    input_shape: tuple[int, ...] = prior_shape or network_inputs(architecture.model, shape)

    def update(count: int) -> float:
        images = torch.randn((count, 1, *input_shape), generator=generator)
        labels = torch.arange(count) % classes
        began = time.process_time()
        if private:
            clipped_gradient_sum(network, images, labels, clipping_norm=1.0)
        else:
            loss = nn.functional.cross_entropy(network(images[:, 0]), labels)
            torch.autograd.grad(loss, list(network.parameters()))
        return (time.process_time() - began) / count

    @torch.no_grad()
    def forward(count: int) -> float:
        images = torch.randn((count, *input_shape), generator=generator)
        began = time.process_time()
        network(images)
        return (time.process_time() - began) / count

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        small = prior or map_network_width(architecture.model) is not None
        count = 512 if small else 16  # features and maps are small
        if small:  # the first private update tries the network out, which would pass for a slow one
            update(2)
        return _measured(update, count), _measured(forward, count)
    finally:
        torch.set_num_threads(threads)


def _measured(seconds: Callable[[int], float], count: int) -> float:
    """Seconds per view.  The first call warms up; if it was slow, it is the measurement."""
    first = seconds(2)
    return first if first > _SLOW else seconds(count)
