"""Techniques from outside: functions of what was released, applied to the gradient of every update.

Such a function gets the gradient (with a budget, the privatized one) and the weights, never an image, a label or a
loss: whatever it does with a budget is post-processing.  It keeps nothing between updates, so that nothing of it has to
be in a checkpoint.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from trilemma.errors import InputError
from trilemma.outside import called, resolve
from trilemma.seeds import generator_for
from trilemma.training.recipe import Recipe


def change(recipe: Recipe, gradient: Mapping[str, Tensor], model: nn.Module, update: int) -> dict[str, Tensor]:
    """The gradient after the recipe's techniques from outside, in their order.

    Args:
      recipe: of the training.
      gradient: by parameter name; it stays as it is.
      model: its weights are shown to the techniques.
      update: counted from 0.

    Raises:
      InputError: a technique cannot be called, or returns something else than a gradient.
    """
    changed = dict(gradient)
    for name in recipe.own_techniques:
        weights = {key: p.detach() for key, p in model.named_parameters() if key in changed}
        copies = {key: value.clone() for key, value in changed.items()}
        changed = _checked(name, called(name, resolve(name, "techniques"), copies, weights, update), changed)
    return changed


def try_techniques(recipe: Recipe, model: nn.Module) -> None:
    """Call the techniques from outside once with a made-up gradient, so that a wrong one is refused before a training.

    Raises:
      InputError: as :func:`change`.
    """
    generator = generator_for(0, "made-up gradient")
    gradient = {name: torch.randn(p.shape, generator=generator).to(p.device) for name, p in model.named_parameters()}
    change(recipe, gradient, model, 0)


def _checked(name: str, returned: Any, before: Mapping[str, Tensor]) -> dict[str, Tensor]:
    if not isinstance(returned, dict) or returned.keys() != before.keys():
        raise InputError(f"the technique {name} must return a dict of gradients with the names that it was given")
    for key, value in returned.items():
        real = isinstance(value, Tensor) and value.is_floating_point() and value.layout == torch.strided
        if not real or value.shape != before[key].shape or value.device != before[key].device:
            raise InputError(
                f"the technique {name} returns no gradient of the shape {tuple(before[key].shape)} of {key}: return a "
                "dense tensor of floating-point numbers, on the device of the gradient that it was given"
            )
    return {key: value.detach().to(before[key].dtype) for key, value in returned.items()}
