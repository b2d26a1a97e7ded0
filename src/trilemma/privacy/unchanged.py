"""Nothing that a network keeps may change while it sees private images.

What it wrote to a parameter or buffer would be released without noise.  What it wrote to an attribute, such as a mean
of the images of an evaluation, would reach the gradients of other examples, which then differ by more than C on a
neighboring data set.  The same holds for attributes of classes and for global variables that the code of a network
names, where that code is not of an installed package.  A loss that is not ours is looked at likewise.

Not seen are files, what is reached through a module (``settings.mean``) or by a computed name, and what an object of
compiled code does not show.
"""

from __future__ import annotations

import array
import dis
import functools
import logging
import sys
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from enum import Enum
from types import CodeType, FunctionType, MemberDescriptorType, MethodType, ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from trilemma.errors import PrivacyError
from trilemma.outside import is_own_code
from trilemma.privacy.structure import ELSEWHERE, HOOKS

_VALUES = (bool, int, float, complex, str, bytes, tuple, frozenset, torch.dtype, torch.device, Enum)

_NOT_IN_A_PASS = frozenset({"__init__", "__new__", "__annotations__", "__doc__", "__module__"})
"""Of a class: what makes its objects, which may name the whole training set, and what says something of it."""

State = dict[str, Any]
"""What a network keeps, by kind and name ("buffer 0.mean"): tensors, arrays, and values that do not change."""


@contextmanager
def refuse_changed_state(model: nn.Module, loss: object = None) -> Iterator[None]:
    """Refuse a network whose parameters, buffers, attributes or global variables change inside this context, or a loss
    that does.

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
    """What a network keeps: all parameters, trained or not, buffers, and the attributes and hooks of its modules and
    the attributes of their classes, with what is in their containers, objects and functions; and what a loss does.
    Where not ``copied``, tensors and arrays are those of the network."""
    state: State = tensors_of(model, copied=copied)
    seen = {id(module) for module in model.modules()}
    for prefix, module in model.named_modules():
        for name, value in vars(module).items():
            if name not in ELSEWHERE or name in HOOKS:
                _collect(state, f"attribute {prefix}{'.' if prefix else ''}{name}", value, seen, copied)
    for kind in dict.fromkeys(kind for module in model.modules() for kind in _own_classes(type(module))):
        _collect(state, f"class {kind.__qualname__}", kind, seen, copied)
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
    elif isinstance(value, (array.array, bytearray, memoryview, set)):  # the others of their kind do not change
        state[name] = frozenset(value) if isinstance(value, set) else bytes(value)
    else:
        held = _held(value)
        state[name] = value if held is None else (type(value), len(held))
        if held is not None and id(value) not in seen:
            seen.add(id(value))
            for key, item in held.items():
                _collect(state, f"{name}[{key!r}]", item, seen, copied)


def _held(value: Any) -> Mapping[Any, Any] | None:
    """What a container, a function, a class of own code, or an object of a class that is not torch's holds, by key;
    None if it is one value."""
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
    if isinstance(value, (staticmethod, classmethod, property)):
        return {"function": value.fget if isinstance(value, property) else value.__func__}
    if isinstance(value, type) and is_own_code(str(value.__module__)):
        return {name: item for name, item in vars(value).items() if name not in _NOT_IN_A_PASS}
    if isinstance(value, (type, ModuleType, Enum, logging.Logger)):  # a logger remembers its level
        return None
    if type(value).__module__.split(".")[0] == "torch" and not isinstance(value, nn.Module):
        return None
    held = _slots(value) | getattr(value, "__dict__", {})
    if not held and not hasattr(value, "__dict__"):
        return None
    return held | {f"class {kind.__qualname__}": kind for kind in _own_classes(type(value))}


def _own_classes(kind: type) -> list[type]:
    return [base for base in kind.__mro__ if is_own_code(str(base.__module__))]


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
    """Its attributes, its defaults, and the variables of the functions around it that it uses; of own code also the
    global variables that it names."""
    held = {**vars(function), "defaults": function.__defaults__, "keyword defaults": function.__kwdefaults__}
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        with suppress(ValueError):  # a variable that has no value yet
            held[name] = cell.cell_contents
    if is_own_code(str(function.__globals__.get("__name__"))):
        names = _globals_named(function.__code__)
        held |= {f"global {name}": function.__globals__[name] for name in names if name in function.__globals__}
    return held


@functools.lru_cache(maxsize=1000)
def _globals_named(code: CodeType) -> tuple[str, ...]:
    """The global variables that a function reads or sets, or a function inside it does."""
    names = {str(step.argval) for step in dis.get_instructions(code) if step.opname.endswith("_GLOBAL")}
    inside = [_globals_named(part) for part in code.co_consts if isinstance(part, CodeType)]
    return tuple(sorted(names.union(*inside)))


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
