"""Attack success by class and group, and whether it exceeds what a budget allows, as ``audit.json`` records both.

See :mod:`trilemma.attacks.cells` for the two thresholds and the test of equal vulnerability.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trilemma.attacks.audit import Audit
from trilemma.attacks.cells import Cell, by_cell, equal_vulnerability
from trilemma.attacks.named import LEARNED
from trilemma.attacks.predictions import Predictions
from trilemma.attacks.rates import Rate
from trilemma.errors import InputError
from trilemma.measures import HEADLINE_FPR
from trilemma.seeds import rng_for
from trilemma.statistics.intervals import binomial_interval
from trilemma.words import spelled

Ints = NDArray[np.int64]


def exposure(predictions: Predictions, audited: Audit, *, permutations: int = 999) -> dict[str, Any]:
    """Each attack's success by class, by group, and by class and group.

    Args:
      predictions: what was audited.
      audited: the audit of them.
      permutations: the number of permutations in the test of equal vulnerability.

    Returns:
      ``{"fpr", "by_class", "by_group", "by_class_and_group", "equal_vulnerability"}``: cells by the class's number, the
      group's name, or "class/group"; without groups, two of them are None.  A cell is ``{"members", "nonmembers",
      "attacks": {name: {"auc", "tpr_own", "tpr_global", "fpr_global", "interval": {"auc", "tpr_own", "tpr_global",
      "fpr_global"}[, "reason"]}}}``, or ``{"members", "nonmembers", "too_few": True}``.  The intervals of the last two
      are given the threshold: unlike that of "tpr_own", they leave out the threshold's own uncertainty.  All intervals
      of learned attacks are wider by the factor in ``LEARNED``.  The test is made of the headline attack alone, which
      is named before its numbers are seen, on the finest cells of which two are large enough; ``{"reason"}`` says why
      there is none.
    """
    labels, groups = predictions.labels, predictions.groups
    partitions: dict[str, tuple[Ints, dict[int, str]] | None] = {
        "by_class": (labels, {int(label): str(label) for label in np.unique(labels)}),
        "by_group": None,
        "by_class_and_group": None,
    }
    if groups is not None:
        count = int(groups.max()) + 1
        names = {int(group): predictions.name_of_group(int(group)) for group in np.unique(groups)}
        both = labels * count + groups
        partitions["by_group"] = groups, names
        partitions["by_class_and_group"] = (
            both,
            {int(cell): f"{cell // count}/{names[int(cell % count)]}" for cell in np.unique(both)},
        )
    cells = {
        kind: None if part is None else _cells(predictions, audited, *part, kind) for kind, part in partitions.items()
    }
    finest = next((kind for kind in _FINEST_FIRST if _comparable(cells[kind]) > 1), "by_class")
    part = partitions[finest]
    assert part is not None
    return {
        "fpr": HEADLINE_FPR,
        **cells,
        "equal_vulnerability": _test(predictions, audited, *part, finest, permutations),
    }


def cell_words(cell: str, kind: str, class_names: Sequence[str] | None) -> str:
    """A cell of :func:`exposure`, whose class is a number, with the name of its class.

    >>> cell_words("1/gray", "class_and_group", ["cat", "dog"]), cell_words("1", "class", ["cat", "dog"])
    ('dog/gray', 'dog')
    >>> cell_words("1/gray", "group", ["cat", "dog"]), cell_words("1", "class", None)
    ('1/gray', '1')
    >>> cell_words("1/colour", "class_and_group", None), cell_words("colour", "group", None)
    ('1/color', 'color')

    Args:
      cell: its key.
      kind: "class", "group" or "class_and_group".
      class_names: the names, where they are known.
    """
    if kind == "group":
        return spelled(cell)
    number, slash, group = cell.partition("/")
    return f"{number if class_names is None else class_names[int(number)]}{slash}{spelled(group)}"


_FINEST_FIRST = ("by_class_and_group", "by_class", "by_group")


def _comparable(cells: dict[str, Any] | None) -> int:
    """How many cells have enough examples."""
    return sum("attacks" in entry for entry in (cells or {}).values())


def _cells(predictions: Predictions, audited: Audit, cells: Ints, names: dict[int, str], kind: str) -> dict[str, Any]:
    table: dict[str, dict[str, Any]] = {}
    for attack, scores in audited.scores.items():
        parts = by_cell(
            scores,
            predictions.member,
            cells,
            fpr=HEADLINE_FPR,
            weights=audited.weights,
            sources=predictions.sources,
            seed=rng_for(audited.seed, f"bootstrap/{kind}"),
            resamples=audited.resamples,
        )
        for number, cell in parts.items():
            entry = table.setdefault(names[number], {"members": cell.members, "nonmembers": cell.nonmembers})
            if cell.roc is None:
                entry["too_few"] = True
            else:
                entry.setdefault("attacks", {})[attack] = _entry(cell, LEARNED.get(attack, 1.0))
    # The audit has the AUCs of classes and groups already, and one number has one interval.
    known = {"by_class": audited.by_class, "by_group": audited.by_group or {}}.get(kind, {})
    for name, entry in table.items():
        for attack, values in entry.get("attacks", {}).items():
            same = known.get(name, {}).get("attacks", {}).get(attack)
            if same is not None:
                values["interval"]["auc"] = same["interval"]["auc"]
    return table


def _entry(cell: Cell, factor: float) -> dict[str, Any]:
    assert cell.roc is not None
    assert cell.own is not None
    roc, own = cell.roc.widened(factor), cell.own.widened(factor)
    by_all = cell.global_true
    ends = None if by_all is None else binomial_interval(by_all, cell.members)
    at_all = Rate(HEADLINE_FPR, by_all, ends).widened(factor)
    falsely = cell.global_false
    ends = None if falsely is None else binomial_interval(falsely, cell.nonmembers)
    accused = Rate(HEADLINE_FPR, falsely, ends).widened(factor)
    return {
        "auc": roc.auc,
        "tpr_own": own.value,
        "tpr_global": by_all,
        "fpr_global": cell.global_false,
        **({} if own.reason is None else {"reason": own.reason}),
        "interval": {
            "auc": list(roc.auc_interval()),
            "tpr_own": None if own.interval is None else list(own.interval),
            "tpr_global": None if at_all.interval is None else list(at_all.interval),
            "fpr_global": None if accused.interval is None else list(accused.interval),
        },
    }


def _test(
    predictions: Predictions, audited: Audit, cells: Ints, names: dict[int, str], kind: str, permutations: int
) -> dict[str, Any]:
    selected = predictions.counted if audited.weights is None else audited.weights > 0
    try:
        test = equal_vulnerability(
            audited.scores[audited.headline][selected],
            predictions.member[selected],
            cells[selected],
            permutations=permutations,
            seed=rng_for(audited.seed, "equal vulnerability"),
        )
    except InputError as error:
        return {"reason": str(error)}
    return {
        "attack": audited.headline,
        "cells": kind.removeprefix("by_"),
        "p_value": test.p_value,
        "statistic": test.statistic,
        "most_unequal": names[test.cell],
        "rejected": test.rejected(),
        "permutations": permutations,
    }


def ceiling_alarms(attacks: Mapping[str, Mapping[str, Any]], ceiling: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    """Every measure of an attack whose interval lies above what the budget allows any attack.

    Where there is one, accounting, sampling or noise is wrong, or members differ from non-members in more than
    membership.  Intervals are at 95 %, so that an attack that reaches its ceiling is above it in one case of forty.

    Args:
      attacks: as in ``result.json``.
      ceiling: ``privacy.ceiling`` of ``result.json``, or None without a budget.

    >>> entry = {"auc": 0.9, "advantage": 0.5, "tpr_at_fpr": {"0.01": None},
    ...     "interval": {"auc": [0.88, 0.92], "advantage": [0.4, 0.6], "tpr_at_fpr": {"0.01": None}}}
    >>> ceiling_alarms({"rmia": entry}, {"auc": 0.7, "advantage": 0.45, "tpr_at_fpr": {"0.01": 0.1}})
    [{'attack': 'rmia', 'measure': 'auc', 'low': 0.88, 'ceiling': 0.7}]
    """
    if ceiling is None:
        return []
    alarms = []
    for name, attack in attacks.items():
        ends = attack["interval"]
        measured = [("auc", ends["auc"], ceiling["auc"]), ("advantage", ends["advantage"], ceiling["advantage"])]
        measured += [
            (f"tpr_at_fpr {rate}", ends["tpr_at_fpr"].get(rate), bound) for rate, bound in ceiling["tpr_at_fpr"].items()
        ]
        alarms += [
            {"attack": name, "measure": measure, "low": interval[0], "ceiling": bound}
            for measure, interval, bound in measured
            if interval is not None and interval[0] > bound
        ]
    return alarms
