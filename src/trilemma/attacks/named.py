"""All attacks by name: how each turns predictions and signals into scores, and which of them can be made."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from copy import deepcopy

import numpy as np
from numpy.typing import NDArray

from trilemma.attacks.learned import mlp_scores, rf_scores
from trilemma.attacks.lira import FEWEST_SHADOWS as LIRA_SHADOWS
from trilemma.attacks.lira import lira_offline_scores, lira_scores
from trilemma.attacks.membership_matrix import NEEDS, check_matrix
from trilemma.attacks.predictions import Predictions
from trilemma.attacks.references import References
from trilemma.attacks.rmia import FEWEST_SHADOWS as RMIA_SHADOWS
from trilemma.attacks.rmia import OFFLINE_A, rmia_offline_scores, rmia_scores, tuned_a
from trilemma.attacks.signals import Signals
from trilemma.attacks.threshold import threshold_scores
from trilemma.attacks.threshold_entropy import threshold_entropy_scores
from trilemma.errors import InputError, check_type
from trilemma.hints import one_line
from trilemma.measures import RUN_ATTACKS
from trilemma.outside import called, is_outside, resolve

ATTACKS = RUN_ATTACKS
"""The attacks of an audit by default; with reference models, the shadow attacks they allow are added."""

SCORES: dict[str, Callable[[Predictions, Signals, np.random.Generator], NDArray[np.float64]]] = {
    "threshold": lambda predictions, signals, rng: threshold_scores(signals),
    "threshold-entropy": lambda predictions, signals, rng: threshold_entropy_scores(signals),
    "mlp": mlp_scores,
    "rf": rf_scores,
}

SHADOW_SCORES: dict[str, Callable[[Predictions, Signals, References], NDArray[np.float64]]] = {
    "rmia": lambda predictions, signals, references: rmia_scores(
        signals.confidence,
        references.confidence,
        references.online_member("rmia"),
        ~predictions.member & predictions.counted,
        weights=predictions.weights,
    ),
    "rmia-offline": lambda predictions, signals, references: rmia_offline_scores(
        signals.confidence,
        references.confidence,
        references.member,
        ~predictions.member & predictions.counted,
        a=_offline_a(references),
        weights=predictions.weights,
    ),
    "lira": lambda predictions, signals, references: lira_scores(
        signals.scaled_logit, references.scaled_logit, references.online_member("lira")
    ),
    "lira-offline": lambda predictions, signals, references: lira_offline_scores(
        signals.scaled_logit, references.scaled_logit, references.member
    ),
}

ALL_ATTACKS = (*SCORES, *SHADOW_SCORES)

FEWEST_SHADOWS = {name: LIRA_SHADOWS if name.startswith("lira") else RMIA_SHADOWS for name in SHADOW_SCORES}
"""The fewest shadows, each example in half of them, from which an attack can be made."""

LEARNED = {"mlp": math.sqrt(2), "rf": math.sqrt(2)}
"""How much wider the intervals of attacks are that learn from the examples they are judged on.

Each fold's attacker is judged on the fold that trains the other, so that both halves err together.  That doubles the
variance: where nothing leaks, 95 % intervals of the bootstrap cover 1/2 in 80 to 89 % of repetitions.
"""


def is_attack(name: str) -> bool:
    """Whether a name is that of an attack: one of ours, ``module:name``, or an entry point's."""
    return name in ALL_ATTACKS or is_outside(name, "attacks")


def single_model_scores(
    name: str, predictions: Predictions, signals: Signals, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Scores float64 (N,), higher meaning member, of an attack without reference models.

    An attack from outside is a function of the predictions; the rest is up to it.

    Raises:
      InputError: an attack from outside cannot be imported, fails, or gives something else than a score for each row.
    """
    if name in SCORES:
        return SCORES[name](predictions, signals, rng)
    scores = called(name, resolve(name, "attacks"), deepcopy(predictions))  # it may write in place
    try:
        array = np.asarray(scores)
    except (TypeError, ValueError, RuntimeError) as error:  # tensors raise the last
        raise InputError(f"the attack {name!r} did not return numbers ({one_line(error)})") from error
    if array.dtype.kind not in "biuf":  # a conversion would read text, and drop what is imaginary
        raise InputError(f"the attack {name!r} returned values of type {array.dtype}, not real numbers")
    array = array.astype(np.float64)
    if array.shape != (len(predictions),) or not np.isfinite(array).all():
        raise InputError(f"the attack {name!r} must return a finite score for each of {len(predictions)} rows")
    return array


def _offline_a(references: References) -> float:
    """Tuned on the first reference model that the others, but for its complement, can attack; if there is none, the
    published constant.

    A model cannot be attacked where the others trained on all of its members or on all of its non-members: so it is
    with models of two halves alone, whatever their seeds.
    """
    if references.member is None:
        return OFFLINE_A
    for attacked, members in enumerate(references.member):
        others = np.flatnonzero((references.member == members).any(axis=1))
        order = np.r_[attacked, others[others != attacked]]
        with suppress(InputError):
            return tuned_a(references.confidence[order], references.member[order])
    return OFFLINE_A


def chosen_attacks(attacks: Sequence[str] | None, predictions: Predictions) -> tuple[tuple[str, ...], dict[str, str]]:
    """The attacks to make: those asked for, or all that are possible; and why other shadow attacks are not made.

    Raises:
      InputError: one is unknown, none is asked for, or there are reference models that allow no shadow attack.
    """
    check_type("predictions", predictions, Predictions, "trilemma.Predictions (Predictions.load reads a file)")
    if attacks is None:
        shadow_attacks, reasons = _shadow_attacks(predictions)
        return (*ATTACKS, *shadow_attacks), reasons
    unknown = [name for name in attacks if not is_attack(name)]
    if unknown or not attacks:
        raise InputError(f"unknown attack {', '.join(unknown) or '(none given)'}: choose from {', '.join(ALL_ATTACKS)}")
    return tuple(dict.fromkeys(attacks)), {}


def _shadow_attacks(predictions: Predictions) -> tuple[tuple[str, ...], dict[str, str]]:
    """The shadow attacks that the reference models allow, and why they do not allow the others.

    Without ``reference_member``, online attacks are not among either: they are not asked for.
    """
    if predictions.reference_logits is None:
        return (), {}
    shape, matrix = predictions.reference_logits.shape[:2], predictions.reference_member
    possible, reasons = [], {}
    for name in SHADOW_SCORES:
        if matrix is None and "in" in NEEDS[name].get("sides", ("in",)):
            continue
        try:
            check_matrix(np.zeros(shape, dtype=bool) if matrix is None else matrix, shape, attack=name, **NEEDS[name])
            possible.append(name)
        except InputError as error:
            reasons[name] = str(error)
    if not possible:
        raise InputError(f"{next(iter(reasons.values()))}; or leave out reference_logits")
    return tuple(possible), reasons
