"""Conditions: all that defines a trial but its seed; and the values of one measure by condition and seed."""

from __future__ import annotations

import math
from collections.abc import Callable, Container, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import numpy as np
import pandas as pd

from trilemma.data.named import same_images
from trilemma.errors import InputError
from trilemma.measures import UNMATCHED
from trilemma.techniques import PAPER_TECHNIQUES
from trilemma.titles import (
    beside_techniques,
    has_effect,
    joined,
    settings_key,
    settings_of,
    telling,
    told_apart,
    wording,
    words_of,
)
from trilemma.words import budget_order, condition_title, mix

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
    "rank",
)
"""The columns of the results that describe a condition; its id (``cell``) also reflects all other settings."""

NEEDED = (*DESCRIPTION, "trial", "studies", "seed", "cell", "update", "measure", "value", "low", "high")
"""The columns of the results that the analysis reads."""


@dataclass(frozen=True)
class Condition:
    """What the trials of all seeds share.

    Attributes:
      id: a hash of recipe, data and removal without the seed, equal for two trials of one condition; the column
        ``cell`` of the results.
      data, target, protected, model, removal, rank: as in the results; "" where it does not apply.
      skew: share of a class in its dominant group, or None.
      examples: training examples, after any removal.
      techniques: codes in the paper's order joined by "+", "bl" for none.
      epsilon: None without a budget.
      delta: None without a budget.
      removed: share of the training examples that was left out.
      variant: what distinguishes it from conditions with the same description, or with one that differs in techniques
        alone ("learning_rate 0.1"), or "".
      distinction: what its title says beside, so that it is no other trial's, by setting
        (:func:`trilemma.titles.told_apart`).
      settings: all of its recipe, data and removal but the seed, as ``study.json`` has them; empty where that is not
        known.
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
    rank: str = ""
    variant: str = ""
    distinction: Mapping[str, str] = field(default_factory=dict, compare=False)
    settings: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)

    @property
    def private(self) -> bool:
        """Whether its models were trained with a budget."""
        return self.epsilon is not None

    @property
    def codes(self) -> tuple[str, ...]:
        """The techniques, () for the baseline."""
        return () if self.techniques == "bl" else tuple(self.techniques.split("+"))

    @property
    def title(self) -> str:
        """What its trials are called, but for the seed."""
        return condition_title(
            data=self.data,
            skew=self.skew,
            target=self.target,
            protected=self.protected,
            techniques=self.codes,
            epsilon=self.epsilon,
            removed=self.removed,
            removal=self.removal,
            rank=self.rank,
            distinction=joined(self.distinction),
        )

    @property
    def technique_words(self) -> str:
        """The techniques as the subject of a sentence: ``all techniques``, or the mix as in a title."""
        return "all techniques" if self.codes == PAPER_TECHNIQUES else mix(self.codes)

    def __str__(self) -> str:
        return self.title


@dataclass(frozen=True, eq=False)
class Measured:
    """One measure in finished trials.

    Attributes:
      measure: its name.
      conditions: by id, in the order of the results.
      values: by condition and seed; values that a trial lacks are left out.
      trials: id of the trial that each value comes from, by condition and seed.
      stands_for: by condition, the name of its values in the results, where that name is a different one.
      study: ``study.json``, or nothing where it is not known.
    """

    measure: str
    conditions: Mapping[str, Condition]
    values: Mapping[str, Mapping[int, float]]
    trials: Mapping[str, Mapping[int, str]]
    stands_for: Mapping[str, str] = field(default_factory=dict)
    study: Mapping[str, Any] = field(default_factory=dict)

    def name_in_results(self, condition: str) -> str:
        """The name of a condition's values in the results."""
        return self.stands_for.get(condition, self.measure)

    def where(self, holds: Callable[[Condition], bool]) -> Measured:
        """Only the conditions for which ``holds`` is true."""
        return self._kept({name: self.trials[name] for name, condition in self.conditions.items() if holds(condition)})

    def among(self, trials: Container[str]) -> Measured:
        """Only the values of these trials."""
        remaining = {c: {seed: trial for seed, trial in by.items() if trial in trials} for c, by in self.trials.items()}
        return self._kept({condition: by for condition, by in remaining.items() if by})

    def told_apart(self, study: Mapping[str, Any]) -> Measured:
        """The same, with a ``variant`` for conditions of equal description, from their recipes in ``study.json``."""
        return replace(self, conditions=tell_apart(self.conditions, self.trials, study), study=study)

    def _kept(self, trials: Mapping[str, Mapping[int, str]]) -> Measured:
        conditions = {condition: self.conditions[condition] for condition in trials}
        values = {condition: {seed: self.values[condition][seed] for seed in by} for condition, by in trials.items()}
        return replace(self, conditions=conditions, values=values, trials=trials)

    def minus(self, other: Measured, name: str) -> Measured:
        """This measure minus another, trial by trial, under a name of its own; only trials that have both."""
        values = {
            condition: {
                seed: value - other.values[condition][seed]
                for seed, value in by.items()
                if seed in other.values[condition]
            }
            for condition, by in self.values.items()
            if condition in other.values
        }
        trials = {
            condition: {seed: self.trials[condition][seed] for seed in by} for condition, by in values.items() if by
        }
        return replace(self, measure=name, values=values, stands_for={})._kept(trials)

    def away_from(self, target: float) -> Measured:
        """The distances of the values from a target, |value - target|."""
        values = {c: {seed: abs(value - target) for seed, value in by.items()} for c, by in self.values.items()}
        return replace(self, values=values)


