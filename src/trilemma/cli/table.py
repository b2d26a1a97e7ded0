"""Results as text: numbers with their intervals; what the guarantee covers is kept apart from the rest."""

from __future__ import annotations

from typing import Any

from trilemma.attacks import ceiling_alarms
from trilemma.attacks.cells import lacking
from trilemma.cli.budget import describe_ceiling
from trilemma.measures import FPRS, MEASURES, RUN_HEADLINE
from trilemma.rounding import lower, upper
from trilemma.trial.run import Run, guaranteed
from trilemma.trial.statement import canaries_in_words
from trilemma.words import clean, counted, guessing, power, spelled

_SAMPLING = {"poisson": "Poisson sampling", "full-batch": "every example in each"}


ALARM = "  ALARM: "
"""Begins a line that a terminal shows in red."""


def interval(value: float, ends: list[float] | None, digits: int = 3) -> str:
    """A number with its interval in brackets, if it has one."""
    if ends is None:
        return f"{value:.{digits}f}"
    return f"{value:.{digits}f} [{ends[0]:.{digits}f}, {ends[1]:.{digits}f}]"


def describe_score(score: dict[str, Any]) -> str:
    """The harmonic score with its interval, definition, and terms."""
    terms = ", ".join(f"{name} {value:.3f}" for name, value in score["terms"].items())
    count = "three terms" if len(score["terms"]) == 3 else "two terms, no groups"
    return f"{interval(score['value'], score['interval'])} ({score['definition']}, {count}: {terms})"


def describe_attacks(
    attacks: dict[str, Any], unmatched: dict[str, Any] | None, ceiling: dict[str, Any] | None = None
) -> list[str]:
    """A line for each attack; with a budget, beside its AUC the largest that any attack can have."""
    bound = "" if ceiling is None else f" of at most {upper(ceiling['auc'])}"
    rates = {
        fpr: words for fpr, words in _RATES.items() if any(a["tpr_at_fpr"][fpr] is not None for a in attacks.values())
    }
    lines, width = [], max(18, *map(len, attacks), 0)
    for name, attack in attacks.items():
        tail = f"   unmatched {unmatched[name]['auc']:.3f}" if unmatched and name in unmatched else ""
        found = "".join(f"   {words} {_rate(attack, fpr)}" for fpr, words in rates.items())
        lines.append(
            f"  {name:<{width}} AUC {interval(attack['auc'], attack['interval']['auc'])}{bound}"
            f"   advantage {attack['advantage']:.3f}{found}{tail}"
        )
    for fpr, words in _RATES.items():
        if fpr not in rates:  # of no attack, for the same reason: said once
            reasons = dict.fromkeys(attack["tpr_reason"][fpr] for attack in attacks.values())
            lines.append(f"  {words:<{width}} not measured: {'; '.join(reasons)}")
    return lines


_RATES = {f"{fpr:g}": MEASURES[f"tpr_at_{fpr:g}_strongest"].title for fpr in sorted(FPRS, reverse=True)}


def describe_groups(by_group: dict[str, Any] | None, attack: str) -> list[str]:
    """A line with an attack's AUC in each group; empty without groups.

    >>> by_group = {"color": {"members": 70, "nonmembers": 20}}
    >>> by_group["gray"] = {"attacks": {"threshold": {"auc": 0.5, "interval": {"auc": [0.4, 0.6]}}}}
    >>> describe_groups(by_group, "threshold")
    ['  threshold by group AUC of color (needs 50 non-members, has 20), of gray 0.500 [0.400, 0.600]']
    """
    if not by_group:
        return []
    words = []
    for group, entry in by_group.items():
        values = (entry.get("attacks") or {}).get(attack)
        if values is None:
            shown = f"({lacking(entry['members'], entry['nonmembers']) or 'not measured'})"
        else:
            shown = interval(values["auc"], values["interval"]["auc"])
        words.append(f"of {spelled(group)} {shown}")
    head = f"{attack} by group"
    return [f"  {head:<18} AUC {', '.join(words)}"]


def _rate(attack: dict[str, Any], fpr: str) -> str:
    """A true-positive rate with its interval, or what it lacks."""
    value = attack["tpr_at_fpr"][fpr]
    if value is None:
        return f"({attack['tpr_reason'][fpr]})"
    return interval(value, attack["interval"]["tpr_at_fpr"][fpr], 4)


def describe_alarms(alarms: list[dict[str, Any]]) -> list[str]:
    """One line for each measure that lies above what the budget allows."""
    return [
        f"{ALARM}{alarm['measure']} of {alarm['attack']} is at least {lower(alarm['low'], 4)}, and no attack on "
        f"this budget can exceed {upper(alarm['ceiling'], 4)}: accounting, sampling or noise is wrong, or members "
        "differ from non-members in more than membership"
        for alarm in alarms
    ]


