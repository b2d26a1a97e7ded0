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
from trilemma.attacks.roc import Curve, roc_curve
from trilemma.checksums import check
from trilemma.files import read_json, reading
from trilemma.measures import ATTACK_WORDS
from trilemma.privacy.accounting import Event
from trilemma.privacy.ceiling import largest_tpr
from trilemma.trial.gate import Measured, measured
from trilemma.trial.run import CONFIG, RESULT, SIGNALS
from trilemma.trial.signals import read_signals

AUDIT = "audit.json"
WITH_REFERENCES = ("rmia", "rmia-offline", "lira", "lira-offline")
"""Attacks that compare with reference models."""

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
            model.strongest  # noqa: B018 (asks for what the page rests on)
        return model

    @property
    def training_known(self) -> bool:
        """Whether it is known how the model was trained: of a run, and of an audit of a run."""
        return self.kind == "run" or "privacy" in self.result

    @property
    def strongest(self) -> tuple[str, Measured]:
        """The attack whose AUC interval reaches farthest from 1/2, to either side, and its AUC."""
        attacks = self.result["attacks"].items()
        aucs = {name: measured("auc", {"attacks": {name: values}})[0] for name, values in attacks}
        return max(aucs.items(), key=lambda attack: max(attack[1].high, 1 - attack[1].low))

    @property
    def curve(self) -> Curve:
        """The ROC curve of the strongest attack."""
        name, table = self.strongest[0], self.signals
        weight = table["weight"].to_numpy(np.float64)
        counted = weight > 0
        scores, member = table[f"score_{name}"].to_numpy(np.float64), table["member"].to_numpy(bool)
        return roc_curve(scores[counted], member[counted], weight[counted])

    @property
    def ceiling(self) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
        """False positive rates and the largest true positive rates that the budget allows; None without a budget."""
        privacy = self.result.get("privacy")
        if not privacy or privacy["epsilon"] is None:
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
        reference = [name for name in attacks if name in WITH_REFERENCES]
        name, auc = self.strongest
        chance = auc.low <= 0.5 <= auc.high
        text = [
            f"{len(attacks)} attacks compared {members:,} training examples with {others:,} others. The strongest was "
            f"the {ATTACK_WORDS.get(name, name)} attack."
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
        if not check:
            return (
                "No negative control was made, so a difference between members and non-members could look like leakage."
            )
        if check["passed"]:
            return (
                "The negative control passed: the same attack on a classifier that never saw the members is at chance, "
                "so members and non-members differ in nothing but membership, as far as it can tell."
            )
        return (
            "The negative control failed: the attack also succeeds on a classifier that never saw the members, so "
            "these numbers measure a difference between members and non-members, and not leakage alone."
        )

    def cells(self) -> list[dict[str, Any]]:
        """By class and group: accuracy on the examples outside the training set, how many these are, and the strongest
        attack's AUC with its interval (both None where members or non-members are too few)."""
        table = self.signals
        grouped = bool(table["group"].notna().any())
        keys = ["label", "group"] if grouped else ["label"]
        leakage = self._leakage_by_cell(table.groupby(keys, dropna=False).ngroup().to_numpy(np.int64))
        data = self.config.get("data", {})
        rows = []
        for number, (key, part) in enumerate(table.groupby(keys, dropna=False)):
            outside = part[~part["member"]]
            if not len(outside):
                continue
            roc = leakage[number].roc if number in leakage else None
            rows.append(
                {
                    "class": _name(data.get("classes"), key[0]),
                    **({"group": _name(data.get("groups"), key[1])} if grouped else {}),
                    "accuracy": float((outside["predicted"] == outside["label"]).mean()),
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
            table[f"score_{self.strongest[0]}"].to_numpy(np.float64),
            table["member"].to_numpy(bool),
            cells,
            weights=weights,
            sources=table["source"].to_numpy(np.int64),
        )


def _name(names: Any, index: Any) -> str:
    return str(names[int(index)]) if names else str(int(index))
