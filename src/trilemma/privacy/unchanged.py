"""Nothing that a network keeps may change while it sees private images.

What it wrote to a parameter or buffer would be released without noise.  What it wrote to an attribute, such as a mean
of the images of an evaluation, would reach the gradients of other examples, which then differ by more than C on a
neighboring data set.  A loss that is not ours is looked at likewise.  Global variables and files are not.
"""

from __future__ import annotations

import functools
import sys
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from enum import Enum
from types import FunctionType, MemberDescriptorType, MethodType, ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from trilemma.errors import PrivacyError
from trilemma.privacy.structure import ELSEWHERE

_VALUES = (bool, int, float, complex, str, bytes, tuple, frozenset, torch.dtype, torch.device, Enum)

State = dict[str, Any]
"""What a network keeps, by kind and name ("buffer 0.mean"): tensors, arrays, and values that do not change."""


@contextmanager
def refuse_changed_state(model: nn.Module, loss: object = None) -> Iterator[None]:
    """Refuse a network whose parameters, buffers or attributes change inside this context, or a loss that does.

    Raises:
      PrivacyError: names the first that did.
    """
    before = state_of(model, loss)
    yield
    for name in changed(before, state_of(model, loss, copied=False)):
        changer = "loss changed" if name.startswith("loss") else "network changed its"
        raise PrivacyError(
            f"the {changer} {name} while it saw private images, and what it keeps of them gets no noise: "
            "remove it or keep it fixed, or train without a budget"
        )


def state_of(model: nn.Module, loss: object = None, *, copied: bool = True) -> State:
    """What a network keeps: all parameters, trained or not, buffers, and the attributes of its modules, with what is in
    their containers, objects and functions; and what a loss does.  Where not ``copied``, tensors and arrays are those
    of the network."""
    state: State = tensors_of(model, copied=copied)
    seen = {id(module) for module in model.modules()}
    for prefix, module in model.named_modules():
        for name, value in vars(module).items():
            if name not in ELSEWHERE:
                _collect(state, f"attribute {prefix}{'.' if prefix else ''}{name}", value, seen, copied)
    _collect(state, "loss", loss, seen, copied)
    return state


def tensors_of(model: nn.Module, *, copied: bool = True) -> State:
    """The part of :func:`state_of` that is released: parameters and buffers."""
    named = [("parameter", model.named_parameters()), ("buffer", model.named_buffers())]
    return {
        f"{kind} {name}": t.detach().clone() if copied else t.detach() for kind, pairs in named for name, t in pairs
    }


def changed(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """Names of what is new, gone, or has other contents than ``before``."""
    names = [*after, *(name for name in before if name not in after)]
    return [name for name in names if name not in before or name not in after or not _same(before[name], after[name])]


def _collect(state: State, name: str, value: Any, seen: set[int], copied: bool) -> None:
    """Add a value, and what it holds, to ``state``; what has been ``seen`` is entered once."""
    if isinstance(value, Tensor):
        state[name] = value.detach().clone() if copied else value.detach()
    elif isinstance(value, np.ndarray):
        state[name] = value.copy() if copied else value
    elif isinstance(value, (bytearray, set)):  # the others of their kind do not change
        state[name] = bytes(value) if isinstance(value, bytearray) else frozenset(value)
    else:
        held = _held(value)
        state[name] = value if held is None else (type(value), len(held))
        if held is not None and id(value) not in seen:
            seen.add(id(value))
            for key, item in held.items():
                _collect(state, f"{name}[{key!r}]", item, seen, copied)


def _held(value: Any) -> Mapping[Any, Any] | None:
    """What a container, a function or an object of a class that is not torch's holds, by key; None if it is one
    value."""
    if isinstance(value, dict):
        return value
    if isinstance(value, (list, tuple, deque)):
        return dict(enumerate(value))
    if isinstance(value, functools.partial):
        return {"func": value.func, "args": value.args, "keywords": value.keywords}
    if isinstance(value, MethodType):
        return {"self": value.__self__, "function": value.__func__}
    if isinstance(value, FunctionType):
        return _held_by_function(value)
    if isinstance(value, (type, ModuleType, Enum)):
        return None
    if type(value).__module__.split(".")[0] == "torch" and not isinstance(value, nn.Module):
        return None
    held = _slots(value) | getattr(value, "__dict__", {})
    return held if held or hasattr(value, "__dict__") else None


def _slots(value: Any) -> dict[str, Any]:
    """What an object holds in ``__slots__``, by the names that its class knows them by."""
    kinds = [kind for kind in type(value).__mro__ if kind.__module__.split(".")[0] not in sys.stdlib_module_names]
    members = {name: member for kind in kinds for name, member in vars(kind).items()}
    return {
        name: getattr(value, name)
        for name, member in members.items()
        if isinstance(member, MemberDescriptorType) and hasattr(value, name)
    }


def _held_by_function(function: FunctionType) -> Mapping[str, Any]:
    """Its attributes, its defaults, and the variables of the functions around it that it uses."""
    held = {**vars(function), "defaults": function.__defaults__, "keyword defaults": function.__kwdefaults__}
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        with suppress(ValueError):  # a variable that has no value yet
            held[name] = cell.cell_contents
    return held


def _same(first: Any, second: Any) -> bool:
    if isinstance(first, Tensor) and isinstance(second, Tensor):
        if (first.shape, first.dtype, first.device) != (second.shape, second.dtype, second.device):
            return False
        return torch.equal(first, second) or bool(
            ((first == second) | (first != first) & (second != second)).all()  # what is not a number stays so
        )
    if isinstance(first, np.ndarray) and isinstance(second, np.ndarray):
        return first.dtype == second.dtype and first.shape == second.shape and first.tobytes() == second.tobytes()
    return first is second or (type(first) is type(second) and isinstance(first, _VALUES) and bool(first == second))
