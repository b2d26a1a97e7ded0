"""Killed at random moments and started again, a command comes to what it comes to undisturbed.

    python tests/faults/kills.py [--train 100] [--study 300] [--longest SECONDS] [--seed S]

``--train`` kills (SIGKILL) fall inside private trainings with every technique, which write a checkpoint every few
updates; whenever one gets to its end, the SHA-256 of its weights and the lines of its history must be those of a
training that was never disturbed, and a new one is begun.  ``--study`` kills fall on a study with two workers: every
third takes the parent alone, whose workers must then let go by themselves.  Its finished trials must not be run again,
and its results must be those of an undisturbed one.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from forks import forked, forked_workers, run_here, to_log

os.environ.setdefault("OMP_NUM_THREADS", "1")

TRAIN = ["train", "--data", "digits", "--limit", "200", "--test-limit", "100", "--model", "convnet-4", "--epsilon", "8",
         "--reproducible", "--techniques", "gn,ws,am,pa,sat", "--views", "2", "--batch-size", "40", "--epochs", "6",
         "--set", "evaluations=15"]  # fmt: skip
STUDY = """
title = "Tiny"
about = "For tests."
figures = ["accuracy"]
seeds = 4

[[grid]]
data = {name = "digits", limit = 100, test_limit = 100}
epsilon = ["none", 8.0]
recipe = "recipe.toml"
"""
RECIPE = 'model = "convnet-4"\nbatch_size = 25\nepochs = 4\nlearning_rate = 0.1\nevaluations = 2\n'


def begun(arguments: list[str], log: Path) -> int:
    """The process id of a fork of this one, in a group of its own, that runs a command."""

    def command() -> int:
        from trilemma.cli.main import main

        os.setsid()
        to_log(log)
        return main(arguments)

    return forked(command)


def ended(child: int, seconds: float) -> int | None:
    """The exit status, or None if it is still at work after so long."""
    end = time.monotonic() + seconds
    while True:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() > end:
            return None
        time.sleep(0.005)


def of_training(out: Path) -> tuple[str, list[str]]:
    lines = (out / "history.jsonl").read_text("utf-8").splitlines()
    return hashlib.sha256((out / "model.safetensors").read_bytes()).hexdigest(), lines


def kill_trainings(kills: int, folder: Path, moments: random.Random) -> None:
    log = folder / "log"
    assert run_here([*TRAIN, "--out", str(folder / "undisturbed")], log) == 0, log.read_text("utf-8")
    start = time.monotonic()
    assert ended(begun([*TRAIN, "--out", str(folder / "timed")], log), 600) == 0, log.read_text("utf-8")
    longest = time.monotonic() - start
    undisturbed, out = of_training(folder / "undisturbed"), folder / "killed"
    done = finished = 0
    while done < kills or out.exists():
        child = begun([*TRAIN, "--out", str(out)], log)
        status = ended(child, moments.uniform(0.0, 0.7 * longest) if done < kills else 600)
        if status is None:
            os.killpg(child, signal.SIGKILL)
            os.waitpid(child, 0)
            done += 1
            continue
        assert status == 0, log.read_text("utf-8")[-2000:]
        assert of_training(out) == undisturbed, "a training that was killed came to other weights"
        assert not list(out.glob("*.part"))
        shutil.rmtree(out)
        finished += 1
    print(f"training: {done} kills, {finished} trainings ended, all with the weights of an undisturbed one", flush=True)


def kill_studies(kills: int, folder: Path, moments: random.Random, longest: float) -> None:
    import pandas as pd

    (folder / "recipe.toml").write_text(RECIPE, "utf-8")
    (folder / "study.toml").write_text(STUDY, "utf-8")
    arguments = ["study", str(folder / "study.toml"), "--workers", "2"]
    log = folder / "log of studies"

    def results(out: Path) -> str:
        table = pd.read_csv(out / "results.csv")
        table = table[~table["measure"].str.contains("seconds")]
        return str(table.sort_values(list(table.columns)).to_csv(index=False))

    assert run_here([*arguments, "--out", str(folder / "study")], log) == 0, log.read_text("utf-8")
    undisturbed, out = results(folder / "study"), folder / "killed study"
    done = finished = 0
    seen: dict[Path, int] = {}
    while done < kills or out.exists():
        child = begun([*arguments, "--out", str(out)], log)
        status = ended(child, moments.uniform(0.2, longest) if done < kills else 600)
        if status is None:
            if done % 3 == 2:
                os.kill(child, signal.SIGKILL)
            else:
                os.killpg(child, signal.SIGKILL)
            os.waitpid(child, 0)
            done += 1
        for path in (out / "runs").glob("*/result.json"):
            json.loads(path.read_text("utf-8"))
            moment = path.stat().st_mtime_ns
            assert seen.setdefault(path, moment) == moment, "a finished trial was run again"
        if status is not None:
            assert status == 0, log.read_text("utf-8")[-2000:]
            assert results(out) == undisturbed, "a study that was killed came to other results"
            assert not list(out.rglob("*.part"))
            shutil.rmtree(out)
            seen.clear()
            finished += 1
    print(f"study: {done} kills, {finished} studies ended, all with the results of an undisturbed one", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train", type=int, default=100)
    parser.add_argument("--study", type=int, default=300)
    parser.add_argument("--longest", type=float, default=4.0, help="seconds until a study is killed, at most")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    moments = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as folder, forked_workers():
        if options.train:
            kill_trainings(options.train, Path(folder), moments)
        if options.study:
            kill_studies(options.study, Path(folder), moments, options.longest)
    return 0


if __name__ == "__main__":
    sys.exit(main())
