"""What a figure shows, as values: panels of series of points, each point a number that knows where it comes from.

A figure is made of these before anything is drawn, so that its drawing, its alternative text, its data table and its
CSV cannot disagree.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import pandas as pd

from trilemma.hints import listed
from trilemma.measures import measure_of
from trilemma.report.numbers import Number, interval_words
from trilemma.words import number, with_interval

INKS = ("blue", "vermilion", "green", "purple", "black", "orange", "sky")
MARKERS = ("circle", "square", "triangle", "diamond", "down", "plus", "cross")
"""Each series has its own marker as well as its ink, so that no difference rests on color alone."""


@dataclass(frozen=True)
class Look:
    """How a series is drawn.

    Attributes:
      ink, marker: names from ``INKS`` and ``MARKERS``.
      dash: "", "dashed" or "dotted".
      hollow: markers without filling.
      faint: a companion, drawn lightly and without intervals.
      joined: points are joined by a line.
    """

    ink: str
    marker: str
    dash: str = ""
    hollow: bool = False
    faint: bool = False
    joined: bool = True


def look(index: int) -> Look:
    """The look of a series by its index; from the eighth series on, dashes tell apart those that share an ink."""
    turn = index // len(INKS)
    return Look(INKS[index % len(INKS)], MARKERS[(index + turn) % len(MARKERS)], ("", "dashed", "dotted")[turn % 3])


@dataclass(frozen=True)
class Point:
    """One number in its place.

    Attributes:
      x: place on the axis.
      at: the label of that place, such as "+GN" or "ε = 8".
      y: the number.
      across: where x is a number too (the trade-off), that number.
    """

    x: float
    at: str
    y: Number
    across: Number | None = None


@dataclass(frozen=True)
class Series:
    """Points under one name.  ``labeled``: their places are written next to them, since no axis can show them."""

    name: str
    points: tuple[Point, ...]
    look: Look
    labeled: bool = False


@dataclass(frozen=True)
class Panel:
    """One pair of axes.

    Attributes:
      title: "" where the figure's own says enough.
      y_title, x_title: the titles of the axes.
      series: in drawing order.
      ticks: (place, label) of an axis of names; empty for an axis of numbers.
      y_reference, x_reference: a line that is not data, such as AUC 1/2.
      floor: the y axis begins there.
      span: the y axis covers at least this much, so that noise does not look large.
      share: panels with the same word have the same y axis.
      marks: (x, label) of vertical lines.
      image, image_text: a PNG shown beside it, and what it is.
      summary: the caption of the panel in place of each series' ends, where these would be many.
      note: one more sentence for people.
      bars: values stand as bars on ``y_reference``, beside each other at one place.
    """

    title: str
    y_title: str
    x_title: str
    series: tuple[Series, ...]
    ticks: tuple[tuple[float, str], ...] = ()
    y_reference: float | None = None
    x_reference: float | None = None
    floor: float | None = None
    span: float = 0.1
    share: str = ""
    marks: tuple[tuple[float, str], ...] = ()
    image: bytes | None = None
    image_text: str = ""
    summary: str = ""
    note: str = ""
    bars: bool = False

    @property
    def finding(self) -> str:
        """What the panel shows, in one short line of numbers."""
        ends = [self.summary] if self.summary else [_short(s) for s in self.series if s.points and not s.look.faint]
        return " · ".join(word for word in (*ends, self.note) if word)

    @property
    def alt(self) -> str:
        """What a reader who does not see the panel must know: every main series from end to end, with intervals."""
        head = f"{self.title}: " if self.title else ""
        axes = f"{self.y_title} by {self.x_title}. " if self.x_title else f"{self.y_title}. "
        told = " ".join(_long(s) for s in self.series if s.points)
        return f"{head}{axes}{told}{f' {self.note}.' if self.note else ''}"


@dataclass(frozen=True)
class Figure:
    """Panels under one name.

    Attributes:
      name: in the catalog.
      title, about: for people; ``about`` says how to read it.
      panels: those with any number to show.
      references: what the reference lines mean.
      notes: what is missing or was chosen, a sentence each.
    """

    name: str
    title: str
    about: str
    panels: tuple[Panel, ...]
    references: tuple[str, ...] = ()
    notes: tuple[str, ...] = field(default=())

    @property
    def legend(self) -> tuple[tuple[str, Look], ...]:
        """Names and looks of all series, each once; with a line if it has one anywhere."""
        looks: dict[tuple[str, Look], Look] = {}
        for panel in self.panels:
            for s in panel.series:
                key = (s.name, replace(s.look, joined=True))
                if s.points and (key not in looks or s.look.joined):
                    looks[key] = s.look
        return tuple((name, shown_look) for (name, _), shown_look in looks.items())

    @property
    def numbers(self) -> list[Number]:
        """All numbers that the figure draws."""
        points = [point for panel in self.panels for s in panel.series for point in s.points]
        return [n for point in points for n in (point.y, point.across) if n is not None]

    @property
    def intervals(self) -> str:
        """What the figure's intervals are over, in words."""
        return interval_words(self.numbers)

    def frame(self) -> pd.DataFrame:
        """Every drawn number, one row a point: what ``figures/NAME.csv`` holds."""
        rows = []
        for panel_number, panel in enumerate(self.panels, 1):
            for s in panel.series:
                for point in s.points:
                    y, across = point.y, point.across
                    rows.append(
                        {
                            "panel": panel_number,
                            "title": panel.title,
                            "series": s.name,
                            "at": point.at,
                            "measure": y.measure,
                            "value": y.value,
                            "low": y.low,
                            "high": y.high,
                            "x": point.x,
                            "x_measure": "" if across is None else across.measure,
                            "x_low": math.nan if across is None else across.low,
                            "x_high": math.nan if across is None else across.high,
                            "seeds": y.seeds,
                            "interval_over": y.over,
                            "update": y.update,
                            "cell": y.condition,
                            "trials": " ".join(y.trials),
                        }
                    )
        return pd.DataFrame(rows, columns=list(FRAME_COLUMNS))


