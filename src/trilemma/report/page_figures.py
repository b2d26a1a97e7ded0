"""Figures and studies made ready for the page: drawn, with their numbers in tables and their facts in words."""

from __future__ import annotations

import base64
import dataclasses
import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from trilemma.hints import listed
from trilemma.measures import measure_of
from trilemma.report.drawing import cut_short, panel_svg, y_limits
from trilemma.report.figure import Figure
from trilemma.report.inline import inline_svg
from trilemma.report.numbers import Numbers, PlacedCondition, setting_titles
from trilemma.report.removals import removal_facts
from trilemma.report.swatch import swatch
from trilemma.report.tables import Column, Entry, Table
from trilemma.words import budget, budget_order, clean, counted, mix, number


@dataclass(frozen=True)
class ShownPanel:
    """A panel ready for the page."""

    title: str
    svg: Markup
    finding: str
    note: str
    image: str
    image_text: str


@dataclass(frozen=True)
class ShownFigure:
    """A figure ready for the page.

    Attributes:
      id, stem: the id of its element, and the names of its files without suffix.
      legend: (swatch, name).
      lone: whether it has one panel, and no neighbor with one panel to stand next to.
    """

    id: str
    stem: str
    title: str
    about: str
    intervals: str
    notes: tuple[str, ...]
    panels: tuple[ShownPanel, ...]
    legend: tuple[tuple[Markup, str], ...]
    references: tuple[str, ...]
    table: Table | None
    lone: bool = False


@dataclass(frozen=True)
class ShownStudy:
    """A study ready for the page: ``facts`` are (term, description)."""

    id: str
    title: str
    about: str
    facts: tuple[tuple[str, str], ...]
    standing: str
    figures: tuple[ShownFigure, ...]

    @property
    def has_panels(self) -> bool:
        """Whether any figure has anything to show."""
        return any(figure.panels for figure in self.figures)


_CUT = " An interval that reaches the edge of its panel continues beyond it; the table of its numbers gives its ends."


def show_figure(figure: Figure, stem: str, notes: Iterable[str] = ()) -> ShownFigure:
    """Draw the panels, with a table of their numbers."""
    name = f"figure-{stem}"
    panels = []
    for place, (panel, limits) in enumerate(zip(figure.panels, y_limits(figure), strict=True), 1):
        image = "" if panel.image is None else f"data:image/png;base64,{base64.b64encode(panel.image).decode()}"
        svg = Markup(inline_svg(panel_svg(panel, limits), f"{name}-{place}", panel.alt))
        panels.append(ShownPanel(panel.title, svg, panel.finding, panel.note, image, panel.image_text))
    return ShownFigure(
        name,
        stem,
        figure.title,
        figure.about,
        figure.intervals + (_CUT if any(cut_short(panel) for panel in figure.panels) else ""),
        (*figure.notes, *notes),
        tuple(panels),
        tuple((swatch(look), text) for text, look in figure.legend),
        figure.references,
        _numbers_table(figure, name) if panels else None,
    )


def show_study(
    place: str,
    entry: Mapping[str, Any],
    numbers: Numbers | None,
    figures: Sequence[ShownFigure],
    *,
    missing: Mapping[str, str],
    failures: Mapping[str, str],
) -> ShownStudy:
    """What was trained on what data, and how many trials have finished."""
    conditions = [] if numbers is None else list(numbers.conditions.values())
    planned = list(entry.get("trials", ()))
    finished = sum(len(condition.trials) for condition in conditions)
    failed, unfinished = sum(t in failures for t in planned), sum(t in missing for t in planned)
    standing = f"{number(finished, 0)} of {counted(len(planned), 'trial')} finished"
    if failed:
        standing += f", {failed} failed"
    if unfinished:
        standing += f", {unfinished} not finished yet"
    facts = [("Trials", f"{standing}.")]
    if conditions:
        facts += _what_was_trained(conditions) + removal_facts(conditions, numbers)
    facts.append(("Seeds", listed(entry.get("seeds", ()), most=None)))
    scale = str(entry.get("scale") or "")
    if scale:
        size = {
            "short": "short: a tenth of the updates, to see that everything works",
            "small": "small: fewer images, a smaller network, fewer updates",
            "paper": "paper: the paper’s size",
        }
        facts.append(("Scale", size.get(scale, clean(scale))))
    return ShownStudy(
        f"study-{place}",
        clean(entry.get("title") or place),
        clean(entry.get("about") or ""),
        tuple(facts),
        standing if finished < len(planned) else "",
        _beside_each_other(figures),
    )


