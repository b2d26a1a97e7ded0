"""``trilemma quickstart``: four classifiers on the embedded digits, side by side."""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

from trilemma.cli.screen import Screen
from trilemma.cli.table import compare
from trilemma.data import load_data
from trilemma.training.recipe import load_recipe
from trilemma.trial.train import Run, Stopped, train

SKEW, EPSILON, DELTA = 0.9, 8.0, 1e-5


def quickstart_command(given: argparse.Namespace) -> int:
    out = Path(given.out) / "short" if given.short else Path(given.out)
    data = load_data("digits-s", skew=SKEW)
    rows: list[tuple[str, Run]] = []
    print(
        f"Real handwritten digits, {len(data.train)} to train on; odd digits are mostly in colour, even ones mostly "
        f"gray ({SKEW:.0%}).  The {len(data.test) // 2} test pictures come once in colour and once in gray."
    )
    for private in (False, True):
        for name, techniques in (("baseline", "none"), ("all techniques", "all")):
            recipe = load_recipe(
                "digits",
                techniques=techniques,
                epsilon=EPSILON if private else None,
                delta=DELTA if private else None,
            )
            if given.short:
                recipe = replace(
                    recipe,
                    epochs=recipe.epochs / 10,
                    fewest_updates=max(1, recipe.fewest_updates // 10),
                    evaluations=2,
                )
            title = f"{name}, {'(8, 1e-5)-DP' if private else 'no budget'}"
            folder = out / f"{'all' if techniques == 'all' else 'baseline'}-{'private' if private else 'ordinary'}"
            with Screen(title) as screen:
                try:
                    run = train(recipe, data, folder, progress=screen, should_stop=screen.should_stop)
                except Stopped as stopped:
                    print(f"trilemma: {stopped}", file=sys.stderr)
                    return 130
            rows.append((title, run))
    print()
    print(compare(rows))
    seconds = sum(run.result["seconds"]["total"] for _, run in rows)
    print(f"""
[low, high] are 95 % intervals over test examples (one training each).  AUC matched compares members with test pictures
of their own mix of digit and colour: that is leakage.  AUC naive compares them with the whole test set, half colour and
half gray: it also sees the skew.  The score is the harmonic mean of accuracy, 1 - |2 AUC - 1| and 1 - 2 bias.
ε covers the weights alone.  {seconds:.0f} s of computing; each run's files are in {out}/""")
    return 0
