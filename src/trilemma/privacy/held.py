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
import inspect
import logging
import pathlib
import random
import re
import struct
import sys
import types
import typing
import weakref
import zoneinfo
from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.parameter import is_lazy

from trilemma.outside import is_own_code
from trilemma.privacy.named import Hidden, Parts, of_a_package, of_function, of_logger, of_module

_PLAIN = frozenset((type(None), bool, int, float, complex, str, bytes, torch.dtype, torch.device))
"""Types of most values, and of keys that have a name in a message."""

_FIXED = (
    *(type(None), type(...), type(NotImplemented), range, types.CodeType, re.Pattern, zoneinfo.ZoneInfo),
    *(torch.dtype, torch.device, torch.layout, torch.memory_format, torch.finfo, torch.iinfo),
    *(types.GetSetDescriptorType, types.MemberDescriptorType, type(vars(inspect.FullArgSpec)["args"])),
    *(types.WrapperDescriptorType, types.MethodDescriptorType, types.ClassMethodDescriptorType, typing._SpecialForm),
    type(abc.ABC._abc_impl),  # type: ignore[attr-defined]  # which remembers answers to questions
)
"""Types that are taken as they are: their values do not change, or hold nothing of what a network sees."""

_TOLD: tuple[tuple[type, Callable[[Any], Any]], ...] = (
    *((kind, lambda value: (value.dtype.str, value.tobytes())) for kind in dict.fromkeys(np.sctypeDict.values())),
    *((int, int.__repr__), (float, float.__repr__), (complex, complex.__repr__)),
    *((str, str.__str__), (bytes, bytes.__bytes__)),
    *((kind, kind.__repr__) for kind in (datetime.datetime, datetime.date, datetime.time)),
    *((kind, kind.__repr__) for kind in (datetime.timedelta, datetime.timezone, decimal.Decimal)),
    (pathlib.PurePath, pathlib.PurePath.__str__),
)
"""Types whose values do not change, and what tells two of them apart, whatever a subclass says of itself.  Zero has a
sign in it, and what is not a number equals itself."""

_NOT_IN_A_PASS = frozenset({"__init__", "__new__", "__annotations__", "__doc__", "__module__"})
"""Of a class: what makes its objects, which may name the whole training set, and what says something of it."""

_MADE_WHILE_RUNNING = 1 << 9
"""Python's flag of classes that are not compiled into it."""

_LRU_CACHE, _LRU_LINK = functools._lru_cache_wrapper, "_lru_list_elem"
_DICT_VIEWS: tuple[type, ...] = (type({}.keys()), type({}.values()), type({}.items()))
_BITS = (np.random.MT19937, np.random.PCG64, np.random.PCG64DXSM, np.random.Philox, np.random.SFC64)
_POINTER = struct.calcsize("P")


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
        return {repr(name): item for name, item in own.items()}
    held = {**attributes_of(value), **own}
    for member in _slots(kind, base):
        with suppress(AttributeError):  # a slot that has no value
            name = (
                member.__name__
                if member.__name__ not in held
                else f"{member.__objclass__.__qualname__}.{member.__name__}"
            )
            held[name] = member.__get__(value)
    return {repr(name): item for name, item in held.items()}


def attributes_of(value: Any) -> dict[str, Any]:
    """The ``__dict__`` that Python keeps for an object, whatever its class says of that name; {} if it has none."""
    member = _dict_member(type(value))  # type: ignore[arg-type]
    return {} if member is None else member.__get__(value)


@functools.lru_cache(maxsize=1000)
def _dict_member(kind: type) -> Any:
    for base in kind.__mro__:
        member = vars(base).get("__dict__")
        if isinstance(member, (types.GetSetDescriptorType, types.MemberDescriptorType)):
            return member
    return None


