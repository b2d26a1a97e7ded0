"""Read results for claims."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import replace
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
        """Pairs within each study; of those that compare the same two conditions, or that nothing that is known tells
        apart, the one from the largest family, so that nothing counts twice because it is in two studies."""
        measurements = self.measured(measure)
        pairs: list[Pair] = []
        conditions: dict[str, Condition] = {}
        notes: list[str] = []
        for trials in self._trials.values():
            within = measurements.among(trials).told_apart(self.study)
            of_study, missing = pairs_of(within)
            pairs += of_study
            notes += missing
            conditions |= within.conditions
        pairs = _largest(pairs, lambda pair: (pair.condition, pair.against))
        pairs = _largest(_distinct(pairs, conditions), lambda pair: _words(pair, conditions))
        return pairs, list(dict.fromkeys(notes))


def _largest(pairs: Iterable[Pair], key: Callable[[Pair], Hashable]) -> list[Pair]:
    """Of pairs with the same key, the first from the largest family."""
    largest: dict[Hashable, Pair] = {}
    for pair in pairs:
        if len(pair.block) > len(largest.setdefault(key(pair), pair).block):
            largest[key(pair)] = pair
    return list(largest.values())


def _words(pair: Pair, conditions: Mapping[str, Condition]) -> tuple[Hashable, ...]:
    condition = conditions[pair.condition]
    return pair.question, pair.where, pair.change, pair.base, condition.examples, condition.model


def _distinct(pairs: Sequence[Pair], conditions: Mapping[str, Condition]) -> list[Pair]:
    """The pairs of several studies; those that are alike in words say what tells their conditions apart."""
    groups: dict[Hashable, list[Pair]] = {}
    for pair in pairs:
        groups.setdefault(_words(pair, conditions), []).append(pair)

    def more(words: str, condition: str, others: Iterable[str]) -> str:
        told = [conditions[other].distinction for other in others]
        differ = [
            said
            for key, said in conditions[condition].distinction.items()
            if said and any(other.get(key) != said for other in told)
        ]
        return f"{words} ({', '.join(differ)})" if differ else words

    distinct = []
    for pair in pairs:
        alike = groups[_words(pair, conditions)]
        change = more(pair.change, pair.condition, (other.condition for other in alike))
        base = more(pair.base, pair.against, (other.against for other in alike))
        distinct.append(replace(pair, change=change, base=base))
    return distinct


def evidence_of_both(measurements: Measured, compared: Comparison) -> list[dict[str, Any]]:
    """Evidence of a comparison: one entry for each of its two conditions."""
    pair = compared.pair
    sides = ((pair.condition, pair.change), (pair.against, pair.base))
    return [evidence_of(measurements, condition, role, compared.seeds) for condition, role in sides]


def evidence_of(
    measurements: Measured, condition: str, role: str, seeds: Sequence[int] | None = None
) -> dict[str, Any]:
    """The values of one condition, and where they are in ``results.csv`` (see ``Finding.evidence``)."""
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
