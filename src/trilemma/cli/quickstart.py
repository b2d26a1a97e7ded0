"""``trilemma quickstart``: run the study ``quickstart`` on the embedded digits, and print where its page is."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from pathlib import Path

from trilemma.cli.study import conduct, default_workers, plan
from trilemma.cli.terminal import show
from trilemma.study.pool import Pool
from trilemma.study.runner import Settings
from trilemma.training.execution import Execution

SHORT_SEEDS = 2


def _command() -> str:
    """How this command can be typed again: ``make quickstart`` does not put its environment on the path."""
    if shutil.which("trilemma"):
        return "trilemma"
    script = Path(sys.executable).with_name("trilemma")
    return os.path.relpath(script) if script.exists() else f"{os.path.relpath(sys.executable)} -m trilemma"


def quickstart_command(options: argparse.Namespace) -> int:
    out = Path(options.out) / "short" if options.short else Path(options.out)
    studies = plan(
        "quickstart", scale="short" if options.short else "small", seeds=SHORT_SEEDS if options.short else None
    )
    show(studies[0].about)
    command = f"trilemma quickstart {'--short ' if options.short else ''}--out DIR"
    workers = default_workers("cpu", len(studies[0].trials))
    status = conduct(studies, out, Pool(workers), Settings(execution=Execution("cpu")), command=command)
    if status == 0:
        if options.short:
            show(f"{SHORT_SEEDS} seeds and a tenth of the updates show that every step works, not what is better.")
        show(
            "Next:",
            *([f"  {_command()} quickstart                             # the whole study"] if options.short else []),
            f"  {_command()} train --epsilon 8 --out runs/first    # one private model; --data FOLDER for your images",
            f"  {_command()} report runs/first                     # one page on it: may it ship?",
        )
    return status
