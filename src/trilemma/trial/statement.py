"""What a run guarantees and what it does not, in words: for the model's file, its card and page, ``statement.json``."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import MAX_EMAX, Context
from typing import Any

from trilemma.rounding import decimals_up, digits_up, exact, lower, percent_up, rounded_up, upper
from trilemma.trial.run import why_contradicted, why_not_for_release
from trilemma.words import power

UNIT, NEIGHBORING = "one training example", "add-or-remove-one"
"""What a guarantee protects, and which data sets it makes hard to tell apart, in files."""

CONDITIONS = (
    "The unit of privacy is one training example with its label: an image that occurs several times counts as several, "
    "and all images of one person together are not covered as one.",
    "Neighboring data sets differ by adding or removing one example; the number of examples, the shape of the images "
    "and the classes and groups are public.",
    "The guarantee covers the weights of this model, and whatever is computed from them alone.",
    "The images that the model was started from or tuned on, if any, were public or synthetic.",
    "The computer that trained the model, and the checkpoints while it trained, were not read by anybody else.",
)
"""What the guarantee rests on."""

NOT_COVERED = (
    "Everything measured with the training images: attacks, signals, train accuracy, histories, the numbers of the "
    "truth check.",
    "A choice of hyperparameters, or among several trained models, made by looking at results.",
    "What the model says about people in general: a pattern that holds with and without any one example is learned.",
    "Other models trained on the same images: their budgets add up.",
)
"""What the guarantee does not cover."""


def guarantee_in_words(privacy: Mapping[str, Any] | None, canaries: Mapping[str, Any] | None = None) -> str:
    """The guarantee of a run, in one or two sentences.

    Args:
      privacy, canaries: these two entries of its ``result.json``; ``canaries`` is None for a run without any.

    >>> guarantee_in_words(None)
    'No guarantee: the model was trained without a privacy budget.'
    """
    if not privacy:
        return "No guarantee: the model was trained without a privacy budget."
    if canaries and why_contradicted({"canaries": canaries}):
        return (
            f"No guarantee: the run's own canaries contradict its claim of ε = {rounded_up(canaries['claim'])} at "
            f"δ = {power(privacy['delta'])}."
        )
    if privacy["epsilon"] is None:
        return "No guarantee: the run failed its truth check, so what it did is not what its budget was computed for."
    epsilon, delta = privacy["epsilon"], privacy["delta"]
    words = (
        f"The weights are differentially private with ε = {rounded_up(epsilon)} and δ = {power(delta)}: whether any "
        f"one training example was used changes the probability of any outcome by a factor of at most "
        f"{_factor(epsilon)}, apart from a probability of {power(delta)}."
    )
    caution = why_not_for_release({"privacy": privacy})
    return f"{words} {caution}" if caution else words


def ceiling_in_words(ceiling: Mapping[str, Any] | None) -> str | None:
    """The bound on attacks, of ``privacy.ceiling`` of a result, in one sentence; None without one.

    >>> ceiling_in_words({"tpr_at_fpr": {"0.01": 0.12341}, "auc": 0.7012})
    'An attacker who accuses 1 in 100 non-members finds at most 12.4 of 100 members, and none has an AUC above 0.702.'
    """
    if not ceiling:
        return None
    members, auc = percent_up(ceiling["tpr_at_fpr"]["0.01"]), upper(ceiling["auc"])
    return (
        f"An attacker who accuses 1 in 100 non-members finds at most {members} of 100 members, and none has an AUC "
        f"above {auc}."
    )


def canaries_in_words(record: Mapping[str, Any]) -> str:
    """What was found, in two sentences: the verdict with its bounds, and the AUC beside what the budget allows.

    The verdict rests on the bounds alone, which are wrong for at most a stated share of correct trainings.  The AUC of
    one training may lie above the ceiling, which holds for its mean (:mod:`trilemma.privacy.canaries`).

    Args:
      record: ``canaries`` of ``result.json``.
    """
    counting, largest = record["counting"], upper(record["counting"]["largest"], 2)
    verdict = "contradict" if record["contradicted_by"] else "do not contradict"
    return (
        f"{record['count']:,} {record['kind']} canaries, {record['included']:,} of them in, {verdict} "
        f"ε = {upper(record['claim'])}: it is at least {lower(counting['epsilon'], 2)} by counting "
        f"({counting['correct']} of {counting['guesses']} guesses right, at most {largest} provable), "
        f"{lower(record['gaussian']['epsilon'], 2)} if scores are normal and independent. {_canary_auc(record)}"
    )


def _canary_auc(record: Mapping[str, Any]) -> str:
    """A sentence on the canaries' AUC; records of earlier versions have no interval and no ceiling."""
    shown = f"Their AUC is {record['auc']:.3f}"
    if "auc_interval" not in record:
        return f"{shown}."
    low, high = record["auc_interval"]
    allowed = f"the budget allows an attack on one training at most {upper(record['auc_ceiling'])} on average"
    shown = f"{shown} [{low:.3f}, {high:.3f}], and {allowed}"
    if low > record["auc_ceiling"]:
        doubt = (
            ""
            if record["contradicted_by"]
            else f", but it also lies so in about 1 of {1 / record['significance']:.0f} correct trainings: audit "
            "another seed"
        )
        return f"{shown}; the interval lies above that{doubt}."
    if record["auc"] > record["auc_ceiling"]:
        return f"{shown}, which lies within the interval."
    return f"{shown}."


def guarantee_in_short(privacy: Mapping[str, Any] | None, canaries: Mapping[str, Any] | None = None) -> str:
    """As :func:`guarantee_in_words`, for a verdict."""
    if not privacy or privacy["epsilon"] is None or why_contradicted({"canaries": canaries}):
        return guarantee_in_words(privacy, canaries)
    short = (
        f"The model has a privacy guarantee of ε = {rounded_up(privacy['epsilon'])} at δ = {power(privacy['delta'])}"
    )
    if why_not_for_release({"privacy": privacy}):
        return f"{short} against those who do not know its seed, and is not for release."
    return f"{short}."


def _factor(epsilon: float) -> str:
    """exp(epsilon), rounded up.

    >>> _factor(8.0), _factor(0.1), _factor(31.0), _factor(1000.0)
    ('2,981', '1.11', '3.0e+13', '2.0e+434')
    """
    factor = _EXACT.exp(exact(epsilon))
    if epsilon > 30:
        return f"{digits_up(factor, 2):.1e}"
    return f"{decimals_up(factor, 0):,f}" if factor > 10 else f"{decimals_up(factor, 2).normalize():f}"


_EXACT = Context(prec=60, Emax=MAX_EMAX)
"""What is rounded up is first computed to so many digits that its own rounding does not show."""
