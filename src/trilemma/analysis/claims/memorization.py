"""The paper's claim that memorization can begin before overfitting."""

from __future__ import annotations

from dataclasses import replace

from trilemma.analysis.claims.claim import Claim, Finding, Verdict, overall_claim
from trilemma.analysis.claims.evidence import ATTACK, Table, condition_record
from trilemma.analysis.conditions import check_once, conditions_of, tell_apart
from trilemma.analysis.turning_points import TurningPoints, turning_points


def memorization_claim(table: Table) -> Claim:
    """Whether memorization can begin before overfitting.

    A training confirms it where memorization begins first in every seed, and contradicts it where overfitting begins
    first, or both at once, in every seed.  (:func:`~trilemma.analysis.turning_points.turning_points` defines them.)
    That it *can* is confirmed by one such training and contradicted only where all trainings are against it.
    """
    rows = table.during_training
    looked_at = rows[rows["measure"] == ATTACK]
    check_once(looked_at, ["cell", "update"])
    points: dict[str, dict[int, TurningPoints]] = {}
    trials: dict[str, dict[int, str]] = {}
    for trial, history in rows[rows["trial"].isin(looked_at["trial"])].groupby("trial", sort=False):
        name, seed = str(history["cell"].iloc[0]), int(history["seed"].iloc[0])
        points.setdefault(name, {})[seed] = turning_points(history)
        trials.setdefault(name, {})[seed] = str(trial)
    findings = []
    for name, condition in tell_apart(conditions_of(looked_at), trials, table.study).items():
        by_seed = points[name]
        seeds = sorted(by_seed)
        words = "; ".join(f"seed {seed}: {_turning_words(by_seed[seed])}" for seed in seeds)
        orders = {by_seed[seed].order for seed in seeds}
        verdict: Verdict = "cannot tell"
        if len(seeds) < 2:
            words = f"one seed says nothing about others: {words}"
        elif orders == {"memorization first"}:
            verdict = "confirmed"
        elif orders <= {"together", "overfitting first"}:
            verdict = "contradicted"
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
        findings.append(Finding(str(condition), verdict, words, (entry,)))
    claim = overall_claim(
        "memorization-first",
        "paper",
        "the paper says that memorization can begin before the overfitting point",
        findings,
        "this takes a study that measures accuracies and AUC during training (one that tracks an example)",
        lead="Memorization",
        by_verdict=True,
    )
    verdicts = {finding.verdict for finding in findings}
    if "confirmed" in verdicts:
        return replace(claim, verdict="confirmed")
    return claim if len(verdicts) < 2 else replace(claim, verdict="cannot tell")


def _turning_words(points: TurningPoints) -> str:
    def moment(update: int | None) -> str:
        return "never" if update is None else f"at update {update}"

    return (
        f"memorization begins {moment(points.memorization)}, overfitting {moment(points.overfitting)} "
        f"(the best test accuracy is {moment(points.early_stopping)})"
    )
