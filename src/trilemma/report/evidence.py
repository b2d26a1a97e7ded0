"""What the page of one model rests on: its result, the scores of its attacks, and how strong these are as evidence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from trilemma.attacks.named import SHADOW_SCORES
from trilemma.attacks.roc import Curve, roc_curve
from trilemma.checksums import check
from trilemma.files import read_json, reading
from trilemma.hints import listed
from trilemma.measures import ATTACK_WORDS, FPRS, RUN_HEADLINE, attack_words
from trilemma.privacy.accounting import Event
from trilemma.privacy.ceiling import largest_tpr
from trilemma.trial.gate import Measured, measured
from trilemma.trial.run import CONFIG, RESULT, SIGNALS, guaranteed, unfinished
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
      config: ``config.json``, which an audit of a run holds too; empty for an audit of predictions.
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
        if kind == "run" and not (folder / RESULT).exists():
            raise unfinished(folder, RESULT)
        result = check(folder / (AUDIT if kind == "audit" else RESULT))
        config = (result.get("config") or {}) if kind == "audit" else read_json(folder / CONFIG)
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
    def things(self) -> str:
        """What the model classifies, in the plural: rows of a table of predictions may be of anything."""
        return "images" if self.training_known else "examples"

    @property
    def aucs(self) -> dict[str, Measured]:
        """The AUC of each attack."""
        attacks = self.result["attacks"].items()
        return {name: measured("auc", {"attacks": {name: values}})[0] for name, values in attacks}

    @property
    def headline(self) -> str:
        """The attack that was chosen before its numbers were seen."""
        chosen = str(self.result.get("headline_attack", RUN_HEADLINE))  # runs of the first versions do not name it
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

    @property
    def unmeasured_rates(self) -> dict[str, str]:
        """False-positive rates at which no attack has a true-positive rate, and why."""
        attacks = self.result["attacks"].values()
        reasons = {}
        for fpr in map(str, sorted(FPRS, reverse=True)):
            if all(values["tpr_at_fpr"].get(fpr) is None for values in attacks):
                known = dict.fromkeys((values.get("tpr_reason") or {}).get(fpr) for values in attacks)
                reasons[fpr] = "; ".join(reason for reason in known if reason) or "too few non-members"
        return reasons

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
            text.append("They included attacks with reference models, which are the strongest known.")
        else:
            weak = f"AUC {auc.value:.2f} here is weak evidence" if chance else "Stronger attacks would find more"
            text.append(f"{weak}: the attacks were black-box, without reference models.")
        unmeasured = [f"at {100 * float(fpr):g} % ({reason})" for fpr, reason in self.unmeasured_rates.items()]
        if unmeasured:
            text.append(
                f"How many members are found is not measured {' and '.join(unmeasured)} of non-members accused."
            )
        text.append(self._control())
        return text

    @property
    def mixes_differ(self) -> bool:
        """Whether an audit used non-members as they were given, whose mix of class and group is not the members'."""
        return self.result.get("difference_of_mixes") is not None

    @property
    def control_failed(self) -> bool:
        """Whether attacks also succeed on a classifier that never saw the members."""
        control = (self.result.get("null_check") or {}).get("matched")
        return control is not None and not control["passed"]

    @property
    def telling(self) -> list[str]:
        """The attacks whose intervals exclude one half."""
        return [name for name, auc in self.aucs.items() if auc.low > 0.5 or auc.high < 0.5]

    @property
    def doubt(self) -> str:
        """Why what attacks find does not show that the model leaks, in words; "" where nothing speaks against it."""
        if self.mixes_differ:
            mix = "class and group" if self.result.get("attacks_by_group") else "class"
            return f"members and non-members differ in their mix of {mix}, and were not matched"
        return "attacks on a classifier that never saw the members succeed too" if self.control_failed else ""

    def _control(self) -> str:
        check = (self.result.get("null_check") or {}).get("matched")
        control = "The negative control" if self.kind == "run" else "The negative control of the run"
        if self.mixes_differ:
            by = "class,group" if self.result.get("attacks_by_group") else "class"
            return (
                "Members and non-members were compared as they were given, and their mixes of "
                f"{by.replace(',', ' and ')} differ: these numbers may measure that, and not leakage. Audit again with "
                f"--match {by}."
            )
        if not check:
            reason = self.result.get("null_check_reason")
            return (
                f"No negative control was made{f' (it {clean(reason)})' if reason else ''}, so another difference "
                "between members and non-members could look like leakage."
            )
        whole = set(self.result["attacks"]) <= set(check["auc"])
        made = listed([f"the {attack_words(name)}" for name in check["auc"]], most=None)
        attacks = "the same attacks" if whole else made
        if check["passed"]:
            return (
                f"{control} passed: {attacks} on a classifier that never saw the members are at chance, so members "
                "and non-members differ in nothing but membership, as far as they can tell."
            )
        return (
            f"{control} failed: attacks also succeed on a classifier that never saw the members, so these numbers "
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
