"""Success of an audit's headline attack: a heat map of class by group with both margins, or one row of classes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure as Canvas

from trilemma.files import written
from trilemma.measures import ATTACK_WORDS
from trilemma.report.style import COLORS, house_style, svg_of
from trilemma.words import clean, spelled


def draw_cells(document: Mapping[str, Any], path: Path) -> None:
    """Write the heat map as an SVG: the true-positive rate at the cell's own threshold where every cell that has
    numbers has enough non-members for it, otherwise the AUC.

    Args:
      document: ``audit.json``.
      path: the path of the file.

    Raises:
      InputError: the file cannot be written.
    """
    with written(path, durable=False) as part:
        part.write_bytes(cells_svg(document))


def cells_svg(document: Mapping[str, Any], face: str = "white") -> bytes:
    """The heat map as an SVG; ``face`` is the color behind it, "none" for a page with colors of its own."""
    rows, columns, cells = _cells(document)
    names = document.get("class_names")
    labels = columns if names is None else [name if name == ALL else names[int(name)] for name in columns]
    attack = document["headline_attack"]
    entries = [entry["attacks"][attack] for entry in cells.values() if "attacks" in entry]
    rate = bool(entries) and all(entry["tpr_own"] is not None for entry in entries)
    values = np.full((len(rows), len(columns)), np.nan)
    for (group, label), entry in cells.items():
        if "attacks" in entry:
            values[rows.index(group), columns.index(label)] = entry["attacks"][attack]["tpr_own" if rate else "auc"]
    with house_style():
        canvas = Canvas(
            figsize=(2.2 + 0.62 * len(columns), 1.7 + 0.42 * len(rows)), layout="constrained", facecolor=face
        )
        FigureCanvasAgg(canvas)
        axes = canvas.subplots()
        axes.set_facecolor(face)
        low, high = (0.0, max(0.05, float(np.nanmax(values)))) if rate else (0.5, 1.0)
        if not rate and entries:  # an AUC below 1/2 has a color of its own
            low = min(low, float(np.nanmin(values)))
        if not entries:
            low, high = 0.0, 1.0
        image = axes.imshow(np.ma.masked_invalid(values), cmap="cividis_r", vmin=low, vmax=high, aspect="auto")
        for row in range(len(rows)):
            for column in range(len(columns)):
                value = values[row, column]
                text = "too few" if np.isnan(value) else f"{100 * value:.0f} %" if rate else f"{value:.2f}"
                dark = not np.isnan(value) and value > (low + high) / 2
                ink = COLORS["muted"] if np.isnan(value) else "white" if dark else "black"
                axes.text(column, row, text, ha="center", va="center", fontsize=8, color=ink)
        axes.set_xticks(range(len(columns)), [clean(name)[:20] for name in labels])
        axes.set_yticks(range(len(rows)), [spelled(name)[:20] for name in rows])
        axes.spines[:].set_visible(False)
        words = ATTACK_WORDS.get(attack, attack)
        what = "members found at 1 % false positives, own threshold" if rate else "AUC"
        axes.set_title(f"{words}: {what}", loc="left")
        canvas.colorbar(image, ax=axes, shrink=0.8)
        return svg_of(canvas)


ALL = "all"


def _cells(document: Mapping[str, Any]) -> tuple[list[str], list[str], dict[tuple[str, str], Any]]:
    """Names of rows and columns, and the cells by both; with groups, also each group, each class and everything."""
    cells, attack = document["cells"], document["headline_attack"]
    table = {(ALL, name): entry for name, entry in cells["by_class"].items()}
    if cells["by_class_and_group"] is None:
        return [ALL], list(cells["by_class"]), table
    whole = document["attacks"][attack]
    table = {(group, ALL): entry for group, entry in cells["by_group"].items()} | table
    table[ALL, ALL] = {"attacks": {attack: {"auc": whole["auc"], "tpr_own": whole["tpr_at_fpr"]["0.01"]}}}
    for name, entry in cells["by_class_and_group"].items():
        label, _, group = name.partition("/")
        table[group, label] = entry
    return [*cells["by_group"], ALL], [*cells["by_class"], ALL], table
