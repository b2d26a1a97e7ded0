"""Optimizers: torch's own, or one from outside.

An optimizer sees the weights and the gradient of each update.  With a budget that gradient is the privatized one, so
that whatever the optimizer computes is post-processing, and so are the moments that it keeps.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from trilemma.errors import InputError
from trilemma.hints import did_you_mean
from trilemma.outside import called, is_outside, resolve
from trilemma.training.recipe import Recipe

NAMES = ("sgd", "adam", "adamw")

_NUMBERS = (int, float)
"""Numbers that an optimizer may keep beside tensors; in a checkpoint their names end in their type's."""
_NUMBERS_BY_NAME = {kind.__name__: kind for kind in _NUMBERS}


def optimizer_for(recipe: Recipe, model: nn.Module) -> torch.optim.Optimizer:
    """The optimizer that a recipe names, over all parameters of the model.

    Args:
      recipe: its ``optimizer`` is one of ``NAMES``, ``module:name`` of a function (parameters, learning_rate=) ->
        ``torch.optim.Optimizer``, or an entry point in ``trilemma.optimizers``.
      model: on its device.

    Raises:
      InputError: there is no such optimizer, or it cannot be used here.
    """
    name, decay, parameters = recipe.optimizer, recipe.weight_decay, list(model.parameters())
    if name in NAMES[1:] and recipe.momentum:
        raise InputError(f"momentum is of sgd, and {name} has its own: set momentum to 0")
    # Not several parameters at once ("foreach"), which needs their memory again.
    if name == "sgd":
        return torch.optim.SGD(parameters, recipe.learning_rate, recipe.momentum, weight_decay=decay, foreach=False)
    if name == "adam":
        return torch.optim.Adam(parameters, recipe.learning_rate, weight_decay=decay, foreach=False)
    if name == "adamw":
        return torch.optim.AdamW(parameters, recipe.learning_rate, weight_decay=decay, foreach=False)
    if not is_outside(name, "optimizers"):
        raise InputError(
            f"no optimizer {name!r}{did_you_mean(name, NAMES)}: use one of {', '.join(NAMES)}, or module:name"
        )
    if recipe.momentum or decay:
        raise InputError(f"momentum and weight_decay are not passed on to {name}: leave them out, and set its own")
    optimizer = called(name, resolve(name, "optimizers"), parameters, learning_rate=recipe.learning_rate)
    if not isinstance(optimizer, torch.optim.Optimizer):
        raise InputError(f"{name!r} must return a torch.optim.Optimizer, not {type(optimizer).__name__}")
    return optimizer


def tensors_of(optimizer: torch.optim.Optimizer, model: nn.Module) -> dict[str, Tensor]:
    """What the optimizer keeps: tensors and numbers by ``parameter/entry``, numbers of groups by ``#group/entry``.

    Raises:
      InputError: it keeps something else, which no checkpoint could hold.
    """
    saved: dict[str, Tensor] = {}
    names = {id(p): name for name, p in model.named_parameters()}
    for p, entries in optimizer.state.items():
        if id(p) not in names:
            raise _unsaved(optimizer, "something that belongs to no parameter")
        for entry, value in entries.items():
            if not isinstance(entry, str) or "/" in entry or ":" in entry:
                raise _unsaved(optimizer, f"an entry with the name {entry!r}")
            if isinstance(value, Tensor):
                saved[f"{names[id(p)]}/{entry}"] = value
            elif type(value) in _NUMBERS:
                saved |= _number(f"{names[id(p)]}/{entry}", value)
            elif value is not None:
                raise _unsaved(optimizer, f"a {type(value).__name__} ({entry})")
    for number, group in enumerate(optimizer.param_groups):
        for entry, value in group.items():
            if isinstance(value, Tensor):
                raise _unsaved(optimizer, f"a tensor in a group ({entry})")
            if type(value) in _NUMBERS and entry != "lr":
                saved |= _number(f"#{number}/{entry}", value)
    return saved


def _unsaved(optimizer: torch.optim.Optimizer, what: str) -> InputError:
    return InputError(
        f"the optimizer {type(optimizer).__name__} keeps {what}, which cannot be saved: use one that keeps tensors and "
        "numbers for its parameters"
    )


def restore(optimizer: torch.optim.Optimizer, model: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Put back what :func:`tensors_of` returned, in its types, on the device of each parameter (a number of steps where
    it was)."""
    parameters = dict(model.named_parameters())
    optimizer.state.clear()
    for key, tensor in tensors.items():
        name, entry = key.rsplit("/", 1)
        entry, _, kind = entry.partition(":")
        if name.startswith("#"):
            optimizer.param_groups[int(name[1:])][entry] = _NUMBERS_BY_NAME[kind](tensor)
            continue
        p = parameters[name]
        value = _NUMBERS_BY_NAME[kind](tensor) if kind else tensor.clone().to("cpu" if entry == "step" else p.device)
        optimizer.state[p][entry] = value


def _number(name: str, value: float) -> dict[str, Tensor]:
    dtype = torch.int64 if type(value) is int else torch.float64
    return {f"{name}:{type(value).__name__}": torch.tensor(value, dtype=dtype)}
