"""What a run guarantees and what it does not, in words: for the model's file, its card and page, ``statement.json``."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from trilemma.words import SEEDED_NOISE

CONDITIONS = (
    "The unit of privacy is one training example with its label: an image that occurs several times counts as several, "
    "and all images of one person together are not covered as one.",
    "Neighboring data sets differ by adding or removing one example; the number of examples and the classes and groups "
    "are public.",
    "The guarantee covers the weights of this model, and whatever is computed from them alone.",
    "The images that the model was started from or tuned on, if any, were public or synthetic.",
    "The computer that trained the model, and the checkpoints while it trained, were not read by anybody else.",
)
"""What the guarantee rests on."""

NOT_COVERED = (
    "Everything measured with the training images: attacks, signals, training accuracy, histories.",
    "A choice of hyper-parameters, or among several trained models, made by looking at results.",
    "What the model says about people in general: a pattern that holds with and without any one example is learned.",
    "Other models trained on the same images: their budgets add up.",
)
"""What the guarantee does not cover."""


def guarantee_in_words(privacy: Mapping[str, Any] | None) -> str:
    """The guarantee of ``privacy`` of a ``result.json``, in one or two sentences.

    >>> guarantee_in_words(None)
    'No guarantee: the model was trained without a privacy budget.'
    """
    if not privacy:
        return "No guarantee: the model was trained without a privacy budget."
    if privacy["epsilon"] is None:
        return "No guarantee: the run failed its truth check, so what it did is not what its budget was computed for."
    epsilon, delta = privacy["epsilon"], privacy["delta"]
    words = (
        f"The weights are differentially private with ε = {_up(epsilon)} and δ = {delta:g}: whether any one training "
        f"example was used changes the probability of any outcome by a factor of at most {_factor(epsilon)}, "
        f"apart from a probability of {delta:g}."
    )
    return words if privacy.get("noise_source") != "seeded" else f"{words} {SEEDED_NOISE}"


def ceiling_in_words(ceiling: Mapping[str, Any] | None) -> str | None:
    """The bound on attacks, of ``privacy.ceiling`` of a result, in one sentence; None without one."""
    if not ceiling:
        return None
    members = 100 * ceiling["tpr_at_fpr"]["0.01"]
    return f"An attacker who accuses 1 in 100 non-members finds at most {members:.3g} of 100 members."


def guarantee_in_short(privacy: Mapping[str, Any] | None) -> str:
    """As :func:`guarantee_in_words`, for a verdict."""
    if not privacy or privacy["epsilon"] is None:
        return guarantee_in_words(privacy)
    short = f"The model has a privacy guarantee of ε = {_up(privacy['epsilon'])} at δ = {privacy['delta']:g}"
    if privacy.get("noise_source") == "seeded":
        return f"{short} against those who do not know its seed, and is not for release."
    return f"{short}."


def _factor(epsilon: float) -> str:
    """exp(epsilon), rounded up.

    >>> _factor(8.0), _factor(0.1), _factor(50.0)
    ('2,981', '1.11', '5.2e+21')
    """
    if epsilon > 30:
        return f"{math.exp(min(epsilon, 700.0)):.2g}"
    factor = math.exp(epsilon)
    return f"{math.ceil(factor):,}" if factor > 10 else f"{math.ceil(factor * 100) / 100:g}"


def _up(epsilon: float) -> str:
    """Three decimals, rounded up."""
    return f"{math.ceil(epsilon * 1000 - 1e-9) / 1000:g}"
