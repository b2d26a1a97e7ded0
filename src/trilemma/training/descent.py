"""How a gradient becomes a step: learning rate, which parameters are trained, and SGD."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from trilemma.training.course import Course
from trilemma.training.pretraining import HEAD
from trilemma.training.recipe import Recipe
from trilemma.training.state import State


def learning_rate(recipe: Recipe, course: Course, update: int) -> float:
    """The learning rate of an update (counted from 0), a function of the recipe, the course and the update alone."""
    rate = course.learning_rate
    if recipe.warmup > 0:
        rate *= min(1.0, (update + 1) / (recipe.warmup * course.updates))
    if recipe.schedule == "cosine":
        rate = rate * (1 + math.cos(math.pi * (update / course.updates))) / 2
    return rate * recipe.head_rate if head_alone(recipe, course, update) else rate


def head_alone(recipe: Recipe, course: Course, update: int) -> bool:
    """Whether an update trains the head alone, as the first updates of a pre-trained network do."""
    return bool(recipe.pretrain) and update < round(recipe.head_first * course.updates)


def set_trained(recipe: Recipe, course: Course, model: nn.Module, update: int) -> None:
    """Freeze the parameters that this update does not train: they are neither clipped with the others nor given
    noise."""
    if recipe.pretrain:
        alone = head_alone(recipe, course, update)
        for name, p in model.named_parameters():
            p.requires_grad_(name.startswith(HEAD) or not alone)


@torch.no_grad()
def descend(recipe: Recipe, state: State, gradient: Mapping[str, Tensor], rate: float) -> None:
    """SGD with momentum and weight decay: v <- m v + g + d w; w <- w - rate * v."""
    momentum = state.momentum
    for name, p in state.model.named_parameters():
        if name not in gradient:
            continue
        g = gradient[name]
        if recipe.weight_decay:
            g = g.add(p, alpha=recipe.weight_decay)
        if recipe.momentum:
            g = momentum[name].mul_(recipe.momentum).add_(g) if name in momentum else g.clone()
            momentum[name] = g
        p.sub_(g.to(p.dtype), alpha=rate)
