"""Cells: everything of a trial but its seed, by name, and one measure's values in them by seed."""

from __future__ import annotations

import math
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd

from trilemma.errors import InputError
from trilemma.measures import UNMATCHED
from trilemma.techniques import PAPER_TECHNIQUES
from trilemma.words import condition_title, mix

DESCRIPTION = (
    "data",
    "skew",
    "target",
    "protected",
    "examples",
    "model",
    "techniques",
    "epsilon",
    "delta",
    "removed",
    "removal",
)
"""The columns of the results that say in words what a cell is; ``cell`` tells recipes apart beyond them."""

NEEDED = (*DESCRIPTION, "trial", "studies", "seed", "cell", "update", "measure", "value", "low", "high")
"""Columns that this room's statistics read."""


@dataclass(frozen=True)
class Cell:
    """What the trials of one cell share.

    Attributes:
      id: the hash of recipe, data and removal, without the seed: two trials are of one cell if it is equal.
      data, target, protected, model, removal: as in the results; "" where it does not apply.
      skew: share of a class in its dominant group; None without one.
      examples: for training, after any removal.
      techniques: codes in the paper's order joined by "+", "bl" for none.
      epsilon: None without a budget.
      delta: None without a budget.
      removed: share of the training examples that was left out.
      variant: what else sets it apart from cells that all of this describes too ("learning_rate 0.1"); mostly "".
    """

    id: str
    data: str
    skew: float | None
    target: str
    protected: str
    examples: int
    model: str
    techniques: str
    epsilon: float | None
    delta: float | None
    removed: float
    removal: str
    variant: str = ""

    @property
    def private(self) -> bool:
        """Whether it was trained with a budget."""
        return self.epsilon is not None

    @property
    def codes(self) -> tuple[str, ...]:
        """The techniques, () for the baseline."""
        return () if self.techniques == "bl" else tuple(self.techniques.split("+"))

    @property
    def title(self) -> str:
        """In a few words: not unique."""
        return condition_title(
            data=self.data,
            skew=self.skew,
            target=self.target,
            protected=self.protected,
            techniques=self.codes,
            epsilon=self.epsilon,
            removed=self.removed,
            removal=self.removal,
            variant=self.variant,
        )

    @property
    def technique_words(self) -> str:
        """The techniques as the subject of a sentence: ``all techniques``, else as in a title."""
        return "all techniques" if self.codes == PAPER_TECHNIQUES else mix(self.codes)

    def __str__(self) -> str:
        return self.title


@dataclass(frozen=True, eq=False)
class Measured:
    """One measure in finished trials.

    Attributes:
      measure: its name.
      cells: by id, in the order of the results.
      values: by cell and seed; a value that a trial does not have is not there.
      trials: which trial each value is of, by cell and seed.
      stands_for: by cell, the measure as which its values stand in the results, where that is another one.
    """

    measure: str
    cells: Mapping[str, Cell]
    values: Mapping[str, Mapping[int, float]]
    trials: Mapping[str, Mapping[int, str]]
    stands_for: Mapping[str, str] = field(default_factory=dict)

    def name_in_results(self, cell: str) -> str:
        """The measure under which a cell's values are in the results."""
        return self.stands_for.get(cell, self.measure)

    def where(self, holds: Callable[[Cell], bool]) -> Measured:
        """The same for the cells of which ``holds`` is true."""
        return self._kept({name: self.trials[name] for name, cell in self.cells.items() if holds(cell)})

    def among(self, trials: Container[str]) -> Measured:
        """The same for these trials."""
        kept = {c: {seed: trial for seed, trial in by.items() if trial in trials} for c, by in self.trials.items()}
        return self._kept({cell: by for cell, by in kept.items() if by})

    def told_apart(self, study: Mapping[str, Any]) -> Measured:
        """The same, with a ``variant`` in cells that are else alike in words (``study.json`` has their recipes)."""
        return replace(self, cells=tell_apart(self.cells, self.trials, study))

    def _kept(self, trials: Mapping[str, Mapping[int, str]]) -> Measured:
        cells = {cell: self.cells[cell] for cell in trials}
        values = {cell: {seed: self.values[cell][seed] for seed in by} for cell, by in trials.items()}
        return replace(self, cells=cells, values=values, trials=trials)

    def less(self, other: Measured, name: str) -> Measured:
        """Trial by trial, this measure less another, under a name of its own; only trials that have both."""
        values = {
            cell: {seed: value - other.values[cell][seed] for seed, value in by.items() if seed in other.values[cell]}
            for cell, by in self.values.items()
            if cell in other.values
        }
        trials = {cell: {seed: self.trials[cell][seed] for seed in by} for cell, by in values.items() if by}
        return replace(self, measure=name, values=values, stands_for={})._kept(trials)


