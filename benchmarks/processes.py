"""Does a training by two processes with one thread each take as long as by one process with two threads?

    python benchmarks/processes.py [--rounds 5] [options of trilemma train, such as --model wrn-16-4 --data cifar10]

Runs the same private training in turn by one process with all cores and by one process a core, and prints the seconds
of its updates (without start, evaluation and attacks), medians with quartiles, and their ratio round by round.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from private_update import spread
from trilemma.machine import cores

BIN = Path(sys.executable).parent
DEFAULTS = ["--data", "digits", "--model", "convnet", "--epsilon", "8", "--batch-size", "256", "--epochs", "4"]


def seconds(processes: int, threads: int, options: list[str]) -> float:
    """Of the updates of one training."""
    launcher = [BIN / "torchrun", "--standalone", "--nproc-per-node", processes, "--no-python"] * (processes > 1)
    environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
    with tempfile.TemporaryDirectory() as folder:
        command = [*launcher, BIN / "trilemma", "train", *options, "--set", "evaluations=1", "--out", folder]
        done = subprocess.run([str(part) for part in command], env=environment, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(done.stderr)
        return float(json.loads((Path(folder) / "result.json").read_text())["seconds"]["updates"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    arguments, options = parser.parse_known_args()
    ways = {"one process": (1, cores()), "a process a core": (cores(), 1)}
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(arguments.rounds):
        for name, (processes, threads) in ways.items():
            times[name].append(seconds(processes, threads, options or DEFAULTS))
    print(f"{platform.machine()}, {cores()} cores, {arguments.rounds} rounds: {' '.join(options or DEFAULTS)}")
    for name, (processes, threads) in ways.items():
        print(f"{name} ({processes} x {threads} threads): {statistics.median(times[name]):.2f} s of updates")
    pairs = zip(times["a process a core"], times["one process"], strict=True)
    print(f"a process a core / one process: {spread([a / b for a, b in pairs])}")


if __name__ == "__main__":
    main()
