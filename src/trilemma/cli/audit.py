"""``trilemma audit``: membership-inference attacks on a run, or on a file of predictions."""

from __future__ import annotations

import argparse
import math
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from trilemma.attacks import Audit, Predictions, audit, ceiling_alarms, exposure, roc_bands
from trilemma.attacks.cells import TOO_FEW
from trilemma.attacks.matching import difference_of_mixes
from trilemma.attacks.named import ALL_ATTACKS, FEWEST_SHADOWS, is_attack
from trilemma.checksums import check, write_sealed
from trilemma.cli.audit_table import attack_rows, describe_cells, describe_probabilities, describe_references
from trilemma.cli.columns import columns_of
from trilemma.cli.required import required_by, status_of
from trilemma.cli.shadows import audit_with_shadows, check_shadow_options
from trilemma.cli.table import describe_accuracy, describe_alarms, describe_attacks, describe_control, describe_measures
from trilemma.cli.terminal import show, show_alarm, show_error
from trilemma.cli.weights import check_weights_options, predictions_of_weights
from trilemma.errors import DataWarning, InputError
from trilemma.files import make_folder, read_json, reading, write_json
from trilemma.hints import one_line
from trilemma.privacy.accounting import Event
from trilemma.privacy.ceiling import largest_tpr
from trilemma.progress import Progress
from trilemma.report.figures.audit_cells import draw_cells
from trilemma.report.figures.audit_roc import draw_roc
from trilemma.spreadsheet import write_csv
from trilemma.trial.display import TrainingDisplay
from trilemma.trial.measure import accuracy_of_nonmembers
from trilemma.trial.most_exposed import EXPOSED, ORDERED_BY, most_exposed
from trilemma.trial.progress import Stopped, TrialProgress
from trilemma.trial.run import CONFIG, RESULT, SIGNALS, guaranteed, unfinished, why_not_private
from trilemma.trial.shadows import Target
from trilemma.trial.signals import read_signals, write_signals
from trilemma.words import clean

AUDIT, CSV, ROC, CELLS = "audit.json", "attacks.csv", "roc.svg", "cells.svg"


@dataclass(frozen=True, eq=False)
class Subject:
    """What is audited.

    Attributes:
      predictions: its outputs, and those of shadows.
      matched_by: how non-members are reweighted, or None.
      how: ``matched_by`` in words.
      run: the run's ``result.json``; None where there is no run.
      shadows: the entry ``shadows`` of ``audit.json``, or None.
      index: int64 (N,), each example's place in its split; None counts the rows.
      target: the run that shadows were trained of, or None.
      not_private: why the run has no epsilon although it has a budget, or None.
    """

    predictions: Predictions
    matched_by: Any
    how: str
    run: dict[str, Any] | None = None
    shadows: dict[str, Any] | None = None
    index: Any = None
    target: Target | None = None
    not_private: str | None = None

    @property
    def ceiling(self) -> dict[str, Any] | None:
        """What the run's budget allows any attack, or None."""
        return None if self.run is None else (guaranteed(self.run) or {}).get("ceiling")

    def difference_of_mixes(self, seed: int) -> float | None:
        """How far the non-members, used as they are, differ from the members in their mix of class and group; None
        where they do not, or were matched or weighted."""
        p = self.predictions
        if self.matched_by is not None or self.target is not None or p.weights is not None:
            return None
        return difference_of_mixes(p.member, p.labels, p.groups, seed=seed)

    def largest_tpr(self, fpr: list[float]) -> list[float] | None:
        """The largest true-positive rate that the budget allows at each false-positive rate, or None."""
        if self.run is None or self.ceiling is None:
            return None
        event = Event.from_dict(self.run["privacy"]["event"])
        return [float(value) for value in largest_tpr(event, fpr)]


def audit_command(options: argparse.Namespace) -> int:
    out = Path(options.out)
    names = _checked(options, out)
    required = required_by(options, _nameable(Path(options.source), names))
    try:
        subject = _subject(options, names or [])
    except Stopped as stopped:
        show_error(f"trilemma: {stopped}")
        return 130
    predictions = subject.predictions
    result, unmatched = _audited(options, subject, names)
    document = _document(options, subject, result, unmatched)
    make_folder(out)
    write_signals(out / SIGNALS, predictions, result, subject.index)
    write_csv(attack_rows(document), out / CSV)
    draw_roc(document, out / ROC)
    draw_cells(document, out / CELLS)
    if subject.target is not None and ORDERED_BY in result.scores:
        exposed = most_exposed(predictions, result, subject.target, images=options.images)
        write_json(out / EXPOSED, exposed, private=True)
    write_sealed(out / AUDIT, document, [SIGNALS, CSV])
    _show(subject, result, document)
    show(f"audit         {out}")
    if subject.not_private:
        show_error(f"trilemma: {clean(subject.not_private)}")
        return 1
    return status_of(required, {**(subject.run or {}), **document})


