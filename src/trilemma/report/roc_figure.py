"""What a budget means, drawn: the measured ROC curve below the one that no attack can exceed, on log axes."""

from __future__ import annotations

import numpy as np
from markupsafe import Markup
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure as Canvas
from matplotlib.ticker import FuncFormatter
from numpy.typing import NDArray

from trilemma.attacks.roc import Curve
from trilemma.report.inline import inline_svg
from trilemma.report.style import COLORS, FONT, house_style, svg_of

_LOWEST = 1e-3
_WIDTH, _HEIGHT = 440, 330  # CSS pixels

Rates = NDArray[np.float64]


def roc_figure(curve: Curve, ceiling: tuple[Rates, Rates] | None, alt: str) -> Markup:
    """The element for HTML.

    Args:
      curve: as measured.
      ceiling: false and largest true positive rates, or None without a budget.
      alt: the text for screen readers.
    """
    with house_style():
        canvas = Canvas(figsize=(_WIDTH / 72, _HEIGHT / 72), dpi=72, facecolor="none", layout="constrained")
        FigureCanvasAgg(canvas)
        axes = canvas.add_subplot()
        axes.set_facecolor("none")
        axes.set(xscale="log", yscale="log", xlim=(_LOWEST, 1), ylim=(_LOWEST, 1.12))
        axes.grid(color=COLORS["grid"], linewidth=0.8)
        axes.set_axisbelow(True)
        axes.set_xlabel("false positive rate: non-members that are accused")
        axes.set_title("true positive rate: members that are found", loc="left", fontsize=FONT, color=COLORS["muted"])
        percent = FuncFormatter(lambda rate, _: f"{100 * rate:g} %")
        axes.xaxis.set_major_formatter(percent)
        axes.yaxis.set_major_formatter(percent)
        chance = np.geomspace(_LOWEST, 1, 50)
        axes.plot(chance, chance, color=COLORS["muted"], linewidth=1, dashes=(5, 3), label="chance")
        if ceiling is not None:
            axes.plot(*ceiling, color=COLORS["vermilion"], linewidth=2, label="no attack can exceed")
            axes.fill_between(*ceiling, 1.12, color=COLORS["vermilion"], alpha=0.08, linewidth=0)
        seen = (curve.fpr > 0) & (curve.tpr > 0)
        axes.plot(
            curve.fpr[seen],
            curve.tpr[seen],
            color=COLORS["blue"],
            linewidth=2,
            drawstyle="steps-post",
            label="measured",
        )
        axes.legend(loc="lower right")
        return Markup(inline_svg(svg_of(canvas), "roc", alt))
