"""Whether probabilities of membership hold: the observed share of members against the predicted probability."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure as Canvas

from trilemma.measures import ATTACK_WORDS
from trilemma.report.figure import look
from trilemma.report.style import COLORS, house_style, svg_of


def reliability_svg(curves: Mapping[str, Any], face: str = "white") -> bytes:
    """The curves as an SVG.

    Args:
      curves: ``reliability`` of ``audit.json``.
      face: the color behind them, "none" for a page with colors of its own.
    """
    with house_style():
        canvas = Canvas(figsize=(4.2, 3.6), layout="constrained", facecolor=face)
        FigureCanvasAgg(canvas)
        axes = canvas.subplots()
        axes.set_facecolor(face)
        axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
        axes.grid(color=COLORS["grid"])
        axes.plot([0, 1], [0, 1], color=COLORS["rule"], linestyle=(0, (4.5, 2)), linewidth=1, label="as predicted")
        for index, (name, curve) in enumerate(curves.items()):
            color, marker = COLORS[look(index).ink], "os^D"[index % 4]
            label = ATTACK_WORDS.get(name, name)
            axes.plot(curve["predicted"], curve["observed"], color=color, marker=marker, markersize=4, label=label)
        axes.set_xlabel("predicted probability of membership")
        axes.set_ylabel("share that were members")
        axes.legend(loc="upper left")
        return svg_of(canvas)
