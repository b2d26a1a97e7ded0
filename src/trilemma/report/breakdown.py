"""Accuracy and leakage of one model by group, by class, and by class and group: for the page and ``statement.json``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from trilemma.attacks.cells import by_cell, lacking
from trilemma.attacks.named import LEARNED
from trilemma.hints import listed
from trilemma.report.evidence import OneModel
from trilemma.statistics.intervals import binomial_interval
from trilemma.words import clean, counted, spelled


@dataclass(frozen=True)
class Breakdown:
    """Entries of ``statement.json``, each a dictionary with these keys:

    ``class`` and ``group``, one of them or both; ``accuracy`` on the ``examples`` outside the training set, with
    ``accuracy_interval``; the headline attack's ``auc`` among the ``members`` and ``nonmembers`` that are compared,
    with ``auc_interval``, both None where there are too few; ``reason``, which then says how many are needed.

    Attributes:
      groups: by group; empty without groups.
      classes: by class; without groups, the same as the cells.
      cells: by class and group, or by class.
    """

    groups: list[dict[str, Any]]
    classes: list[dict[str, Any]]
    cells: list[dict[str, Any]]

    @classmethod
    def of(cls, model: OneModel) -> Breakdown:
        """The breakdown of a run or an audit; AUCs and intervals are those of its result wherever it holds them."""
        result = model.result
        stored = result.get("cells") or {}
        by_class = _by_class_name(model, result.get("attacks_by_class") or {})
        if not model.signals["group"].notna().any():
            classes = _rows(model, ["label"], by_class)
            return cls([], classes, classes)
        both = _by_class_name(model, stored.get("by_class_and_group") or {})
        return cls(
            _rows(model, ["group"], result.get("attacks_by_group") or {}),
            _rows(model, ["label"], by_class),
            _rows(model, ["label", "group"], both),
        )


def _by_class_name(model: OneModel, parts: Mapping[str, Any]) -> dict[str, Any]:
    """Parts by the classes' names; an audit has them by their numbers."""
    names = model.class_names
    if model.kind != "audit" or names is None:
        return dict(parts)
    split = [(key.partition("/"), part) for key, part in parts.items()]
    return {f"{names[int(number)]}{slash}{group}": part for (number, slash, group), part in split}


