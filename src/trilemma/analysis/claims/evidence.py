"""The results as claims read them, and the place in them of every number that a finding uses."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from trilemma.analysis.comparison import Comparison
from trilemma.analysis.conditions import Condition, Measured, finished, measured
from trilemma.analysis.pairs import Pair, Pairs

ATTACK = "auc_threshold"

STRONGEST = "auc_strongest"


class Table:
    """The results of a folder; each measure is read once."""

    def __init__(self, results: pd.DataFrame, study: Mapping[str, Any] | None) -> None:
        self.finished = finished(results).astype({"measure": object, "cell": object})  # comparisons are faster
        self.during_training = results[results["update"].notna()]
        self.study: Mapping[str, Any] = {} if study is None else study
        self._read: dict[str, Measured] = {}
        self._trials: dict[str, set[str]] = {}
        for names, trial in self.finished[["studies", "trial"]].drop_duplicates().itertuples(index=False):
            for name in str(names).split():
                self._trials.setdefault(name, set()).add(str(trial))

    def measured(self, measure: str) -> Measured:
        """One measure in the finished trials, read once."""
        if measure not in self._read:
            self._read[measure] = measured(self.finished, measure)
        return self._read[measure]

    def pairs(self, measure: str, pairs_of: Callable[[Measured], Pairs]) -> Pairs:
        """Pairs within each study; of pairs that ask the same in the same words, the one from the largest family.

        (A trial may be in several studies, and two studies may train nearly the same: neither counts twice.)
        """
        measurements = self.measured(measure)
        largest: dict[tuple[Any, ...], Pair] = {}
        notes: list[str] = []
        for trials in self._trials.values():
            pairs, missing = pairs_of(measurements.among(trials).told_apart(self.study))
            notes += missing
            for pair in pairs:
                condition = measurements.conditions[pair.condition]
                key = (pair.question, pair.setting, pair.change, pair.base, condition.examples, condition.model)
                if key not in largest or len(pair.block) > len(largest[key].block):
                    largest[key] = pair
        return list(largest.values()), list(dict.fromkeys(notes))


def evidence_of_both(measurements: Measured, compared: Comparison) -> list[dict[str, Any]]:
    """Evidence of a comparison: one entry for each of its two conditions."""
    pair = compared.pair
    sides = ((pair.condition, pair.change), (pair.against, pair.base))
    return [evidence_of(measurements, condition, role, compared.seeds) for condition, role in sides]


def evidence_of(
    measurements: Measured, condition: str, role: str, seeds: Sequence[int] | None = None
) -> dict[str, Any]:
    """The values of one condition, and where they stand in ``results.csv`` (see ``Finding.evidence``)."""
    seeds = sorted(measurements.values[condition]) if seeds is None else list(seeds)
    return {
        "role": role,
        **condition_record(measurements.conditions[condition]),
        "measure": measurements.name_in_results(condition),
        "seeds": seeds,
        "trials": [measurements.trials[condition][seed] for seed in seeds],
        "values": [measurements.values[condition][seed] for seed in seeds],
    }


def condition_record(condition: Condition) -> dict[str, Any]:
    """A condition in words and by its columns, as evidence holds it."""
    columns = ("data", "skew", "target", "protected", "examples", "model", "techniques", "removed", "removal")
    return {
        "cell": condition.id,
        "about": str(condition),
        **{name: getattr(condition, name) for name in columns},
        "epsilon": condition.epsilon,
    }


def distinct(entries: Iterable[dict[str, Any]]) -> tuple[dict[str, Any], ...]:
    """The entries without repetitions, in their order."""
    unique: list[dict[str, Any]] = []
    for entry in entries:
        if entry not in unique:
            unique.append(entry)
    return tuple(unique)


def values_by_seed(measurements: Measured, condition: str) -> list[float]:
    """A condition's values in ascending order of seeds; empty where it was not measured."""
    by_seed = measurements.values.get(condition, {})
    return [by_seed[seed] for seed in sorted(by_seed)]


def seed_words(values: Sequence[float]) -> str:
    """The number of seeds in words."""
    return "one seed" if len(values) == 1 else f"{len(values)} seeds"
