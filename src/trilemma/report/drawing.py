"""Drawing with matplotlib: one panel as SVG for the page, a whole figure as SVG, PDF and PNG files.

The same values give the same bytes: no dates, no random ids.  Text from outside is never read as mathematics.
"""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure as Canvas
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke
from matplotlib.ticker import FuncFormatter, MaxNLocator

from trilemma.errors import InputError
from trilemma.files import written
from trilemma.measures import measure_range
from trilemma.report.bars import draw_bars, lengths
from trilemma.report.figure import Figure, Look, Panel, Point, Series
from trilemma.report.point_labels import label_points
from trilemma.report.style import COLORS, DASHES, FONT, MARKERS, SIZES, house_style, svg_of

FORMATS = ("svg", "pdf", "png")

WIDTH, HEIGHT = 360, 232
"""Sizes of a panel on the page, in CSS pixels at full size; a phone shows it at nine tenths of that."""

_LEFT, _RIGHT, _TOP, _BOTTOM = 40, 10, 26, 36


def panel_svg(panel: Panel, limits: tuple[float, float], *, taller: int = 60) -> bytes:
    """One panel for the page, without its title, on a transparent background.

    Args:
      panel: at least one point.
      limits: the ends of the y axis (:func:`y_limits`).
      taller: pixels that a panel of two numeric axes is higher than others.
    """
    with house_style():
        slanted = _slanted(panel, WIDTH - _LEFT - _RIGHT)
        top = _TOP + (14 if panel.marks else 0)
        height = HEIGHT + (taller if _is_scatter(panel) else 0) + slanted + top - _TOP
        bottom = _BOTTOM + slanted
        canvas = Canvas(figsize=(WIDTH / 72, height / 72), dpi=72, facecolor="none")
        FigureCanvasAgg(canvas)
        axes = canvas.add_axes(
            (_LEFT / WIDTH, bottom / height, 1 - (_LEFT + _RIGHT) / WIDTH, 1 - (bottom + top) / height)
        )
        axes.set_facecolor("none")
        canvas.text(3 / WIDTH, 1 - 4 / height, panel.y_title, va="top", fontsize=FONT, color=COLORS["muted"])
        _draw(axes, panel, limits, slanted=slanted > 0)
        label_points(axes, panel)
        return svg_of(canvas)


def save_figure(figure: Figure, folder: Path, stem: str) -> tuple[Path, ...]:
    """``stem.svg``, ``.pdf`` and ``.png``: all panels, titles and the legend on white.

    Raises:
      InputError: the figure has no panels, or the files cannot be written.
    """
    if not figure.panels:
        mend = "; ".join(figure.notes) or "choose another figure"
        raise InputError(f"no trial of this study has measured what “{figure.title}” draws: {mend}")
    count = len(figure.panels)
    across = count if count < 4 else 2 if count == 4 else 3
    down = math.ceil(count / across)
    with house_style():
        tall = 3.7 if any(_is_scatter(panel) for panel in figure.panels) else 3.1
        canvas = Canvas(figsize=(max(4.4 * across, 5.5), tall * down + 0.6), layout="constrained", facecolor="white")
        FigureCanvasAgg(canvas)
        grid = canvas.subplots(down, across, squeeze=False)
        for index, axes in enumerate(grid.flat):
            if index >= count:
                axes.set_visible(False)
                continue
            panel, limits = figure.panels[index], y_limits(figure)[index]
            slanted = _slanted(panel, 260) > 0
            axes.set_title(
                _wrapped(panel.title or figure.title, 40), loc="left", fontweight="bold", pad=18 if panel.marks else 6
            )
            axes.set_ylabel(panel.y_title)
            if panel.image:
                _show_image(axes, panel.image)
            _draw(axes, panel, limits, slanted=slanted, place=index)
        handles = [_handle(look, name) for name, look in figure.legend]
        widest = max((len(name) for name, _ in figure.legend), default=1)
        columns = max(1, min(len(handles), int(across * 4.4 * 72 / (widest * 6 + 50))))
        canvas.legend(handles=handles, loc="outside lower center", ncols=columns, handlelength=2.8)
        # Labels keep clear of points by positions on paper, so everything else must be in its final position first.
        canvas.draw_without_rendering()
        canvas.set_layout_engine("none")
        halos = [
            text
            for index, (axes, panel) in enumerate(zip(grid.flat, figure.panels, strict=False))
            for text in label_points(axes, panel, place=index)
        ]
        metadata: dict[str, dict[str, Any]] = {
            "svg": {"Date": None, "Creator": None},
            "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
            "png": {"Software": None},
        }
        paths = []
        for kind in FORMATS:
            path = folder / f"{stem}.{kind}"
            for text in halos:  # text stays text in an SVG, instead of outlines
                text.set_path_effects([] if kind == "svg" else [withStroke(linewidth=2.2, foreground="white")])
            with written(path, durable=False) as part:  # the files can be drawn again from the results
                canvas.savefig(part, format=kind, dpi=160, metadata=metadata[kind])
            paths.append(path)
        return tuple(paths)