def _nameable(source: Path, names: list[str] | None) -> dict[str, list[str]]:
    """The attacks and measures that a condition may name besides ours: those asked for, and those of a run."""
    run = read_json(source / RESULT) if (source / RESULT).exists() else {}
    return {"attacks": [*(run.get("attacks") or ()), *(names or ())], "measures": [*(run.get("measures") or ())]}


def _audited(
    options: argparse.Namespace, subject: Subject, names: list[str] | None
) -> tuple[Audit, dict[str, Any] | None]:
    """The audit and, of a run whose non-members were matched, the attacks on unmatched ones."""
    settings: dict[str, Any] = {"attacks": names, "seed": options.seed, "resamples": options.resamples}
    with TrainingDisplay("audit", interruptible=False) as display:

        def attacking(kind: str) -> Progress:
            return lambda what, done, total: (
                display(TrialProgress(f"{kind}: {what}", 0, 0, preparing=True)) if done < total else None
            )

        result = audit(subject.predictions, match=subject.matched_by, progress=attacking("attack"), **settings)
        if result.match is None or result.match.trivial or not Path(options.source).is_dir():
            return result, None
        return result, audit(subject.predictions, progress=attacking("unmatched attack"), **settings).attacks


def _checked(options: argparse.Namespace, out: Path) -> list[str] | None:
    """The names of the requested attacks.  Whatever can be refused at once is refused here."""
    if options.resamples < 100:
        raise InputError(f"--resamples must be at least 100, not {options.resamples}")
    check_weights_options(options)
    options.source = options.source or options.weights
    if (out / CONFIG).exists():
        raise InputError(f"{out} is the folder of a run: choose another --out")
    if (out / AUDIT).exists():
        raise InputError(f"{out} already holds an audit: choose another --out")
    if not Path(options.source).exists():
        raise InputError(f"there is no {options.source}: give the folder of a run, or a file of predictions")
    names = None if options.attacks is None else [name.strip() for name in options.attacks.split(",") if name.strip()]
    unknown = [name for name in names or () if not is_attack(name)]
    if unknown:
        raise InputError(f"unknown attack {', '.join(unknown)}: choose from {', '.join(ALL_ATTACKS)}")
    check_shadow_options(options)
    for name in names or ():
        if options.shadows is not None and options.shadows < FEWEST_SHADOWS.get(name, 0):
            raise InputError(f"{name} needs at least {FEWEST_SHADOWS[name]} shadows, not {options.shadows}")
        if options.shadows is None and name in FEWEST_SHADOWS and Path(options.source).is_dir():
            raise InputError(f"{name} needs shadows: add --shadows {max(4, FEWEST_SHADOWS[name])}")
    return names


def _subject(options: argparse.Namespace, attacks: list[str]) -> Subject:
    source = Path(options.source)
    if options.weights is not None:
        predictions = predictions_of_weights(options, attacks)
        match = options.match or ("class" if predictions.groups is None else "class,group")
        return Subject(predictions, match, f"non-members matched by {match}")
    if not source.is_dir():
        how = f"non-members matched by {options.match}" if options.match else "non-members as given"
        with warnings.catch_warnings(record=True) as notes:
            warnings.simplefilter("always", DataWarning)
            predictions = Predictions.load(source, columns=columns_of(options))
        for note in notes:
            show(f"note: {note.message}")
        return Subject(predictions, options.match, how)
    run = read_json(source / RESULT) if (source / RESULT).exists() else {}
    with reading(source / RESULT):
        run["privacy"] = dict(run.get("privacy") or {}) or None
        wrong = why_not_private(run)
    if options.shadows is not None:
        shadow_audit = audit_with_shadows(options, attacks)
        audited = shadow_audit.target.audited
        how = "as many of each class" + ("" if shadow_audit.predictions.groups is None else " and group")
        index = np.concatenate([audited.members, audited.nonmembers])
        return Subject(shadow_audit.predictions, None, how, run, shadow_audit.about, index, shadow_audit.target)
    predictions = run_predictions(source)
    by = options.match or ("class" if predictions.groups is None else "class,group")
    return Subject(predictions, by, f"non-members matched by {by}", run, not_private=wrong)


