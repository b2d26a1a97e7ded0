"""Nothing that a network keeps may change while it sees private images.

What it wrote to a parameter or buffer would be released without noise.  What it wrote to an attribute, such as a mean
of the images of an evaluation, would reach the gradients of other examples, which then differ by more than C on a
neighboring data set.  The same holds for attributes of classes, for global variables that the code of a network
names, and for variables of modules that it comes by, where that code is not of an installed package.  A loss that is
not ours is looked at likewise.

``trilemma.privacy.held`` says what each of these holds, ``trilemma.privacy.named`` which variables code names.  A
network that holds what cannot be looked into is refused.  Not seen are files, variables of installed packages, and
what code reaches by a computed name.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from trilemma.errors import PrivacyError
from trilemma.privacy.held import Randomness, attributes_of, look_into, own_classes
from trilemma.privacy.named import ALWAYS, Code, Hidden, Variables
from trilemma.privacy.structure import GLOBAL_HOOKS, TENSORS_AND_MODULES

State = dict[str, Any]
"""What a network keeps, by kind and name ("buffer 0.mean"): tensors, arrays, and values that do not change."""

_BITS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


@contextmanager
def refuse_changed_state(model: nn.Module, loss: object = None) -> Iterator[None]:
    """Refuse a network whose parameters, buffers, attributes or global variables change inside this context, or a loss
    that does.

    Raises:
      PrivacyError: names the first that did, or one that cannot be looked into.
    """
    before = state_of(model, loss)
    refuse_hidden(before)
    yield
    after = state_of(model, loss, copied=False)
    for name in changed(before, after):
        owner = "loss" if name.startswith("loss") else "network"
        if name not in before and isinstance(after[name], Variables) and "['import " in name:
            raise PrivacyError(
                f"the {owner} imports the module {after[name].owner.__name__} while it sees private images, and what "
                "it keeps of them would get no noise: import it at the top of the file, or train without a budget"
            )
        if isinstance(after.get(name), Randomness):
            raise PrivacyError(
                f"the {owner} draws random numbers (from {name}), which the guarantee does not cover: remove what is "
                "random, or train without a budget"
            )
        raise PrivacyError(
            f"the {'loss changed' if owner == 'loss' else 'network changed its'} {name} while it saw private images, "
            "and what it keeps of them gets no noise: remove it or keep it fixed, or train without a budget"
        )


def refuse_hidden(state: State) -> None:
    """Refuse a network or a loss that holds what cannot be looked into: a change there would not be seen.

    Args:
      state: of :func:`state_of`.

    Raises:
      PrivacyError: names the first such part and its type.
    """
    for name, value in state.items():
        if isinstance(value, Hidden) and value.reason:
            raise PrivacyError(f"the {name} {value.reason}, or train without a budget")
        if isinstance(value, Hidden):
            kind = f"{type(value.value).__module__}.{type(value.value).__qualname__}".removeprefix("builtins.")
            raise PrivacyError(
                f"the {name} is of type {kind}, which does not show what it keeps of private images: in a network, a "
                "loss, and variables that their code names, hold tensors, arrays, numbers, containers, or objects of "
                "Python classes, or train without a budget"
            )


def state_of(model: nn.Module, loss: object = None, *, copied: bool = True) -> State:
    """What a network keeps: all parameters, trained or not, buffers, and the attributes and hooks of its modules and
    the attributes of their classes, with what is in their containers, objects and functions; and what a loss does.
    Where not ``copied``, tensors and arrays are those of the network."""
    roots: list[tuple[str, Any]] = [*_released(model)]
    for prefix, module in model.named_modules():
        for name, value in attributes_of(module).items():
            if name not in TENSORS_AND_MODULES:
                roots.append((f"attribute {prefix}{'.' if prefix else ''}{name}", value))
    classes: dict[type, None] = dict.fromkeys(type(module) for module in model.modules())
    for own in dict.fromkeys(base for kind in classes for base in own_classes(kind)):
        roots.append((f"class {own.__qualname__}", own))
    roots += [(f"hooks of all modules ({kind})", getattr(nn.modules.module, kind)) for kind in GLOBAL_HOOKS]
    roots.append(("loss", loss))
    return _collected(roots, {id(module): (f"module {name}", module) for name, module in model.named_modules()}, copied)


def tensors_of(model: nn.Module, *, copied: bool = True) -> State:
    """The part of :func:`state_of` that is released: parameters and buffers."""
    return {name: t.detach().clone() if copied else t.detach() for name, t in _released(model)}


def _released(model: nn.Module) -> list[tuple[str, Tensor]]:
    named = [("parameter", model.named_parameters()), ("buffer", model.named_buffers())]
    return [(f"{kind} {name}", tensor) for kind, pairs in named for name, tensor in pairs]


def changed(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """Names of what is new, gone, or has other contents than ``before``."""
    names = [*after, *(name for name in before if name not in after)]
    return [name for name in names if name not in before or name not in after or not _same(before[name], after[name])]


def _collected(roots: list[tuple[str, Any]], seen: dict[int, tuple[str, Any]], copied: bool) -> State:
    """By name, some values and all that they hold.  Of what has been ``seen`` elsewhere, only where is entered: two
    names of one tensor that become names of two would follow different updates, whatever is in them now.

    ``seen`` keeps what it holds: another object in the same place of memory would else count as seen.
    """
    state: State = {}
    waiting = roots[::-1]
    names: set[str] = set(ALWAYS)
    owners: list[tuple[str, Mapping[str, Any], set[str]]] = []  # of variables: name, variables, those found
    while waiting or (waiting := _looked_up(owners, names)):
        name, value = waiting.pop()
        if id(value) in seen:
            state[name] = f"the same as {seen[id(value)][0]}"
            continue
        itself, parts = look_into(value)
        if parts or isinstance(itself, (Tensor, np.ndarray, Variables)):
            seen[id(value)] = name, value
            waiting += [(f"{name}[{part}]", item) for part, item in reversed(parts.items())]
        if isinstance(itself, Code):
            names |= itself.names
        elif isinstance(itself, Variables):
            owners.append((name, attributes_of(itself.owner), set()))
        if copied and isinstance(itself, Tensor):
            itself = itself.clone()
        state[name] = itself.copy() if copied and isinstance(itself, np.ndarray) else itself
    return state


def _looked_up(owners: list[tuple[str, Mapping[str, Any], set[str]]], names: set[str]) -> list[tuple[str, Any]]:
    """Variables of modules that code looks up and that were not found before: code that is found last may look up
    more variables of a module that was found first."""
    found = []
    for owner, variables, before in owners:
        new = sorted((variables.keys() & names) - before, reverse=True)
        before.update(new)
        found += [(f"{owner}.{name}", variables[name]) for name in new]
    return found


def _same(first: Any, second: Any) -> bool:
    if isinstance(first, Tensor) and isinstance(second, Tensor):
        if (first.shape, first.dtype, first.device) != (second.shape, second.dtype, second.device):
            return False
        return torch.equal(_bits(first), _bits(second))
    if isinstance(first, np.ndarray) and isinstance(second, np.ndarray):
        return first.dtype == second.dtype and first.shape == second.shape and first.tobytes() == second.tobytes()
    if isinstance(first, Hidden) and isinstance(second, Hidden):
        return first.value is second.value
    if isinstance(first, Variables) and isinstance(second, Variables):
        return first.owner is second.owner
    if first is second or type(first) is not type(second):
        return first is second
    # By their text, in which zero has a sign, and what is not a number equals itself.
    return repr(first) == repr(second) if isinstance(first, (float, complex)) else bool(first == second)


def _bits(tensor: Tensor) -> Tensor:
    """A tensor as whole numbers, which tell zeros of either sign and kinds of what is not a number apart."""
    if tensor.is_complex():
        tensor = torch.view_as_real(tensor.resolve_conj())
    return tensor.resolve_neg().view(_BITS[tensor.element_size()])