def y_limits(figure: Figure) -> list[tuple[float, float]]:
    """The ends of each panel's y axis; panels that share one have the same."""
    shared: dict[str, list[tuple[float, float]]] = {}
    own = [_extent(panel) for panel in figure.panels]
    for panel, ends in zip(figure.panels, own, strict=True):
        shared.setdefault(panel.share, []).append(ends)
    limits = []
    for panel, ends in zip(figure.panels, own, strict=True):
        parts = shared[panel.share] if panel.share else [ends]
        low, high = min(part[0] for part in parts), max(part[1] for part in parts)
        lacking = panel.span - (high - low)
        if lacking > 0:
            low, high = low - lacking / 2, high + lacking / 2
        pad = 0.06 * (high - low)
        low, high = low - pad, high + pad
        if panel.floor is not None:
            # A little space below, so that a marker at the floor is not cut off.
            low = min(panel.floor, low + pad) - pad / 2
        limits.append((low, high))
    return limits


def _extent(panel: Panel) -> tuple[float, float]:
    values = [p.y.value for s in panel.series for p in s.points]
    values += [v for v in (panel.floor, panel.y_reference) if v is not None]
    return _with_room(values, [v for s in panel.series for p in s.points for v in _ends(s, p)], panel.span)


LONGEST_WHISKER = 0.75
"""How far intervals may widen an axis at either end, as a part of what its values cover."""


def _with_room(values: Sequence[float], ends: Sequence[float], span: float) -> tuple[float, float]:
    """The ends of an axis: all values, and intervals as far as they do not push the values together.

    >>> _with_room([0.5, 1.0], [0.0, 1.25], 0.1)
    (0.125, 1.25)
    """
    values = [value for value in values if math.isfinite(value)]
    if not values:
        return 0.0, 1.0
    low, high = min(values), max(values)
    room = LONGEST_WHISKER * max(high - low, span)
    finite = [end for end in ends if math.isfinite(end)]
    return max(low - room, min([low, *finite])), min(high + room, max([high, *finite]))


def cut_short(panel: Panel) -> bool:
    """Whether an interval goes on beyond the axes."""
    low, high = _extent(panel)
    ends = [v for s in panel.series for p in s.points for v in _ends(s, p) if math.isfinite(v)]
    left, right = _across_extent(panel)
    across = [v for s in panel.series for p in s.points if p.across for v in p.across.error_bar]
    across = [v for v in across if math.isfinite(v)]
    slack = 1e-9
    return any(not low - slack <= v <= high + slack for v in ends) or any(
        not left - slack <= v <= right + slack for v in across
    )


def _across_extent(panel: Panel) -> tuple[float, float]:
    """As :func:`_extent`, of a numeric x axis."""
    across = [p.across for s in panel.series for p in s.points if p.across is not None]
    values = [n.value for n in across] + [v for v in (panel.x_reference,) if v is not None]
    return _with_room(values, [v for n in across for v in n.error_bar], 0.1)


def _ends(series: Series, point: Point) -> tuple[float, float]:
    return (point.y.value, point.y.value) if series.look.faint else point.y.error_bar


def _is_scatter(panel: Panel) -> bool:
    return any(series.labeled for series in panel.series)


