"""Does a change that is meant to alter nothing leave every trained weight as it was, to the bit?

    python benchmarks/same_weights.py --out before.json              # at the old commit
    python benchmarks/same_weights.py --against before.json          # at the new commit, on the same machine

Each row is one short training by the real command.  What is compared is the SHA-256 of the tensors in
``model.safetensors`` (names, dtypes, shapes, and bytes; not the file's metadata) and, for the quickstart, of the
measured columns of its ``results.csv``.  Weights depend on the processor and on torch's version, so a record is worth
something on the machine that made it only.  Rows on CIFAR-10 are left out, by name, where its files are not found.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from safetensors.torch import load_file

BIN = Path(sys.executable).parent
DIGITS = ["--data", "digits-s", "--limit", "400", "--test-limit", "200", "--model", "convnet-8", "--epochs", "2"]
CIFAR = ["--data", "cifar10", "--limit", "600", "--test-limit", "200", "--model", "convnet-8", "--epochs", "2"]
BUDGET = ["--epsilon", "8", "--batch-size", "100", "--reproducible"]
ALL = ["--techniques", "all", "--views", "3"]
TRAININGS: dict[str, list[str]] = {
    "digits-s baseline": DIGITS,
    "digits-s all": [*DIGITS, *ALL],
    "digits-s sat, batch norm": [*DIGITS, "--techniques", "sat", "--set", "momentum=0.9"],
    "digits-s private baseline": [*DIGITS, *BUDGET],
    "digits-s private all": [*DIGITS, *BUDGET, *ALL],
    "digits-s private all, loop": [*DIGITS, *BUDGET, *ALL],
    "digits-s private, full batch": [*DIGITS, *BUDGET, "--batch-size", "0", "--epochs", "5"],
    "digits-s private all, two processes": [*DIGITS, *BUDGET, *ALL],
    "digits-s private, pre-trained": [
        *DIGITS, *BUDGET, "--techniques", "gn", "--pretrain", "synthetic", "--set", "pretrain_updates=20"
    ],
    "cifar10 wide resnet, private": [
        *CIFAR, *BUDGET, "--techniques", "gn,ws,am,pa,sat", "--views", "2", "--model", "wrn-10-1", "--epochs", "0.5"
    ],
    "cifar10 all": [*CIFAR, "--techniques", "gn,ws,am,pa,sat", "--views", "2"],
    "cifar10 prior, private": [*CIFAR, *BUDGET, "--batch-size", "0", "--model", "prior-s", "--epochs", "5"],
}  # fmt: skip
PROCESSES = {"digits-s private all, two processes": 2}
BY_THE_LOOP = """
import sys
from dataclasses import replace
from trilemma.cli import main, train
train.execution_of = lambda options, of=train.execution_of: replace(of(options), method="loop")
sys.exit(main.main(sys.argv[1:]))
"""
"""The commands have no option for the method, which a network's layers decide."""
UNMEASURED = ("seconds", "minutes", "run", "folder", "commit", "environment")
"""Columns and measures of ``results.csv`` that tell of the machine and not of the models."""


def run(command: list[str]) -> str | None:
    """The error of a command's last line, or None where it ended well."""
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    return None if done.returncode == 0 else (done.stderr.strip().splitlines() or ["no message"])[-1]


def digest_of_weights(path: Path) -> str:
    digest = hashlib.sha256()
    for name, tensor in sorted(load_file(path).items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def digest_of_results(path: Path) -> str:
    with open(path, encoding="utf-8", newline="") as file:
        rows = [
            {name: value for name, value in row.items() if not any(word in name for word in UNMEASURED)}
            for row in csv.DictReader(file)
            if row["measure"] not in UNMEASURED
        ]
    return hashlib.sha256(json.dumps(sorted(json.dumps(row, sort_keys=True) for row in rows)).encode()).hexdigest()


def record(only: str | None) -> dict[str, str]:
    """The digest of each training, or why there is none."""
    digests: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as folder:
        for number, (name, options) in enumerate(TRAININGS.items()):
            if only and only not in name:
                continue
            out = Path(folder) / str(number)
            processes = PROCESSES.get(name, 1)
            launcher = ["torchrun", "--standalone", "--nproc-per-node", str(processes), "--no-python"]
            start = [str(BIN / launcher[0]), *launcher[1:]] if processes > 1 else []
            program = [sys.executable, "-c", BY_THE_LOOP] if name.endswith("loop") else [str(BIN / "trilemma")]
            error = run([*start, *program, "train", *options, "--out", str(out)])
            digests[name] = f"not run: {error}" if error else digest_of_weights(out / "model.safetensors")
            print(f"{name}: {digests[name][:72]}", flush=True)
        if not only or only in "quickstart":
            out = Path(folder) / "quickstart"
            error = run([str(BIN / "trilemma"), "quickstart", "--short", "--out", str(out)])
            results = next(out.rglob("results.csv"), None) if error is None else None
            digests["quickstart"] = digest_of_results(results) if results else f"not run: {error}"
            print(f"quickstart: {digests['quickstart'][:72]}", flush=True)
    return digests


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="write the record here")
    parser.add_argument("--against", type=Path, help="compare with this record; exit status 1 where a row differs")
    parser.add_argument("--only", help="rows whose name contains this")
    options = parser.parse_args()
    digests = record(options.only)
    if options.out:
        options.out.write_text(json.dumps(digests, indent=2) + "\n", "utf-8")
    if options.against:
        before = json.loads(options.against.read_text("utf-8"))
        differing = [name for name, digest in digests.items() if before.get(name) != digest]
        for name in differing:
            print(f"DIFFERS: {name}")
        print(f"{len(digests) - len(differing)} of {len(digests)} rows are equal")
        sys.exit(bool(differing))


if __name__ == "__main__":
    main()
