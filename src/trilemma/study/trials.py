"""A study as a value: its trials and the figures to draw from them.

Nothing here trains or touches the disk.  :func:`expand` turns the grids of a study's file into trials; a trial's id is
a hash of everything that defines it, so that the same trial has the same id in every study, and a changed trial never
takes the place of an old one.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Literal

from trilemma.data.options import one_form
from trilemma.errors import InputError
from trilemma.hints import did_you_mean
from trilemma.study.file import Grid, Scale, StudyFile
from trilemma.techniques import PAPER_TECHNIQUES, parse_techniques
from trilemma.training.by_budget import ByBudget, chosen_by_budget
from trilemma.training.recipe import Recipe, load_recipe
from trilemma.training.recipe_data import data_request
from trilemma.words import CONTROL, RANK_OF_EARLIER, Rank

Arm = Literal["exposed", "random"]
ARMS: tuple[Arm, ...] = ("exposed", "random")

MOST_TRIALS = 500
"""A study with more trials must be confirmed (``--yes``)."""

SEEDED: dict[str, Any] = {"secret_noise": False}
"""Trials are research, which others repeat: their noise follows from the seed unless the study says otherwise."""


@dataclass(frozen=True)
class Removal:
    """Training examples left out before training.

    Attributes:
      share: the share of the training examples, in (0, 1).
      arm: "exposed" leaves out those that the ranking puts first, "random" as many of each class at random.
      scored_by: id of the trial whose examples are ranked.
      control: "class" or "class,group": what the random arm keeps equal to the exposed one.
      rank: what ranks them, one of ``RANKS`` (:mod:`trilemma.study.removal`).
    """

    share: float
    arm: Arm
    scored_by: str
    control: str = CONTROL
    rank: Rank = RANK_OF_EARLIER

    @property
    def by_shadows(self) -> bool:
        """Whether shadow models measure the exposure."""
        return self.rank != "histogram"

    def to_dict(self) -> dict[str, Any]:
        """The values for JSON.  The rank of earlier versions is left out, so that their trials keep their ids."""
        values = asdict(self)
        if self.rank == RANK_OF_EARLIER:
            del values["rank"]
        return values


@dataclass(frozen=True)
class Track:
    """Examples whose membership probability is recorded during training: the first ``first`` of class ``label``."""

    label: int
    first: int


@dataclass(frozen=True)
class Trial:
    """A recipe on data (the seed is the recipe's).

    Attributes:
      recipe: the complete recipe.
      data: the arguments of :func:`trilemma.load_data` except folders, as sorted pairs.
      track: the tracked examples, or None.
      removal: the examples that are left out, or None.
    """

    recipe: Recipe
    data: tuple[tuple[str, Any], ...]
    track: Track | None = None
    removal: Removal | None = None

    def to_dict(self) -> dict[str, Any]:
        """The trial as ``study.json`` holds it."""
        return {
            "recipe": self.recipe.to_dict(),
            "data": dict(self.data),
            "track": None if self.track is None else asdict(self.track),
            "removal": None if self.removal is None else self.removal.to_dict(),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Trial:
        """Inverse of :meth:`to_dict`."""
        return cls(
            Recipe.from_dict(values["recipe"]),
            _pairs(values["data"]),
            None if values["track"] is None else Track(**values["track"]),
            None if values["removal"] is None else Removal(**values["removal"]),
        )

    @property
    def id(self) -> str:
        """Twelve hex digits of the SHA-256 of :meth:`to_dict`."""
        return _digest(self.to_dict())

    @property
    def condition(self) -> str:
        """Id of the condition: equal for all seeds of one trial, and different otherwise."""
        values = self.to_dict()
        del values["recipe"]["seed"]
        if values["removal"]:
            del values["removal"]["scored_by"]  # differs between seeds
        return _digest(values)


@dataclass(frozen=True)
class Study:
    """Trials and the figures drawn from them.

    Attributes:
      name, title, about: a name, a title and a description for readers.
      scale: "small", "paper" or "" (a file without scales).
      seeds: the seeds of its trials; a condition may have fewer.
      figures: names, in the page's order.
      trials: seed by seed, so that an unfinished study has whole conditions; what scores others comes first.
      file: the TOML as it was read, for the record.
      by_budget: what each of its recipes chooses by budget.
    """

    name: str
    title: str
    about: str
    scale: str
    seeds: tuple[int, ...]
    figures: tuple[str, ...]
    trials: tuple[Trial, ...]
    file: Mapping[str, Any] = field(default_factory=dict)
    by_budget: tuple[ByBudget, ...] = ()


def expand(
    study: StudyFile,
    *,
    scale: str | None = None,
    seeds: int | None = None,
    data: Iterable[Mapping[str, Any]] = (),
    rank: Rank | None = None,
) -> Study:
    """The trials of a study's file.

    Args:
      study: the file.
      scale: one of the file's scales; None: "small" if it has that, else its only one, else none.
      seeds: 0 to seeds - 1 in place of the file's.
      data: in place of the grids' data.
      rank: in place of the grids' ranking of the examples to remove.

    Raises:
      InputError: an unknown scale, an empty grid, a value that a recipe refuses, or a rank where nothing is removed.
    """
    chosen = _scale(study, scale)
    numbers = tuple(range(seeds)) if seeds is not None else study.seeds
    own_data = [dict(d) for d in data]
    grids = [
        (grid, numbers if seeds is not None else grid.seeds or numbers)
        for grid in study.grids
        if not (chosen is not None and grid.scales and chosen.name not in grid.scales)
        and not (own_data and grid.own_data)
    ]
    if not numbers:
        raise InputError(f"the study {study.name} has no seeds: use --seeds 3")
    named = [name for grid, _ in grids for name in _recipes(grid, chosen)]
    trials: dict[str, Trial] = {}
    for seed in dict.fromkeys([*numbers, *(seed for _, own in grids for seed in own)]):
        for grid, own in grids:
            if seed not in own:
                continue
            for trial in _trials(study, grid, chosen, seed, own_data, rank):
                trials.setdefault(trial.id, trial)
    if not trials:
        raise InputError(f"the study {study.name} has no trials at this scale: its grids are empty")
    if rank is not None and all(trial.removal is None for trial in trials.values()):
        raise InputError(
            f"--rank {rank} is for studies that remove examples, and {study.name} removes none: leave it out"
        )
    return Study(
        study.name,
        study.title,
        study.about,
        "" if chosen is None else chosen.name,
        tuple(sorted({trial.recipe.seed for trial in trials.values()})),
        study.figures,
        tuple(trials.values()),
        study.raw,
        tuple(chosen_by_budget(study.beside(name)) for name in dict.fromkeys(named)),
    )


def techniques_axis(value: str | tuple[Any, ...]) -> list[tuple[str, ...]]:
    """Combinations of techniques, by word or listed.

    >>> techniques_axis("cumulative")[:3]
    [(), ('obs',), ('obs', 'gn')]

    Raises:
      InputError: an unknown word or code.
    """
    codes = PAPER_TECHNIQUES
    words = {
        "cumulative": [codes[:k] for k in range(len(codes) + 1)],
        "each": [(), *((code,) for code in codes)],
        "leave-one-out": [codes, *(tuple(c for c in codes if c != code) for code in codes)],
    }
    if isinstance(value, str):
        if value in words:
            return words[value]
        return [parse_techniques(value)]
    return list(dict.fromkeys(combination for entry in value for combination in techniques_axis(entry)))


def _scale(study: StudyFile, name: str | None) -> Scale | None:
    if name is None:
        name = "small" if "small" in study.scales else next(iter(study.scales), None)
        if name is None:
            return None
    if name not in study.scales:
        scales = ", ".join(study.scales) or "none"
        raise InputError(
            f"the study {study.name} has no scale {name!r}{did_you_mean(name, study.scales)}: it has {scales}"
        )
    return study.scales[name]


def needing_exposure(trials: Iterable[Trial]) -> set[str]:
    """Ids of the trials whose examples' exposure shadow models must measure.

    These are the trials that decide what is removed by such a ranking, those trained after the removal, whose survivors
    are measured again, and those of the same recipe with nothing removed, with which the survivors are compared.
    """
    needed = set()
    for trial in trials:
        if trial.removal is not None and trial.removal.by_shadows:
            needed |= {trial.removal.scored_by, trial.id, replace(trial, removal=None).id}
    return needed


def _trials(
    study: StudyFile,
    grid: Grid,
    scale: Scale | None,
    seed: int,
    data: list[dict[str, Any]],
    rank: Rank | None,
) -> list[Trial]:
    """One seed of one grid, in the order of its axes: data, budget, techniques, settings, removal."""
    recipes = _recipes(grid, scale)
    if not recipes:
        raise InputError(f"a grid of the study {study.name} names no recipe, nor does its scale")
    base = {} if scale is None else scale.settings
    trials = []
    for options, epsilon, techniques, recipe, settings in itertools.product(
        data or grid.data, grid.epsilon, techniques_axis(grid.techniques), recipes, grid.settings
    ):
        overrides = {**base, **settings}
        source = study.beside(recipe)
        made = _one_number_form(
            load_recipe(
                source,
                defaults=SEEDED,
                **{**overrides, "techniques": techniques, "epsilon": epsilon, "seed": seed},
                **({"delta": grid.delta} if epsilon is not None else {}),
            )
        )
        where = _pairs(one_form(data_request(source, {**({} if scale is None else scale.data), **options})))
        track = None if grid.track is None else Track(*grid.track)
        whole = Trial(made, where, track)
        trials.append(whole)
        if grid.removal is None:
            continue
        # Examples are ranked by a model without a budget, for private trials too: a private model hardly distinguishes
        # them, and trials with and without a budget then leave out the same ones.
        scorer = whole
        if made.private:
            unbounded = load_recipe(source, defaults=SEEDED, **{**overrides, "techniques": techniques, "seed": seed})
            scorer = Trial(_one_number_form(unbounded), where, track)
            trials.append(scorer)
        for share in grid.removal.shares:
            for arm in ARMS if grid.removal.control else ARMS[:1]:
                removal = Removal(share, arm, scorer.id, grid.removal.control or CONTROL, rank or grid.removal.rank)
                trials.append(replace(whole, removal=removal))
    # A trial that scores others comes before them.
    return sorted(trials, key=lambda trial: trial.removal is not None)


def _recipes(grid: Grid, scale: Scale | None) -> tuple[str, ...]:
    return grid.recipe or (() if scale is None else scale.recipe)


_WHOLE_FROM: Mapping[str, float] = {"epochs": 0, "learning_rate": 10}
"""From which value on the whole numbers of a field are written without a decimal point.  An id is a hash of text, which
tells 20 from 20.0, so each number has one form: the one in which the recipes of the package have always written it."""


def _one_number_form(recipe: Recipe) -> Recipe:
    """The recipe with each number in its one form, so that ``epochs = 20.0`` is no other trial than ``epochs = 20``.

    >>> _one_number_form(Recipe(epochs=20.0, learning_rate=1, momentum=0)).to_dict()["epochs"]
    20
    """
    numbers = {
        f.name: float(value)
        for f in fields(recipe)
        if str(f.type).startswith("float") and (value := getattr(recipe, f.name)) is not None
    }
    whole: dict[str, Any] = {
        name: int(value)
        for name, value in numbers.items()
        if value.is_integer() and value >= _WHOLE_FROM.get(name, math.inf)
    }
    return replace(recipe, **{**numbers, **whole})


def _pairs(options: Mapping[str, Any]) -> tuple[tuple[str, Any], ...]:
    return tuple(sorted((str(key), value) for key, value in options.items() if value is not None))


def _digest(values: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:12]
