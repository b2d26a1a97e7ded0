"""Conditions that a model must meet: ``epsilon<=8, auc<=0.55``, each judged by the worse end of its interval.

A condition holds if its whole interval satisfies it, and fails if none of it does.  In between, and where nothing was
measured, one cannot tell, and a gate stays closed.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from trilemma.errors import InputError
from trilemma.hints import did_you_mean
from trilemma.measures import ATTACK_WORDS
from trilemma.trial.run import why_not_for_release, why_not_private

Verdict = Literal["holds", "fails", "cannot tell"]

STATUS = 3
"""The exit status of a command one of whose conditions is not met."""

_CONDITION = re.compile(r"([a-zA-Z][\w.\-]*)\s*(<=|>=|<|>)\s*(\S+)")
_ATTACKS = ("auc", "advantage", "tpr_at_fpr_0.01", "tpr_at_fpr_0.001")
QUANTITIES = ("epsilon", "delta", "accuracy", *_ATTACKS, "bias", "worst_group_accuracy", "harmonic_score")
"""What conditions can be about; of attacks also one by its name, as ``auc_threshold``."""


@dataclass(frozen=True)
class Condition:
    """``quantity sign bound``, such as ``auc <= 0.55``."""

    quantity: str
    sign: str
    bound: float

    def __str__(self) -> str:
        return f"{self.quantity} {self.sign} {self.bound:g}"

    def met_by(self, value: float) -> bool:
        """Whether a value satisfies the condition."""
        return {
            "<=": value <= self.bound,
            ">=": value >= self.bound,
            "<": value < self.bound,
            ">": value > self.bound,
        }[self.sign]


@dataclass(frozen=True)
class Measured:
    """A value with its 95 % interval; ``what`` names the attack that it is of, where it was the worst of several."""

    value: float
    low: float
    high: float
    what: str = ""


@dataclass(frozen=True)
class Judgment:
    """What became of a condition.

    Attributes:
      condition: in words.
      verdict: whether it holds.
      value, low, high: what was measured; None where nothing was.
      why: in words, where there is more to say.
    """

    condition: str
    verdict: Verdict
    value: float | None
    low: float | None
    high: float | None
    why: str

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @property
    def line(self) -> str:
        """One line for a terminal."""
        shown = "" if self.value is None else f": {_number(self.value)}"
        if self.low is not None and self.high is not None and self.low != self.high:
            shown += f" [{_number(self.low)}, {_number(self.high)}]"
        return f"{self.verdict:<11}  {self.condition}{shown}{f' ({self.why})' if self.why else ''}"


def conditions(text: str) -> tuple[Condition, ...]:
    """Read conditions, separated by commas.

    >>> [str(condition) for condition in conditions("epsilon<=8, auc_rmia < .55")]
    ['epsilon <= 8', 'auc_rmia < 0.55']

    Raises:
      InputError: no condition, or one that names no measure or no number.
    """
    read = []
    for part in (part.strip() for part in text.split(",")):
        match = _CONDITION.fullmatch(part)
        try:
            bound = float(match[3]) if match else math.nan
        except ValueError:
            bound = math.nan
        if match is None or not math.isfinite(bound):
            raise InputError(f"a condition must be like auc<=0.55, not {part!r}: separate several by commas")
        name = match[1]
        if name not in QUANTITIES and not _of_one_attack(name):
            known = [*QUANTITIES, *(f"auc_{attack}" for attack in ATTACK_WORDS)]
            raise InputError(
                f"no measure is called {name!r}{did_you_mean(name, known)}: use {', '.join(QUANTITIES)}, or that of "
                "one attack, as auc_threshold"
            )
        read.append(Condition(name, match[2], bound))
    return tuple(read)


def judge(wanted: Iterable[Condition], result: Mapping[str, Any]) -> list[Judgment]:
    """Judge conditions by a ``result.json`` or an ``audit.json``."""
    return [_judge(condition, result) for condition in wanted]


def _judge(condition: Condition, result: Mapping[str, Any]) -> Judgment:
    reason = _no_guarantee(result) if condition.quantity in ("epsilon", "delta") else ""
    if reason:
        verdict: Verdict = "cannot tell" if "privacy" not in result else "fails"
        return Judgment(str(condition), verdict, None, None, None, reason)
    worst = _worst(condition, result)
    if worst is None:
        return Judgment(str(condition), "cannot tell", None, None, None, _why_not_measured(condition, result))
    ends = [condition.met_by(worst.low), condition.met_by(worst.high)]
    verdict = "holds" if all(ends) else "cannot tell" if any(ends) else "fails"
    return Judgment(str(condition), verdict, worst.value, worst.low, worst.high, worst.what)


def _why_not_measured(condition: Condition, result: Mapping[str, Any]) -> str:
    rate = condition.quantity.rpartition("fpr_")[2].partition("_")[0]
    reasons = [attack.get("tpr_reason", {}).get(rate) for attack in (result.get("attacks") or {}).values()]
    return next((reason for reason in reasons if reason), "not measured")


def _no_guarantee(result: Mapping[str, Any]) -> str:
    """Why nothing can be said of a budget, or ""."""
    if "privacy" not in result:
        return "these are predictions alone, which say nothing of how the model was trained"
    if result["privacy"] is None:
        return "trained without a budget"
    if result["privacy"]["epsilon"] is None:
        return why_not_private(result) or "the run failed its truth check"
    return why_not_for_release(result) or ""


def _worst(condition: Condition, result: Mapping[str, Any]) -> Measured | None:
    """The measured value, of several attacks the one that is worst for the condition."""
    numbers = measured(condition.quantity, result)
    if condition.quantity.partition("_")[0] == "auc":
        numbers = [_reversed_if_below_chance(number) for number in numbers]
    if not numbers:
        return None
    if condition.sign.startswith("<"):
        return max(numbers, key=lambda number: (number.high, number.value))
    return min(numbers, key=lambda number: (number.low, number.value))


def _reversed_if_below_chance(auc: Measured) -> Measured:
    """The AUC of the same scores with their sign reversed, where that is the higher one: an attack that is always wrong
    tells members from non-members as well as one that is always right."""
    if auc.value >= 0.5:
        return auc
    what = f"{auc.what}, whose AUC is {_number(auc.value)}, with its scores reversed"
    return replace(auc, value=1 - auc.value, low=1 - auc.high, high=1 - auc.low, what=what)


def measured(quantity: str, result: Mapping[str, Any]) -> list[Measured]:
    """What a result says of a quantity, once for each attack; empty where it was not measured."""
    attacks: Mapping[str, Any] = result.get("attacks") or {}
    privacy: Mapping[str, Any] = result.get("privacy") or {}
    fairness: Mapping[str, Any] = result.get("fairness") or {}
    if quantity in ("epsilon", "delta"):
        return _with(privacy.get(quantity), None)
    if quantity == "accuracy":
        return _with(result.get("accuracy"), result.get("accuracy_interval"))
    if quantity == "harmonic_score":
        score = result.get("harmonic_score") or {}
        return _with(score.get("value"), score.get("interval"))
    if quantity in ("bias", "worst_group_accuracy"):
        return _with(fairness.get(quantity), (fairness.get("interval") or {}).get(quantity))
    kind, attack_quantity = quantity, _of_one_attack(quantity)
    if attack_quantity:
        kind, attacks = (
            attack_quantity[0],
            {name: values for name, values in attacks.items() if name == attack_quantity[1]},
        )
    numbers = []
    for name, values in attacks.items():
        ends = values["interval"]
        if kind.startswith("tpr_at_fpr_"):
            rate = kind.removeprefix("tpr_at_fpr_")
            interval = ends["tpr_at_fpr"].get(rate)  # null where there are too few non-members
            numbers += [] if interval is None else _with(values["tpr_at_fpr"].get(rate), interval, name)
        else:
            numbers += _with(values[kind], ends[kind], name)
    return numbers


def _with(value: float | None, ends: Any, what: str = "") -> list[Measured]:
    if value is None or not math.isfinite(value):
        return []
    low, high = (value, value) if ends is None else (min(ends[0], value), max(ends[1], value))
    return [Measured(value, low, high, ATTACK_WORDS.get(what, what))]


def _of_one_attack(quantity: str) -> tuple[str, str] | None:
    """(kind, attack) of a name such as ``auc_threshold``."""
    for kind in _ATTACKS:
        attack = quantity.removeprefix(f"{kind}_")
        if attack != quantity and attack in ATTACK_WORDS:
            return kind, attack
    return None


def _number(value: float) -> str:
    return f"{value:.4g}"
