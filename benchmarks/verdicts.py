"""Which verdicts of a study change from run to run?

    trilemma study mine-1.toml --out runs/1      # the same study with other seeds, or with other numbers of threads
    trilemma study mine-2.toml --out runs/2
    python benchmarks/verdicts.py runs/1 runs/2 [--subsets 3]

Judges the claims and comparisons of each folder by itself and prints how often each verdict came out.  ``--subsets S``
pools the trials of all folders, of which each seed counts once, and judges every choice of S seeds as a study of its
own; these choices share trainings, so they are not independent.
"""

from __future__ import annotations

import argparse
import itertools
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from trilemma.analysis.claims import claims
from trilemma.analysis.comparisons import comparisons
from trilemma.analysis.results import read_results
from trilemma.files import read_json
from trilemma.measures import COMPARED

Run = tuple[pd.DataFrame, dict[str, Any]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path, metavar="DIR")
    parser.add_argument("--subsets", type=int, metavar="S")
    options = parser.parse_args()
    runs = [(read_results(folder), read_json(folder / "study.json")) for folder in options.folders]
    if options.subsets:
        runs = list(subsets(runs, options.subsets))
    by_name: dict[str, Counter[str]] = {}
    for run in runs:
        for name, verdict in verdicts(run):
            by_name.setdefault(name, Counter())[verdict] += 1
    print(f"{len(runs)} runs\n\n| claim or comparison | verdicts |\n|---|---|")
    for name, counts in by_name.items():
        print(f"| {name} | {', '.join(f'{verdict} {count}' for verdict, count in counts.most_common())} |")
    changing = sum(len(counts) > 1 for counts in by_name.values())
    print(f"\n{changing} of {len(by_name)} came out in more than one way")


def verdicts(run: Run) -> Iterator[tuple[str, str]]:
    """(claim or comparison, verdict) of all that a study of its own says."""
    results, study = run
    for claim in claims(results, study):
        if claim.verdict != "not measured":
            yield f"claim: {claim.name}", claim.verdict
    for measure in COMPARED:
        if (results["measure"] == measure).any():
            for row in comparisons(results, measure, study).table().to_dict("records"):
                yield f"{measure}: {row['change']} against {row['base']}, {row['setting']}", row["verdict"]


def subsets(runs: list[Run], size: int) -> Iterator[Run]:
    """Every choice of that many seeds from the trials of all runs, each as a run."""
    pooled = pd.concat([results for results, _ in runs], ignore_index=True)
    pooled = pooled.drop_duplicates(["trial", "measure", "update"], ignore_index=True)
    trials = {name: trial for _, study in runs for name, trial in study["trials"].items()}
    (_, entry), *_ = runs[0][1]["studies"].items()
    for seeds in itertools.combinations(sorted(set(pooled["seed"])), size):
        results = pooled[pooled["seed"].isin(seeds)].reset_index(drop=True)
        chosen = sorted(set(results["trial"]))
        (name, *_), *_ = results["studies"].map(str.split)
        study = {**entry, "trials": chosen, "seeds": [int(seed) for seed in seeds]}
        yield results, {**runs[0][1], "studies": {name: study}, "trials": {trial: trials[trial] for trial in chosen}}


if __name__ == "__main__":
    main()
