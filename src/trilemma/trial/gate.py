"""Conditions that a model must meet: ``epsilon<=8, auc<=0.55``, each judged by the worse end of its interval.

A condition holds if its whole interval satisfies it, and fails if none of it does.  In between, and where nothing was
measured, one cannot tell, and a gate stays closed.

An attack that is always wrong tells members from non-members as well as one that is always right, so an upper bound b
on an AUC also asks for at least 1 - b.  The AUC itself is shown as it was measured.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from types import MappingProxyType
from typing import Any, Literal

from trilemma.errors import InputError
from trilemma.hints import did_you_mean
from trilemma.measures import ATTACK_WORDS, MEASURES, SHADOW_ATTACKS
from trilemma.rounding import rounded_up
from trilemma.trial.run import why_not_for_release, why_not_private
from trilemma.words import clean, counted, spelled

Verdict = Literal["holds", "fails", "cannot tell"]

STATUS = 3
"""The exit status of a command one of whose conditions is not met."""

_CONDITION = re.compile(r"([a-zA-Z][\w.:\-]*)\s*(<=|>=|<|>)\s*(\S+)")
_DECIMAL_COMMA = re.compile(r"[<>]=?\s*\d+,\d+(?=\s*(?:,|$))")
_NOTHING: Mapping[str, Iterable[str]] = MappingProxyType({})
_MEASURES = [measure for measure in MEASURES.values() if measure.required_as]
_ATTACKS = tuple(measure.required_as for measure in _MEASURES if measure.attack)
_OF_GROUPS = ("bias", "worst_group_accuracy", "worst_cell_accuracy")
QUANTITIES = ("delta", *(measure.required_as for measure in _MEASURES))
"""What conditions can be about; of attacks also one by its name, as ``auc_threshold``, and what comes from outside."""


@dataclass(frozen=True)
class Condition:
    """``quantity sign bound``, such as ``auc <= 0.55``."""

    quantity: str
    sign: str
    bound: float

    def __str__(self) -> str:
        return f"{self.quantity} {self.sign} {self.bound:g}"

    @property
    def two_sided(self) -> bool:
        """Whether it bounds the distance of an AUC from one half, to either side."""
        return self.quantity.partition("_")[0] == "auc" and self.sign.startswith("<")

    def met_by(self, value: float) -> bool:
        """Whether a value satisfies the condition."""
        if self.two_sided:
            value = max(value, 1 - value)
        return {
            "<=": value <= self.bound,
            ">=": value >= self.bound,
            "<": value < self.bound,
            ">": value > self.bound,
        }[self.sign]

    def verdict(self, low: float, high: float) -> Verdict:
        """Whether all, none or a part of the interval satisfies it."""
        inside = [self.met_by(low), self.met_by(high)]
        if all(inside):
            return "holds"
        nearest = min(max(low, 0.5), high)  # to one half: what is met anywhere is met there
        return "cannot tell" if any(inside) or (self.two_sided and self.met_by(nearest)) else "fails"


@dataclass(frozen=True)
class Measured:
    """A value with its 95 % interval; ``what`` names the attack or the cell that it is of, where there are several."""

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
        shown = "" if self.value is None else f": {shown_value(self.condition, self.value)}"
        if self.low is not None and self.high is not None and self.low != self.high:
            shown += f" [{_number(self.low)}, {_number(self.high)}]"
        return f"{self.verdict:<11}  {self.condition}{shown}{f' ({self.why})' if self.why else ''}"


def conditions(text: str, outside: Mapping[str, Iterable[str]] = _NOTHING) -> tuple[Condition, ...]:
    """Read conditions, separated by commas.

    Args:
      text: as on the command line.
      outside: names of attacks and measures from outside that may be named, under ``attacks`` and ``measures``.

    >>> [str(condition) for condition in conditions("epsilon<=8, auc_rmia < .55")]
    ['epsilon <= 8', 'auc_rmia < 0.55']

    Raises:
      InputError: no condition, or one that names no measure or no number.
    """
    attacks = [*ATTACK_WORDS, *(outside.get("attacks") or ())]
    own = list(outside.get("measures") or ())
    own += [_short(name) for name in own if ":" in name]
    if comma := _DECIMAL_COMMA.search(text):
        raise InputError(f"write {comma[0].replace(',', '.')!r} with a decimal point, not a comma")
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
        if name not in QUANTITIES and name not in own and _attack_quantity(name)[1] not in attacks:
            known = [*QUANTITIES, *own, *(f"auc_{attack}" for attack in dict.fromkeys(attacks))]
            raise InputError(
                f"no measure is called {name!r}{did_you_mean(name, known)}: use {', '.join([*QUANTITIES, *own])}, or "
                "that of one attack, such as auc_threshold"
            )
        read.append(_sensible(Condition(name, match[2], bound)))
    return tuple(read)


def _sensible(condition: Condition) -> Condition:
    """The condition, unless it can only be a mistake."""
    name = condition.quantity
    if name in ("epsilon", "delta") and condition.sign.startswith(">"):
        raise InputError(f"{condition}: {name} is known only as an upper bound; require {name}<={condition.bound:g}")
    kind = _attack_quantity(name)[0] or name
    known = [measure for measure in _MEASURES if measure.required_as == kind]
    if known and known[0].unit == "fraction" and not 0 <= condition.bound <= 1:
        hint = f", such as {condition.bound / 100:g}" if 1 < condition.bound <= 100 else ""
        raise InputError(f"{condition}: {name} must be between 0 and 1; give a fraction{hint}")
    return condition


def judge(wanted: Iterable[Condition], result: Mapping[str, Any]) -> list[Judgment]:
    """Judge conditions by a ``result.json`` or an ``audit.json``."""
    return [_judge(condition, result) for condition in wanted]


def _judge(condition: Condition, result: Mapping[str, Any]) -> Judgment:
    reason = _no_guarantee(result) if condition.quantity in ("epsilon", "delta") else ""
    if reason:
        verdict: Verdict = "cannot tell" if "privacy" not in result else "fails"
        return Judgment(str(condition), verdict, None, None, None, reason)
    numbers = measured(condition.quantity, result)
    if not numbers:
        return Judgment(str(condition), "cannot tell", None, None, None, _why_not_measured(condition, result))
    worst = max(numbers, key=lambda number: _badness(condition, number))
    verdict, why = condition.verdict(worst.low, worst.high), worst.what
    if condition.two_sided and not condition.met_by(worst.low) and worst.low < 0.5 <= condition.bound:
        why += f"; an AUC below one half must be at least {_number(1 - condition.bound)}"
    elif condition.sign.startswith("<") and any(number.value > worst.value for number in numbers):
        why += ", whose interval decides"  # and not the largest value, which readers expect
    return Judgment(str(condition), verdict, worst.value, worst.low, worst.high, why)


def _badness(condition: Condition, number: Measured) -> tuple[float, ...]:
    """Of several attacks the one with the largest decides: first by its verdict, then by how far its interval reaches
    to the wrong side."""
    rank = ("holds", "cannot tell", "fails").index(condition.verdict(number.low, number.high))
    if condition.two_sided:
        return rank, max(number.high, 1 - number.low)
    return (rank, number.high, number.value) if condition.sign.startswith("<") else (rank, -number.low, -number.value)


def refuse_what_no_training_measures(required: Iterable[Condition], *, groups: bool) -> None:
    """Refuse conditions that would be found undecided only when the budget is spent.

    Args:
      required: what a training is to satisfy.
      groups: whether the test images are of two or more groups.

    Raises:
      InputError: a condition on groups that there are not, or on an attack that needs shadow models.
    """
    for condition in required:
        if condition.quantity in _OF_GROUPS and not groups:
            raise InputError(f"{condition} cannot be measured: {_no_groups(condition)}")
        if (attack := _attack_quantity(condition.quantity)[1]) in SHADOW_ATTACKS:
            raise InputError(
                f"{condition} cannot be measured by a training, since {ATTACK_WORDS[attack]} needs shadow models: "
                "require it of an audit with --shadows"
            )


def _no_groups(condition: Condition) -> str:
    instead = "; worst_class_accuracy needs none" if condition.quantity != "bias" else ""
    return f"the test images are not of two or more groups{instead}"


def _why_not_measured(condition: Condition, result: Mapping[str, Any]) -> str:
    if condition.quantity in _OF_GROUPS and not result.get("fairness"):
        return f"not measured: {_no_groups(condition)}"
    if condition.quantity == "harmonic_score" and "harmonic_score" not in result:
        return "not measured: an audit has no harmonic score; require it of the run"
    kind, only = _attack_quantity(condition.quantity)
    attacks = [attack for name, attack in (result.get("attacks") or {}).items() if only in ("", name)]
    reasons = [attack.get("tpr_reason", {}).get(kind.removeprefix("tpr_at_fpr_")) for attack in attacks]
    return next((reason for reason in reasons if reason), "not measured")


def _no_guarantee(result: Mapping[str, Any]) -> str:
    """Why nothing can be said of a budget, or ""."""
    if "privacy" not in result:
        return "these are predictions alone, which say nothing of how the model was trained"
    if result["privacy"] is None:
        return "trained without a budget"
    if result["privacy"]["epsilon"] is None:
        return why_not_private(result) or "the run failed its truth check"
    return why_not_private(result) or why_not_for_release(result) or ""


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
    if quantity == "worst_cell_accuracy":
        return _worst_cell(fairness)
    if quantity == "worst_class_accuracy":
        return _worst_class(result.get("worst_class") or {})
    own: Mapping[str, float] = result.get("measures") or {}
    if quantity not in QUANTITIES and (names := [name for name in own if quantity in (name, _short(name))]):
        several = len(names) > 1
        return [number for name in names for number in _with(own[name], None, name if several else "")]
    kind, only = _attack_quantity(quantity)
    numbers = []
    for name, values in attacks.items() if kind else ():  # a measure from outside may not have been taken
        if only not in ("", name):
            continue
        ends = values["interval"]
        if kind.startswith("tpr_at_fpr_"):
            rate = kind.removeprefix("tpr_at_fpr_")
            interval = ends["tpr_at_fpr"].get(rate)  # null where there are too few non-members
            numbers += [] if interval is None else _with(values["tpr_at_fpr"].get(rate), interval, name)
        else:
            numbers += _with(values[kind], ends[kind], name)
    return numbers


def cell_words(cell: Mapping[str, Any]) -> str:
    """
    >>> cell_words({"class": 8, "class_name": "truck", "group": "gray", "examples": 49})
    'class truck in gray, 49 test examples'
    """
    group = f" in {spelled(cell['group'])}" if "group" in cell else ""
    size = counted(cell["examples"], "test example")
    return f"class {clean(cell.get('class_name', cell['class']))}{group}, {size}"


def _worst_cell(fairness: Mapping[str, Any]) -> list[Measured]:
    """Empty for results of earlier versions, which have no interval."""
    if "worst_cell_interval" not in fairness:
        return []
    what = _which(fairness["worst_cell"], fairness["least_known_cell"])
    return _with(fairness["worst_cell_accuracy"], fairness["worst_cell_interval"], what)


def _worst_class(worst: Mapping[str, Any]) -> list[Measured]:
    if not worst:
        return []
    own = {name: worst[name] for name in ("class", "class_name", "examples") if name in worst}
    return _with(worst["accuracy"], worst["interval"], _which(own, worst["least_known"]))


def _which(worst: Mapping[str, Any], least_known: Mapping[str, Any]) -> str:
    other = "" if least_known == worst else f"; the low end is that of {cell_words(least_known)}"
    return f"{cell_words(worst)}{other}"


def _with(value: float | None, ends: Any, what: str = "") -> list[Measured]:
    if value is None or not math.isfinite(value):
        return []
    low, high = (value, value) if ends is None else (min(ends[0], value), max(ends[1], value))
    return [Measured(value, low, high, ATTACK_WORDS.get(what, what))]


def _short(name: str) -> str:
    """The name of a measure from outside, without its module."""
    return name.rpartition(":")[2]


def _attack_quantity(quantity: str) -> tuple[str, str]:
    """(kind, attack) of a name such as ``auc_threshold``; no attack for all of them, no kind for anything else."""
    for kind in _ATTACKS:
        if quantity == kind or quantity.startswith(f"{kind}_"):
            return kind, quantity.removeprefix(kind).removeprefix("_")
    return "", ""


def shown_value(condition: str, value: float) -> str:
    """A value as shown beside its condition; epsilon is an upper bound.

    >>> shown_value("epsilon <= 7.999", 7.999046), shown_value("auc <= 0.6", 0.486849)
    ('7.999046', '0.4868')
    """
    return rounded_up(value, 6) if condition.startswith("epsilon") else _number(value)


def _number(value: float) -> str:
    return f"{value:.4g}"