@functools.lru_cache(maxsize=1000)
def _slots(kind: type, base: type) -> tuple[Any, ...]:
    """The ``__slots__`` of a class and its bases beyond those of ``base``, one that another of its name hides too."""
    own = [k for k in kind.__mro__ if not issubclass(base, k) and "__slots__" in vars(k)]
    members = [member for k in own for member in vars(k).values() if getattr(member, "__objclass__", None) is k]
    return tuple(dict.fromkeys(member for member in members if isinstance(member, types.MemberDescriptorType)))


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
    if kind.__dictoffset__ and _dict_member(kind) is None:
        return False
    pointers = len(_slots(kind, base))
    pointers += kind.__weakrefoffset__ > 0 >= base.__weakrefoffset__
    at_the_end = bool(base.__itemsize__) and sys.version_info < (3, 12)  # where the dict of an int or tuple is
    pointers += not base.__dictoffset__ and (kind.__dictoffset__ > 0 or (at_the_end and kind.__dictoffset__ < 0))
    return kind.__basicsize__ == base.__basicsize__ + _POINTER * pointers


# ---- the types whose parts are known -------------------------------------------------------------------------------


def _of_tensor(tensor: Tensor) -> tuple[Any, Parts]:
    if is_lazy(tensor):
        return (tensor.dtype, "no shape yet"), {}
    parts: Parts = {"'grad'": tensor.grad} if tensor.is_leaf and tensor.grad is not None else {}
    for name in ("_base", "grad_fn", "_backward_hooks", "_post_accumulate_grad_hooks"):
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
    whole = tensor.is_contiguous() or (tensor.dim() == 4 and tensor.is_contiguous(memory_format=torch.channels_last))
    if not whole or storage.nbytes() != tensor.numel() * tensor.element_size():  # beside which there may be more
        parts["storage"] = storage
    return tensor.detach(), parts


def _of_storage(storage: Any) -> tuple[Any, Parts]:
    untyped = getattr(storage, "_untyped_storage", storage)
    return torch.empty(0, dtype=torch.uint8, device=untyped.device).set_(untyped), {}


def _of_array(held: Any) -> tuple[Any, Parts]:
    values = np.asarray(held)
    base = held.base if isinstance(held, np.void) else np.ndarray.base.__get__(held)
    parts: Parts = {} if base is None else {"base": base}
    if values.dtype.metadata or values.dtype.fields:
        parts["dtype"] = values.dtype
    if values.dtype.hasobject:
        return (values.dtype.str, values.shape), parts | _numbered(values.ravel().tolist())
    return values, parts


def _of_dtype(dtype: np.dtype[Any]) -> tuple[Any, Parts]:
    parts: Parts = {name: item[0] for name, item in (dtype.fields or {}).items()}
    return (dtype.str, dtype.shape), parts | {"metadata": dtype.metadata, "of each": dtype.subdtype and dtype.base}


def _of_ufunc(function: np.ufunc) -> tuple[Any, Parts]:
    """The function that ``np.frompyfunc`` made it of, if so; else it is of compiled code."""
    return function, _numbered(gc.get_referents(function))


def _numbered(values: Iterable[Any]) -> Parts:
    return {str(number): item for number, item in enumerate(values)}


def _of_dict(values: dict[Any, Any]) -> tuple[Any, Parts]:
    parts: Parts = {}
    for number, (key, item) in enumerate(dict.items(values)):
        if type(key) in _PLAIN:
            parts[repr(key)] = item
        else:
            parts[f"key {number}"], parts[f"value {number}"] = key, item
    if isinstance(values, OrderedDict) and parts:
        parts["order"] = tuple(OrderedDict.__iter__(values))
    if isinstance(values, defaultdict):
        parts["default factory"] = vars(defaultdict)["default_factory"].__get__(values)
    return None, parts


def _of_cache(cached: Any) -> tuple[Any, Parts]:
    """What ``functools.lru_cache`` remembers, in its order; links of its list show nothing, and need not."""
    if of_a_package(cached):
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
    """Its state; children that it spawns are counted by what it was seeded with."""
    bits = getattr(generator, "bit_generator", getattr(generator, "_bit_generator", generator))
    return random_state(generator), {"seeds": bits.seed_seq} if isinstance(bits, np.random.BitGenerator) else {}


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
    if isinstance(generator, np.random.SeedSequence):
        return Randomness(_frozen(generator.state))
    try:
        return Randomness(generator.getstate())
    except NotImplementedError:  # of the operating system, which has no state that could be seen
        return _HIDDEN


