"""Whether canaries catch a training that adds too little noise, and leave a correct one alone.

    python benchmarks/canaries.py gradient --out canaries.jsonl      # 20 trainings for each claim and each sabotage
    python benchmarks/canaries.py gradient --batch 256 --out sampled.jsonl    # Poisson draws of 256
    python benchmarks/canaries.py mislabelled --out canaries.jsonl
    python benchmarks/canaries.py blank --out canaries.jsonl
    python benchmarks/canaries.py summary --out canaries.jsonl

Each training is one ``Training`` with ``Canaries``, as ``trilemma train --canaries`` makes it, at epsilon = 8, 4 and 1
and delta = 1e-5.  A sabotaged one adds a quarter of the noise that it accounts for, or none.  Results are appended to
``--out``, a JSON line each, and what is there already is not computed again, so it may be stopped at any time.
"""

from __future__ import annotations

import argparse
import json
import time
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import nn

import trilemma as tl
from trilemma.attacks import roc
from trilemma.privacy import plan
from trilemma.privacy.canaries import gaussian_bound, one_run_bound
from trilemma.training.canaries import KINDS, Canaries
from trilemma.training.loop import Training
from trilemma.training.recipe import Recipe
from trilemma.trial.canary_record import canary_scores

CLAIMS, SHARES, DELTA = (8.0, 4.0, 1.0), (1.0, 0.25, 0.0), 1e-5
LINEAR = Recipe(model="linear", batch_size=0, epochs=20, learning_rate=1.0)  # as many epochs with --batch
FEATURES = Recipe(model="features", batch_size=0, epochs=100, learning_rate=0.2, momentum=0.9)


def sabotaged(share: float) -> AbstractContextManager[object]:
    """A mechanism that adds this share of the noise."""
    if share == 1:
        return nullcontext()
    real = plan.add_gaussian_noise

    def less(sums: Any, *, standard_deviation: float, stream: Any) -> Any:
        return real(sums, standard_deviation=share * standard_deviation, stream=stream)

    return mock.patch.object(plan, "add_gaussian_noise", less)


def training_of(kind: str, count: int, epsilon: float, seed: int, batch: int = 0) -> Training:
    """Gradient canaries: a linear layer on the pixels of digits-s, 1,297 examples.  Images: a linear head on 1,000
    fixed random features of 500 digits (with more than 500 canaries, on as many digits and twice as many features),
    which can store what it saw."""
    torch.manual_seed(seed)
    if kind == "gradient":
        data, recipe = tl.load_data("digits-s"), LINEAR
        network = nn.Sequential(nn.Flatten(), nn.Linear(192, 10))
    else:
        size = max(500, count)
        data, recipe = tl.load_data("digits", limit=size), FEATURES
        features, head = nn.Linear(64, 2 * size).requires_grad_(False), nn.Linear(2 * size, 10)
        nn.init.normal_(features.weight, std=10 / 8)
        nn.init.uniform_(features.bias, -10, 10)
        nn.init.zeros_(head.weight)
        network = nn.Sequential(nn.Flatten(), features, nn.ReLU(), head)
    recipe = replace(recipe, batch_size=batch, epsilon=epsilon, delta=DELTA, seed=seed)
    return Training(recipe, data, network=network, canaries=Canaries(kind, count))  # type: ignore[arg-type]


def audited(kind: str, count: int, epsilon: float, share: float, seed: int, batch: int) -> dict[str, Any]:
    """One training and its bounds."""
    began = time.process_time()
    training = training_of(kind, count, epsilon, seed, batch)
    with sabotaged(share):
        for _ in training.run_updates(training.course.updates):
            pass
    scores, included = canary_scores(training)
    counting = one_run_bound(scores, included, DELTA)
    return {
        "auc": float(roc.measure(scores, included).auc),
        "counting": counting.epsilon,
        "gaussian": gaussian_bound(scores, included, DELTA),
        "guesses": counting.guesses,
        "correct": counting.correct,
        "cpu_seconds": time.process_time() - began,
    }


def summary(lines: list[dict[str, Any]]) -> None:
    """One row for each kind, number of canaries, claim and share of the noise."""
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for line in lines:
        groups.setdefault((line["kind"], line["canaries"], line["claim"], line["noise"]), []).append(line)
    print("| canary | M | claim | noise | AUC | counting, mean (max) | above | Gaussian, mean (max) | above | CPU s |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for (kind, count, claim, share), rows in sorted(
        groups.items(), key=lambda item: (item[0][0], -item[0][2], -item[0][3])
    ):
        cells = [kind, str(count), f"{claim:g}", f"{share:g}", f"{sum(r['auc'] for r in rows) / len(rows):.3f}"]
        for name in ("counting", "gaussian"):
            bounds = [row[name] for row in rows]
            cells.append(f"{sum(bounds) / len(bounds):.2f} ({max(bounds):.2f})")
            cells.append(f"{sum(bound > claim for bound in bounds)} of {len(bounds)}")
        print(f"| {' | '.join(cells)} | {sum(row['cpu_seconds'] for row in rows) / len(rows):.1f} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=(*KINDS, "summary"))
    parser.add_argument("--out", type=Path, default=Path("canaries.jsonl"))
    parser.add_argument("--canaries", type=int, help="default: 1,000 directions, 500 images")
    parser.add_argument("--batch", type=int, default=0, help="0: every example in every update; a file for each")
    parser.add_argument("--trainings", type=int, default=20)
    parser.add_argument("--claims", type=float, nargs="*", default=CLAIMS)
    parser.add_argument("--noise", type=float, nargs="*", default=SHARES, help="shares of the noise")
    options = parser.parse_args()
    lines = [json.loads(line) for line in options.out.read_text().splitlines()] if options.out.exists() else []
    if options.part == "summary":
        return summary(lines)
    count = options.canaries or (1000 if options.part == "gradient" else 500)
    done = {(line["kind"], line["canaries"], line["claim"], line["noise"], line["seed"]) for line in lines}
    for seed in range(options.trainings):
        for claim in options.claims:
            for share in options.noise:
                key = (options.part, count, claim, share, seed)
                if key in done:
                    continue
                names = dict(zip(("kind", "canaries", "claim", "noise", "seed"), key, strict=True))
                line = names | audited(options.part, count, claim, share, seed, options.batch)
                with options.out.open("a") as out:
                    out.write(json.dumps(line) + "\n")
                print(line, flush=True)


if __name__ == "__main__":
    main()
