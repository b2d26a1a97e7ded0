"""A study's file: TOML, read into frozen values; unknown keys are errors."""

from __future__ import annotations

import inspect
import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from importlib import resources
from pathlib import Path
from typing import Any

from trilemma.data.load import load_data
from trilemma.data.options import NOT_THE_DATA
from trilemma.errors import InputError
from trilemma.files import read_toml
from trilemma.hints import did_you_mean
from trilemma.training.recipe import NAMED as NAMED_RECIPES
from trilemma.training.recipe import Recipe
from trilemma.words import CONTROL, DELTA, RANKS, Rank

STUDIES = ("quickstart", "techniques", "memorization", "budget", "outliers", "celeba", "paper")
"""The studies that come with the package."""

IN_FILES = {"grids": "grid", "scales": "scale", "settings": "set"}
"""What a study's file calls a value that has another name here; ``set`` is as the option ``--set`` of ``train``."""

DATA_OPTIONS = tuple(name for name in inspect.signature(load_data).parameters if name not in NOT_THE_DATA)


@dataclass(frozen=True)
class RemovalGrid:
    """What a grid removes.

    Attributes:
      shares: the shares of the training examples that are left out, each between 0 and 1.
      control: what the random arm keeps equal: "class", "class,group", or "" for no random arm.
      rank: what ranks the examples: "rmia" or "lira" (attacks with shadow models), or "histogram" (of the loss).
    """

    shares: tuple[float, ...]
    control: str
    rank: Rank = RANKS[0]


@dataclass(frozen=True)
class Grid:
    """A grid of trials: the product of its axes.

    Attributes:
      data: names of data sets, or tables with the arguments of :func:`trilemma.load_data`.
      epsilon: the budgets; "none" (None in Python) stands for no budget.
      delta: the delta of every budget.
      techniques: "none", "all", codes such as "gn,ws", or a list of such; "cumulative", "each" and "leave-one-out"
        stand for several combinations.
      recipe: names or files of recipes; without any, the recipe of the scale, which must then name one.
      settings: recipe keys and values; a list of tables is one more axis.  Noise follows from the seed unless
        ``secret_noise`` is set to true here.
      track: the class (``label``) whose ``first`` training examples are recorded during training.
      removal: train again without the most exposed examples, and without as many random ones.
      scales: the scales at which the grid counts; without any, all.
      seeds: the seeds of the grid, as above; without any, those of the study.
      own_data: whether the grid is made for its data alone, so that it is left out when a study is run on other data.
    """

    data: tuple[Mapping[str, Any], ...]
    epsilon: tuple[float | None, ...] = (None,)
    delta: float = DELTA
    techniques: str | tuple[Any, ...] = "none"
    recipe: tuple[str, ...] = ()
    settings: tuple[Mapping[str, Any], ...] = ({},)
    track: tuple[int, int] | None = None
    removal: RemovalGrid | None = None
    scales: tuple[str, ...] = ()
    seeds: tuple[int, ...] = ()
    own_data: bool = False


@dataclass(frozen=True)
class Scale:
    """How large a study is: what holds for grids that do not say otherwise.

    Attributes:
      name: the name that ``--scale`` takes.
      recipe: names or files of recipes.
      data: arguments of :func:`trilemma.load_data`, without a name; a limit of 0 in a grid lifts the one here.
      settings: recipe keys and values.
    """

    name: str
    recipe: tuple[str, ...]
    data: Mapping[str, Any]
    settings: Mapping[str, Any]


@dataclass(frozen=True)
class StudyFile:
    """A study as its file describes it.

    Attributes:
      name: the name of the file, without its suffix.
      title: the title of the page; without one, the name of the file.
      about: a sentence that describes the study, for readers of its page.
      seeds: how many seeds every condition has, or a list of them.
      figures: names of the figures of the page.
      grids: tables ``[[grid]]``, one or more; each is the product of its lists.
      scales: tables ``[scale.NAME]``, which ``--scale NAME`` chooses from.
      parts: names or files of other studies that this one consists of, in place of grids.
      folder: the folder of the files that it names, or None for those of the package.
      raw: the TOML as read.
    """

    name: str
    title: str
    about: str
    seeds: tuple[int, ...]
    figures: tuple[str, ...]
    grids: tuple[Grid, ...]
    scales: Mapping[str, Scale]
    parts: tuple[str, ...]
    folder: Path | None
    raw: Mapping[str, Any]

    def beside(self, name: str) -> str | Path:
        """A recipe's name, or the path of a file next to the study."""
        if name not in NAMED_RECIPES and self.folder is not None and (self.folder / name).is_file():
            return self.folder / name
        return name


