"""What code of one's own names, beside what its functions hold themselves.

A function reaches its global variables, the modules that it imports, and, through any module that it comes by, that
module's variables.  Which module an expression like ``self.settings.mean`` comes to cannot be read from the code.  So
the variables of a module of own code that are compared are those whose names *any* own code of the network looks up
(:class:`Variables`): all others, such as a script's data sets and histories, no pass can reach.  A name that is
computed is not seen; code that asks for variables by a computed name in a common way is refused (:data:`_BUILTINS`).
"""

from __future__ import annotations

import builtins
import dis
import functools
import sys
import types
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from trilemma.outside import is_own_code

_BUILTINS = frozenset({"globals", "exec", "eval", "__import__"})
_ATTRIBUTES = frozenset({"import_module", "__globals__", "f_globals", "_getframe"})
"""What gives code a variable or a module by a name that is computed: functions of Python, and attributes."""

_RESTORING = frozenset({"fork_rng", "set_rng_state", "setstate"})
"""What takes back that random numbers were drawn, so that no state of a generator shows it."""

_BY_NAME = "keep private images under computed names: write out the names of its variables"
_COMPUTED = dict.fromkeys(
    (*_RESTORING, "np.random.set_state"), "draw random numbers that no generator shows: remove what is random"
)

ALWAYS = frozenset({"__getattr__"})
"""Variables of a module that Python itself looks up."""

Parts = dict[str, Any]
"""What a value holds, by name."""


@dataclass(frozen=True, eq=False)
class Hidden:
    """A value that does not show what it holds: for a reason, or by its type."""

    value: object
    reason: str = ""


@dataclass(frozen=True, eq=False)
class Variables:
    """A module or a logger: of its variables, those count that own code names."""

    owner: Any


@dataclass(frozen=True)
class Code:
    """The code of a function of own code, with all names that it looks up, the strings in it among them."""

    code: types.CodeType
    names: frozenset[str]


@dataclass(frozen=True)
class Named:
    """What a function, or one inside it, names.

    Attributes:
      looked_up: attributes and variables, and strings, which may name one in ``getattr``.
      variables: global variables that it reads or sets, in alphabetical order.
      imports: (level, module, names taken from it) of each import.
      computed: what it uses to reach variables by computed names, or to take back that it drew random numbers.
    """

    looked_up: frozenset[str]
    variables: tuple[str, ...]
    imports: tuple[tuple[int, str, tuple[str, ...]], ...]
    computed: tuple[str, ...]


@functools.lru_cache(maxsize=1000)
def named(code: types.CodeType) -> Named:
    """What some code names."""
    steps = [step for step in dis.get_instructions(code) if step.opname not in ("EXTENDED_ARG", "CACHE")]
    inside = [named(part) for part in code.co_consts if isinstance(part, types.CodeType)]
    texts = [text for part in code.co_consts for text in (part if isinstance(part, (tuple, frozenset)) else (part,))]
    looked_up = {name for text in (*code.co_names, *texts) if isinstance(text, str) for name in text.split(".")}
    variables = {str(step.argval) for step in steps if "_GLOBAL" in step.opname or step.opname == "LOAD_NAME"}
    imports = [
        (steps[place - 2].argval, str(step.argval), tuple(steps[place - 1].argval or ()))
        for place, step in enumerate(steps)
        if step.opname == "IMPORT_NAME"
    ]
    pairs = [(first.argval, second.argval) for first, second in pairwise(steps)]
    computed = sorted(_BUILTINS & variables) + sorted((_ATTRIBUTES | _RESTORING).intersection(code.co_names))
    computed += ["np.random.set_state"] * ({"random", "set_state"} <= set(code.co_names))
    computed += ["sys.modules"] * (("sys", "modules") in pairs)
    return Named(
        frozenset(filter(str.isidentifier, looked_up)).union(*(part.looked_up for part in inside)),
        tuple(sorted(variables.union(*(part.variables for part in inside)))),
        (*imports, *(statement for part in inside for statement in part.imports)),
        tuple(dict.fromkeys((*computed, *(name for part in inside for name in part.computed)))),
    )


def _imported_modules(function: types.FunctionType) -> dict[str, Any]:
    """The modules of own code that a function of own code imports, as far as they have been imported, by name."""
    found: dict[str, Any] = {}
    for level, name, taken in named(function.__code__).imports:
        if level:
            variables = function.__globals__
            package = str(variables.get("__package__") or variables.get("__name__"))
            package = package.rsplit(".", level - 1)[0] if level > 1 else package
            name = f"{package}.{name}" if name else package
        parts = name.split(".")
        names = [".".join(parts[: number + 1]) for number in range(len(parts))]
        for module in (*names, *(f"{name}.{item}" for item in taken)):
            if module in sys.modules and is_own_code(module):
                found[module] = sys.modules[module]
    return found


def of_function(function: types.FunctionType) -> tuple[Any, Parts]:
    """Its code, attributes, defaults, and the variables of the functions around it that it uses; of own code also the
    global variables that it names, and the modules that it imports."""
    if of_a_package(function):
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
        if name not in _BUILTINS or variables.get(name) in (None, getattr(builtins, name)):
            return Hidden(function, f"uses {name}, by which it may {_COMPUTED.get(name, _BY_NAME)}"), {}
    held |= {f"global {name}": variables[name] for name in names.variables if name in variables}
    held |= {f"import {name}": module for name, module in _imported_modules(function).items()}
    return Code(function.__code__, names.looked_up), {repr(name): item for name, item in held.items()}


def of_a_package(function: Any) -> bool:
    """Whether a function is what an installed package calls by its name: fixed, as the variables of packages are."""
    module = str(function.__module__)
    code = getattr(function, "__globals__", {}).get("__name__", module)
    known = getattr(sys.modules.get(module), function.__name__, None)
    return known is function and not is_own_code(module) and not is_own_code(str(code))


def of_module(module: types.ModuleType) -> tuple[Any, Parts]:
    return (Variables(module) if _is_own_module(module) else module), {}


def of_logger(logger: Any) -> tuple[Any, Parts]:
    """What its methods tell; its handlers keep records of each pass, to which code comes by their names."""
    return Variables(logger), {name: vars(logger).get(name) for name in ("level", "disabled", "propagate")}


def _is_own_module(module: types.ModuleType) -> bool:
    """Whether the variables of a module are own code's: of a script, a folder on the path, or made by hand."""
    name = str(getattr(module, "__name__", ""))
    if sys.modules.get(name) is module:
        return is_own_code(name)
    # What compiled packages make of their parts, as ``torch.ops`` does, is in none of Python's tables either.
    return is_own_code(str(type(module).__module__)) or type(module) is types.ModuleType
