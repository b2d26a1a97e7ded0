"""The paper's claim that memorization can begin before overfitting."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from trilemma.analysis.claims.claim import Claim, Finding, overall_claim
from trilemma.analysis.claims.decisions import Decision, decide
from trilemma.analysis.claims.evidence import ATTACK, Table, condition_record
from trilemma.analysis.comparison import FEWEST_SEEDS
from trilemma.analysis.conditions import Condition, check_once, conditions_of, tell_apart
from trilemma.analysis.turning_points import GAP, MEASURES, Order, TurningPoints, turning_points
from trilemma.words import capital


def memorization_claim(table: Table) -> Claim:
    """Whether memorization can begin before overfitting.

    A training confirms it where memorization begins first in every one of at least ``FEWEST_SEEDS`` seeds, and
    contradicts it where overfitting does.  (:func:`~trilemma.analysis.turning_points.turning_points` defines them.)
    First means by more than one evaluation, and both must have begun.  Seeds that repeat one training, since nothing in
    it is random, count once; a seed with a value that is not finite is left out.  On skewed data the gap of training
    and test accuracy comes from the skew in part, which can only make overfitting seem earlier, so there nothing
    contradicts the claim.

    This is the one claim that something *can* happen: it is confirmed by one such training, whatever the others say,
    and contradicted only where all trainings are against it.
    """
    rows = table.during_training
    looked_at = rows[rows["measure"] == ATTACK]
    check_once(looked_at, ["cell", "update"])
    points: dict[str, dict[int, TurningPoints]] = {}
    trials: dict[str, dict[int, str]] = {}
    left_out: dict[str, list[int]] = {}
    different: dict[str, set[tuple[float, ...]]] = {}
    for trial, history in rows[rows["trial"].isin(looked_at["trial"])].groupby("trial", sort=False):
        name, seed = str(history["cell"].iloc[0]), int(history["seed"].iloc[0])
        curves = history[history["measure"].isin(MEASURES)].sort_values(["measure", "update"])["value"].to_numpy(float)
        if not np.isfinite(curves).all():
            left_out.setdefault(name, []).append(seed)
            continue
        points.setdefault(name, {})[seed] = turning_points(history)
        different.setdefault(name, set()).add(tuple(curves.round(4)))
        trials.setdefault(name, {})[seed] = str(trial)
    findings = []
    conditions = {name: condition for name, condition in conditions_of(looked_at).items() if name in points}
    for name, condition in tell_apart(conditions, trials, table.study).items():
        by_seed = points[name]
        seeds = sorted(by_seed)
        words = "; ".join(f"seed {seed}: {_turning_words(by_seed[seed])}" for seed in seeds)
        words += "".join(f"; seed {seed} is left out: a value is not finite" for seed in left_out.get(name, ()))
        decision = _decision({by_seed[seed].order for seed in seeds}, len(seeds), len(different[name]), condition)
        words += f"; {decision.reason}" if decision.reason else ""
        entry = {
            "role": "turning points",
            **condition_record(condition),
            "measure": ATTACK,
            "seeds": seeds,
            "trials": [trials[name][seed] for seed in seeds],
            "values": [
                {
                    "early_stopping": by_seed[seed].early_stopping,
                    "overfitting": by_seed[seed].overfitting,
                    "memorization": by_seed[seed].memorization,
                }
                for seed in seeds
            ],
        }
        findings.append(Finding(str(condition), decision.verdict, words, (entry,), reason=decision.reason))
    claim = overall_claim(
        "memorization-first",
        "paper",
        "the paper says that memorization can begin before the overfitting point; here these are where the AUC begins "
        f"to stay above chance, and training accuracy to stay more than {GAP} above test accuracy",
        findings,
        "this takes a study that measures accuracies and AUC during training (one that tracks an example)",
        lead="Memorization",
        by_verdict=True,
    )
    verdicts = {finding.verdict for finding in findings}
    if "confirmed" in verdicts:
        return replace(claim, verdict="confirmed", sentence=capital(claim.sentence.removeprefix("Mixed: ")))
    return claim if len(verdicts) < 2 else replace(claim, verdict="cannot tell")


def _decision(orders: set[Order], seeds: int, different: int, condition: Condition) -> Decision:
    """The verdict of one training from the orders of its seeds, of which so many differ in any value."""
    enough = different >= FEWEST_SEEDS
    skewed = not math.isnan(condition.skew or math.nan)
    reason = f"that takes at least {FEWEST_SEEDS} seeds"
    if enough:
        reason = _SKEWED if skewed and orders == {"overfitting first"} else _reason(orders)
    elif seeds >= FEWEST_SEEDS:
        reason = f"seeds repeat one training, and that takes at least {FEWEST_SEEDS} different ones"
    return decide(
        enough and orders == {"memorization first"}, enough and not skewed and orders == {"overfitting first"}, reason
    )


_SKEWED = "the data are skewed, so part of the gap between training and test accuracy is not overfitting"


def _reason(orders: set[Order]) -> str:
    """Why seeds settle nothing of which comes first."""
    if len(orders) > 1:
        return "the seeds differ in what comes first"
    (order,) = orders
    return "both begin within one evaluation" if order == "together" else f"in no seed does {order[3:]} begin"


def _turning_words(points: TurningPoints) -> str:
    def moment(update: int | None) -> str:
        return "never" if update is None else f"at update {update}"

    return (
        f"memorization begins {moment(points.memorization)}, overfitting {moment(points.overfitting)} "
        f"(the best test accuracy is {moment(points.early_stopping)})"
    )
