"""``report.html`` and ``figures/``: from a study's results to the files that people open."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from trilemma.analysis.claims import Claim
from trilemma.analysis.conditions import of_study
from trilemma.files import make_folder, written
from trilemma.measures import attack_words
from trilemma.report.drawing import save_figure
from trilemma.report.figure import Figure, Look
from trilemma.report.figures.catalog import FIGURES, check_names, figure_of, planned_measures
from trilemma.report.numbers import FEW, Numbers
from trilemma.report.page import render
from trilemma.report.page_figures import ShownFigure, ShownPanel, ShownStudy, show_figure, show_study, slugs
from trilemma.report.study_roc import RocPanel, attack_looks, frame_of, panel_svg, roc_panels, save_panels
from trilemma.report.swatch import swatch
from trilemma.spreadsheet import write_csv
from trilemma.words import capital, counted

PAGE, FIGURES_FOLDER = "report.html", "figures"


def write_report(
    out: Path,
    results: pd.DataFrame,
    study: Mapping[str, Any],
    *,
    ledger: Mapping[str, Any] | None = None,
    comparisons: Sequence[Mapping[str, Any]] = (),
    comparison_notes: Sequence[str] = (),
    claims: Sequence[Claim] = (),
    missing: Mapping[str, str] | None = None,
    failures: Mapping[str, str] | None = None,
    images: Mapping[str, bytes] | None = None,
    signals: Mapping[str, Path] | None = None,
    environment: Mapping[str, Any] | None = None,
    commands: Sequence[str] = (),
    definition: str = "normalized",
) -> Path:
    """Draw all figures of all studies and write the page, from the arguments alone.

    Args:
      out: the folder; ``report.html`` and ``figures/`` are written there, and ``results.csv`` if there is none.
      results: as ``trilemma.analysis.results.read_results`` gives them; of several folders, one below the other.
      study: ``study.json``; of several folders, merged.
      ledger: ``Ledger.to_dict()``.
      comparisons: rows of ``Comparisons.table()`` as dicts.
      comparison_notes: what could not be compared, sentences.
      claims: as :func:`trilemma.analysis.claims.claims` gives them.
      missing, failures: why trials of the study have no results, by id; what has results is no longer missing.
      images: PNGs of tracked examples by "TRIAL/INDEX" or "INDEX".
      signals: the path of each finished trial's ``signals.parquet``, by id, from which ROC curves are drawn.
      environment: versions and machine, shown as they are.
      commands: how to run it again, a line each.
      definition: the definition of the harmonic score.

    Returns:
      The page's path.

    Raises:
      InputError: an unknown figure; a figure whose measure no trial makes, though all trials have finished; results
        that are not such a table; or a folder that cannot be written to.
    """
    with_results = {str(trial) for trial in results["trial"].unique()}
    unfinished = {trial: why for trial, why in (missing or {}).items() if trial not in with_results}
    failed = {trial: why for trial, why in (failures or {}).items() if trial not in with_results}
    entries: Mapping[str, Mapping[str, Any]] = study["studies"]
    parts: dict[str, Numbers | None] = {}
    for name, entry in entries.items():
        rows = of_study(results, name) if len(results) else results
        parts[name] = Numbers(rows, study) if len(rows) else None
        whole = set(entry.get("trials", ())) <= with_results
        check_names(entry.get("figures", ()), _made(entry, study, rows, whole=whole), of=f"the study {name}")
    make_folder(out)
    make_folder(out / FIGURES_FOLDER)
    shown: list[ShownStudy] = []
    for (name, entry), place in zip(entries.items(), slugs(entries), strict=True):
        prefix = f"{place}-" if len(entries) > 1 else ""
        figures = _figures(out, parts[name], entry, prefix, images or {}, with_results)
        figures += _rocs(out, parts[name], prefix, signals or {})
        shown.append(show_study(place, entry, parts[name], figures, missing=unfinished, failures=failed))
    everything = Numbers(results, study) if len(results) else None
    _leave_results(out, results)
    page = render(
        studies=shown,
        study=study,
        numbers=everything,
        ledger=ledger or {},
        comparisons=comparisons,
        comparison_notes=comparison_notes,
        claims=claims,
        missing=unfinished,
        failures=failed,
        environment=environment or {},
        commands=commands,
        definition=definition,
        files=["results.csv", *(["results.parquet"] if (out / "results.parquet").is_file() else [])],
    )
    path = out / PAGE
    with written(path) as part:
        part.write_text(page, "utf-8")
    return path


def _made(entry: Mapping[str, Any], study: Mapping[str, Any], rows: pd.DataFrame, *, whole: bool) -> set[str]:
    """Measures that a study's figures may ask for: any, while trials are still to come.

    Of a whole study those that were measured or, by its plan, could have been (whether one's own images have
    groups was not known before training, and it is no reason to refuse the page afterward).
    """
    if not whole or not len(rows):
        return {part for kind in FIGURES.values() for alternatives in kind.needs for part in alternatives}
    made = set(rows["measure"])
    for name in entry.get("trials", ()):
        trial = study.get("trials", {}).get(name, {})
        made |= planned_measures(
            trial.get("data", {}), tracks=bool(trial.get("track")), removes=bool(trial.get("removal"))
        )
    return made


def _figures(
    out: Path,
    numbers: Numbers | None,
    entry: Mapping[str, Any],
    prefix: str,
    images: Mapping[str, bytes],
    with_results: set[str],
) -> list[ShownFigure]:
    """Draw the figures of one study into files whose names begin with ``prefix``."""
    planned = set(entry.get("trials", ()))
    present = len(planned & with_results)
    notes = [f"Drawn from {present} of {counted(len(planned), 'trial')}."] if present < len(planned) else []
    names = dict.fromkeys(entry.get("figures", ()))
    return [_figure(out, numbers, name, f"{prefix}{name}", images, notes) for name in names]


def _figure(
    out: Path, numbers: Numbers | None, name: str, stem: str, images: Mapping[str, bytes], notes: Sequence[str]
) -> ShownFigure:
    """Draw one figure into files, and make what the page shows of it."""
    if numbers is None:
        kind = FIGURES[name]
        return show_figure(Figure(name, kind.title, kind.about, ()), stem)
    figure = figure_of(name, numbers, images=images)
    if not figure.panels:
        return show_figure(figure, stem, [] if notes else [f"No trial made its measure: {FIGURES[name].lack}."])
    folder = out / FIGURES_FOLDER
    save_figure(figure, folder, stem)
    write_csv(figure.frame(), folder / f"{stem}.csv", durable=False)
    return show_figure(figure, stem, notes)


def _rocs(out: Path, numbers: Numbers | None, prefix: str, signals: Mapping[str, Path]) -> list[ShownFigure]:
    """Draw the ROC curves of one study into files, if its trials left their signals."""
    panels = [] if numbers is None else roc_panels(numbers, signals)
    if not panels:
        return []
    stem, looks = f"{prefix}roc", attack_looks(panels)
    save_panels(panels, looks, out / FIGURES_FOLDER, stem)
    write_csv(frame_of(panels), out / FIGURES_FOLDER / f"{stem}.csv", durable=False)
    return [_show_rocs(panels, looks, stem)]


def _show_rocs(panels: Sequence[RocPanel], looks: Mapping[str, Look], stem: str) -> ShownFigure:
    """The ROC curves of a study."""
    seeds = sorted({panel.seeds for panel in panels if panel.seeds >= FEW})
    over = f"{seeds[0]} to {seeds[-1]} seeds" if len(seeds) > 1 else counted(seeds[0], "seed") if seeds else ""
    return ShownFigure(
        f"figure-{stem}",
        stem,
        "ROC curves of the attacks",
        "How many members an attack finds (upward) if it may accuse this share of the matched non-members (to the "
        "right), both on logarithmic axes. What matters to any one person is the left edge, where false accusations "
        "are rare. A rate is drawn where at least 10 non-members lie beyond the threshold.",
        f"Bands: 95 %, Student’s t over {over}, at each rate by itself." if over else "",
        (),
        tuple(
            ShownPanel(panel.title, panel_svg(panel, looks, f"figure-{stem}-{place}"), panel.finding, "", "", "")
            for place, panel in enumerate(panels, 1)
        ),
        tuple((swatch(shown), capital(attack_words(name))) for name, shown in looks.items()),
        ("guessing",),
        None,
        lone=len(panels) == 1,
    )


def _leave_results(out: Path, results: pd.DataFrame) -> None:
    """The page names results.csv as every number's source, so that it must be there."""
    path = out / "results.csv"
    if not path.exists():
        write_csv(results, path)
