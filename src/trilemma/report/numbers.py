"""The results of a study as figures and tables read them: conditions, and one number for each of their measures."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

import pandas as pd

from trilemma.analysis.conditions import Condition, conditions_of, shared_words, tell_apart
from trilemma.analysis.summary import summarize
from trilemma.data.named import same_images
from trilemma.titles import made_distinct, settings_of, telling, wording, words_of
from trilemma.words import clean, counted, examples_words, setting_words

NAN = float("nan")

FEW = 3
"""With fewer seeds, an interval says almost nothing: over two of them, Student's t reaches 12.7 standard errors."""


@dataclass(frozen=True)
class Number:
    """A mean over seeds, how sure it is, and where it comes from.

    Attributes:
      value, low, high: mean and 95 % interval; NaN ends where there is none.
      seeds: how many trainings.
      over: what the interval is over: "seeds", "examples" (of the one training) or "".
      measure, condition: as in ``results.csv``.
      trials: ids, there too.
      update: the update after which it was measured; NaN for finished trials.
      by_trial: the values that it is the mean of, in the order of ``trials``.
    """

    value: float
    low: float
    high: float
    seeds: int
    over: str
    measure: str
    condition: str
    trials: tuple[str, ...]
    update: float = NAN
    by_trial: tuple[float, ...] = ()

    @property
    def error_bar(self) -> tuple[float, float]:
        """The ends of what a figure draws around the value: its interval, or with ``FEW`` seeds the range of these.

        >>> Number(.5, -.77, 1.77, 2, "seeds", "accuracy", "c", ("a", "b"), by_trial=(.6, .4)).error_bar
        (0.4, 0.6)
        """
        if self.of_few:
            return min(self.by_trial), max(self.by_trial)
        return self.low, self.high

    @property
    def of_few(self) -> bool:
        """Whether the interval is over so few seeds that figures draw each seed in its place."""
        return self.over == "seeds" and self.seeds < FEW and len(self.by_trial) == self.seeds


@dataclass(frozen=True)
class PlacedCondition(Condition):
    """A condition, and its place among the others.

    Attributes:
      setting: data and network: conditions that differ only in techniques, budget and removal have equal settings, and
        share a panel.
      images: data but for its skew: conditions with equal images were trained on the same choice of the same images.
      options: the arguments of :func:`trilemma.load_data`.
      trials: ids, in the study's order.
    """

    setting: str = ""
    images: str = ""
    options: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)
    trials: tuple[str, ...] = ()


class Numbers:
    """All numbers of a table of results.

    Attributes:
      conditions: by id, in the study's order.
      measures: names of what was measured when trials were finished.
      flags: for each measure whether the guarantee ``covered`` it, its ``unit`` and which way is ``better``.
    """

    def __init__(self, results: pd.DataFrame, study: Mapping[str, Any]) -> None:
        """Summarize the results of finished trials.

        Args:
          results: as ``trilemma.analysis.results.read_results`` returns them.
          study: ``study.json``.

        Raises:
          InputError: the results are not such a table.
        """
        finished = results[results["update"].isna()]
        self.conditions = _conditions(results, study)
        self.measures = tuple(str(name) for name in finished["measure"].unique())
        self.flags = _flags(results)
        trials = results[["cell", "seed", "trial"]].drop_duplicates()
        self._trials = {(str(c), int(s)): str(t) for c, s, t in trials.itertuples(index=False)}
        self._sizes = _sizes(finished)
        self._found = {(n.condition, n.measure): n for n in self._numbers(summarize(finished))}
        self._way: dict[tuple[str, str], list[Number]] = {}
        self._histories = results[results["update"].notna()]
        if len(self._histories):
            for summary in self._numbers(summarize(_turns(self._histories), during_training=True)):
                self._way.setdefault((summary.condition, summary.measure), []).append(summary)

    def get(self, condition: Condition, measure: str) -> Number | None:
        """None where it was not measured."""
        number = self._found.get((condition.id, measure))
        return None if number is None or math.isnan(number.value) else number

    def measured_on(self, condition: Condition, measure: str) -> int | None:
        """How many examples a measure was taken on; None where that is unknown or differs between seeds."""
        return self._sizes.get((condition.id, measure))

    def during_training(self, condition: Condition, measure: str) -> list[Number]:
        """One number for each evaluation, in order."""
        return sorted(self._way.get((condition.id, measure), []), key=lambda number: number.update)

    def measured_during_training(self, condition: Condition) -> tuple[str, ...]:
        """The names of the measures that were taken during a condition's trainings."""
        return tuple(measure for name, measure in self._way if name == condition.id)

    def histories(self, condition: Condition) -> dict[str, pd.DataFrame]:
        """The rows that were measured during training, by trial."""
        rows = self._histories[self._histories["cell"] == condition.id]
        return {str(trial): part for trial, part in rows.groupby("trial", sort=False)}

    def _numbers(self, summary: pd.DataFrame) -> Iterable[Number]:
        updates = summary["update"] if "update" in summary.columns else [NAN] * len(summary)
        columns = [summary[c] for c in ("mean", "low", "high", "seeds", "interval_over", "measure", "cell", "by_seed")]
        for mean, low, high, seeds, over, measure, condition, by_seed, update in zip(*columns, updates, strict=True):
            trials = tuple(self._trials[str(condition), seed] for seed in by_seed)
            each = tuple(float(value) for value in by_seed.values())
            yield Number(
                mean, low, high, int(seeds), str(over), str(measure), str(condition), trials, float(update), each
            )