def measured(results: pd.DataFrame, measure: str, study: Mapping[str, Any] | None = None) -> Measured:
    """One measure's values by cell and seed.

    Where naive and matched non-members are the same (data without skewed groups), only the matched measure is
    in the results: in cells that have no naive one it counts as that.

    Args:
      results: of a study (``trilemma.analysis.results``), all of it or some rows; rows measured on the way are
        left out, and so are values that are NaN.
      measure: its name; one that nothing in the results has gives no cells.
      study: ``study.json``, for cells that the columns of the results do not tell apart.

    Raises:
      InputError: columns are missing, a cell has two descriptions, or a seed occurs twice in one cell.
    """
    check_columns(results)
    names = results["measure"].to_numpy()
    there = results["update"].isna().to_numpy() & results["value"].notna().to_numpy()
    chosen, stands_for = there & (names == measure), dict[str, str]()
    if measure.endswith(UNMATCHED):
        matched = measure.removesuffix(UNMATCHED)
        cells = results["cell"].to_numpy()
        same = there & (names == matched) & ~np.isin(cells, cells[chosen])
        stands_for = dict.fromkeys(cells[same], matched)
        chosen |= same
    taken = results.loc[chosen, list(NEEDED)]
    check_once(taken, ["cell"])
    values: dict[str, dict[int, float]] = {}
    trials: dict[str, dict[int, str]] = {}
    for cell, seed, value, trial in zip(*(taken[name] for name in ("cell", "seed", "value", "trial")), strict=True):
        values.setdefault(cell, {})[int(seed)] = float(value)
        trials.setdefault(cell, {})[int(seed)] = str(trial)
    found = Measured(measure, cells_of(taken), values, trials, stands_for)
    return found if study is None else found.told_apart(study)


def finished(results: pd.DataFrame) -> pd.DataFrame:
    """The rows of finished trials; rows that were measured on the way have a number in ``update``."""
    check_columns(results)
    return results[results["update"].isna()]


def of_study(results: pd.DataFrame, study: str) -> pd.DataFrame:
    """The rows of trials that a study holds; a trial may be in several."""
    check_columns(results)
    return results[[study in str(names).split() for names in results["studies"]]]


def study_names(results: pd.DataFrame) -> tuple[str, ...]:
    """The studies that the trials are of, in the order in which they occur."""
    check_columns(results)
    return tuple(dict.fromkeys(name for names in results["studies"].unique() for name in str(names).split()))


def cells_of(results: pd.DataFrame) -> dict[str, Cell]:
    """Cells by id, in the order in which they occur.

    Raises:
      InputError: a cell has two descriptions, so that its trials cannot be averaged.  (How many examples are
        left may differ between seeds where some were removed: ``examples`` is the first seed's.)
    """
    check_columns(results)
    found: dict[str, Cell] = {}
    known: set[tuple[Any, ...]] = set()
    columns = (results[column] for column in DESCRIPTION)
    for row in zip(results["cell"], *columns, strict=True):
        # NaN is unequal to itself and would be looked at again and again.
        key = tuple("" if value != value else value for value in row)
        if key in known:
            continue
        known.add(key)
        cell = _cell(row[0], dict(zip(DESCRIPTION, row[1:], strict=True)))
        first = found.setdefault(cell.id, cell)
        if cell == first or (cell.removed and replace(cell, examples=first.examples) == first):
            continue
        differ = [column for column in DESCRIPTION if getattr(cell, column) != getattr(first, column)]
        raise InputError(
            f"cell {cell.id} has two descriptions, which differ in {', '.join(differ)}: "
            "write the results anew from the runs"
        )
    return found


