"""ROC curves of a study: a panel for each condition, a curve with its band over seeds for each attack, on log axes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure as Canvas
from matplotlib.ticker import FixedLocator, FuncFormatter, NullFormatter
from numpy.typing import NDArray

from trilemma.attacks.roc import roc_curve
from trilemma.errors import InputError
from trilemma.files import written
from trilemma.measures import attack_words
from trilemma.report.drawing import FORMATS
from trilemma.report.figure import Look, look
from trilemma.report.figures.placing import without_removal
from trilemma.report.inline import inline_svg
from trilemma.report.numbers import FEW, Numbers
from trilemma.report.style import COLORS, house_style, svg_of
from trilemma.statistics.intervals import mean_interval
from trilemma.trial.signals import read_signals

Rates = NDArray[np.float64]
POINTS = 32
NEEDED = 10
"""Non-members at or above the threshold, without which a false-positive rate is not drawn."""
TOLD = 0.1
"""The false-positive rate whose numbers are said in words."""
_SCORE = "score_"


@dataclass(frozen=True)
class Band:
    """A curve over the seeds of one condition; all arrays are float64 (P,), a rate each.

    Attributes:
      tpr: the mean over seeds of the true-positive rate.
      low, high: the ends of its 95 % interval, Student's t over seeds; None for fewer seeds than ``FEW``.
    """

    tpr: Rates
    low: Rates | None
    high: Rates | None


@dataclass(frozen=True)
class RocPanel:
    """One condition: ``title``, its number of seeds, the false-positive rates, and a band for each attack's name."""

    title: str
    condition: str
    seeds: int
    fpr: Rates
    bands: Mapping[str, Band]

    @property
    def finding(self) -> str:
        """What the panel says at ``TOLD`` false positives."""
        column = int(np.argmin(np.abs(self.fpr - TOLD)))
        name, band = max(self.bands.items(), key=lambda pair: pair[1].tpr[column])
        ends = (
            ""
            if band.low is None or band.high is None
            else f" [{100 * band.low[column]:.1f}, {100 * band.high[column]:.1f}]"
        )
        return (
            f"At {100 * self.fpr[column]:.0f} % false positives, the {attack_words(name)} finds most of the members, "
            f"{100 * band.tpr[column]:.1f} %{ends}{self._chosen}."
        )

    @property
    def _chosen(self) -> str:
        """A caveat where the best of several attacks is told."""
        count = len(self.bands)
        return f" (the best of {count} attacks, chosen after looking, so a little high by chance)" if count > 1 else ""


def roc_panels(numbers: Numbers, signals: Mapping[str, Path]) -> list[RocPanel]:
    """The curves of every condition whose trials all left their signals, in the study's order.

    Args:
      numbers: the study's numbers.
      signals: the path of ``signals.parquet`` by the id of the trial.

    Raises:
      InputError: a file is damaged.
    """
    conditions = without_removal(list(numbers.conditions.values()))
    panels = []
    for condition in conditions:
        paths = [signals[trial] for trial in condition.trials if trial in signals]
        if not paths or len(paths) < len(condition.trials):
            continue
        panel = _panel(condition.title, condition.id, [_curves(path) for path in paths])
        panels += [panel] if panel is not None else []
    return panels


def _curves(path: Path) -> tuple[float, dict[str, tuple[Rates, Rates]]]:
    """The effective number of non-members of a trial, and the curve of each of its attacks against matched ones."""
    table: pd.DataFrame = read_signals(path).to_pandas()
    if not {"member", "weight"} <= set(table.columns):
        raise InputError(f"{path} has no columns member and weight: it was damaged, or written by another program")
    rows = table[table["weight"] > 0]
    weights, member = rows["weight"].to_numpy(np.float64), rows["member"].to_numpy(bool)
    outside = weights[~member]
    if not len(outside) or not member.any():
        return 0.0, {}
    curves = {}
    for column in (name for name in rows.columns if name.startswith(_SCORE)):
        curve = roc_curve(rows[column].to_numpy(np.float64), member, weights)
        curves[column.removeprefix(_SCORE)] = curve.fpr, curve.tpr
    return float(outside.sum() ** 2 / (outside**2).sum()), curves


def _panel(title: str, condition: str, trials: list[tuple[float, dict[str, tuple[Rates, Rates]]]]) -> RocPanel | None:
    names = [name for name in trials[0][1] if all(name in curves for _, curves in trials)]
    fewest = min(count for count, _ in trials)
    if not names or fewest <= 2 * NEEDED:
        return None
    fpr = np.unique(np.r_[np.geomspace(NEEDED / fewest, 1, POINTS), max(TOLD, NEEDED / fewest)])
    bands = {}
    for name in names:
        steps = (curves[name] for _, curves in trials)
        tpr = np.stack([up[np.searchsorted(along, fpr, side="right") - 1] for along, up in steps])
        if len(tpr) >= FEW:
            low, high = np.array([mean_interval(values) for values in tpr.T]).T.clip(0, 1)
        bands[name] = Band(tpr.mean(axis=0), *((low, high) if len(tpr) >= FEW else (None, None)))
    return RocPanel(title, condition, len(trials), fpr, bands)