def measured(results: pd.DataFrame, measure: str, study: Mapping[str, Any] | None = None) -> Measured:
    """One measure's values by condition and seed.

    Where unmatched and matched non-members are the same (data without skewed groups), the results have only the matched
    measure; in such conditions, its values also count as those of the unmatched measure.

    Args:
      results: some or all rows of a study's results (``trilemma.analysis.results``).  Rows measured during training and
        values that are NaN are left out.
      measure: its name; if the results do not have it, there are no conditions.
      study: ``study.json``, for conditions that the columns of the results do not distinguish.

    Raises:
      InputError: columns are missing, a condition has two descriptions, or a seed occurs twice in one condition.
    """
    check_columns(results)
    names = results["measure"].to_numpy()
    present = results["update"].isna().to_numpy() & results["value"].notna().to_numpy()
    chosen, stands_for = present & (names == measure), dict[str, str]()
    if measure.endswith(UNMATCHED):
        matched = measure.removesuffix(UNMATCHED)
        conditions = results["cell"].to_numpy()
        same = present & (names == matched) & ~np.isin(conditions, conditions[chosen])
        stands_for = dict.fromkeys(conditions[same], matched)
        chosen |= same
    taken = results.loc[chosen, list(NEEDED)]
    check_once(taken, ["cell"])
    values: dict[str, dict[int, float]] = {}
    trials: dict[str, dict[int, str]] = {}
    for condition, seed, value, trial in zip(
        *(taken[name] for name in ("cell", "seed", "value", "trial")), strict=True
    ):
        values.setdefault(condition, {})[int(seed)] = float(value)
        trials.setdefault(condition, {})[int(seed)] = str(trial)
    measurements = Measured(measure, conditions_of(taken), values, trials, stands_for)
    return measurements if study is None else measurements.told_apart(study)


def finished(results: pd.DataFrame) -> pd.DataFrame:
    """The rows of finished trials; rows measured during training have a number in ``update``."""
    check_columns(results)
    return results[results["update"].isna()]


def of_study(results: pd.DataFrame, study: str) -> pd.DataFrame:
    """The rows of the trials in one study; a trial may be in several."""
    check_columns(results)
    return results[[study in str(names).split() for names in results["studies"]]]


def study_names(results: pd.DataFrame) -> tuple[str, ...]:
    """Names of the studies that the trials belong to, in order of appearance."""
    check_columns(results)
    return tuple(dict.fromkeys(name for names in results["studies"].unique() for name in str(names).split()))


def conditions_of(results: pd.DataFrame) -> dict[str, Condition]:
    """Conditions by id, in order of appearance.

    Raises:
      InputError: a condition has two descriptions, so that its trials cannot be averaged.  (The number of examples may
        differ between seeds where some were removed: ``examples`` is the first seed's.)
    """
    check_columns(results)
    conditions: dict[str, Condition] = {}
    known: set[tuple[Any, ...]] = set()
    columns = (results[column] for column in DESCRIPTION)
    for row in zip(results["cell"], *columns, strict=True):
        # NaN is unequal to itself, so that such a row would never count as known.
        key = tuple("" if value != value else value for value in row)
        if key in known:
            continue
        known.add(key)
        condition = _condition(row[0], dict(zip(DESCRIPTION, row[1:], strict=True)))
        first = conditions.setdefault(condition.id, condition)
        if condition == first or (condition.removed and replace(condition, examples=first.examples) == first):
            continue
        differ = [column for column in DESCRIPTION if getattr(condition, column) != getattr(first, column)]
        raise InputError(
            f"condition {condition.id} has two descriptions, which differ in {', '.join(differ)}: "
            "write the results again from the runs"
        )
    return conditions