def tell_apart(
    cells: Mapping[str, Cell], trials: Mapping[str, Mapping[int, str]], study: Mapping[str, Any]
) -> dict[str, Cell]:
    """Say of cells with one description what of their recipe and data sets them apart.

    Args:
      cells: by id.
      trials: of each cell, by seed.
      study: ``study.json``.
    """
    alike: dict[Cell, list[str]] = {}
    for name, cell in cells.items():
        alike.setdefault(replace(cell, id=""), []).append(name)
    planned = study.get("trials", {})
    found = dict(cells)
    for names in alike.values():
        if len(names) == 1:
            continue
        entries = [planned.get(next(iter(trials[name].values())), {}) for name in names]
        choices = [{**entry.get("data", {}), **entry.get("recipe", {})} for entry in entries]
        keys = dict.fromkeys(key for choice in choices for key in choice if key != "seed")
        differ = [key for key in keys if any(choice.get(key) != choices[0].get(key) for choice in choices)]
        for name, choice in zip(names, choices, strict=True):
            words = ", ".join(f"{key} {choice.get(key)}" for key in differ)
            found[name] = replace(cells[name], variant=words)
    return found


def check_columns(results: pd.DataFrame) -> None:
    """Refuse a table that lacks what the statistics read, or names no cell."""
    missing = [name for name in NEEDED if name not in results.columns]
    if missing:
        raise InputError(f"the results lack the columns {', '.join(missing)}: read them with read_results")
    if results["cell"].isna().any():
        raise InputError("a row of the results names no cell: write them anew from the runs")


def check_once(rows: pd.DataFrame, keys: Sequence[str]) -> None:
    """Refuse rows that claim to be the same value: of one seed, and equal in all ``keys``."""
    seen: dict[tuple[Any, ...], str] = {}
    columns = (rows[key] for key in (*keys, "seed"))
    for trial, measure, *key in zip(rows["trial"], rows["measure"], *columns, strict=True):
        if tuple(key) in seen:
            trials = " and ".join(dict.fromkeys((seen[tuple(key)], str(trial))))
            what = f"{measure} of cell {key[0]} and seed {key[-1]}"
            raise InputError(f"{what} is there twice (trials {trials}): keep one of them")
        seen[tuple(key)] = str(trial)


def _cell(name: Any, row: Mapping[str, Any]) -> Cell:
    return Cell(
        id=str(name),
        data=str(row["data"]),
        skew=_number(row["skew"]),
        target=_word(row["target"]),
        protected=_word(row["protected"]),
        examples=int(row["examples"]),
        model=_word(row["model"]),
        techniques=_word(row["techniques"]) or "bl",
        epsilon=epsilon_of_column(row["epsilon"]),
        delta=_number(row["delta"]),
        removed=float(row["removed"]),
        removal=_word(row["removal"]),
    )


def epsilon_column(epsilon: float | None) -> float:
    """A budget as the column ``epsilon`` of the results has it: inf for none."""
    return math.inf if epsilon is None else epsilon


def epsilon_of_column(value: Any) -> float | None:
    """Inverse of :func:`epsilon_column`."""
    return None if pd.isna(value) or math.isinf(value) else float(value)


def _word(value: Any) -> str:
    return "" if pd.isna(value) else str(value)


def _number(value: Any) -> float | None:
    return None if pd.isna(value) else float(value)