def _document(
    options: argparse.Namespace, subject: Subject, result: Audit, unmatched: dict[str, Any] | None
) -> dict[str, Any]:
    """``audit.json``."""
    predictions = subject.predictions
    references = None
    if predictions.reference_logits is not None:
        references = {
            "models": len(predictions.reference_logits),
            "members_known": predictions.reference_member is not None,
            "attacks_not_made": result.not_made,
        }
    roc = roc_bands(predictions, result)
    return {
        "source": options.source,
        **({} if subject.run is None else {"privacy": subject.run["privacy"], "config": _config(options)}),
        **({"canaries": subject.run["canaries"]} if subject.run and subject.run.get("canaries") else {}),
        "class_names": None if predictions.class_names is None else list(predictions.class_names),
        "group_names": None if predictions.group_names is None else list(predictions.group_names),
        **_accuracy(subject),
        "members": result.members,
        "nonmembers": result.nonmembers,
        "effective_nonmembers": result.effective_nonmembers,
        "matched_by": subject.matched_by,
        "difference_of_mixes": subject.difference_of_mixes(options.seed),
        "shadows": subject.shadows,
        "reference_models": references,
        "headline_attack": result.headline,
        "strongest_attack": result.strongest,
        "strongest_interval": list(result.strongest_interval),
        "attacks": result.attacks,
        "attacks_naive": unmatched,
        "attacks_by_class": result.by_class,
        "attacks_by_group": result.by_group,
        "roc": roc | {"ceiling": subject.largest_tpr(roc["fpr"])},
        "cells": exposure(predictions, result),
        "ceiling": subject.ceiling,
        "ceiling_alarms": ceiling_alarms(result.attacks, subject.ceiling),
        "reliability": {name: curve.as_dict() for name, curve in result.reliability.items()},
        "probability_reason": result.probability_reason,
        "seed": options.seed,
        "resamples": options.resamples,
    }


def _config(options: argparse.Namespace) -> dict[str, Any]:
    """What the run is, for the page of the audit."""
    path = Path(options.source) / CONFIG
    return read_json(path) if path.exists() else {}


def _accuracy(subject: Subject) -> dict[str, Any]:
    """Accuracy and fairness: those of the run, which also has a negative control; else those of the non-members."""
    if subject.run is not None:
        run = subject.run
        always = {name: run.get(name) for name in ("accuracy", "accuracy_interval", "fairness", "null_check")}
        later = ("worst_class", "measures", "no_better_than_chance", "null_check_reason")
        return always | {name: run[name] for name in later if name in run}
    return accuracy_of_nonmembers(subject.predictions)


def _show(subject: Subject, result: Audit, document: dict[str, Any]) -> None:
    how, worth = subject.how, math.floor(result.effective_nonmembers * (1 + 1e-9))
    if worth < result.nonmembers:
        how += f", worth {worth:,} equally weighted ones"
    show(f"{result.members:,} members, {result.nonmembers:,} non-members ({how}):")
    if document["difference_of_mixes"] is not None:
        by = "class" if subject.predictions.groups is None else "class,group"
        show(f"caution: members and non-members differ in their mix of {by.replace(',', ' and ')}, which attacks may "
             f"find instead of membership: add --match {by}")  # fmt: skip
    show(*describe_references(document))
    if min(result.members, result.nonmembers) < TOO_FEW:
        show(f"caution: with fewer than {TOO_FEW} members or non-members, the intervals of AUCs are too narrow")
    show(*describe_accuracy(document), *describe_measures(document.get("measures")))
    show(f"headline      {result.headline}, chosen before its numbers were seen")
    show(*describe_attacks(result.attacks, document["attacks_naive"], subject.ceiling))
    show(*describe_control(document), *describe_cells(document), *describe_probabilities(document))
    alarms = describe_alarms(document["ceiling_alarms"])
    if alarms:
        show_alarm(*alarms)


def run_predictions(folder: Path) -> Predictions:
    """The predictions in the signals file of a finished run.

    Raises:
      InputError: the folder is not a run, the run is not finished, or its files cannot be read.
    """
    read_json(folder / CONFIG)
    path = folder / SIGNALS
    if not path.exists():
        raise unfinished(folder, SIGNALS)
    if (folder / RESULT).exists():
        check(folder / RESULT)
    table = read_signals(path)
    try:
        logits = np.stack(table["logits"].to_numpy())
        columns = {name: table[name].to_numpy() for name in ("label", "member", "source")}
        groups = None if table["group"].null_count else table["group"].to_numpy()
    except (KeyError, ValueError, TypeError) as error:
        raise InputError(f"cannot read {path} ({one_line(error)}): train again, or put the file back") from error
    with reading(folder / CONFIG):
        data = read_json(folder / CONFIG)["data"]
        names, classes = data["groups"], tuple(map(str, data["classes"]))
        if names is not None and not all(isinstance(name, str) for name in names):
            raise TypeError(f"data.groups is {names!r}")
    with reading(path):
        return Predictions(
            logits=logits,
            labels=columns["label"],
            member=columns["member"],
            groups=groups,
            sources=columns["source"],
            group_names=tuple(names) if names and groups is not None else None,
            class_names=classes,
        )
