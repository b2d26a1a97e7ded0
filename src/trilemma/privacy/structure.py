"""What a network is made of, as a value: two networks with equal values compute alike, but for their numbers."""

from __future__ import annotations

import functools
import weakref
from collections import OrderedDict
from collections.abc import Hashable
from enum import Enum
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
_GLOBAL_HOOKS = tuple(f"_global{kind}" for kind in _HOOKS)
_STATE_HOOKS = (
    "_state_dict_hooks",
    "_state_dict_pre_hooks",
    "_load_state_dict_pre_hooks",
    "_load_state_dict_post_hooks",
)
ELSEWHERE = {"_parameters", "_buffers", "_modules", *_HOOKS, *_STATE_HOOKS}
"""What torch keeps in a module beside the module's own attributes."""

_PLAIN = (type(None), bool, int, float, complex, str, bytes, torch.dtype, torch.device, torch.memory_format, Enum, type)


class _NotComparable(Exception):
    """An attribute may change without the change being seen."""


def structure(model: nn.Module) -> Hashable | None:
    """The classes, forward functions, hooks and attributes of all modules, the form of their tensors, and the hooks
    that torch calls for every module.

    Nothing is recognized by its address in memory, which another object may have later: functions are weakly
    referenced, and hooks have numbers that are used once.  Numbers in tensors do not count, nor does what a forward
    function reads outside its module.

    Returns:
      None if an attribute cannot be compared, such as an object of a class that is not known here.
    """
    order: dict[int, int] = {}  # which tensors and modules are the same one; all of them live while this runs
    try:
        modules = tuple(
            (name, order.setdefault(id(module), len(order)), _of_module(module, order))
            for name, module in model.named_modules(remove_duplicate=False)
        )
        return modules, tuple(tuple(getattr(nn.modules.module, kind)) for kind in _GLOBAL_HOOKS)
    except _NotComparable:
        return None


def _of_module(module: nn.Module, order: dict[int, int]) -> Hashable:
    tensors = [
        (name, None if t is None else (_of_tensor(t), order.setdefault(id(t), len(order))))
        for name, t in (*module._parameters.items(), *module._buffers.items())
    ]
    hooks = tuple(tuple(getattr(module, kind)) for kind in _HOOKS)
    attributes = [(name, _of_value(v)) for name, v in vars(module).items() if name not in ELSEWHERE]
    return type(module), type(module).forward, tuple(tensors), hooks, tuple(attributes)


def _of_tensor(tensor: Tensor) -> Hashable:
    if is_lazy(tensor):  # it has no shape before the first forward pass
        raise _NotComparable
    return tensor.shape, tensor.dtype, tensor.device, tensor.requires_grad, tensor.is_leaf


def _of_value(value: Any) -> Hashable:
    if isinstance(value, _PLAIN):
        return type(value), value
    if type(value) in (tuple, list, torch.Size):
        return type(value), tuple(_of_value(v) for v in value)
    if type(value) in (set, frozenset):
        return type(value), frozenset(_of_value(v) for v in value)
    if type(value) in (dict, OrderedDict):
        return type(value), tuple((_of_value(k), _of_value(v)) for k, v in value.items())
    if isinstance(value, Tensor):
        return _of_tensor(value)
    if isinstance(value, MethodType):
        return weakref.WeakMethod(value)
    if isinstance(value, FunctionType):
        return weakref.ref(value)
    if isinstance(value, BuiltinFunctionType) and isinstance(value.__self__, (type(None), type, ModuleType)):
        return value  # of a library, and not bound to a tensor
    if type(value) is functools.partial:
        return _of_value(value.func), _of_value(value.args), _of_value(value.keywords)
    raise _NotComparable