def _draw(axes: Axes, panel: Panel, limits: tuple[float, float], *, slanted: bool, place: int = 0) -> None:
    axes.set_ylim(*limits)
    axes.set_yticks(_ticks(panel, limits))
    plain = FuncFormatter(lambda value, _: f"{value:.6g}".replace("-", "−"))
    axes.yaxis.set_major_formatter(plain)
    axes.grid(axis="y", color=COLORS["grid"], linewidth=0.8, zorder=0)
    axes.set_axisbelow(True)
    axes.set_xlabel(panel.x_title)
    _set_x(axes, panel, slanted)
    if panel.y_reference is not None:
        axes.axhline(panel.y_reference, color=COLORS["muted"], linewidth=1, dashes=(5, 3), zorder=1)
    if panel.x_reference is not None:
        axes.axvline(panel.x_reference, color=COLORS["muted"], linewidth=1, dashes=(5, 3), zorder=1)
    shift = _dodge(panel)
    for series in sorted(panel.series, key=lambda s: not s.look.faint):
        name = f"series-{place}-{panel.series.index(series)}"
        _draw_series(axes, panel, series, shift.get(_dodge_key(panel, series), 0.0), name)
    _draw_marks(axes, panel)


def _ticks(panel: Panel, limits: tuple[float, float]) -> list[float]:
    """Round numbers on the y axis, none of them beyond what the measures can be: an accuracy of 1.05 does not exist."""
    ranges = [measure_range(point.y.measure) for series in panel.series for point in series.points]
    low = max([limits[0], *([min(ends[0] for ends in ranges)] if ranges else [])])
    high = min([limits[1], *([max(ends[1] for ends in ranges)] if ranges else [])])
    ticks = MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]).tick_values(*limits)
    return [float(tick) for tick in ticks if low - 1e-9 <= tick <= high + 1e-9]


def _draw_marks(axes: Axes, panel: Panel) -> None:
    """Upright lines with their names above the axes, side by side where they would meet."""
    left, right = axes.get_xlim()
    last = -math.inf
    for x, name in panel.marks:
        axes.axvline(x, color=COLORS["text"], linewidth=0.9, zorder=1.5)
        # A name is this share of the axis wide, and as much again if it has to give way.
        width = 0.026 * (len(name) + 1) * (right - left)
        place = max(x, last + width / 2)
        last = place + width / 2
        axes.annotate(
            name,
            (place, 1),
            xycoords=("data", "axes fraction"),
            xytext=(0, 2),
            textcoords="offset points",
            ha="center",
            va="bottom",
            fontsize=FONT - 1,
            annotation_clip=False,
        )


def _set_x(axes: Axes, panel: Panel, slanted: bool) -> None:
    if panel.ticks:
        places = [x for x, _ in panel.ticks]
        room = 0.5 * _step(panel)
        axes.set_xlim(min(places) - room, max(places) + room)
        labels = [label for _, label in panel.ticks]
        axes.set_xticks(places, labels)
        if slanted:
            for label in axes.get_xticklabels():
                label.set(rotation=40, horizontalalignment="right", rotation_mode="anchor")
        return
    if not _is_scatter(panel):
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
        return
    low, high = _across_extent(panel)
    pad = 0.08 * max(high - low, 0.02)
    axes.set_xlim(low - pad, high + pad)
    axes.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.6g}".replace("-", "−")))


def _step(panel: Panel) -> float:
    """The smallest distance between two ticks."""
    places = sorted(x for x, _ in panel.ticks)
    return min((b - a for a, b in pairwise(places)), default=1.0)


def _dodge_key(panel: Panel, series: Series) -> tuple[Any, ...]:
    look = series.look
    # Many series: a filled and a hollow one of one ink share a place.
    return (look.ink,) if len(panel.series) > 5 else (look.ink, look.hollow, look.marker)


def _dodge(panel: Panel) -> dict[tuple[Any, ...], float]:
    """Horizontal shifts that keep apart the intervals at one place."""
    if not panel.ticks:
        return {}
    keys = list(dict.fromkeys(_dodge_key(panel, s) for s in panel.series if not s.look.faint))
    places = [x for x, _ in panel.ticks]
    if panel.bars:
        return {key: (index - (len(keys) - 1) / 2) * _bar_width(panel) for index, key in enumerate(keys)}
    step = min(_step(panel) * min(0.16, 0.62 / max(1, len(keys))), 0.02 * (max(places) - min(places) + _step(panel)))
    return {key: (index - (len(keys) - 1) / 2) * step for index, key in enumerate(keys)}


