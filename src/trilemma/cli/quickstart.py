"""``trilemma quickstart``: run the study ``quickstart`` on the embedded digits, and print where its page is."""

from __future__ import annotations

import argparse
from pathlib import Path

from trilemma.cli.study import conduct, default_workers, plan
from trilemma.cli.terminal import show
from trilemma.study.pool import Pool
from trilemma.study.runner import Settings
from trilemma.training.execution import Execution

SHORT_SEEDS = 2


def quickstart_command(options: argparse.Namespace) -> int:
    out = Path(options.out) / "short" if options.short else Path(options.out)
    studies = plan(
        "quickstart", scale="short" if options.short else "small", seeds=SHORT_SEEDS if options.short else None
    )
    show(studies[0].about)
    workers = default_workers("cpu", len(studies[0].trials))
    return conduct(studies, out, Pool(workers), Settings(execution=Execution("cpu")))
