"""The options of loading: checked once, before anything is read, and passed to every source."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trilemma.data.cache import decoded
from trilemma.data.decode import EncodedImages, Framing, change_notes
from trilemma.data.limits import memory_cap
from trilemma.data.named import NAMED, OF_FILES, OF_SETS, Named, takers
from trilemma.data.readers.rows import Decoder
from trilemma.data.sets.celeba_names import attribute
from trilemma.data.sets.skew import check_skew
from trilemma.errors import InputError
from trilemma.hints import did_you_mean, listed
from trilemma.progress import Progress

LIMITS = ("limit", "test_limit")
"""The options by which a training is on fewer examples; for a recipe, a scale and a study 0 is no limit, so that they
can lift each other's."""

NOT_THE_DATA = ("data_dir", "memory_gib", "progress")
"""Options of :func:`trilemma.data.load_data` that say where the data are and how to read them, not what they are."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """The options of :func:`trilemma.data.load_data`; ``cap`` is the memory limit in bytes."""

    cap: int
    data_dir: Path | None = None
    skew: float | None = None
    classes_seed: int | None = None
    target: str | None = None
    protected: str | None = None
    columns: Mapping[str, str] | None = None
    size: int | None = None
    test_split: str | None = None
    limit: int | None = None
    test_limit: int | None = None
    seed: int = 0
    flips: bool | None = None
    shift: int | None = None
    progress: Progress | None = None

    def chosen(self) -> dict[str, Any]:
        """The options that have a value, except those that do not change the data (their place, memory and
        progress)."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {
            name: value
            for name, value in values.items()
            if value is not None and name not in ("cap", "data_dir", "progress")
        }

    def decoder(self, framing: Framing | None = None) -> Decoder:
        """A function that decodes images with these options or reads them from the cache, and says what was converted
        (see :func:`trilemma.data.decode.change_notes`).  ``framing`` None: these options' ``size``, if any."""
        chosen = Framing(self.size) if framing is None else framing

        def decoder(encoded: EncodedImages, what: str) -> tuple[NDArray[np.uint8], tuple[str, ...]]:
            result = decoded(encoded, framing=chosen, cap=self.cap, what=what, progress=self.progress)
            return result.images, change_notes(result.changes, what)

        return decoder


def _whole(least: int) -> Callable[[str, Any], int]:
    """A check that a count is a whole number of at least ``least``, as Python's own int, so that it can be written as
    JSON."""

    def check(option: str, value: Any) -> int:
        try:
            whole = least - 1 if isinstance(value, bool) else operator.index(value)
        except TypeError:
            whole = least - 1
        if whole < least:
            raise InputError(f"{option} must be a whole number of at least {least}, not {value!r}")
        return whole

    return check


def _truth(option: str, value: Any) -> bool:
    if not isinstance(value, (bool, np.bool_)):
        raise InputError(f"{option} must be true or false, not {value!r}")
    return bool(value)


def _text(option: str, value: Any) -> str:
    if not isinstance(value, str):
        raise InputError(f"{option} must be text, not {value!r}")
    return value


def _split(option: str, value: Any) -> str:
    if value not in ("test", "valid"):
        raise InputError(f"{option} must be test or valid, not {value!r}")
    return str(value)


def _columns(option: str, value: Any) -> dict[str, str]:
    if not isinstance(value, Mapping) or not all(isinstance(text, str) for text in (*value, *value.values())):
        raise InputError(f"{option} must name columns by what they hold, like {{label: 'species'}}, not {value!r}")
    return dict(value)


_CHECKS: dict[str, Callable[[str, Any], Any]] = {
    "skew": lambda option, value: check_skew(value),
    "classes_seed": _whole(0),
    "target": _text,
    "protected": _text,
    "columns": _columns,
    "size": _whole(1),
    "test_split": _split,
    "limit": _whole(1),
    "test_limit": _whole(1),
    "seed": lambda option, value: _whole(0)("the seed", value),
    "flips": _truth,
    "shift": _whole(0),
}
"""What each option must be, and what is made of it."""


