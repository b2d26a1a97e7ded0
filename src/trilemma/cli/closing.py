"""What a study says when it ends: a table of its conditions, and the verdicts on its claims."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trilemma.files import read_json, read_text
from trilemma.measures import COMPARED, UNMATCHED, measure_of
from trilemma.words import capital, clean, with_interval

if TYPE_CHECKING:
    from trilemma.report.numbers import Number

MOST = 24
"""Conditions above which the page, not the terminal, has the table."""

_COLUMNS = tuple(name for name in COMPARED if not name.endswith(UNMATCHED))


def closing_lines(folder: Path) -> list[str]:
    """The table (means over seeds, with 95 % intervals) and the verdicts, of a folder whose page is drawn."""
    from trilemma.analysis.results import read_results
    from trilemma.report.collect import CLAIMS
    from trilemma.report.numbers import Numbers

    results = read_results(folder)
    if not len(results):
        return []
    numbers = Numbers(results, read_json(folder / "study.json"))
    lines = []
    if len(numbers.conditions) <= MOST:
        measures = [name for name in _COLUMNS if name in numbers.measures]
        rows = [
            (condition.title, *(_cell(numbers.get(condition, measure)) for measure in measures))
            for condition in numbers.conditions.values()
        ]
        lines += ["", *aligned(("", *(measure_of(name).title for name in measures)), rows), ""]
    claims = json.loads(read_text(folder / CLAIMS))
    lines += [
        f"{claim['verdict']}{_counted(claim)}: {clean(capital(claim['statement']))}"
        for claim in claims
        if claim["verdict"] != "not measured"
    ]
    return lines


def _counted(claim: Mapping[str, Any]) -> str:
    """In how many settings a claim of ``claims.json`` was decided, where there are several."""
    verdicts = [finding["verdict"] for finding in claim["findings"]]
    told = claim["verdict"] != "cannot tell" and len(verdicts) > 1
    return f" in {verdicts.count(claim['verdict'])} of {len(verdicts)} settings" if told else ""


def aligned(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> list[str]:
    """Lines of a table whose columns are aligned."""
    widths = [max(len(row[column]) for row in [head, *rows]) for column in range(len(head))]
    return ["  ".join(map(str.ljust, row, widths)).rstrip() for row in [head, *rows]]


def _cell(number: Number | None) -> str:
    return "-" if number is None else with_interval(number.value, number.low, number.high)
