"""Whether the AUC of the learned attacks lies below one half where nothing leaks, on few rows.

Cross-fitting scores each half of the rows by an attacker that was trained on the other half.  The AUC within one half
is then 1/2 on average where members and non-members are alike, since neither half knows anything of the other.  The AUC
of both halves together also compares a member that one attacker scored with a non-member that the other one scored.
Each of these two rows was in the training set of the other's attacker, with the label that the comparison speaks
against, so such a pair is in order a little less than half of the time.

Members and non-members are drawn alike: 10 logits, standard normal, 4 more for the true class.  "difference" is the AUC
of both halves together less the mean of their own, in pairs, which shows the effect far below the spread of an AUC.

    python benchmarks/learned_null.py --rows 20,100 --repeats 100
"""

from __future__ import annotations

import argparse
import time

import numpy as np
from sklearn.metrics import roc_auc_score

from trilemma.attacks import cross_fitted_scores, signals_from_logits
from trilemma.attacks.learned import Attacker, ForestAttacker, MlpAttacker


class Kept:
    """An attacker that keeps its training set, which is the other one's half: both sides have equally many rows."""

    def __init__(self, attacker: Attacker, made: list[Kept]) -> None:
        self.attacker = attacker
        made.append(self)

    def fit(self, features: np.ndarray, member: np.ndarray) -> None:
        self.features, self.member = features, member
        self.attacker.fit(features, member)

    def score(self, features: np.ndarray) -> np.ndarray:
        return self.attacker.score(features)


def aucs(rows: int, make: type[MlpAttacker | ForestAttacker], seed: int) -> tuple[float, float]:
    """The AUC of both halves together, and the mean of the two halves' own."""
    rng = np.random.default_rng([seed, rows])
    labels, member = rng.integers(0, 10, 2 * rows), np.arange(2 * rows) < rows
    logits = rng.normal(size=(2 * rows, 10)) + 4 * np.eye(10)[labels]
    features = np.column_stack([logits, signals_from_logits(logits, labels).loss])
    made: list[Kept] = []
    together = cross_fitted_scores(features, member, lambda s: Kept(make(s), made), seed=seed)
    own = [
        roc_auc_score(other.member, one.score(other.features)) for one, other in zip(made, reversed(made), strict=True)
    ]
    return float(roc_auc_score(member, together)), float(np.mean(own))


def main() -> None:
    reader = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    reader.add_argument("--rows", default="20,100", help="members, and as many non-members")
    reader.add_argument("--repeats", type=int, default=100)
    options = reader.parse_args()
    for rows in map(int, options.rows.split(",")):
        for name, make in (("mlp", MlpAttacker), ("rf", ForestAttacker)):
            start = time.process_time()
            together, own = np.array([aucs(rows, make, seed) for seed in range(options.repeats)]).T
            shown = [
                f"{what} {values.mean():.4f} ± {values.std(ddof=1) / len(values) ** 0.5:.4f}"
                for what, values in (("together", together), ("own", own), ("difference", together - own))
            ]
            print(
                f"{rows} members, {name}: {', '.join(shown)} (mean and standard error of {options.repeats}); "
                f"{time.process_time() - start:.0f} s of CPU time",
                flush=True,
            )


if __name__ == "__main__":
    main()
