"""Tables as values that can be sorted and filtered: from numbers, comparisons and whatever rows there are."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from trilemma.measures import COLUMN_SETS, MEASURES, measure_of
from trilemma.report.numbers import Number, Numbers, PlacedCondition
from trilemma.techniques import PAPER_TECHNIQUES
from trilemma.titles import joined
from trilemma.words import (
    budget,
    budget_order,
    clean,
    exact_percent,
    mix,
    number,
    removed_words,
    setting_words,
    signed_number,
)


@dataclass(frozen=True)
class Column:
    """A column's head.

    Attributes:
      title: its words.
      numeric, worded: whether it sorts by number, and whether it shows words anyway.
      group: which choice of columns shows it; "" always.
      covered: whether a guarantee covers what it holds; None where that is no question.
    """

    title: str
    numeric: bool = False
    group: str = ""
    covered: bool | None = None
    worded: bool = False


@dataclass(frozen=True)
class Entry:
    """One place in a table: what it says, in full and small print, and what it is sorted by."""

    text: str
    sort: str = ""
    small: str = ""


@dataclass(frozen=True)
class Table:
    """A table that can be explored.

    Attributes:
      name: its id.
      caption: what it holds.
      columns, rows: as many entries in a row as there are columns.
      facets: (title, one value a row) of the choices above it.
      groups: (key, title) of the sets of columns to choose from.
    """

    name: str
    caption: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Entry, ...], ...]
    facets: tuple[tuple[str, tuple[str, ...]], ...] = ()
    groups: tuple[tuple[str, str], ...] = field(default=())


def results_table(numbers: Numbers) -> Table:
    """A row for each condition with all its measures; columns that are equal in all rows go to the caption instead.

    The first columns and a number fit on a phone; whatever else distinguishes rows is at the end.
    """
    conditions = list(numbers.conditions.values())
    settled: list[str] = []
    shown_columns: list[tuple[Column, list[Entry]]] = [
        (
            Column("techniques", numeric=True, worded=True),
            [Entry(mix(c.codes), _techniques_rank(c.codes)) for c in conditions],
        ),
        (
            Column("budget", numeric=True, worded=True),
            [Entry(budget(c.epsilon), _sortable(budget_order(c.epsilon))) for c in conditions],
        ),
    ]
    data = [Entry(setting_words(c.data, c.skew, c.target, c.protected)) for c in conditions]
    optional: list[tuple[Column, list[Entry], str]] = [
        (Column("data"), data, "{}"),
        (
            Column("N", numeric=True),
            [Entry(number(c.examples, 0), str(c.examples)) for c in conditions],
            "{} training examples",
        ),
        (Column("network"), [Entry(clean(c.model)) for c in conditions], "network {}"),
        (
            Column("removed", numeric=True, worded=True),
            [Entry(_removed(c), _sortable(c.removed + (0.0001 if c.removal == "random" else 0))) for c in conditions],
            "",
        ),
        (Column("recipe"), [Entry(clean(joined(c.distinction) or c.variant) or "–") for c in conditions], ""),
    ]
    described: list[tuple[Column, list[Entry]]] = []
    for column, entries, words in optional:
        if len({entry.text for entry in entries}) > 1:
            described.append((column, entries))
        elif words and entries:
            settled.append(words.format(entries[0].text))
    measures = _in_order(numbers.measures)
    for name in measures:
        shown = measure_of(name)
        covered = bool(numbers.flags[name]["covered"])
        entries = [_entry(numbers.get(c, name), shown.digits) for c in conditions]
        shown_columns.append((Column(shown.title, True, shown.column, covered), entries))
    seeds = [Entry(str(len(c.trials)), str(len(c.trials))) for c in conditions]
    shown_columns += [*described, (Column("seeds", numeric=True), seeds)]
    groups = {measure_of(name).column for name in measures}
    return Table(
        "results",
        _caption(measures, settled),
        tuple(column for column, _ in shown_columns),
        tuple(zip(*(entries for _, entries in shown_columns), strict=True)),
        _facets(
            ("data", [entry.text for entry in data]),
            ("techniques", [entry.text for entry in shown_columns[0][1]]),
            ("budget", [entry.text for entry in shown_columns[1][1]]),
            ("removed", [_removed(c) for c in conditions]),
        ),
        tuple((key, title) for key, title in COLUMN_SETS.items() if key in groups),
    )


def _caption(measures: Sequence[str], settled: Sequence[str]) -> str:
    """What the table of results holds, and what is equal in all of its rows."""
    words = ["Means over seeds with 95 % intervals, a row for each combination."]
    if "auc_strongest" in measures:
        words.append("The strongest AUC is that of the attack that did best, chosen after looking at the results.")
    return " ".join([*words, *([f"All rows: {', '.join(settled)}."] if settled else [])])


_VERDICTS = {
    "higher": "▲ higher",
    "lower": "▼ lower",
    "within noise": "≈ within noise",
    "one seed": "– one seed",
}


def comparisons_table(rows: Sequence[Mapping[str, Any]]) -> Table:
    """A table of the rows of ``trilemma.analysis.comparisons.Comparisons.table``."""
    several = len({row.get("study") for row in rows}) > 1
    body = []
    for row in rows:
        name = str(row["measure"])
        shown = measure_of(name)
        verdict = str(row.get("verdict", ""))
        difference, low, high = (float(row.get(key, math.nan)) for key in ("difference", "low", "high"))
        p = float(row.get("p_adjusted", math.nan))
        body.append(
            (
                Entry(clean(row.get("change", ""))),
                Entry(shown.title),
                Entry(
                    signed_number(difference, shown.digits),
                    _sortable(difference),
                    _ends(low, high, shown.digits, signed_number),
                ),
                Entry(_VERDICTS.get(verdict, clean(verdict)), small="with these seeds" if row.get("fragile") else ""),
                Entry(clean(row.get("base", ""))),
                Entry(clean(row.get("setting", ""))),
                *([Entry(clean(row.get("study", "")))] if several else []),
                Entry(_p(p), _sortable(p)),
                Entry(str(row.get("seeds", "")), str(row.get("seeds", ""))),
            )
        )
    columns = (
        Column("change"),
        Column("measure"),
        Column("difference", numeric=True),
        Column("verdict"),
        Column("against"),
        Column("setting"),
        *([Column("study")] if several else []),
        Column("p, adjusted", numeric=True),
        Column("seeds", numeric=True),
    )
    return Table(
        "comparisons",
        "Differences paired over seeds, with 95 % intervals of each one alone; p is adjusted by Holm’s method.",
        columns,
        tuple(body),
        _facets(
            ("measure", [row[1].text for row in body]),
            ("study", [clean(row.get("study", "")) for row in rows]),
            ("setting", [clean(row.get("setting", "")) for row in rows]),
            ("verdict", [row[3].text for row in body]),
        ),
    )


def any_table(name: str, caption: str, rows: Sequence[Mapping[str, Any]]) -> Table:
    """A table of rows with any keys; its columns are in the order of the first row."""
    keys = list(dict.fromkeys(key for row in rows for key in row))
    columns = tuple(
        Column(clean(key).replace("_", " "), numeric=any(_is_number(row.get(key)) for row in rows)) for key in keys
    )
    return Table(name, caption, columns, tuple(tuple(_any(row.get(key)) for key in keys) for row in rows))


def _in_order(measures: Iterable[str]) -> list[str]:
    """Measures by set of columns; within a set, those of the table in its order, then the others as they come."""
    known = list(MEASURES)
    sets = list(COLUMN_SETS)

    def place(name: str) -> tuple[int, int]:
        return sets.index(measure_of(name).column), known.index(name) if name in known else len(known)

    return sorted(measures, key=place)


def _techniques_rank(codes: tuple[str, ...]) -> str:
    """A sort key: the number of techniques, then the paper's order."""
    places = [PAPER_TECHNIQUES.index(code) if code in PAPER_TECHNIQUES else 9 for code in codes]
    return str(len(codes) + sum((place + 1) / 10 ** (position + 1) for position, place in enumerate(places)) / 10)


