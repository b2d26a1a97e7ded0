"""The page as values: what each section says, ready for the template, which only lays it out and escapes it."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from trilemma.analysis.claims import Claim
from trilemma.hints import listed
from trilemma.measures import UNMATCHED
from trilemma.report.drawing import FORMATS
from trilemma.report.figures.catalog import planned_measures
from trilemma.report.first_screen import first_screen
from trilemma.report.numbers import Numbers, PlacedCondition, study_order
from trilemma.report.page_figures import ShownStudy, slugs
from trilemma.report.tables import Table, any_table, comparisons_table, results_table
from trilemma.report.templates import asset, hash_of, templates
from trilemma.titles import trial_titles
from trilemma.words import (
    capital,
    clean,
    clean_lines,
    counted,
    exact,
    power,
)

_VERDICTS = {
    "confirmed": ("✓", "good"),
    "contradicted": ("✕", "bad"),
    "mixed": ("≈", "open"),
    "cannot tell": ("?", "open"),
    "not measured": ("–", "none"),
}


def render(
    *,
    studies: Sequence[ShownStudy],
    study: Mapping[str, Any],
    numbers: Numbers | None,
    ledger: Mapping[str, Any],
    comparisons: Sequence[Mapping[str, Any]],
    comparison_notes: Sequence[str],
    claims: Sequence[Claim],
    missing: Mapping[str, str],
    failures: Mapping[str, str],
    environment: Mapping[str, Any],
    commands: Sequence[str],
    definition: str,
    files: Sequence[str],
) -> str:
    """The page, from first tag to last."""
    page = templates()
    script = asset("page.js")
    shown = [_claim(claim) for claim in claims]
    conditions = [] if numbers is None else list(numbers.conditions.values())
    made = _planned_measures(study) if numbers is None else set(numbers.measures)
    return page.get_template("page.html").render(
        title=studies[0].title if len(studies) == 1 else f"{counted(len(studies), 'study', 'studies')}, side by side",
        studies=studies,
        **first_screen(numbers, claims, study),
        standing=_standing(studies),
        budgets=_budgets(conditions, numbers) or _planned_budgets(study),
        grouped="bias" in made,
        naive=any(name.endswith(UNMATCHED) for name in made),
        removing=any(condition.removal for condition in conditions),
        definition=clean(definition),
        claims=[claim for claim in shown if claim["measured"]],
        unmeasured=[claim for claim in shown if not claim["measured"]],
        comparisons=comparisons_table(comparisons) if comparisons else None,
        comparison_notes=[clean(note) for note in comparison_notes],
        bases=list(dict.fromkeys(clean(row["basis"]) for row in comparisons if row.get("basis"))),
        prices=list(map(clean, ledger.get("paragraphs", ()))),
        conditions=list(map(clean, ledger.get("condition_sentences", ()))),
        accounts=_accounts(ledger),
        results=results_table(numbers) if numbers is not None and conditions else None,
        missing=_unfinished(missing, study),
        failures=_unfinished(failures, study),
        recipes=_recipes(study),
        provenances=_provenances(study),
        environment=[(clean(key), clean("–" if value is None else value)) for key, value in environment.items()],
        commands=list(map(clean, commands)),
        version=clean(study.get("version", "")),
        files=files,
        formats=FORMATS,
        script=script,
        style=asset("page.css"),
        allowed=hash_of(script),
    )


def _standing(studies: Sequence[ShownStudy]) -> str:
    """The first thing to know about a study that is incomplete."""
    return "; ".join(f"{study.title}: {study.standing}" for study in studies if study.standing)


def _budgets(conditions: Sequence[PlacedCondition], numbers: Numbers | None) -> list[str]:
    """A sentence for each budget that was asked for."""
    sentences = []
    for epsilon, delta in sorted({(c.epsilon, c.delta or math.nan) for c in conditions if c.epsilon is not None}):
        same = [c for c in conditions if c.epsilon == epsilon and (c.delta == delta or math.isnan(delta))]
        spent = [
            n.value for condition in same if numbers is not None and (n := numbers.get(condition, "epsilon_spent"))
        ]
        text = f"(ε, δ) = ({exact(epsilon)}, {power(delta)})"
        sentences.append(f"{text}, of which at most ε = {max(spent):.3f} was spent" if spent else text)
    return sentences


def _planned_budgets(study: Mapping[str, Any]) -> list[str]:
    """A sentence for each budget that is to be trained with."""
    recipes = [trial.get("recipe", {}) for trial in study.get("trials", {}).values()]
    budgets = {(r["epsilon"], r.get("delta") or math.nan) for r in recipes if r.get("epsilon") is not None}
    return [f"(ε, δ) = ({exact(epsilon)}, {power(delta)})" for epsilon, delta in sorted(budgets)]


def _planned_measures(study: Mapping[str, Any]) -> set[str]:
    """What the trials of a study will measure, as far as their plan tells."""
    made: set[str] = set()
    for trial in study.get("trials", {}).values():
        made |= planned_measures(
            trial.get("data", {}), tracks=bool(trial.get("track")), removes=bool(trial.get("removal"))
        )
    return made


def _claim(claim: Claim) -> dict[str, Any]:
    findings = [dataclasses.asdict(finding) for finding in claim.findings]
    verdict = str(claim.verdict)
    if verdict == "cannot tell" and len({f["verdict"] for f in findings} & {"confirmed", "contradicted"}) == 2:
        verdict = "mixed"
    icon, kind = _VERDICTS.get(verdict, ("•", "open"))
    return {
        "id": slugs([claim.name])[0],
        "name": clean(claim.name),
        "measured": verdict != "not measured",
        "source": clean(claim.source),
        "statement": capital(clean(claim.statement)),
        "verdict": clean(verdict),
        "icon": icon,
        "kind": kind,
        "sentence": _counts(findings) if len(findings) > 2 else clean(claim.sentence),
        "findings": [
            {
                "setting": clean(f["setting"]),
                "verdict": clean(f["verdict"]),
                "icon": _VERDICTS.get(str(f["verdict"]), ("•", ""))[0],
                "sentence": clean(f["sentence"]),
            }
            for f in findings
        ],
    }


def _counts(findings: Sequence[Mapping[str, Any]]) -> str:
    """How many settings say what; each has its own sentence below."""
    verdicts = [str(finding["verdict"]) for finding in findings]
    words = (("confirmed", "confirm it"), ("contradicted", "contradict it"), ("cannot tell", "cannot tell"))
    counts = [f"{verdicts.count(verdict)} {text}" for verdict, text in words]
    return f"Of {len(findings)} settings {listed(counts)}."


def _accounts(ledger: Mapping[str, Any]) -> Table | None:
    """A row for each private trial of ``Ledger.to_dict()``."""
    rows = [
        {
            "trial": trial["id"],
            "ε alone": trial["epsilon"],
            "what": trial["label"],
            "same images as": f"{len(family['trials']) - 1} other private trials on {family['family']}",
            "δ": power(trial["delta"]),
            "training set chosen by a model": "no" if trial["chosen_by"] is None else f"yes ({trial['chosen_by']})",
        }
        for family in ledger.get("families", ())
        for trial in family["trials"]
    ]
    return any_table("ledger-table", "Private trials, each with its own price.", rows) if rows else None


def _unfinished(trials: Mapping[str, str], study: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    titles = trial_titles(study.get("trials", {}))
    return [(clean(t), titles.get(t, "?"), clean(reason)) for t, reason in trials.items()]


def _recipes(study: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """(title, trials, everything but the seed as text) of what was to be trained; seeds share an entry."""
    planned = study.get("trials", {})
    trials_by_recipe: dict[str, list[tuple[int, str]]] = {}
    title_of = trial_titles(planned, seed=False)
    titles: dict[str, str] = {}
    for name in study_order(study):
        if name not in planned:
            continue
        trial = json.loads(json.dumps(planned[name]))
        seed = trial.get("recipe", {}).pop("seed", "?")
        if trial.get("removal"):
            trial["removal"].pop("scored_by", None)  # another for each seed
        text = json.dumps(trial, indent=1, ensure_ascii=False)
        trials_by_recipe.setdefault(text, []).append((seed, name))
        # Studies that train nearly the same do so by recipes of their own.
        of = [key for key, part in study.get("studies", {}).items() if name in part.get("trials", ())]
        where = f" ({clean(', '.join(of))})" if len(study.get("studies", {})) > 1 else ""
        titles[text] = title_of[name] + where
    return [
        (titles[text], "; ".join(f"seed {seed}: {clean(name)}" for seed, name in trials), clean_lines(text))
        for text, trials in trials_by_recipe.items()
    ]


def _provenances(study: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(how settings were chosen, of how many trials), where a recipe says so."""
    texts = [clean(str(trial.get("recipe", {}).get("provenance", ""))) for trial in study.get("trials", {}).values()]
    return [(text, counted(texts.count(text), "trial", "trials")) for text in dict.fromkeys(texts) if text]