def _beside_each_other(figures: Sequence[ShownFigure]) -> tuple[ShownFigure, ...]:
    """Figures of one panel are set two to a row where they follow each other."""
    shown: list[ShownFigure] = []
    waiting = False
    for position, figure in enumerate(figures):
        single = len(figure.panels) == 1
        follows = position + 1 < len(figures) and len(figures[position + 1].panels) == 1
        shown.append(dataclasses.replace(figure, lone=single and not waiting and not follows))
        waiting = single and not waiting and follows
    return tuple(shown)


def slugs(names: Iterable[str]) -> list[str]:
    """Names for files and anchors, no two alike.

    >>> slugs(["My study: 2", "<script>", "my study 2", "?"])
    ['My-study-2', 'script', 'my-study-2-2', 'study']
    """
    slugs_so_far: list[str] = []
    for name in names:
        words = "".join(c if c.isascii() and (c.isalnum() or c in "-_") else " " for c in name).split()
        base = "-".join(words)[:60] or "study"
        # Some file systems take upper and lower case for the same.
        taken = {other.lower() for other in slugs_so_far}
        tries = (base if count == 1 else f"{base}-{count}" for count in itertools.count(1))
        slugs_so_far.append(next(slug for slug in tries if slug.lower() not in taken))
    return slugs_so_far


def _numbers_table(figure: Figure, name: str) -> Table:
    titled = len({panel.title for panel in figure.panels}) > 1
    scatter = any(n.across is not None for panel in figure.panels for s in panel.series for n in s.points)
    columns = [Column("series"), Column("at"), Column("value", numeric=True)]
    columns += [Column("against", numeric=True)] if scatter else []
    columns += [Column("measure"), *([Column("panel")] if titled else []), Column("seeds", numeric=True)]
    rows = []
    for panel in figure.panels:
        for series in panel.series:
            # A curve of many evaluations is read at its ends and every fifth of it; the CSV has them all.
            step = max(1, len(series.points) // 5) if len(series.points) > 12 else 1
            for position, point in enumerate(series.points):
                if position % step and position != len(series.points) - 1:
                    continue
                digits = measure_of(point.y.measure).digits
                value = number(point.y.value, digits)
                interval = _interval(point.y.low, point.y.high, digits)
                row = [Entry(series.name), Entry(point.at), Entry(value, repr(point.y.value), interval)]
                if scatter and point.across is not None:
                    title = measure_of(point.across.measure).title
                    text = f"{title} {number(point.across.value)}"
                    row.append(Entry(text, repr(point.across.value), _interval(point.across.low, point.across.high, 3)))
                row += [Entry(measure_of(point.y.measure).title), *([Entry(panel.title)] if titled else [])]
                rows.append((*row, Entry(str(point.y.seeds), str(point.y.seeds))))
    caption = f"The numbers of “{figure.title}”, as drawn; 95 % intervals in brackets."
    return Table(f"{name}-numbers", caption, tuple(columns), tuple(rows))


def _interval(low: float, high: float, digits: int) -> str:
    return "" if math.isnan(low) or math.isnan(high) else f"[{number(low, digits)}, {number(high, digits)}]"


def _what_was_trained(conditions: Sequence[PlacedCondition]) -> list[tuple[str, str]]:
    titles = setting_titles(conditions)
    largest: dict[str, int] = {}
    for condition in conditions:
        largest[condition.setting] = max(largest.get(condition.setting, 0), condition.examples)
    data = [f"{titles[key]} ({number(largest[key], 0)} training examples)" for key in titles]
    mixes = list(dict.fromkeys(mix(condition.codes) for condition in conditions))
    budgets = [
        budget(epsilon)
        for epsilon in sorted({condition.epsilon for condition in conditions}, key=budget_order, reverse=True)
    ]
    facts = [("Data", "; ".join(data)), ("Techniques", ", ".join(mixes)), ("Budgets", listed(budgets, most=None))]
    facts.append(("Network", listed(dict.fromkeys(clean(condition.model) for condition in conditions))))
    return facts