def tell_apart(
    conditions: Mapping[str, Condition], trials: Mapping[str, Mapping[int, str]], study: Mapping[str, Any]
) -> dict[str, Condition]:
    """Conditions as the trials of a study: those with descriptions that are equal, or differ in techniques alone, have
    as ``variant`` what distinguishes their recipes and data beside; each has its settings, and what its title needs to
    be its own.

    Args:
      conditions: by id.
      trials: ids of each condition's trials, by seed.
      study: ``study.json``.
    """
    planned = study.get("trials", {})
    distinction, first = told_apart(planned), {name: next(iter(trials[name].values())) for name in conditions}
    settings = {name: settings_of(planned.get(first[name], {})) for name in conditions}
    words = wording(settings.values())
    # What may be compared (one network on the same images) says the same things of itself.
    comparable: dict[tuple[str, str], list[str]] = {}
    for name, condition in conditions.items():
        comparable.setdefault((same_images(condition.data), condition.model), []).append(name)
    own = {}
    for names in comparable.values():
        alike: dict[Condition, list[Mapping[str, Any]]] = {}
        beside: dict[Condition, list[Mapping[str, Any]]] = {}
        for name in names:
            described = replace(conditions[name], id="")
            alike.setdefault(described, []).append(settings[name])
            beside.setdefault(replace(described, techniques=""), []).append(beside_techniques(settings[name]))
        keys = telling([*alike.values(), *beside.values()])
        for name in names:
            own[name] = replace(
                conditions[name],
                variant=words_of(settings[name], keys, words),
                distinction=distinction.get(first[name], {}),
                settings=settings[name] if first[name] in planned else {},
            )
    return {name: own[name] for name in conditions}


_Condition = TypeVar("_Condition", bound=Condition)


def gathered(conditions: Iterable[_Condition], key: Callable[[_Condition], Hashable]) -> list[list[_Condition]]:
    """Conditions with the same key, in order."""
    groups: dict[Hashable, list[_Condition]] = {}
    for condition in conditions:
        groups.setdefault(key(condition), []).append(condition)
    return list(groups.values())


def shared_words(conditions: Iterable[Condition]) -> str:
    """Settings shared by all titles of these conditions, as one text (:func:`shared`)."""
    return joined(shared(conditions))


def shared(conditions: Iterable[Condition]) -> dict[str, str]:
    """Settings shared by all titles of these conditions: words of each that has one value wherever it has an effect."""
    conditions, words = list(conditions), dict[str, str]()
    for key in dict.fromkeys(key for condition in conditions for key in condition.distinction):
        effective = [c for c in conditions if has_effect(key, c.settings) and c.distinction.get(key) != ""]
        values = {settings_key({key: condition.settings.get(key)}) for condition in effective}
        said = {condition.distinction[key] for condition in effective if key in condition.distinction}
        if len(values) == len(said) == 1:
            words[key] = said.pop()
    return words


def check_columns(results: pd.DataFrame) -> None:
    """Refuse a table that lacks a column that the analysis reads, or that has a row without a condition."""
    missing = [name for name in NEEDED if name not in results.columns]
    if missing:
        raise InputError(f"the results lack the columns {', '.join(missing)}: read them with read_results")
    if results["cell"].isna().any():
        raise InputError("a row of the results names no condition: write them again from the runs")


def check_once(rows: pd.DataFrame, keys: Sequence[str]) -> None:
    """Refuse two rows that have the same seed and are equal in all ``keys``."""
    seen: dict[tuple[Any, ...], str] = {}
    columns = (rows[key] for key in (*keys, "seed"))
    for trial, measure, *key in zip(rows["trial"], rows["measure"], *columns, strict=True):
        if tuple(key) in seen:
            trials = " and ".join(dict.fromkeys((seen[tuple(key)], str(trial))))
            what = f"{measure} of condition {key[0]} and seed {key[-1]}"
            raise InputError(f"{what} occurs twice (trials {trials}): keep one of them")
        seen[tuple(key)] = str(trial)


def _condition(name: Any, row: Mapping[str, Any]) -> Condition:
    return Condition(
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
        rank=_word(row["rank"]),
    )


def epsilon_column(epsilon: float | None) -> float:
    """A budget as in the column ``epsilon`` of the results, where inf means no budget.  Elsewhere that is None."""
    return budget_order(epsilon)


def epsilon_of_column(value: Any) -> float | None:
    """Inverse of :func:`epsilon_column`."""
    return None if pd.isna(value) or math.isinf(value) else float(value)


def _word(value: Any) -> str:
    return "" if pd.isna(value) else str(value)


def _number(value: Any) -> float | None:
    return None if pd.isna(value) else float(value)
