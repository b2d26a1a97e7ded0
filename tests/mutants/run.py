"""Plant every error of the catalog and see that the named tests fail; make every harmless edit and see that none does.

    python tests/mutants/run.py [--fast] [--only WORDS] [--jobs 2] [--table FILE]

``--fast`` runs the first, fastest test of each error, and is what ``.ci/run`` does; without it every named test of each
error must fail on its own, and pass on the package as it is.  Exit status 1 where an error is not seen or a harmless
edit raises an alarm.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).parent))

from catalog import ERRORS, HARMLESS
from planting import Attempt, Outcome, Planted

Row = tuple[Planted | None, tuple[str, ...], Outcome]


def preload() -> None:
    """What most tests import, once, before the forks (no plugin of pytest, which must be imported by it)."""
    import numpy
    import pandas
    import pyarrow.parquet
    import scipy.stats
    import sklearn.linear_model
    import torch

    assert all((numpy, pandas, pyarrow, scipy, sklearn, torch))


def rows(fast: bool, only: str) -> list[Row]:
    """(edit, tests, what must come out of them)."""
    chosen: list[Row] = []
    for error in ERRORS:
        for test in error.tests[:1] if fast else error.tests:
            chosen.append((error, (test,), "failed"))
    chosen += [(edit, edit.tests, "passed") for edit in HARMLESS]
    if not fast:
        chosen += [(None, (test,), "passed") for test in sorted({test for error in ERRORS for test in error.tests})]
    return [row for row in chosen if only in (row[0].name if row[0] else "") or (row[0] and only in row[0].file)]


def results(waiting: list[Row], jobs: int) -> Iterator[tuple[Planted | None, tuple[str, ...], str, str, float, str]]:
    """Each row with what came out of it, as they end; ``jobs`` at a time."""
    running: list[tuple[Attempt, Outcome]] = []
    waiting = waiting[::-1]
    while waiting or running:
        while waiting and len(running) < jobs:
            edit, tests, expected = waiting.pop()
            running.append((Attempt(edit, tests), expected))
        time.sleep(0.02)
        for attempt, expected in list(running):
            if (result := attempt.result()) is not None:
                running.remove((attempt, expected))
                yield attempt.planted, attempt.tests, expected, *result


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fast", action="store_true")
    parser.add_argument("--only", default="", help="edits whose name or file contains this")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--table", type=Path, help="write a Markdown table here")
    options = parser.parse_args()
    preload()
    wrong, total, lines = 0, 0.0, []
    for edit, tests, expected, result, seconds, output in results(rows(options.fast, options.only), options.jobs):
        name = edit.name if edit else "the package as it is"
        good = result == expected
        wrong += not good
        total += seconds
        lines.append(f"| {name} | {edit.file if edit else ''} | `{', '.join(tests)}` | {result} | {seconds:.1f} |")
        print(f"{'ok  ' if good else 'BAD '} {result:9} {seconds:6.1f} s  {name}  [{', '.join(tests)}]", flush=True)
        if not good:
            print("\n".join(output.splitlines()[-15:]), flush=True)
    if options.table:
        head = "| edit | file | test | outcome | seconds of processor time |\n|---|---|---|---|---|\n"
        options.table.write_text(head + "\n".join(lines) + "\n", "utf-8")
    print(f"{len(lines) - wrong} passed, {wrong} failed; {total:.0f} s of processor time")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
