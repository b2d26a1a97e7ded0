"""What a value of Python holds, part by part, or that this cannot be seen.

A network or a loss may keep something of private images wherever a program can keep anything.  So every value is one of
three here: of a type that is known to hold nothing that changes (:data:`_FIXED`), of one whose parts are listed, or
:class:`Hidden`, which the guarantee does not cover.  A type that nobody thought of is hidden: an object shows all that
it holds only if its memory is accounted for by ``__dict__``, ``__slots__`` and the base whose parts are listed.

Functions and classes of installed packages count as fixed, as their variables do.
"""

from __future__ import annotations

import _thread
import abc
import array
import builtins
import datetime
import decimal
import functools
import gc
import logging
import pathlib
import random
import re
import struct
import sys
import types
import typing
import weakref
from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.parameter import is_lazy

from trilemma.outside import is_own_code
from trilemma.privacy.named import Code, Variables, imported_modules, is_own_module, named

_PLAIN = frozenset((type(None), bool, int, float, complex, str, bytes, torch.dtype, torch.device))
"""Types of most values, and of keys that have a name in a message."""

_NUMBERS = (bool, int, float, complex, str, bytes)

_FIXED = (
    *(type(None), type(...), type(NotImplemented), range, types.CodeType, re.Pattern),
    *(torch.dtype, torch.device, torch.layout, torch.memory_format, torch.finfo, torch.iinfo, np.dtype, np.ufunc),
    *sorted(set(np.sctypeDict.values()), key=str),
    *(datetime.datetime, datetime.date, datetime.time, datetime.timedelta, datetime.timezone),
    *(decimal.Decimal, pathlib.PurePath, typing._Final),  # the last for annotations
    *(types.GenericAlias, types.UnionType, types.GetSetDescriptorType, types.MemberDescriptorType),
    *(types.WrapperDescriptorType, types.MethodDescriptorType, types.ClassMethodDescriptorType),
    type(abc.ABC._abc_impl),  # type: ignore[attr-defined]  # which remembers answers to questions
)
"""Types that are taken as they are: their values do not change, or hold nothing of what a network sees."""

_NOT_IN_A_PASS = frozenset({"__init__", "__new__", "__annotations__", "__doc__", "__module__"})
"""Of a class: what makes its objects, which may name the whole training set, and what says something of it."""

_MADE_WHILE_RUNNING = 1 << 9
"""Python's flag of classes that are not compiled into it."""

_LRU_CACHE, _LRU_LINK = functools._lru_cache_wrapper, "_lru_list_elem"
_DICT_VIEWS: tuple[type, ...] = (type({}.keys()), type({}.values()), type({}.items()))
_BITS = (np.random.MT19937, np.random.PCG64, np.random.PCG64DXSM, np.random.Philox, np.random.SFC64)
_POINTER = struct.calcsize("P")

Parts = dict[str, Any]


@dataclass(frozen=True, eq=False)
class Hidden:
    """A value that does not show what it holds: for a reason, or by its type."""

    value: object
    reason: str = ""


@dataclass(frozen=True)
class Randomness:
    """The state of a generator of random numbers, in a form that compares."""

    state: object


def look_into(value: Any) -> tuple[Any, Parts]:
    """What there is to compare of a value itself, and its parts by name, to be looked into in turn.

    Returns:
      A tensor, array, number or other value that does not change; a tuple of a type and the names of the parts; or
      :class:`Randomness` or :class:`Hidden`, which has no parts.
    """
    kind = type(value)
    if kind in _PLAIN:
        return value, {}
    base, content = _known(kind)  # type: ignore[arg-type]  # mypy takes `type[Any]` for no key of a cache
    itself, parts = content(value)
    if itself is _HIDDEN or not _shows_all(kind, base):  # type: ignore[arg-type]
        return Hidden(value), {}
    if base not in _ALONE or own_classes(kind):  # type: ignore[arg-type]
        parts |= _attributes(value, kind, base)
    return ((kind, tuple(parts)) if itself is None else itself), parts


_HIDDEN = object()

Content = Callable[[Any], tuple[Any, Parts]]
"""What to compare of a value itself, and its parts; None compares its type and the names of the parts,
:data:`_HIDDEN` says that it cannot be seen."""


@functools.lru_cache(maxsize=1000)
def _known(kind: type) -> tuple[type, Content]:
    """The class of :data:`_CONTENTS` to which objects of a class belong, and what they hold as such."""
    for bases, content in _CONTENTS:
        for base in bases:
            if issubclass(kind, base):
                return base, content
    return object, lambda value: (None, {})


def _attributes(value: Any, kind: type, base: type) -> Parts:
    """What an object holds in ``__dict__`` and ``__slots__`` beyond those of ``base``, and its classes of own code."""
    own = {f"class {k.__qualname__}": k for k in own_classes(kind)}
    if base in _BY_NAME:
        return own
    slots = {
        name: getattr(value, name)
        for k in kind.__mro__
        if not issubclass(base, k) and "__slots__" in vars(k)
        for name, member in vars(k).items()
        if isinstance(member, types.MemberDescriptorType) and hasattr(value, name)
    }
    return {repr(name): item for name, item in (slots | getattr(value, "__dict__", {}) | own).items()}


