"""The figures by name, and what a study must measure so that they can be drawn.

A new figure is a file in this folder with a :class:`~trilemma.report.figures.kind.Kind`, and a line in ``FIGURES``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

import pandas as pd

from trilemma import measures
from trilemma.data.named import may_have_groups
from trilemma.errors import InputError
from trilemma.hints import did_you_mean
from trilemma.report.figure import Figure, Panel
from trilemma.report.figures.budget import BUDGET
from trilemma.report.figures.ceiling import CEILING
from trilemma.report.figures.kind import Images, Kind
from trilemma.report.figures.leakage import LEAKAGE
from trilemma.report.figures.memorization import MEMORIZATION
from trilemma.report.figures.outliers import OUTLIERS
from trilemma.report.figures.placing import BUDGET_AXIS
from trilemma.report.figures.price import PRICE
from trilemma.report.figures.skew import SKEW
from trilemma.report.figures.techniques import ACCURACY, BIAS, GROUPS, SCORE
from trilemma.report.figures.tradeoff import TRADEOFF
from trilemma.report.numbers import Numbers, PlacedCondition
from trilemma.words import clean

FIGURES: dict[str, Kind] = {
    "accuracy": ACCURACY,
    "bias": BIAS,
    "leakage": LEAKAGE,
    "score": SCORE,
    "budget": BUDGET,
    "skew": SKEW,
    "outliers": OUTLIERS,
    "memorization": MEMORIZATION,
    "tradeoff": TRADEOFF,
    "groups": GROUPS,
    "price": PRICE,
    "ceiling": CEILING,
}
"""The figures by name."""


class PlannedStudy(Protocol):
    """What :func:`check_figures` asks of a study (``trilemma.study.trials.Study`` has it)."""

    @property
    def name(self) -> str: ...
    @property
    def figures(self) -> Sequence[str]: ...
    @property
    def trials(self) -> Sequence[Any]: ...


def check_figures(study: PlannedStudy) -> None:
    """Refuse, before anything is trained, a figure that does not exist or that no trial of the study can fill.

    Raises:
      InputError: naming the figure and the measure.
    """
    made: set[str] = set()
    for trial in study.trials:
        made |= planned_measures(dict(trial.data), tracks=bool(trial.track), removes=trial.removal is not None)
    check_names(study.figures, made, of=f"the study {study.name}")


def check_names(names: Iterable[str], measures: Iterable[str], *, of: str = "the study") -> None:
    """Refuse unknown figures, and those that need a measure which is not among ``measures``.

    >>> check_names(["accuracy"], ["accuracy"])

    Raises:
      InputError: naming the figure and the measure.
    """
    made = set(measures)
    for name in names:
        if name not in FIGURES:
            raise InputError(
                f"unknown figure {clean(name)!r} of {of}{did_you_mean(name, FIGURES)}: choose from {', '.join(FIGURES)}"
            )
        lacking = _lacking(FIGURES[name], made)
        if lacking:
            raise InputError(
                f"the figure {name!r} of {of} needs the measure {lacking}, which no trial makes: {FIGURES[name].lack}"
            )


def planned_measures(data: Mapping[str, Any], *, tracks: bool, removes: bool) -> set[str]:
    """Measures that a trial on this data will make, as far as its plan tells; what is unknown counts as made.

    Args:
      data: arguments of ``load_data``.
      tracks: whether it records examples during training.
      removes: whether it leaves out examples.
    """
    groups = may_have_groups(str(data.get("name")))
    return measures.planned_measures(groups=groups, tracks=tracks, removes=removes)


def draw_numbers(name: str, results: pd.DataFrame, study: Mapping[str, Any], *, images: Images | None = None) -> Figure:
    """The numbers of one figure.

    Args:
      name: a key of ``FIGURES``.
      results: the rows that count, as ``trilemma.analysis.results.read_results`` gives them.
      study: ``study.json``.
      images: PNGs of tracked examples by "TRIAL/INDEX" or "INDEX".

    Returns:
      A figure; where nothing that it needs was measured, without panels and with a note that says what is lacking.

    Raises:
      InputError: no such figure.
    """
    check_names([name], [part for kind in FIGURES.values() for need in kind.needs for part in need])
    numbers = Numbers(results, study)
    figure = figure_of(name, numbers, images=images)
    if figure.panels:
        return figure
    lacking = _lacking(FIGURES[name], set(numbers.measures))
    if lacking:
        note = f"it needs the measure {lacking}, which no trial made: {FIGURES[name].lack}"
    else:
        note = "its measures were made, but not for trials that it can compare"
    return replace(figure, notes=(note,))


def figure_of(
    name: str,
    numbers: Numbers,
    conditions: Iterable[PlacedCondition] | None = None,
    *,
    images: Images | None = None,
) -> Figure:
    """As :func:`draw_numbers`, from numbers that were read before; ``conditions``: those that count."""
    kind = FIGURES[name]
    chosen = list(numbers.conditions.values() if conditions is None else conditions)
    panels = [_filled(panel) for panel in kind.panels(numbers, chosen, images or {})]
    panels = [panel for panel in panels if panel.series]
    title = kind.title
    if panels and all(panel.x_title == BUDGET_AXIS for panel in panels):
        title = title.replace("by technique", "by budget")
    return Figure(name, title, kind.about, tuple(panels), kind.references if panels else ())


def _filled(panel: Panel) -> Panel:
    return replace(panel, series=tuple(s for s in panel.series if s.points))


def _lacking(kind: Kind, made: set[str]) -> str:
    for alternatives in kind.needs:
        ends = tuple(name for name in alternatives if name.endswith(("_", "/")))
        if not made & set(alternatives) and not (ends and any(name.startswith(ends) for name in made)):
            return " or ".join(name.rstrip("_/") for name in alternatives)
    return ""