def _removed(condition: PlacedCondition) -> str:
    if not condition.removal:
        return "none"
    return f"{exact_percent(condition.removed)}, {removed_words(condition.removal, condition.rank)}"


def _entry(measured: Number | None, digits: int) -> Entry:
    if measured is None:
        return Entry("–")
    return Entry(
        number(measured.value, digits),
        _sortable(measured.value),
        _ends(measured.low, measured.high, digits),
    )


def _ends(low: float, high: float, digits: int, words: Callable[[float, int], str] = number) -> str:
    return "" if math.isnan(low) or math.isnan(high) else f"[{words(low, digits)}, {words(high, digits)}]"


def _p(value: float) -> str:
    return "–" if math.isnan(value) else "< 0.001" if value < 0.001 else number(value)


def _sortable(value: float) -> str:
    """A number as JavaScript reads it; "" sorts last."""
    if math.isnan(value):
        return ""
    return repr(float(value)).replace("inf", "1e999")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _any(value: Any) -> Entry:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return Entry("–")
    if isinstance(value, bool):
        return Entry("yes" if value else "no")
    if isinstance(value, int):
        return Entry(number(value, 0), str(value))
    if isinstance(value, float):
        return Entry(f"{value:.4g}".replace("-", "−"), _sortable(value))
    return Entry(clean(value))


def _facets(*candidates: tuple[str, Sequence[str]]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """The filters with at least two values to choose from (and fewer than 40)."""
    return tuple((title, tuple(values)) for title, values in candidates if 1 < len(set(values)) < 40)