def checked_options(name: str, requested: Mapping[str, Any]) -> Options:
    """The options of a request for data, before any file is touched.

    Args:
      name: of the data, as for :func:`trilemma.data.load_data`.
      requested: its other arguments; those that are None count as left out.

    Raises:
      InputError: an option is unknown, means nothing for this data set, or has a value that it cannot have.
    """
    values = {option: value for option, value in requested.items() if value is not None}
    known = [field.name for field in fields(Options) if field.name != "cap"]
    for option in values:
        if option not in (*known, "memory_gib"):
            raise InputError(
                f"data has no option {option!r}{did_you_mean(option, known)}: it has {listed(known, most=len(known))}"
            )
    cap, data_dir = memory_cap(values.pop("memory_gib", None)), values.pop("data_dir", None)
    for option, check in _CHECKS.items():
        if option in values:
            values[option] = check(option, values[option])
    named = NAMED.get(name)
    if named is not None and named.protected:
        values |= {option: attribute(values[option]) for option in ("target", "protected") if option in values}
    options = Options(cap=cap, data_dir=None if data_dir is None else Path(data_dir), **values)
    _refuse_meaningless(name, named, options)
    return options


def one_form(request: Mapping[str, Any]) -> dict[str, Any]:
    """A request for data in its one form, so that equal data have equal requests, and a limit of 0 is no limit.

    A default that a title names (skew, CelebA's attributes) is written out, and every other one is left out.

    >>> one_form({"name": "digits-s", "seed": 0, "limit": 0, "flips": False})
    {'name': 'digits-s', 'skew': 0.9}
    >>> one_form({"name": "digits-s", "skew": 1}) == one_form({"name": "digits-s", "skew": 1.0})
    True

    Args:
      request: the arguments of :func:`trilemma.data.load_data`.

    Raises:
      InputError: as :func:`checked_options`; or the request says where the data are and not what they are.
    """
    name = str(request["name"])
    for option in NOT_THE_DATA:
        if request.get(option) is not None:
            raise InputError(f"{option} does not say what the data are: leave it out, and give it on the command line")
    unlimited = [option for option in LIMITS if request.get(option) == 0]
    chosen = {option: value for option, value in request.items() if option not in ("name", *unlimited)}
    form = checked_options(name, chosen).chosen()
    if not form["seed"]:
        del form["seed"]
    if not form.get("columns", True):
        del form["columns"]
    known = NAMED.get(name)
    if known is not None:
        if known.skew is not None:
            form.setdefault("skew", known.skew)
        if known.protected:
            form = {"target": known.target, "protected": known.protected} | form
        elif form.get("target") == known.target:
            form.pop("target", None)
        for option in ("flips", "shift"):
            if form.get(option) == getattr(known, option):
                form.pop(option, None)
    return {"name": name} | form


def _refuse_meaningless(text: str, known: Named | None, options: Options) -> None:
    """Refuse options that mean nothing for this data set, and values that no data set accepts."""
    takes = known.takes if known else OF_FILES
    for option in (*OF_SETS, *OF_FILES):
        if getattr(options, option) is not None and option not in takes:
            needs = None if option in OF_FILES else listed(takers(option))
            raise InputError(
                f"{option} does not apply to {text}: " + (f"it is for {needs}" if needs else "leave it out")
            )
    if known is not None:
        _check_attributes(known, options)
    Framing(options.size)


def _check_attributes(known: Named, options: Options) -> None:
    """Refuse a target that a named set does not have, and one attribute for two purposes."""
    target, protected = options.target or known.target, options.protected or known.protected
    if known.protected and target == protected:
        raise InputError(f"target and protected are both {target}: choose two different attributes")
    if known.targets and target not in known.targets:
        raise InputError(f"the target of {known.name} must be {' or '.join(known.targets)}, not {target!r}")