def setting_titles(conditions: Iterable[PlacedCondition]) -> dict[str, str]:
    """A title for each setting, no two alike, as short as it can be among these."""
    chosen: dict[str, PlacedCondition] = {}
    same: dict[str, list[PlacedCondition]] = {}
    for condition in conditions:
        same.setdefault(condition.setting, []).append(condition)
        # The whole training set names the setting, not what a removal left of it.
        if condition.setting not in chosen or condition.examples > chosen[condition.setting].examples:
            chosen[condition.setting] = condition
    titles = {key: setting_words(c.data, c.skew, c.target, c.protected) for key, c in chosen.items()}
    data = {key: settings_of({"data": c.options, "recipe": {"model": c.model}}) for key, c in chosen.items()}
    words = wording(data.values())
    keys = telling([[data[key] for key in chosen if titles[key] == title] for title in set(titles.values())])
    return made_distinct(
        titles,
        {key: clean(shared_words(same[key])) for key in chosen},
        {key: clean(words_of(data[key], keys, words)) for key in chosen},
        {key: examples_words(c.examples) for key, c in chosen.items()},
        {key: clean(c.variant) for key, c in chosen.items()},
        {key: f"({position})" for position, key in enumerate(chosen, 1)},
    )


def study_order(study: Mapping[str, Any]) -> list[str]:
    """Ids of all trials of ``study.json``, study by study."""
    order = [name for part in study.get("studies", {}).values() for name in part.get("trials", ())]
    return list(dict.fromkeys([*order, *study.get("trials", {})]))


def interval_words(numbers: Iterable[Number]) -> str:
    """What the intervals of these numbers are over, as a sentence; empty where none has one.

    >>> interval_words([Number(.5, .4, .6, 3, "seeds", "accuracy", "c", ("a", "b", "c"))])
    'Intervals: 95 %, Student’s t over 3 seeds.'
    """
    known = [n for n in numbers if not math.isnan(n.low)]
    counts = {n.seeds for n in known if n.over == "seeds" and not n.of_few}
    few = {n.seeds for n in known if n.of_few}
    words = []
    if counts:
        seeds = counted(max(counts), "seed") if len(counts) == 1 else f"{min(counts)} to {max(counts)} seeds"
        words.append(f"Student’s t over {seeds}")
    if any(n.over == "examples" for n in known):
        words.append("over test examples (by bootstrap, and exact near 0 and 1) where there is one training only")
    sentences = [f"Intervals: 95 %, {'; '.join(words)}."] if words else []
    if few:
        who = f"{counted(max(few), 'seed')}{', where there are no more' if words else ''}"
        sentences.append(f"A line through a point leads from one seed to the other ({who}) and is not an interval.")
    return " ".join(sentences)


def _conditions(results: pd.DataFrame, study: Mapping[str, Any]) -> dict[str, PlacedCondition]:
    planned = study.get("trials", {})
    place = {name: position for position, name in enumerate(study_order(study))}
    trials: dict[str, list[str]] = {}
    pairs = results[["trial", "cell"]].drop_duplicates().itertuples(index=False)
    for trial, condition in sorted(pairs, key=lambda pair: place.get(pair[0], len(place))):
        trials.setdefault(str(condition), []).append(str(trial))
    by_seed = {name: dict(enumerate(ids)) for name, ids in trials.items()}
    plain = tell_apart(conditions_of(results), by_seed, study)
    placed: dict[str, PlacedCondition] = {}
    for name, ids in trials.items():
        condition = plain[name]
        described = {option: getattr(condition, option) for option in ("skew", "target", "protected")}
        options = planned.get(ids[0], {}).get("data") or {"name": condition.data, **described}
        unskewed = {key: value for key, value in options.items() if key != "skew"}
        images = json.dumps(unskewed | {"name": same_images(condition.data)}, sort_keys=True, default=str)
        setting = json.dumps([options, condition.model, condition.variant], sort_keys=True, default=str)
        shared = {f.name: getattr(condition, f.name) for f in fields(Condition)}
        placed[name] = PlacedCondition(**shared, setting=setting, images=images, options=options, trials=tuple(ids))
    return placed


def _sizes(finished: pd.DataFrame) -> dict[tuple[str, str], int]:
    """The column n by condition and measure, where all seeds have the same."""
    counts = finished.groupby(["cell", "measure"], sort=False)["n"].agg(["min", "max"])
    same = counts[(counts["min"] == counts["max"]) & counts["min"].notna()]
    return {(str(cell), str(measure)): int(n) for (cell, measure), n in same["min"].items()}


def _flags(results: pd.DataFrame) -> dict[str, dict[str, Any]]:
    first = results.drop_duplicates("measure")
    return {
        str(measure): {
            "covered": bool(covered),
            "unit": "" if pd.isna(unit) else str(unit),
            "better": "" if pd.isna(better) else str(better),
        }
        for measure, covered, unit, better in first[["measure", "covered", "unit", "better"]].itertuples(index=False)
    }


def _turns(way: pd.DataFrame) -> pd.DataFrame:
    """The k-th evaluations of a condition's seeds at one update, their mean.

    Seeds may differ in where they were evaluated (a batch size that was measured differs) but not in how often; what
    only some of them have at the end (of a run that was measured more often) is left out.
    """
    rows = way.dropna(subset=["value"]).sort_values(["trial", "update"], kind="stable")
    turn = rows.groupby(["trial", "measure"]).cumcount()
    often = rows.groupby(["trial", "measure"])["value"].transform("size")
    least = often.groupby([rows["cell"], rows["measure"]]).transform("min")
    rows, turn = rows[turn < least], turn[turn < least]
    return rows.assign(
        update=rows["update"].astype(float).groupby([rows["cell"], rows["measure"], turn]).transform("mean")
    )