def _rows(model: OneModel, keys: list[str], stored: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One entry for each part that has examples outside the training set."""
    table = model.signals
    leakage: dict[str, Any] | None = None
    rows = []
    for key, part in table.groupby(keys, dropna=False):
        outside = part[~part["member"]]
        if not len(outside):
            continue
        names = [_name(model, column, value) for column, value in zip(keys, key, strict=True)]
        name = "/".join(names)
        if name not in stored and leakage is None:
            leakage = _measured(model, keys)
        entry = stored[name] if name in stored else (leakage or {}).get(name, {"members": 0, "nonmembers": 0})
        accuracy = float((outside["predicted"] == outside["label"]).mean())
        rows.append(
            {
                **{{"label": "class"}.get(column, column): value for column, value in zip(keys, names, strict=True)},
                "accuracy": accuracy,
                "accuracy_interval": list(binomial_interval(accuracy, outside["source"].nunique())),
                "examples": len(outside),
                **_leakage(model, entry),
            }
        )
    return rows


def _leakage(model: OneModel, entry: Mapping[str, Any]) -> dict[str, Any]:
    attack = (entry.get("attacks") or {}).get(model.headline)
    known = {name: int(entry[name]) for name in ("members", "nonmembers")}
    if attack is None:
        reason = lacking(known["members"], known["nonmembers"]) or "not measured"
        return known | {"auc": None, "auc_interval": None, "reason": reason}
    return known | {"auc": attack["auc"], "auc_interval": list(attack["interval"]["auc"])}


def _measured(model: OneModel, keys: list[str]) -> dict[str, Any]:
    """The headline attack in each part, by name, measured from the signals, in the form of ``attacks_by_group``."""
    table, headline = model.signals, model.headline
    grouped = table.groupby(keys, dropna=False)
    parts = by_cell(
        table[f"score_{headline}"].to_numpy(np.float64),
        table["member"].to_numpy(bool),
        grouped.ngroup().to_numpy(np.int64),
        weights=table["weight"].to_numpy(np.float64),
        sources=table["source"].to_numpy(np.int64),
    )
    measured = {}
    for number, (key, _) in enumerate(grouped):
        if number not in parts:
            continue
        cell = parts[number]
        entry: dict[str, Any] = {"members": cell.members, "nonmembers": cell.nonmembers}
        if cell.roc is not None:
            roc = cell.roc.widened(LEARNED.get(headline, 1.0))
            entry["attacks"] = {headline: {"auc": roc.auc, "interval": {"auc": list(roc.auc_interval())}}}
        measured["/".join(_name(model, column, value) for column, value in zip(keys, key, strict=True))] = entry
    return measured


def _name(model: OneModel, column: str, index: Any) -> str:
    if pd.isna(index):
        return "none"
    names = model.class_names if column == "label" else model.group_names
    return str(names[int(index)]) if names else str(int(index))


def group_words(name: str) -> str:
    """A group's name in a sentence; a number is none.

    >>> group_words("gray"), group_words("1")
    ('gray', 'group 1')
    """
    return f"group {name}" if name.isdecimal() else spelled(name)


def excludes_one_half(part: Mapping[str, Any]) -> bool:
    """Whether the AUC of a part was measured, and its interval excludes one half."""
    return part["auc"] is not None and not part["auc_interval"][0] <= 0.5 <= part["auc_interval"][1]


def leakage_by_group(groups: Sequence[Mapping[str, Any]]) -> str:
    """A clause of the verdict: the AUC of every group, or of the lowest and highest of many; empty without groups.

    >>> entry = {"group": "g", "auc": 0.5, "auc_interval": [0.4, 0.6]}
    >>> leakage_by_group([entry, entry | {"group": "a", "auc": 0.62, "auc_interval": [0.55, 0.69]}])
    'by group it is 0.500 [0.400, 0.600] for g and 0.620 [0.550, 0.690] for a, and the interval for a excludes one \
half (of 2 groups)'
    >>> leakage_by_group([entry | {"auc": None, "reason": "needs 50 members, has 12"}])
    'by group it is unknown for g (needs 50 members, has 12)'
    """
    if not groups:
        return ""
    measured = sorted((group for group in groups if group["auc"] is not None), key=lambda group: float(group["auc"]))
    if len(measured) > 3:
        low, high = (f"{group['auc']:.3f} for {group_words(group['group'])}" for group in (measured[0], measured[-1]))
        return f"by group it lies between {low} and {high}"
    words = [
        f"{g['auc']:.3f} [{g['auc_interval'][0]:.3f}, {g['auc_interval'][1]:.3f}] for {group_words(g['group'])}"
        for g in measured
    ]
    words += [f"unknown for {group_words(g['group'])} ({g['reason']})" for g in groups if g["auc"] is None][:3]
    telling = [group_words(group["group"]) for group in measured if excludes_one_half(group)]
    those = f"interval for {telling[0]} excludes" if len(telling) == 1 else f"intervals for {listed(telling)} exclude"
    of = f" (of {len(measured)} groups)" if telling and len(measured) > 1 else ""
    return f"by group it is {listed(words)}{f', and the {those} one half{of}' if telling else ''}"


Cell = tuple[str, str]
"""A value and, in small type next to it, its interval."""


def table_of(parts: Breakdown, things: str) -> tuple[list[str], list[list[Cell]]]:
    """Heads and rows of the page's table: first the groups, then each class and its groups.

    Args:
      parts: what was measured of each.
      things: what the model classifies, in the plural.
    """
    heads = ("accuracy", "AUC", f"test {things}")
    if not parts.groups:
        return ["class", *heads], [[(clean(cell["class"]), ""), *_values(cell)] for cell in parts.cells]
    rows = [[("all", ""), (spelled(group["group"]), ""), *_values(group)] for group in parts.groups]
    for part in parts.classes:
        rows.append([(clean(part["class"]), ""), ("all", ""), *_values(part)])
        own = [cell for cell in parts.cells if cell["class"] == part["class"]]
        rows += [[(clean(cell["class"]), ""), (spelled(cell["group"]), ""), *_values(cell)] for cell in own]
    return ["class", "group", *heads], rows


def _values(part: Mapping[str, Any]) -> list[Cell]:
    low, high = (f"{100 * end:.0f}" for end in part["accuracy_interval"])
    auc = ("–", f"has {counted(part['members'], 'member')} and {counted(part['nonmembers'], 'non-member')}")
    if part["auc"] is not None:
        auc = (f"{part['auc']:.3f}", f"[{part['auc_interval'][0]:.3f},\u00a0{part['auc_interval'][1]:.3f}]")
    return [(f"{100 * part['accuracy']:.0f}\u00a0%", f"[{low},\u00a0{high}]"), auc, (f"{part['examples']:,}", "")]