def describe_accuracy(document: dict[str, Any]) -> list[str]:
    """The accuracy of what is audited, and a caution where it may be that of guessing.

    >>> audited = {"accuracy": 0.1, "accuracy_interval": [0.07, 0.13], "no_better_than_chance": True}
    >>> print(*describe_accuracy(audited), sep=chr(10))
    accuracy      0.100 [0.070, 0.130] (non-members)
    caution: this may be no better than guessing; check that examples, updates and budget suffice to learn, that \
labels and classes are in the same order, and that the images are normalized as the model expects
    """
    if document.get("accuracy") is None:
        return []
    audit_alone = "null_check" not in document  # only a run, and an audit of one, has a negative control
    lines = [
        f"accuracy      {interval(document['accuracy'], document.get('accuracy_interval'))} "
        f"({'non-members' if audit_alone else 'test'})"
    ]
    return lines + ([f"caution: {guessing(audit_alone)}"] if document.get("no_better_than_chance") else [])


def describe_measures(measures: dict[str, float] | None) -> list[str]:
    """A line for each measure from outside, which has no interval and was given members and non-members.

    >>> describe_measures({"mine:calibration_error": 0.25})
    ['  calibration_error  0.25 (mine:calibration_error, given members and non-members; no interval)']
    """
    return [
        f"  {clean(name.rpartition(':')[2]):<18} {value:.4g} "
        f"({clean(name)}, given members and non-members; no interval)"
        for name, value in (measures or {}).items()
    ]


def describe_run(run: Run) -> str:
    """A description of one run, in several lines."""
    result = run.result
    privacy, stands = result["privacy"], guaranteed(result) or {}
    lines = [run.not_for_release] if run.not_for_release else []
    lines += [f"note: {clean(note)}" for note in run.notes]
    if run.contradicted:
        lines.append(
            f"privacy       none: its own canaries contradict the claim of ε {upper(result['canaries']['claim'])}"
        )
    elif run.not_private:
        lines.append(f"privacy       {clean(run.not_private)}")
    elif privacy:
        lines += [
            f"privacy       ε {upper(privacy['epsilon'])} at δ {power(privacy['delta'])} for {privacy['covered']}",
            f"              ({privacy['updates']} updates, {_SAMPLING[privacy['sampling']]}, noise multiplier "
            f"{privacy['noise_multiplier']:g}, PLD; RDP {upper(privacy['epsilon_rdp'])})",
        ]
        if stands.get("ceiling"):  # runs of the first versions lack it
            lines += [f"              {line}" for line in describe_ceiling(stands["ceiling"])]
    else:
        lines.append("privacy       none: trained without a budget")
    if run.recipe.provenance:
        lines.append(f"settings      {clean(run.recipe.provenance)}")
    lines += describe_accuracy(result)
    fairness = result["fairness"]
    if fairness:
        groups = ", ".join(f"{spelled(name)} {value:.3f}" for name, value in fairness["accuracy_by_group"].items())
        lines.append(
            f"bias          {interval(fairness['bias'], fairness['interval']['bias'])}, accuracy by group: {groups}"
        )
        if fairness["unused_classes"]:
            unused = len(fairness["unused_classes"])
            lines.append(f"              {counted(unused, 'class is', 'classes are')} never predicted")
    lines.append(f"score         {describe_score(result['harmonic_score'])}")
    lines.append("measured with the training images, so not covered by any guarantee:")
    lines.append(f"  {MEASURES['train_accuracy'].title:<18} {result['train_accuracy']:.3f}")
    lines += describe_measures(result.get("measures"))
    if result.get("canaries"):
        lines.append(f"  canaries           {canaries_in_words(result['canaries'])}")
    if run.contradicted:
        lines.append(f"{ALARM}{clean(run.contradicted)}")
    ceiling = stands.get("ceiling")
    lines += describe_attacks(result["attacks"], result["attacks_naive"], ceiling)
    lines += describe_groups(result.get("attacks_by_group"), str(result.get("headline_attack", RUN_HEADLINE)))
    lines += describe_alarms(ceiling_alarms(result["attacks"], ceiling))
    lines += describe_control(result)
    lines.append(f"run           {clean(run.folder)}")
    return "\n".join(lines)


def describe_control(result: dict[str, Any]) -> list[str]:
    """A line on the negative control; empty where there is no run to have one.

    >>> reason = "needs 50 test images to learn from and 50 to attack, has 30 and 30"
    >>> describe_control({"null_check": {"matched": None}, "null_check_reason": reason})
    ['  negative control   not made: needs 50 test images to learn from and 50 to attack, has 30 and 30']
    >>> describe_control({"null_check": {"matched": {"passed": True, "auc": {"threshold": 0.49}}}})
    ['  negative control   passed: no interval excludes ½ on a classifier that never saw the members']
    """
    check, reason = (result.get("null_check") or {}).get("matched"), result.get("null_check_reason")
    if check is None:
        return [f"  negative control   not made: {clean(reason)}"] if reason else []
    if check["passed"]:
        return ["  negative control   passed: no interval excludes ½ on a classifier that never saw the members"]
    return [
        "  caution: the negative control failed: attacks also succeed on a classifier that never saw the members, "
        "so these AUCs do not measure leakage alone"
    ]
