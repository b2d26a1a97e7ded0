"""Turn the folders of studies into one page: collect, compare, add up and draw.  Nothing is trained here."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from trilemma.analysis.claims import Claim, claims
from trilemma.analysis.comparison import COLUMNS
from trilemma.analysis.comparisons import comparisons
from trilemma.analysis.conditions import of_study, study_names
from trilemma.analysis.ledger import ledger_of
from trilemma.analysis.private_trial import PrivateTrial
from trilemma.analysis.results import collect, write_results
from trilemma.checksums import read_sealed
from trilemma.errors import InputError
from trilemma.files import jsonable, make_folder, reading, write_json
from trilemma.measures import COMPARED
from trilemma.report.write import write_report
from trilemma.spreadsheet import write_csv
from trilemma.study.file import STUDIES
from trilemma.study.folder import FORMAT, StudyFolder
from trilemma.study.trials import Trial
from trilemma.titles import trial_titles
from trilemma.trial.run import RESULT, SIGNALS

LEDGER, COMPARISONS, CLAIMS = "ledger.json", "comparisons.csv", "claims.json"


def report_of(folders: Sequence[StudyFolder], out: Path | None = None) -> Path:
    """Collect the results of studies, also unfinished ones, and draw one page.

    Leaves ``results.csv``, ``results.parquet``, ``comparisons.csv``, ``claims.json``, ``ledger.json``, ``figures/`` and
    ``report.html``.

    Args:
      folders: at least one.  A trial that is in several of them counts once.
      out: the folder to write to; None: the folder itself, if there is only one.

    Returns:
      The path of ``report.html``.

    Raises:
      InputError: a folder without a study, several without ``out``, or results that cannot be read.
    """
    if out is None:
        if len(folders) != 1:
            raise InputError("the report of several folders needs a place of its own: give --out DIR")
        out = folders[0].path
    elif len(folders) > 1 and any(out.resolve() == folder.path.resolve() for folder in folders):
        raise InputError(f"{out} is one of the studies: give another --out for the report of several")
    study = _merged(folders)
    results = pd.concat([collect(folder) for folder in folders], ignore_index=True)
    results = results.drop_duplicates(["trial", "measure", "update"], ignore_index=True)
    names = _studies_by_trial(study)
    results["studies"] = results["trial"].map(names).astype("str")
    finished = _finished(folders)
    compared, notes = _compared(results, study, finished)
    judged = _judged(results, study, finished)
    ledger = ledger_of(_private_trials(finished, trial_titles(study["trials"]))).to_dict()
    missing, failures = _unfinished(folders)
    environment = _environment(finished)
    # nothing is written before everything has been read
    make_folder(out)
    write_results(results, out)
    write_csv(comparisons_frame(compared), out / COMPARISONS)
    write_json(out / CLAIMS, jsonable([dataclasses.asdict(claim) for claim in judged]))
    write_json(out / LEDGER, ledger)
    return write_report(
        out,
        results,
        study,
        ledger=ledger,
        comparisons=compared,
        comparison_notes=notes,
        claims=judged,
        missing=missing,
        failures=failures,
        images=_images(folders),
        signals={name: file for name, (_, path, _) in finished.items() if (file := path.parent / SIGNALS).is_file()},
        environment=environment,
        commands=_commands(study, folders),
    )


def _merged(folders: Sequence[StudyFolder]) -> dict[str, Any]:
    """One ``study.json`` of all; studies that share a name but not their trials are told apart by their folder."""
    whole: dict[str, Any] = {"format": FORMAT, "version": None, "studies": {}, "trials": {}}
    for folder in folders:
        values = folder.read()
        whole["version"] = values["version"]
        for name, study in values["studies"].items():
            present = whole["studies"].get(name)
            if present is not None and present["trials"] != study["trials"]:
                name = f"{name}@{folder.path.name.replace(' ', '_')}"
                while name in whole["studies"]:
                    name += "+"
            whole["studies"][name] = study
        whole["trials"] |= values["trials"]
    return whole


def _studies_by_trial(study: Mapping[str, Any]) -> dict[str, str]:
    names: dict[str, list[str]] = {}
    for name, entry in study["studies"].items():
        for trial in entry["trials"]:
            names.setdefault(trial, []).append(name)
    return {trial: " ".join(of) for trial, of in names.items()}


def _whole(study: Mapping[str, Any], finished: Mapping[str, _Finished]) -> dict[str, Any]:
    """The studies that have finished: what a part of a study says may change with the rest of it."""
    return {name: part for name, part in study["studies"].items() if set(part["trials"]) <= set(finished)}


def _compared(
    results: pd.DataFrame, study: Mapping[str, Any], finished: Mapping[str, _Finished]
) -> tuple[list[dict[str, Any]], list[str]]:
    """Rows of all comparisons in the studies that have finished, and what could not be compared."""
    rows: list[dict[str, Any]] = []
    notes: dict[str, None] = {}
    whole = _whole(study, finished)
    for name in study_names(results) if len(results) else ():
        if name not in whole:
            notes[f"The study {name} has not finished: its conditions are compared when it has."] = None
            continue
        part = of_study(results, name)
        for measure in COMPARED:
            if (part["measure"] == measure).any():
                compared = comparisons(part, measure, study)
                rows += [{"study": name, **row} for row in compared.table().to_dict("records")]
                notes |= dict.fromkeys(compared.notes)
    return rows, list(notes)


def comparisons_frame(rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """The table of ``comparisons.csv``, which has its columns also where there is no row yet."""
    return pd.DataFrame(rows, columns=["study", *COLUMNS])


def _judged(results: pd.DataFrame, study: Mapping[str, Any], finished: Mapping[str, _Finished]) -> tuple[Claim, ...]:
    """Claims of the studies that have finished."""
    whole = _whole(study, finished)
    names = results["studies"].map(lambda of: " ".join(name for name in of.split() if name in whole))
    rows = results.assign(studies=names)[names != ""]
    return claims(rows, {**study, "studies": whole}) if len(rows) else ()


_Finished = tuple[Trial, Path, dict[str, Any]]


def _finished(folders: Sequence[StudyFolder]) -> dict[str, _Finished]:
    """Every finished trial with its ``result.json`` and the place of that; one in several folders is listed once."""
    results: dict[str, _Finished] = {}
    for folder in folders:
        for name, trial in folder.trials().items():
            if name not in results and folder.finished(name):
                path = folder.run(name) / RESULT
                results[name] = trial, path, read_sealed(path)
    return results


def _private_trials(finished: Mapping[str, _Finished], titles: Mapping[str, str]) -> list[PrivateTrial]:
    trials = []
    for name, (trial, path, result) in finished.items():
        if trial.recipe.private:
            with reading(path):
                trials.append(PrivateTrial.from_files(name, trial.to_dict(), result["privacy"], label=titles[name]))
    return trials


def _unfinished(folders: Sequence[StudyFolder]) -> tuple[dict[str, str], dict[str, str]]:
    """Trials still to be run and trials that failed, with words for each."""
    missing: dict[str, str] = {}
    failures: dict[str, str] = {}
    for folder in folders:
        for name in folder.trials():
            why = folder.reason(name)
            if why is not None:
                failures[name] = why
            elif not folder.finished(name):
                missing[name] = "not finished yet" if folder.run(name).is_dir() else "not run yet"
    return missing, failures


def _images(folders: Sequence[StudyFolder]) -> dict[str, bytes]:
    """PNGs of tracked examples by "TRIAL/INDEX"."""
    return {
        f"{name}/{path.stem}": path.read_bytes()
        for folder in folders
        for name, trial in folder.trials().items()
        if trial.track is not None
        for path in sorted(folder.examples(name).glob("*.png"))
    }


def _environment(finished: Mapping[str, _Finished]) -> dict[str, str]:
    """What the trials were computed with; several values where they differ."""
    values_by_key: dict[str, dict[str, None]] = {}
    for _, path, result in finished.values():
        with reading(path):
            for key, value in result["environment"].items():
                if key != "seed":
                    values_by_key.setdefault(key, {})[str(value)] = None
    return {key: ", ".join(values) for key, values in values_by_key.items()}


def _command(name: str, entry: Mapping[str, Any]) -> str:
    """For a study whose command was not kept: by its name if it comes with the package, else by its file."""
    seeds = entry["seeds"]
    words = ["trilemma", "study", name if name in STUDIES else f"{name}.toml"]
    words += ["--scale", entry["scale"]] if entry["scale"] else []
    words += ["--seeds", str(len(seeds))] if seeds == list(range(len(seeds))) else []
    return shlex.join([*words, "--out", "DIR"])


def _commands(study: Mapping[str, Any], folders: Sequence[StudyFolder]) -> list[str]:
    """How to run it again: by the commands that ran it, of which a study of several parts has one."""
    lines = []
    for name, entry in study["studies"].items():
        command = str(entry.get("command") or _command(name.partition("@")[0], entry))
        if ".toml" in command:
            command += f"  # {name}: seeds {', '.join(map(str, entry['seeds']))}"
        lines.append(command)
    lines = list(dict.fromkeys(lines))
    lines.append(f"trilemma report {' '.join('DIR' for _ in folders)}")
    return lines
