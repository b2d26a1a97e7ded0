"""Contents of the first screen of a study's page: the sentence, the findings, the trade-off, and its terms."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from trilemma import paper
from trilemma.analysis.claims import Claim
from trilemma.hints import listed
from trilemma.report.drawing import panel_svg, y_limits
from trilemma.report.figure import Panel
from trilemma.report.figures.catalog import figure_of
from trilemma.report.glossary import GLOSSARY
from trilemma.report.headlines import headlines, main_setting, studied
from trilemma.report.inline import inline_svg
from trilemma.report.numbers import Numbers, PlacedCondition
from trilemma.report.swatch import swatch
from trilemma.techniques import TECHNIQUES
from trilemma.words import SEEDED_NOISE_OF_STUDY


def first_screen(numbers: Numbers | None, claims: Sequence[Claim], study: Mapping[str, Any]) -> dict[str, Any]:
    """Values for the template, by the names that it knows them by.

    Args:
      numbers: the numbers of all finished trials; None if there are none.
      claims: with their verdicts.
      study: ``study.json``.
    """
    conditions = [] if numbers is None else list(numbers.conditions.values())
    several = len({condition.setting for condition in conditions}) > 1
    return {
        "studied": studied(conditions),
        "headlines": [] if numbers is None else headlines(numbers, claims, named=several),
        "glance": _glance(numbers, conditions),
        "paper": paper,
        "glossary": list(GLOSSARY.values()),
        "not_for_release": SEEDED_NOISE_OF_STUDY if _seeded(study) else "",
    }


def _glance(numbers: Numbers | None, conditions: Sequence[PlacedCondition]) -> dict[str, Any] | None:
    """The trade-off of the main setting: its first panel, with the full names of the techniques on it."""
    chosen = main_setting(conditions)
    if numbers is None or not chosen:
        return None
    figure = figure_of("tradeoff", numbers, chosen)
    if not figure.panels:
        return None
    figure = dataclasses.replace(figure, panels=figure.panels[:1])
    panel: Panel = figure.panels[0]
    svg = inline_svg(panel_svg(panel, y_limits(figure)[0], taller=0), "glance", f"At a glance, {panel.alt}")
    points = " ".join(point.at for series in panel.series for point in series.points).replace("+", " ").split()
    names = {"BL": "BL is the baseline", "all": "all is all techniques together"}
    names |= {code.upper(): f"{code.upper()} is {technique.name}" for code, technique in TECHNIQUES.items()}
    codes = [words for code, words in names.items() if code in points]
    return {
        "svg": Markup(svg),
        "legend": [(swatch(look), text) for text, look in figure.legend],
        "lines": _lines(panel),
        "dashed": "" if panel.x_reference is None else "The dashed line is an AUC of ½: an attack that only guesses. ",
        "chosen": _CHOSEN if _strongest(panel) else "",
        "codes": codes,
    }


def _lines(panel: Panel) -> str:
    """What the thin lines through points are."""
    numbers = [point.y for series in panel.series for point in series.points]
    kinds = {"few" if number.of_few else number.over for number in numbers}
    parts = {
        "seeds": "are 95 % intervals over seeds",
        "examples": "are 95 % intervals over test images, where there is one training alone",
        "few": "lead from one seed to the other, where there are two",
    }
    return f"Thin lines {listed([words for kind, words in parts.items() if kind in kinds], most=None)}"


_CHOSEN = (
    "The figure shows the strongest of several attacks, chosen after looking at their results, so it lies a little off "
    "that line by chance. The finding on leakage is about the loss threshold, which was fixed in advance."
)
"""Why the figure and the finding beside it give different AUCs."""


def _strongest(panel: Panel) -> bool:
    """Whether the panel shows the AUC of an attack that was chosen after looking at the results."""
    across = [point.across for series in panel.series for point in series.points]
    return any(number is not None and number.measure == "auc_strongest" for number in across)


def _seeded(study: Mapping[str, Any]) -> bool:
    """Whether a private trial drew its noise from its seed."""
    recipes = [trial.get("recipe", {}) for trial in study.get("trials", {}).values()]
    return any(recipe.get("epsilon") is not None and not recipe.get("secret_noise") for recipe in recipes)