@functools.lru_cache(maxsize=1000)
def own_classes(kind: type) -> tuple[type, ...]:
    """A class and its bases, as far as their code is not of an installed package."""
    return tuple(base for base in kind.__mro__ if _is_own_class(base))


def _is_own_class(kind: type) -> bool:
    if kind.__module__ == "builtins":  # also of a class that ``exec`` made in a namespace without a name
        return bool(kind.__flags__ & _MADE_WHILE_RUNNING) and getattr(builtins, kind.__name__, None) is not kind
    return is_own_code(str(kind.__module__))


@functools.lru_cache(maxsize=1000)
def _shows_all(kind: type, base: type) -> bool:
    """Whether all that objects of a class hold beside what they hold as objects of ``base`` is in ``__dict__`` and
    ``__slots__``: whatever compiled code keeps in an object makes it larger."""
    own = [k for k in kind.__mro__ if not issubclass(base, k) and "__slots__" in vars(k)]
    pointers = sum(isinstance(member, types.MemberDescriptorType) for k in own for member in vars(k).values())
    pointers += kind.__weakrefoffset__ > 0 >= base.__weakrefoffset__
    at_the_end = bool(base.__itemsize__) and sys.version_info < (3, 12)  # where the dict of an int or tuple is
    pointers += not base.__dictoffset__ and (kind.__dictoffset__ > 0 or (at_the_end and kind.__dictoffset__ < 0))
    return kind.__basicsize__ == base.__basicsize__ + _POINTER * pointers


# ---- the types whose parts are known -------------------------------------------------------------------------------


def _of_tensor(tensor: Tensor) -> tuple[Any, Parts]:
    if is_lazy(tensor):
        return (tensor.dtype, "no shape yet"), {}
    parts: Parts = {"'grad'": tensor.grad} if tensor.is_leaf and tensor.grad is not None else {}
    for name in ("grad_fn", "_backward_hooks", "_post_accumulate_grad_hooks"):
        if getattr(tensor, name, None) is not None:
            parts[repr(name)] = getattr(tensor, name)
    if tensor.is_meta:
        return (tensor.dtype, tensor.shape), parts
    if tensor.layout is torch.sparse_coo:
        stored = {"indices": tensor._indices(), "values": tensor._values()}
        return (tensor.dtype, tensor.shape), parts | stored
    if tensor.layout is not torch.strided or tensor.is_quantized or tensor.is_nested:
        return _HIDDEN, {}
    storage = tensor.untyped_storage()
    if storage.nbytes() > tensor.numel() * tensor.element_size():  # a view, beside which there may be more
        parts["storage"] = storage
    return tensor.detach(), parts


def _of_storage(storage: Any) -> tuple[Any, Parts]:
    untyped = getattr(storage, "_untyped_storage", storage)
    return torch.empty(0, dtype=torch.uint8, device=untyped.device).set_(untyped), {}


def _of_array(values: Any) -> tuple[Any, Parts]:
    values = np.asarray(values)
    parts: Parts = (
        {"base": values.base} if isinstance(values.base, (np.ndarray, Tensor, bytearray, array.array)) else {}
    )
    if values.dtype.hasobject:
        return (values.dtype.str, values.shape), parts | _numbered(values.ravel().tolist())
    return values, parts


def _numbered(values: Any) -> Parts:
    return {str(number): item for number, item in enumerate(values)}


def _of_mapping(values: Mapping[Any, Any]) -> tuple[Any, Parts]:
    parts: Parts = {}
    for number, (key, item) in enumerate(values.items()):
        if type(key) in _PLAIN:
            parts[repr(key)] = item
        else:
            parts[f"key {number}"], parts[f"value {number}"] = key, item
    if isinstance(values, defaultdict):
        parts["default factory"] = values.default_factory
    return None, parts


def _of_function(function: types.FunctionType) -> tuple[Any, Parts]:
    """Its code, attributes, defaults, and the variables of the functions around it that it uses; of own code also the
    global variables that it names, and the modules that it imports."""
    if _of_a_package(function):
        return function, {}
    held = {**vars(function), "defaults": function.__defaults__, "keyword defaults": function.__kwdefaults__}
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        with suppress(ValueError):  # a variable that has no value yet
            held[name] = cell.cell_contents
    variables = function.__globals__
    if not is_own_code(str(variables.get("__name__"))):
        return None, {repr(name): item for name, item in (held | {"code": function.__code__}).items()}
    names = named(function.__code__)
    for name in names.computed:
        if name not in variables:
            return Hidden(
                function, f"uses {name}, by which it may keep private images under names that are computed"
            ), {}
    held |= {f"global {name}": variables[name] for name in names.variables if name in variables}
    held |= {f"import {name}": module for name, module in imported_modules(function).items()}
    return Code(function.__code__, names.looked_up), {repr(name): item for name, item in held.items()}


