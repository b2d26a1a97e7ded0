"""The page as values: what each section says, ready for the template, which only lays it out and escapes it."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import itertools
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from trilemma.analysis.claims import Claim
from trilemma.hints import listed
from trilemma.measures import UNMATCHED, measure_of
from trilemma.report.drawing import FORMATS, cut_short, panel_svg, y_limits
from trilemma.report.figure import Figure
from trilemma.report.first_screen import first_screen
from trilemma.report.glossary import explained
from trilemma.report.inline import inline_svg
from trilemma.report.numbers import Numbers, PlacedCondition, setting_titles, study_order
from trilemma.report.removals import removal_facts
from trilemma.report.swatch import swatch
from trilemma.report.tables import Column, Entry, Table, any_table, comparisons_table, results_table
from trilemma.report.templates import asset, templates
from trilemma.words import (
    budget,
    budget_order,
    capital,
    clean,
    clean_lines,
    counted,
    mix,
    number,
    power,
    trial_title,
)

_VERDICTS = {
    "confirmed": ("✓", "good"),
    "contradicted": ("✕", "bad"),
    "mixed": ("≈", "open"),
    "cannot tell": ("?", "open"),
    "not measured": ("–", "none"),
}


@dataclass(frozen=True)
class ShownPanel:
    """A panel ready for the page."""

    title: str
    svg: Markup
    finding: str
    note: str
    picture: str
    picture_text: str


@dataclass(frozen=True)
class ShownFigure:
    """A figure ready for the page.

    Attributes:
      id, stem: the id of its element, and the names of its files without suffix.
      legend: (swatch, name).
      lone: whether it has one panel, and no neighbor with one panel to stand next to.
    """

    id: str
    stem: str
    title: str
    about: str
    intervals: str
    notes: tuple[str, ...]
    panels: tuple[ShownPanel, ...]
    legend: tuple[tuple[Markup, str], ...]
    references: tuple[str, ...]
    table: Table | None
    lone: bool = False


@dataclass(frozen=True)
class ShownStudy:
    """A study ready for the page: ``facts`` are (term, description)."""

    id: str
    title: str
    about: str
    facts: tuple[tuple[str, str], ...]
    standing: str
    figures: tuple[ShownFigure, ...]

    @property
    def has_panels(self) -> bool:
        """Whether any figure has anything to show."""
        return any(figure.panels for figure in self.figures)


_CUT = " An interval that reaches the edge of its panel goes on beyond it; the numbers below have its ends."


def show_figure(figure: Figure, stem: str, notes: Iterable[str] = ()) -> ShownFigure:
    """Draw the panels, with a table of their numbers."""
    name = f"figure-{stem}"
    panels = []
    for place, (panel, limits) in enumerate(zip(figure.panels, y_limits(figure), strict=True), 1):
        picture = "" if panel.picture is None else f"data:image/png;base64,{base64.b64encode(panel.picture).decode()}"
        svg = Markup(inline_svg(panel_svg(panel, limits), f"{name}-{place}", panel.alt))
        panels.append(ShownPanel(panel.title, svg, panel.finding, panel.note, picture, panel.picture_text))
    return ShownFigure(
        name,
        stem,
        figure.title,
        figure.about,
        figure.intervals + (_CUT if any(cut_short(panel) for panel in figure.panels) else ""),
        (*figure.notes, *notes),
        tuple(panels),
        tuple((swatch(look), text) for text, look in figure.legend),
        figure.references,
        _numbers_table(figure, name) if panels else None,
    )


def show_study(
    place: str,
    entry: Mapping[str, Any],
    numbers: Numbers | None,
    figures: Sequence[ShownFigure],
    *,
    missing: Mapping[str, str],
    failures: Mapping[str, str],
) -> ShownStudy:
    """What was trained on what data, and how many trials have finished."""
    conditions = [] if numbers is None else list(numbers.conditions.values())
    planned = list(entry.get("trials", ()))
    finished = sum(len(condition.trials) for condition in conditions)
    failed, unfinished = sum(t in failures for t in planned), sum(t in missing for t in planned)
    standing = f"{number(finished, 0)} of {counted(len(planned), 'trial')} finished"
    if failed:
        standing += f", {failed} failed"
    if unfinished:
        standing += f", {unfinished} not finished yet"
    facts = [("Trials", f"{standing}.")]
    if conditions:
        facts += _what_was_trained(conditions) + removal_facts(conditions, numbers)
    facts.append(("Seeds", listed(entry.get("seeds", ()), most=None)))
    scale = str(entry.get("scale") or "")
    if scale:
        size = {"small": "small: fewer images, a smaller network, fewer updates", "paper": "paper: the paper’s size"}
        facts.append(("Scale", size.get(scale, clean(scale))))
    return ShownStudy(
        f"study-{place}",
        clean(entry.get("title") or place),
        clean(entry.get("about") or ""),
        tuple(facts),
        standing if finished < len(planned) else "",
        _beside_each_other(figures),
    )


def _beside_each_other(figures: Sequence[ShownFigure]) -> tuple[ShownFigure, ...]:
    """Figures of one panel stand two in a row where they follow each other."""
    shown: list[ShownFigure] = []
    waiting = False
    for position, figure in enumerate(figures):
        single = len(figure.panels) == 1
        follows = position + 1 < len(figures) and len(figures[position + 1].panels) == 1
        shown.append(dataclasses.replace(figure, lone=single and not waiting and not follows))
        waiting = single and not waiting and follows
    return tuple(shown)


def slugs(names: Iterable[str]) -> list[str]:
    """Names for files and anchors, no two alike.

    >>> slugs(["My study: 2", "<script>", "my study 2", "?"])
    ['My-study-2', 'script', 'my-study-2-2', 'study']
    """
    slugs_so_far: list[str] = []
    for name in names:
        words = "".join(c if c.isascii() and (c.isalnum() or c in "-_") else " " for c in name).split()
        base = "-".join(words)[:60] or "study"
        # Some file systems take upper and lower case for the same.
        taken = {other.lower() for other in slugs_so_far}
        tries = (base if count == 1 else f"{base}-{count}" for count in itertools.count(1))
        slugs_so_far.append(next(slug for slug in tries if slug.lower() not in taken))
    return slugs_so_far


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
    page.filters["clean"] = clean
    page.filters["explained"] = lambda text: explained(clean(text))
    script = asset("page.js")
    shown = [_claim(claim) for claim in claims]
    conditions = [] if numbers is None else list(numbers.conditions.values())
    return page.get_template("page.html").render(
        title=studies[0].title if len(studies) == 1 else f"{counted(len(studies), 'study', 'studies')}, side by side",
        studies=studies,
        **first_screen(numbers, claims, study),
        standing=_standing(studies),
        budgets=_budgets(conditions, numbers),
        grouped=numbers is not None and "bias" in numbers.measures,
        naive=numbers is not None and any(name.endswith(UNMATCHED) for name in numbers.measures),
        removing=any(condition.removal for condition in conditions),
        definition=clean(definition),
        claims=[claim for claim in shown if claim["measured"]],
        unmeasured=[claim for claim in shown if not claim["measured"]],
        comparisons=comparisons_table(comparisons) if comparisons else None,
        comparison_notes=[clean(note) for note in comparison_notes],
        bases=list(dict.fromkeys(clean(row["basis"]) for row in comparisons if row.get("basis"))),
        sentences=[clean(sentence) for sentence in ledger.get("sentences", ())],
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
        allowed=_allowed(script),
    )


def _allowed(script: str) -> str:
    """The script's own hash, which lets it run; nothing else in the page does."""
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def _numbers_table(figure: Figure, name: str) -> Table:
    titled = len({panel.title for panel in figure.panels}) > 1
    scatter = any(n.across is not None for panel in figure.panels for s in panel.series for n in s.points)
    columns = [Column("series"), Column("at"), Column("value", numeric=True)]
    columns += [Column("against", numeric=True)] if scatter else []
    columns += [Column("measure"), *([Column("panel")] if titled else []), Column("seeds", numeric=True)]
    rows = []
    for panel in figure.panels:
        for series in panel.series:
            # A curve of many evaluations is read at its ends and every fifth of it; the CSV has them all.
            step = max(1, len(series.points) // 5) if len(series.points) > 12 else 1
            for position, point in enumerate(series.points):
                if position % step and position != len(series.points) - 1:
                    continue
                digits = measure_of(point.y.measure).digits
                value = number(point.y.value, digits)
                interval = _interval(point.y.low, point.y.high, digits)
                row = [Entry(series.name), Entry(point.at), Entry(value, repr(point.y.value), interval)]
                if scatter and point.across is not None:
                    title = measure_of(point.across.measure).title
                    text = f"{title} {number(point.across.value)}"
                    row.append(Entry(text, repr(point.across.value), _interval(point.across.low, point.across.high, 3)))
                row += [Entry(measure_of(point.y.measure).title), *([Entry(panel.title)] if titled else [])]
                rows.append((*row, Entry(str(point.y.seeds), str(point.y.seeds))))
    caption = f"The numbers of “{figure.title}”, as drawn; 95 % intervals in brackets."
    return Table(f"{name}-numbers", caption, tuple(columns), tuple(rows))


def _interval(low: float, high: float, digits: int) -> str:
    return "" if math.isnan(low) or math.isnan(high) else f"[{number(low, digits)}, {number(high, digits)}]"


def _what_was_trained(conditions: Sequence[PlacedCondition]) -> list[tuple[str, str]]:
    titles = setting_titles(conditions)
    largest: dict[str, int] = {}
    for condition in conditions:
        largest[condition.setting] = max(largest.get(condition.setting, 0), condition.examples)
    data = [f"{titles[key]} ({number(largest[key], 0)} training examples)" for key in titles]
    mixes = list(dict.fromkeys(mix(condition.codes) for condition in conditions))
    budgets = [
        budget(epsilon)
        for epsilon in sorted({condition.epsilon for condition in conditions}, key=budget_order, reverse=True)
    ]
    facts = [("Data", "; ".join(data)), ("Techniques", ", ".join(mixes)), ("Budgets", listed(budgets, most=None))]
    facts.append(("Network", listed(dict.fromkeys(clean(condition.model) for condition in conditions))))
    return facts


def _standing(studies: Sequence[ShownStudy]) -> str:
    """The first thing to know about a study that is incomplete."""
    return "; ".join(f"{study.title}: {study.standing}" for study in studies if study.standing)


def _budgets(conditions: Sequence[PlacedCondition], numbers: Numbers | None) -> list[str]:
    """A sentence for each budget that was asked for."""
    sentences = []
    for epsilon, delta in sorted({(c.epsilon, c.delta or math.nan) for c in conditions if c.epsilon is not None}):
        same = [condition for condition in conditions if condition.epsilon == epsilon]
        spent = [
            n.value for condition in same if numbers is not None and (n := numbers.get(condition, "epsilon_spent"))
        ]
        text = f"(ε, δ) = ({epsilon:g}, {power(delta)})"
        sentences.append(f"{text}, of which at most ε = {max(spent):.3f} was spent" if spent else text)
    return sentences


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
            "δ": trial["delta"],
            "training set chosen by a model": "no" if trial["chosen_by"] is None else f"yes ({trial['chosen_by']})",
        }
        for family in ledger.get("families", ())
        for trial in family["trials"]
    ]
    return any_table("ledger-table", "Private trials, each with its own price.", rows) if rows else None


def _unfinished(trials: Mapping[str, str], study: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    planned = study.get("trials", {})
    return [(clean(t), trial_title(planned.get(t, {})), clean(reason)) for t, reason in trials.items()]


def _recipes(study: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """(title, trials, everything but the seed as text) of what was to be trained; seeds share an entry."""
    planned = study.get("trials", {})
    trials_by_recipe: dict[str, list[tuple[int, str]]] = {}
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
        titles[text] = trial_title(planned[name], seed=False) + where
    return [
        (titles[text], "; ".join(f"seed {seed}: {clean(name)}" for seed, name in trials), clean_lines(text))
        for text, trials in trials_by_recipe.items()
    ]


def _provenances(study: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(how settings were chosen, of how many trials), where a recipe says so."""
    texts = [clean(str(trial.get("recipe", {}).get("provenance", ""))) for trial in study.get("trials", {}).values()]
    return [(text, counted(texts.count(text), "trial", "trials")) for text in dict.fromkeys(texts) if text]
