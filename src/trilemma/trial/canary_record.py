"""``canaries`` of ``result.json``: what the canaries of one training prove of its budget."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from trilemma.attacks import roc
from trilemma.privacy.canaries import SIGNIFICANCE, gaussian_bound, largest_bound, one_run_bound
from trilemma.privacy.ceiling import ceiling
from trilemma.training.canaries import Canaries
from trilemma.training.loop import Training

ASSUMPTION = (
    "a canary's inclusion moves its score as it would move a normal number, and the scores of different canaries are "
    "independent"
)

_FEWER = (1000, 2000, 3000, 4000)
"""Numbers of canaries among which the one with the largest corrected bound lies, at customary deltas."""

_SCORES = {
    "gradient": "released sums less the real examples' clipped sums, projected on the canary's direction",
    "mislabelled": "loss at the first weights less loss at the released ones",
    "blank": "loss at the first weights less loss at the released ones",
}


def what_canaries_can_show(canaries: Canaries, epsilon: float, delta: float) -> str:
    """What so many canaries can show of a claim, in one line, before anything is trained.

    >>> what_canaries_can_show(Canaries("gradient", 1000), 8.0, 1e-5)  # doctest: +ELLIPSIS
    '1,000 gradient canaries cannot contradict ε = 8 by counting: at most 5.8 (5.2 with the correction ...'
    """
    most, corrected = (largest_bound(canaries.count, delta, corrected=choice) for choice in (False, True))
    what = f"{canaries.count:,} {canaries.kind} canaries"
    bound = f"{most:.1f} ({corrected:.1f} with the correction for the choice of guesses)"
    # The correction grows with the number of choices, so that beyond some thousands more canaries prove less.
    fewer = {count: largest_bound(count, delta) for count in _FEWER if count < canaries.count}
    best = max(fewer, key=lambda count: fewer[count], default=canaries.count)
    if fewer and fewer[best] > corrected + 0.05:
        bound += f"; {best:,} canaries would reach {fewer[best]:.1f} with it"
    if corrected <= epsilon:
        return f"{what} cannot contradict ε = {epsilon:g} by counting: at most {bound}"
    return f"{what} can contradict ε = {epsilon:g} by counting: bounds reach at most {bound}"


def canary_scores(training: Training) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """(the score of each canary, whether it is in), of a training with canaries after its last update."""
    coins = training.state.coins
    assert coins is not None
    return coins.final_scores(training.canary_losses()).numpy(), coins.included.numpy()


def canary_record(training: Training) -> dict[str, Any] | None:
    """The record of a training after its last update; None without canaries.

    The claim is what the accountant computes for the updates that were made, also where the truth check failed.
    """
    canaries, claim, delta = training.canaries, training.epsilon_spent(), training.recipe.delta
    if canaries is None or claim is None or delta is None:
        return None
    assert training.course.plan is not None  # a claim has one
    scores, included = canary_scores(training)
    curve = roc.bootstrap_roc(scores, included, seed=training.recipe.seed)
    counting, gaussian = one_run_bound(scores, included, delta), gaussian_bound(scores, included, delta)
    # Scores of images are neither normal nor independent, so for them the second bound is an indication alone.
    bounds = {"counting": counting.epsilon, **({"gaussian": gaussian} if canaries.kind == "gradient" else {})}
    above = [name for name, bound in bounds.items() if bound > claim]
    return {
        **canaries.to_dict(),
        "included": int(included.sum()),
        "score": _SCORES[canaries.kind],
        "auc": curve.auc,
        "auc_interval": list(curve.auc_interval()),
        "auc_ceiling": ceiling(training.course.plan.event(training.state.update)).auc,
        "claim": claim,
        "delta": delta,
        "significance": SIGNIFICANCE,
        "counting": {
            "epsilon": counting.epsilon,
            "guesses": counting.guesses,
            "correct": counting.correct,
            "tries": counting.tries,
            "largest": largest_bound(canaries.count, delta),
        },
        "gaussian": {"epsilon": gaussian, "assumption": ASSUMPTION},
        "contradicted_by": above,
        "verdict": "contradicted" if above else "not contradicted",
    }
