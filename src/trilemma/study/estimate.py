"""How long a study would take on this machine: an estimate from a few updates on made-up images."""

from __future__ import annotations

import functools
import time
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from trilemma.models import build
from trilemma.models.layers import Norm
from trilemma.privacy import clipped_gradient_sum
from trilemma.study.plan import Study, Trial
from trilemma.training.recipe import Recipe

_SHAPES = {
    "digits": (1297, 500, 10, (1, 8, 8)),
    "digits-s": (1297, 1000, 10, (3, 8, 8)),
    "cifar10": (50_000, 10_000, 10, (3, 32, 32)),
    "cifar10s": (50_000, 20_000, 10, (3, 32, 32)),
    "cifar100": (50_000, 10_000, 100, (3, 32, 32)),
    "cifar100s": (50_000, 20_000, 100, (3, 32, 32)),
    "celeba": (162_770, 19_962, 2, (3, 218, 178)),
}
"""Training and test examples, classes and shape of the data sets that have a name."""

_ATTACK_SECONDS = 1.5e-3
"""For an audited example, all attacks and intervals, on one core; measured once (2,000 + 2,000 CIFAR-10 images)."""


@dataclass(frozen=True)
class Estimate:
    """Attributes:
    trials: how many.
    seconds: of one core, or None where a data set's size is not known before it is read.
    """

    trials: int
    seconds: float | None


def estimate(study: Study) -> Estimate:
    """Seconds on one core of this machine; a few seconds of measuring for each kind of trial.

    Only the cost of a view is measured, on 16 examples; what caches, many cores or a GPU change is not known here.
    """
    total: float | None = 0.0
    for trial in study.trials:
        seconds = _trial_seconds(trial)
        total = None if total is None or seconds is None else total + seconds
    return Estimate(len(study.trials), total)


def _trial_seconds(trial: Trial) -> float | None:
    data, recipe = dict(trial.data), trial.recipe
    known = _SHAPES.get(str(data["name"]))
    if known is None:
        return None
    train, test, classes, shape = known
    if "limit" in data:
        train = min(train, int(data["limit"]))
    if "test_limit" in data:
        copies = 2 if str(data["name"]).endswith("s") and data["name"] != "digits" else 1
        test = min(test, int(data["test_limit"]) * copies)
    if "size" in data:
        shape = (shape[0], int(data["size"]), int(data["size"]))
    update, forward = _costs(_kind(recipe), classes, shape)
    looks = recipe.evaluations * (min(train, 2000) + min(test, 2000)) + train + test
    audits = 2 if str(data["name"]).endswith("s") and data["name"] != "digits" else 1
    return recipe.epochs * train * update + looks * forward + audits * (train + test) * _ATTACK_SECONDS


def _kind(recipe: Recipe) -> Recipe:
    """Recipes that differ in nothing that costs time are one."""
    return Recipe(
        model=recipe.model,
        techniques=tuple(code for code in recipe.techniques if code in ("gn", "ws", "am", "sat")),
        epsilon=1.0 if recipe.private else None,
        views=recipe.views if recipe.has("am") else 1,
        norm_groups=recipe.norm_groups,
    )


@functools.cache
def _costs(kind: Recipe, classes: int, shape: tuple[int, int, int]) -> tuple[float, float]:
    """Seconds of one example in an update and in an evaluation, on one thread."""
    norm: Norm = "group" if kind.has("gn") else "none" if kind.private else "batch"
    generator = torch.Generator().manual_seed(0)
    model = build(
        kind.model,
        classes=classes,
        image_shape=shape,
        norm=norm,
        groups=kind.norm_groups,
        standardized=kind.has("ws"),
        generator=generator,
    )
    examples = 16
    images = torch.randn((examples, kind.views, *shape), generator=generator)
    labels = torch.arange(examples) % classes
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return _seconds(lambda: _update(kind, model, images, labels)) / examples, _seconds(
            lambda: _forward(model, images[:, 0])
        ) / examples
    finally:
        torch.set_num_threads(threads)


def _update(kind: Recipe, model: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> None:
    if kind.private:
        clipped_gradient_sum(model, images, labels, clipping_norm=1.0)
        return
    for _ in range(2 if kind.has("sat") else 1):
        loss = nn.functional.cross_entropy(model(images.flatten(0, 1)), labels.repeat_interleave(kind.views))
        torch.autograd.grad(loss, list(model.parameters()))


@torch.no_grad()
def _forward(model: nn.Module, images: torch.Tensor) -> None:
    model(images)


def _seconds(do: Any) -> float:
    """Of the second call; the first one warms up."""
    do()
    began = time.perf_counter()
    do()
    return time.perf_counter() - began
