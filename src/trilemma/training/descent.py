"""How a gradient becomes a step: learning rate, which parameters are trained, and the optimizer."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from trilemma.outside import called
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


def descend(state: State, gradient: Mapping[str, Tensor], rate: float) -> None:
    """One step of the optimizer.

    Args:
      state: its weights and optimizer are changed.
      gradient: by parameter name; parameters without one are left alone.
      rate: the learning rate of this update, for all parameters.

    Raises:
      InputError: an optimizer from outside failed.
    """
    optimizer, parameters = state.optimizer, dict(state.model.named_parameters())
    keeps_gradient = bool(state.previous)  # the next update needs the gradient as it is now
    for name, p in parameters.items():
        p.grad = gradient[name].to(p.dtype, copy=keeps_gradient) if name in gradient else None
    for group in optimizer.param_groups:
        group["lr"] = rate
    with torch.no_grad():  # an external optimizer may not disable autograd itself
        called(type(optimizer).__name__, optimizer.step)
    for p in parameters.values():
        p.grad = None
