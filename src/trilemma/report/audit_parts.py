"""Sections of an audit's page that a run's page lacks: ROC bands, success by class and group, exposed examples."""

from __future__ import annotations

import base64
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from trilemma.attacks.exposure import cell_words
from trilemma.files import read_json, reading
from trilemma.measures import ATTACK_WORDS
from trilemma.report.evidence import OneModel
from trilemma.report.figures.audit_cells import cells_svg
from trilemma.report.figures.audit_reliability import reliability_svg
from trilemma.report.figures.audit_roc import roc_svg
from trilemma.report.inline import inline_svg
from trilemma.rounding import upper
from trilemma.trial.most_exposed import EXPOSED
from trilemma.words import RANKS, clean, counted, spelled


@dataclass(frozen=True)
class AuditParts:
    """What the page of an audit shows and that of a run does not, ready for the template.

    Attributes:
      roc: the curves with bands.
      cells: the heat map of class by group, or of classes; its title; its width in rem, by how many cells it has.
      rates: of the parts with numbers, name and the headline attack's rates, as text: members found at the part's own
        threshold and at that of all, and non-members accused at the latter.
      equal: what the test of equal vulnerability says.
      alarms: sentences about what lies above the budget's ceiling.
      reliability: whether the probabilities hold on shadow models that were not used for the fit, drawn; "" where there
        are none.
      held: the same in sentences, and why an attack has no probabilities.
      exposed: the most exposed examples: ``image`` (a data URL, or ""), ``about`` and the three ``probabilities``.
    """

    roc: Markup
    cells: Markup
    cells_title: str
    cells_width: float
    rates: tuple[tuple[str, ...], ...]
    equal: str
    alarms: tuple[str, ...]
    reliability: Markup
    held: str
    exposed: tuple[dict[str, Any], ...]


def audit_parts(model: OneModel, *, images: bool = True) -> AuditParts | None:
    """The sections of an audit; None for a run, whose attacks use no shadow models.

    Args:
      model: what was read.
      images: whether the page shows the images of the most exposed examples.

    Raises:
      InputError: a file of the audit is not what was written.
    """
    if model.kind != "audit" or "roc" not in model.result:  # audits of earlier versions have no bands
        return None
    result = model.result
    with reading(model.folder / "audit.json"):
        attacks = ", ".join(ATTACK_WORDS.get(name, clean(name)) for name in result["roc"]["attacks"])
        ruled_out = " and the region that the budget rules out" if result["roc"]["ceiling"] is not None else ""
        heat, grouped = cells_svg(result, "none"), result["cells"]["by_class_and_group"] is not None
        kind = "class and group" if grouped else "class"
        headline = ATTACK_WORDS.get(result["headline_attack"], clean(result["headline_attack"]))
        return AuditParts(
            Markup(inline_svg(roc_svg(result, "none"), "roc", f"ROC curves of {attacks}, with 95 % bands{ruled_out}.")),
            Markup(inline_svg(heat, "cells", f"Whom {headline} finds, by {kind}.")),
            f"By {kind}",
            _width(heat),
            tuple(_rates(result, model.class_names)),
            _equal(result["cells"]["equal_vulnerability"], model.class_names),
            tuple(_alarm(alarm) for alarm in result["ceiling_alarms"]),
            *_reliability(result.get("reliability") or {}, result.get("probability_reason") or {}),
            _exposed(model, images, {*(result.get("reliability") or {}), "histogram"}),
        )


_SCALE = 1.3
"""How much larger the page shows the heat map than it was drawn: its numbers are as large as the page's small print."""


def _width(svg: bytes) -> float:
    """The width in rem of 16 pixels."""
    size = re.search(rb'viewBox="0 0 ([0-9.]+) ', svg)
    assert size is not None
    return round(_SCALE * float(size[1]) / 16, 1)


def _rates(result: Mapping[str, Any], class_names: list[str] | None) -> Iterator[tuple[str, ...]]:
    cells, headline = result["cells"], result["headline_attack"]
    for kind in ("group", "class_and_group") if cells["by_group"] is not None else ("class",):
        for cell, entry in cells[f"by_{kind}"].items():
            if "attacks" not in entry:
                continue
            values = entry["attacks"][headline]
            texts = (_rate(values, name) for name in ("tpr_own", "tpr_global", "fpr_global"))
            yield (clean(cell_words(cell, kind, class_names)), *texts)


