"""The paper's claims about leakage, asked again with shadow models on real CIFAR-10.

    python benchmarks/attack_claims.py techniques --out FILE   # does a technique make a network leak more?
    python benchmarks/attack_claims.py skew --out FILE         # do more biased training data leak more?
    python benchmarks/attack_claims.py removal --out FILE      # once the most exposed are gone, are others exposed?
    python benchmarks/attack_claims.py summary --out FILE      # the tables of all of these

Each line of the file holds one family of models (``attacks.Family``): trained in pairs on the two halves of the same
audited examples, each attacked by all others but its complement.  A family that is in the file is not trained again, so
a run that was cut off goes on.  Families whose models share audited examples and halves are compared target by target.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import trilemma as tl
from attacks import HEAD, Family, cifar10, pooled
from trilemma.attacks import measure
from trilemma.data.dataset import Dataset, Split
from trilemma.techniques import PAPER_TECHNIQUES
from trilemma.training.recipe import Recipe
from trilemma.trial.audited import audited_split

Wanted = Callable[[str], bool]  # whether the family of this name is still to be trained
ATTACKS = ("threshold", "rmia")
REMOVED = 0.1


def attacked(family: Family, **about: Any) -> dict[str, Any]:
    """One line of the file: each target's accuracies, and its AUC and TPR at 1 % by each attack."""
    correct = family.logits.argmax(2) == family.labels
    line: dict[str, Any] = about | {
        "train": [float(row[member].mean()) for row, member in zip(correct, family.matrix, strict=True)],
        "test": [float(row[~member].mean()) for row, member in zip(correct, family.matrix, strict=True)],
    }
    for number in range(len(family.matrix)):
        predictions = family.target(number)
        scores = tl.audit(predictions, attacks=list(ATTACKS), resamples=20).scores
        for name in ATTACKS:
            metrics = measure(scores[name], predictions.member)
            line.setdefault(f"auc {name}", []).append(float(metrics.auc))
            line.setdefault(f"tpr {name}", []).append(float(metrics.tpr_at_fpr[0.01]))
    return line


def recipe_of(name: str, techniques: str, epsilon: float | None) -> Recipe:
    return tl.load_recipe(name, techniques=techniques, epsilon=epsilon, secret_noise=False if epsilon else None)


def techniques(models: int, wanted: Wanted) -> Iterator[dict[str, Any]]:
    """Each technique alone and all of them, without a budget; none and all, with one."""
    data = cifar10(1000)
    arms = [("none", None), *((code, None) for code in PAPER_TECHNIQUES), ("all", None), ("none", 8.0), ("all", 8.0)]
    for mix, epsilon in arms:
        name = f"techniques {mix}, epsilon {epsilon}"
        if wanted(name):
            yield attacked(Family(recipe_of("cifar-study", mix, epsilon), data, models), name=name)


def skew(models: int, wanted: Wanted) -> Iterator[dict[str, Any]]:
    """The same images in other colors: a convnet and a head on CIFAR-10S, by skew and budget."""
    for recipe, size in ((HEAD, 1800), ("cifar-study", 1000)):  # heads cost little: first
        for epsilon in (None, 8.0):
            for share in (0.5, 0.95, 0.75):
                name = f"skew {share}, {recipe}, epsilon {epsilon}"
                if not wanted(name):
                    continue
                data = cifar10(size, name="cifar10s", skew=share)
                yield attacked(Family(recipe_of(recipe, "none", epsilon), data, models, audited=None), name=name)


