"""Every write, flush, and rename of a command fails once, and nothing is lost.

    python tests/faults/disk.py [--commands train,audit,study] [--ways 4] [--first N] [--sample N] [--seed S]

A disk that fails (``shim.c``) is put under the command.  For each operation and each of four ways to fail (before it is
done, after it, half of it and then no space, no space) the command is run in a new folder, and then once more on a disk
that works.  It must end with one line and no traceback, leave files that are whole or absent, and reach, the second
time, the results of a run that was never disturbed.  ``--ways 1`` lets each operation fail in one of the four ways, in
turn, and with the seeds 0 to 3 in all of them; ``--first`` leaves out the operations before that one, so that a long
run can be made in parts; ``--sample`` takes that many of each command's cases at random.

Needs Linux and a C compiler.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import mmap
import os
import random
import shutil
import struct
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from forks import drawn_once, forked, forked_workers, run_here, to_log

MODES = {1: "an I/O error before", 2: "an I/O error after", 3: "a short write, then no space", 4: "no space"}
_NUMBERS, _SIZE = struct.Struct("<4q"), 4096
TRAIN = ["train", "--data", "digits", "--limit", "100", "--test-limit", "100", "--model", "convnet-4", "--epsilon", "8",
         "--reproducible",
         "--batch-size", "50", "--epochs", "2", "--set", "evaluations=2"]  # fmt: skip
STUDY = """
title = "Tiny"
about = "For tests."
figures = ["accuracy"]
seeds = 2

