"""Means over seeds for each condition, with intervals for the mean over other seeds."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from trilemma.analysis.conditions import DESCRIPTION, check_columns, check_once, conditions_of, finished
from trilemma.errors import InputError
from trilemma.measures import measure_range
from trilemma.statistics.intervals import mean_interval, repeated

_ROUNDING = 1e-9


def summarize(
    results: pd.DataFrame, measures: Iterable[str] | None = None, *, during_training: bool = False
) -> pd.DataFrame:
    """A row per condition and measure: the mean over seeds, its interval, and the values it comes from.

    The interval is Student's t over the n >= 2 seeds, mean +- t(n - 1) sd / sqrt(n), cut at the ends of the measure's
    range.  It covers the mean of many trainings on these test examples, which all seeds share; it does not cover other
    test examples.  It assumes normally distributed values; where a measure is at an end of its range (with a budget so
    small that nothing is learned) or is a small count, look at the values themselves.  With one seed, the interval is
    that trial's own over examples, which says nothing about other trainings; ``interval_over`` says which kind it is.
    The same applies where seeds repeat one training (a linear head on fixed features, every example in every update, no
    budget), because the spread over seeds would be 0 and meaningless.

    Args:
      results: some or all rows of a study's results.
      measures: names, or None for all.
      during_training: summarize what was measured during training, by update, instead of the finished trials.

    Returns:
      Columns ``cell``, those of ``conditions.DESCRIPTION``, ``studies``, ``update`` (only during training),
      ``measure``, ``unit``, ``better``, ``covered`` (if the results have these), ``mean``, ``low``, ``high``, ``sd``
      (NaN with one seed), ``seeds`` (how many), ``interval_over`` ("seeds", "examples", or "" where there is no
      interval), ``by_seed`` (dict of value by seed, in the order of the seeds) and ``missing`` (tuple of seeds whose
      trial has no value); in the order of the results.

    Raises:
      InputError: columns are missing, a condition has two descriptions, a seed occurs twice in one condition, or a
        value lies outside its measure's range.
    """
    check_columns(results)
    rows = results[results["update"].notna()] if during_training else finished(results)
    if measures is not None:
        rows = rows[rows["measure"].isin(list(measures))]
    keys = ["cell", "measure", *(["update"] if during_training else [])]
    check_once(rows, keys)
    conditions_of(rows)
    _check_range(rows)
    groups = _group_counts(results)
    optional = [name for name in ("unit", "better", "covered") if name in rows.columns]
    shared = rows.drop_duplicates(keys)[["cell", *DESCRIPTION, "studies", *keys[2:], "measure", *optional]]
    taken: dict[tuple[Any, ...], list[_Value]] = {}
    columns = ("seed", "value", "low", "high")
    for key, *numbers in zip(zip(*(rows[k] for k in keys), strict=True), *(rows[c] for c in columns), strict=True):
        taken.setdefault(key, []).append(_Value(int(numbers[0]), *(float(number) for number in numbers[1:])))
    # A dict keeps the order in which its keys came, which is that of ``shared``.
    rows_over_seeds = [_over_seeds(values, measure_range(key[1], groups.get(key[0]))) for key, values in taken.items()]
    statistics = pd.DataFrame(rows_over_seeds, columns=list(_STATISTICS), index=shared.index)
    return pd.concat([shared, statistics], axis=1).reset_index(drop=True)


class _Value(NamedTuple):
    seed: int
    value: float
    low: float
    high: float


_STATISTICS = ("mean", "low", "high", "sd", "seeds", "interval_over", "by_seed", "missing")


def _over_seeds(trials: list[_Value], ends: tuple[float, float]) -> tuple[Any, ...]:
    """The values of ``_STATISTICS``."""
    measured = sorted(value for value in trials if not math.isnan(value.value))
    missing = tuple(sorted(value.seed for value in trials if math.isnan(value.value)))
    by_seed = {value.seed: value.value for value in measured}
    values = np.array(list(by_seed.values()))
    if len(values) == 0:
        return math.nan, math.nan, math.nan, math.nan, 0, "", by_seed, missing
    mean, low, high, sd, over = float(values.mean()), measured[0].low, measured[0].high, math.nan, "examples"
    if len(values) > 1:
        over = "seeds"
        low = high = math.nan
        if np.isfinite(values).all():
            sd = float(values.std(ddof=1))
            low, high = mean_interval(values)
            low, high = max(low, ends[0]), min(high, ends[1])
            if repeated(values) and measured[0].high - measured[0].low > high - low:
                low, high, over = measured[0].low, measured[0].high, "examples"
    return mean, low, high, sd, len(values), "" if math.isnan(low + high) else over, by_seed, missing


def _group_counts(results: pd.DataFrame) -> dict[str, int]:
    """The number of groups of each condition, from the measures that occur once per group."""
    rows = results[results["measure"].str.startswith("accuracy_in_")]
    counts = rows.groupby("cell")["measure"].nunique()
    return {str(condition): int(count) for condition, count in counts.items()}


def _check_range(rows: pd.DataFrame) -> None:
    ends = {measure: measure_range(measure) for measure in rows["measure"].unique()}
    least = rows["measure"].map({name: low - _ROUNDING for name, (low, _) in ends.items()}).astype(float)
    most = rows["measure"].map({name: high + _ROUNDING for name, (_, high) in ends.items()}).astype(float)
    wrong = rows[(rows["value"] < least) | (rows["value"] > most)]
    if len(wrong):
        row = wrong.iloc[0]
        low, high = ends[row["measure"]]
        raise InputError(
            f"{row['measure']} of trial {row['trial']} is {row['value']:g}, outside [{low:g}, {high:g}]: "
            "give fractions, not percent"
        )