def keys_of(table: type) -> list[str]:
    """The keys that a table of a study's file may have; the values of ``table`` that no file gives are left out."""
    no_key = ("name", "folder", "raw")
    # Scales of a grid are a list of names and keep their own name; those of a file are tables.
    names = [field.name for field in fields(table) if field.name not in no_key]
    return [name if table is Grid and name == "scales" else IN_FILES.get(name, name) for name in names]


def load_study(source: str | Path) -> list[StudyFile]:
    """The study of that name or file; several where it consists of parts.

    Raises:
      InputError: no such study, invalid TOML, unknown keys or values of the wrong kind.

    >>> [study.name for study in load_study("paper")]
    ['techniques', 'memorization', 'budget', 'outliers', 'celeba']
    """
    return _load(str(source), [])


def _load(source: str, above: list[str]) -> list[StudyFile]:
    if source in above:
        raise InputError(f"the study {source} is a part of itself")
    study = read_study(source)
    if not study.parts:
        return [study]
    studies: dict[str, StudyFile] = {}
    for part in study.parts:
        name = part if part in STUDIES or study.folder is None else str(study.folder / part)
        for file in _load(name, [*above, source]):
            studies[file.name] = file
    return list(studies.values())


def read_study(source: str | Path) -> StudyFile:
    """One file, without its parts.  Raises as :func:`load_study`."""
    name = str(source)
    folder: Path | None = None
    if name in STUDIES:
        values = tomllib.loads(resources.files("trilemma.study").joinpath(f"studies/{name}.toml").read_text("utf-8"))
    elif Path(name).is_file():
        values = read_toml(Path(name), f"the study {source}")
        folder, name = Path(name).resolve().parent, Path(name).stem
    else:
        raise InputError(
            f"no study {name!r}{did_you_mean(name, STUDIES)}: give a TOML file or one of {', '.join(STUDIES)}"
        )
    try:
        return _Reader(name, folder).study(values)
    except InputError as error:  # some errors come from a recipe and do not name the study
        raise type(error)(str(error) if name in str(error) else f"the study {name}: {error}") from error
    except RecursionError as error:
        raise InputError(f"the study {source} is nested too deep") from error


