"""How much shadow attacks find that one model's loss does not, on real CIFAR-10, and whether their intervals hold.

    python benchmarks/attacks.py intervals           # two Gaussians: coverage of every printed interval
    python benchmarks/attacks.py fit                 # convnet-8, 600 members: how well each training fits its members
    python benchmarks/attacks.py convnet             # the one that fits them best: RMIA, LiRA and the loss, pooled
    python benchmarks/attacks.py head                # the same for a linear head on fixed features
    python benchmarks/attacks.py ceiling             # the head with budgets: found, and at most
    python benchmarks/attacks.py unseen              # models that never saw the examples: intervals cover 1/2
    python benchmarks/attacks.py groups              # CIFAR-10S: who is exposed, and does the test hold its level

Models come in pairs that are trained on the two halves of the audited examples (``trilemma.trial.audited``), by the
same ``Training`` as any run.  Each is attacked with all others but its complement, as a target is with its shadows.
``--models`` sets how many; results are printed as JSON, one line a part.  ``convnet unseen`` trains once for both.
"""

from __future__ import annotations

import argparse
import functools
import json
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm, t

import trilemma as tl
from trilemma.attacks import Predictions, bootstrap_roc, measure, rate_at
from trilemma.attacks.cells import equal_vulnerability
from trilemma.attacks.targets import cells_of_targets
from trilemma.data.dataset import Dataset
from trilemma.privacy.ceiling import ceiling
from trilemma.training.loop import Training
from trilemma.training.recipe import Recipe
from trilemma.trial.audited import Audited, audited_split, choose_audited, shadow_data

_SGD = Recipe(model="convnet-8", batch_size=16, epochs=30, learning_rate=0.05, momentum=0.9, norm_groups=4)
_COSINE = replace(_SGD, schedule="cosine")
_SMALL = replace(_COSINE, batch_size=8, learning_rate=0.02)
_ADAM = replace(_COSINE, optimizer="adam", momentum=0.0, learning_rate=0.01)
TRAININGS = {
    "sgd-32": replace(_SGD, batch_size=32, learning_rate=0.1),
    "sgd-16": _SGD,
    "sgd-64": replace(_SGD, batch_size=64),
    "sgd-16-gn": replace(_SGD, techniques=("gn",)),
    "sgd-16-cosine": _COSINE,
    "sgd-8-cosine": _SMALL,
    "sgd-8-ws": replace(_SMALL, techniques=("ws",)),
    "sgd-8-ws-faster": replace(_SMALL, techniques=("ws",), learning_rate=0.05),
    "sgd-4-ws": replace(_SMALL, techniques=("ws",), batch_size=4),
    "adam-16": replace(_ADAM, schedule="constant", learning_rate=0.002),
    "adam-8": replace(_ADAM, batch_size=8, learning_rate=0.005),
    "adam-8-ws": replace(_ADAM, batch_size=8, learning_rate=0.005, techniques=("ws",)),
    "adam-8-ws-faster": replace(_ADAM, batch_size=8, techniques=("ws",)),
    "adam-16-ws": replace(_ADAM, techniques=("ws",)),
    "adam-16-ws-slower": replace(_ADAM, techniques=("ws",), learning_rate=0.005),
    "adam-16-ws-gn": replace(_ADAM, techniques=("ws", "gn")),
    "adam-32-ws": replace(_ADAM, techniques=("ws",), batch_size=32),
}
# The best fit of its members, which is all that ``fit`` looks at: 0.803.  adam-8-ws has 0.805, a tie that cost decides.
OVERFITTED = "adam-16-ws"
HEAD = "prior-study"  # a recipe of the package: a linear head, every example in each of 30 updates