def _frozen(value: Any) -> Any:
    """A state of numpy as a value that compares."""
    if isinstance(value, dict):
        return tuple((name, _frozen(item)) for name, item in value.items())
    return value.tobytes() if isinstance(value, np.ndarray) else value


def _only(kind: Any, *names: str) -> tuple[tuple[type], Content]:
    """A type that holds what some of its attributes say, and its content, whatever a subclass says of these names."""
    members = {repr(name): vars(kind)[name] for name in names}
    return (kind,), lambda value: (None, {name: member.__get__(value) for name, member in members.items()})


def _told(kind: type, text: Callable[[Any], Any]) -> tuple[tuple[type], Content]:
    return (kind,), lambda value: ((type(value), text(value)), {})


def _of_annotation(value: Any) -> tuple[Any, Parts]:
    names = ("__origin__", "__args__", "__metadata__", "__bound__", "__constraints__", "__forward_value__")
    return None, {name: getattr(value, name) for name in names if hasattr(value, name)}


_ANNOTATIONS = (typing._Final, types.GenericAlias, types.UnionType, typing.TypeVar, typing.ParamSpec)
_DTYPES = tuple(dict.fromkeys(type(np.dtype(kind)) for kind in np.sctypeDict.values()))

_CONTENTS: tuple[tuple[tuple[Any, ...], Content], ...] = (
    ((Tensor,), _of_tensor),
    ((np.ndarray, np.void), _of_array),
    ((bool, *_FIXED), lambda value: (value, {})),
    *(_told(kind, text) for kind, text in _TOLD),
    ((*_DTYPES, np.dtype), _of_dtype),
    ((np.ufunc,), _of_ufunc),
    ((defaultdict, OrderedDict, dict), _of_dict),
    ((types.MappingProxyType,), lambda value: (None, _numbered(gc.get_referents(value)))),
    ((deque,), lambda value: (deque.maxlen.__get__(value), _numbered(deque.__iter__(value)))),
    ((list,), lambda value: (None, _numbered(list.__iter__(value)))),
    ((torch.Size, tuple), lambda value: (None, _numbered(tuple.__iter__(value)))),
    ((set,), lambda value: (None, _numbered(set.__iter__(value)))),
    ((frozenset,), lambda value: (None, _numbered(frozenset.__iter__(value)))),
    ((type,), _of_class),
    (_ANNOTATIONS, _of_annotation),
    ((types.ModuleType,), of_module),
    ((logging.Logger,), of_logger),
    ((types.FunctionType,), of_function),
    ((_LRU_CACHE,), _of_cache),
    ((type(np.linspace),), lambda value: (value if of_a_package(value) else _HIDDEN, {})),
    _only(types.MethodType, "__self__", "__func__"),
    ((types.BuiltinFunctionType, types.MethodWrapperType), _of_builtin),
    _only(staticmethod, "__func__"),
    _only(classmethod, "__func__"),
    _only(property, "fget", "fset", "fdel"),
    _only(functools.partial, "func", "args", "keywords"),
    _only(slice, "start", "stop", "step"),
    ((types.CellType,), lambda value: (None, {"content": value.cell_contents})),
    ((weakref.ref,), lambda value: (None, {"target": weakref.ref.__call__(value), "callback": value.__callback__})),
    ((torch.UntypedStorage, torch.TypedStorage), _of_storage),
    ((array.array, bytearray), lambda value: (memoryview(value).tobytes(), {})),
    ((memoryview,), lambda value: (value.tobytes(), {"of": value.obj})),
    ((torch.Generator, np.random.Generator, *_BITS, np.random.RandomState, random.Random), _of_random),
    ((np.random.SeedSequence,), _of_random),
    ((_thread.LockType, _thread.RLock), lambda value: (repr(value), {})),
    *(_only(kind, "mapping") for kind in _DICT_VIEWS),
)
"""By type, what its values hold; the first that fits, so that a class comes before its base."""

_BY_NAME = frozenset({type, types.ModuleType, logging.Logger})
"""Types of which attributes are parts already, or are if own code names them."""

_ALONE = frozenset({types.FunctionType, *_BY_NAME, *_FIXED, *_ANNOTATIONS, *_DTYPES, np.ufunc, pathlib.PurePath})
"""Types of which attributes are parts already, or do not count."""
