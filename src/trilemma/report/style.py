"""How figures look: colors, markers, lines and type, on paper and on the page."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import matplotlib
from matplotlib.figure import Figure

COLORS = {
    "blue": "#0072b2",
    "vermilion": "#d55e00",
    "green": "#009e73",
    "purple": "#cc79a7",
    "black": "#111112",
    "orange": "#e69f00",
    "sky": "#56b4e9",
    "text": "#1c1c1d",
    "muted": "#5c5c5d",
    "rule": "#8f8f90",
    "grid": "#e4e4e5",
    "card": "#fefefe",
}
"""Okabe and Ito's inks, which color-blind readers can tell apart, and the colors around them; the page replaces them by
its own."""

FONT = 11.0
MARKERS = {"circle": "o", "square": "s", "triangle": "^", "diamond": "D", "down": "v", "plus": "P", "cross": "X"}
SIZES = {"circle": 6.0, "square": 5.4, "triangle": 6.4, "diamond": 5.2, "down": 6.4, "plus": 6.6, "cross": 6.2}
DASHES: dict[str, Any] = {"": "solid", "dashed": (0, (4.5, 2)), "dotted": (0, (1.2, 1.8))}
_STYLE = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans", "Arial", "Helvetica", "sans-serif"],
    "font.size": FONT,
    "text.parse_math": False,
    "text.color": COLORS["text"],
    "axes.edgecolor": COLORS["rule"],
    "axes.linewidth": 0.8,
    "axes.labelcolor": COLORS["text"],
    "axes.labelsize": FONT,
    "axes.titlesize": FONT,
    "axes.titlecolor": COLORS["text"],
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.unicode_minus": True,
    "xtick.color": COLORS["rule"],
    "ytick.color": COLORS["rule"],
    "xtick.labelcolor": COLORS["text"],
    "ytick.labelcolor": COLORS["muted"],
    "xtick.labelsize": FONT - 0.5,
    "ytick.labelsize": FONT - 0.5,
    "xtick.major.size": 3,
    "ytick.major.size": 0,
    "legend.frameon": False,
    "legend.fontsize": FONT - 1,
    "svg.fonttype": "none",
    "svg.hashsalt": "trilemma",
    "pdf.fonttype": 42,
}


@contextmanager
def house_style() -> Iterator[None]:
    """Draw in the project's style, whatever matplotlib is set to, within this context."""
    # Names may use scripts that the font lacks, which needs no warning.
    with matplotlib.rc_context(_STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*Glyph.*missing from.*")
        warnings.filterwarnings("ignore", message=".*constrained_layout not applied.*")
        yield


def svg_of(canvas: Figure) -> bytes:
    """A drawn figure as an SVG, without date and program, so that equal figures are equal files."""
    file = io.BytesIO()
    canvas.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
    return file.getvalue()
