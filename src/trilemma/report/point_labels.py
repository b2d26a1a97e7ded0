"""Names of points, written beside them."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.text import Text

from trilemma.report.figure import Panel, Point
from trilemma.report.label_placement import Box, place_labels
from trilemma.report.style import COLORS, FONT


def label_points(axes: Axes, panel: Panel, *, place: int = 0) -> list[Text]:
    """Write each point's place beside it, where it hides the least and lies nearer to its point than to any other.

    A label for which there is no such place is left out: the line through the points still tells their order.

    Args:
      axes: with everything else drawn.
      panel: what is drawn there.
      place: of the panel in its figure, for the labels' ids, "halo-PLACE-SERIES-POINT".
    """
    canvas = axes.figure
    # Pixels of the canvas; the SVG of the page has as many.
    transform = axes.transData.transform
    scale = canvas.dpi / 72
    renderer = canvas.canvas.get_renderer()  # type: ignore[attr-defined]
    names, points, obstacles, ends, ids = [], [], [], [], []
    for index, series in [(number, s) for number, s in enumerate(panel.series) if s.labeled]:
        places = [tuple(transform((p.x, p.y.value))) for p in series.points]
        for number, (point, middle) in enumerate(zip(series.points, places, strict=True)):
            names.append(point.at)
            ids.append(f"halo-{place}-{index}-{number}")
            points.append(middle)
            ends.append(series.look.joined and number in (0, len(places) - 1))
            obstacles += _bars(transform, point)
        if series.look.joined:
            for a, b in pairwise(places):
                steps = max(2, int(math.dist(a, b) / (5 * scale)))
                for k in range(1, steps):
                    x, y = a[0] + (b[0] - a[0]) * k / steps, a[1] + (b[1] - a[1]) * k / steps
                    obstacles.append(Box(x - scale, y - scale, x + scale, y + scale))
    if not points:
        return []
    if panel.x_reference is not None:
        x = transform((panel.x_reference, 0))[0]
        obstacles.append(Box(x - scale, -1e6, x + scale, 1e6))
    size = FONT - 0.5
    sizes = []
    for name in names:
        text = axes.text(0, 0, name, fontsize=size)
        box = text.get_window_extent(renderer)
        text.remove()
        sizes.append((box.width, box.height * 0.8))
    inside = axes.get_window_extent(renderer)
    bounds = Box(inside.x0, inside.y0, inside.x1, inside.y1)
    texts = []
    for label in place_labels(points, sizes, obstacles, bounds, unit=scale):
        name, middle = names[label.index], points[label.index]
        color = COLORS["text"]
        x, y = axes.transData.inverted().transform((label.x, label.y))
        if label.far:
            start = axes.transData.inverted().transform(middle)
            axes.add_line(Line2D([start[0], x], [start[1], y], color=COLORS["rule"], linewidth=0.7, zorder=3.5))
        text = axes.text(
            x,
            y,
            name,
            ha="center",
            va="center",
            fontsize=size,
            color=color,
            zorder=5,
            gid=ids[label.index],
            clip_on=False,
        )
        if ends[label.index]:
            text.set_fontweight("bold")
        texts.append(text)
    return texts


def _bars(transform: Any, point: Point) -> list[Box]:
    boxes = []
    if not math.isnan(point.y.low):
        (x, low), (_, high) = (transform((point.x, end)) for end in point.y.error_bar)
        boxes.append(Box(x - 1, low, x + 1, high))
    if point.across is not None and not math.isnan(point.across.low):
        (low, y), (high, _) = (transform((end, point.y.value)) for end in point.across.error_bar)
        boxes.append(Box(low, y - 1, high, y + 1))
    return boxes