FRAME_COLUMNS = (
    *("panel", "title", "series", "at", "measure", "value", "low", "high", "x", "x_measure", "x_low", "x_high"),
    *("seeds", "interval_over", "update", "cell", "trials"),
)


def overlap(a: Number, b: Number) -> bool | None:
    """Whether two intervals overlap; None where one has no interval."""
    if math.isnan(a.low) or math.isnan(b.low):
        return None
    return a.low <= b.high and b.low <= a.high


def _short(series: Series) -> str:
    """A series in a few words: its first and its last point.

    >>> n = [Number(v, v - .1, v + .1, 3, "seeds", "accuracy", "c", ()) for v in (.5, .8)]
    >>> _short(Series("no budget", (Point(0, "BL", n[0]), Point(1, "all", n[1])), look(0)))
    'no budget: 0.500 → 0.800'
    """
    first, last = series.points[0], series.points[-1]
    if first.across is not None:
        ends = [
            f"{p.at} {number(p.y.value)} at {_axis(p.across)} {number(p.across.value)}"
            for p in (first, last)
            if p.across is not None
        ]
        return f"{series.name}: {' → '.join(dict.fromkeys(ends))}"
    if len(series.points) == 1:
        return f"{series.name}: {number(first.y.value)}"
    if not series.look.joined:
        values = [p.y.value for p in series.points]
        return f"{series.name}: {number(min(values))} to {number(max(values))}"
    return f"{series.name}: {number(first.y.value)} → {number(last.y.value)}"


def _long(series: Series) -> str:
    points = series.points
    first, last = points[0], points[-1]
    if first.across is not None:
        return f"{series.name}: {'; '.join(_both(point) for point in points)}."
    values = [p.y.value for p in points]
    if series.look.faint and len(points) > 1:
        return f"{series.name}: {number(min(values))} to {number(max(values))}."
    if len(points) == 1:
        return f"{series.name}: {_with(first.y)} at {first.at}."
    ends = f"{_with(first.y)} at {first.at} to {_with(last.y)} at {last.at}"
    if not series.look.joined:
        lowest, highest = points[values.index(min(values))], points[values.index(max(values))]
        return f"{series.name}: lowest {_with(lowest.y)} at {lowest.at}, highest {_with(highest.y)} at {highest.at}."
    same = overlap(first.y, last.y)
    verdict = {True: "their intervals overlap", False: "their intervals do not overlap", None: ""}[same]
    words = [f"{series.name}: from {ends}", verdict]
    highest, lowest = points[values.index(max(values))], points[values.index(min(values))]
    extremes = [
        f"{word} {number(point.y.value)} at {point.at}"
        for word, point in (("highest", highest), ("lowest", lowest))
        if point not in (first, last)
    ]
    words += [listed(extremes)] if extremes else []
    return ", ".join(word for word in words if word) + "."


def _with(value: Number) -> str:
    return with_interval(value.value, value.low, value.high)


def _both(point: Point) -> str:
    assert point.across is not None
    return f"{point.at} {_with(point.y)} at {_axis(point.across)} {_with(point.across)}"


def _axis(value: Number) -> str:
    return measure_of(value.measure).title.split(",")[0]