[[grid]]
data = {name = "digits", limit = 100, test_limit = 100}
recipe = "recipe.toml"
"""
RECIPE = 'model = "convnet-4"\nbatch_size = 25\nepochs = 1\nlearning_rate = 0.1\nevaluations = 1\n'


class Disk:
    """The shared state of the disk that fails (see ``shim.c``)."""

    def __init__(self, path: Path) -> None:
        with open(path, "r+b") as file:
            self._memory = mmap.mmap(file.fileno(), _SIZE)

    def arm(self, folder: Path | None, chosen: int = 0, mode: int = 0) -> None:
        """Count operations below ``folder`` (None: nowhere), and fail at the chosen operation."""
        self._memory[32:_SIZE] = str(folder or "").encode().ljust(_SIZE - 32, b"\0")
        self._memory[:32] = _NUMBERS.pack(0, chosen, mode, 0)

    @property
    def operations(self) -> int:
        return _NUMBERS.unpack(self._memory[:32])[0]

    @property
    def fired(self) -> bool:
        return bool(_NUMBERS.unpack(self._memory[:32])[3])


@dataclass(frozen=True)
class Case:
    """A command, what it works from, and what it must come to."""

    arguments: list[str]
    digest: str
    operations: int


def run(arguments: list[str], log: Path) -> int:
    """The exit status of a command in a fork; what it prints goes to ``log``."""
    log.unlink(missing_ok=True)

    def command() -> int:
        from trilemma.cli.main import main

        to_log(log)
        return main(arguments)

    _, status = os.waitpid(forked(command), 0)
    return os.waitstatus_to_exitcode(status)


def digest_of(command: str, out: Path) -> str:
    """What a finished command came to, without what differs from run to run."""
    if command == "train":
        result = json.loads((out / "result.json").read_text("utf-8"))
        measured = {
            name: result[name] for name in ("accuracy", "train_accuracy", "attacks", "harmonic_score", "fairness")
        }
        weights = hashlib.sha256((out / "model.safetensors").read_bytes()).hexdigest()
        return json.dumps([measured, weights, len((out / "history.jsonl").read_text("utf-8").splitlines())])
    if command == "audit":
        return json.dumps(json.loads((out / "audit.json").read_text("utf-8"))["attacks"])
    import pandas as pd

    results = pd.read_csv(out / "results.csv")
    results = results[~results["measure"].str.contains("seconds")]
    return str(results.sort_values(list(results.columns)).to_csv(index=False))


def faults_of(command: str, out: Path, status: int, log: Path) -> list[str]:
    """What is wrong with how a disturbed command ended and what it left."""
    printed = log.read_text("utf-8", errors="replace")
    wrong = []
    if "Traceback" in printed:
        wrong.append("it prints a traceback: " + printed.strip().splitlines()[-1][:200])
    if status not in (0, 1, 2):
        wrong.append(f"it ends with status {status}")
    if status and not printed.strip():
        wrong.append("it fails without a word")
    for path in out.rglob("*.json") if out.exists() else ():
        try:
            json.loads(path.read_text("utf-8"))
        except ValueError:
            wrong.append(f"{path.name} is not whole")
    return wrong


def again(case: Case, command: str, out: Path, log: Path) -> list[str]:
    """What is wrong with the same command on a disk that works."""
    if command == "audit" and (out / "audit.json").exists():
        status = 0  # an audit that is there is not made again: it must be whole
    else:
        retry = ["--retry"] if command == "study" else []  # a failed trial is run again when asked for
        status = run([*case.arguments, *retry, "--out", str(out)], log)
    if status:
        return [f"the next run ends with status {status}: {log.read_text('utf-8').strip().splitlines()[-1][:300]}"]
    wrong = [] if digest_of(command, out) == case.digest else ["the next run comes to other results"]
    return wrong + [f"{path.name} is left over" for path in out.rglob("*.part")]


def prepared(commands: list[str], folder: Path, disk: Disk) -> dict[str, Case]:
    """Each command run undisturbed in this process, its operations counted."""
    (folder / "recipe.toml").write_text(RECIPE, "utf-8")
    (folder / "study.toml").write_text(STUDY, "utf-8")
    arguments = {
        "train": TRAIN,
        "audit": ["audit", str(folder / "train"), "--resamples", "100", "--attacks", "threshold"],
        "study": ["study", str(folder / "study.toml"), "--workers", "1"],
    }
    cases = {}
    for command in dict.fromkeys(["train", *commands]):
        out = folder / command
        disk.arm(out)
        status = run_here([*arguments[command], "--out", str(out)], folder / "log")
        operations = disk.operations
        disk.arm(None)
        assert status == 0, (folder / "log").read_text("utf-8")
        cases[command] = Case(arguments[command], digest_of(command, out), operations)
    return {command: cases[command] for command in commands}


def disturbed(disk: Disk, commands: list[str], ways: int, first: int, sample: int | None, seed: int) -> int:
    """Run the cases and print what is wrong; returns how many were."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        cases = prepared(commands, folder, disk)
        chosen = [
            (command, number, (number + seed + way) % len(MODES) + 1)
            for command, case in cases.items()
            for number in range(first, case.operations + 1)
            for way in range(ways)
        ]
        for command, case in cases.items():
            print(f"{command}: {case.operations} operations", flush=True)
        if sample is not None:
            dice = random.Random(seed)
            of_each = [[case for case in chosen if case[0] == command] for command in cases]
            chosen = [case for some in of_each for case in sorted(dice.sample(some, min(sample, len(some))))]
        bad, start = 0, time.monotonic()
        for done, (command, number, mode) in enumerate(chosen):
            if done % 20 == 0:
                print(f"{done} of {len(chosen)} done", flush=True)
            out, log = folder / "out", folder / "log"
            shutil.rmtree(out, ignore_errors=True)
            disk.arm(out, number, mode)
            status = run([*cases[command].arguments, "--out", str(out)], log)
            fired = disk.fired
            disk.arm(None)
            wrong = faults_of(command, out, status, log) if fired else []
            wrong += again(cases[command], command, out, log)
            bad += bool(wrong)
            for line in wrong:
                print(f"{command}, operation {number}, {MODES[mode]}: {line}", flush=True)
        print(f"{len(chosen)} disturbed runs in {time.monotonic() - start:.0f} s")
        print(f"{len(chosen) - bad} passed, {bad} failed")
        return bad


def compiled(folder: Path) -> Path | None:
    """The shim, or None without a C compiler."""
    target = folder / "shim.so"
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None or not sys.platform.startswith("linux"):
        return None
    source = Path(__file__).with_name("shim.c")
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", str(target), str(source), "-ldl"], check=True)
    return target


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--commands", default="train,audit,study")
    parser.add_argument("--ways", type=int, choices=MODES, default=len(MODES))
    parser.add_argument("--first", type=int, default=1, metavar="N")
    parser.add_argument("--sample", type=int)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if "FAULT_STATE" not in os.environ:
        with tempfile.TemporaryDirectory() as folder:
            shim = compiled(Path(folder))
            if shim is None:
                print("no C compiler, or not Linux: nothing was run")
                return 2
            state = Path(folder) / "state"
            state.write_bytes(bytes(_SIZE))
            more = {"LD_PRELOAD": str(shim), "FAULT_STATE": str(state), "OMP_NUM_THREADS": "1"}
            return subprocess.run([sys.executable, *sys.argv], env=os.environ | more, check=False).returncode
    disk = Disk(Path(os.environ["FAULT_STATE"]))
    with forked_workers(), drawn_once():
        commands = options.commands.split(",")
        return int(disturbed(disk, commands, options.ways, options.first, options.sample, options.seed) > 0)


if __name__ == "__main__":
    sys.exit(main())