class Family:
    """Models of one recipe on halves of the same audited examples, and their outputs on all of them.

    Attributes:
      audited: the examples.
      logits: float32 (K, 2a, C).
      matrix: bool (K, 2a), which examples each model was trained on.
      event: of one training with a budget, else None.
    """

    def __init__(
        self, recipe: Recipe, data: Dataset, models: int, audited: int | None = 0, first_seed: int = 1000
    ) -> None:
        """``audited`` as for ``choose_audited``; 0: every training example, and as many test images."""
        self.audited: Audited = choose_audited(data, 2 * len(data.train) if audited == 0 else audited, 0)
        split = audited_split(data, self.audited)
        self.labels, self.groups, self.event = split.labels, split.groups, None
        outputs = []
        for number in range(models):
            training = Training(replace(recipe, seed=first_seed + number), shadow_data(data, self.audited, number))
            for _ in training.run_updates(training.course.updates):
                pass
            outputs.append(training.logits("test").numpy())
            plan = training.course.plan
            self.event = None if plan is None else plan.event(training.course.updates)
            print(f"  model {number + 1} of {models}", file=sys.stderr, flush=True)
        self.logits = np.stack(outputs)
        self.matrix = np.stack([self.audited.half(number) for number in range(models)])

    def target(self, number: int, member: NDArray[np.bool_] | None = None, rows: Any = slice(None)) -> Predictions:
        """One model as the target of all others but its complement."""
        others = np.flatnonzero(np.arange(len(self.matrix)) // 2 != number // 2)
        return Predictions(
            logits=self.logits[number][rows],
            labels=self.labels[rows],
            groups=None if self.groups is None else self.groups[rows],
            member=(self.matrix[number] if member is None else member)[rows],
            reference_logits=self.logits[others][:, rows],
            reference_member=self.matrix[others][:, rows],
        )


def pooled(values: list[float]) -> dict[str, float]:
    """Mean over targets with the half-width of its 95 % Student's t interval."""
    array = np.array(values)
    half = t.ppf(0.975, len(array) - 1) * array.std(ddof=1) / np.sqrt(len(array))
    return {"mean": round(float(array.mean()), 4), "half_width": round(float(half), 4)}


def attacked(family: Family, resamples: int = 100) -> dict[str, Any]:
    """AUC and TPR at 1 % of each attack, pooled over targets; and how often a lower end exceeds the ceiling."""
    names = ["threshold", "rmia", "lira", "rmia-offline", "lira-offline"]
    aucs: dict[str, list[float]] = {name: [] for name in names}
    tprs: dict[str, list[float]] = {name: [] for name in names}
    bounds = None if family.event is None else ceiling(family.event).to_dict()
    alarms = 0
    for number in range(len(family.matrix)):
        predictions = family.target(number)
        result = tl.audit(predictions, attacks=names, resamples=resamples)
        alarms += bool(tl.attacks.ceiling_alarms({result.headline: result.attacks[result.headline]}, bounds))
        for name in names:
            metrics = measure(result.scores[name], predictions.member)
            aucs[name].append(float(metrics.auc))
            tprs[name].append(float(metrics.tpr_at_fpr[0.01]))
    correct = family.logits.argmax(2) == family.labels
    return {
        "accuracy": {"train": correct[family.matrix].mean(), "test": correct[~family.matrix].mean()},
        "auc": {name: pooled(values) for name, values in aucs.items()},
        "tpr_at_1_percent": {name: pooled(values) for name, values in tprs.items()},
        "ceiling": bounds,
        "targets_above_the_ceiling": alarms,
    }


def cifar10(size: int, **options: Any) -> Dataset:
    """As many training as test images, drawn by class."""
    return tl.load_data(options.pop("name", "cifar10"), limit=size, test_limit=size, **options)


def fit(models: int, size: int, names: list[str]) -> dict[str, Any]:
    """How well each training fits its members, by seeds that no attack is measured with.  No attack is made."""
    lines: dict[str, Any] = {}
    for name in names:
        cpu = time.process_time()
        family = Family(TRAININGS[name], cifar10(size), models, first_seed=2000)
        seconds = (time.process_time() - cpu) / models
        lines[name] = {"member_accuracy": member_accuracy(family), "cpu_seconds_a_model": round(seconds, 1)}
    return lines


def member_accuracy(family: Family) -> float:
    return round(float((family.logits.argmax(2) == family.labels)[family.matrix].mean()), 3)


@functools.cache
def convnets(training: str, models: int, size: int) -> Family:
    return Family(TRAININGS[training], cifar10(size), models)


def convnet(models: int, size: int, training: str) -> dict[str, Any]:
    return attacked(convnets(training, models, size))


def head(models: int, size: int) -> dict[str, Any]:
    return attacked(Family(tl.load_recipe(HEAD), cifar10(size), models))


def ceilings(models: int, size: int, rate: float | None) -> dict[str, Any]:
    """With budgets; ``rate`` in place of the recipe's learning rate, which was chosen for 50,000 images."""
    data = cifar10(size)
    return {
        f"epsilon {epsilon:g}": attacked(
            Family(tl.load_recipe(HEAD, epsilon=epsilon, learning_rate=rate, secret_noise=False), data, models)
        )
        for epsilon in (8.0, 1.0)
    }


def unseen(models: int, size: int, training: str, repeats: int, learned: int) -> dict[str, Any]:
    """Each repeat calls half of the examples that a model never saw its members, at random.

    Learned attacks take a hundred times as long as the others, and are made in the first ``learned`` repeats alone.
    """
    family = convnets(training, models, size)
    rng = np.random.default_rng(0)
    covered: dict[str, list[bool]] = {}
    for repeat in range(repeats):
        number = repeat % models
        rows = np.flatnonzero(~family.matrix[number])
        member = np.zeros(len(family.labels), dtype=bool)
        member[rng.permutation(rows)[: len(rows) // 2]] = True
        names = ["threshold", "rmia", *(("mlp", "rf") if repeat < learned else ())]
        audited = tl.audit(family.target(number, member, rows), attacks=names, resamples=400, seed=repeat)
        for name in names:
            low, high = audited.rocs[name].auc_interval()
            covered.setdefault(name, []).append(low <= 0.5 <= high)
        if repeat % 20 == 19:
            print(f"  {repeat + 1} repeats: {counted(covered)}", file=sys.stderr, flush=True)
    return {"covered": counted(covered)}


def counted(covered: dict[str, list[bool]]) -> dict[str, str]:
    return {name: f"{sum(seen)} of {len(seen)}" for name, seen in covered.items()}


def groups(models: int, size: int) -> dict[str, Any]:
    """Minority (the rarer group of each class) less majority, and the test on true and on shuffled groups."""
    data = tl.load_data("cifar10s", skew=0.95, limit=size, test_limit=size)
    # Of so many, the rarer groups have 100 members and 100 non-members together: the test needs 50 on either side.
    family = Family(tl.load_recipe(HEAD), data, models, audited=size)
    assert family.groups is not None
    minority = (family.labels % 2 == 0) != (family.groups == 1)
    differences, rejected, shuffled, all_scores = [], 0, [], []
    rng = np.random.default_rng(0)
    for number in range(models):
        predictions = family.target(number)
        scores = tl.audit(predictions, attacks=["rmia"], resamples=20).scores["rmia"]
        all_scores.append(scores)
        aucs = [float(measure(scores[rows], predictions.member[rows]).auc) for rows in (minority, ~minority)]
        differences.append(aucs[0] - aucs[1])
        cells = minority.astype(np.int64)
        rejected += equal_vulnerability(scores, predictions.member, cells, permutations=199, seed=number).rejected()
        for repeat in range(-(-100 // models)):
            dealt = rng.permutation(cells)
            test = equal_vulnerability(scores, predictions.member, dealt, permutations=199, seed=repeat)
            shuffled.append(test.rejected())
    cells = cells_of_targets(np.stack(all_scores), family.matrix, minority.astype(np.int64))
    return {
        "clustered_by_example": {name: vars(cells[number]) for number, name in enumerate(("majority", "minority"))},
        "minority_less_majority_auc": pooled(differences),
        "equal_vulnerability_rejected": f"{rejected} of {models} targets",
        "rejected_on_shuffled_groups": f"{sum(shuffled)} of {len(shuffled)}",
    }


def intervals(repeats: int, sizes: tuple[int, ...]) -> dict[str, Any]:
    """Two Gaussians of equal variance: how often each interval covers the truth."""
    lines = {}
    for auc in (0.5, 0.55, 0.9):
        shift = float(np.sqrt(2) * norm.ppf(auc))
        truth = {"auc": auc, "advantage": float(2 * norm.cdf(shift / 2) - 1)}
        truth |= {f"tpr_{fpr:g}": float(norm.sf(norm.isf(fpr) - shift)) for fpr in (0.01, 0.001)}
        for size in sizes:
            hits: dict[str, list[bool]] = {name: [] for name in truth}
            for repeat in range(repeats):
                rng = np.random.default_rng([repeat, size])
                scores, member = rng.normal(size=2 * size), np.arange(2 * size) < size
                scores[member] += shift
                roc = bootstrap_roc(scores, member, seed=repeat, resamples=300)
                ends: dict[str, Any] = {"auc": roc.auc_interval(), "advantage": roc.advantage_interval()}
                ends |= {f"tpr_{fpr:g}": rate_at(scores, member, fpr).interval for fpr in (0.01, 0.001)}
                for name, interval in ends.items():
                    if interval is not None:
                        hits[name].append(interval[0] <= truth[name] <= interval[1])
            lines[f"AUC {auc}, {size} a side"] = {name: np.mean(seen) for name, seen in hits.items() if seen}
    return lines


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "parts", nargs="+", choices=["intervals", "fit", "convnet", "head", "ceiling", "unseen", "groups"]
    )
    parser.add_argument("--models", type=int, default=18, help="an even number of models (default: 18)")
    parser.add_argument("--size", type=int, help="members (default: 600 of the convnet, 1800 of a head)")
    parser.add_argument("--rate", type=float, help="learning rate of a head with a budget (default: the recipe's)")
    parser.add_argument(
        "--training", choices=TRAININGS, action="append", help=f"of the convnet (default: {OVERFITTED}; of fit: each)"
    )
    parser.add_argument("--repeats", type=int, default=400)
    parser.add_argument("--learned", type=int, default=400, help="repeats with learned attacks (default: 400)")
    options = parser.parse_args()
    training = (options.training or [OVERFITTED])[0]
    parts: dict[str, Callable[[], dict[str, Any]]] = {
        "intervals": lambda: intervals(options.repeats, (100, 1000, 10_000)),
        "fit": lambda: fit(options.models, options.size or 600, options.training or list(TRAININGS)),
        "convnet": lambda: convnet(options.models, options.size or 600, training),
        "head": lambda: head(options.models, options.size or 1800),
        "ceiling": lambda: ceilings(options.models, options.size or 1800, options.rate),
        "unseen": lambda: unseen(options.models, options.size or 600, training, options.repeats, options.learned),
        "groups": lambda: groups(options.models, options.size or 4000),
    }
    for part in options.parts:
        began, cpu = time.monotonic(), time.process_time()
        lines = parts[part]()
        lines |= {
            "minutes": round((time.monotonic() - began) / 60, 1),
            "cpu_minutes": round((time.process_time() - cpu) / 60, 1),
        }
        print(json.dumps({part: lines}, default=float), flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
