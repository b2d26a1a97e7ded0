"""The results of a study as one long table: a row per trial and measure."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from trilemma.analysis.conditions import epsilon_column
from trilemma.analysis.price import Risk, price_of, without_budget
from trilemma.errors import InputError
from trilemma.files import read_json, reading, written
from trilemma.measures import RUN_HEADLINE, UNMATCHED, measure_of
from trilemma.spreadsheet import write_csv
from trilemma.study.folder import StudyFolder
from trilemma.study.removal import Exposure, exposed_share, survivors
from trilemma.study.trials import Trial
from trilemma.trial.evaluation import EVALUATED
from trilemma.trial.exposure import has_exposure
from trilemma.trial.run import CONFIG, HISTORY, RESULT, Run, guaranteed, read_history
from trilemma.words import encodable

if TYPE_CHECKING:
    import pandas as pd

CSV, PARQUET = "results.csv", "results.parquet"

COLUMNS: dict[str, tuple[str, str]] = {
    "trial": ("str", "id of the trial, the name of its folder under runs/"),
    "cell": ("str", "the same for all seeds of one trial"),
    "studies": ("str", "names of the studies that hold it"),
    "data": ("str", "what it was trained and tested on, by the name given to load_data"),
    "skew": ("float64", "share of a class's training examples in its dominant group; empty where there is none"),
    "target": ("str", "CelebA: the attribute that is predicted"),
    "protected": ("str", "CelebA: the attribute that gives the groups"),
    "examples": ("int64", "training examples, N"),
    "test_examples": ("int64", "test examples"),
    "model": ("str", "network"),
    "techniques": ("str", "codes in the paper's order joined by +, bl for none"),
    "epsilon": ("float64", "budget that was asked for; inf for none"),
    "delta": ("float64", "of the budget"),
    "seed": ("int64", "of the training"),
    "removed": ("float64", "share of the training examples left out before training"),
    "removal": ("str", "which: exposed (those that the ranking puts first) or random"),
    "rank": ("str", "what ranked them: rmia or lira (attacks with shadow models), or histogram (of the loss)"),
    "update": ("float64", "after which update it was measured; empty for the finished trial"),
    "measure": ("str", "what was measured, see the table of measures"),
    "value": ("float64", "the value"),
    "low": ("float64", "lower end of its 95 % interval over examples (one training)"),
    "high": ("float64", "upper end"),
    "n": ("int64", "examples it was computed from; members and non-members together for attacks"),
    "unit": ("str", "fraction, epsilon, count, seconds or empty"),
    "better": ("str", "higher, lower or empty"),
    "covered": (
        "bool",
        "computed from the released weights and test or public data alone, so covered by the guarantee",
    ),
}
"""Columns of the table: dtype and meaning."""


def collect(folder: StudyFolder) -> pd.DataFrame:
    """All finished trials of a study's folder as one table, rows in the order of ``study.json``.

    Raises:
      InputError: no study, or a run that cannot be read.
    """
    import pandas as pd

    studies = folder.read()["studies"]
    rows: list[dict[str, Any]] = []
    trials = folder.trials()
    conditions: dict[str, dict[int, str]] = {}
    for name, trial in trials.items():
        if folder.finished(name):
            conditions.setdefault(trial.condition, {})[trial.recipe.seed] = name
    for name, trial in trials.items():
        if not folder.finished(name):
            continue
        named = [study for study, record in studies.items() if name in record["trials"]]
        with reading(folder.run(name) / CONFIG):
            head = _head(folder, name, trial, named)
        with reading(folder.run(name) / RESULT):
            rows += [head | row for row in _rows(folder, name, trial, conditions)]
    rows = [{key: encodable(cell) if isinstance(cell, str) else cell for key, cell in row.items()} for row in rows]
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    return table.astype({name: kind for name, (kind, _) in COLUMNS.items()})


def write_results(table: pd.DataFrame, folder: Path) -> None:
    """Write ``results.parquet``, which is exact, and ``results.csv``, whose texts are made safe for spreadsheets."""
    with written(folder / PARQUET) as part:
        part.write_bytes(table.to_parquet(index=False))
    write_csv(table, folder / CSV)


def read_results(folder: str | Path) -> pd.DataFrame:
    """The table that a study's folder holds, with the columns of ``COLUMNS``.

    Raises:
      InputError: the file is missing or has another version.
    """
    import pandas as pd

    path = Path(folder) / PARQUET
    if not path.is_file():
        raise InputError(f"{folder} holds no {PARQUET}: run trilemma report on it first")
    try:
        table = pd.read_parquet(path)
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read {path}: {error}") from error
    if missing := [name for name in COLUMNS if name not in table.columns]:
        raise InputError(f"{path} is of another version (no column {missing[0]!r}): run trilemma report on its folder")
    return table[list(COLUMNS)]


def _head(folder: StudyFolder, name: str, trial: Trial, studies: list[str]) -> dict[str, Any]:
    about = read_json(folder.run(name) / CONFIG)["data"]
    data, recipe, removal = dict(trial.data), trial.recipe, trial.removal
    return {
        "trial": name,
        "cell": trial.condition,
        "studies": " ".join(studies),
        "data": str(data["name"]),
        "skew": data.get("skew", math.nan),
        "target": data.get("target", ""),
        "protected": data.get("protected", ""),
        "examples": int(about["examples"]),
        "test_examples": int(about["test_examples"]),
        "model": recipe.model,
        "techniques": "+".join(recipe.techniques) or "bl",
        "epsilon": epsilon_column(recipe.epsilon),
        "delta": math.nan if recipe.delta is None else recipe.delta,
        "seed": recipe.seed,
        "removed": 0.0 if removal is None else removal.share,
        "removal": "" if removal is None else removal.arm,
        "rank": "" if removal is None else removal.rank,
        "update": math.nan,
    }


def _row(measure: str, value: float, interval: Any, n: int) -> dict[str, Any]:
    low, high = (math.nan, math.nan) if interval is None else map(float, interval)
    kind = measure_of(measure)
    return {
        "measure": measure,
        "value": float(value),
        "low": low,
        "high": high,
        "n": n,
        "unit": kind.unit,
        "better": kind.better,
        "covered": kind.covered,
    }


def _rows(
    folder: StudyFolder, name: str, trial: Trial, conditions: Mapping[str, Mapping[int, str]]
) -> Iterator[dict[str, Any]]:
    run = folder.run(name)
    result = Run.load(run).result
    about = read_json(run / CONFIG)["data"]
    train, test = int(about["examples"]), int(about["test_examples"])
    yield _row("accuracy", result["accuracy"], result["accuracy_interval"], test)
    yield _row("train_accuracy", result["train_accuracy"], None, train)
    fairness = result["fairness"]
    if fairness is not None:
        intervals = fairness["interval"]
        for group, value in fairness["accuracy_by_group"].items():
            interval = intervals.get("accuracy_by_group", {}).get(group)
            yield _row(f"accuracy_in_{group}", value, interval, int(fairness["examples_by_group"][group]))
        size = int(fairness["examples_by_group"][fairness["worst_group"]])
        interval = intervals.get("worst_group_accuracy")
        yield _row("worst_group_accuracy", fairness["worst_group_accuracy"], interval, size)
        size = int(fairness["worst_cell"]["examples"])
        yield _row("worst_cell_accuracy", fairness["worst_cell_accuracy"], fairness.get("worst_cell_interval"), size)
        yield _row("bias", fairness["bias"], intervals["bias"], test)
        yield _row("unused_classes", len(fairness["unused_classes"]), None, test)
    if "worst_class" in result:  # results of earlier versions lack it
        worst = result["worst_class"]
        yield _row("worst_class_accuracy", worst["accuracy"], worst["interval"], int(worst["examples"]))
    yield from _attacks(result["attacks"], result["nonmembers"], "", result.get("strongest_interval"))
    if result["attacks_naive"] is not None:
        everyone = {"members": train, "nonmembers": test}
        yield from _attacks(result["attacks_naive"], everyone, UNMATCHED, result.get("strongest_interval_naive"))
    for kind, check in result["null_check"].items():
        if check is not None:
            suffix = "" if kind == "matched" else UNMATCHED
            yield _row(f"null_auc{suffix}", check["auc"][RUN_HEADLINE], check["interval"][RUN_HEADLINE], train + test)
    for measure, value in result.get("measures", {}).items():
        yield _row(measure, value, None, train + test)
    score = result["harmonic_score"]
    yield _row("harmonic_score", score["value"], score["interval"], test)
    for term, value in score["terms"].items():
        yield _row(f"score_{term}", value, None, test)
    privacy, course = result["privacy"], result["course"]
    if privacy is not None:
        if guaranteed(result):
            yield _row("epsilon_spent", privacy["epsilon"], None, train)
        yield _row("noise_multiplier", privacy["noise_multiplier"], None, train)
        ceiling = privacy.get("ceiling")
        if ceiling is not None:
            yield _row("ceiling_auc", ceiling["auc"], None, train)
            yield _row("ceiling_tpr_at_0.01", ceiling["tpr_at_fpr"]["0.01"], None, train)
        yield from _price(folder, name, trial, test)
    yield _row("updates", course["updates"], None, train)
    yield _row("batch_size", course["batch_size"], None, train)
    yield _row("seconds", result["seconds"]["total"], None, train + test)
    if trial.removal is not None:
        yield from _survivors(folder, name, trial, conditions)
    if trial.track is not None:
        with reading(run / HISTORY):
            if not (lines := read_history(run / HISTORY)):
                raise InputError("it has no evaluations: put the file back")
            yield from [row for line in lines for row in _during_training(line, train, test)]


def _attacks(
    attacks: dict[str, Any], about: dict[str, Any], suffix: str, over_the_choice: list[float] | None
) -> Iterator[dict[str, Any]]:
    n = int(about["members"]) + int(about["nonmembers"])
    for name, attack in attacks.items():
        yield _row(f"auc_{name}{suffix}", attack["auc"], attack["interval"]["auc"], n)
    threshold = attacks.get(RUN_HEADLINE, {"tpr_at_fpr": {"0.01": None}})
    if threshold["tpr_at_fpr"]["0.01"] is not None:
        interval = threshold["interval"]["tpr_at_fpr"]["0.01"]
        yield _row(f"tpr_at_0.01_threshold{suffix}", threshold["tpr_at_fpr"]["0.01"], interval, n)
    best = max(attacks.values(), key=lambda attack: abs(attack["auc"] - 0.5))
    yield _row(f"auc_strongest{suffix}", *_from_one_half(best["auc"], over_the_choice), n)
    yield _row(f"advantage_strongest{suffix}", best["advantage"], best["interval"]["advantage"], n)
    for rate in ("0.01", "0.001"):
        value, interval = best["tpr_at_fpr"][rate], best["interval"]["tpr_at_fpr"][rate]
        if value is not None:  # there are non-members enough for this rate
            yield _row(f"tpr_at_{rate}_strongest{suffix}", value, interval, n)


def _from_one_half(auc: float, ends: list[float] | None) -> tuple[float, list[float] | None]:
    """An AUC, or one minus it where that is larger, and its interval: an attack that is always wrong tells members from
    non-members as well as one that is always right, and a mean over seeds must not cancel the two.

    >>> _from_one_half(0.25, [0.125, 0.375]), _from_one_half(0.25, [0.125, 0.625]), _from_one_half(0.75, None)
    ((0.75, [0.625, 0.875]), (0.75, [0.5, 0.875]), (0.75, None))
    """
    if ends is None:
        return 0.5 + abs(auc - 0.5), None
    distances = sorted(abs(end - 0.5) for end in ends)
    low = 0.0 if ends[0] <= 0.5 <= ends[1] else distances[0]
    return 0.5 + abs(auc - 0.5), [0.5 + low, 0.5 + distances[1]]


def _price(folder: StudyFolder, name: str, trial: Trial, test: int) -> Iterator[dict[str, Any]]:
    """Yield what the budget costs each group; yield nothing if the same trial without a budget is missing."""
    plain = without_budget(trial)
    if plain is None or not folder.finished(plain.id):
        return
    risks = Risk.read(folder.run(name)), Risk.read(folder.run(plain.id))
    if risks[0] is None or risks[1] is None:
        return
    price = price_of(risks[0], risks[1])
    for group, lost in price.accuracy_lost.items():
        count = risks[0].counts[group]
        yield _row(f"accuracy_lost_in_{group}", lost, None, count)
        yield _row(f"excess_risk_in_{group}", price.excess_risk[group], None, count)
        yield _row(f"excess_risk_gap_in_{group}", price.excess_risk_gap[group], None, count)
    yield _row("excess_risk_gap", max(price.excess_risk_gap.values()), None, test)
    yield _row("accuracy_lost_gap", np.ptp(list(price.accuracy_lost.values())), None, test)


def _survivors(
    folder: StudyFolder, name: str, trial: Trial, conditions: Mapping[str, Mapping[int, str]]
) -> Iterator[dict[str, Any]]:
    removal = trial.removal
    assert removal is not None
    with reading(folder.removed(name)):
        removed = np.array(read_json(folder.removed(name))["removed"], dtype=np.int64)
    scorer = folder.run(removal.scored_by)
    if removal.by_shadows and not (has_exposure(scorer) and has_exposure(folder.run(name))):
        return  # the study was stopped before its shadows were trained
    before, after = Exposure.read(scorer, removal.rank), Exposure.read(folder.run(name), removal.rank)
    with reading(folder.removed(name)):
        left = survivors(before, after, removed=removed, share=removal.share)
    if removal.by_shadows and removal.arm == "exposed":
        other = Exposure.read(scorer).layer(removal.share)
        yield _row("removed_by_histogram_too", float(np.isin(removed, other).mean()), None, len(removed))
    yield _row("exposed_survivors", left.exposed, None, left.count)
    yield _row("exposed_survivors_before", left.exposed_before, None, left.count)
    again = _another_seed(conditions.get(replace(trial, removal=None).condition, {}), trial.recipe.seed)
    if again is not None and (not removal.by_shadows or has_exposure(folder.run(again))):
        # The layer was the most exposed of one training, so any other training brings its survivors nearer the mean.
        rows = np.setdiff1d(np.arange(len(before)), removed)
        share = exposed_share(Exposure.read(folder.run(again), removal.rank), rows, before.cut(removal.share))
        yield _row("exposed_survivors_retrained", share, None, left.count)
    yield _row("mean_exposure", left.mean, None, left.count)
    yield _row("mean_exposure_before", left.mean_before, None, left.count)


def _another_seed(names: Mapping[int, str], seed: int) -> str | None:
    """Id of the same trial with the next larger seed, or with the smallest after the largest."""
    others = sorted((other <= seed, other) for other in names if other != seed)
    return names[others[0][1]] if others else None


def _during_training(line: dict[str, Any], train: int, test: int) -> Iterator[dict[str, Any]]:
    trained, tested = min(train, EVALUATED), min(test, EVALUATED)
    rows = [
        _row("accuracy", line["accuracy"], None, tested),
        _row("train_accuracy", line["train_accuracy"], None, trained),
        _row("auc_threshold", line["auc_threshold"], None, trained + tested),
    ]
    for index, example in line.get("tracked", {}).items():
        rows.append(_row(f"membership_probability/{index}", example["membership_probability"], None, trained + tested))
        rows.append(_row(f"correct/{index}", float(example["correct"]), None, 1))
    for row in rows:
        yield row | {"update": float(line["update"])}
