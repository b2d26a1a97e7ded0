"""Bars of a panel, with their intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence

from matplotlib.axes import Axes

from trilemma.report.figure import Panel, Series
from trilemma.report.style import COLORS


def draw_bars(axes: Axes, panel: Panel, series: Series, shift: float, width: float, name: str) -> None:
    """Draw a series as bars that stand on the panel's reference line, or on 0 without one.

    Args:
      axes: where.
      panel: whose reference line it is.
      series: hollow bars where its look is hollow.
      shift: how far to the side of their places they stand.
      width: of a bar, in units of the axis.
      name: id of every bar.
    """
    color, base = COLORS[series.look.ink], panel.y_reference or 0.0
    x, y = [point.x + shift for point in series.points], [point.y.value for point in series.points]
    fill = "none" if series.look.hollow else color
    for bar in axes.bar(x, [value - base for value in y], width, base, color=fill, edgecolor=color, zorder=2):
        bar.set_gid(name)
    ends = lengths(
        y, [point.y.error_bar[0] for point in series.points], [point.y.error_bar[1] for point in series.points]
    )
    axes.errorbar(x, y, yerr=ends, fmt="none", ecolor=COLORS["black"], elinewidth=1.0, capsize=2, zorder=3)


def lengths(values: Sequence[float], low: Sequence[float], high: Sequence[float]) -> list[list[float]]:
    """The lengths of error bars, downward and upward; 0 where there is no interval."""
    ends = list(zip(values, low, high, strict=True))
    down = [0.0 if math.isnan(b) else max(0.0, v - b) for v, b, _ in ends]
    return [down, [0.0 if math.isnan(t) else max(0.0, t - v) for v, _, t in ends]]
