"""Where the time of an audit goes: each attack's scores, 1,000 bootstrap intervals, classes.

    python benchmarks/whole_audit.py [--examples 20000] [--rounds 5]

On the outputs of the overfitted classifier of ``learned_attacks.py``, half of whose examples are members.  One round is
every part once; medians with the least and the largest.  *Intervals* are those of AUC, advantage and TPR at four FPR,
from 1,000 samples of the examples, for all four attacks together; *the whole* adds the same for each of ten classes.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import time
from collections.abc import Callable

import numpy as np

from learned_attacks import images, predictions_of
from trilemma.attacks import audit
from trilemma.attacks.roc import bootstrap_rocs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--examples", type=int, default=20_000, help="members and non-members together")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    name, data = images(arguments.examples)
    predictions = predictions_of("overfitted", data)
    print(f"{name}, {len(data[1])} examples, {predictions.classes} classes; {arguments.rounds} rounds")
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, numpy {np.__version__}")
    seconds: dict[str, list[float]] = {}

    def timed(what: str, function: Callable[[], object]) -> None:
        start = time.perf_counter()
        function()
        seconds.setdefault(what, []).append(time.perf_counter() - start)

    scores = audit(predictions, resamples=2).scores
    for _ in range(arguments.rounds):
        timed("intervals", lambda: [roc.as_dict() for roc in bootstrap_rocs(scores, predictions.member).values()])
        for attack in scores:
            timed(attack, lambda attack=attack: audit(predictions, attacks=[attack], resamples=2))  # type: ignore[misc]
        timed("the whole", lambda: audit(predictions))
    print("| | seconds |\n|---|---|")
    for what, values in seconds.items():
        print(f"| {what} | {statistics.median(values):.2f} [{min(values):.2f}, {max(values):.2f}] |")


if __name__ == "__main__":
    main()