def _bar_width(panel: Panel) -> float:
    return 0.76 * _step(panel) / max(1, len(panel.series))


def _draw_series(axes: Axes, panel: Panel, series: Series, shift: float, name: str) -> None:
    if panel.bars:
        return draw_bars(axes, panel, series, shift, 0.9 * _bar_width(panel), name)
    look = series.look
    color = COLORS[look.ink]
    x = [point.x + shift for point in series.points]
    y = [point.y.value for point in series.points]
    over_time = not panel.ticks and not series.labeled
    axes.plot(
        *_broken(panel, series, x, y),
        **_stroke(look),
        markeredgecolor=color if look.hollow else COLORS["card"],
        markeredgewidth=1.2 if look.hollow else 0.6,
        markevery=max(1, len(x) // 6) if over_time else None,
        zorder=2 if look.faint else 3,
        gid=name,
    )
    if look.faint:
        return
    low, high = [p.y.error_bar[0] for p in series.points], [p.y.error_bar[1] for p in series.points]
    if over_time:
        if not all(math.isnan(v) for v in low):
            axes.fill_between(x, low, high, color=color, alpha=0.14, linewidth=0, zorder=1.2)
        return
    bars: dict[str, Any] = {"yerr": lengths(y, low, high)}
    if series.labeled:
        across = [p.across for p in series.points if p.across is not None]
        bars["xerr"] = lengths(
            [a.value for a in across], [a.error_bar[0] for a in across], [a.error_bar[1] for a in across]
        )
    axes.errorbar(
        x,
        y,
        **bars,
        fmt="none",
        color=color,
        ecolor=color,
        elinewidth=1.0,
        capsize=0 if series.labeled else 2,
        capthick=1.0,
        alpha=0.6 if series.labeled or look.hollow else 0.9,
        zorder=2.5,
    )


def _broken(panel: Panel, series: Series, x: list[float], y: list[float]) -> tuple[list[float], list[float]]:
    """The line with a gap wherever a place between two points has no number (yet)."""
    order = {place: index for index, (place, _) in enumerate(panel.ticks)}
    if not order:
        return x, y
    line: list[tuple[float, float]] = []
    for index, point in enumerate(series.points):
        if index and order[point.x] - order[series.points[index - 1].x] > 1:
            line.append((math.nan, math.nan))
        line.append((x[index], y[index]))
    return [place for place, _ in line], [value for _, value in line]


def _handle(look: Look, name: str) -> Line2D:
    return Line2D([], [], label=name, markeredgecolor=COLORS[look.ink], **_stroke(look))


def _stroke(look: Look) -> dict[str, Any]:
    """The line and marker, the same in the drawing and in the legend."""
    color = COLORS[look.ink]
    return {
        "color": color,
        "linestyle": DASHES[look.dash] if look.joined else "none",
        "linewidth": 0.9 if look.faint else 1.4,
        "alpha": 0.7 if look.faint else 1.0,
        "marker": MARKERS[look.marker],
        "markersize": SIZES[look.marker] * (0.65 if look.faint else 1.0),
        "markerfacecolor": COLORS["card"] if look.hollow else color,
    }


def _slanted(panel: Panel, width: float) -> int:
    """Extra room for tick labels that must be slanted, in pixels; 0 where they fit."""
    if not panel.ticks:
        return 0
    longest = max(len(label) for _, label in panel.ticks)
    room = width / len(panel.ticks)
    return 0 if longest * FONT * 0.62 + 4 <= room else min(70, int(longest * FONT * 0.42))


def _wrapped(title: str, width: int) -> str:
    lines = [""]
    for word in title.split(" "):
        if lines[-1] and len(lines[-1]) + len(word) + 1 > width:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return "\n".join(lines)


def _show_image(axes: Axes, contents: bytes) -> None:
    import numpy as np
    from PIL import Image

    beside = axes.inset_axes((1.02, 0.62, 0.26, 0.38))
    with Image.open(io.BytesIO(contents)) as image:
        pixels = np.asarray(image.convert("RGB"))
    beside.imshow(pixels, interpolation="nearest")
    beside.set_axis_off()
