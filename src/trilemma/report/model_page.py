"""The page of one model: a verdict, the guarantee, the evidence, accuracy by class and group; ``statement.json``."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from trilemma.attacks.cells import TOO_FEW
from trilemma.errors import InputError
from trilemma.files import make_folder, reading, write_json, written
from trilemma.hints import one_line
from trilemma.measures import ATTACK_WORDS, MEASURES
from trilemma.report.audit_parts import audit_parts
from trilemma.report.breakdown import Breakdown, excludes_one_half, group_words, leakage_by_group, table_of
from trilemma.report.evidence import AUDIT, OneModel
from trilemma.report.glossary import GLOSSARY
from trilemma.report.model_facts import facts, lead
from trilemma.report.roc_figure import roc_figure
from trilemma.report.templates import asset, hash_of, templates
from trilemma.rounding import rounded_up
from trilemma.trial.gate import Judgment, Measured, measured, shown_value
from trilemma.trial.run import RESULT, guaranteed, why_contradicted, why_not_for_release
from trilemma.trial.statement import (
    CONDITIONS,
    NOT_COVERED,
    canaries_in_words,
    ceiling_in_words,
    guarantee_in_short,
    guarantee_in_words,
)
from trilemma.trial.title import title_of_run
from trilemma.version import __version__
from trilemma.words import budget as budget_words
from trilemma.words import capital, clean, guessing, percent, power

PAGE, STATEMENT, PDF = "model.html", "statement.json", "statement.pdf"
LONG = 60
"""A table of more rows scrolls within its frame, and a shorter one is shown whole."""
_LOOKS = {"holds": ("✓", "good"), "fails": ("✕", "bad"), "cannot tell": ("?", "open")}


def write_model_page(
    model: OneModel, out: Path, judgments: Sequence[Judgment] = (), *, pdf: bool = False, images: bool = True
) -> Path:
    """Write ``model.html`` and ``statement.json``; with ``pdf`` also ``statement.pdf``; else remove an earlier one.

    Args:
      model: the contents of a run or an audit.
      out: the folder, created if it does not exist.
      judgments: the required conditions and whether they hold, shown below the verdict.
      pdf: also print the page (WeasyPrint, extra ``pdf``).
      images: whether the page of an audit shows the images of the most exposed examples.

    Returns:
      The path of the page.

    Raises:
      InputError: a value of the result is missing or of another type, a file cannot be written, or WeasyPrint is not
        installed.
    """
    with reading(model.folder / (AUDIT if model.kind == "audit" else RESULT)):  # a stranger's, perhaps
        statement = statement_of(model, judgments)
        text = page_of(model, statement, images=images)
    make_folder(out)
    write_json(out / STATEMENT, statement)
    with written(out / PAGE) as part:
        part.write_text(text, "utf-8")
    if pdf:
        _print(text, out / PDF)
    else:  # one that an earlier report printed would contradict the page
        (out / PDF).unlink(missing_ok=True)
    return out / PAGE


def statement_of(model: OneModel, judgments: Sequence[Judgment] = ()) -> dict[str, Any]:
    """What ``statement.json`` holds: verdict, guarantee, evidence and what is not covered, for programs and people."""
    result = model.result
    privacy = result.get("privacy") or {}
    private = guaranteed(result) is not None
    if not model.training_known:
        guarantee = short = "No guarantee is known: this audit saw predictions, and not how the model was trained."
    else:
        guarantee, short = (say(privacy, result.get("canaries")) for say in (guarantee_in_words, guarantee_in_short))
    ceiling = privacy.get("ceiling") if private else None
    parts = Breakdown.of(model)
    reported = ("epsilon", "delta", "unit", "neighbouring", "accountant", "noise_multiplier", "updates", "noise_source")
    return {
        "format": 1,
        "version": __version__,
        "kind": model.kind,
        "not_for_release": why_not_for_release(result),
        "verdict": _verdict(model, short, parts),
        "numbers": _numbers(model),
        "required": [judgment.to_dict() for judgment in judgments],
        "guarantee": {
            "statement": guarantee,
            **({name: privacy.get(name) for name in reported} if private else {}),
            "attackers": ceiling_in_words(ceiling),
            "ceiling": ceiling,
            "conditions": list(CONDITIONS) if private else [],
            "not_covered": list(NOT_COVERED) if private else [],
        },
        "canaries": _canaries(result),
        "groups": parts.groups,
        "classes": parts.classes,
        "cells": parts.cells,
        "evidence": {"headline_attack": model.headline, "strength": model.strength(), "attacks": result["attacks"]},
        "measures": dict(result.get("measures") or {}),
        "measured": {
            name: {"value": number.value, "interval": [number.low, number.high]}
            for name in _MEASURED
            for number in measured(name, result)
        },
    }


def _canaries(result: Mapping[str, Any]) -> dict[str, Any] | None:
    """What the canaries of a run prove, with ``alarm`` where that is more than its budget allows; None without any."""
    record = result.get("canaries")
    if not record:
        return None
    alarm = why_contradicted(result)
    return {"statement": canaries_in_words(record), "alarm": alarm and capital(alarm), **record}


def _verdict(model: OneModel, guarantee: str, parts: Breakdown) -> list[str]:
    """Three sentences: what is guaranteed, what leaks, and for which images the model is accurate."""
    leak, by_group = _leak(model), leakage_by_group(parts.groups)
    if by_group:
        leak += f". {capital(by_group)}"
        if any(map(excludes_one_half, parts.groups)) and not model.telling and model.doubt:
            leak += f", which does not show that the model leaks ({model.doubt})"
    return [guarantee, f"{leak}.", _accuracy(model, parts.cells)]


def _leak(model: OneModel) -> str:
    words = {name: f"{_shown(auc)} ({clean(ATTACK_WORDS.get(name, name))})" for name, auc in model.aucs.items()}
    telling = model.telling
    headline, others = model.headline, ", ".join(words[name] for name in telling)
    if telling and model.doubt:
        return (
            "Attacks tell training examples from others, but this does not show that the model leaks ("
            f"{model.doubt}): the AUC of the headline attack is {words[headline]}"
        )
    if headline in telling:
        leak = f"Attacks tell training examples from others: the AUC of the headline attack is {words[headline]}"
        below = model.aucs[headline].high < 0.5
        return f"{leak}{'; this far below one half it leaks as much as this far above' if below else ''}"
    shown = f"training examples from others: the AUC of the headline attack is {words[headline]}"
    if telling:
        return f"The headline attack did not tell {shown}. Another interval excludes one half: {others}"
    return f"Overall, no attack told {shown}"


def _accuracy(model: OneModel, cells: Sequence[Mapping[str, Any]]) -> str:
    accuracy, worst_group = (measured(name, model.result) for name in ("accuracy", "worst_group_accuracy"))
    parts = []
    if accuracy:
        parts.append(f"It classifies {100 * accuracy[0].value:.0f} % of the test {model.things} correctly")
    caution = f" {capital(guessing(not model.training_known))}." if model.result.get("no_better_than_chance") else ""
    if worst_group:
        group = group_words(model.result["fairness"]["worst_group"])
        parts.append(f"{100 * worst_group[0].value:.0f} % of those of the worst group ({group})")
    worst = _worst_cell(model, cells)
    if worst is None:
        return f"{', '.join(parts)}.{caution}" if parts else "How accurate it is was not measured."
    share, kind = worst
    overall = [f"{', and '.join(parts)}.{caution}"] if parts else []
    return " ".join([*overall, f"It classifies {share}, the worst {kind}, correctly."])


def _worst_cell(model: OneModel, cells: Sequence[Mapping[str, Any]]) -> tuple[str, str] | None:
    """The accuracy of the worst class and group, or class, and which kind it is: as measured, or by the table."""
    worst = measured("worst_cell_accuracy", model.result)
    if worst:
        cell, accuracy = model.result["fairness"]["worst_cell"], worst[0]
        name = cell.get("class_name", cell["class"])
    elif not model.result.get("fairness") and (by_class := measured("worst_class_accuracy", model.result)):
        cell, accuracy = model.result["worst_class"], by_class[0]
        name = cell.get("class_name", cell["class"])
    elif cells:
        cell = min(cells, key=lambda cell: float(cell["accuracy"]))
        name, accuracy = cell["class"], Measured(cell["accuracy"], *cell["accuracy_interval"])
    else:
        return None
    share = f"{100 * accuracy.value:.0f} % [{100 * accuracy.low:.0f}, {100 * accuracy.high:.0f}]"
    where = f"class {clean(name)}" + (f" in {group_words(cell['group'])}" if "group" in cell else "")
    kind = "class and group" if "group" in cell else "class"
    return f"{share} of the {cell['examples']:,} {model.things} of {where}", kind


def _numbers(model: OneModel) -> list[dict[str, str]]:
    privacy = guaranteed(model.result)
    if not model.training_known:
        budget = ("ε", "unknown", "an audit does not see the training")
    elif privacy is None:
        budget = ("budget", budget_words(None), "no privacy guarantee")
    else:
        bound = f"at δ = {power(privacy['delta'])}; an upper bound, computed and not measured"
        budget = ("ε", rounded_up(privacy["epsilon"]), bound)
    headline = clean(ATTACK_WORDS.get(model.headline, model.headline))
    about = f"headline attack: {headline}; ½ is chance"
    numbers = [budget, ("AUC", _shown(model.aucs[model.headline]), about)]
    for quantity, title in _ACCURACIES.items():
        values = measured(quantity, model.result)
        if values:
            of_worst = {"worst_cell_accuracy": "class and group", "worst_group_accuracy": "group"}.get(quantity)
            what = values[0].what or f"on test {model.things}"
            interval = f"; the interval is for the lowest accuracy of any {of_worst}" if of_worst else ""
            numbers.append((title, _shown(values[0]), f"{what}{interval}"))
            break
    return [{"name": title, "shown": shown, "about": about} for title, shown, about in numbers]


_MEASURED = (
    *("accuracy", "worst_group_accuracy", "worst_class_accuracy", "worst_cell_accuracy"),
    *("bias", "harmonic_score"),
)
_ACCURACIES = {
    name: ", ".join(dict.fromkeys(("accuracy", MEASURES[name].title)))
    for name in ("worst_cell_accuracy", "worst_group_accuracy", "accuracy")
}
"""What the third number is: the first of these that was measured."""

_KINDS = {"worst_cell_accuracy": "class and group", "worst_class_accuracy": "class"}
_WORST = "The verdict gives the worst {} a wider interval, which is for the lowest true accuracy of any of them."
"""Why one accuracy has two intervals on the page."""


def _shown(number: Measured, digits: int = 3) -> str:
    return f"{number.value:.{digits}f} [{number.low:.{digits}f}, {number.high:.{digits}f}]"


def page_of(model: OneModel, statement: Mapping[str, Any], *, images: bool = True) -> str:
    """The page, from first tag to last."""
    environment, script = templates(), asset("page.js")
    breakdown = Breakdown(statement["groups"], statement["classes"], statement["cells"])
    heads, rows = table_of(breakdown, model.things)
    fairness = model.result.get("fairness")
    bias = measured("bias", model.result)
    sentence = f"Bias amplification is {_shown(bias[0])}; 0 is best, ½ is worst for two groups." if bias else ""
    alt = f"ROC curve of the headline attack. {statement['guarantee']['attackers'] or ''}".strip()
    return environment.get_template("model.html").render(
        title=_title(model),
        version=__version__,
        style=asset("page.css"),
        script=script,
        allowed=hash_of(script),
        statement=statement,
        looks=_LOOKS,
        measured=_measured_words,
        attacks=[_attack(name, values, model.headline) for name, values in model.result["attacks"].items()],
        rates="0.01" not in model.unmeasured_rates,
        roc=roc_figure(model.curve, model.ceiling, alt, ATTACK_WORDS.get(model.headline, clean(model.headline))),
        parts=audit_parts(model, images=images),
        things=model.things,
        fairness=sentence if fairness else "",
        worst=next((_WORST.format(words) for name, words in _KINDS.items() if name in statement["measured"]), ""),
        too_few=TOO_FEW if any(part["auc"] is None for part in statement["cells"]) else 0,
        cell_heads=heads,
        cells=rows,
        names=2 if statement["groups"] else 1,
        facts=facts(model),
        lead=lead(model),
        long=len(rows) > LONG,
        glossary=list(GLOSSARY.values()),
    )


def _title(model: OneModel) -> str:
    if model.kind == "audit":
        # Audits of predictions, and audits by earlier versions, know no training.
        what = title_of_run(model.folder, model.config) if model.config else Path(str(model.result["source"])).name
        return clean(f"Audit of {what}")
    return clean(title_of_run(model.folder, model.config))


def _measured_words(judgment: Mapping[str, Any]) -> str:
    words = []
    if judgment["value"] is not None:
        computed = judgment["condition"].startswith(("epsilon", "delta"))
        verb = "computed" if computed else "measured"
        words.append(f"{verb} {shown_value(judgment['condition'], judgment['value'])}")
        if judgment["low"] != judgment["high"]:
            words[0] += f" [{judgment['low']:.4g}, {judgment['high']:.4g}]"
    return ", ".join([*words, *([judgment["why"]] if judgment["why"] else [])])


def _attack(name: str, values: Mapping[str, Any], headline: str) -> dict[str, str]:
    auc, tpr = values["interval"]["auc"], values["interval"]["tpr_at_fpr"]["0.01"]
    rate = values["tpr_at_fpr"]["0.01"]
    return {
        "name": clean(ATTACK_WORDS.get(name, name)),
        "headline": "headline" if name == headline else "",
        "auc": f"{values['auc']:.3f}",
        "auc_ends": f"{auc[0]:.3f} to {auc[1]:.3f}",
        "tpr": "–" if rate is None else percent(rate),
        "tpr_ends": "not measured" if tpr is None else f"{percent(tpr[0])} to {percent(tpr[1])}",
    }


def _print(text: str, out: Path) -> None:
    try:
        import weasyprint
    except (ImportError, OSError) as error:  # OSError: a library of the system is missing
        raise InputError(f"a PDF needs WeasyPrint ({one_line(error)}): pip install 'trilemma[pdf]'") from error
    with written(out) as part:
        part.write_bytes(weasyprint.HTML(string=with_colors(text)).write_pdf())


def with_colors(page: str) -> str:
    """The page with plain colors in its drawings: WeasyPrint knows no CSS variables in SVG, and draws all in black.

    >>> with_colors('<path style="stroke: var(--blue, #0072b2)"/>')
    '<path style="stroke: #0072b2"/>'
    """
    return re.sub(r"var\(--[\w-]+, (#[0-9a-fA-F]{6})\)", r"\1", page)