class _Reader:
    """Checks every key and type; every error message names the study."""

    def __init__(self, name: str, folder: Path | None) -> None:
        self._name, self._folder = name, folder

    def study(self, values: dict[str, Any]) -> StudyFile:
        self._known(values, keys_of(StudyFile), "the file")
        grids = values.get("grid", [])
        if not isinstance(grids, list) or not all(isinstance(grid, dict) for grid in grids):
            raise self._wrong("grid", "tables: write [[grid]]")
        parts = self._words(values, "parts", "the file")
        if bool(grids) == bool(parts):
            raise InputError(f"the study {self._name} must have either [[grid]] tables or parts = [names of studies]")
        scales = self._table(values, "scale", "the file")
        return StudyFile(
            name=self._name,
            title=self._text(values, "title", self._name),
            about=self._text(values, "about", ""),
            seeds=self._seeds(values.get("seeds", 3)),
            figures=self._words(values, "figures", "the file"),
            grids=tuple(self._grid(grid) for grid in grids),
            scales={name: self._scale(name, table) for name, table in scales.items()},
            parts=parts,
            folder=self._folder,
            raw=values,
        )

    def _grid(self, values: dict[str, Any]) -> Grid:
        self._known(values, keys_of(Grid), "[[grid]]")
        if "data" not in values:
            raise InputError(f'a grid of the study {self._name} has no data: write data = ["cifar10"]')
        data = tuple(self._data(value) for value in _listed(values["data"]))
        if not data:
            raise InputError(f"a grid of the study {self._name} is empty: its data is an empty list")
        epsilon = tuple(self._epsilon(value) for value in _listed(values.get("epsilon", "none")))
        techniques = values.get("techniques", "none")
        if not isinstance(techniques, str):
            techniques = tuple(_listed(techniques))
            if not all(isinstance(value, str) for value in techniques):
                raise self._wrong("techniques", 'a word or a list of codes such as "gn,ws"')
        settings = tuple(self._settings(value) for value in _listed(values.get("set", {})))
        if not epsilon or not techniques or not settings:
            raise InputError(f"a grid of the study {self._name} is empty: an axis is an empty list")
        delta = values.get("delta", DELTA)
        if not isinstance(delta, float):
            raise self._wrong("delta", "a number such as 1e-5")
        own_data = values.get("own_data", False)
        if not isinstance(own_data, bool):
            raise self._wrong("own_data", "true or false")
        return Grid(
            data,
            epsilon,
            delta,
            techniques,
            self._words(values, "recipe", "[[grid]]"),
            settings,
            self._track(values.get("track")),
            self._removal(values.get("removal")),
            self._words(values, "scales", "[[grid]]"),
            self._seeds(values["seeds"]) if "seeds" in values else (),
            own_data,
        )

    def _scale(self, name: str, values: Any) -> Scale:
        if not isinstance(values, dict):
            raise self._wrong(f"scale.{name}", f"a table: write [scale.{name}]")
        self._known(values, keys_of(Scale), f"[scale.{name}]")
        data = self._table(values, "data", f"[scale.{name}]")
        self._known(data, DATA_OPTIONS, f"the data of [scale.{name}]")
        return Scale(
            name, self._words(values, "recipe", f"[scale.{name}]"), data, self._settings(values.get("set", {}))
        )

    def _data(self, value: Any) -> Mapping[str, Any]:
        options = {"name": value} if isinstance(value, str) else value
        if not isinstance(options, dict) or "name" not in options:
            raise self._wrong("data", 'names, or tables such as {name = "cifar10s", skew = 0.95}')
        self._known(options, DATA_OPTIONS, "data")
        return dict(options)

    def _epsilon(self, value: Any) -> float | None:
        if value == "none" or value == math.inf:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self._wrong("epsilon", 'numbers, or "none" for no budget')
        return float(value)

    def _settings(self, value: Any) -> Mapping[str, Any]:
        if not isinstance(value, dict):
            raise self._wrong("set", "tables of recipe keys, such as {views = 8}")
        for key in ("techniques", "epsilon", "delta", "seed"):
            if key in value:
                raise InputError(f"set of the study {self._name} cannot hold {key}: it is an axis of the grid")
        Recipe.from_dict(value)  # unknown keys and values out of range
        return dict(value)

    def _track(self, value: Any) -> tuple[int, int] | None:
        if value is None:
            return None
        if not isinstance(value, dict) or set(value) != {"label", "first"} or not _whole(*value.values()):
            raise self._wrong("track", "a table such as {label = 0, first = 8}")
        return value["label"], value["first"]

    def _removal(self, value: Any) -> RemovalGrid | None:
        if value is None:
            return None
        if not isinstance(value, dict):
            raise self._wrong("removal", 'a table such as {shares = [0.1], control = "class"}')
        self._known(value, keys_of(RemovalGrid), "removal")
        shares = _listed(value.get("shares", []))
        if not shares or not all(isinstance(s, float) and 0 < s < 1 for s in shares):
            raise self._wrong("removal.shares", "numbers between 0 and 1")
        control = value.get("control", CONTROL)
        if control not in ("class", "class,group", ""):
            raise self._wrong("removal.control", '"class", "class,group" or ""')
        rank = value.get("rank", RANKS[0])
        if rank not in RANKS:
            raise self._wrong("removal.rank", f"one of {', '.join(RANKS)}")
        return RemovalGrid(tuple(sorted(shares)), control, rank)

    def _seeds(self, value: Any) -> tuple[int, ...]:
        numbers = tuple(range(value)) if _whole(value) else tuple(value) if isinstance(value, list) else ()
        if not numbers or not _whole(*numbers) or len(set(numbers)) < len(numbers):
            raise self._wrong("seeds", "how many, or a list of different whole numbers")
        return numbers

    def _text(self, values: dict[str, Any], key: str, default: str) -> str:
        value = values.get(key, default)
        if not isinstance(value, str):
            raise self._wrong(key, "text")
        return value

    def _words(self, values: dict[str, Any], key: str, where: str) -> tuple[str, ...]:
        value = _listed(values.get(key, []))
        if not all(isinstance(word, str) for word in value):
            raise self._wrong(f"{key} in {where}", "a name or a list of names")
        return tuple(value)

    def _table(self, values: dict[str, Any], key: str, where: str) -> dict[str, Any]:
        value = values.get(key, {})
        if not isinstance(value, dict):
            raise self._wrong(f"{key} in {where}", "a table")
        return value

    def _known(self, values: Mapping[str, Any], known: Any, where: str) -> None:
        for key in values:
            if key not in known:
                raise InputError(
                    f"unknown key {key!r} in {where} of the study {self._name}{did_you_mean(key, known)}: "
                    f"it may have {', '.join(known)}"
                )

    def _wrong(self, key: str, wanted: str) -> InputError:
        return InputError(f"{key} of the study {self._name} must be {wanted}")


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _whole(*values: Any) -> bool:
    return all(isinstance(v, int) and not isinstance(v, bool) and v >= 0 for v in values)
