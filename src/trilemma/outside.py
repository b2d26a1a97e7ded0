"""Parts that come from outside the package: named ``module:name``, or by an entry point of an installed package.

A name is looked up when it is used, and nothing is registered.  Importing runs the module's code, so only names that
the user gives are looked up (on the command line, in Python, in a study's or recipe's file), never one that merely
is in the folder of a run.
"""

from __future__ import annotations

import functools
import hashlib
import importlib
import os
import sys
import sysconfig
from collections.abc import Iterable
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

from trilemma.errors import InputError
from trilemma.hints import did_you_mean, one_line

GROUP = "trilemma"
"""Entry points are in the groups ``trilemma.models``, ``trilemma.data`` and so on, one for each kind."""


def is_outside(name: str, kind: str) -> bool:
    """Whether a name is one from outside: ``module:name``, or that of an entry point.

    Args:
      name: as the user gave it.
      kind: "models", "data", "attacks", "techniques", "optimizers", "measures" or "listeners".
    """
    if kind == "models" and name.startswith("timm:"):  # of an installed package, see trilemma.models.timm
        return False
    return _is_reference(name) or name in _entry_points(kind)


def resolve(name: str, kind: str) -> Any:
    """What a name from outside stands for.

    Modules are also looked for in the current folder, as by ``python -m``.

    Args:
      name: ``module:name``, or the name of an entry point.
      kind: as in :func:`is_outside`.

    Raises:
      InputError: the module cannot be imported, or lacks the name, or it is nothing that can be called.
    """
    if not _is_reference(name):
        entry = _entry_points(kind).get(name)
        if entry is None:
            near = did_you_mean(name, _entry_points(kind))
            raise InputError(f"no installed package provides {name!r} in {GROUP}.{kind}{near}")
        name = entry
    module_name, _, attribute = name.partition(":")
    working_folder = os.getcwd()
    added = working_folder not in sys.path and "" not in sys.path
    if added:
        sys.path.append(working_folder)
    try:
        module = importlib.import_module(module_name)
    except (Exception, SystemExit) as error:  # a module's own code may raise anything
        reason = f"{type(error).__name__}: {one_line(error)}"
        raise InputError(f"cannot import {module_name} for {name!r} ({reason})") from error
    finally:
        if added:
            sys.path.remove(working_folder)
    value: Any = module
    for part in attribute.split("."):
        if not hasattr(value, part):
            raise InputError(f"{module_name} has no {attribute!r}{did_you_mean(attribute, dir(module))}")
        value = getattr(value, part)
    if not callable(value):
        raise InputError(f"{name!r} cannot be called: name a function or a class")
    return value


def called(name: str, function: Any, *arguments: Any, **keywords: Any) -> Any:
    """Call what :func:`resolve` found; whatever it raises becomes one line that names it.

    Raises:
      InputError: the signature is another, or the call fails.
    """
    try:
        return function(*arguments, **keywords)
    except InputError:
        raise
    except TypeError as error:
        raise InputError(f"{name!r} has another signature than docs/extend.md asks for ({one_line(error)})") from error
    except (Exception, SystemExit) as error:
        raise InputError(f"{name!r} failed ({type(error).__name__}: {one_line(error)})") from error


def modules_behind(name: str, kind: str) -> set[str]:
    """The names of the modules that a name from outside leads to: the one it names and the one that defines it.

    Args:
      name, kind: as for :func:`resolve`; a name that is not from outside leads to none.

    Raises:
      InputError: as :func:`resolve`.
    """
    if not is_outside(name, kind):
        return set()
    return {name.partition(":")[0], str(getattr(resolve(name, kind), "__module__", ""))}


def source_digests(modules: Iterable[str]) -> dict[str, str]:
    """SHA-256 of the source files of some imported modules and of all that these use in turn, by module name.

    Modules of installed packages are digested where they are named, and not followed further: a package is replaced as
    a whole.  torch and this package, which have versions, are left out.
    """
    digests: dict[str, str] = {}
    left = [(name, True) for name in modules]
    while left:
        name, named = left.pop()
        file = getattr(sys.modules.get(name), "__file__", None)
        if name in digests or not file or name.split(".")[0] in ("torch", "trilemma"):
            continue
        path = Path(file).resolve()
        if not path.is_file():  # `python -` calls its module's file <stdin>
            continue
        packaged = _is_installed(path)
        if packaged and not named:
            continue
        digests[name] = hashlib.sha256(path.read_bytes()).hexdigest()
        if not packaged:
            values = list(vars(sys.modules[name]).values())
            used = [v.__name__ if isinstance(v, ModuleType) else getattr(v, "__module__", None) for v in values]
            left += [(other, False) for other in used if isinstance(other, str)]
    return dict(sorted(digests.items()))


@functools.cache
def is_own_code(module: str) -> bool:
    """Whether the code of a module is neither this package's nor torch's, and is not installed with Python or as a
    package (as is that of a script, a notebook, or a folder that was put on the path)."""
    root = module.partition(".")[0]
    if root in ("torch", "trilemma"):
        return False
    if module == "__main__":  # under `python -m cProfile` and the like it has that module's file
        return True
    file = getattr(sys.modules.get(module), "__file__", None)
    if file is None:
        return root not in sys.stdlib_module_names
    return not _is_installed(Path(file).resolve())  # a file of one's own may have the name of one of Python's: test.py


_PACKAGES = frozenset({"site-packages", "dist-packages"})


def _is_installed(path: Path) -> bool:
    folders = [Path(sysconfig.get_path(kind)).resolve() for kind in ("stdlib", "platstdlib", "purelib", "platlib")]
    # By name too: a user's own site-packages, and Debian's dist-packages, are in none of these folders.
    return any(path.is_relative_to(folder) for folder in folders) or not _PACKAGES.isdisjoint(path.parts)


def _is_reference(name: str) -> bool:
    module, colon, attribute = name.partition(":")
    return bool(colon) and all(part.isidentifier() for part in (*module.split("."), *attribute.split(".")))


@functools.cache
def _entry_points(kind: str) -> dict[str, str]:
    return {entry.name: entry.value for entry in entry_points(group=f"{GROUP}.{kind}")}