def _rate(values: Mapping[str, Any], name: str) -> str:
    if values[name] is None:
        return clean(values.get("reason", "–")) if name == "tpr_own" else "too few non-members in all"
    text, ends = f"{100 * values[name]:.1f} %", values["interval"].get(name)
    return text if ends is None else f"{text} [{100 * ends[0]:.1f}, {100 * ends[1]:.1f}]"


_KINDS = {"class": "classes", "group": "groups", "class_and_group": "classes and groups"}


def _equal(test: Mapping[str, Any], class_names: list[str] | None) -> str:
    if "p_value" not in test:
        return f"Whether all are equally exposed was not tested: {clean(test['reason'])}."
    what = _KINDS[test["cells"]]
    if test["rejected"]:
        cell = cell_words(test["most_unequal"], test["cells"], class_names)
        return (
            f"Exposure differs between {what} (permutation test, p = {test['p_value']:.3g}); the most unequal is "
            f"{clean(cell)}."
        )
    return (
        f"The hypothesis that all are equally exposed is not rejected ({what}; permutation test, "
        f"p = {test['p_value']:.3g})."
    )


def _reliability(curves: Mapping[str, Any], reasons: Mapping[str, str]) -> tuple[Markup, str]:
    """The drawing and what to say; ``reasons``: why an attack has no probabilities."""
    said = []
    if curves:
        errors = [
            f"{float(curve['expected_calibration_error']):.3f} for {ATTACK_WORDS.get(name, clean(name))}"
            for name, curve in curves.items()
        ]
        said.append(
            "On shadow models that the probabilities were not fitted to, the share of members differs from the "
            f"predicted probability by {' and '.join(errors)} on average (expected calibration error)."
        )
    left_out = max((int(curve.get("left_out", 0)) for curve in curves.values()), default=0)
    if left_out:
        said.append(f"This leaves out {counted(left_out, 'reference model')} that the others cannot attack.")
    said += [
        f"There are no probabilities by {ATTACK_WORDS.get(name, clean(name))}: checking them {clean(reason)}."
        for name, reason in reasons.items()
    ]
    if not curves:
        return Markup(""), " ".join(said)
    drawn = inline_svg(reliability_svg(curves, "none"), "reliability", "Predicted probabilities and shares of members.")
    return Markup(drawn), " ".join(said)


def _alarm(alarm: Mapping[str, Any]) -> str:
    return (
        f"The interval of {ATTACK_WORDS.get(alarm['attack'], clean(alarm['attack']))} begins at {alarm['low']:.3f} "
        f"({clean(alarm['measure'])}), above the {upper(alarm['ceiling'])} that the budget allows any attack: "
        "accounting, sampling or noise is wrong, or members differ from non-members in more than membership."
    )


def _exposed(model: OneModel, images: bool, checked: Collection[str]) -> tuple[dict[str, Any], ...]:
    path = model.folder / EXPOSED
    if not path.exists():
        return ()
    with reading(path):
        return tuple(_shown(example, images, checked) for example in read_json(path)["examples"])


_PROBABILITIES = tuple((name, ATTACK_WORDS.get(name, f"loss {name}")) for name in RANKS)


def percent(probability: float) -> str:
    """A probability in whole percent, of which only 0 and 1 are certain.

    >>> percent(0.843), percent(0.9996), percent(1e-9), percent(1.0)
    ('84 %', '> 99 %', '< 1 %', '100 %')
    """
    words = f"{100 * probability:.0f} %"
    return {"100 %": "> 99 %", "0 %": "< 1 %"}.get(words, words) if 0 < probability < 1 else words


def _shown(example: Mapping[str, Any], images: bool, checked: Collection[str]) -> dict[str, Any]:
    """``checked``: whose probabilities were checked, or need no check; no other is shown."""
    group = "" if example["group"] is None else f", {spelled(example['group'])}"
    image = ""
    if images and example["png"] is not None:
        base64.b64decode(example["png"], validate=True)  # a ValueError, and no markup, if it is something else
        image = f"data:image/png;base64,{example['png']}"
    values = [(words, example["probability"][name] if name in checked else None) for name, words in _PROBABILITIES]
    return {
        "image": image,
        "about": f"example {int(example['index'])}: {clean(example['class'])}{group}",
        "probabilities": [(words, "–" if value is None else percent(float(value))) for words, value in values],
    }
