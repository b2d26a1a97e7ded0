"""Malformed inputs to every command: each must end with one clear refusal, and leave nothing behind.

    python benchmarks/malformed_inputs.py [--count 2000] [--seed 0]

Files of every kind that a command reads are damaged, byte by byte and value by value (tests/helpers/malformed.py), and
given to the command.  Prints for each command how many were refused, how many were valid after all (a flipped bit may
lie where nothing reads), and whatever went wrong: another exit status than 2, more than 5 lines, a traceback, a message
without the file's name, something left in --out.  Ends with status 1 if anything did.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from itertools import islice
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "helpers"))

CHUNK = 250


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--part", nargs=3, metavar=("ROOT", "FROM", "TO"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.part:
        return some(Path(options.part[0]), int(options.part[1]), int(options.part[2]), options.seed)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        os.environ |= {"TRILEMMA_CACHE": str(root / "cache"), "OMP_NUM_THREADS": "1"}
        os.chdir(root)
        prepare(root)
        return all_of(root, options.count, options.seed)


def prepare(root: Path) -> None:
    from malformed import make_valid, run
    from tiny_study import write_tiny

    valid = make_valid(root / "valid")
    ending = run(("study", str(write_tiny(valid.root)), "--workers", "1"), root / "study", limit=600)
    assert ending.status == 0, ending.said


def all_of(root: Path, count: int, seed: int) -> int:
    totals: dict[str, Counter[str]] = {}
    wrong: list[str] = []
    slowest = (0.0, "")
    for start in range(0, count, CHUNK):
        end = min(count, start + CHUNK)
        command = [sys.executable, __file__, "--seed", str(seed), "--part", str(root), str(start), str(end)]
        process = subprocess.run(command, capture_output=True, text=True, check=False)
        lines = [json.loads(line) for line in process.stdout.splitlines() if line.startswith("{")]
        for line in lines:
            totals.setdefault(line["command"], Counter())[line["ending"]] += 1
            wrong += line["wrong"]
            slowest = max(slowest, (line["seconds"], line["kind"]))
        if process.returncode or len(lines) < end - start:
            wrong.append(
                f"the process ended with {process.returncode} at case {start + len(lines)}: {process.stderr[-500:]}"
            )
        print(f"{end} of {count}, {len(wrong)} wrong", file=sys.stderr)
    print(f"{'command':10} {'refused':>8} {'valid':>8} {'wrong':>8}")
    for command, endings in sorted(totals.items()):
        print(f"{command:10} {endings['refused']:8} {endings['valid']:8} {endings['wrong']:8}")
    print(f"slowest: {slowest[0]:.1f} s ({slowest[1]})")
    for text in wrong:
        print(f"\n{text}")
    return 1 if wrong else 0


def some(root: Path, start: int, end: int, seed: int) -> int:
    """The cases from ``start`` on, a line of JSON for each."""
    from malformed import Valid, cases, complaints

    valid = Valid(root / "valid", root / "study")
    for case in islice(cases(valid, end, seed), start, end):
        ending, wrong = complaints(case, root / "out")
        kind = "wrong" if wrong else "refused" if ending.status == 2 else "valid"
        line = {
            "command": case.command[0],
            "kind": case.kind,
            "ending": kind,
            "wrong": wrong,
            "seconds": ending.seconds,
        }
        print(json.dumps(line), flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
