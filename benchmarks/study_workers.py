"""Do several workers finish a study sooner than one, and than several that do not share the cores?

Runs the same trials in turn with one worker, with one for each core, and with one for each core whose threads are
not limited (each takes all cores), several rounds; prints seconds, medians and the ratio of each round.

    .venv/bin/python benchmarks/study_workers.py [--rounds 3] [--seeds 2]
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import torch

from trilemma.analysis.results import collect
from trilemma.machine import cores
from trilemma.study.file import read_study
from trilemma.study.folder import StudyFolder
from trilemma.study.pool import Pool
from trilemma.study.runner import progress_of, run_study
from trilemma.study.trials import Study, expand


class Unlimited(Pool):
    """As a pool would be that left threads to the libraries."""

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self._environment = dict(os.environ)


def seconds(study: Study, crew: Pool) -> tuple[float, list[float]]:
    """Time of the whole study in an empty folder, and the accuracies, which must not depend on the crew."""
    with tempfile.TemporaryDirectory() as name:
        folder = StudyFolder(Path(name))
        folder.add(study, "benchmark")
        now = progress_of(folder, study.trials)
        began = time.perf_counter()
        run_study(folder, now, crew)
        spent = time.perf_counter() - began
        assert not now.failed, now.failed
        table = collect(folder)
        return spent, list(table.loc[table["measure"] == "accuracy", "value"])


def main() -> None:
    reader = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    reader.add_argument("--rounds", type=int, default=3)
    reader.add_argument("--seeds", type=int, default=2)
    options = reader.parse_args()
    study = expand(read_study("quickstart"), scale="short", seeds=options.seeds)
    study = replace(study, figures=())
    crews = {"one worker": lambda: Pool(1), "a worker a core": lambda: Pool(cores())}
    crews["a worker a core, threads not limited"] = lambda: Unlimited(cores())
    print(f"{len(study.trials)} trials, {cores()} cores, {platform.machine()}, torch {torch.__version__}")
    times_by_crew: dict[str, list[float]] = {name: [] for name in crews}
    for number in range(options.rounds):
        accuracies = []
        for name, crew in crews.items():
            spent, accuracy = seconds(study, crew())
            times_by_crew[name].append(spent)
            accuracies.append(accuracy)
            print(f"round {number + 1}: {name}: {spent:.1f} s", flush=True)
        for other in accuracies[1:]:
            # Sums of several threads round otherwise.
            assert max(abs(a - b) for a, b in zip(accuracies[0], other, strict=True)) < 0.02
    for name, times in times_by_crew.items():
        ratios = [alone / other for alone, other in zip(times_by_crew["one worker"], times, strict=True)]
        print(
            f"{name:<40} median {statistics.median(times):6.1f} s ({min(times):.1f} to {max(times):.1f}), "
            f"{statistics.median(ratios):.2f} times as fast as one ({min(ratios):.2f} to {max(ratios):.2f})"
        )


if __name__ == "__main__":
    main()
