"""What an audit with shadow models costs, and whether the time that it states beforehand is right.

    python benchmarks/audit_cost.py digits convnet prior --work FOLDER

Each part trains a run and audits it by ``trilemma audit RUN --shadows 4``: ``digits`` by its own recipe, ``convnet`` as
in a study (``cifar-study``, 1,500 images of CIFAR-10), ``prior`` a linear head on the features ``prior-m`` of all
50,000.  It prints the CPU seconds of the command with all of its processes, the wall-clock seconds, the load of the
machine before and after, and the statement.  The run stays in the folder, and the features in the cache; shadows of an
earlier time are deleted, so that all four are trained.  On a machine that does other work, compare CPU seconds.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

RUNS = {
    "digits": ["--data", "digits-s", "--techniques", "gn"],
    "convnet": ["--recipe", "cifar-study", "--data", "cifar10", "--limit", "1500", "--test-limit", "1500"],
    "prior": ["--recipe", "prior-study", "--data", "cifar10", "--model", "prior-m"],
}
STATED = re.compile(r"shadows to train.*about (?:(\d+) h )?(?:(\d+) min ?)?(?:(\d+) s)?")
TRAINED = "is trained (4 now, 4 in all"


def trilemma(*arguments: object) -> tuple[list[tuple[float, str]], dict[str, Any]]:
    """Run a command of the package; its messages, each with the second it came, and what it cost."""
    load, began = os.getloadavg()[0], time.monotonic()
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-m", "trilemma", *map(str, arguments)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        messages = [(time.monotonic() - began, line) for line in process.stderr]
    if process.returncode:
        raise SystemExit("".join(line for _, line in messages))
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return messages, {
        "cpu_seconds": round(after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime, 1),
        "wall_seconds": round(time.monotonic() - began, 1),
        "load": [round(load, 1), round(os.getloadavg()[0], 1)],
    }


def stated_and_taken(messages: list[tuple[float, str]]) -> tuple[float, float]:
    """The seconds that the command said its shadows would take, and those that they took from then on."""
    stated = next((at, match) for at, line in messages if (match := STATED.search(line)))
    hours, minutes, rest = (int(part or 0) for part in stated[1].groups())
    done = next(at for at, line in messages if TRAINED in line)
    return 3600 * hours + 60 * minutes + rest, done - stated[0]


def cost(part: str, work: Path) -> dict[str, Any]:
    run = work / part
    if not (run / "result.json").exists():
        trilemma("train", *RUNS[part], "--out", run)
    shutil.rmtree(run / "shadows.private", ignore_errors=True)
    audit = work / f"{part}-audit"
    shutil.rmtree(audit, ignore_errors=True)
    messages, costs = trilemma("audit", run, "--shadows", 4, "--out", audit)
    stated, took = stated_and_taken(messages)
    return costs | {"stated_seconds": stated, "taken_seconds": round(took, 1), "factor": round(took / stated, 2)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="+", choices=RUNS)
    parser.add_argument("--work", type=Path, required=True, help="folder of runs and audits")
    options = parser.parse_args()
    for part in options.parts:
        print(json.dumps({part: cost(part, options.work)}), flush=True)


if __name__ == "__main__":
    main()