def removal(models: int, wanted: Wanted) -> Iterator[dict[str, Any]]:
    """A tenth of the pool is removed: the most exposed by RMIA, or as many of each class at random.

    The survivors' leakage is measured before, by the models of the whole pool, and after, by models of the rest.
    """
    if not any(wanted(f"removal {arm}") for arm in ("exposed", "random")):
        return
    data = cifar10(1800)
    recipe = recipe_of(HEAD, "none", None)
    family = Family(recipe, data, models)
    pool = audited_split(data, family.audited)
    scores = np.stack(
        [tl.audit(family.target(k), attacks=["rmia"], resamples=20).scores["rmia"] for k in range(models)]
    )
    # As an attacker sees them: how far the score of an example that was trained on is above that of one that was not.
    inside = np.where(family.matrix, scores, 0).sum(0) / family.matrix.sum(0)
    outside = np.where(family.matrix, 0, scores).sum(0) / (~family.matrix).sum(0)
    rng = np.random.default_rng(0)
    for arm in ("exposed", "random"):
        if not wanted(f"removal {arm}"):
            continue
        survivors = kept(pool.labels, inside - outside if arm == "exposed" else rng.random(len(pool.labels)))
        before = surviving(family, scores, survivors)
        rest = Family(recipe, halved(data, pool, survivors), models)
        yield attacked(rest, name=f"removal {arm}") | {f"before {key}": value for key, value in before.items()}


def kept(labels: NDArray[np.int64], exposure: NDArray[np.float64]) -> NDArray[np.int64]:
    """Rows of all but the tenth of each class with the largest exposure, an even number of each class."""
    rows = []
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        members = members[np.argsort(exposure[members], kind="stable")]
        left = int(len(members) * (1 - REMOVED))
        rows.append(members[: left - left % 2])
    return np.sort(np.concatenate(rows))


def surviving(family: Family, scores: NDArray[np.float64], rows: NDArray[np.int64]) -> dict[str, list[float]]:
    """AUC and TPR at 1 % among the survivors alone, by the attack on the models of the whole pool."""
    measured = [measure(score[rows], member[rows]) for score, member in zip(scores, family.matrix, strict=True)]
    return {
        "auc rmia": [float(metrics.auc) for metrics in measured],
        "tpr rmia": [float(metrics.tpr_at_fpr[0.01]) for metrics in measured],
    }


def halved(data: Dataset, pool: Split, rows: NDArray[np.int64]) -> Dataset:
    """The survivors as a data set of which every example is audited: half of each class on each side."""
    first = np.zeros(len(rows), dtype=bool)
    for label in np.unique(pool.labels):
        members = np.flatnonzero(pool.labels[rows] == label)
        first[members[: len(members) // 2]] = True
    return replace(data, train=pool.take(rows[first]), test=pool.take(rows[~first]))


def summary(lines: list[dict[str, Any]]) -> None:
    """Means over targets with 95 % Student's t intervals, and differences from the first family of the same kind.

    Differences are over the targets that both families have: model k of each is trained on the same half.
    """
    first: dict[str, dict[str, Any]] = {}
    for line in lines:
        kind = line["name"].split()[0] + line["name"].partition(", ")[2]
        base = first.setdefault(kind, line)
        row: dict[str, Any] = {"name": line["name"]}
        for key, values in line.items():
            if key == "name":
                continue
            row[key] = pooled(values)
            if base is not line and key in base:
                shared = min(len(values), len(base[key]))
                row[f"{key}, less {base['name']}"] = pooled(list(np.subtract(values[:shared], base[key][:shared])))
            if f"before {key}" in line:
                row[f"{key}, after less before"] = pooled(list(np.subtract(values, line[f"before {key}"])))
        print(json.dumps(row))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=["techniques", "skew", "removal", "summary"])
    parser.add_argument("--models", type=int, default=10, help="an even number of models in a family (default: 10)")
    parser.add_argument("--only", default="", help="train only the families whose names contain this")
    parser.add_argument("--out", type=Path, required=True, help="file of JSON lines, one a family")
    options = parser.parse_args()
    lines = [json.loads(line) for line in options.out.read_text().splitlines()] if options.out.exists() else []
    if options.part == "summary":
        summary(lines)
        return 0
    done = {line["name"] for line in lines}
    parts = {"techniques": techniques, "skew": skew, "removal": removal}
    for line in parts[options.part](options.models, lambda name: options.only in name and name not in done):
        with options.out.open("a") as file:
            file.write(json.dumps(line) + "\n")
        print(f"{line['name']}: done", file=sys.stderr, flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