def attack_looks(panels: Iterable[RocPanel]) -> dict[str, Look]:
    """The ink and dash of each attack, the same in all panels."""
    names = dict.fromkeys(name for panel in panels for name in panel.bands)
    return {
        name: replace(look(position), dash=("", "dashed", "dotted")[position % 3])
        for position, name in enumerate(names)
    }


def panel_svg(panel: RocPanel, looks: Mapping[str, Look], name: str) -> Markup:
    """The element for HTML; ``name`` begins the ids inside it."""
    with house_style():
        canvas = Canvas(figsize=(320 / 72, 250 / 72), dpi=72, facecolor="none", layout="constrained")
        FigureCanvasAgg(canvas)
        axes = canvas.add_subplot()
        axes.set_facecolor("none")
        _draw(axes, panel, looks)
        return Markup(inline_svg(svg_of(canvas), name, f"{panel.title}: {panel.finding}"))


def save_panels(panels: list[RocPanel], looks: Mapping[str, Look], folder: Path, stem: str) -> None:
    """``stem.svg``, ``.pdf`` and ``.png`` with all panels on white.

    Raises:
      InputError: there is nothing to draw, or they cannot be written.
    """
    if not panels:
        raise InputError("there are no ROC curves to draw: no run of the study holds a signals.parquet")
    across = min(len(panels), 3 if len(panels) != 4 else 2)
    down = math.ceil(len(panels) / across)
    with house_style():
        canvas = Canvas(figsize=(max(4.4 * across, 5.5), 3.4 * down + 0.6), layout="constrained", facecolor="white")
        FigureCanvasAgg(canvas)
        grid = canvas.subplots(down, across, squeeze=False)
        for index, axes in enumerate(grid.flat):
            if index >= len(panels):
                axes.set_visible(False)
                continue
            axes.set_title(panels[index].title, loc="left", fontweight="bold")
            _draw(axes, panels[index], looks)
        handles, labels = grid.flat[0].get_legend_handles_labels()
        canvas.legend(handles, labels, loc="outside lower center", ncols=min(len(labels), 2 * across))
        nothing: dict[str, dict[str, Any]] = {
            "svg": {"Date": None, "Creator": None},
            "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
            "png": {"Software": None},
        }
        for kind in FORMATS:
            with written(folder / f"{stem}.{kind}", durable=False) as part:
                canvas.savefig(part, format=kind, dpi=160, metadata=nothing[kind])


def frame_of(panels: Iterable[RocPanel]) -> pd.DataFrame:
    """All numbers drawn: panel, cell, attack, fpr, tpr, low, high, seeds."""
    rows = []
    for panel in panels:
        for attack, band in panel.bands.items():
            for column, fpr in enumerate(panel.fpr):
                low, high = (math.nan if end is None else float(end[column]) for end in (band.low, band.high))
                place = panel.title, panel.condition, attack
                rows.append((*place, float(fpr), float(band.tpr[column]), low, high, panel.seeds))
    return pd.DataFrame(rows, columns=["panel", "cell", "attack", "fpr", "tpr", "low", "high", "seeds"])


def _labeled(least: float) -> list[float]:
    """The rates that are labeled on an axis: where it begins, which matters most, and powers of ten well beside it.

    >>> _labeled(0.02), _labeled(0.001)
    ([0.02, 0.1, 1.0], [0.001, 0.01, 0.1, 1.0])
    """
    return [least, *(power for power in (0.0001, 0.001, 0.01, 0.1, 1.0) if power >= 2.5 * least)]


def _draw(axes: Axes, panel: RocPanel, looks: Mapping[str, Look]) -> None:
    least = float(panel.fpr[0])
    axes.set(xscale="log", yscale="log", xlim=(least, 1), ylim=(least / 2, 1.08))
    axes.grid(color=COLORS["grid"], linewidth=0.8)
    axes.set_axisbelow(True)
    axes.plot([least, 1], [least, 1], color=COLORS["muted"], linewidth=1, dashes=(5, 3))
    dashes = {"": "solid", "dashed": (0, (5, 2)), "dotted": (0, (1.5, 1.5))}
    for name, band in panel.bands.items():
        color = COLORS[looks[name].ink]
        if band.low is not None and band.high is not None:
            low = np.maximum(band.low, least / 4)  # a logarithmic axis has no zero
            axes.fill_between(panel.fpr, low, band.high, color=color, alpha=0.12, linewidth=0)
        shown = np.where(band.tpr > 0, band.tpr, np.nan)
        style, words = dashes[looks[name].dash], attack_words(name)
        axes.plot(panel.fpr, shown, color=color, linewidth=1.6, linestyle=style, label=words)
    percent = FuncFormatter(lambda rate, _: f"{float(f'{100 * rate:.2g}'):g} %")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(FixedLocator(_labeled(least)))
        axis.set_major_formatter(percent)
        axis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("non-members that are accused (false positives)")
    axes.set_ylabel("members that are found")
