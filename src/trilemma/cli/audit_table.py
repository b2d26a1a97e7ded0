"""The numbers of ``audit.json`` as a table for spreadsheets, and its cells as lines for the terminal."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from trilemma.attacks.cells import TOO_FEW, lacking
from trilemma.attacks.exposure import cell_words
from trilemma.cli.table import interval
from trilemma.hints import listed
from trilemma.measures import HEADLINE_FPR, MEASURES, SHADOW_ATTACKS
from trilemma.words import clean, counted

if TYPE_CHECKING:
    import pandas as pd

TPR = MEASURES[f"tpr_at_{HEADLINE_FPR:g}_strongest"].title

_KINDS = {"by_class": "class", "by_group": "group", "by_class_and_group": "class and group"}


def attack_rows(document: dict[str, Any]) -> pd.DataFrame:
    """One row for each attack, part of the examples and measure.

    Columns: ``attack``, ``scope`` ("all", "class", "group" or "class and group"), ``cell``, ``members``,
    ``nonmembers``, ``measure``, ``value``, ``low``, ``high`` (95 %), ``ceiling`` (what the budget allows) and
    ``reason`` (why there is no value).
    """
    import pandas as pd

    rows = [*_overall(document), *_in_cells(document["cells"], document["class_names"])]
    columns = ["attack", "scope", "cell", "members", "nonmembers", "measure", "value", "low", "high", "ceiling"]
    return pd.DataFrame(rows, columns=[*columns, "reason"])


def _overall(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    ceiling = document["ceiling"] or {"tpr_at_fpr": {}}
    for name, attack in document["attacks"].items():
        head = {
            "attack": name,
            "scope": "all",
            "cell": "",
            "members": document["members"],
            "nonmembers": document["nonmembers"],
            "reason": "",
        }
        ends = attack["interval"]
        for measure in ("auc", "advantage"):
            yield head | _value(measure, attack[measure], ends[measure]) | {"ceiling": ceiling.get(measure)}
        for fpr, value in attack["tpr_at_fpr"].items():
            yield (
                head
                | _value(f"tpr_at_{fpr}", value, ends["tpr_at_fpr"][fpr])
                | {
                    "ceiling": ceiling["tpr_at_fpr"].get(fpr),
                    "reason": attack.get("tpr_reason", {}).get(fpr, ""),
                }
            )


def _in_cells(cells: dict[str, Any], class_names: list[str] | None) -> Iterator[dict[str, Any]]:
    for kind, scope in _KINDS.items():
        for cell, entry in (cells[kind] or {}).items():
            name = cell_words(cell, kind.removeprefix("by_"), class_names)
            head = {"scope": scope, "cell": name, "members": entry["members"], "nonmembers": entry["nonmembers"]}
            if entry.get("too_few"):
                reason = lacking(entry["members"], entry["nonmembers"])
                yield head | {"attack": "", "measure": "auc", "reason": reason}
                continue
            for attack, values in entry["attacks"].items():
                ends = values["interval"]
                yield head | {"attack": attack, "reason": ""} | _value("auc", values["auc"], ends["auc"])
                for rate, threshold in (("tpr", "own"), ("tpr", "global"), ("fpr", "global")):
                    measure = f"{rate}_at_{cells['fpr']:g}_{threshold}_threshold"
                    value = values[f"{rate}_{threshold}"]
                    yield (
                        head
                        | _value(measure, value, ends[f"{rate}_{threshold}"])
                        | {
                            "attack": attack,
                            "reason": values.get("reason", "too few non-members") if value is None else "",
                        }
                    )


def _value(measure: str, value: float | None, ends: list[float] | None) -> dict[str, Any]:
    low, high = ends or (None, None)
    return {"measure": measure, "value": value, "low": low, "high": high}


def describe_cells(document: dict[str, Any]) -> list[str]:
    """The headline attack by group and by class and group (or by class), and the test of equal vulnerability."""
    cells, headline = document["cells"], document["headline_attack"]
    lines: list[str] = []
    for kind in ("by_group", "by_class_and_group") if cells["by_group"] else ("by_class",):
        lines.append(f"{headline} by {_KINDS[kind]}:")
        named = [
            (cell_words(cell, kind.removeprefix("by_"), document["class_names"]), entry)
            for cell, entry in cells[kind].items()
        ]
        few = [clean(cell) for cell, entry in named if entry.get("too_few")]
        lines += [_cell(cell, entry, headline) for cell, entry in named if not entry.get("too_few")]
        lines += _without_own_threshold([entry["attacks"][headline] for _, entry in named if "attacks" in entry])
        if few:
            lines.append(
                f"  {len(few)} of {len(cells[kind])} have fewer than the {TOO_FEW} members and {TOO_FEW} non-members "
                f"that an AUC needs: {listed(few, most=8)}"
            )
    test = cells["equal_vulnerability"]
    if "reason" in test:
        lines.append(f"Equal vulnerability was not tested: {test['reason']}")
    else:
        verdict = "rejected" if test["rejected"] else "not rejected"
        kind = _KINDS[f"by_{test['cells']}"]
        cell = cell_words(test["most_unequal"], test["cells"], document["class_names"])
        lines.append(
            f"that every {kind} is equally exposed is {verdict} (p = {test['p_value']:.3f}; the {kind} {clean(cell)} "
            "is farthest from the rest)"
        )
    return lines


def describe_references(document: dict[str, Any]) -> list[str]:
    """What was assumed of the reference models, and what they were not used for."""
    references = document["reference_models"]
    if references is None:
        return []
    if not any(name in SHADOW_ATTACKS for name in document["attacks"]):
        return ["note: no attack that was asked for uses the reference models"]
    lines = []
    if not references["members_known"]:
        lines.append(
            f"note: without reference_member, none of the {references['models']} reference models is assumed to have "
            "been trained on any of these examples"
        )
    missing = references["attacks_not_made"]
    if missing:
        lines.append(f"note: {' and '.join(missing)} not made: {next(iter(missing.values()))}")
    return lines


def describe_probabilities(document: dict[str, Any]) -> list[str]:
    """How far the probabilities of membership hold on shadows that they were not fitted to, or why there are none."""
    lines = []
    for name, curve in document["reliability"].items():
        line = (
            f"{name}'s membership probabilities: expected calibration error {curve['expected_calibration_error']:.3f}"
        )
        if curve["left_out"]:
            left_out = counted(curve["left_out"], "reference model")
            line += f"; without {left_out} that the others cannot attack"
        lines.append(line)
    lines += [f"{name}'s membership probabilities: {reason}" for name, reason in document["probability_reason"].items()]
    return lines


def _without_own_threshold(parts: list[dict[str, Any]]) -> list[str]:
    """Why parts have no true-positive rate at their own threshold; an example where reasons differ."""
    reasons = [part["reason"] for part in parts if part["tpr_own"] is None and "reason" in part]
    if not reasons:
        return []
    return [f"  {TPR} at its own threshold not measured in {len(reasons)} of {len(parts)}: one {reasons[-1]}"]


def _cell(cell: str, entry: dict[str, Any], attack: str) -> str:
    values = entry["attacks"][attack]
    ends, found = values["interval"], ""
    for threshold, words in (("tpr_own", "its own threshold"), ("tpr_global", "the threshold of all")):
        if values[threshold] is not None:
            found += f"{',' if found else f'   {TPR}'} {interval(values[threshold], ends[threshold])} at {words}"
    if values["fpr_global"] is not None:
        found += f", which accuses {interval(values['fpr_global'], ends['fpr_global'])} of its non-members"
    sizes = f"{entry['members']:,} members, {entry['nonmembers']:,} non-members"
    return f"  {clean(cell):<18} AUC {interval(values['auc'], ends['auc'])}   {sizes}{found}"
