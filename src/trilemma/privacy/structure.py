"""What a network is made of, as a value: two networks with equal values compute alike, but for their numbers."""

from __future__ import annotations

import functools
import sys
import weakref
from collections import OrderedDict
from collections.abc import Hashable
from enum import Enum
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
GLOBAL_HOOKS = tuple(f"_global{kind}" for kind in HOOKS)
_STATE_HOOKS = (
    "_state_dict_hooks",
    "_state_dict_pre_hooks",
    "_load_state_dict_pre_hooks",
    "_load_state_dict_post_hooks",
)
TENSORS_AND_MODULES = ("_parameters", "_buffers", "_modules")
ELSEWHERE = {*TENSORS_AND_MODULES, *HOOKS, *_STATE_HOOKS}
"""What torch keeps in a module beside the module's own attributes."""

_PLAIN = (type(None), bool, int, float, complex, str, bytes, torch.dtype, torch.device, torch.memory_format, Enum, type)


_STATELESS = frozenset(
    {
        *(nn.Identity, nn.Flatten, nn.Unflatten, nn.Sequential, nn.ModuleList, nn.ModuleDict),
        *(nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.GroupNorm, nn.LayerNorm),
        nn.BatchNorm2d,  # never with a budget; else evaluations compute it side by side, and there it only reads
        *(nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.SELU, nn.CELU, nn.GELU, nn.SiLU, nn.Mish, nn.Softplus),
        *(nn.Tanh, nn.Sigmoid, nn.Hardtanh, nn.Hardswish, nn.Hardsigmoid, nn.Softmax, nn.LogSoftmax),
        *(nn.AvgPool1d, nn.AvgPool2d, nn.MaxPool1d, nn.MaxPool2d, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d),
        *(nn.ZeroPad2d, nn.ReflectionPad2d, nn.ReplicationPad2d, nn.Upsample, nn.PixelShuffle, nn.PixelUnshuffle),
    }
)
"""Layers of torch that keep nothing from one pass to another and call nothing that a user gave them."""

_CONTAINERS = (tuple, list, set, dict, OrderedDict, torch.Size)


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
        return modules, tuple(tuple(getattr(nn.modules.module, kind)) for kind in GLOBAL_HOOKS)
    except _NotComparable:
        return None


def _of_module(module: nn.Module, order: dict[int, int]) -> Hashable:
    tensors = [
        (name, None if t is None else (_of_tensor(t), order.setdefault(id(t), len(order))))
        for name, t in (*module._parameters.items(), *module._buffers.items())
    ]
    hooks = tuple(tuple(getattr(module, kind)) for kind in HOOKS)
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


def keeps_nothing(model: nn.Module) -> bool:
    """Whether several threads may call a network at once: no pass can leave anything where another would find it.

    That is known only of networks in which every module is of this package or a stateless one of torch, as it came:
    without hooks, functions or objects of somebody else.  Any other code may hold a tensor of one pass in a list, dict
    or object for a moment, which no comparison before and after sees, and a second thread would find it there.
    """
    return all(map(_keeps_nothing, model.modules())) and not any(
        getattr(nn.modules.module, kind) for kind in GLOBAL_HOOKS
    )


def _keeps_nothing(module: nn.Module) -> bool:
    kind = type(module)
    package = kind.__module__.split(".")[0]
    ours = package == "trilemma" and getattr(sys.modules.get(kind.__module__), kind.__name__, None) is kind
    # Not ``__module__``, which functools.wraps copies from the function that it hides.
    forward = getattr(kind.forward, "__globals__", {}).get("__name__") or ""
    return (
        (ours or kind in _STATELESS)
        and forward.split(".")[0] in ("trilemma", "torch")  # not one that was put in the class's place
        and not any(getattr(module, hooks) for hooks in HOOKS)
        and all(
            type(t) in (Tensor, nn.Parameter, type(None))
            for t in (*module._parameters.values(), *module._buffers.values())
        )
        and all(_is_plain(value) for name, value in vars(module).items() if name not in ELSEWHERE)
    )


def _is_plain(value: Any) -> bool:
    if type(value) in _CONTAINERS:
        return all(map(_is_plain, value)) and (not isinstance(value, dict) or all(map(_is_plain, value.values())))
    return type(value) in (type(None), bool, int, float, str, torch.dtype)
