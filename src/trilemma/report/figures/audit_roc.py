"""The ROC curves of one audit on logarithmic axes, with bands, and the region that a budget rules out."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure as Canvas
from matplotlib.ticker import FuncFormatter, NullFormatter

from trilemma.files import written
from trilemma.measures import ATTACK_WORDS
from trilemma.report.figure import look
from trilemma.report.style import COLORS, house_style, svg_of

_LEAST = 1e-4

X_TITLE, Y_TITLE = "non-members that are accused (false positives)", "members that are found (true positives)"
CHANCE: dict[str, Any] = {"color": COLORS["muted"], "linewidth": 1, "linestyle": (0, (5, 3))}
"""How every ROC curve of one model is labeled, and how its line of chance looks."""


def draw_ruled_out(axes: Axes, fpr: Any, ceiling: Any, *, top: float) -> None:
    """Draw the largest true-positive rates that a budget allows, and the region above them, up to ``top``."""
    axes.plot(fpr, ceiling, color=COLORS["rule"], linewidth=1.4)
    axes.fill_between(fpr, ceiling, top, color=COLORS["rule"], alpha=0.3, linewidth=0, label="ruled out by the budget")


def draw_roc(document: Mapping[str, Any], path: Path) -> None:
    """Write the curves as an SVG.

    Args:
      document: ``audit.json``.
      path: the path of the file.

    Raises:
      InputError: the file cannot be written.
    """
    with written(path, durable=False) as part:
        part.write_bytes(roc_svg(document))


def roc_svg(document: Mapping[str, Any], face: str = "white") -> bytes:
    """The curves as an SVG; ``face`` is the color behind them, "none" for a page with colors of its own."""
    roc = document["roc"]
    fpr = roc["fpr"]
    with house_style():
        canvas = Canvas(figsize=(5.5, 4.6), layout="constrained", facecolor=face)
        FigureCanvasAgg(canvas)
        axes = canvas.subplots()
        axes.set_facecolor(face)
        axes.set(xscale="log", yscale="log", xlim=(fpr[0], 1), ylim=(max(_LEAST, fpr[0] / 2), 1.05))
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(FuncFormatter(lambda rate, _: f"{100 * rate:g} %"))
            axis.set_minor_formatter(NullFormatter())  # else a short axis is full of powers of ten
        axes.grid(color=COLORS["grid"])
        axes.plot([fpr[0], 1], [fpr[0], 1], label="chance", **CHANCE)
        for index, (name, curve) in enumerate(roc["attacks"].items()):
            color = COLORS[look(index).ink]
            known = [place for place, value in enumerate(curve["tpr"]) if value is not None]
            rates, tpr = [fpr[place] for place in known], [max(curve["tpr"][place], _LEAST) for place in known]
            low, high = ([max(curve[end][place], _LEAST) for place in known] for end in ("low", "high"))
            axes.fill_between(rates, low, high, color=color, alpha=0.18, linewidth=0)
            axes.plot(rates, tpr, color=color, linewidth=1.8, label=ATTACK_WORDS.get(name, name))
        if roc["ceiling"] is not None:
            draw_ruled_out(axes, fpr, roc["ceiling"], top=1.05)
        axes.set_xlabel(X_TITLE)
        axes.set_ylabel(Y_TITLE)
        axes.legend(loc="lower right")
        return svg_of(canvas)
