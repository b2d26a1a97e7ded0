"""What a budget means, drawn: the measured ROC curve below the one that no attack can exceed, on log axes."""

from __future__ import annotations

import numpy as np
from markupsafe import Markup
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure as Canvas
from matplotlib.ticker import FuncFormatter
from numpy.typing import NDArray

from trilemma.attacks.roc import Curve
from trilemma.report.figures.audit_roc import CHANCE, X_TITLE, Y_TITLE, draw_ruled_out
from trilemma.report.inline import inline_svg
from trilemma.report.style import COLORS, FONT, house_style, svg_of

_LOWEST = 1e-3
_WIDTH, _HEIGHT = 440, 330  # CSS pixels

Rates = NDArray[np.float64]


def roc_figure(curve: Curve, ceiling: tuple[Rates, Rates] | None, alt: str, attack: str) -> Markup:
    """The element for HTML.

    Args:
      curve: as measured.
      ceiling: false and largest true positive rates, or None without a budget.
      alt: the text for screen readers.
      attack: whose curve it is, in words.
    """
    with house_style():
        canvas = Canvas(figsize=(_WIDTH / 72, _HEIGHT / 72), dpi=72, facecolor="none", layout="constrained")
        FigureCanvasAgg(canvas)
        axes = canvas.add_subplot()
        axes.set_facecolor("none")
        axes.set(xscale="log", yscale="log", xlim=(_LOWEST, 1), ylim=(_LOWEST, 1.12))
        axes.grid(color=COLORS["grid"], linewidth=0.8)
        axes.set_axisbelow(True)
        axes.set_xlabel(X_TITLE)
        axes.set_title(Y_TITLE, loc="left", fontsize=FONT, color=COLORS["muted"])
        percent = FuncFormatter(lambda rate, _: f"{100 * rate:g} %")
        axes.xaxis.set_major_formatter(percent)
        axes.yaxis.set_major_formatter(percent)
        chance = np.geomspace(_LOWEST, 1, 50)
        axes.plot(chance, chance, label="chance", **CHANCE)
        if ceiling is not None:
            draw_ruled_out(axes, *ceiling, top=1.12)
        seen = (curve.fpr > 0) & (curve.tpr > 0)
        axes.plot(
            curve.fpr[seen],
            curve.tpr[seen],
            color=COLORS["blue"],
            linewidth=2,
            drawstyle="steps-post",
            label=f"{attack}, measured",
        )
        axes.legend(loc="lower right")
        return Markup(inline_svg(svg_of(canvas), "roc", alt))