def _of_a_package(function: Any) -> bool:
    """Whether a function is what an installed package calls by its name: fixed, as the variables of packages are."""
    module = str(function.__module__)
    code = getattr(function, "__globals__", {}).get("__name__", module)
    named = getattr(sys.modules.get(module), function.__name__, None)
    return named is function and not is_own_code(module) and not is_own_code(str(code))


def _of_module(module: types.ModuleType) -> tuple[Any, Parts]:
    return (Variables(module) if is_own_module(module) else module), {}


def _of_logger(logger: Any) -> tuple[Any, Parts]:
    """What its methods tell; its handlers keep records of each pass, to which code comes by their names."""
    return Variables(logger), {name: vars(logger).get(name) for name in ("level", "disabled", "propagate")}


def _of_cache(cached: Any) -> tuple[Any, Parts]:
    """What ``functools.lru_cache`` remembers, in its order; links of its list show nothing, and need not."""
    if _of_a_package(cached):
        return cached, {}
    held = [item for item in gc.get_referents(cached) if type(item).__name__ != _LRU_LINK]
    plain = [d for d in held if not (type(d) is dict and any(type(item).__name__ == _LRU_LINK for item in d.values()))]
    return None, _numbered(plain)


def _of_builtin(function: Any) -> tuple[Any, Parts]:
    """What it is bound to, such as a list; pybind11 binds functions of compiled code to a record of them."""
    owner = function.__self__
    compiled = type(owner).__module__ == "pybind11_builtins" or type(owner).__name__ == "PyCapsule"
    return function, {} if compiled or owner is None else {"self": owner}


def _of_class(kind: type) -> tuple[Any, Parts]:
    if not _is_own_class(kind):
        return kind, {}
    return kind, {repr(name): item for name, item in vars(kind).items() if name not in _NOT_IN_A_PASS}


def _of_random(generator: Any) -> tuple[Any, Parts]:
    return random_state(generator), {}


def random_state(generator: Any) -> Any:
    """The state of a generator of torch, numpy or ``random``."""
    if isinstance(generator, torch.Generator):
        return Randomness(bytes(generator.get_state().tolist()))
    if isinstance(generator, np.random.Generator):
        generator = generator.bit_generator
    if isinstance(generator, np.random.BitGenerator):
        return Randomness(_frozen(generator.state))
    if isinstance(generator, np.random.RandomState):
        return Randomness(_frozen(generator.get_state(legacy=False)))
    try:
        return Randomness(generator.getstate())
    except NotImplementedError:  # of the operating system, which has no state that could be seen
        return _HIDDEN


def _frozen(value: Any) -> Any:
    """A state of numpy as a value that compares."""
    if isinstance(value, dict):
        return tuple((name, _frozen(item)) for name, item in value.items())
    return value.tobytes() if isinstance(value, np.ndarray) else value


def _only(*names: str) -> Content:
    """The content of a type that holds what some of its attributes say."""
    return lambda value: (None, {repr(name): getattr(value, name) for name in names})


_CONTENTS: tuple[tuple[tuple[Any, ...], Content], ...] = (
    ((Tensor,), _of_tensor),
    ((np.ndarray, np.void), _of_array),
    (_NUMBERS, lambda value: (value, {})),
    ((defaultdict, OrderedDict, dict, types.MappingProxyType), _of_mapping),
    ((deque,), lambda value: (None, {"most": value.maxlen} | _numbered(value))),
    ((list, torch.Size, tuple, set, frozenset), lambda value: (None, _numbered(value))),
    ((type,), _of_class),
    (_FIXED, lambda value: (value, {})),
    ((types.ModuleType,), _of_module),
    ((logging.Logger,), _of_logger),
    ((types.FunctionType,), _of_function),
    ((_LRU_CACHE,), _of_cache),
    ((types.MethodType,), _only("__self__", "__func__")),
    ((types.BuiltinFunctionType, types.MethodWrapperType), _of_builtin),
    ((staticmethod, classmethod), _only("__func__")),
    ((property,), _only("fget", "fset", "fdel")),
    ((functools.partial,), _only("func", "args", "keywords")),
    ((slice,), _only("start", "stop", "step")),
    ((types.CellType,), lambda value: (None, {"content": value.cell_contents})),
    ((weakref.ref,), lambda value: (None, {"target": value(), "callback": value.__callback__})),
    ((torch.UntypedStorage, torch.TypedStorage), _of_storage),
    ((array.array, bytearray, memoryview), lambda value: (bytes(value), {})),
    ((torch.Generator, np.random.Generator, *_BITS, np.random.RandomState, random.Random), _of_random),
    ((_thread.LockType, _thread.RLock), lambda value: (repr(value), {})),
    (_DICT_VIEWS, _only("mapping")),
)
"""By type, what its values hold; the first that fits, so that a class comes before its base."""

_BY_NAME = frozenset({type, types.ModuleType, logging.Logger})
"""Types of which attributes are parts already, or are if own code names them."""

_ALONE = frozenset({types.FunctionType, *_BY_NAME, *_FIXED})
"""Types of which attributes are parts already, or do not count."""
