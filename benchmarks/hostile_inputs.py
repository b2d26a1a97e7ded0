"""Inputs made to harm, given to the commands: pickles, bombs, ways out of a folder, depth and length (Linux).

    python benchmarks/hostile_inputs.py [--only WORDS]

Each case (tests/helpers/hostile.py) is shown to harm a naive reader, and must then end with one clear refusal: nothing
in it is run, nothing is written outside of --out, memory grows by at most 256 MiB more than the files are long, and it
takes at most 5 s of processor time.  Prints a line a case; ends with status 1 if anything is wrong with one.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "helpers"))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="cases whose name contains this")
    options = parser.parse_args()
    from hostile import CASES, complaints, warmed_up

    chosen = [case for case in CASES if options.only in case.name]
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        os.environ["TRILEMMA_CACHE"] = str(root / "cache")
        os.environ.pop("TRILEMMA_DATA", None)
        (root / "warm").mkdir()
        warmed_up(root / "warm")
        for case in chosen:
            began, case_folder = time.monotonic(), root / "case"
            case_folder.mkdir()
            os.environ["TRILEMMA_CACHE"] = str(case_folder / "cache")
            wrong = complaints(case, case_folder)
            failed += bool(wrong)
            print(f"{'BAD' if wrong else 'ok ':4} {time.monotonic() - began:5.1f} s  {case.name}", flush=True)
            for text in wrong:
                print(f"     {text}", flush=True)
            os.chdir(root)
            shutil.rmtree(case_folder)
    print(f"{len(chosen) - failed} of {len(chosen)} harmless")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
