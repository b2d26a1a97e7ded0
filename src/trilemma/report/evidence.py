"""What the page of one model rests on: its result, the scores of its attacks, and how strong these are as evidence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from trilemma.attacks.cells import Cell, by_cell
from trilemma.attacks.named import SHADOW_SCORES
from trilemma.attacks.roc import Curve, roc_curve
from trilemma.checksums import check
from trilemma.files import read_json, reading
from trilemma.measures import ATTACK_WORDS
from trilemma.privacy.accounting import Event
from trilemma.privacy.ceiling import largest_tpr
from trilemma.statistics.intervals import binomial_interval
from trilemma.trial.gate import Measured, measured
from trilemma.trial.run import CONFIG, RESULT, SIGNALS, guaranteed
from trilemma.trial.signals import read_signals
from trilemma.words import clean

AUDIT = "audit.json"

_FPRS = np.concatenate([np.geomspace(1e-4, 0.9999, 120), [1.0]])


@dataclass(frozen=True)
class OneModel:
    """The contents of a run or an audit.

    Attributes:
      folder: its folder.
      kind: "run" or "audit".
      config: ``config.json``; empty for an audit.
      result: ``result.json`` or ``audit.json``.
      signals: ``signals.parquet``, a row for each example.
    """

    folder: Path
    kind: str
    config: Mapping[str, Any]
    result: Mapping[str, Any]
    signals: pd.DataFrame

    @classmethod
    def read(cls, folder: Path) -> OneModel:
        """Read the folder of a finished run, or of an audit.

        Raises:
          InputError: it is neither, or a file cannot be read or is not what was written.
        """
        kind = "audit" if (folder / AUDIT).exists() else "run"
        config = {} if kind == "audit" else read_json(folder / CONFIG)
        result = check(folder / (AUDIT if kind == "audit" else RESULT))
        signals = read_signals(folder / SIGNALS).to_pandas()
        model = cls(folder, kind, config, result, signals)
        with reading(folder):
            model.headline  # noqa: B018 (asks for what the page rests on)
        return model

    @property
    def training_known(self) -> bool:
        """Whether it is known how the model was trained: of a run, and of an audit of a run."""
        return self.kind == "run" or "privacy" in self.result

    @property
    def aucs(self) -> dict[str, Measured]:
        """The AUC of each attack."""
        attacks = self.result["attacks"].items()
        return {name: measured("auc", {"attacks": {name: values}})[0] for name, values in attacks}

    @property
    def headline(self) -> str:
        """The attack that was chosen before its numbers were seen."""
        chosen = str(self.result.get("headline_attack", "threshold"))  # runs of the first versions do not name it
        return chosen if chosen in self.result["attacks"] else str(next(iter(self.result["attacks"])))

    @property
    def curve(self) -> Curve:
        """The ROC curve of the headline attack."""
        name, table = self.headline, self.signals
        weight = table["weight"].to_numpy(np.float64)
        counted = weight > 0
        scores, member = table[f"score_{name}"].to_numpy(np.float64), table["member"].to_numpy(bool)
        return roc_curve(scores[counted], member[counted], weight[counted])

    @property
    def ceiling(self) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
        """False positive rates and the largest true positive rates that the budget allows; None without a budget."""
        privacy = guaranteed(self.result)
        if privacy is None:
            return None
        event = privacy["event"]
        return _FPRS, largest_tpr(
            Event(float(event["sampling_probability"]), float(event["noise_multiplier"]), int(event["updates"])), _FPRS
        )

    def strength(self) -> list[str]:
        """How much the measured leakage says, in sentences."""
        result = self.result
        counts = result.get("nonmembers") if self.kind == "run" else result
        members, others = int(counts["members"]), int(counts["nonmembers"])  # type: ignore[index]
        attacks = result["attacks"]
        reference = [name for name in attacks if name in SHADOW_SCORES]
        name, auc = self.headline, self.aucs[self.headline]
        chance = auc.low <= 0.5 <= auc.high
        text = [
            f"{len(attacks)} attacks compared {members:,} training examples with {others:,} others. The headline "
            f"attack, {ATTACK_WORDS.get(name, clean(name))}, was chosen before its numbers were seen."
        ]
        if reference:
            text.append("Attacks with reference models were among them, which are the strongest that are known.")
        else:
            weak = f"AUC {auc.value:.2f} here is weak evidence" if chance else "Stronger attacks would find more"
            text.append(f"{weak}: the attacks were black-box, without reference models.")
        if min(members, others) < 1000:
            text.append(
                f"With {min(members, others):,} examples on the smaller side, true positive rates at 0.1 % false "
                "positives mean little."
            )
        text.append(self._control())
        return text

    def _control(self) -> str:
        check = (self.result.get("null_check") or {}).get("matched")
        control = "The negative control" if self.kind == "run" else "The negative control of the run"
        if not check:
            return (
                "No negative control was made, so another difference between members and non-members could look like "
                "leakage."
            )
        if check["passed"]:
            return (
                f"{control} passed: the same attack on a classifier that never saw the members is at chance, so "
                "members and non-members differ in nothing but membership, as far as it can tell."
            )
        return (
            f"{control} failed: the attack also succeeds on a classifier that never saw the members, so these numbers "
            "measure a difference between members and non-members, and not leakage alone."
        )

    @property
    def class_names(self) -> list[str] | None:
        """The names of the classes, where they are known."""
        names = self.result.get("class_names") if self.kind == "audit" else self.config.get("data", {}).get("classes")
        return None if names is None else [str(name) for name in names]

    @property
    def group_names(self) -> list[str] | None:
        """The names of the groups, where they are known."""
        names = self.result.get("group_names") if self.kind == "audit" else self.config.get("data", {}).get("groups")
        return None if names is None else [str(name) for name in names]

    def cells(self) -> list[dict[str, Any]]:
        """By class and group: accuracy on the examples outside the training set with its interval (Clopper and
        Pearson's), how many these are, and the headline attack's AUC with its interval (both None where members or
        non-members are too few)."""
        table = self.signals
        grouped = bool(table["group"].notna().any())
        keys = ["label", "group"] if grouped else ["label"]
        leakage = self._leakage_by_cell(table.groupby(keys, dropna=False).ngroup().to_numpy(np.int64))
        rows = []
        for number, (key, part) in enumerate(table.groupby(keys, dropna=False)):
            outside = part[~part["member"]]
            if not len(outside):
                continue
            roc = leakage[number].roc if number in leakage else None
            accuracy = float((outside["predicted"] == outside["label"]).mean())
            rows.append(
                {
                    "class": _name(self.class_names, key[0]),
                    **({"group": _name(self.group_names, key[1])} if grouped else {}),
                    "accuracy": accuracy,
                    "accuracy_interval": list(binomial_interval(accuracy, outside["source"].nunique())),
                    "examples": len(outside),
                    "auc": None if roc is None else roc.auc,
                    "auc_interval": None if roc is None else list(roc.auc_interval()),
                }
            )
        return rows

    def _leakage_by_cell(self, cells: NDArray[np.int64]) -> dict[int, Cell]:
        table = self.signals
        weights = table["weight"].to_numpy(np.float64)
        return by_cell(
            table[f"score_{self.headline}"].to_numpy(np.float64),
            table["member"].to_numpy(bool),
            cells,
            weights=weights,
            sources=table["source"].to_numpy(np.int64),
        )


def _name(names: Any, index: Any) -> str:
    return str(names[int(index)]) if names else str(int(index))
